"""The estimators: unbiased, exact where they read everything, and of the variance they claim.

Statistical bounds are five standard errors, computed from the exact variance of the estimator;
seeds are fixed, so a run that passes keeps passing.
"""

from __future__ import annotations

import itertools
from functools import partial

import pytest
import torch

from course_lib.graphs.bandit import (
    BanditSampler,
    neighbor_variance,
    optimal_neighbor_distribution,
)
from course_lib.graphs.message_passing import degree, gcn_norm
from course_lib.graphs.sampling import (
    fastgcn_distribution,
    fastgcn_estimate,
    ladies_distribution,
    ladies_estimate,
    layer_estimate,
    layer_variance,
    neighbor_estimate,
    neighborhood_sizes,
    optimal_layer_distribution,
    sample_neighbors,
)
from course_lib.graphs.sparse import CSRMatrix
from tests.devices import devices
from tests.graphs.cases import GRAPHS

REPEATS = 4000


def _hub_graph(num_nodes: int = 12, device="cpu") -> tuple[CSRMatrix, torch.Tensor, torch.Tensor]:
    """Node 0 is everybody's neighbour, a ring joins the others, the last node is isolated."""
    ring = torch.arange(1, num_nodes - 1)
    edges = torch.stack([ring, ring.roll(1)])
    spokes = torch.stack([torch.zeros_like(ring), ring])
    edge_index = torch.cat([edges, edges.flip(0), spokes, spokes.flip(0)], dim=1)
    fixed = gcn_norm(edge_index, num_nodes=num_nodes, dtype=torch.float64)
    generator = torch.Generator().manual_seed(3)
    h = torch.randn(num_nodes, 3, dtype=torch.float64, generator=generator)
    h = h * torch.linspace(0.1, 4, num_nodes, dtype=torch.float64)[:, None]
    targets = torch.tensor([5, 0, 11, 2])
    matrix = CSRMatrix.from_edges(*fixed, num_nodes)
    return matrix.to(device), h.to(device), targets.to(device)


def _uniform(matrix: CSRMatrix) -> torch.Tensor:
    size = matrix.crow.diff()
    return (1 / size.double()).repeat_interleave(size)


def _assert_unbiased(estimates: torch.Tensor, exact: torch.Tensor) -> None:
    """estimates [R, T, F]: their mean is within five standard errors of `exact`, entry by entry."""
    error = estimates.std(0) / len(estimates) ** 0.5
    assert ((estimates.mean(0) - exact).abs() <= 5 * error + 1e-12).all()


def _assert_total_variance(estimates: torch.Tensor, exact: torch.Tensor, claimed: float) -> None:
    squares = (estimates - exact).square().sum((1, 2))
    error = squares.std() / len(squares) ** 0.5
    assert abs(squares.mean() - claimed) < 5 * error


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_neighbor_estimate_is_unbiased(k, replace):
    matrix, h, targets = _hub_graph()
    repeated = targets.repeat(REPEATS)  # targets are drawn for independently
    generator = torch.Generator().manual_seed(0)
    out = neighbor_estimate(matrix, h, repeated, k, generator, replace).view(REPEATS, 4, 3)
    exact = (matrix @ h)[targets]
    _assert_unbiased(out, exact)
    claimed = 0.0
    for target in targets:
        size = int(matrix.crow[target + 1] - matrix.crow[target])
        # without replacement the variance falls by (n - k) / (n - 1)
        factor = 1.0 if replace or size == 1 else max(size - k, 0) / (size - 1)
        claimed += factor * neighbor_variance(matrix, h, target[None], _uniform(matrix), k)
    _assert_total_variance(out, exact, claimed)


@pytest.mark.parametrize("k", [11, 50])
def test_k_at_least_the_degree_is_exact(k):
    matrix, h, targets = _hub_graph()
    torch.testing.assert_close(neighbor_estimate(matrix, h, targets, k), (matrix @ h)[targets])


