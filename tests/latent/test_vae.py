"""The variational autoencoder: its parts by hand, and what it must reach on digits."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from course_lib.latent.binary_digits import binary_digits
from course_lib.latent.vae import (
    VAE,
    active_units,
    elbo,
    factorised_log_likelihood,
    iwae_bound,
    train_vae,
)
from tests.devices import devices

F64 = torch.float64
BETAS = (1, 2, 4, 10)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def digits():
    return binary_digits()


@pytest.fixture(scope="module", params=[0, 1], ids="seed {}".format)
def curve(request, digits):
    """One model with beta raised in steps: for each beta, (gain, IWAE gain, active units, mean KL).

    Gains are in nats over the baseline of independent pixels, on the 500 test digits.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(request.param)
    model, generator, found = VAE(64), seeded(request.param), {}
    base = factorised_log_likelihood(digits.train, digits.test).mean()
    for beta in BETAS:
        epochs = 60 if beta == 1 else 15
        train_vae(model, digits.train, epochs=epochs, beta=beta, generator=generator)
        with torch.no_grad():
            bound = elbo(model, digits.test, generator)
            many = iwae_bound(model, digits.test, 50, generator).mean()
            active = active_units(model.encode(digits.test)[0]).sum()
        gains = [float(value - base) for value in (bound.elbo.mean(), many)]
        found[beta] = (*gains, int(active), float(bound.kl.mean()))
    torch.set_num_threads(threads)
    return found


def test_the_bar(curve):
    """Single-sample test ELBO, in nats over independent pixels, and active units of 8."""
    gain, many, active, _ = curve[1]
    assert gain >= 6
    assert many > gain + 0.3
    assert active >= 6


def test_units_collapse_as_beta_grows(curve):
    active = [curve[beta][2] for beta in BETAS]
    assert active == sorted(active, reverse=True) and active[-1] == 0
    kl = [curve[beta][3] for beta in BETAS]
    assert kl == sorted(kl, reverse=True) and kl[-1] < 0.01
    assert abs(curve[10][0]) < 0.5  # nothing is left but the baseline


def test_digits_are_binarised_at_half_the_ink(digits):
    from sklearn.datasets import load_digits

    assert digits.train.shape == (1297, 64) and digits.test.shape == (500, 64)
    assert set(digits.train.unique().tolist()) == {0.0, 1.0}
    ink, label = (torch.from_numpy(v) for v in load_digits(return_X_y=True))
    every = torch.cat([digits.train, digits.test]).sum()
    assert every == (ink >= 8).sum()
    assert digits.test_labels.bincount().sum() == 500 and len(label) == 1797
    with pytest.raises(ValueError, match=r"1\.\.1796"):
        binary_digits(train=1797)


def test_the_elbo_by_hand():
    """Through the model's own weights, pixel by pixel."""
    model = VAE(5, 4, 2).double()
    x = (torch.rand(3, 5, generator=seeded()) > 0.5).double()
    noise = torch.randn(1, 3, 2, generator=seeded(1), dtype=F64)
    found = elbo(model, x, seeded(1))
    mean, log_var = model.encoder(x)[:, :2], model.encoder(x)[:, 2:]
    p = torch.sigmoid(model.decoder(mean + (log_var / 2).exp() * noise[0]))
    expected = torch.stack(
        [
            sum((x[b, d] * p[b, d] + (1 - x[b, d]) * (1 - p[b, d])).log() for d in range(5))
            for b in range(3)
        ]
    )
    torch.testing.assert_close(found.reconstruction, expected)
    kl = sum((mean[:, j] ** 2 + log_var[:, j].exp() - 1 - log_var[:, j]) / 2 for j in range(2))
    torch.testing.assert_close(found.kl, kl)


def test_rows_do_not_see_each_other_and_samples_are_averaged():
    model = VAE(5, 4, 2)
    x = (torch.rand(4, 5, generator=seeded()) > 0.5).float()
    x_changed = x.clone()
    x_changed[1:] = 1 - x_changed[1:]
    one, two = elbo(model, x, seeded(1)).elbo, elbo(model, x_changed, seeded(1)).elbo
    torch.testing.assert_close(one[0], two[0])
    assert not torch.allclose(one[1:], two[1:])
    # [2, 4, 2] of noise are two draws of [4, 2] from one stream
    both = elbo(model, x, seeded(1), samples=2)
    z = torch.randn(2, 4, 2, generator=seeded(1))
    mean, log_var = model.encode(x)
    each = model.log_likelihood(model.decode(mean + torch.exp(log_var / 2) * z), x)
    torch.testing.assert_close(both.reconstruction, each.mean(0))


