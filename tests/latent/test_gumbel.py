"""Draws from a categorical: their frequencies, torch's own Gumbel-softmax, and the limits of tau."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare, gumbel_r, kstest
from torch.distributions import Categorical, kl_divergence
from torch.nn import functional as F

from course_lib.latent.gumbel import categorical_kl, gumbel_max, gumbel_noise, gumbel_softmax
from tests.devices import devices

F64 = torch.float64
LOGITS = torch.tensor([1.0, 0.0, -1.5, 0.5], dtype=F64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_noise_is_standard_gumbel():
    noise = gumbel_noise(torch.empty(20_000, dtype=F64), seeded())
    assert kstest(noise.numpy(), gumbel_r.cdf).pvalue > 1e-3
    assert torch.equal(noise, gumbel_noise(noise, seeded()))


def test_frequencies_are_the_softmax():
    """Chi-square of 40,000 draws: Gumbel-max, and the hard and smooth draws' largest entries."""
    many, expected = LOGITS.expand(40_000, 4), LOGITS.softmax(0) * 40_000
    for places in (
        gumbel_max(many, generator=seeded(1)),
        gumbel_softmax(many, 0.7, hard=True, generator=seeded(2)).argmax(-1),
        gumbel_softmax(many, 5.0, generator=seeded(3)).argmax(-1),
    ):
        counts = torch.bincount(places, minlength=4)
        assert chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("dim", [-1, 0])
def test_values_and_gradients_are_torchs_own(hard, dim):
    logits = torch.randn(5, 4, dtype=F64, generator=seeded())
    weight, results = torch.randn(5, 4, dtype=F64, generator=seeded(1)), []
    for function in (gumbel_softmax, F.gumbel_softmax):
        torch.manual_seed(3)
        own = logits.clone().requires_grad_()
        drawn = function(own, tau=0.6, hard=hard, dim=dim)
        results.append((drawn, torch.autograd.grad((drawn * weight).sum(), own)[0]))
    for ours, torchs in zip(*results):
        torch.testing.assert_close(ours, torchs)


def test_a_hard_draw_is_exactly_one_hot_with_the_smooth_ones_gradient():
    logits = torch.randn(50, 6, generator=seeded()).requires_grad_()
    weight = torch.randn(50, 6, generator=seeded(1))
    hard = gumbel_softmax(logits, 0.5, hard=True, generator=seeded(2))
    soft = gumbel_softmax(logits, 0.5, generator=seeded(2))
    assert set(hard.detach().unique().tolist()) == {0.0, 1.0} and (hard.sum(-1) == 1).all()
    assert torch.equal(hard.argmax(-1), soft.argmax(-1))
    slopes = [torch.autograd.grad((v * weight).sum(), logits)[0] for v in (hard, soft)]
    assert torch.equal(*slopes) and slopes[0].abs().max() > 0


def test_low_temperature_is_one_hot_and_high_is_uniform():
    many = LOGITS.expand(500, 4)
    peaks = [
        gumbel_softmax(many, tau, generator=seeded()).amax(-1).mean() for tau in (0.01, 0.5, 2, 1e4)
    ]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] > 0.99 and abs(peaks[-1] - 0.25) < 1e-3


@given(seed=st.integers(0, 9999), tau=st.floats(0.05, 50))
@settings(max_examples=30, deadline=None)
def test_draws_are_distributions_and_avoid_the_forbidden(seed, tau):
    logits = torch.randn(8, 5, dtype=F64, generator=seeded(seed))
    logits[:, seed % 5] = -torch.inf
    logits.requires_grad_()
    soft = gumbel_softmax(logits, tau, generator=seeded(seed))
    torch.testing.assert_close(soft.sum(-1), torch.ones(8, dtype=F64))
    assert (soft >= 0).all() and (soft[:, seed % 5] == 0).all()
    soft.square().sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert (gumbel_max(logits, generator=seeded(seed)) != seed % 5).all()


def test_categorical_kl_and_its_gradient_are_those_of_torch_distributions():
    logits = torch.randn(6, 5, dtype=F64, generator=seeded()).requires_grad_()
    prior = torch.rand(6, 5, dtype=F64, generator=seeded(1)).softmax(-1)
    uniform = torch.full((6, 5), 0.2, dtype=F64)
    for ours, p in (
        (categorical_kl(logits), uniform),
        (categorical_kl(logits, prior), prior),
        (categorical_kl(logits, prior[0]), prior[0].expand(6, 5)),
    ):
        peer = kl_divergence(Categorical(logits=logits), Categorical(probs=p))
        torch.testing.assert_close(ours, peer)
        own, other = (
            torch.autograd.grad(v.sum(), logits, retain_graph=True)[0] for v in (ours, peer)
        )
        torch.testing.assert_close(own, other)


def test_kl_at_the_edges():
    sure = torch.tensor([[0.0, -torch.inf]], dtype=F64, requires_grad=True)
    value = categorical_kl(sure)
    torch.testing.assert_close(value, torch.tensor([2.0], dtype=F64).log())
    value.sum().backward()
    assert torch.isfinite(sure.grad).all()
    never = torch.tensor([0.0, 1.0], dtype=F64)
    assert categorical_kl(sure, never).item() == torch.inf
    assert categorical_kl(sure, 1 - never).item() == 0


def test_a_temperature_or_prior_that_is_none_is_refused():
    with pytest.raises(ValueError, match="hard=True"):
        gumbel_softmax(LOGITS, tau=0.0)
    for bad in (torch.tensor([0.5, 0.5, 0.5, 0.5]), torch.tensor([1.5, -0.5, 0, 0])):
        with pytest.raises(ValueError, match="sum one"):
            categorical_kl(LOGITS, bad.double())


@pytest.mark.parametrize("device", devices())
def test_every_device_draws_the_cpus_numbers(device):
    there = LOGITS.to(device, torch.float32)
    own = gumbel_softmax(there, 0.8, generator=seeded())
    assert own.device.type == device.type and own.dtype == torch.float32
    torch.testing.assert_close(own.cpu(), gumbel_softmax(LOGITS.float(), 0.8, generator=seeded()))
    torch.testing.assert_close(categorical_kl(there).cpu().double(), categorical_kl(LOGITS))