def test_every_subset_of_neighbours_is_equally_likely():
    matrix, _, _ = _hub_graph()
    marks = 10.0 ** torch.arange(12, dtype=torch.float64)  # a sum of marks names its subset
    ones = CSRMatrix.from_dense((matrix.to_dense() != 0).double())
    row = torch.full((6000,), 5)  # four entries: itself, the hub and two of the ring
    drawn = neighbor_estimate(ones, marks[:, None], row, 2, torch.Generator().manual_seed(0))
    values, counts = (drawn * 2 / 4).round().unique(return_counts=True)
    subsets = {marks[list(pair)].sum().item() for pair in itertools.combinations((0, 4, 5, 6), 2)}
    assert set(values.tolist()) == subsets
    # six subsets, 1000 expected each: five standard deviations of a binomial are 144
    assert (counts - 1000).abs().max() < 144


ESTIMATES = {
    "fastgcn": (fastgcn_estimate, lambda m, h, t: fastgcn_distribution(m)),
    "ladies": (ladies_estimate, lambda m, h, t: ladies_distribution(m, t)),
    "optimal": (
        lambda m, h, t, s, g: layer_estimate(m, h, t, optimal_layer_distribution(m, h, t), s, g),
        optimal_layer_distribution,
    ),
}


@pytest.mark.parametrize("name", ESTIMATES)
def test_layer_estimates_are_unbiased_with_the_variance_claimed(name):
    matrix, h, targets = _hub_graph()
    estimate, distribution = ESTIMATES[name]
    generator = torch.Generator().manual_seed(0)
    out = torch.stack([estimate(matrix, h, targets, 6, generator) for _ in range(2000)])
    exact = (matrix @ h)[targets]
    _assert_unbiased(out, exact)
    q = distribution(matrix, h, targets)
    torch.testing.assert_close(q.sum(), torch.ones((), dtype=torch.float64))
    _assert_total_variance(out, exact, layer_variance(matrix, h, targets, q, 6))


def test_one_draw_enumerated_averages_to_the_exact_value():
    matrix, h, targets = _hub_graph()
    full, q = matrix.to_dense()[targets], ladies_distribution(matrix, targets)
    outcomes = [full[:, u : u + 1] * h[u] / q[u] for u in range(12) if q[u] > 0]
    mean = sum(p * outcome for p, outcome in zip(q[q > 0], outcomes))
    torch.testing.assert_close(mean, full @ h)
    drawn = layer_estimate(matrix, h, targets, q, 1, torch.Generator().manual_seed(2))
    assert any(torch.allclose(drawn, outcome) for outcome in outcomes)


def test_the_optimal_distributions_have_the_least_variance():
    matrix, h, targets = _hub_graph()
    best = optimal_layer_distribution(matrix, h, targets)
    least = layer_variance(matrix, h, targets, best, 6)
    ladies = layer_variance(matrix, h, targets, ladies_distribution(matrix, targets), 6)
    fastgcn = layer_variance(matrix, h, targets, fastgcn_distribution(matrix), 6)
    assert least < min(ladies, fastgcn)
    node_best = optimal_neighbor_distribution(matrix, h)
    node_least = neighbor_variance(matrix, h, targets, node_best, 2)
    assert node_least < neighbor_variance(matrix, h, targets, _uniform(matrix), 2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):  # and any other distribution near the best is worse
        nudge = 1 + 0.3 * torch.rand(12, dtype=torch.float64, generator=generator)
        other = best * nudge / (best * nudge).sum()
        assert layer_variance(matrix, h, targets, other, 6) >= least


def test_a_biased_distribution_is_refused():
    matrix, h, targets = _hub_graph()
    q = torch.zeros(12, dtype=torch.float64)
    q[0] = 1
    with pytest.raises(ValueError, match="would be biased"):
        layer_estimate(matrix, h, targets, q, 3)
    with pytest.raises(ValueError, match="no column to draw from"):
        nothing = CSRMatrix.from_dense(torch.zeros(3, 3))
        ladies_distribution(nothing, torch.tensor([0]))


def test_estimates_of_rows_without_entries_are_zero():
    edge_index, n = GRAPHS["star_in"]
    matrix = CSRMatrix.from_edges(edge_index, torch.ones(6), n)
    leaves, h = torch.tensor([1, 0, 3]), torch.ones(n, 2)
    for replace in (False, True):
        out = neighbor_estimate(matrix, h, leaves, 2, replace=replace)
        assert out.tolist() == [[0, 0], [6, 6], [0, 0]]
    expected = torch.tensor([[0.0, 0], [6, 6], [0, 0]])
    torch.testing.assert_close(BanditSampler(matrix).estimate(h, leaves, 2), expected)


