"""The parts every graph network is made of: degrees, self-loops, normalisation, aggregation.

A graph of N nodes and E edges is `edge_index`, int64 [2, E]: column e is the edge from node
`edge_index[0, e]` (the source) to node `edge_index[1, e]` (the target). An undirected graph holds
both directions. Edges may repeat: a doubled edge counts twice.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = [
    "add_remaining_self_loops",
    "add_self_loops",
    "aggregate",
    "check_edge_index",
    "degree",
    "gcn_norm",
    "remove_self_loops",
    "segment_softmax",
    "sum_by_index",
]


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _check_index(index: Tensor, num_nodes: int, name: str) -> None:
    """Nodes must lie in 0 .. N-1. One pass over the index, about 1 % of an aggregation's time."""
    if index.numel() == 0:
        return
    smallest, largest = (int(bound) for bound in torch.aminmax(index))
    if smallest < 0 or largest >= num_nodes:
        wrong = smallest if smallest < 0 else largest
        raise ValueError(
            f"{name} names node {wrong}, but nodes are numbered 0 to {num_nodes - 1} "
            f"({num_nodes} nodes): renumber the nodes or pass the right number of nodes"
        )


def check_edge_index(edge_index: Tensor, num_nodes: int | None = None) -> None:
    """Raise a ValueError that says what to do, unless `edge_index` is int64 [2, E] within range.

    Args:
        edge_index: [2, E], row 0 the sources, row 1 the targets.
        num_nodes: N; if given, every entry must lie in 0 .. N-1.
    """
    if not isinstance(edge_index, Tensor):
        got = type(edge_index).__name__
        raise ValueError(
            f"edge_index must be an int64 tensor [2, E], got a {got}: use torch.tensor"
        )
    right_dtype = edge_index.dtype == torch.int64
    right_shape = edge_index.dim() == 2 and edge_index.size(0) == 2
    if not (right_dtype and right_shape):
        transpose = edge_index.dim() == 2 and edge_index.size(1) == 2 and not right_shape
        shape_remedy = "transpose" if transpose else "stack sources and targets as two rows of"
        remedies = ([] if right_shape else [shape_remedy]) + ([] if right_dtype else ["cast"])
        raise ValueError(
            f"edge_index must be int64 [2, E], got {_describe(edge_index)}: "
            f"{' and '.join(remedies)} it"
        )
    if num_nodes is not None:
        _check_index(edge_index, num_nodes, "edge_index")


def _count_nodes(edge_index: Tensor, num_nodes: int | None) -> int:
    """N as given, or the largest node named plus one; the edge_index is checked either way."""
    check_edge_index(edge_index, num_nodes)
    if num_nodes is not None:
        return num_nodes
    return int(edge_index.max()) + 1 if edge_index.numel() else 0


class _SumByIndex(torch.autograd.Function):
    """index_add, whose own backward would keep all [E, ...] messages; only the index is needed."""

    @staticmethod
    def forward(ctx, values: Tensor, index: Tensor, num_nodes: int) -> Tensor:
        ctx.save_for_backward(index)
        return values.new_zeros(num_nodes, *values.shape[1:]).index_add_(0, index, values)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad.index_select(0, *ctx.saved_tensors), None, None


def sum_by_index(values: Tensor, index: Tensor, num_nodes: int) -> Tensor:
    """[E, ...] -> [N, ...], `aggregate`'s sum for an index that was checked already."""
    return _SumByIndex.apply(values, index, num_nodes)


