"""Over-smoothing: where A_hat^k H goes as k grows, how far it is, and how fast it gets there.

On an undirected graph A_hat with self-loops has eigenvalues in (-1, 1]. The eigenvalue 1 has one
eigenvector a connected component, and everything else shrinks at least as fast as |lambda_2|^k.
Under symmetric normalisation that eigenvector is proportional to sqrt(degree + 1): the limit is
NOT a constant vector. Under row normalisation it is.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from course_lib.graphs.message_passing import (
    add_remaining_self_loops,
    check_edge_index,
    degree,
    gcn_norm,
)

__all__ = [
    "dirichlet_energy",
    "distance_to_limit",
    "second_eigenvalue",
    "smoothing_limit",
    "spectral_gap",
]


def _check_undirected(edge_index: Tensor, num_nodes: int) -> None:
    check_edge_index(edge_index, num_nodes)
    there, back = (e[0] * num_nodes + e[1] for e in (edge_index, edge_index.flip(0)))
    if not torch.equal(there.sort().values, back.sort().values):
        raise ValueError(
            "the graph is directed, and the limit is known for undirected ones: add the reverse "
            "edges with torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)"
        )


def _looped_degree(edge_index: Tensor, num_nodes: int, dtype: torch.dtype) -> Tensor:
    """The row sums of A + I, the degree d + 1 of each node: [N]."""
    looped, _ = add_remaining_self_loops(edge_index, num_nodes=num_nodes)
    return degree(looped[1], num_nodes, dtype)


def smoothing_limit(
    edge_index: Tensor, num_nodes: int, norm: str = "sym", dtype: torch.dtype | None = None
) -> Tensor:
    """An orthonormal basis of the limits of A_hat^k H: [N, number of connected components].

    Column c is zero off component c and, on it, proportional to sqrt(degree + 1) under "sym", to
    1 under "row" (up to length). Every column of lim A_hat^k H is a combination of these.

    Raises:
        ValueError: the graph is directed, or `norm` is neither "sym" nor "row".
    """
    if norm not in ("sym", "row"):
        raise ValueError(f'norm must be "sym" or "row", got {norm!r}')
    _check_undirected(edge_index, num_nodes)
    source, target = edge_index.cpu().numpy()
    ones = np.ones(len(source), dtype=bool)
    adjacency = sparse.coo_array((ones, (target, source)), shape=(num_nodes, num_nodes))
    count, component = csgraph.connected_components(adjacency.tocsr(), directed=False)
    size = _looped_degree(edge_index, num_nodes, dtype or torch.get_default_dtype())
    basis = size.new_zeros(num_nodes, count)
    label = torch.from_numpy(component).long().to(edge_index.device)
    entry = size.sqrt() if norm == "sym" else torch.ones_like(size)
    basis.scatter_(1, label.unsqueeze(1), entry.unsqueeze(1))
    return basis / basis.norm(dim=0)


def distance_to_limit(h: Tensor, basis: Tensor) -> Tensor:
    """||H - B B^T H|| / ||H||: 1 far from the limit, 0 when over-smoothed. A scalar tensor.

    Args:
        h: [N, F], one row a node.
        basis: B [N, C] with orthonormal columns, from `smoothing_limit`.

    Returns:
        The Frobenius norm of what is left off the limit's space, as a share; 0 if H is 0.
    """
    if h.dim() != 2 or h.size(0) != basis.size(0):
        raise ValueError(
            f"h must be [N, F] with N = {basis.size(0)} as in the basis, got {list(h.shape)}"
        )
    basis = basis.to(h.dtype)
    left = h - basis @ (basis.T @ h)
    size = h.norm()
    return left.norm() / size.masked_fill(size == 0, 1.0)


def dirichlet_energy(h: Tensor, edge_index: Tensor) -> Tensor:
    """tr(H^T (I - A_hat) H) = 1/2 sum over edges (u, v) of ||h_u/sqrt(d_u) - h_v/sqrt(d_v)||^2.

    d counts the node's own loop: d = degree + 1. Each edge stands in both directions in
    edge_index, hence the half. Zero exactly on the limits of the symmetric form. A scalar tensor.

    Args:
        h: [N, F]. edge_index: int64 [2, E] of an undirected graph.
    """
    check_edge_index(edge_index, h.size(0))
    scaled = h / _looped_degree(edge_index, h.size(0), h.dtype).sqrt().unsqueeze(1)
    difference = scaled.index_select(0, edge_index[0]) - scaled.index_select(0, edge_index[1])
    return difference.square().sum() / 2


def second_eigenvalue(edge_index: Tensor, num_nodes: int) -> float:
    """|lambda_2|: the largest modulus among the eigenvalues of A_hat that are not the limit's.

    ||A_hat^k H - limit|| <= |lambda_2|^k ||H - limit|| (symmetric form; the row form has the same
    eigenvalues). The eigenvalues 1, one a component, are taken out first, so this is below 1, and
    0 where nothing else is left.
    """
    basis = smoothing_limit(edge_index, num_nodes, dtype=torch.float64).cpu().numpy()
    edges, weight = gcn_norm(edge_index, num_nodes=num_nodes, dtype=torch.float64)
    source, target = edges.cpu().numpy()
    shape = (num_nodes, num_nodes)
    a_hat = sparse.coo_array((weight.cpu().numpy(), (target, source)), shape=shape).tocsr()
    if num_nodes <= 500:
        return float(np.abs(np.linalg.eigvalsh(a_hat.toarray() - basis @ basis.T)).max())
    thin = sparse.csr_array(basis)  # one entry a node

    def multiply(v: np.ndarray) -> np.ndarray:
        return a_hat @ v - thin @ (thin.T @ v)

    deflated = LinearOperator(shape, matvec=multiply, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(num_nodes)
    return float(np.abs(eigsh(deflated, k=1, which="LM", v0=start, return_eigenvectors=False))[0])


def spectral_gap(edge_index: Tensor, num_nodes: int) -> float:
    """1 - |lambda_2|: the smaller it is, the slower A_hat^k H approaches its limit."""
    return 1.0 - second_eigenvalue(edge_index, num_nodes)
