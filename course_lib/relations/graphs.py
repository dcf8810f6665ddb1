"""The complete graph on N bodies without self-loops, and the two ways to write what its edges are.

Edge (j, i) says what the sender j does to the receiver i. The edges are sorted by receiver, then by
sender, so the N - 1 edges that enter body i are the rows i (N - 1) ... (i + 1)(N - 1) - 1, and a sum
over incoming edges is a reshape, [E, F] -> [N, N - 1, F], then a sum over the middle axis. For N = 3:

    edge       0  1  2  3  4  5
    sender     1  2  0  2  0  1
    receiver   0  0  1  1  2  2

A value per edge is either a vector `types [..., E]` in this order, E = N (N - 1), or a matrix
`edges [..., N, N]` with the receiver as its row, the sender as its column, and a diagonal that means
nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["complete_graph", "edges_to_types", "reverse_edges", "types_to_edges"]


def complete_graph(bodies: int, device: torch.device | str | None = None) -> Tensor:
    """`edge_index`, int64 [2, E]: every ordered pair of distinct bodies, E = N (N - 1).

    Args:
        bodies: N, at least 1.
        device: where the index shall lie.

    Returns:
        [2, E], row 0 the senders, row 1 the receivers, sorted by receiver, then by sender.

    Raises:
        ValueError: where `bodies` is below 1.
    """
    if bodies < 1:
        raise ValueError(f"a graph has at least one body, got bodies={bodies}")
    receivers = torch.arange(bodies, device=device).repeat_interleave(bodies - 1)  # [E]
    place = torch.arange(bodies - 1, device=device).repeat(bodies)  # [E] 0 .. N-2 a receiver
    return torch.stack([place + (place >= receivers), receivers])  # skip the receiver itself


def edges_to_types(edges: Tensor) -> Tensor:
    """The off-diagonal entries of [..., N, N] as [..., E] in the order of `complete_graph(N)`.

    Works for types (int64), for weights and for probabilities; gradients pass.

    Raises:
        ValueError: where the last two axes are not equal.
    """
    if edges.dim() < 2 or edges.size(-1) != edges.size(-2):
        raise ValueError(f"edges must be square matrices [..., N, N], got {list(edges.shape)}")
    senders, receivers = complete_graph(edges.size(-1), device=edges.device)
    return edges[..., receivers, senders]


def types_to_edges(types: Tensor) -> Tensor:
    """The matrices [..., N, N] (row receives, column sends) of [..., E]; the diagonal is 0.

    The inverse of `edges_to_types` off the diagonal; N follows from E = N (N - 1).

    Raises:
        ValueError: where E is not N (N - 1) for any N >= 2.
    """
    count = types.size(-1) if types.dim() else 0
    bodies = (1 + math.isqrt(1 + 4 * count)) // 2
    if count == 0 or bodies * (bodies - 1) != count:
        raise ValueError(
            f"the last axis of types must be N (N - 1) = 2, 6, 12, 20, ... edges of a complete "
            f"graph without self-loops, got {list(types.shape)}"
        )
    senders, receivers = complete_graph(bodies, device=types.device)
    edges = types.new_zeros(*types.shape[:-1], bodies, bodies)
    edges[..., receivers, senders] = types
    return edges


def reverse_edges(bodies: int, device: torch.device | str | None = None) -> Tensor:
    """int64 [E]: entry e is the place of the edge that runs the other way, (i, j) for (j, i).

    `types[..., reverse_edges(N)]` are the types of the transposed matrix, so a graph is undirected
    where it equals `types`.
    """
    senders, receivers = complete_graph(bodies, device=device)
    return senders * (bodies - 1) + receivers - (receivers > senders).long()
