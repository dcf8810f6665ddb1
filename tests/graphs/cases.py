"""Small graphs at which message passing tends to go wrong, and random ones for Hypothesis."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

# name -> (edges source > target, number of nodes)
_EDGES = {
    "directed": ([(0, 1), (0, 2), (1, 2), (3, 0), (2, 4)], 5),
    "undirected": ([(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)], 4),
    "multi_edge": ([(0, 1), (0, 1), (0, 1), (1, 2), (2, 0), (2, 0)], 3),
    "self_loop": ([(0, 0), (0, 1), (1, 2), (2, 2), (2, 1)], 3),
    "star_in": ([(leaf, 0) for leaf in range(1, 7)], 7),
    "star_out": ([(0, leaf) for leaf in range(1, 7)], 7),
    "empty": ([], 4),
    "isolated": ([(0, 1), (1, 0), (3, 1)], 6),
    "one_node": ([], 1),
    "one_loop": ([(0, 0)], 1),
}
GRAPHS = {
    name: (torch.tensor(edges, dtype=torch.int64).view(-1, 2).t().contiguous(), num_nodes)
    for name, (edges, num_nodes) in _EDGES.items()
}


def dense(edge_index: Tensor, weight: Tensor, num_nodes: int) -> Tensor:
    """A[v, u] = sum of the weights of the edges from u to v, by a plain loop."""
    matrix = torch.zeros(num_nodes, num_nodes, dtype=weight.dtype)
    for (source, target), w in zip(edge_index.t().tolist(), weight):
        matrix[target, source] += w
    return matrix


@st.composite
def random_graphs(draw, max_nodes: int = 8, max_edges: int = 20) -> tuple[Tensor, int]:
    """Any directed multigraph: loops, doubled edges, isolated nodes and no edges included."""
    num_nodes = draw(st.integers(1, max_nodes))
    node = st.integers(0, num_nodes - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=max_edges))
    return torch.tensor(edges, dtype=torch.int64).view(-1, 2).t().contiguous(), num_nodes
