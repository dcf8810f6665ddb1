"""A variational autoencoder whose code is discrete: some categorical variables, by Gumbel-softmax.

    z = (z_1 .. z_M), each one of C categories,  p(z) uniform,  q(z | x) = product of q_m(z_m | x)

A drawn category has no gradient, so training decodes relaxed draws (`gumbel_softmax`) at a
temperature tau; what counts afterwards is the bound with true, one-hot draws (`hard`).

Sums over pixels and variables, mean over the batch, nats, binarised pixels.

Source: Jang, Gu and Poole 2017, https://arxiv.org/abs/1611.01144.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib.latent.bounds import Elbo
from course_lib.latent.densities import bernoulli_log_likelihood
from course_lib.latent.descent import descend
from course_lib.latent.gumbel import categorical_kl, gumbel_softmax
from course_lib.training import History

__all__ = ["CategoricalVAE", "categorical_elbo", "train_categorical_vae"]


class CategoricalVAE(nn.Module):
    """Encoder [B, D] -> logits [B, M, C]; decoder of one-hot (or relaxed) [..., M, C] -> [..., D].

    input_size: D. variables: M. categories: C. One hidden layer of ReLU in each network; the decoder
    gives logits of binary pixels. Raises ValueError for sizes below 1, or one category only.
    """

    def __init__(
        self, input_size: int, hidden_size: int = 128, variables: int = 4, categories: int = 8
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, variables) < 1 or categories < 2:
            raise ValueError(
                "sizes must be at least 1 and categories at least 2, got "
                f"{input_size}, {hidden_size}, {variables} and {categories}"
            )
        code = (variables, categories)
        self.encoder = nn.Sequential(
            nn.Linear(input_size, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, variables * categories),
            nn.Unflatten(-1, code),
        )
        self.decoder = nn.Sequential(
            nn.Flatten(-2),
            nn.Linear(variables * categories, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, input_size),
        )

    def encode(self, x: Tensor) -> Tensor:
        """Logits of q(z_m | x): [B, D] -> [B, M, C]."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Logits of the pixels: [..., M, C] -> [..., D]."""
        return self.decoder(z)


def categorical_elbo(
    model: CategoricalVAE,
    x: Tensor,
    tau: float = 1.0,
    hard: bool = False,
    generator: torch.Generator | None = None,
) -> Elbo:
    """E_q[log p(x | z)] - KL(q(z | x) || uniform), one draw a row: x [B, D] -> three of [B], in nats.

    The KL, of the discrete q, is exact. With hard=True z is one-hot, and the value is an unbiased
    estimate of a lower bound of log p(x); with relaxed draws it is what training ascends, no bound.
    """
    logits = model.encode(x)
    z = gumbel_softmax(logits, tau, hard, generator=generator)  # [B, M, C]
    reconstruction = bernoulli_log_likelihood(model.decode(z), x)
    kl = categorical_kl(logits).sum(-1)  # [B, M] -> [B]
    return Elbo(reconstruction - kl, reconstruction, kl)


def train_categorical_vae(
    model: CategoricalVAE,
    x: Tensor,
    *,
    tau: float = 1.0,
    hard: bool = False,
    epochs: int = 100,
    lr: float = 5e-3,
    batch_size: int = 64,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> History:
    """Minimise -mean of `categorical_elbo` over x [N, D] by `descend`. hard: straight-through.

    Called again, with a lower tau say, training goes on from the weights there are.
    """
    return descend(
        model,
        lambda model, batch: -categorical_elbo(model, *batch, tau, hard, generator).elbo.mean(),
        x,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        generator=generator,
        progress=progress,
    )
