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
    for draws, apart, label in (
        (batch + case.size(2, 3), 0.0, "K draws"),
        (1, 0.0, "K = 1"),
        (batch + case.size(3, 5), 150.0, "log-likelihoods of -900 and less"),
    ):
        z = reference.reparameterise(mean, log_var, case.normal(draws, batch, latents))
        steps = (
            case.permutation(draws)[:, None] + 6 + torch.arange(batch)
        )  # rows and draws lie apart
        likelihood = 1.5 * case.normal(draws, batch) - 3
        given = likelihood - apart * steps, z, mean, log_var
        case.expect(answer(*given), reference.iwae_bound(*given), label=label)
        case.observations[-1].given["draws"] = draws
    near = likelihood, z, mean, log_var
    alone = likelihood[:, :1], z[:, :1], mean[:1], log_var[:1]
    case.expect(answer(*alone), reference.iwae_bound(*alone), label="one row")
    case.observations[-1].given["draws"] = draws
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


def _off_by_a_constant(observations) -> bool:
    """One number too much or too little in every row, whatever K is."""
    gaps = torch.cat([o.got - o.expected for o in (*observations[:2], observations[3])])
    return bool((gaps - gaps[0]).abs().max() < 1e-3) and abs(float(gaps[0])) > 0.1


@iwae_bound.symptom(
    _off_by_a_constant,
    "Right but for one number: log(2 pi) / 2 for each latent stands in BOTH densities and cancels. Yours has it once.",
)
def constant_in_one(log_likelihood, z, mean, log_var):
    constant = z.shape[-1] * math.log(2 * math.pi) / 2
    return reference.iwae_bound(log_likelihood, z, mean, log_var) + constant


@iwae_bound.mistake(
    "You subtracted the KL in closed form. Here every draw has a weight of its own, with its own log p(z) and log q(z)."
)
def closed_form(log_likelihood, z, mean, log_var):
    return _log_mean(log_likelihood) - reference.gaussian_kl(mean, log_var)


@iwae_bound.mistake(
    "The square is multiplied by the variance in yours: a / 2 * b is (a / 2) * b. Put 2 * sigma^2 in brackets."
)
def times_variance(log_likelihood, z, mean, log_var):
    density = -((z - mean) ** 2 * log_var.exp() + log_var).sum(-1) / 2
    return _log_mean(log_likelihood + _log_normal(z, 0.0, 0.0) - density)


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
    return all(o.got.dim() == 1 and len(o.got) == o.given["draws"] for o in values)


@iwae_bound.symptom(
    _over_batch,
    "You averaged over the batch: the result should be [B], one bound a row. The K draws lie along the first axis.",
)
def over_batch(*given):
    return _log_mean(_weights(*given), dim=1)


def _out_of_range(observations) -> bool:
    return [o.failure() is None for o in observations[:4]] == [True, True, False, True]


@iwae_bound.symptom(
    _out_of_range,
    "Right while all weights are moderate. exp(-900) is 0 in floats, its log -inf, and exp(150) is inf: "
    "torch.logsumexp takes the largest out first, in each row.",
)
def exponentials(*given):
    return _weights(*given).exp().mean(0).log()


@iwae_bound.symptom(
    gradient_is_cut,
    "The bound is right, but a gradient is cut: it has to reach all four arguments.",
)
def iwae_without_gradient(*given):
    return reference.iwae_bound(*given).detach()
