"""Neural relational inference: how it is trained, and all of it in one place.

The model, its ELBO and its loss are in `nri_model`, how it is judged in `edge_metrics`, the networks in
`encoders` and `decoders`. Here are the three trainings: encoder and decoder together, without a single
edge shown; and, for comparison, the encoder with the true edges as labels, the decoder with them given.

Adam on shuffled minibatches of simulations; the step size follows half a cosine, lr (1 + cos(pi e /
epochs)) / 2 in epoch e, so it starts at lr and ends near zero.

Source: Kipf, Fetaya, Wang, Welling and Zemel 2018, https://arxiv.org/abs/1802.04687.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.latent.descent import descend, half_cosine
from course_lib.relations.edge_metrics import best_relabelling, edge_accuracy, rollout_mse
from course_lib.relations.nri_model import (
    NRI,
    VARIANCE,
    gaussian_nll,
    nri_elbo,
    nri_loss,
    random_window,
    sparse_prior,
)
from course_lib.training import History

__all__ = [
    "NRI",
    "best_relabelling",
    "edge_accuracy",
    "gaussian_nll",
    "nri_elbo",
    "nri_loss",
    "random_window",
    "rollout_mse",
    "sparse_prior",
    "train_decoder",
    "train_encoder",
    "train_nri",
]


def train_nri(
    model: NRI,
    states: Tensor,
    *,
    epochs: int = 20,
    lr: float = 4e-3,
    batch_size: int = 64,
    steps: int = 10,
    window: int | None = 11,
    generator: torch.Generator | None = None,
    progress: bool = False,
    **fit_options: Any,
) -> History:
    """Minimise `nri_loss` over states [S, N, T, D]: unsupervised, the edges are never shown.

    steps, window: as in `nri_elbo`; by default one random window of 11 frames a step, of which the
        decoder is given the first. None: all frames, as in the paper.
    generator: draws the order, the windows and the Gumbel noise; seed the weights yourself.
    fit_options: `validate`, `patience`, `checkpoint`, `checkpoint_every`, `on_epoch` of
        `course_lib.training.fit`.

    The model ends in evaluation mode. Called again, training goes on from the weights there are.
    """

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return nri_loss(model, *batch, steps, window, generator)

    return descend(
        model,
        loss,
        states,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        generator=generator,
        fall=half_cosine,
        progress=progress,
        **fit_options,
    )


def train_encoder(
    encoder: nn.Module,
    states: Tensor,
    types: Tensor,
    *,
    epochs: int = 20,
    lr: float = 4e-3,
    batch_size: int = 64,
    generator: torch.Generator | None = None,
    progress: bool = False,
    **fit_options: Any,
) -> History:
    """Supervised: cross-entropy of the encoder's logits with the true types, int64 [S, E].

    Other arguments as in `train_nri`. What it reaches is about the best that can be asked of NRI.
    """

    def loss(encoder: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        states, types = batch
        return F.cross_entropy(encoder(states).flatten(0, 1), types.flatten())

    return descend(
        encoder,
        loss,
        states,
        types,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        generator=generator,
        fall=half_cosine,
        progress=progress,
        **fit_options,
    )


def train_decoder(
    decoder: nn.Module,
    states: Tensor,
    edges: Tensor,
    *,
    epochs: int = 20,
    lr: float = 4e-3,
    batch_size: int = 64,
    steps: int = 10,
    window: int | None = 11,
    variance: float = VARIANCE,
    generator: torch.Generator | None = None,
    progress: bool = False,
    **fit_options: Any,
) -> History:
    """With a given graph: minimise `gaussian_nll`; edges [S, E, K], or types int64 [S, E].

    Other arguments as in `train_nri`. It is what NRI would predict if its encoder made no mistake.
    """

    if not torch.is_floating_point(edges):
        edges = F.one_hot(edges, decoder.edge_types).to(states.dtype)  # [S, E] -> [S, E, K]

    def loss(decoder: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        states, edges = batch
        part = random_window(states, window, generator)
        return gaussian_nll(decoder(part, edges, steps), part[:, :, 1:], variance).mean()

    return descend(
        decoder,
        loss,
        states,
        edges,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        generator=generator,
        fall=half_cosine,
        progress=progress,
        **fit_options,
    )