def aggregate(messages: Tensor, index: Tensor, num_nodes: int, reduce: str = "sum") -> Tensor:
    """Collect messages at their target nodes: out_v = reduce({ m_e : index_e = v }).

    The result does not depend on the order of the messages (up to rounding). A node that receives
    nothing gets 0, under every `reduce`. Where several messages tie for the maximum (or minimum),
    the gradient is shared evenly among them, as in `torch.Tensor.scatter_reduce` and PyG.

    Args:
        messages: [E, ...], one row a message, any floating dtype.
        index: int64 [E], the node that receives each message.
        num_nodes: N, the number of nodes.
        reduce: "sum", "mean", "max" or "min".

    Returns:
        [N, ...], of the messages' dtype and device.

    Raises:
        ValueError: index is not int64 [E], names a node outside 0 .. N-1, or `reduce` is unknown.
    """
    if index.dtype != torch.int64 or index.shape != messages.shape[:1]:
        raise ValueError(
            f"index must be int64 [E] with one entry a message, got {_describe(index)} for "
            f"messages {list(messages.shape)}: pass edge_index[1], the target of each message"
        )
    _check_index(index, num_nodes, "index")
    if reduce == "sum":
        return sum_by_index(messages, index, num_nodes)
    per_row = (-1,) + (1,) * (messages.dim() - 1)
    if reduce == "mean":
        count = degree(index, num_nodes, messages.dtype).clamp_(min=1)
        return sum_by_index(messages, index, num_nodes) / count.view(per_row)
    if reduce in ("max", "min"):
        out = messages.new_zeros(num_nodes, *messages.shape[1:])
        return out.scatter_reduce(
            0, index.view(per_row).expand_as(messages), messages, "a" + reduce, include_self=False
        )
    raise ValueError(f'reduce must be "sum", "mean", "max" or "min", got {reduce!r}')


def segment_softmax(scores: Tensor, index: Tensor, num_nodes: int) -> Tensor:
    """Softmax over the messages of each node: a_e = exp(s_e) / sum over e' with index_e' = index_e.

    Each segment's largest score is subtracted first, so large scores do not overflow. Scores of
    -inf get weight 0; a segment of nothing else gets 0 throughout, not NaN.

    Args:
        scores: [E, ...], for instance [E, heads].
        index: int64 [E], the node (segment) of each score.
        num_nodes: N, the number of segments; some may be empty.

    Returns:
        [E, ...], non-negative, summing to one over each segment.
    """
    largest = aggregate(scores.detach(), index, num_nodes, "max")
    largest = largest.masked_fill(largest.isneginf(), 0.0)
    weights = (scores - largest.index_select(0, index)).exp()
    total = sum_by_index(weights, index, num_nodes)
    total = total.masked_fill(total == 0, 1.0)
    return weights / total.index_select(0, index)


def degree(index: Tensor, num_nodes: int | None = None, dtype: torch.dtype | None = None) -> Tensor:
    """How often each node occurs in `index`: [E] -> [N].

    `degree(edge_index[1], N)` counts incoming edges, `degree(edge_index[0], N)` outgoing ones.
    The dtype is torch's default float unless given.
    """
    if num_nodes is None:
        num_nodes = int(index.max()) + 1 if index.numel() else 0
    _check_index(index, num_nodes, "index")
    ones = torch.ones(index.numel(), dtype=dtype, device=index.device)
    return sum_by_index(ones, index, num_nodes)


