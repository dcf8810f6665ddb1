"""The constant sparse matrix: products, gradients, transposes, dropout, errors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.graphs.message_passing import gcn_norm
from course_lib.graphs.sparse import CSRMatrix
from tests.devices import devices
from tests.graphs.cases import GRAPHS, dense, random_graphs


def _matrix(rows: int = 5, columns: int = 7, dtype=torch.float64) -> CSRMatrix:
    entries = torch.randn(rows, columns, dtype=dtype)
    return CSRMatrix.from_dense(entries * (torch.rand(rows, columns) < 0.4))


@pytest.mark.parametrize("graph", GRAPHS)
def test_from_edges_has_targets_as_rows_and_adds_doubled_edges(graph):
    edge_index, n = GRAPHS[graph]
    weight = torch.rand(edge_index.size(1), dtype=torch.float64)
    matrix = CSRMatrix.from_edges(edge_index, weight, n)
    expected = dense(edge_index, weight, n)
    torch.testing.assert_close(matrix.to_dense(), expected)
    torch.testing.assert_close(matrix.T.to_dense(), expected.T)
    x = torch.randn(n, 3, dtype=torch.float64)
    torch.testing.assert_close(matrix @ x, expected @ x)
    torch.testing.assert_close(matrix @ x[:, 0], expected @ x[:, 0])


@given(graph=random_graphs(), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_product_and_gradient_equal_the_dense_ones(graph, seed):
    edge_index, n = graph
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(edge_index.size(1), dtype=torch.float64, generator=generator)
    matrix, full = CSRMatrix.from_edges(edge_index, weight, n), dense(edge_index, weight, n)
    x = torch.randn(n, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    (fast,) = torch.autograd.grad((matrix @ x).square().sum(), x)
    (slow,) = torch.autograd.grad((full @ x).square().sum(), x)
    torch.testing.assert_close(fast, slow)


def test_gradcheck_once_and_twice():
    matrix = _matrix()
    x = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: matrix @ h, x)
    assert torch.autograd.gradgradcheck(lambda h: (matrix @ h).pow(3), x)


def test_the_transpose_is_built_once_and_leads_back():
    matrix = _matrix()
    assert matrix.T is matrix.T
    assert matrix.T.T is matrix
    torch.testing.assert_close(matrix.T.to_dense(), matrix.to_dense().T)


def test_dropout_scales_what_it_keeps_in_the_matrix_and_its_transpose():
    matrix = CSRMatrix.from_dense(torch.ones(60, 70, dtype=torch.float64))
    dropped = matrix.dropout(0.25, generator=torch.Generator().manual_seed(1))
    values, counts = dropped.values.unique(return_counts=True)
    torch.testing.assert_close(values, torch.tensor([0, 4 / 3], dtype=torch.float64))
    # 4200 draws: the share of zeros is within 5 standard deviations of 0.25
    assert abs(counts[0].item() / 4200 - 0.25) < 5 * (0.25 * 0.75 / 4200) ** 0.5
    for derived in (dropped, dropped.dropout(0.5), dropped.T.dropout(0.5)):
        torch.testing.assert_close(derived.T.to_dense(), derived.to_dense().T)
    again = matrix.dropout(0.25, generator=torch.Generator().manual_seed(1))
    assert torch.equal(again.values, dropped.values)


def test_dropout_off():
    matrix = _matrix()
    assert matrix.dropout(0.5, training=False) is matrix
    assert matrix.dropout(0.0) is matrix
    assert matrix.dropout(1.0).values.abs().sum() == 0


def test_dropped_features_backpropagate_through_the_entries_that_were_kept():
    matrix = _matrix().dropout(0.5, generator=torch.Generator().manual_seed(0))
    weight = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    (matrix @ weight).sum().backward()
    torch.testing.assert_close(weight.grad, matrix.to_dense().sum(0)[:, None].expand(7, 2))


def test_to_changes_the_dtype_and_keeps_the_numbers():
    matrix = _matrix()
    assert matrix.to(torch.device("cpu")) is matrix
    single = matrix.to(dtype=torch.float32)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.to_dense(), matrix.to_dense().float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("device", devices())
def test_device_parity(device, dtype):
    edge_index, n = GRAPHS["self_loop"]
    matrix = CSRMatrix.from_edges(*gcn_norm(edge_index, num_nodes=n, dtype=torch.float64), n)
    x = torch.randn(n, 4, dtype=torch.float64, requires_grad=True)
    (matrix @ x).square().sum().backward()
    moved = x.detach().to(device, dtype).requires_grad_()
    out = matrix.to(device, dtype) @ moved
    out.square().sum().backward()
    torch.testing.assert_close(out.cpu().double(), matrix @ x, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(moved.grad.cpu().double(), x.grad, rtol=1e-5, atol=1e-6)


def test_coefficients_that_want_a_gradient_are_refused():
    edge_index, n = GRAPHS["directed"]
    with pytest.raises(ValueError, match="pass edge_index and edge_weight to the layer"):
        CSRMatrix.from_edges(edge_index, torch.ones(5, requires_grad=True), n)
    with pytest.raises(ValueError, match="gives them no gradient"):
        CSRMatrix.from_dense(torch.ones(2, 2, requires_grad=True))


def test_errors_say_what_to_do():
    matrix = _matrix()
    with pytest.raises(ValueError, match=r"multiplies 7 rows, got a dense \[5, 2\]"):
        matrix @ torch.ones(5, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"matrix\.to\(x\.device, x\.dtype\)"):
        matrix @ torch.ones(7, 2)
    with pytest.raises(ValueError, match="names node 4"):
        CSRMatrix.from_edges(torch.tensor([[4], [0]]), torch.ones(1), 4)
    with pytest.raises(ValueError, match="one number an edge"):
        CSRMatrix.from_edges(torch.tensor([[0], [0]]), torch.ones(3), 4)
    with pytest.raises(ValueError, match="between 0 and 1"):
        matrix.dropout(1.5)
    with pytest.raises(ValueError, match="from_dense or"):
        CSRMatrix(torch.ones(2, 2))
    with pytest.raises(ValueError, match=r"a matrix \[R, C\]"):
        CSRMatrix.from_dense(torch.ones(3))
    with pytest.raises(TypeError):
        matrix @ 3
