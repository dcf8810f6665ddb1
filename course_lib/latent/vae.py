"""The variational autoencoder: a probabilistic decoder, and an encoder that guesses its posterior.

    p(x) = integral of p(z) p(x | z),  p(z) = N(0, I),  q(z | x) = N(mean(x), diag exp(log_var(x)))

Both networks have one hidden layer. Training maximises the ELBO (`bounds`), whose parts are in
`densities`; what the latents hold is measured in `codes`. All of them can be had from here.

Sums over pixels and latents, mean over the batch, nats, binarised pixels.

Source: Kingma and Welling 2014, https://arxiv.org/abs/1312.6114; Sohn, Lee and Yan 2015 (condition).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from course_lib.latent.bounds import (
    Amortisation,
    Elbo,
    amortisation_gap,
    elbo,
    importance_log_weights,
    iwae_bound,
    iwae_curve,
)
from course_lib.latent.codes import active_units, lerp, slerp
from course_lib.latent.densities import (
    bernoulli_log_likelihood,
    factorised_log_likelihood,
    gaussian_kl,
    gaussian_kl_between,
    gaussian_log_likelihood,
    gaussian_noise,
    reparameterise,
)
from course_lib.latent.descent import descend
from course_lib.training import History

__all__ = [
    "VAE",
    "Amortisation",
    "Elbo",
    "active_units",
    "amortisation_gap",
    "bernoulli_log_likelihood",
    "elbo",
    "factorised_log_likelihood",
    "gaussian_kl",
    "gaussian_kl_between",
    "gaussian_log_likelihood",
    "gaussian_noise",
    "importance_log_weights",
    "iwae_bound",
    "iwae_curve",
    "lerp",
    "reparameterise",
    "slerp",
    "train_vae",
]


class VAE(nn.Module):
    """Encoder [B, D] -> mean and log_var [B, k]; decoder [..., B, k] -> [..., B, D].

    Args:
        input_size: D, pixels.
        hidden_size: units of the one hidden layer (ReLU) of each network.
        latent_size: k.
        likelihood: "bernoulli", the decoder gives logits; "gaussian", it gives means.
        condition_size: C; where it is not 0, both networks also see a condition [B, C] (a label as
            a one-hot row, say), and p(x | condition) is what is modelled.
        noise: eta, the variance of a Gaussian pixel. The default 1/2 is what the loss
            ||x - mean||^2 + KL takes for granted.

    Raises ValueError for another likelihood, sizes below 1 or noise that is not positive.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 128,
        latent_size: int = 8,
        likelihood: str = "bernoulli",
        condition_size: int = 0,
        noise: float = 0.5,
    ) -> None:
        super().__init__()
        if likelihood not in ("bernoulli", "gaussian"):
            raise ValueError(f'likelihood must be "bernoulli" or "gaussian", got {likelihood!r}')
        if min(input_size, hidden_size, latent_size) < 1 or condition_size < 0 or not noise > 0:
            raise ValueError(
                f"sizes must be at least 1, condition_size at least 0 and noise positive, got "
                f"{input_size}, {hidden_size}, {latent_size}, {condition_size} and {noise}"
            )
        self.latent_size, self.condition_size = latent_size, condition_size
        self.likelihood, self.noise = likelihood, noise
        self.encoder = nn.Sequential(
            nn.Linear(input_size + condition_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, 2 * latent_size),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent_size + condition_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, input_size),
        )

    def encode(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """mean and log_var of q(z | x), each [B, k], from x [B, D]."""
        mean, log_var = self.encoder(self._with(x, condition)).chunk(2, -1)
        return mean, log_var

    def decode(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """z [..., B, k] -> [..., B, D]: logits (Bernoulli) or means (Gaussian) of the pixels."""
        return self.decoder(self._with(z, condition))

    def log_likelihood(self, output: Tensor, x: Tensor) -> Tensor:
        """log p(x | z) of what `decode` gave: [..., B, D] and x [B, D] -> [..., B], in nats."""
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(output, x)
        return gaussian_log_likelihood(output, x, math.log(self.noise))

    def pixel_means(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """E[x | z] in the pixels' own units: a probability of ink (Bernoulli), or the mean."""
        output = self.decode(z, condition)
        return torch.sigmoid(output) if self.likelihood == "bernoulli" else output

    def sample(
        self,
        number: int,
        generator: torch.Generator | None = None,
        condition: Tensor | None = None,
    ) -> Tensor:
        """E[x | z] of `number` draws z ~ N(0, I): [number, D]. condition: [C] or [number, C]."""
        z = gaussian_noise(
            self.decoder[0].weight.new_empty(number, self.latent_size), generator=generator
        )
        return self.pixel_means(z, condition)

    def _with(self, value: Tensor, condition: Tensor | None) -> Tensor:
        """value [..., B, n] -> [..., B, n + C], the condition beside it."""
        if self.condition_size == 0 and condition is None:
            return value
        if condition is None or condition.shape[-1] != self.condition_size:
            got = None if condition is None else list(condition.shape)
            raise ValueError(
                f"this VAE has condition_size {self.condition_size}, got condition {got}: "
                "give [B, condition_size], or none where it is 0"
            )
        shape = (*value.shape[:-1], self.condition_size)
        return torch.cat([value, condition.to(value.dtype).expand(shape)], -1)


def train_vae(
    model: VAE,
    x: Tensor,
    *,
    epochs: int = 200,
    lr: float = 5e-3,
    batch_size: int = 64,
    beta: float = 1.0,
    generator: torch.Generator | None = None,
    condition: Tensor | None = None,
    progress: bool = False,
) -> History:
    """Minimise -mean over the batch of (reconstruction - beta KL), one draw of z a row, by `descend`.

    x [N, D], condition [N, C] where the model has one. The generator draws the order and the noise;
    seed the weights yourself, before the model is made. Called again, training goes on from the
    weights there are: beta is raised on one model by one call for each beta. Started anew with a
    large beta, the few units that live take long to part from those that die.
    """

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        rows, *rest = batch
        return -elbo(model, rows, generator, beta, condition=rest[0] if rest else None).elbo.mean()

    tensors = (x,) if condition is None else (x, condition)
    return descend(
        model,
        loss,
        *tensors,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        generator=generator,
        progress=progress,
    )
