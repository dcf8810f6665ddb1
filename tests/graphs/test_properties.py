"""What holds for every graph: permutation equivariance, batching, bounds (Hypothesis)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.graphs.layers import GCNConv, GINConv, SAGEConv, SGConv
from course_lib.graphs.message_passing import aggregate, gcn_norm, segment_softmax
from course_lib.graphs.models import GCN
from course_lib.graphs.sparse import CSRMatrix
from tests.graphs.cases import random_graphs

LAYERS = {
    "gcn sym": lambda: GCNConv(3, 2),
    "gcn row": lambda: GCNConv(3, 5, norm="row"),
    "gin": lambda: GINConv(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), 0.1),
    "sgc": lambda: SGConv(3, 2, K=2),
    "sage mean": lambda: SAGEConv(3, 2),
    "sage max": lambda: SAGEConv(3, 2, "max"),
    "deep residual gcn": lambda: GCN(3, 4, 2, num_layers=4, residual=True).eval(),
}
EXAMPLES = settings(max_examples=25, deadline=None)


def _layer(name: str) -> nn.Module:
    torch.manual_seed(0)
    return LAYERS[name]().double()


def _features(num_nodes: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_nodes, 3, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("name", LAYERS)
@given(graph=random_graphs(), seed=st.integers(0, 99))
@EXAMPLES
def test_renumbering_the_nodes_renumbers_the_result(name, graph, seed):
    edge_index, n = graph
    layer, x = _layer(name), _features(n, seed)
    new_number = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    moved = torch.empty_like(x)
    moved[new_number] = x
    torch.testing.assert_close(
        layer(moved, new_number[edge_index])[new_number], layer(x, edge_index)
    )


@pytest.mark.parametrize("name", LAYERS)
@given(graph=random_graphs(), seed=st.integers(0, 99))
@EXAMPLES
def test_the_order_of_the_edges_does_not_matter(name, graph, seed):
    edge_index, n = graph
    layer, x = _layer(name), _features(n, seed)
    order = torch.randperm(edge_index.size(1), generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(layer(x, edge_index[:, order]), layer(x, edge_index))


@pytest.mark.parametrize("name", LAYERS)
@given(first=random_graphs(), second=random_graphs(), seed=st.integers(0, 99))
@EXAMPLES
def test_a_disjoint_union_computes_both_graphs_at_once(name, first, second, seed):
    (edges_a, n_a), (edges_b, n_b) = first, second
    layer, x = _layer(name), _features(n_a + n_b, seed)
    together = layer(x, torch.cat([edges_a, edges_b + n_a], dim=1))
    torch.testing.assert_close(together[:n_a], layer(x[:n_a], edges_a))
    torch.testing.assert_close(together[n_a:], layer(x[n_a:], edges_b))


@given(graph=random_graphs(), seed=st.integers(0, 99))
@EXAMPLES
def test_row_coefficients_sum_to_one_and_means_stay_within_bounds(graph, seed):
    edge_index, n = graph
    edges, weight = gcn_norm(edge_index, num_nodes=n, norm="row", dtype=torch.float64)
    ones = torch.ones(n, dtype=torch.float64)
    torch.testing.assert_close(aggregate(weight, edges[1], n), ones)
    x = _features(n, seed)
    mean = CSRMatrix.from_edges(edges, weight, n) @ x
    assert (mean <= x.max(0).values + 1e-12).all()
    assert (mean >= x.min(0).values - 1e-12).all()


@given(graph=random_graphs(max_edges=8))
@EXAMPLES
def test_the_symmetric_form_of_an_undirected_graph_is_symmetric_with_norm_at_most_one(graph):
    edge_index, n = graph
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1)
    a_hat = CSRMatrix.from_edges(*gcn_norm(both, num_nodes=n, dtype=torch.float64), n).to_dense()
    torch.testing.assert_close(a_hat, a_hat.T)
    eigenvalues = torch.linalg.eigvalsh(a_hat)
    assert eigenvalues.abs().max() <= 1 + 1e-12
    assert eigenvalues.max() >= 1 - 1e-12  # reached by sqrt(degree + 1)


@given(graph=random_graphs(), seed=st.integers(0, 99), shift=st.floats(-50, 50))
@EXAMPLES
def test_softmax_sums_to_one_over_each_segment_and_ignores_a_shift(graph, seed, shift):
    edge_index, n = graph
    target = edge_index[1]
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(target.numel(), dtype=torch.float64, generator=generator)
    weights = segment_softmax(scores, target, n)
    hears = torch.bincount(target, minlength=n) > 0
    torch.testing.assert_close(aggregate(weights, target, n), hears.double())
    torch.testing.assert_close(segment_softmax(scores + shift, target, n), weights)


@given(graph=random_graphs(), seed=st.integers(0, 99))
@EXAMPLES
def test_extremes_and_means_are_ordered(graph, seed):
    edge_index, n = graph
    x = _features(n, seed).index_select(0, edge_index[0])
    least, mean, most = (aggregate(x, edge_index[1], n, r) for r in ("min", "mean", "max"))
    assert (least <= mean + 1e-12).all()
    assert (mean <= most + 1e-12).all()
