"""The bounds by sampling, against the model whose log p(x) is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.latent import bounds
from course_lib.latent.bounds import (
    amortisation_gap,
    elbo,
    importance_log_weights,
    iwae_bound,
    iwae_curve,
)
from course_lib.latent.densities import gaussian_kl
from course_lib.latent.linear_gaussian import LinearGaussian
from course_lib.latent.vae import VAE
from tests.latent.test_linear_gaussian import random_model

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def rough(x):
    """An encoder that is wrong on purpose."""
    return x[:, :2] * 0.3 + 0.4, x[:, 1:3] * 0.05


def exact_case(rows=4, encoder=rough):
    model = random_model(5, 2, 0.5, seed=2, encoder=encoder)
    return model, model.sample(rows, seeded(7))[1]


def test_the_sampled_elbo_has_the_exact_mean():
    model, x = exact_case(1)
    exact = model.elbo(x, *model.encode(x))
    draws = elbo(model, x.expand(40_000, -1), seeded()).elbo
    assert abs(draws.mean() - exact) < 4 * draws.std() / 200
    together = elbo(model, x, seeded(), samples=40_000).elbo
    torch.testing.assert_close(together, draws.mean(0, keepdim=True))


def test_elbo_is_reconstruction_minus_beta_kl():
    model, x = exact_case()
    one = elbo(model, x, seeded(), beta=1.0)
    torch.testing.assert_close(one.kl, gaussian_kl(*model.encode(x)))
    torch.testing.assert_close(one.elbo, one.reconstruction - one.kl)
    four = elbo(model, x, seeded(), beta=4.0)
    torch.testing.assert_close(four.elbo, four.reconstruction - 4 * four.kl)
    assert torch.equal(four.reconstruction, one.reconstruction)
    assert one.elbo.shape == (4,)


def test_the_gradient_of_the_elbo_is_unbiased():
    """In the encoder's two biases, against autograd through the closed form."""
    shift = torch.zeros(2, 2, dtype=F64, requires_grad=True)

    def encoder(x):
        mean, log_var = rough(x)
        return mean + shift[0], log_var + shift[1]

    model, x = exact_case(1, encoder)
    (exact,) = torch.autograd.grad(model.elbo(x, *model.encode(x)).sum(), shift)
    g = seeded()
    draws = torch.stack(
        [
            torch.autograd.grad(elbo(model, x, g, samples=50).elbo.sum(), shift)[0]
            for _ in range(200)
        ]
    )
    assert ((draws.mean(0) - exact).abs() < 4 * draws.std(0) / 200**0.5).all()


def test_iwae_rises_to_log_p():
    """The bound never falls in K, starts at the ELBO and ends at log p(x)."""
    model, x = exact_case()
    log_weights = importance_log_weights(model, x, 50_000, seeded())
    curve = iwae_curve(log_weights, [1, 5, 50, 500, 5000, 50_000])  # [6, B]
    assert (curve.diff(dim=0) >= 0).all()
    exact, bound = model.log_prob(x), model.elbo(x, *model.encode(x))
    spread = log_weights.std(0) / 50_000**0.5
    assert ((curve[0] - bound).abs() < 4 * spread).all()
    assert (exact - curve[0] > 0.3).all()  # the encoder is rough, there is a way to go
    relative = (log_weights - curve[-1]).exp().std(0) / 50_000**0.5  # of the mean weight
    assert ((curve[-1] - exact).abs() < 4 * relative + 1e-6).all() and relative.max() < 0.05
    assert (curve[2] < exact).all()


@given(seed=st.integers(0, 9999), scale=st.floats(0, 30))
@settings(max_examples=30, deadline=None)
def test_the_curve_never_falls_for_any_weights(seed, scale):
    log_weights = scale * torch.randn(24, 3, generator=seeded(seed), dtype=F64)
    curve = iwae_curve(log_weights, [1, 2, 6, 12, 24])
    assert (curve.diff(dim=0) >= -1e-9).all()
    torch.testing.assert_close(curve[0], log_weights.mean(0))
    torch.testing.assert_close(curve[-1], log_weights.logsumexp(0) - math.log(24))


def test_one_exact_sample_is_enough():
    """With q the posterior every weight is p(x): no draw is needed to be lucky."""
    weight = torch.tensor([[1.0, 0], [0, 2], [0, 0]], dtype=F64)
    model = LinearGaussian(weight, torch.ones(3, dtype=F64), 0.5)
    _, x = model.sample(3, seeded())
    log_weights = importance_log_weights(model, x, 4, seeded(1))
    torch.testing.assert_close(log_weights, model.log_prob(x).expand(4, 3))
    torch.testing.assert_close(iwae_bound(model, x, 4, seeded(1)), model.log_prob(x))


def test_decoding_in_parts_changes_nothing(monkeypatch):
    model, x = exact_case()
    whole = importance_log_weights(model, x, 10, seeded())
    monkeypatch.setattr(bounds, "ROWS_AT_ONCE", 12)  # three draws of four rows
    with torch.no_grad():
        parts = importance_log_weights(model, x, 10, seeded())
    torch.testing.assert_close(whole, parts)


def test_the_gap_of_an_encoder_closes_to_the_best_factorised_q():
    """Per-row ascent ends at mean m and variances 1 / P_jj; the measured gap is the exact one."""
    model, x = exact_case(6)
    best = LinearGaussian(model.weight, model.bias, model.noise)
    found = amortisation_gap(model, x, steps=300, samples=64, evaluate=2000, generator=seeded())
    mean, log_var = best.encode(x)
    assert (found.mean - mean).abs().max() < 0.1
    assert (found.log_var - log_var).abs().max() < 0.1
    exact = best.elbo(x, mean, log_var) - model.elbo(x, *model.encode(x))
    torch.testing.assert_close(found.gap, exact, rtol=0.1, atol=0.05)
    assert (found.optimised < model.log_prob(x) + 0.1).all()


def test_measuring_the_gap_leaves_the_model_alone():
    model = VAE(6, 5, 2)
    x = (torch.rand(3, 6) > 0.5).float()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    gap = amortisation_gap(model, x, steps=3, evaluate=4, generator=seeded()).gap
    assert gap.shape == (3,) and not gap.requires_grad
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_counts_out_of_range_are_refused():
    model, x = exact_case()
    for bad in ({"samples": 0}, {"beta": -1.0}):
        with pytest.raises(ValueError, match="samples >= 1 and beta >= 0"):
            elbo(model, x, **bad)
    with pytest.raises(ValueError, match="at least 1"):
        iwae_bound(model, x, 0)
    with pytest.raises(ValueError, match=r"1\.\.10"):
        iwae_curve(torch.zeros(10, 2), [1, 11])
