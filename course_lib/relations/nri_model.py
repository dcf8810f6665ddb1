"""Neural relational inference: a variational autoencoder whose code is a graph.

    q(z | x) = product over ordered pairs of softmax(logits_(j,i))          the encoder
    p(x | z) = product over frames of N(x^(t+1); decoder(x^t, z), variance I)
    loss     = -E_q[log p(x | z)] + KL(q(z | x) || p(z)),  minus the ELBO

With the uniform prior KL = sum over pairs of (log K - H(q)): a bonus for entropy H, that is, a price of
being sure. The draw z ~ q is relaxed (`gumbel_softmax`), so the decoder's gradient reaches the encoder.

Sums over bodies, frames, features and pairs, mean over the batch, nats. States are float [B, N, T, D] in
units of order 1 (`to_unit_box`), logits and edges [B, E, K] in the order of `complete_graph(N)`.

Source: Kipf, Fetaya, Wang, Welling and Zemel 2018, https://arxiv.org/abs/1802.04687.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.latent.bounds import Elbo
from course_lib.latent.gumbel import categorical_kl, gumbel_softmax

__all__ = ["NRI", "gaussian_nll", "nri_elbo", "nri_loss", "random_window", "sparse_prior"]

VARIANCE = 5e-5  # of the Gaussian likelihood, the paper's


class NRI(nn.Module):
    """An encoder [B, N, T, D] -> [B, E, K] and a decoder of states and edges, joined by a draw of z.

    Args:
        encoder: `MLPEncoder` or `CNNEncoder`. decoder: `MLPDecoder`, `GRUDecoder`, `SpringsDecoder`.
        tau: temperature of the relaxed draws.
        hard: straight-through, the decoder sees one-hot draws and the encoder the relaxed gradient.
        prior: probabilities p(z) of the K types, [K]; None is uniform. See `sparse_prior`.
        variance: of the Gaussian likelihood, in the states' units squared.

    Raises ValueError where encoder and decoder differ in K, or tau or variance is not positive.
    """

    prior: Tensor | None

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        tau: float = 0.5,
        hard: bool = False,
        prior: Tensor | None = None,
        variance: float = VARIANCE,
    ) -> None:
        super().__init__()
        if encoder.edge_types != decoder.edge_types:
            raise ValueError(
                f"the encoder has {encoder.edge_types} edge types, the decoder {decoder.edge_types}: "
                "give both the same edge_types"
            )
        if not (tau > 0 and variance > 0):
            raise ValueError(f"tau and variance must be positive, got {tau} and {variance}")
        if prior is not None and prior.shape != (encoder.edge_types,):
            raise ValueError(
                f"prior must be [K] = [{encoder.edge_types}], one probability a type, got "
                f"{list(prior.shape)}"
            )
        self.encoder, self.decoder = encoder, decoder
        self.tau, self.hard, self.variance = tau, hard, variance
        self.register_buffer("prior", prior)

    def sample(self, logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """z ~ q, relaxed at temperature tau (one-hot where `hard`): [B, E, K] -> [B, E, K]."""
        return gumbel_softmax(logits, self.tau, self.hard, generator=generator)

    def forward(
        self, states: Tensor, steps: int = 10, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """predicted [B, N, T - 1, D], restarted every `steps` frames, and logits [B, E, K]."""
        logits = self.encoder(states)
        return self.decoder(states, self.sample(logits, generator), steps), logits

    def edge_probabilities(self, states: Tensor, batch_size: int = 1000) -> Tensor:
        """q(z | x), [B, E, K], without gradient, dropout or batch statistics."""
        with torch.no_grad(), _evaluating(self):
            return torch.cat([self.encoder(part).softmax(-1) for part in states.split(batch_size)])

    def edge_types(self, states: Tensor, batch_size: int = 1000) -> Tensor:
        """The most probable type of every pair: [B, N, T, D] -> int64 [B, E]. In evaluation mode."""
        return self.edge_probabilities(states, batch_size).argmax(-1)

    def rollout(
        self, states: Tensor, steps: int, batch_size: int = 1000, every: int | None = None
    ) -> Tensor:
        """The `steps` frames after states [B, N, T, D], with the most probable graph: [B, N, steps, D].

        The encoder sees all T frames, the decoder goes on from the last. Evaluation mode, no gradient.

        every: after so many frames the graph is inferred anew, from the last T frames, predicted ones
            among them, for relations that change as walking legs' do; None keeps the first graph.
        """
        every, ahead = every or steps, []
        with torch.no_grad(), _evaluating(self):
            for seen in states.split(batch_size):
                parts = []
                for start in range(0, steps, every):
                    logits = self.encoder(seen)
                    edges = F.one_hot(logits.argmax(-1), logits.size(-1)).to(seen.dtype)
                    parts.append(self.decoder.rollout(seen, edges, min(every, steps - start)))
                    seen = torch.cat([seen, parts[-1]], 2)[:, :, -states.size(2) :]
                ahead.append(torch.cat(parts, 2))
        return torch.cat(ahead)


def gaussian_nll(predicted: Tensor, target: Tensor, variance: float = VARIANCE) -> Tensor:
    """-log N(target; predicted, variance I): [B, ...] twice -> [B], in nats.

    = sum (target - predicted)^2 / (2 variance) + n/2 log(2 pi variance), n numbers a row. The variance
    sets what the squared error weighs against the KL: without it (1) the edges are not worth their price.

    Raises ValueError where the shapes differ or variance is not positive.
    """
    if predicted.shape != target.shape:
        raise ValueError(
            f"predicted {list(predicted.shape)} and target {list(target.shape)} must have one shape: a "
            "decoder predicts frames 1 .. T - 1, so compare with states[:, :, 1:]"
        )
    if not variance > 0:
        raise ValueError(f"variance must be positive, got {variance}")
    squares = (target - predicted).square().flatten(1)  # [B, n]
    return squares.sum(1) / (2 * variance) + squares.size(1) / 2 * math.log(2 * math.pi * variance)


def sparse_prior(no_edge: float = 0.9, edge_types: int = 2) -> Tensor:
    """p(z) with probability `no_edge` on type 0, and the rest shared by the other types: [K].

    Raises ValueError unless 0 < no_edge < 1 and there are two types at least.
    """
    if not 0 < no_edge < 1 or edge_types < 2:
        raise ValueError(
            f"need 0 < no_edge < 1 and edge_types >= 2, got {no_edge} and {edge_types}"
        )
    rest = (1 - no_edge) / (edge_types - 1)
    return torch.tensor([no_edge] + [rest] * (edge_types - 1))


def random_window(
    states: Tensor, window: int | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """`window` successive frames from a random one on, the same for all: [B, N, T, D] -> [B, N, W, D].

    None: all frames. Raises ValueError for a window outside 2 .. T.
    """
    frames = states.size(2)
    if window is None or window == frames:
        return states
    if not 2 <= window < frames:
        raise ValueError(f"window must lie in 2..{frames} frames, got {window}")
    device = "cpu" if generator is None else generator.device
    start = int(torch.randint(frames - window + 1, (), generator=generator, device=device))
    return states[:, :, start : start + window]


def nri_elbo(
    model: NRI,
    states: Tensor,
    steps: int = 10,
    window: int | None = None,
    generator: torch.Generator | None = None,
) -> Elbo:
    """E_q[log p(x | z)] - KL(q(z | x) || p(z)), one draw of z: [B, N, T, D] -> three of [B], in nats.

    Args:
        steps: the decoder goes on its own predictions for so many frames, then starts anew.
        window: the decoder is asked about that many successive frames only (the encoder sees all), from
            a random one on, the same for the batch. Their log-likelihood is scaled by (T - 1) /
            (window - 1), so a step costs less and its mean over the windows is nearly the same.

    The KL, of the discrete q, is exact. With relaxed draws the value is what training ascends, no bound.
    Raises ValueError for a window outside 2 .. T.
    """
    logits = model.encoder(states)
    edges = model.sample(logits, generator)
    part = random_window(states, window, generator)
    nll = gaussian_nll(model.decoder(part, edges, steps), part[:, :, 1:], model.variance)
    reconstruction = -nll * ((states.size(2) - 1) / (part.size(2) - 1))
    kl = categorical_kl(logits, model.prior).sum(-1)  # [B, E] -> [B]
    return Elbo(reconstruction - kl, reconstruction, kl)


def nri_loss(
    model: NRI,
    states: Tensor,
    steps: int = 10,
    window: int | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Minus the mean over the batch of `nri_elbo`: a number to be lowered, in nats a simulation."""
    return -nri_elbo(model, states, steps, window, generator).elbo.mean()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode for a while: no dropout, running means in place of the batch's."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
