"""Graph autoencoders: torch_geometric's with the same weights, the published loss written out, leaks."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch_geometric.nn as pyg
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from course_lib.data import citation_graph
from course_lib.graphs import autoencoders
from course_lib.graphs.autoencoders import (
    GAE,
    VGAE,
    inner_product,
    link_loss,
    score_links,
    train_link_predictor,
)
from course_lib.graphs.link_split import NonEdges, link_split
from course_lib.graphs.message_passing import add_remaining_self_loops
from course_lib.graphs.models import fast_inputs
from course_lib.latent.vae import gaussian_kl
from tests.devices import devices
from tests.graphs.cases import random_graphs

BOTH = pytest.mark.parametrize("model_class", [GAE, VGAE])


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def split():
    graph = citation_graph(num_nodes=300, num_classes=3, num_features=60, topic=0.4, seed=0)
    return link_split(graph, generator=_generator())


@pytest.fixture(scope="module")
def parts(split):
    """x, edges, positives and negatives in float64."""
    edge_index, num_nodes = split.graph.edge_index, split.graph.num_nodes
    positives, _ = add_remaining_self_loops(edge_index, num_nodes=num_nodes)
    negatives = NonEdges(edge_index, num_nodes).draw(700, _generator())
    return split.graph.x.double(), edge_index, positives, negatives


class _PyGEncoder(torch.nn.Module):
    """The encoder of torch_geometric's examples, with the weights of one of ours."""

    def __init__(self, ours) -> None:
        super().__init__()
        first, last = ours.encoder.layers
        self.variational = isinstance(ours, VGAE)
        self.first = self._copy(first.lin.weight, first.bias)
        heads = 2 if self.variational else 1
        halves = zip(last.lin.weight.chunk(heads), last.bias.chunk(heads))
        self.last = torch.nn.ModuleList(self._copy(*half) for half in halves)
        if self.variational:  # theirs is log sigma, ours log sigma^2
            with torch.no_grad():
                self.last[1].lin.weight.div_(2)
                self.last[1].bias.div_(2)

    def _copy(self, weight, bias):
        layer = pyg.GCNConv(weight.size(1), weight.size(0)).to(weight.dtype)
        layer.load_state_dict({"lin.weight": weight, "bias": bias})
        return layer

    def forward(self, x, edge_index):
        h = self.first(x, edge_index).relu()
        outputs = [layer(h, edge_index) for layer in self.last]
        return tuple(outputs) if self.variational else outputs[0]


def _peer(ours):
    """torch_geometric resets an encoder that it is given, so ours goes in afterwards."""
    peer = (pyg.VGAE if isinstance(ours, VGAE) else pyg.GAE)(torch.nn.Identity())
    peer.encoder = _PyGEncoder(ours)
    return peer


