"""Unit 07, exercise 6: the importance-weighted bound."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.variational_autoencoders import reference
from course_lib.exercises.variational_autoencoders.gaussians import gradient_is_cut, posterior
from course_lib.exercises.variational_autoencoders.training import unit

# 6 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=10,
    reference=reference.iwae_bound,
    hints=[
        "First log w, [K, B]: log p(x | z) + log p(z) - log q(z | x). The two Gaussians are summed over the latents.",
        "log N(z; mean, sigma^2) = -(z - mean)^2 / (2 sigma^2) - log_var / 2 - log(2 pi) / 2; the last part cancels.",
        "The log of a mean over K is torch.logsumexp over the first axis, minus math.log(K).",
    ],
)
def iwae_bound(answer, case: Case) -> None:
    """log of the mean of p(z) p(x | z) / q(z | x) over K draws: log_likelihood [K, B], z [K, B, k] -> [B]."""
    batch, latents = case.size(2, 3), case.size(2, 3)
    mean, log_var = posterior(case, batch, latents)
    for draws, level, label in (
        (batch + case.size(2, 3), -3.0, "K draws"),
        (1, -3.0, "K = 1"),
        (batch + case.size(3, 5), -900.0, "log-likelihoods near -900"),
    ):
        z = reference.reparameterise(mean, log_var, case.normal(draws, batch, latents))
        likelihood = level + 1.5 * case.normal(draws, batch)
        given = likelihood, z, mean, log_var
        case.expect(answer(*given), reference.iwae_bound(*given), label=label)
    near = (likelihood + 890.0, *given[1:])
    for argument in range(4):
        case.expect_gradient(answer, reference.iwae_bound, *near, wrt=argument)


def _log_normal(z: Tensor, mean: Tensor | float, log_var: Tensor | float) -> Tensor:
    """log N(z; mean, exp(log_var)) summed over the latents, without its constant."""
    log_var = torch.as_tensor(log_var)
    return -((z - mean) ** 2 / log_var.exp() + log_var).sum(-1) / 2


def _weights(log_likelihood, z, mean, log_var):
    return log_likelihood + _log_normal(z, 0.0, 0.0) - _log_normal(z, mean, log_var)


def _log_mean(log_weights: Tensor, dim: int = 0) -> Tensor:
    return log_weights.logsumexp(dim) - math.log(log_weights.shape[dim])


@iwae_bound.mistake(
    "You took the mean of the logarithms: that is the ELBO, whatever K is. Here the log of the MEAN is wanted."
)
def mean_of_logs(*given):
    return _weights(*given).mean(0)


@iwae_bound.mistake(
    "log K is missing: this is the log of the sum. Subtract log K, or the bound grows with K for nothing."
)
def log_of_sum(*given):
    return _weights(*given).logsumexp(0)


@iwae_bound.mistake("The prior p(z) is missing from the weights.")
def without_prior(log_likelihood, z, mean, log_var):
    return _log_mean(log_likelihood - _log_normal(z, mean, log_var))


@iwae_bound.mistake(
    "q(z | x) is missing from the weights: the draws come from q, and each is divided by how likely q made it."
)
def without_q(log_likelihood, z, mean, log_var):
    return _log_mean(log_likelihood + _log_normal(z, 0.0, 0.0))


@iwae_bound.mistake("log q is added in yours. It divides the weight: subtract it.")
def q_added(log_likelihood, z, mean, log_var):
    return _log_mean(log_likelihood + _log_normal(z, 0.0, 0.0) + _log_normal(z, mean, log_var))


@iwae_bound.mistake(
    "log_var / 2 is missing from log q: a density is lower where it is wide, by the factor 1 / sigma."
)
def without_width(log_likelihood, z, mean, log_var):
    density = -((z - mean) ** 2 / log_var.exp()).sum(-1) / 2
    return _log_mean(log_likelihood + _log_normal(z, 0.0, 0.0) - density)


def _over_batch(observations) -> bool:
    values = [o for o in observations if o.kind == "value"]
    return all(o.got.dim() == 1 and len(o.got) != len(o.expected) for o in values)


@iwae_bound.symptom(
    _over_batch,
    "You averaged over the batch: the result should be [B], one bound a row. The K draws lie along the first axis.",
)
def over_batch(*given):
    return _log_mean(_weights(*given), dim=1)


def _out_of_range(observations) -> bool:
    return [o.failure() is None for o in observations[:3]] == [True, True, False]


@iwae_bound.symptom(
    _out_of_range,
    "Right for small images. exp(-900) is 0 in floats, its log -inf: torch.logsumexp takes the largest out first.",
)
def exponentials(*given):
    return _weights(*given).exp().mean(0).log()


@iwae_bound.symptom(
    gradient_is_cut,
    "The bound is right, but a gradient is cut: it has to reach all four arguments.",
)
def iwae_without_gradient(*given):
    return reference.iwae_bound(*given).detach()
