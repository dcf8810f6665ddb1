"""Relabelling the bodies of simulations, and what belongs to their pairs."""

from __future__ import annotations

from torch import Tensor

from course_lib.relations.graphs import edges_to_types, types_to_edges


def relabel_states(states: Tensor, order: list[int]) -> Tensor:
    """[B, N, ...]: body order[i] becomes body i."""
    return states[:, order]


def relabel_edges(edges: Tensor, order: list[int]) -> Tensor:
    """[B, E, K]: the pair (order[j], order[i]) becomes (j, i)."""
    matrices = types_to_edges(edges.transpose(1, 2))  # [B, E, K] -> [B, K, N, N]
    return edges_to_types(matrices[..., order, :][..., :, order]).transpose(1, 2)
