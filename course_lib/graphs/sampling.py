"""Estimating (A_hat H)[targets] from a few of its terms, so that a layer need not read everything.

A node of a k-layer network depends on its whole k-hop neighbourhood, which a hub makes large
(`neighborhood_sizes`). Each estimator below reads some rows of H, at random, and weighs them so
that its expectation is exact. They differ in variance:

    node-wise   for each target v draw k of its entries u ~ q_v:
                (A_hat H)_v  =  E[ 1/k sum_j A_hat[v, u_j] H[u_j] / q_v(u_j) ]
    layer-wise  draw s columns u ~ q for all targets at once:
                (A_hat H)_v  =  E[ 1/s sum_j A_hat[v, u_j] H[u_j] / q(u_j) ]

A_hat is a CSRMatrix with targets as rows. All randomness comes from `generator`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.graphs.message_passing import aggregate, check_edge_index, degree
from course_lib.graphs.sparse import CSRMatrix

__all__ = [
    "fastgcn_distribution",
    "fastgcn_estimate",
    "ladies_distribution",
    "ladies_estimate",
    "layer_estimate",
    "layer_variance",
    "neighbor_estimate",
    "neighborhood_sizes",
    "optimal_layer_distribution",
    "sample_neighbors",
]


def neighborhood_sizes(edge_index: Tensor, seeds: Tensor, hops: int) -> list[int]:
    """How many distinct nodes the seeds' outputs depend on after 0, 1, ..., `hops` layers.

    Args:
        edge_index: int64 [2, E].
        seeds: int64 [S], the nodes whose output is wanted.
        hops: number of layers.

    Returns:
        hops + 1 sizes, the first the number of distinct seeds.
    """
    check_edge_index(edge_index)
    num_nodes = 1 + max(int(t.max()) if t.numel() else 0 for t in (edge_index, seeds))
    reached = torch.zeros(num_nodes, dtype=torch.bool, device=edge_index.device)
    reached[seeds] = True
    sizes = [int(reached.sum())]
    for _ in range(hops):
        needed = edge_index[0][reached[edge_index[1]]]
        reached[needed] = True
        sizes.append(int(reached.sum()))
    return sizes


def _choose(group: Tensor, k: int, generator: torch.Generator | None) -> Tensor:
    """Positions of at most k members of each group, uniformly, without replacement.

    group: int64 [M], the group of each member. Returns positions [<= M], groups in order.
    """
    if k < 0:
        raise ValueError(f"k counts neighbours and cannot be negative, got {k}")
    shuffled = torch.randperm(group.numel(), generator=generator, device=group.device)
    order = shuffled[group[shuffled].argsort(stable=True)]  # by group, at random within
    sizes = torch.bincount(group) if group.numel() else group
    first = sizes.cumsum(0) - sizes  # where each group begins
    rank = torch.arange(group.numel(), device=group.device) - first[group[order]]
    return order[rank < k]


def sample_neighbors(
    edge_index: Tensor,
    num_nodes: int,
    nodes: Tensor,
    k: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """At most k incoming edges of each of `nodes`, drawn uniformly without replacement.

    Args:
        edge_index: int64 [2, E].
        num_nodes: N.
        nodes: int64 [S], the targets; repeated ones count once.
        k: edges kept a node; a node with no more than k keeps all.

    Returns:
        int64 [2, E'], a part of edge_index with the nodes' own numbers (GraphSAGE's sampled
        neighbourhood). To estimate a sum, scale each node's edges by degree / min(k, degree).
    """
    check_edge_index(edge_index, num_nodes)
    wanted = torch.zeros(num_nodes, dtype=torch.bool, device=edge_index.device)
    wanted[nodes] = True
    incoming = wanted[edge_index[1]].nonzero().view(-1)
    kept = incoming[_choose(edge_index[1][incoming], k, generator)]
    return edge_index[:, kept]


def row_entries(matrix: CSRMatrix, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Where the entries of some rows are stored.

    Returns:
        slot int64 [M]: which of the targets, 0 .. T-1, each entry belongs to, in order;
        position int64 [M]: its place in matrix.col and matrix.values.
    """
    first, last = matrix.crow[targets].long(), matrix.crow[targets + 1].long()
    count = last - first
    slot = torch.arange(targets.numel(), device=targets.device).repeat_interleave(count)
    before = count.cumsum(0) - count  # entries of the earlier targets
    position = torch.arange(slot.numel(), device=targets.device) + (first - before)[slot]
    return slot, position


def _weighted_sum(
    matrix: CSRMatrix, h: Tensor, slot: Tensor, position: Tensor, scale: Tensor, num_targets: int
) -> Tensor:
    """out[slot] += scale * A_hat entry * H[its column]: [T, F]."""
    column = matrix.col[position].long()
    weight = (matrix.values[position] * scale).unsqueeze(1)
    return aggregate(weight * h.index_select(0, column), slot, num_targets)


def neighbor_estimate(
    matrix: CSRMatrix,
    h: Tensor,
    targets: Tensor,
    k: int,
    generator: torch.Generator | None = None,
    replace: bool = False,
) -> Tensor:
    """Node-wise, uniform: k entries of each target's row (GraphSAGE, Hamilton et al. 2017).

    (A_hat H)_v is estimated by n_v/k times the sum of the terms drawn, n_v the entries of row v.
    Without replacement a target with n_v <= k is exact, and the variance is never above the one
    with replacement.

    Args:
        matrix: A_hat [N, N]. h: [N, F]. targets: int64 [T].
        k: terms a target, at least 1.

    Returns:
        [T, F].
    """
    if k < 1:
        raise ValueError(f"an estimate needs at least one term a target, got k={k}")
    slot, position = row_entries(matrix, targets)
    size = degree(slot, targets.numel(), h.dtype)  # n_v
    if replace:
        first = (size.cumsum(0) - size).long()
        hears = (size > 0).nonzero().view(-1)  # a row without entries is an exact zero
        u = torch.rand(hears.numel(), k, generator=generator, device=h.device, dtype=torch.float64)
        offset = (u * size[hears, None]).long()  # 0 .. n_v - 1
        drawn = (first[hears, None] + offset).view(-1)
    else:
        drawn = _choose(slot, k, generator)
    slot, position = slot[drawn], position[drawn]
    terms = size.new_full(size.shape, k) if replace else size.clamp(max=k)
    scale = (size / terms)[slot]
    return _weighted_sum(matrix, h, slot, position, scale, targets.numel())


def _normalize(q: Tensor) -> Tensor:
    total = q.sum()
    if total <= 0:
        raise ValueError("no column to draw from: the targets' rows of the matrix have no entries")
    return q / total


def fastgcn_distribution(matrix: CSRMatrix) -> Tensor:
    """q(u) proportional to ||A_hat[:, u]||^2 over all rows: [N] (FastGCN, Chen et al. 2018).

    It does not know the targets, so most of what it draws may be no neighbour of theirs.
    """
    return _normalize(aggregate(matrix.values.square(), matrix.col.long(), matrix.shape[1]))


def ladies_distribution(matrix: CSRMatrix, targets: Tensor) -> Tensor:
    """q(u) proportional to ||A_hat[targets, u]||^2: [N], 0 off their neighbourhood.

    LADIES (Zou et al. 2019). Their code also rescales the sampled rows to sum to one, which
    lowers the variance and makes the estimate biased; here it stays unbiased.
    """
    _, position = row_entries(matrix, targets)
    column = matrix.col[position].long()
    return _normalize(aggregate(matrix.values[position].square(), column, matrix.shape[1]))


def optimal_layer_distribution(matrix: CSRMatrix, h: Tensor, targets: Tensor) -> Tensor:
    """q(u) proportional to ||A_hat[targets, u]|| ||H[u]||: [N], the least variance there is.

    It needs every row of H, so it is a yardstick, not a method.
    """
    _, position = row_entries(matrix, targets)
    column = matrix.col[position].long()
    squares = aggregate(matrix.values[position].square(), column, matrix.shape[1])
    return _normalize(squares.sqrt() * h.norm(dim=1))


def layer_estimate(
    matrix: CSRMatrix,
    h: Tensor,
    targets: Tensor,
    q: Tensor,
    num_samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Layer-wise importance sampling: `num_samples` columns drawn independently from q.

    Args:
        matrix: A_hat [N, N]. h: [N, F]. targets: int64 [T].
        q: [N], non-negative, sum 1, positive wherever a target has an entry (else the estimate
            would be biased, and a ValueError says so).
        num_samples: rows of H read, a node drawn twice counted twice.

    Returns:
        [T, F].
    """
    slot, position = row_entries(matrix, targets)
    column = matrix.col[position].long()
    if (q[column] == 0)[(matrix.values[position] != 0)].any():
        raise ValueError(
            "q is 0 at a node that some target hears from, so the estimate would be biased: "
            "give every neighbour of the targets a positive probability"
        )
    drawn = torch.multinomial(q, num_samples, replacement=True, generator=generator)
    times = degree(drawn, matrix.shape[1], h.dtype)  # how often each column was drawn
    seen = times[column] > 0
    slot, position, column = slot[seen], position[seen], column[seen]
    scale = times[column] / (num_samples * q[column])
    return _weighted_sum(matrix, h, slot, position, scale, targets.numel())


def fastgcn_estimate(
    matrix: CSRMatrix,
    h: Tensor,
    targets: Tensor,
    num_samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`layer_estimate` from `fastgcn_distribution`: [T, F]."""
    q = fastgcn_distribution(matrix)
    return layer_estimate(matrix, h, targets, q, num_samples, generator)


def ladies_estimate(
    matrix: CSRMatrix,
    h: Tensor,
    targets: Tensor,
    num_samples: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`layer_estimate` from `ladies_distribution`: [T, F]."""
    q = ladies_distribution(matrix, targets)
    return layer_estimate(matrix, h, targets, q, num_samples, generator)


def layer_variance(
    matrix: CSRMatrix, h: Tensor, targets: Tensor, q: Tensor, num_samples: int
) -> float:
    """E ||estimate - A_hat H||^2 of `layer_estimate`, summed over targets and features.

    = 1/s ( sum_u ||A_hat[targets, u]||^2 ||H[u]||^2 / q(u)  -  ||(A_hat H)[targets]||^2 )
    """
    _, position = row_entries(matrix, targets)
    column = matrix.col[position].long()
    squares = aggregate(matrix.values[position].square(), column, matrix.shape[1])
    mass = squares * h.square().sum(1)
    second_moment = (mass / q)[mass > 0].sum()
    exact = (matrix @ h)[targets]
    return float((second_moment - exact.square().sum()) / num_samples)
