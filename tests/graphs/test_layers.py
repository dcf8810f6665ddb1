"""The layers against torch_geometric, same weights: values, input and parameter gradients."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch_geometric.nn as pyg
from torch import nn

from course_lib.graphs.layers import GCNConv, GINConv, SAGEConv, SGConv
from course_lib.graphs.message_passing import gcn_norm
from course_lib.graphs.sparse import CSRMatrix
from tests.devices import devices
from tests.graphs.cases import GRAPHS


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


# name -> (ours, torch_geometric's), both built with the same arguments; x has 4 features
PAIRS = {
    "gcn narrowing": (partial(GCNConv, 4, 3), partial(pyg.GCNConv, 4, 3)),
    "gcn widening": (partial(GCNConv, 4, 9), partial(pyg.GCNConv, 4, 9)),
    "gcn without bias": (
        partial(GCNConv, 4, 3, bias=False),
        partial(pyg.GCNConv, 4, 3, bias=False),
    ),
    "gcn without loops": (
        partial(GCNConv, 4, 3, add_self_loops=False),
        partial(pyg.GCNConv, 4, 3, add_self_loops=False),
    ),
    "gcn unnormalised": (
        partial(GCNConv, 4, 3, normalize=False),
        partial(pyg.GCNConv, 4, 3, normalize=False),
    ),
    "sgc": (partial(SGConv, 4, 3, K=3), partial(pyg.SGConv, 4, 3, K=3)),
    "sgc widening": (partial(SGConv, 4, 9, K=2), partial(pyg.SGConv, 4, 9, K=2)),
    "sgc without averaging": (partial(SGConv, 4, 3, K=0), partial(pyg.SGConv, 4, 3, K=0)),
    "gin": (lambda: GINConv(_mlp(), eps=0.3), lambda: pyg.GINConv(_mlp(), eps=0.3)),
    "gin learned eps": (
        lambda: GINConv(_mlp(), train_eps=True),
        lambda: pyg.GINConv(_mlp(), train_eps=True),
    ),
    "sage mean": (partial(SAGEConv, 4, 3), partial(pyg.SAGEConv, 4, 3)),
    "sage sum": (partial(SAGEConv, 4, 3, "sum"), partial(pyg.SAGEConv, 4, 3, "sum")),
    "sage max": (partial(SAGEConv, 4, 3, "max"), partial(pyg.SAGEConv, 4, 3, "max")),
    "sage min": (partial(SAGEConv, 4, 3, "min"), partial(pyg.SAGEConv, 4, 3, "min")),
    "sage normalized": (
        partial(SAGEConv, 4, 3, normalize=True),
        partial(pyg.SAGEConv, 4, 3, normalize=True),
    ),
    "sage without root": (
        partial(SAGEConv, 4, 3, root_weight=False),
        partial(pyg.SAGEConv, 4, 3, root_weight=False),
    ),
}
WEIGHTED = [name for name in PAIRS if name.startswith(("gcn", "sgc"))]


def _same_weights(name: str) -> tuple[nn.Module, nn.Module]:
    make_ours, make_theirs = PAIRS[name]
    ours, theirs = make_ours().double(), make_theirs().double()
    with torch.no_grad():
        for parameter in theirs.parameters():  # biases too, which begin at zero
            parameter.copy_(torch.randn_like(parameter))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def _assert_same(ours, theirs, x, ours_args, theirs_args) -> None:
    """Values, the gradient of x and of every parameter agree in float64."""
    x_ours, x_theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    out, oracle = ours(x_ours, *ours_args), theirs(x_theirs, *theirs_args)
    torch.testing.assert_close(out, oracle)
    grad = torch.randn_like(out)
    out.backward(grad)
    oracle.backward(grad)
    torch.testing.assert_close(x_ours.grad, x_theirs.grad)
    oracles = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, oracles[key].grad)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", PAIRS)
def test_layer_against_pyg(name, graph):
    edge_index, n = GRAPHS[graph]
    ours, theirs = _same_weights(name)
    x = torch.randn(n, 4, dtype=torch.float64)
    _assert_same(ours, theirs, x, (edge_index,), (edge_index,))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", WEIGHTED)
def test_weighted_layer_against_pyg(name, graph):
    edge_index, n = GRAPHS[graph]
    ours, theirs = _same_weights(name)
    x = torch.randn(n, 4, dtype=torch.float64)
    weight = torch.rand(edge_index.size(1), dtype=torch.float64)
    _assert_same(ours, theirs, x, (edge_index, weight), (edge_index, weight))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", ["gcn narrowing", "gcn widening", "sgc", "sgc widening"])
def test_fixed_coefficients_agree_with_the_edge_list(name, graph):
    edge_index, n = GRAPHS[graph]
    ours, _ = _same_weights(name)
    fixed = CSRMatrix.from_edges(*gcn_norm(edge_index, num_nodes=n, dtype=torch.float64), n)
    x = torch.randn(n, 4, dtype=torch.float64)
    _assert_same(ours, _copy(ours, name), x, (fixed,), (edge_index,))
    features = CSRMatrix.from_dense(x * (x > 0))
    expected = ours(features.to_dense(), edge_index)
    for edges in (edge_index, fixed):
        torch.testing.assert_close(ours(features, edges), expected)


def _copy(layer: nn.Module, name: str) -> nn.Module:
    copy = PAIRS[name][0]().double()
    copy.load_state_dict(layer.state_dict())
    return copy


@pytest.mark.parametrize("graph", GRAPHS)
def test_gin_and_sage_take_a_matrix(graph):
    edge_index, n = GRAPHS[graph]
    ones = torch.ones(edge_index.size(1), dtype=torch.float64)
    x = torch.randn(n, 4, dtype=torch.float64)
    gin, _ = _same_weights("gin")
    adjacency = CSRMatrix.from_edges(edge_index, ones, n)
    _assert_same(gin, _copy(gin, "gin"), x, (adjacency,), (edge_index,))
    sage, _ = _same_weights("sage mean")
    mean = gcn_norm(edge_index, ones, n, add_self_loops=False, norm="row")
    mean = CSRMatrix.from_edges(*mean, n)
    _assert_same(sage, _copy(sage, "sage mean"), x, (mean,), (edge_index,))


def test_row_norm_is_the_mean_over_the_neighbourhood_with_itself():
    edge_index, _ = GRAPHS["undirected"]  # a path of four nodes
    layer = GCNConv(1, 1, norm="row", bias=False)
    nn.init.ones_(layer.lin.weight)
    out = layer(torch.tensor([[3.0], [6.0], [9.0], [15.0]]), edge_index)
    torch.testing.assert_close(out, torch.tensor([[4.5], [6.0], [10.0], [12.0]]))


def test_gcn_starts_with_glorot_weights_and_zero_bias():
    torch.manual_seed(0)
    layer = GCNConv(300, 200)
    bound = (6 / 500) ** 0.5
    assert 0.95 * bound < layer.lin.weight.abs().max() <= bound
    assert layer.bias.abs().max() == 0


def test_learned_edge_weights_get_a_gradient():
    edge_index, n = GRAPHS["self_loop"]
    layer = GCNConv(4, 3).double()
    x = torch.randn(n, 4, dtype=torch.float64)
    weight = torch.rand(edge_index.size(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda w: layer(x, edge_index, w), weight)


@pytest.mark.parametrize("layer", [GCNConv(4, 3), SGConv(4, 3), SAGEConv(4, 3), GINConv(_mlp())])
def test_wrong_inputs_are_named(layer):
    edge_index, n = GRAPHS["directed"]
    matrix = CSRMatrix.from_edges(edge_index, torch.ones(edge_index.size(1)), n)
    x = torch.randn(n, 4)
    with pytest.raises(ValueError, match=r"got int64 \[5, 2\]: transpose it"):
        layer(x, edge_index.t())
    with pytest.raises(ValueError, match="names node 4, but nodes are numbered 0 to 3"):
        layer(x[:4], edge_index)
    with pytest.raises(ValueError, match="x has 4 rows but the matrix has 5 columns"):
        layer(x[:4], matrix)
    with pytest.raises(ValueError, match=r"x must be \[N, F\]"):
        layer(x[:, 0], edge_index)
    features = CSRMatrix.from_dense(x)
    if isinstance(layer, GCNConv | SGConv):
        with pytest.raises(ValueError, match="holds its own coefficients"):
            layer(x, matrix, torch.ones(edge_index.size(1)))
    else:
        with pytest.raises(ValueError, match="needs dense node features"):
            layer(features, edge_index)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match='"sym" or "row"'):
        GCNConv(4, 3, norm="both")
    with pytest.raises(ValueError, match="cannot be negative"):
        SGConv(4, 3, K=-1)
    edge_index, n = GRAPHS["directed"]
    matrix = CSRMatrix.from_edges(edge_index, torch.ones(edge_index.size(1)), n)
    with pytest.raises(ValueError, match="cannot take a max"):
        SAGEConv(4, 3, "max")(torch.randn(n, 4), matrix)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("device", devices())
def test_device_parity(device, name, dtype):
    """Forward and backward on each device agree with the CPU in float64."""
    edge_index, n = GRAPHS["self_loop"]
    oracle, _ = _same_weights(name)
    layer = _copy(oracle, name).to(device, dtype)
    x = torch.randn(n, 4, dtype=torch.float64, requires_grad=True)
    moved = x.detach().to(device, dtype).requires_grad_()
    out, expected = layer(moved, edge_index.to(device)), oracle(x, edge_index)
    out.square().sum().backward()
    expected.square().sum().backward()
    same = partial(torch.testing.assert_close, check_dtype=False, check_device=False)
    same(out.double().cpu(), expected, rtol=1e-4, atol=1e-5)
    same(moved.grad.double().cpu(), x.grad, rtol=1e-4, atol=1e-5)
    for got, wanted in zip(layer.parameters(), oracle.parameters()):
        same(got.grad.double().cpu(), wanted.grad, rtol=1e-4, atol=1e-4)
