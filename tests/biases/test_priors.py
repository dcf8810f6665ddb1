"""Ridge is a Gaussian prior: scikit-learn, a maximised posterior, and the limits of a prior's strength."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from torch.distributions import MultivariateNormal, Normal

from course_lib.biases import ridge_map
from tests.biases.cases import randn
from tests.devices import devices

EXAMPLES = settings(max_examples=30, deadline=None)
SIZES = {"n": st.integers(1, 8), "d": st.integers(1, 6), "seed": st.integers(0, 999)}
VARIANCES = st.floats(0.01, 100)


@given(**SIZES, noise=VARIANCES, prior=VARIANCES)
@EXAMPLES
def test_it_is_scikit_learns_ridge(n, d, seed, noise, prior):
    x, y = randn(n, d, seed=seed), randn(n, 2, seed=seed + 1)
    oracle = Ridge(alpha=noise / prior, fit_intercept=False, solver="svd").fit(x.numpy(), y.numpy())
    weights = ridge_map(x, y, noise_var=noise, prior_var=prior)
    torch.testing.assert_close(weights, torch.from_numpy(oracle.coef_).T, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(
        ridge_map(x, y[:, 0], noise_var=noise, prior_var=prior), weights[:, 0]
    )


@given(**SIZES, noise=VARIANCES)
@EXAMPLES
def test_the_three_ways_to_give_a_prior_agree(n, d, seed, noise):
    x, y = randn(n, d, seed=seed), randn(n, seed=seed + 1)
    each = randn(d, seed=seed + 2).square() + 0.1
    by_variance = ridge_map(x, y, noise_var=noise, prior_var=each)
    by_covariance = ridge_map(x, y, noise_var=noise, prior_var=each.diag())
    torch.testing.assert_close(by_variance, by_covariance)
    one = ridge_map(x, y, noise_var=noise, prior_var=2.0)
    torch.testing.assert_close(
        one, ridge_map(x, y, noise_var=noise, prior_var=torch.full((d,), 2.0))
    )


@pytest.mark.parametrize("kind", ["number", "each", "covariance"])
def test_it_maximises_the_posterior(kind):
    x, y, noise = randn(5, 4), randn(5), 0.3
    factor = randn(4, 4)
    prior = {
        "number": torch.tensor(0.7).double(),
        "each": torch.tensor([0.1, 0.5, 1.0, 4.0]).double(),
        "covariance": factor @ factor.T + 0.1 * torch.eye(4),
    }[kind]
    spread = prior if prior.dim() == 2 else torch.diag(prior.expand(4))
    weights = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    belief = MultivariateNormal(torch.zeros(4, dtype=torch.float64), spread)
    search = torch.optim.LBFGS(
        [weights],
        max_iter=500,
        tolerance_grad=1e-12,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def surprise():
        search.zero_grad()
        likelihood = Normal(x @ weights, noise**0.5).log_prob(y).sum()
        loss = -likelihood - belief.log_prob(weights)
        loss.backward()
        return loss

    search.step(surprise)
    found = ridge_map(x, y, noise_var=noise, prior_var=prior)
    torch.testing.assert_close(found, weights.detach(), rtol=1e-6, atol=1e-7)


def test_weak_and_strong_priors():
    x, y = randn(9, 3), randn(9)
    least_squares = torch.linalg.lstsq(x, y[:, None]).solution[:, 0]
    torch.testing.assert_close(ridge_map(x, y, prior_var=1e10), least_squares)
    assert ridge_map(x, y, prior_var=1e-10).abs().max() < 1e-8
    norms = [float(ridge_map(x, y, prior_var=v).norm()) for v in (0.01, 0.1, 1.0, 10.0)]
    assert norms == sorted(norms)


def test_one_equation_two_unknowns_by_hand():
    x, y = torch.ones(1, 2).double(), torch.tensor([2.0]).double()
    shares = ridge_map(x, y, noise_var=1e-12)
    forbidden = ridge_map(x, y, noise_var=1e-12, prior_var=torch.tensor([1.0, 0.0]))
    opposed = torch.tensor([[1.0, -0.5], [-0.5, 1.0]])
    torch.testing.assert_close(shares, torch.tensor([1.0, 1.0]).double())
    torch.testing.assert_close(forbidden, torch.tensor([2.0, 0.0]).double())
    torch.testing.assert_close(
        ridge_map(x, y, noise_var=1.0, prior_var=opposed), torch.tensor([0.5, 0.5]).double()
    )


@given(**SIZES)
@EXAMPLES
def test_infinitely_strong_priors_forbid_and_tie(n, d, seed):
    x, y = randn(n, d, seed=seed), randn(n, seed=seed + 1)
    allowed = torch.arange(d) % 2 == 0
    weights = ridge_map(x, y, prior_var=allowed.double())
    assert (weights[~allowed] == 0).all()
    torch.testing.assert_close(weights[allowed], ridge_map(x[:, allowed], y))
    tied = ridge_map(x, y, prior_var=torch.ones(d, d))  # one weight for all: y = w sum_j x_j
    torch.testing.assert_close(tied, ridge_map(x.sum(1, keepdim=True), y).expand(d))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(4)}, r"need x \[n, d\]"),
        ({"y": torch.ones(3)}, "as many rows"),
        ({"noise_var": 0.0}, "use lstsq"),
        ({"prior_var": torch.ones(2)}, r"a number, \[3\] or \[3, 3\]"),
        ({"prior_var": -1.0}, "negative variance"),
        ({"prior_var": -torch.eye(3)}, "negative variance"),
        ({"prior_var": torch.eye(3) + torch.ones(3, 3).triu(1)}, "must be symmetric"),
        ({"prior_var": 3 * torch.eye(3) - 2}, "positive semidefinite.* -3"),
    ],
)
def test_what_is_no_linear_model_is_refused(change, message):
    inputs = {"x": torch.ones(4, 3), "y": torch.ones(4)} | change
    with pytest.raises(ValueError, match=message):
        ridge_map(inputs.pop("x"), inputs.pop("y"), **inputs)


@given(d=st.integers(1, 40), rank=st.integers(1, 40), seed=st.integers(0, 999))
@EXAMPLES
def test_covariances_of_every_rank_are_accepted_with_their_rounding(d, rank, seed):
    factor = randn(d, rank, seed=seed)
    for dtype in (torch.float32, torch.float64):  # a float64 covariance may be rounded on the way
        x, y = randn(3, d, seed=seed).to(dtype), randn(3, seed=seed).to(dtype)
        assert ridge_map(x, y, prior_var=factor @ factor.T).isfinite().all()


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("prior", [2.0, torch.rand(3) + 0.1, torch.eye(3) + 0.5])
def test_each_device_agrees_with_the_cpu(device, prior):
    x, y = randn(5, 3, seed=0), randn(5, seed=1)
    there = ridge_map(x.to(device), y.to(device), prior_var=prior)
    assert there.device.type == device.type
    torch.testing.assert_close(there.cpu(), ridge_map(x, y, prior_var=prior))
