"""The exact model, against torch's multivariate normal and conditioning of the joint Gaussian."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, kl_divergence

from course_lib.latent.linear_gaussian import LinearGaussian, fit_linear_gaussian
from tests.devices import devices

F64 = torch.float64


def random_model(d=5, k=2, noise=0.3, seed=0, encoder=None):
    g = torch.Generator().manual_seed(seed)
    weight, bias = (torch.randn(*shape, generator=g, dtype=F64) for shape in ((d, k), (d,)))
    return LinearGaussian(weight, bias, noise, encoder)


def random_q(rows, k, seed=0):
    """mean and log_var [rows, k] of some Gaussian."""
    g = torch.Generator().manual_seed(seed + 100)
    return torch.randn(2, rows, k, generator=g, dtype=F64).unbind(0)


def marginal(model):
    eye = torch.eye(len(model.bias), dtype=F64)
    return MultivariateNormal(model.bias, model.weight @ model.weight.mT + model.noise * eye)


@pytest.mark.parametrize(("d", "k"), [(5, 2), (2, 4), (1, 1)])
def test_log_prob_and_its_gradients_are_the_multivariate_normals(d, k):
    model = random_model(d, k)
    _, x = model.sample(6, torch.Generator().manual_seed(1))
    gradients, values = [], []
    for road in range(2):
        weight, bias, seen = (v.clone().requires_grad_() for v in (model.weight, model.bias, x))
        own = LinearGaussian(weight, bias, model.noise)
        values.append(marginal(own).log_prob(seen) if road else own.log_prob(seen))
        gradients.append(torch.autograd.grad(values[-1].sum(), (weight, bias, seen)))
    torch.testing.assert_close(values[0], values[1])
    for own, other in zip(*gradients):
        torch.testing.assert_close(own, other)


def test_the_posterior_is_the_joint_gaussian_conditioned():
    """Mean W^T S^-1 (x - b), covariance I - W^T S^-1 W with S = W W^T + eta I: no k x k inverse."""
    model = random_model(4, 3)
    _, x = model.sample(5, torch.Generator().manual_seed(0))
    gain = torch.linalg.solve(marginal(model).covariance_matrix, model.weight).mT  # [k, D]
    mean, covariance = model.posterior(x)
    torch.testing.assert_close(mean, (x - model.bias) @ gain.mT)
    torch.testing.assert_close(covariance, torch.eye(3, dtype=F64) - gain @ model.weight)


def test_kl_to_the_posterior_is_that_of_torch_distributions():
    model, (mean, log_var) = random_model(), random_q(6, 2)
    _, x = model.sample(6, torch.Generator().manual_seed(3))
    centre, covariance = model.posterior(x)
    q = MultivariateNormal(mean, torch.diag_embed(log_var.exp()))
    expected = kl_divergence(q, MultivariateNormal(centre, covariance))
    torch.testing.assert_close(model.kl_to_posterior(x, mean, log_var), expected)


@given(
    d=st.integers(1, 6),
    k=st.integers(1, 4),
    noise=st.floats(0.01, 4),
    seed=st.integers(0, 9999),
)
@settings(max_examples=60, deadline=None)
def test_the_elbo_is_below_log_p_by_the_kl_to_the_posterior(d, k, noise, seed):
    model, (mean, log_var) = random_model(d, k, noise, seed), random_q(4, k, seed)
    _, x = model.sample(4, torch.Generator().manual_seed(seed))
    bound, exact = model.elbo(x, mean, log_var), model.log_prob(x)
    assert (bound <= exact + 1e-9 * exact.abs()).all()
    gap = model.kl_to_posterior(x, mean, log_var)
    torch.testing.assert_close(exact - bound, gap, rtol=1e-7, atol=1e-5)


def test_the_bound_is_tight_exactly_where_the_posterior_is_factorised():
    """Orthogonal columns of W make P diagonal: the encoder's own q is then the posterior."""
    weight = torch.tensor([[1.0, 0], [0, 2], [0, 0]], dtype=F64)
    model = LinearGaussian(weight, torch.zeros(3, dtype=F64), 0.5)
    _, x = model.sample(4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.elbo(x, *model.encode(x)), model.log_prob(x))
    tied = random_model()
    _, x = tied.sample(4, torch.Generator().manual_seed(0))
    gap = tied.log_prob(x) - tied.elbo(x, *tied.encode(x))
    assert (gap > 1e-3).all()
    q = [value.clone().requires_grad_() for value in tied.encode(x)]
    for slope in torch.autograd.grad(tied.elbo(x, *q).sum(), q):  # no factorised q is better
        assert slope.abs().max() < 1e-9


def test_samples_have_the_models_mean_and_covariance():
    model = random_model(3, 2)
    z, x = model.sample(60_000, torch.Generator().manual_seed(0))
    assert z.shape == (60_000, 2)
    true = marginal(model).covariance_matrix
    assert torch.allclose(x.mean(0), model.bias, atol=4 * float(true.max() / 60_000) ** 0.5)
    assert torch.allclose(x.mT.cov(), true, atol=0.05 * float(true.max()))
    assert torch.allclose(z.mT.cov(), torch.eye(2, dtype=F64), atol=0.03)


def test_the_closed_form_fit_is_a_maximum():
    """The gradient of the likelihood is zero there, and the truth is no likelier."""
    truth = random_model(6, 2, 0.2)
    _, x = truth.sample(400, torch.Generator().manual_seed(0))
    fitted = fit_linear_gaussian(x, 2)
    weight, bias = fitted.weight.requires_grad_(), fitted.bias.requires_grad_()
    value = LinearGaussian(weight, bias, fitted.noise).log_prob(x).mean()
    for slope in torch.autograd.grad(value, (weight, bias)):
        assert slope.abs().max() < 1e-10
    for other in (0.98, 1.02):
        near = LinearGaussian(weight, bias, fitted.noise * other)
        assert near.log_prob(x).mean() < value
    assert truth.log_prob(x).mean() < value


def test_what_does_not_fit_is_refused():
    weight, bias = torch.zeros(3, 2), torch.zeros(3)
    with pytest.raises(ValueError, match=r"weight must be \[D, k\]"):
        LinearGaussian(weight.mT, bias, 1.0)
    with pytest.raises(ValueError, match="must be positive"):
        LinearGaussian(weight, bias, 0.0)
    with pytest.raises(ValueError, match="no condition"):
        LinearGaussian(weight, bias, 1.0).decode(torch.zeros(1, 2), torch.zeros(1, 1))
    with pytest.raises(ValueError, match=r"1\.\.2"):
        fit_linear_gaussian(torch.randn(9, 3), 3)
    with pytest.raises(ValueError, match="smaller k"):
        fit_linear_gaussian(torch.ones(9, 3), 1)


@pytest.mark.parametrize("device", devices())
def test_every_device_gives_the_cpus_numbers(device):
    model = random_model()
    _, x = model.sample(5, torch.Generator().manual_seed(0))
    weight, bias, seen = (v.to(device, torch.float32) for v in (model.weight, model.bias, x))
    there = LinearGaussian(weight, bias, model.noise)
    torch.testing.assert_close(
        there.log_prob(seen).cpu().double(), model.log_prob(x), rtol=1e-4, atol=1e-4
    )
    own = there.elbo(seen, *there.encode(seen)).cpu().double()
    torch.testing.assert_close(own, model.elbo(x, *model.encode(x)), rtol=1e-4, atol=1e-4)
    assert there.sample(2, torch.Generator().manual_seed(0))[1].device.type == device.type
