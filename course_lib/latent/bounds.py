"""Lower bounds of log p(x): the ELBO, the importance-weighted bound, and what amortisation costs.

For a model p(z) p(x | z) with z ~ N(0, I) and any q(z | x),

    log p(x) = ELBO + KL(q(z | x) || p(z | x)),
    ELBO     = E_q[log p(x | z)] - KL(q(z | x) || p(z)).

The second KL is never negative, hence a bound. With K draws z_i ~ q the importance-weighted bound

    L_K = E[log 1/K sum_i w_i],   w_i = p(z_i) p(x | z_i) / q(z_i | x)

is the ELBO at K = 1, never falls as K grows, and tends to log p(x).

A `model` here is anything with encode(x, condition) -> (mean, log_var) [B, k], decode(z, condition)
and log_likelihood(output, x) -> [..., B]: `VAE`, or the exact `LinearGaussian`.

Sources: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; Burda, Grosse and Salakhutdinov
2016, https://arxiv.org/abs/1509.00519 (IWAE); Higgins et al. 2017 (beta); Cremer, Li and Duvenaud
2018, https://arxiv.org/abs/1801.03558 (amortisation gap).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from course_lib.latent.densities import gaussian_kl, gaussian_log_likelihood, reparameterise

__all__ = [
    "Amortisation",
    "Elbo",
    "LatentModel",
    "amortisation_gap",
    "elbo",
    "importance_log_weights",
    "iwae_bound",
    "iwae_curve",
]

ROWS_AT_ONCE = 2**16  # of decoded samples, where no gradient is wanted


class LatentModel(Protocol):
    """What the bounds ask of a model."""

    def encode(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]: ...
    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor: ...
    def log_likelihood(self, output: Tensor, x: Tensor) -> Tensor: ...


class Elbo(NamedTuple):
    """elbo = reconstruction - beta kl, each [B], in nats. The loss is minus the mean of elbo."""

    elbo: Tensor
    reconstruction: Tensor
    kl: Tensor


def elbo(
    model: LatentModel,
    x: Tensor,
    generator: torch.Generator | None = None,
    beta: float = 1.0,
    samples: int = 1,
    condition: Tensor | None = None,
) -> Elbo:
    """E_q[log p(x | z)] - beta KL(q(z | x) || N(0, I)): x [B, D] -> three of [B], in nats.

    Sums over pixels and latents, not means. The KL is exact, the expectation a mean over `samples`
    draws of z. Only at beta = 1 (or above) is it a lower bound of log p(x).

    Raises ValueError for fewer than one sample or a negative beta.
    """
    if samples < 1 or beta < 0:
        raise ValueError(f"need samples >= 1 and beta >= 0, got {samples} and {beta}")
    mean, log_var = model.encode(x, condition)
    z = reparameterise(mean, log_var, generator, samples)  # [B, k] -> [S, B, k]
    reconstruction = model.log_likelihood(model.decode(z, condition), x).mean(0)  # [S, B] -> [B]
    kl = gaussian_kl(mean, log_var)
    return Elbo(reconstruction - beta * kl, reconstruction, kl)


def importance_log_weights(
    model: LatentModel,
    x: Tensor,
    samples: int,
    generator: torch.Generator | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """log w = log p(z) + log p(x | z) - log q(z | x) for `samples` draws z ~ q: [K, B], in nats.

    Its mean over K estimates the ELBO, its log-mean-exp the importance-weighted bound. Without
    gradients the draws are decoded some at a time, so that thousands of them fit into memory.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    mean, log_var = model.encode(x, condition)
    draws = reparameterise(mean, log_var, generator, samples)  # [B, k] -> [K, B, k]
    at_once = samples if torch.is_grad_enabled() else max(1, ROWS_AT_ONCE // max(1, len(x)))
    parts = []
    for z in draws.split(at_once):
        prior = gaussian_log_likelihood(torch.zeros_like(z), z, 0.0)
        likelihood = model.log_likelihood(model.decode(z, condition), x)
        parts.append(prior + likelihood - gaussian_log_likelihood(mean, z, log_var))
    return torch.cat(parts)


def iwae_bound(
    model: LatentModel,
    x: Tensor,
    samples: int = 50,
    generator: torch.Generator | None = None,
    condition: Tensor | None = None,
) -> Tensor:
    """log 1/K sum_i w_i of K = `samples` draws: x [B, D] -> [B], in nats.

    An estimate of L_K from one set of draws, differentiable. K = 1 is the ELBO with a sampled KL.
    """
    return iwae_curve(importance_log_weights(model, x, samples, generator, condition), [samples])[0]


def iwae_curve(log_weights: Tensor, sizes: Sequence[int]) -> Tensor:
    """L_K for each K of `sizes` from one set of log w [S, B]: [len(sizes), B], in nats.

    The S draws are cut into groups of K, and the groups' log-mean-exps averaged: every draw counts
    for every K. Where each size divides the next, the curve never falls, draws being what they may
    (Jensen's inequality in each group). A remainder of S by K is left out.

    Raises ValueError for a size outside 1..S.
    """
    draws = len(log_weights)
    if not all(1 <= size <= draws for size in sizes):
        raise ValueError(f"sizes must lie in 1..{draws}, the number of draws, got {list(sizes)}")
    groups = [log_weights[: draws // k * k].unflatten(0, (-1, k)) for k in sizes]  # [S/K, K, B]
    return torch.stack([group.logsumexp(1).mean(0) - math.log(group.size(1)) for group in groups])


class Amortisation(NamedTuple):
    """Two ELBOs of each row [B] from the same draws, and the q that was found, each [B, k].

    amortised: with the encoder's q(z | x). optimised: with the best mean and log_var found for
    each row alone. gap = optimised - amortised, in nats: what one network for all rows costs.
    """

    amortised: Tensor
    optimised: Tensor
    mean: Tensor
    log_var: Tensor

    @property
    def gap(self) -> Tensor:
        """optimised - amortised, [B], in nats."""
        return self.optimised - self.amortised


def amortisation_gap(
    model: LatentModel,
    x: Tensor,
    *,
    steps: int = 200,
    lr: float = 0.05,
    samples: int = 8,
    evaluate: int = 256,
    generator: torch.Generator | None = None,
    condition: Tensor | None = None,
) -> Amortisation:
    """Ascend the ELBO in each row's own mean and log_var, from the encoder's; the decoder is fixed.

    All rows of x [B, D] at once, by Adam with a step size that falls to zero: `samples` fresh draws
    a step; both ELBOs are then measured on `evaluate` common draws. The model's gradients are left
    alone.
    """
    with torch.no_grad():
        start = model.encode(x, condition)

    def bound(mean: Tensor, log_var: Tensor, eps: Tensor) -> Tensor:
        z = mean + torch.exp(log_var / 2) * eps  # [S, B, k]
        reconstruction = model.log_likelihood(model.decode(z, condition), x)
        return reconstruction.mean(0) - gaussian_kl(mean, log_var)

    def noise(count: int) -> Tensor:
        zero = torch.zeros_like(start[0])
        return reparameterise(zero, zero, generator, count)

    own = [value.clone().requires_grad_() for value in start]
    optimizer = torch.optim.Adam(own, lr=lr)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        loss = -bound(*own, noise(samples)).sum()
        for value, slope in zip(own, torch.autograd.grad(loss, own)):
            value.grad = slope
        optimizer.step()
    mean, log_var = (value.detach() for value in own)
    with torch.no_grad():
        eps = noise(evaluate)
        return Amortisation(bound(*start, eps), bound(mean, log_var, eps), mean, log_var)
