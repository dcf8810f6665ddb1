"""Gaussians and Bernoullis as a variational autoencoder needs them.

Sums over pixels and latents, one value a row [B], in nats. `log_var` is log sigma^2, the logarithm
of the variance: the standard deviation is exp(log_var / 2).

Source: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114, appendices B and C.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "bernoulli_log_likelihood",
    "factorised_log_likelihood",
    "gaussian_kl",
    "gaussian_kl_between",
    "gaussian_log_likelihood",
    "gaussian_noise",
    "reparameterise",
]

LOG_HALF = math.log(0.5)


def gaussian_noise(like: Tensor, *leading: int, generator: torch.Generator | None = None) -> Tensor:
    """Standard normal numbers [*leading, *like.shape] of the dtype and on the device of `like`.

    Drawn where the generator lives, then moved: a CPU generator gives one stream on all devices.
    """
    device = like.device if generator is None else generator.device
    shape = (*leading, *like.shape)
    return torch.randn(shape, generator=generator, dtype=like.dtype, device=device).to(like.device)


def reparameterise(
    mean: Tensor,
    log_var: Tensor,
    generator: torch.Generator | None = None,
    samples: int | None = None,
) -> Tensor:
    """z = mean + exp(log_var / 2) eps with eps ~ N(0, I): a draw from N(mean, exp(log_var)).

    The chance is in eps alone, so z is differentiable in mean and log_var [..., k]. With `samples`,
    that many draws: [samples, ..., k]. Raises ValueError where the shapes of mean and log_var differ.
    """
    _check_same(mean, log_var)
    leading = () if samples is None else (samples,)
    return mean + torch.exp(log_var / 2) * gaussian_noise(mean, *leading, generator=generator)


def gaussian_kl(mean: Tensor, log_var: Tensor) -> Tensor:
    """KL(N(mean, exp(log_var)) || N(0, I)) = 1/2 sum_j (mu_j^2 + sigma_j^2 - 1 - log sigma_j^2).

    mean, log_var [..., k] -> [...], summed over the k latents, in nats. Never negative, and zero only
    for mean 0 and log_var 0. Raises ValueError where the shapes differ.
    """
    _check_same(mean, log_var)
    # expm1(v) - v is sigma^2 - 1 - log sigma^2 without cancellation near sigma = 1
    return (mean.square() + torch.expm1(log_var) - log_var).sum(-1) / 2


def gaussian_kl_between(
    mean_q: Tensor, log_var_q: Tensor, mean_p: Tensor, log_var_p: Tensor
) -> Tensor:
    """KL(q || p) of two Gaussians with diagonal covariances, [..., k] -> [...], in nats.

    1/2 sum_j ((mu_q - mu_p)^2 / sigma_p^2 + sigma_q^2 / sigma_p^2 - 1 - log(sigma_q^2 / sigma_p^2)).
    Not symmetric: q is the one that the mean is taken under. p may broadcast to q.
    """
    _check_same(mean_q, log_var_q)
    ratio = log_var_q - log_var_p
    distance = (mean_q - mean_p).square() * torch.exp(-log_var_p)
    return (distance + torch.expm1(ratio) - ratio).sum(-1) / 2


def bernoulli_log_likelihood(logits: Tensor, x: Tensor) -> Tensor:
    """log p(x) = sum_d (x_d log p_d + (1 - x_d) log(1 - p_d)), p = sigmoid(logits), in nats.

    logits [..., D] and x [..., D] (0 or 1) -> [...], summed over the D pixels; x may broadcast, as
    where logits are [K, B, D] for K samples. Computed from the logits: finite for any of them.
    """
    _check_pixels(logits, x)
    logits, x = torch.broadcast_tensors(logits, x.to(logits.dtype))
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def gaussian_log_likelihood(mean: Tensor, x: Tensor, log_var: Tensor | float = LOG_HALF) -> Tensor:
    """log N(x; mean, eta I) = - ||x - mean||^2 / (2 eta) - D/2 log(2 pi eta), eta = exp(log_var).

    mean [..., D], x [..., D] -> [...], summed over D, in nats. log_var: a number or a tensor that
    broadcasts to [..., D]. Its default, eta = 1/2, is what the loss ||x - mean||^2 + KL takes for
    granted; the weight of the squared error against the KL is 1 / (2 eta).
    """
    _check_pixels(mean, x)
    log_var = torch.as_tensor(log_var, dtype=mean.dtype, device=mean.device)
    squares = (x - mean).square() * torch.exp(-log_var)
    return -(squares + log_var + math.log(2 * math.pi)).sum(-1) / 2


def factorised_log_likelihood(train: Tensor, x: Tensor, smoothing: float = 1.0) -> Tensor:
    """The baseline without latents: each pixel an independent coin, [B] in nats.

    Pixel d is 1 with p_d = (ones of d in train + smoothing) / (N + 2 smoothing), Laplace's rule.

    train [N, D], x [B, D], both of zeros and ones. Raises ValueError unless smoothing > 0: a pixel
    that never was 1 in train would make one test image impossible.
    """
    if not smoothing > 0:
        raise ValueError(f"smoothing must be positive, got {smoothing}: 1 is Laplace's rule")
    p = (train.sum(0) + smoothing) / (len(train) + 2 * smoothing)
    return bernoulli_log_likelihood(torch.logit(p), x)


def _check_same(mean: Tensor, log_var: Tensor) -> None:
    if mean.shape != log_var.shape:
        raise ValueError(
            "mean and log_var must have one shape [..., k], got "
            f"{list(mean.shape)} and {list(log_var.shape)}"
        )


def _check_pixels(output: Tensor, x: Tensor) -> None:
    if output.shape[-1:] != x.shape[-1:]:
        raise ValueError(
            f"the decoder gives {list(output.shape)} and x is {list(x.shape)}: the last axis must be "
            "the same D pixels; flatten images with x.flatten(1)"
        )
