"""A discrete code: its bound against enumeration of every code, and what it reaches on digits."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.latent.binary_digits import binary_digits
from course_lib.latent.categorical_vae import (
    CategoricalVAE,
    categorical_elbo,
    train_categorical_vae,
)
from course_lib.latent.vae import bernoulli_log_likelihood, factorised_log_likelihood


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_hard_bound_is_unbiased_and_below_log_p():
    """Two variables of three categories are nine codes: all sums can be written out."""
    torch.manual_seed(0)
    model = CategoricalVAE(5, 8, 2, 3).double()
    for parameter in model.parameters():
        parameter.data.mul_(3)
    x = (torch.rand(1, 5, generator=seeded()) > 0.5).double()
    places = torch.cartesian_prod(torch.arange(3), torch.arange(3))  # [9, 2]
    codes = torch.nn.functional.one_hot(places, 3).double()
    with torch.no_grad():
        likelihood = bernoulli_log_likelihood(model.decode(codes), x)  # [9]
        log_q = (model.encode(x).log_softmax(-1) * codes).sum((-2, -1))
        exact = (log_q.exp() * (likelihood - math.log(9) - log_q)).sum()
        log_p = (likelihood - math.log(9)).logsumexp(0)
        found = categorical_elbo(model, x.expand(20_000, 5), 0.7, True, seeded(1))
    error = found.elbo.std() / 20_000**0.5
    assert abs(found.elbo.mean() - exact) < 4 * error
    assert log_p - exact > 0 and 4 * error < 0.1


def test_it_learns_digits_with_a_discrete_code():
    digits = binary_digits()
    base = factorised_log_likelihood(digits.train, digits.test).mean()
    torch.manual_seed(0)
    model = CategoricalVAE(64)
    train_categorical_vae(model, digits.train, epochs=20, generator=seeded())
    with torch.no_grad():
        found = categorical_elbo(model, digits.test, hard=True, generator=seeded())
    assert found.elbo.mean() > base + 2
    assert 1 < found.kl.mean() < 4 * math.log(8)  # no code carries more than M log C


def test_one_draw_gives_gradients_to_both_networks():
    model = CategoricalVAE(6, 5, 2, 3)
    x = (torch.rand(4, 6, generator=seeded()) > 0.5).float()
    for hard in (False, True):
        model.zero_grad()
        categorical_elbo(model, x, 0.5, hard, seeded()).elbo.sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in model.parameters())
    with pytest.raises(ValueError, match="categories at least 2"):
        CategoricalVAE(6, categories=1)
