"""KL divergences and likelihoods, against torch.distributions and against sampling."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from course_lib.latent.densities import (
    bernoulli_log_likelihood,
    factorised_log_likelihood,
    gaussian_kl,
    gaussian_kl_between,
    gaussian_log_likelihood,
    gaussian_noise,
    reparameterise,
)
from tests.devices import devices

F64 = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def normal(mean, log_var):
    return Independent(Normal(mean, torch.exp(log_var / 2)), 1)


def agree(ours, peer, leaves):
    """Values and gradients."""
    torch.testing.assert_close(ours, peer, rtol=1e-9, atol=1e-9)
    weight = draw(*ours.shape, seed=9)
    for own, other in zip(
        *(
            torch.autograd.grad((value * weight).sum(), leaves, retain_graph=True)
            for value in (ours, peer)
        )
    ):
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-9)


def test_kl_and_its_gradients_are_those_of_torch_distributions():
    leaves = [draw(5, 3, seed=s).requires_grad_() for s in range(4)]
    mean_q, log_var_q, mean_p, log_var_p = leaves
    standard = normal(torch.zeros(5, 3, dtype=F64), torch.zeros(5, 3, dtype=F64))
    q, p = normal(mean_q, log_var_q), normal(mean_p, log_var_p)
    agree(gaussian_kl(mean_q, log_var_q), kl_divergence(q, standard), leaves[:2])
    agree(gaussian_kl_between(*leaves), kl_divergence(q, p), leaves)
    single = gaussian_kl(mean_q.float(), log_var_q.float())
    torch.testing.assert_close(single.double(), kl_divergence(q, standard), rtol=1e-6, atol=1e-6)


def test_kl_by_hand():
    """mean 1, variance 1: 1/2. mean 0, variance e: (e - 2) / 2. Summed over the latents."""
    mean = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=F64)
    log_var = torch.tensor([[0.0, 0.0], [0.0, 1.0]], dtype=F64)
    expected = torch.tensor([0.5, (math.e - 2) / 2], dtype=F64)
    torch.testing.assert_close(gaussian_kl(mean, log_var), expected)


def test_kl_is_the_mean_of_the_log_ratio():
    """By Monte Carlo: a z-score below 4 for the KL to N(0, I) and for that between two."""
    mean, log_var, mean_p, log_var_p = (draw(4, seed=s) for s in range(4))
    z = reparameterise(mean, log_var, torch.Generator().manual_seed(1), samples=100_000)
    for other, exact in (
        ((torch.zeros_like(mean), torch.zeros_like(mean)), gaussian_kl(mean, log_var)),
        ((mean_p, log_var_p), gaussian_kl_between(mean, log_var, mean_p, log_var_p)),
    ):
        ratio = gaussian_log_likelihood(mean, z, log_var)
        ratio = ratio - gaussian_log_likelihood(other[0], z, other[1])
        assert abs(ratio.mean() - exact) < 4 * ratio.std() / len(z) ** 0.5
        assert ratio.std() / len(z) ** 0.5 < 0.02  # the test has power


@given(seed=st.integers(0, 9999), k=st.integers(1, 6), scale=st.floats(1e-6, 20))
@settings(max_examples=40, deadline=None)
def test_kl_is_never_negative(seed, k, scale):
    mean, log_var, other, log_var_p = (scale * draw(3, k, seed=seed + i) for i in range(4))
    for kind in (torch.float32, F64):
        values = [v.to(kind) for v in (mean, log_var.clamp(-20, 20), other, log_var_p.clamp(-9, 9))]
        assert (gaussian_kl(*values[:2]) >= 0).all()
        assert (gaussian_kl_between(*values) >= 0).all()
        torch.testing.assert_close(
            gaussian_kl_between(values[0], values[1], values[0], values[1]),
            torch.zeros(3, dtype=kind),
        )


def test_likelihoods_and_their_gradients_are_those_of_torch_distributions():
    output, log_var = draw(6, 5, seed=1).requires_grad_(), draw(6, 5, seed=2).requires_grad_()
    x, ink = draw(6, 5, seed=3), (draw(6, 5, seed=4) > 0).to(F64)
    peer = Independent(Bernoulli(logits=output), 1).log_prob(ink)
    agree(bernoulli_log_likelihood(output, ink), peer, [output])
    peer = normal(output, log_var).log_prob(x)
    agree(gaussian_log_likelihood(output, x, log_var), peer, [output, log_var])
    peer = normal(output, torch.full_like(output, math.log(0.3))).log_prob(x)
    agree(gaussian_log_likelihood(output, x, math.log(0.3)), peer, [output])


def test_the_default_noise_is_the_squared_error():
    """eta = 1/2: minus the squared error, and a constant."""
    mean, x = draw(4, 7, seed=1), draw(4, 7, seed=2)
    constant = gaussian_log_likelihood(x, x)
    torch.testing.assert_close(constant, torch.full((4,), -3.5 * math.log(math.pi), dtype=F64))
    error = (x - mean).square().sum(-1)
    torch.testing.assert_close(gaussian_log_likelihood(mean, x), constant - error)


def test_extreme_logits_stay_finite_and_samples_broadcast():
    logits = torch.tensor([[1e4, -1e4]]).requires_grad_()
    value = bernoulli_log_likelihood(logits, torch.tensor([[1.0, 0.0]]))
    assert value.item() == 0
    worst = bernoulli_log_likelihood(logits, torch.tensor([[0.0, 1.0]]))
    worst.sum().backward()
    assert worst.item() == -2e4 and torch.isfinite(logits.grad).all()
    many, ink = draw(3, 4, 5), (draw(4, 5, seed=1) > 0).to(F64)
    each = torch.stack([bernoulli_log_likelihood(sample, ink) for sample in many])
    torch.testing.assert_close(bernoulli_log_likelihood(many, ink), each)


def test_reparameterise_draws_from_the_gaussian_and_is_differentiable():
    mean = torch.tensor([[1.0, -2.0]], dtype=F64).requires_grad_()
    log_var = torch.tensor([[0.0, math.log(9.0)]], dtype=F64).requires_grad_()
    z = reparameterise(mean, log_var, torch.Generator().manual_seed(0), samples=40_000)
    assert z.shape == (40_000, 1, 2)
    spread = z.std(0)[0]
    assert torch.allclose(z.mean(0), mean, atol=4 * 3 / 200)
    assert torch.allclose(spread, torch.tensor([1.0, 3.0], dtype=F64), rtol=0.02)
    eps = (z - mean) / torch.exp(log_var / 2)
    slope_mean, slope_log_var = torch.autograd.grad(z[7].sum(), (mean, log_var))
    torch.testing.assert_close(slope_mean, torch.ones_like(mean))
    torch.testing.assert_close(slope_log_var, (torch.exp(log_var / 2) * eps[7] / 2).detach())


def test_one_seed_gives_one_draw():
    mean, log_var = draw(3, 2), draw(3, 2, seed=1)
    one, two = (reparameterise(mean, log_var, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, reparameterise(mean, log_var, torch.Generator().manual_seed(6)))
    assert gaussian_noise(mean.float(), 4).dtype == torch.float32


def test_the_baseline_counts_with_laplaces_rule():
    """Ones of 3 rows: 3, 0, 2. So p = 4/5, 1/5, 3/5."""
    train = torch.tensor([[1.0, 0, 1], [1, 0, 1], [1, 0, 0]], dtype=F64)
    x = torch.tensor([[1.0, 1, 0], [0, 0, 1]], dtype=F64)
    expected = torch.tensor([0.8 * 0.2 * 0.4, 0.2 * 0.8 * 0.6], dtype=F64).log()
    torch.testing.assert_close(factorised_log_likelihood(train, x), expected)
    with pytest.raises(ValueError, match="smoothing must be positive"):
        factorised_log_likelihood(train, x, smoothing=0)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 1))
    with pytest.raises(ValueError, match="one shape"):
        reparameterise(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="flatten images"):
        bernoulli_log_likelihood(torch.zeros(2, 64), torch.zeros(2, 8, 8))


@pytest.mark.parametrize("device", devices())
def test_every_device_gives_the_cpus_numbers(device):
    mean, log_var = draw(3, 4), draw(3, 4, seed=1)
    z = reparameterise(mean, log_var, torch.Generator().manual_seed(0))
    there = [v.to(device, torch.float32) for v in (mean, log_var, z)]
    for own, other in (
        (gaussian_kl(*there[:2]), gaussian_kl(mean, log_var)),
        (gaussian_log_likelihood(*there), gaussian_log_likelihood(mean, log_var, z)),
    ):
        assert own.device.type == device.type and own.dtype == torch.float32
        torch.testing.assert_close(own.cpu().double(), other, rtol=1e-4, atol=1e-4)
    moved = reparameterise(mean.to(device), log_var.to(device), torch.Generator().manual_seed(0))
    torch.testing.assert_close(moved.cpu(), z)