def remove_self_loops(
    edge_index: Tensor, edge_attr: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """Drop every edge (v, v), with its entry in `edge_attr` [E, ...] if given."""
    check_edge_index(edge_index)
    keep = edge_index[0] != edge_index[1]
    return edge_index[:, keep], None if edge_attr is None else edge_attr[keep]


def _loops(num_nodes: int, device: torch.device) -> Tensor:
    return torch.arange(num_nodes, device=device).expand(2, num_nodes)


def _fill(edge_attr: Tensor, fill_value: float | Tensor, num_nodes: int) -> Tensor:
    """Attributes [N, ...] for N new loops."""
    attributes = edge_attr.new_empty(num_nodes, *edge_attr.shape[1:])
    attributes[:] = fill_value
    return attributes


def add_self_loops(
    edge_index: Tensor,
    edge_attr: Tensor | None = None,
    fill_value: float | Tensor = 1.0,
    num_nodes: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Append one edge (v, v) for every node, also where there is one: A + I.

    The loops come after the E edges; their entries in `edge_attr` are `fill_value`.
    See `add_remaining_self_loops` for a graph that may hold loops already.
    """
    num_nodes = _count_nodes(edge_index, num_nodes)
    looped = torch.cat([edge_index, _loops(num_nodes, edge_index.device)], dim=1)
    if edge_attr is None:
        return looped, None
    return looped, torch.cat([edge_attr, _fill(edge_attr, fill_value, num_nodes)])


def add_remaining_self_loops(
    edge_index: Tensor,
    edge_attr: Tensor | None = None,
    fill_value: float | Tensor = 1.0,
    num_nodes: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Give every node exactly one edge (v, v); a loop that is there keeps its attribute.

    Of several loops at one node the last one counts. The N loops come after the other edges.
    """
    num_nodes = _count_nodes(edge_index, num_nodes)
    is_loop = edge_index[0] == edge_index[1]
    found = is_loop.nonzero().view(-1)  # positions of existing loops
    others = edge_index[:, ~is_loop] if found.numel() else edge_index
    looped = torch.cat([others, _loops(num_nodes, edge_index.device)], dim=1)
    if edge_attr is None:
        return looped, None
    loop_attr = _fill(edge_attr, fill_value, num_nodes)
    if found.numel() == 0:
        return looped, torch.cat([edge_attr, loop_attr])
    position = found.new_full((num_nodes,), -1)
    position.scatter_reduce_(0, edge_index[0].index_select(0, found), found, "amax")
    present = (position >= 0).nonzero().view(-1)  # nodes that have a loop
    kept = edge_attr.index_select(0, position.index_select(0, present))
    return looped, torch.cat([edge_attr[~is_loop], loop_attr.index_copy(0, present, kept)])


def gcn_norm(
    edge_index: Tensor,
    edge_weight: Tensor | None = None,
    num_nodes: int | None = None,
    improved: bool = False,
    add_self_loops: bool = True,
    *,
    norm: str = "sym",
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    """The normalised adjacency A_hat of a graph convolution, as edges and their coefficients.

    With A the (weighted) adjacency, A[v, u] the weight of the edge from u to v, I the loops and
    D the diagonal matrix of the row sums of A + I (for each target, what comes in):

        norm="sym":  A_hat = D^-1/2 (A + I) D^-1/2   coefficient w_uv / sqrt(d_u d_v)
        norm="row":  A_hat = D^-1 (A + I)            coefficient w_uv / d_v

    "sym" is Kipf & Welling (2017); "row" is the mean over a node and its neighbours, as in the
    University of Toronto's CSC413 slides: there 1/(|N(v)| + 1) is each message's weight.
    A node with no edges keeps its own loop, coefficient 1; without loops it gets 0, never NaN.

    Args:
        edge_index: int64 [2, E].
        edge_weight: [E], or None for weights of 1.
        num_nodes: N; None takes the largest node named plus one.
        improved: loops of weight 2: A + 2I. Existing loops keep their weight. (PyG ignores
            `improved` where there is no edge_weight; here None means ones in every case.)
        add_self_loops: give every node a loop where it has none. False normalises A itself.
        norm: "sym" or "row".
        dtype: of the coefficients where edge_weight is None; torch's default float unless given.

    Returns:
        edge_index [2, E'], with loops last, and the coefficients [E'].
    """
    if norm not in ("sym", "row"):
        raise ValueError(f'norm must be "sym" or "row", got {norm!r}')
    num_nodes = _count_nodes(edge_index, num_nodes)
    num_edges = edge_index.size(1)
    if edge_weight is None:
        edge_weight = torch.ones(num_edges, dtype=dtype, device=edge_index.device)
    elif edge_weight.shape != (num_edges,):
        raise ValueError(
            f"edge_weight must be [E] = [{num_edges}], one number an edge, "
            f"got {list(edge_weight.shape)}"
        )
    if add_self_loops:
        edge_index, edge_weight = add_remaining_self_loops(
            edge_index, edge_weight, 2.0 if improved else 1.0, num_nodes
        )
    source, target = edge_index
    total = sum_by_index(edge_weight, target, num_nodes)
    # A node without incoming weight has no inverse: it gets 0. Inverting 1 in its place keeps
    # infinities out of the gradient too.
    positive = total > 0
    total = total.masked_fill(~positive, 1.0)
    inverse = (total.rsqrt() if norm == "sym" else total.reciprocal()) * positive
    coefficient = edge_weight * inverse.index_select(0, target)
    if norm == "sym":
        coefficient = coefficient * inverse.index_select(0, source)
    return edge_index, coefficient