def test_a_gaussian_decoder_weighs_the_squared_error_by_its_noise():
    """eta = 1/2: the loss is ||x - mean||^2 + KL, and D/2 log pi."""
    model = VAE(6, 4, 2, likelihood="gaussian").double()
    x = torch.randn(3, 6, generator=seeded(), dtype=F64)
    found = elbo(model, x, seeded(1))
    z = torch.randn(1, 3, 2, generator=seeded(1), dtype=F64)[0]
    mean, log_var = model.encode(x)
    error = (x - model.pixel_means(mean + torch.exp(log_var / 2) * z)).square().sum(-1)
    torch.testing.assert_close(-found.elbo, error + found.kl + 3 * math.log(math.pi))
    model.noise = 0.05
    sharp = elbo(model, x, seeded(1)).reconstruction
    torch.testing.assert_close(-sharp, error / 0.1 + 3 * math.log(2 * math.pi * 0.05))


def test_a_condition_reaches_both_networks(digits):
    torch.manual_seed(0)
    model = VAE(64, 32, 4, condition_size=10)
    labels = F.one_hot(digits.train_labels, 10)
    rows, label = digits.train[:3], labels[:3]
    other = label.roll(1, dims=1)
    assert not torch.equal(model.encode(rows, label)[0], model.encode(rows, other)[0])
    z = torch.zeros(5, 3, 4)
    assert model.decode(z, label).shape == (5, 3, 64)
    assert not torch.equal(model.decode(z, label), model.decode(z, other))
    assert iwae_bound(model, rows, 7, seeded(), label).shape == (3,)
    before = -elbo(model, digits.train, seeded(), condition=labels).elbo.mean()
    history = train_vae(model, digits.train, epochs=12, condition=labels, generator=seeded())
    assert history.train_loss[-1] < history.train_loss[0] < before
    with torch.no_grad():
        drawn = model.sample(500, seeded(), F.one_hot(torch.tensor(0), 10)).mean(0)
    means = torch.stack([digits.train[digits.train_labels == c].mean(0) for c in range(10)])
    assert (means - drawn).square().sum(-1).argmin() == 0


def test_training_is_reproducible_and_goes_on():
    x = (torch.rand(50, 6, generator=seeded()) > 0.5).float()
    torch.manual_seed(0)
    one = VAE(6, 8, 2)
    two = copy.deepcopy(one)
    for model in (one, two):
        train_vae(model, x, epochs=3, batch_size=16, generator=seeded(1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))
    assert not one.training
    before = copy.deepcopy(one.state_dict())
    train_vae(one, x, epochs=1, generator=seeded(2))
    assert any(not torch.equal(v, before[key]) for key, v in one.state_dict().items())


def test_samples_are_pixel_means():
    model = VAE(6, 8, 2)
    drawn = model.sample(9, seeded())
    assert drawn.shape == (9, 6) and ((drawn > 0) & (drawn < 1)).all()
    torch.testing.assert_close(
        drawn, torch.sigmoid(model.decode(torch.randn(9, 2, generator=seeded())))
    )


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match='"bernoulli" or "gaussian"'):
        VAE(4, likelihood="poisson")
    with pytest.raises(ValueError, match="noise positive"):
        VAE(4, noise=0.0)
    plain, conditional = VAE(4, 3, 2), VAE(4, 3, 2, condition_size=2)
    x = torch.zeros(2, 4)
    for model, condition in ((plain, x), (conditional, None), (conditional, x)):
        with pytest.raises(ValueError, match="condition_size"):
            model.encode(x, condition)
    with pytest.raises(ValueError, match="one number of rows"):
        train_vae(conditional, x, epochs=1, condition=torch.zeros(3, 2))


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees_with_the_cpu_in_float64(device):
    """Values and gradients of the ELBO and of the importance-weighted bound."""
    model = VAE(6, 5, 2, condition_size=3)
    x = (torch.rand(4, 6, generator=seeded()) > 0.5).float()
    condition = F.one_hot(torch.tensor([0, 2, 1, 1]), 3)
    noise, results = torch.randn(5, 4, 2, generator=seeded(1)), []
    for place, kind in (("cpu", F64), (device, torch.float32)):
        own = copy.deepcopy(model).to(place, kind)
        seen, label, eps = x.to(place, kind), condition.to(place), noise.to(place, kind)
        mean, log_var = own.encode(seen, label)
        output = own.decode(mean + torch.exp(log_var / 2) * eps, label)
        value = own.log_likelihood(output, seen).logsumexp(0).sum()
        slopes = torch.autograd.grad(value, list(own.parameters()))
        assert (
            elbo(own, seen, seeded(), condition=label).elbo.device.type == torch.device(place).type
        )
        results.append([v.detach().cpu().double() for v in (value, *slopes)])
    for one, other in zip(*results):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
