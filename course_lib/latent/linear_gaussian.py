"""The one latent-variable model whose every quantity is exact: a linear decoder with Gaussian noise.

    z ~ N(0, I_k),   x = W z + b + noise,   noise ~ N(0, eta I_D)

so that, with the posterior's precision P = I + W^T W / eta,

    p(x)     = N(b, W W^T + eta I)
    p(z | x) = N(P^-1 W^T (x - b) / eta, P^-1)

It is probabilistic PCA, and here the yardstick of every bound: ELBO + KL(q || p(z | x)) must be
log p(x). One value a row [B], in nats.

Source: Tipping and Bishop, Journal of the Royal Statistical Society B 61, 1999.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.latent.autoencoder import pca
from course_lib.latent.densities import gaussian_kl, gaussian_log_likelihood, gaussian_noise

__all__ = ["LinearGaussian", "fit_linear_gaussian"]

Encoder = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class LinearGaussian:
    """x = W z + b + N(0, noise I): weight W [D, k], bias b [D], noise eta, a variance.

    encoder: x [B, D] -> (mean, log_var) [B, k] of any q(z | x) for `elbo` and `iwae_bound`. Without
    one, the best factorised q: the posterior's mean, and variances 1 / P_jj.

    Raises ValueError for shapes that do not fit or noise that is not positive.
    """

    weight: Tensor
    bias: Tensor
    noise: float
    encoder: Encoder | None = None

    def __post_init__(self) -> None:
        if self.weight.dim() != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(
                f"weight must be [D, k] and bias [D], got {list(self.weight.shape)} and "
                f"{list(self.bias.shape)}"
            )
        if not self.noise > 0:
            raise ValueError(f"noise is a variance and must be positive, got {self.noise}")

    @property
    def precision(self) -> Tensor:
        """P = I + W^T W / eta, the inverse covariance of p(z | x) for every x: [k, k]."""
        k = self.weight.size(1)
        eye = torch.eye(k, dtype=self.weight.dtype, device=self.weight.device)
        return eye + self.weight.mT @ self.weight / self.noise

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) = log N(x; b, W W^T + eta I): x [B, D] -> [B], in nats.

        By the k x k matrix P: log det = D log eta + log det P (the determinant lemma), and Woodbury's
        identity for the square.
        """
        residual = x - self.bias
        root = torch.linalg.cholesky(self.precision)
        shadow = residual @ self.weight  # [B, D] -> [B, k]
        explained = torch.linalg.solve_triangular(root, shadow.mT, upper=False).square().sum(0)
        square = (residual.square().sum(-1) - explained / self.noise) / self.noise
        dimensions = self.weight.size(0)
        log_det = dimensions * math.log(self.noise) + 2 * root.diagonal().log().sum()
        return -(square + log_det + dimensions * math.log(2 * math.pi)) / 2

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """p(z | x): mean [B, k] of each row of x [B, D], and the one covariance [k, k]."""
        covariance = torch.linalg.inv(self.precision)
        return (x - self.bias) @ self.weight @ covariance / self.noise, covariance

    def encode(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """mean and log_var [B, k] of q(z | x): the encoder's, or the best factorised one."""
        _no_condition(condition)
        if self.encoder is not None:
            return self.encoder(x)
        mean, _ = self.posterior(x)
        return mean, -self.precision.diagonal().log().expand_as(mean)

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """W z + b: [..., k] -> [..., D]."""
        _no_condition(condition)
        return z @ self.weight.mT + self.bias

    def log_likelihood(self, output: Tensor, x: Tensor) -> Tensor:
        """log N(x; output, eta I): [..., B, D] and x [B, D] -> [..., B], in nats."""
        return gaussian_log_likelihood(output, x, math.log(self.noise))

    def elbo(self, x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
        """The ELBO of q = N(mean, diag exp(log_var)) without sampling: [B], in nats.

        E_q ||x - b - W z||^2 = ||x - b - W mean||^2 + sum_j exp(log_var_j) ||W_j||^2, W_j column j.
        """
        spread = (log_var.exp() * self.weight.square().sum(0)).sum(-1) / (2 * self.noise)
        reconstruction = self.log_likelihood(self.decode(mean), x) - spread
        return reconstruction - gaussian_kl(mean, log_var)

    def kl_to_posterior(self, x: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
        """KL(N(mean, diag exp(log_var)) || p(z | x)), the gap of that ELBO: [B], in nats.

        1/2 (sum_j P_jj exp(log_var_j) + (mean - m)^T P (mean - m) - k - log det P - sum_j log_var_j).
        """
        precision, (centre, _) = self.precision, self.posterior(x)
        off = mean - centre
        square = ((off @ precision) * off).sum(-1)
        spread = (log_var.exp() * precision.diagonal()).sum(-1)
        return (spread + square - mean.size(-1) - torch.logdet(precision) - log_var.sum(-1)) / 2

    def sample(
        self, number: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """`number` draws: z [number, k] and x [number, D]."""
        z = gaussian_noise(self.weight[0], number, generator=generator)
        noise = gaussian_noise(self.bias, number, generator=generator)
        return z, self.decode(z) + math.sqrt(self.noise) * noise


def fit_linear_gaussian(x: Tensor, k: int) -> LinearGaussian:
    """The maximum-likelihood model of x [N, D] with k latents, in closed form from PCA.

    eta is the mean variance of the D - k directions left out, W = V (Lambda - eta I)^1/2 with V the
    first k components as columns and Lambda their variances (which divide by N).

    Raises ValueError unless 1 <= k < D, and where x lies in k dimensions: eta would be 0.
    """
    everything = pca(x, min(x.shape))
    dimensions = x.size(1)
    if not 1 <= k < min(dimensions, len(x)):
        raise ValueError(f"k must lie in 1..{min(dimensions, len(x)) - 1}, got {k}")
    variances = everything.variances
    noise = float(variances[k:].sum() / (dimensions - k))
    if not noise > 0:
        raise ValueError(f"x lies in {k} dimensions, so no noise is left: choose a smaller k")
    weight = everything.components[:k].mT * (variances[:k] - noise).clamp_min(0).sqrt()
    return LinearGaussian(weight, everything.mean, noise)


def _no_condition(condition: Tensor | None) -> None:
    if condition is not None:
        raise ValueError("LinearGaussian has no condition: leave it out")