def _randomise(model):
    """Biases start at zero, where a mistake in them would not show."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def _same_gradients(ours, peer) -> None:
    """Ours in the first layer, and in the last, whose halves theirs keep apart."""
    first, last = ours.encoder.layers
    theirs = peer.encoder
    scale = (1.0, 0.5)  # d/d(log sigma^2) = 1/2 d/d(log sigma)
    for name in ("lin.weight", "bias"):
        wanted = theirs.first.get_parameter(name).grad
        torch.testing.assert_close(first.get_parameter(name).grad, wanted)
        halves = [s * layer.get_parameter(name).grad for s, layer in zip(scale, theirs.last)]
        torch.testing.assert_close(last.get_parameter(name).grad, torch.cat(halves))


def test_gae_is_torch_geometrics(parts):
    x, edge_index, positives, negatives = parts
    ours = _randomise(GAE(60, 12, 5).double())
    peer = _peer(ours)
    z = peer.encode(x, edge_index)
    torch.testing.assert_close(ours(x, edge_index), z)
    torch.testing.assert_close(
        inner_product(z, negatives), peer.decode(z, negatives, sigmoid=False)
    )
    loss = ours.loss(x, edge_index, positives, negatives)
    wanted = peer.recon_loss(z, positives, negatives) / 2
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    wanted.backward()
    _same_gradients(ours, peer)


def test_vgae_is_torch_geometrics(parts):
    x, edge_index, positives, negatives = parts
    ours = _randomise(VGAE(60, 12, 5).double())
    peer = _peer(ours)
    noise = torch.randn(x.size(0), 5, generator=_generator(7), dtype=x.dtype)
    peer.reparametrize = lambda mu, log_std: mu + noise * log_std.exp()
    z = peer.encode(x, edge_index)
    mean, log_var = ours.encode(x, edge_index)
    torch.testing.assert_close(mean, peer.__mu__)
    torch.testing.assert_close(log_var, 2 * peer.__logstd__)
    torch.testing.assert_close(gaussian_kl(mean, log_var).mean(), peer.kl_loss())
    loss = ours.loss(x, edge_index, positives, negatives, _generator(7))
    wanted = peer.recon_loss(z, positives, negatives) / 2 + peer.kl_loss() / x.size(0)
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    wanted.backward()
    _same_gradients(ours, peer)


def test_scores_are_torch_geometrics(split):
    z = torch.randn(split.graph.num_nodes, 4)
    pairs = split.test_edges, split.test_non_edges
    assert score_links(z, *pairs) == pytest.approx(_peer(GAE(60)).test(z, *pairs))


def _published_loss(z, positives):
    """norm * mean of the cross-entropy weighted by pos_weight, on the whole matrix A + I."""
    num_pairs, num_positives = z.size(0) ** 2, positives.size(1)
    target = torch.zeros(z.size(0), z.size(0), dtype=z.dtype, device=z.device)
    target[positives[0], positives[1]] = 1
    pos_weight = torch.tensor((num_pairs - num_positives) / num_positives, dtype=z.dtype)
    norm = num_pairs / (2 * (num_pairs - num_positives))
    return norm * F.binary_cross_entropy_with_logits(z @ z.t(), target, pos_weight=pos_weight)


def _assert_published(z, positives) -> None:
    results = []
    for loss in (link_loss, _published_loss):
        leaf = z.clone().requires_grad_()
        value = 3 * loss(leaf, positives)
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(*results)


def test_the_loss_over_all_pairs_is_the_published_one(parts):
    _, _, positives, _ = parts  # 300 nodes: one whole block and a part of one
    _assert_published(torch.randn(300, 5, dtype=torch.float64), positives)


@settings(max_examples=60, deadline=None)
@given(random_graphs(max_nodes=11), st.integers(1, 12), st.sampled_from([0.1, 1.0, 30.0]))
def test_any_graph_in_blocks_of_any_size(graph, block, scale):
    edge_index, num_nodes = graph
    positives = torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)
    if positives.size(1) in (0, num_nodes**2):
        return  # one kind is missing
    z = scale * torch.randn(num_nodes, 3, dtype=torch.float64)  # logits up to thousands
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(autoencoders, "BLOCK", block)
        _assert_published(z, positives)


def test_the_gradient_of_the_sum_over_all_pairs():
    z = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(autoencoders._AllPairs.apply, (z,))


def test_sampled_pairs_estimate_the_loss_without_bias(parts):
    _, edge_index, positives, _ = parts
    z = torch.randn(300, 5, dtype=torch.float64)
    non_edges, generator = NonEdges(edge_index, 300), _generator()
    estimates = torch.stack(
        [link_loss(z, positives, non_edges.draw(50, generator)) for _ in range(400)]
    )
    error = estimates.std() / len(estimates) ** 0.5
    assert abs(estimates.mean() - link_loss(z, positives)) < 4 * error


@BOTH
@pytest.mark.parametrize("all_pairs", [True, False])
def test_numbering_the_nodes_anew_changes_nothing(model_class, all_pairs, parts):
    x, edge_index, positives, negatives = parts
    if model_class is VGAE:  # its noise is drawn by number: compare without it
        model = VGAE(60, 8, 3).double()
        with torch.no_grad():
            model.encoder.layers[1].lin.weight[3:] = 0
            model.encoder.layers[1].bias[3:] = -80
    else:
        model = GAE(60, 8, 3).double()
    order = torch.randperm(300)  # the new node i is the old order[i]
    new_number = order.argsort()
    pairs = [negatives] if not all_pairs else []
    before = model.loss(x, edge_index, positives, *pairs)
    after = model.loss(x[order], *(new_number[p] for p in (edge_index, positives, *pairs)))
    torch.testing.assert_close(after, before)
    points = model(x[order], new_number[edge_index])
    torch.testing.assert_close(points, model(x, edge_index)[order])


def test_a_vgae_whose_encoder_says_nothing_has_the_prior(parts):
    x, edge_index, positives, negatives = parts
    model = VGAE(60, 8, 3).double()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    z = torch.randn(300, 3, generator=_generator(1), dtype=x.dtype)
    loss = model.loss(x, edge_index, positives, negatives, _generator(1))
    torch.testing.assert_close(loss, link_loss(z, positives, negatives))  # a KL of zero
    with torch.no_grad():
        model.encoder.layers[1].bias[:3] = 2.0
    loss = model.loss(x, edge_index, positives, negatives, _generator(1))
    kl = 300 * 3 * 2.0**2 / 2
    wanted = link_loss(z + 2.0, positives, negatives) + kl / 300**2
    torch.testing.assert_close(loss, wanted)


def test_the_halves_of_the_last_layer_start_as_layers_of_their_own():
    bound = math.sqrt(6 / (200 + 50))  # Glorot's
    weight = VGAE(3, 200, 50).encoder.layers[1].lin.weight
    for half in weight.chunk(2):
        assert 0.99 * bound < half.abs().max() <= bound
    assert weight.requires_grad


def test_errors_say_what_to_do():
    loops = torch.arange(1).expand(2, 1)
    with pytest.raises(ValueError, match="leave no other pair of 1 nodes"):
        link_loss(torch.ones(1, 2), loops)


@BOTH
@pytest.mark.parametrize("sampled", [True, False])
@pytest.mark.parametrize("device", devices())
def test_device_parity(device, model_class, sampled, split, parts):
    x, edge_index, positives, negatives = parts
    oracle = model_class(60, 8, 3).double()
    model = copy.deepcopy(oracle).to(device, torch.float32)
    there = split.to(device)
    fast = fast_inputs(there.graph)
    pairs = [negatives if sampled else None, _generator(3)]
    if model_class is VGAE:  # the same noise in both dtypes
        noise = torch.randn(300, 3, generator=_generator(3))
        patch = pytest.MonkeyPatch()
        patch.setattr(
            autoencoders,
            "reparameterise",
            lambda mean, log_var, _: mean + (log_var / 2).exp() * noise.to(mean),
        )
    oracle.loss(x, edge_index, positives, *pairs).backward()
    pairs[0] = negatives.to(device) if sampled else None
    model.loss(*fast, positives.to(device), *pairs).backward()
    if model_class is VGAE:
        patch.undo()
    for got, wanted in zip(model.parameters(), oracle.parameters()):
        torch.testing.assert_close(got.grad.double().cpu(), wanted.grad, rtol=1e-3, atol=1e-5)
    history = train_link_predictor(model, there, epochs=2, sampled=sampled, generator=_generator())
    assert 0 <= history["val_auc"][-1] <= 1
