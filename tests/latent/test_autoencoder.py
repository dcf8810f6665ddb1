"""PCA against scikit-learn, principal angles against scipy, and the linear autoencoder against PCA."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles
from sklearn.decomposition import PCA as Peer
from torch import nn

from course_lib.data.digits import placed_digits
from course_lib.latent.autoencoder import (
    Autoencoder,
    fit_linear_autoencoder,
    pca,
    principal_angles,
    reconstruction_error,
    train_autoencoder,
)
from tests.devices import devices

F64 = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.fixture(scope="module")
def digits():
    """All 1,797 digits [N, 64], ink from 0 to 1."""
    return placed_digits(shifted=False, canvas=8).images.flatten(1)


def test_pca_is_scikit_learns():
    x = draw(40, 6) @ draw(6, 6, seed=1) + 3
    ours, peer = pca(x, 4), Peer(4).fit(x.numpy())
    torch.testing.assert_close(ours.mean, torch.from_numpy(peer.mean_))
    torch.testing.assert_close(ours.variances, torch.from_numpy(peer.explained_variance_) * 39 / 40)
    signs = torch.from_numpy(np.sign((peer.components_ * ours.components.numpy()).sum(1)))
    torch.testing.assert_close(ours.components, torch.from_numpy(peer.components_) * signs[:, None])
    torch.testing.assert_close(ours.encode(x), torch.from_numpy(peer.transform(x.numpy())) * signs)
    back = torch.from_numpy(peer.inverse_transform(peer.transform(x.numpy())))
    torch.testing.assert_close(ours(x), back)


@given(n=st.integers(2, 12), d=st.integers(1, 8), seed=st.integers(0, 9999))
@settings(max_examples=40, deadline=None)
def test_components_are_orthonormal_and_each_one_more_helps(n, d, seed):
    x, errors = draw(n, d, seed=seed), []
    for k in range(1, min(n, d) + 1):
        found = pca(x, k)
        torch.testing.assert_close(found.components @ found.components.mT, torch.eye(k, dtype=F64))
        largest = found.components.gather(1, found.components.abs().argmax(1, keepdim=True))
        assert (largest > 0).all()
        code = found.encode(x)
        torch.testing.assert_close(code.square().mean(0), found.variances)
        errors.append(reconstruction_error(found, x))
        left = (x - x.mean(0)).square().sum(-1).mean() - found.variances.sum()
        torch.testing.assert_close(errors[-1], left)
    assert all(later <= before + 1e-9 for before, later in itertools.pairwise(errors))
    assert n <= d or errors[-1] < 1e-9


def test_angles_are_scipys():
    a, b = draw(3, 7), draw(2, 7, seed=1)
    expected = np.sort(np.cos(subspace_angles(a.numpy().T, b.numpy().T)))[::-1].copy()
    torch.testing.assert_close(principal_angles(a, b), torch.from_numpy(expected))


def test_angles_by_hand_and_whatever_the_basis():
    """The planes (x, y) and (x, z after a turn by 60 degrees towards y)."""
    flat = torch.tensor([[1.0, 0, 0], [0, 1, 0]], dtype=F64)
    tilted = torch.tensor([[2.0, 0, 0], [5, 0.5, math.sqrt(0.75)]], dtype=F64)
    expected = torch.tensor([1.0, 0.5], dtype=F64)
    torch.testing.assert_close(principal_angles(flat, tilted), expected)
    mixed = torch.tensor([[1.0, 2], [-3, 1]], dtype=F64) @ tilted
    torch.testing.assert_close(principal_angles(flat, mixed), expected)
    torch.testing.assert_close(principal_angles(mixed, tilted), torch.ones(2, dtype=F64))


def test_the_linear_autoencoder_finds_the_components_span_and_not_the_components(digits):
    best = pca(digits.double(), 8)
    least = reconstruction_error(best, digits.double())
    assert abs(least - 1.53045) < 1e-5
    model = fit_linear_autoencoder(digits, 8, generator=torch.Generator().manual_seed(0))
    error = reconstruction_error(model, digits)
    assert least <= error + 1e-6 and error - least < 3e-5
    columns = model.decoder[0].weight.detach().mT  # [D, k] -> [k, D]
    assert principal_angles(columns.double(), best.components).min() > 0.99999
    rows = nn.functional.normalize(columns.double(), dim=-1)
    assert (rows @ best.components.mT).abs().max() < 0.99  # no row is a component
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_deep_autoencoder_beats_pca_on_digits_it_has_not_seen(digits):
    train, test = digits[:1297], digits[1297:]
    model = Autoencoder((64, 128, 8), nn.ReLU)
    history = train_autoencoder(model, train, epochs=30)
    assert history.train_loss[-1] < history.train_loss[0]
    error, linear = reconstruction_error(model, test), reconstruction_error(pca(train, 8), test)
    assert error < 0.8 * linear


def test_the_decoder_mirrors_the_encoder():
    model = Autoencoder((7, 5, 4, 2), nn.Tanh)
    assert [layer.weight.shape for layer in model.encoder if isinstance(layer, nn.Linear)] == [
        (5, 7),
        (4, 5),
        (2, 4),
    ]
    assert [type(layer).__name__ for layer in model.decoder] == ["Linear", "Tanh"] * 2 + ["Linear"]
    x = draw(3, 7).float()
    assert model.encode(x).shape == (3, 2) and model(x).shape == (3, 7)
    linear = Autoencoder((7, 5, 2))  # without an activation the whole is one affine map
    middle = (linear(x[:1]) + linear(x[1:2])) / 2
    torch.testing.assert_close(linear((x[:1] + x[1:2]) / 2), middle)


def test_what_does_not_fit_is_refused():
    for k in (0, 5):
        with pytest.raises(ValueError, match=r"1\.\.min"):
            pca(draw(9, 4), k)
        with pytest.raises(ValueError, match=r"1\.\.D"):
            fit_linear_autoencoder(draw(9, 4), k)
    with pytest.raises(ValueError, match="rows that span"):
        principal_angles(draw(2, 3), draw(2, 4))
    with pytest.raises(ValueError, match="depend on each other"):
        principal_angles(draw(2, 3), draw(1, 3).repeat(2, 1))
    with pytest.raises(ValueError, match="all at least 1"):
        Autoencoder((4,))


@pytest.mark.parametrize("device", devices())
def test_every_device_gives_the_cpus_numbers(device):
    x = draw(30, 5)
    there = x.to(device, torch.float32)
    found, other = pca(there, 2), pca(x, 2)
    torch.testing.assert_close(found(there).cpu().double(), other(x), rtol=1e-4, atol=1e-4)
    model = fit_linear_autoencoder(there, 2)
    assert model(there).device.type == device.type
    error = reconstruction_error(model, there).cpu().double()
    torch.testing.assert_close(error, reconstruction_error(other, x), rtol=1e-3, atol=1e-3)
