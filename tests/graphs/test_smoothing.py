"""Over-smoothing: limits, distances and rates against eigendecompositions and closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings

from course_lib.graphs.message_passing import gcn_norm
from course_lib.graphs.models import propagate
from course_lib.graphs.smoothing import (
    dirichlet_energy,
    distance_to_limit,
    second_eigenvalue,
    smoothing_limit,
    spectral_gap,
)
from course_lib.graphs.sparse import CSRMatrix
from tests.graphs.cases import GRAPHS, random_graphs

# a triangle with a tail, a pair, and an isolated node: three components
TAIL = torch.tensor([[0, 1], [1, 2], [2, 0], [2, 3], [4, 5]]).t()
EDGES, N = torch.cat([TAIL, TAIL.flip(0)], dim=1), 7


def _a_hat(edge_index, n, norm="sym") -> CSRMatrix:
    return CSRMatrix.from_edges(
        *gcn_norm(edge_index, num_nodes=n, norm=norm, dtype=torch.float64), n
    )


def _ring(n: int) -> torch.Tensor:
    node = torch.arange(n)
    step = torch.stack([node, (node + 1) % n])
    return torch.cat([step, step.flip(0)], dim=1)


def test_the_symmetric_limit_is_the_root_of_the_degree_plus_one_not_a_constant():
    basis = smoothing_limit(EDGES, N, dtype=torch.float64)
    roots = torch.tensor([3.0, 3, 4, 2, 0, 0, 0], dtype=torch.float64).sqrt()
    assert basis.shape == (7, 3)
    torch.testing.assert_close(basis[:, 0], roots / 12**0.5)
    assert basis[6].tolist() == [0, 0, 1]
    constant = torch.ones(4, 1, dtype=torch.float64)
    assert distance_to_limit(constant, basis[:4, :1]) > 0.1


@pytest.mark.parametrize("norm", ["sym", "row"])
def test_many_rounds_reach_the_limit_of_their_own_normalisation_only(norm):
    other = {"sym": "row", "row": "sym"}[norm]
    h = propagate(torch.randn(N, 3, dtype=torch.float64), _a_hat(EDGES, N, norm), 500)
    assert distance_to_limit(h, smoothing_limit(EDGES, N, norm)) < 1e-6
    assert distance_to_limit(h, smoothing_limit(EDGES, N, other)) > 1e-3


@given(graph=random_graphs())
@settings(max_examples=50, deadline=None)
def test_the_basis_is_orthonormal_and_unchanged_by_a_round(graph):
    edge_index, n = graph
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1)
    basis = smoothing_limit(both, n, dtype=torch.float64)
    eye = torch.eye(basis.size(1), dtype=torch.float64)
    torch.testing.assert_close(basis.T @ basis, eye)
    torch.testing.assert_close(_a_hat(both, n) @ basis, basis)
    assert 0 <= second_eigenvalue(both, n) < 1


@pytest.mark.parametrize("n", [5, 6, 9])
def test_the_rate_on_a_ring_is_analytic(n):
    """A_hat of a ring has eigenvalues (1 + 2 cos(2 pi j / n)) / 3."""
    ring = _ring(n)
    values = [abs((1 + 2 * math.cos(2 * math.pi * j / n)) / 3) for j in range(1, n)]
    assert second_eigenvalue(ring, n) == pytest.approx(max(values))
    assert spectral_gap(ring, n) == pytest.approx(1 - max(values))
    slowest = torch.cos(2 * math.pi * torch.arange(n, dtype=torch.float64) / n)[:, None]
    basis, matrix = smoothing_limit(ring, n, dtype=torch.float64), _a_hat(ring, n)
    h = slowest + 1
    left = [(lambda m: m - basis @ (basis.T @ m))(propagate(h, matrix, k)).norm() for k in (0, 3)]
    expected = ((1 + 2 * math.cos(2 * math.pi / n)) / 3) ** 3
    assert float(left[1] / left[0]) == pytest.approx(expected)


def test_nothing_outlives_the_second_eigenvalue():
    rate, matrix = second_eigenvalue(EDGES, N), _a_hat(EDGES, N)
    basis = smoothing_limit(EDGES, N, dtype=torch.float64)
    h = torch.randn(N, 3, dtype=torch.float64)
    start = (h - basis @ (basis.T @ h)).norm()
    for k in (1, 5, 20):
        smooth = propagate(h, matrix, k)
        left = (smooth - basis @ (basis.T @ smooth)).norm()
        assert left <= rate**k * start * (1 + 1e-9)


def test_large_graphs_agree_with_the_dense_solver():
    """Over 500 nodes the eigenvalue comes from Lanczos iterations; a ring's is known."""
    n = 600
    clique = torch.combinations(torch.arange(n, n + 6)).t()  # a second component
    edge_index = torch.cat([_ring(n), clique, clique.flip(0)], dim=1)
    expected = (1 + 2 * math.cos(2 * math.pi / n)) / 3
    assert second_eigenvalue(edge_index, n + 6) == pytest.approx(expected, abs=1e-9)


def test_dirichlet_energy_is_the_quadratic_form_of_the_laplacian():
    for edge_index in (EDGES, torch.cat([EDGES, torch.tensor([[1], [1]])], dim=1)):
        h = torch.randn(N, 3, dtype=torch.float64)
        laplacian = torch.eye(N, dtype=torch.float64) - _a_hat(EDGES, N).to_dense()
        torch.testing.assert_close(
            dirichlet_energy(h, edge_index), torch.trace(h.T @ laplacian @ h)
        )
    basis = smoothing_limit(EDGES, N, dtype=torch.float64)
    assert dirichlet_energy(basis, EDGES) < 1e-14
    assert dirichlet_energy(torch.ones(N, 1, dtype=torch.float64), EDGES) > 0.01


def test_distance_by_hand():
    basis = torch.tensor([[1.0], [0.0]])
    assert distance_to_limit(torch.tensor([[3.0], [4.0]]), basis).item() == pytest.approx(0.8)
    assert distance_to_limit(torch.zeros(2, 3), basis) == 0
    h = torch.tensor([[3.0], [4.0]], requires_grad=True)
    distance_to_limit(h, basis).backward()
    assert torch.isfinite(h.grad).all()


def test_no_edges_are_smooth_from_the_start():
    edge_index, n = GRAPHS["empty"]
    assert second_eigenvalue(edge_index, n) == pytest.approx(0)
    assert distance_to_limit(torch.randn(n, 2), smoothing_limit(edge_index, n)) < 1e-6


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="add the reverse edges"):
        smoothing_limit(*GRAPHS["directed"])
    with pytest.raises(ValueError, match='"sym" or "row"'):
        smoothing_limit(EDGES, N, "col")
    with pytest.raises(ValueError, match="with N = 7"):
        distance_to_limit(torch.ones(3, 2), smoothing_limit(EDGES, N))
    with pytest.raises(ValueError, match="cannot be negative"):
        propagate(torch.ones(N, 1), _a_hat(EDGES, N), -1)
