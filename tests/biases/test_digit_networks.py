"""The three classifiers: shapes, what moving the image does to each, and that they learn."""

from __future__ import annotations

import pytest
import torch

from course_lib.biases import (
    conv_flatten,
    conv_pool,
    equivariance_error,
    fully_connected,
    train_classifier,
)
from tests.biases.cases import randn
from tests.devices import devices

NETWORKS = {"fc": fully_connected, "conv + flatten": conv_flatten, "conv + pool": conv_pool}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_logits_for_every_class(make):
    assert make()(torch.rand(3, 1, 16, 16)).shape == (3, 10)
    assert make(classes=4)(torch.rand(2, 1, 16, 16)).shape == (2, 4)


@pytest.mark.parametrize("make", [fully_connected, conv_flatten])
def test_another_canvas(make):
    assert make(side=12)(torch.rand(3, 1, 12, 12)).shape == (3, 10)


def test_only_the_pooled_network_is_invariant_though_both_have_equivariant_features():
    x = randn(5, 1, 16, 16)
    errors = {}
    for name, make in NETWORKS.items():
        network = make().double()
        errors[name] = equivariance_error(network, x, "cyclic_shift", dim=(2, 3), out_dim=())
    assert errors["conv + pool"] < 1e-12
    assert min(errors["fc"], errors["conv + flatten"]) > 0.1
    for make in (conv_flatten, conv_pool):
        features = make().double()[:2]
        assert equivariance_error(features, x, "cyclic_shift", dim=(2, 3)) < 1e-12


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_training_learns_and_the_seed_decides(make):
    images = torch.zeros(40, 1, 16, 16)
    images[::2, 0, 3:5, 3:9] = 1.0  # a horizontal bar
    images[1::2, 0, 3:9, 3:5] = 1.0  # a vertical bar
    labels, outcomes = torch.arange(40) % 2, []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        network = make(classes=2)
        history = train_classifier(network, images, labels, epochs=8, batch_size=8, seed=seed)
        assert history.epochs == 8
        assert not network.training
        assert (network(images).argmax(1) == labels).all()
        outcomes.append(history.train_loss)
    assert outcomes[0] == outcomes[1] != outcomes[2]


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_each_device_agrees_with_the_cpu(device, make):
    x, network, there = randn(3, 1, 16, 16), make().double(), make().double()
    there.load_state_dict(network.state_dict())
    there.to(device)
    out, other = network(x), there(x.to(device))
    torch.testing.assert_close(other.cpu(), out)
    out.square().sum().backward()
    other.square().sum().backward()
    for p, q in zip(network.parameters(), there.parameters()):
        torch.testing.assert_close(q.grad.cpu(), p.grad)
