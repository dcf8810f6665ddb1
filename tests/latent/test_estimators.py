"""Two estimators of one gradient: both unbiased, one much noisier."""

from __future__ import annotations

import pytest
import torch

from course_lib.latent.estimators import reparameterised_gradient, score_function_gradient

F64 = torch.float64
MEAN = torch.tensor([0.5, -1.0, 2.0], dtype=F64)
LOG_VAR = torch.tensor([0.0, 0.8, -1.0], dtype=F64)
SAMPLES = 20_000


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def square(z):
    """E = sum_j (mean_j^2 + sigma_j^2): the gradients are 2 mean_j and sigma_j^2."""
    return z.square().sum(-1)


EXACT = torch.stack([2 * MEAN, LOG_VAR.exp()])


def estimates(samples=SAMPLES):
    given = (square, MEAN, LOG_VAR, samples)
    return {
        "reparameterised": reparameterised_gradient(*given, seeded(1)),
        "score": score_function_gradient(*given, seeded(2)),
        "baseline": score_function_gradient(*given, seeded(2), baseline=5.0),
        "leave-one-out": score_function_gradient(*given, seeded(2), baseline="leave-one-out"),
    }


def test_all_are_unbiased_and_the_score_function_is_noisier():
    found = estimates()
    for name, estimate in found.items():
        assert estimate.mean.shape == estimate.log_var.shape == (SAMPLES, 3)
        error = (estimate.average - EXACT).abs()
        assert (error < 4 * (estimate.variance / SAMPLES).sqrt()).all(), name
    total = {name: estimate.variance.sum() for name, estimate in found.items()}
    assert total["reparameterised"] * 5 < total["leave-one-out"] < total["score"]
    assert total["baseline"] < total["score"]


def test_variances_are_the_known_ones():
    """d/dmean through z is 2 z_j, of variance 4 sigma_j^2, with nothing from the other latents."""
    variance = estimates()["reparameterised"].variance
    torch.testing.assert_close(variance[0], 4 * LOG_VAR.exp(), rtol=0.05, atol=0)


def test_each_row_is_the_formula():
    """(f(z) - b) (z - mean) / sigma^2 and (f(z) - b) ((z - mean)^2 / sigma^2 - 1) / 2."""
    seen = []

    def record(z):
        seen.append(z.detach())
        return square(z)

    estimate = score_function_gradient(record, MEAN, LOG_VAR, 5, seeded(), baseline=1.5)
    z = seen[0]
    excess = (square(z) - 1.5).unsqueeze(-1)
    off = z - MEAN
    torch.testing.assert_close(estimate.mean, excess * off / LOG_VAR.exp())
    expected = excess * (off.square() / LOG_VAR.exp() - 1) / 2
    torch.testing.assert_close(estimate.log_var, expected)


def test_leave_one_out_takes_off_the_mean_of_the_others():
    seen = []

    def record(z):
        seen.append(z.detach())
        return square(z)

    given = (MEAN, LOG_VAR, 4)
    estimate = score_function_gradient(record, *given, seeded(), baseline="leave-one-out")
    values = square(seen[0])
    others = torch.stack([values[torch.arange(4) != s].mean() for s in range(4)])
    by_hand = score_function_gradient(square, *given, seeded(), baseline=others)
    torch.testing.assert_close(estimate.mean, by_hand.mean)


def test_only_the_score_function_goes_through_a_step():
    """f = sign(z_1) has gradient zero almost everywhere; its mean has not."""
    zero = torch.zeros(1, dtype=F64)
    blind = reparameterised_gradient(lambda z: z[:, 0].sign(), zero, zero, SAMPLES, seeded())
    assert not blind.average.any()
    seeing = score_function_gradient(lambda z: z[:, 0].sign(), zero, zero, SAMPLES, seeded())
    exact = 2 * (2 * torch.pi) ** -0.5  # twice the density of N(0, 1) at 0
    assert abs(seeing.average[0, 0] - exact) < 4 * (seeing.variance[0, 0] / SAMPLES) ** 0.5


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="one number a draw"):
        reparameterised_gradient(lambda z: z, MEAN, LOG_VAR, 4)
    with pytest.raises(ValueError, match=r"must be \[k\]"):
        score_function_gradient(square, MEAN[None], LOG_VAR[None], 4)
    with pytest.raises(ValueError, match="at least 1"):
        reparameterised_gradient(square, MEAN, LOG_VAR, 0)
    with pytest.raises(ValueError, match="has no gradient in z"):
        reparameterised_gradient(lambda z: (z[:, 0] > 0).double(), MEAN, LOG_VAR, 4)
    for baseline, samples in (("mean", 4), ("leave-one-out", 1)):
        with pytest.raises(ValueError, match="leave-one-out"):
            score_function_gradient(square, MEAN, LOG_VAR, samples, baseline=baseline)