def test_the_bandit_is_unbiased_while_it_learns():
    matrix, h, targets = _hub_graph()
    generator = torch.Generator().manual_seed(0)
    sampler = BanditSampler(matrix)
    exact = (matrix @ h)[targets]
    out = torch.stack([sampler.estimate(h, targets, 2, generator) for _ in range(2000)])
    _assert_unbiased(out, exact)
    torch.testing.assert_close(
        torch.stack([r.sum() for r in sampler.q.split(matrix.crow.diff().tolist())]),
        torch.ones(12, dtype=torch.float64),
    )


def test_the_bandit_learns_a_better_distribution_than_the_uniform_one():
    matrix, h, targets = _hub_graph()
    generator = torch.Generator().manual_seed(0)
    sampler = BanditSampler(matrix)
    variance = partial(neighbor_variance, matrix, h, targets, k=2)
    start = variance(q=sampler.q)
    assert start == pytest.approx(variance(q=_uniform(matrix)))
    for _ in range(1000):
        sampler.estimate(h, targets, 2, generator)
    least = variance(q=optimal_neighbor_distribution(matrix, h))
    learned = variance(q=sampler.q)
    assert least < learned < start - 0.5 * (start - least)
    unchanged = sampler.q.clone()
    sampler.estimate(h, targets, 2, generator, learn=False)
    assert torch.equal(sampler.q, unchanged)


def test_estimates_backpropagate_to_h():
    matrix, h, targets = _hub_graph()
    for estimate in (partial(neighbor_estimate, k=20), partial(ladies_estimate, num_samples=5)):
        h = h.detach().requires_grad_()
        estimate(matrix, h, targets).sum().backward()
        assert h.grad.abs().sum() > 0


def test_sample_neighbors_keeps_at_most_k_real_edges_of_the_nodes_asked_for():
    edge_index = torch.cat([GRAPHS["star_in"][0], torch.tensor([[0, 1, 2], [1, 1, 1]])], dim=1)
    generator = torch.Generator().manual_seed(0)
    sampled = sample_neighbors(edge_index, 7, torch.tensor([0, 1, 0]), 4, generator)
    assert degree(sampled[1], 7).tolist() == [4, 3, 0, 0, 0, 0, 0]
    edges = {tuple(e) for e in edge_index.t().tolist()}
    found = [tuple(e) for e in sampled.t().tolist()]
    assert len(set(found)) == len(found)
    assert set(found) <= edges
    again = sample_neighbors(
        edge_index, 7, torch.tensor([0, 1]), 4, torch.Generator().manual_seed(0)
    )
    assert torch.equal(sampled, again)
    assert sample_neighbors(edge_index, 7, torch.tensor([6]), 4).shape == (2, 0)
    assert sample_neighbors(edge_index, 7, torch.tensor([0]), 0).shape == (2, 0)
    with pytest.raises(ValueError, match="cannot be negative"):
        sample_neighbors(edge_index, 7, torch.tensor([0]), -1)


def test_neighborhood_sizes_by_hand():
    path, _ = GRAPHS["undirected"]
    assert neighborhood_sizes(path, torch.tensor([0]), 4) == [1, 2, 3, 4, 4]
    star, _ = GRAPHS["star_in"]
    assert neighborhood_sizes(star, torch.tensor([0]), 1) == [1, 7]  # sources are needed
    assert neighborhood_sizes(star, torch.tensor([3, 3]), 2) == [1, 1, 1]
    assert neighborhood_sizes(GRAPHS["empty"][0], torch.tensor([2]), 1) == [1, 1]


@pytest.mark.parametrize("device", devices())
def test_device_parity_where_the_estimate_is_exact(device):
    matrix, h, targets = _hub_graph(device=device)
    exact = (matrix @ h)[targets]
    torch.testing.assert_close(neighbor_estimate(matrix, h, targets, 12), exact)
    generator = torch.Generator(device).manual_seed(0)
    for estimate in (
        partial(neighbor_estimate, matrix, h, targets, 2, generator, True),
        partial(ladies_estimate, matrix, h, targets, 6, generator),
        partial(BanditSampler(matrix).estimate, h, targets, 2, generator),
    ):
        out = torch.stack([estimate() for _ in range(500)])
        _assert_unbiased(out, exact)
