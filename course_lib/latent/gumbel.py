"""Discrete latents by the Gumbel trick: a draw from a categorical, and one with a gradient.

With g_c independent, g = -log E, E ~ Exp(1) (standard Gumbel numbers),

    argmax_c (logits_c + g_c)               is a draw from softmax(logits)          (Gumbel-max)
    softmax((logits + g) / tau)             is a smooth one, almost one-hot as tau -> 0

The smooth one has a gradient in the logits; it is biased for the discrete draw, less so for a small
tau, where its variance grows.

Sources: Jang, Gu and Poole 2017, https://arxiv.org/abs/1611.01144; Maddison, Mnih and Teh 2017,
https://arxiv.org/abs/1611.00712.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["categorical_kl", "gumbel_max", "gumbel_noise", "gumbel_softmax"]


def gumbel_noise(like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard Gumbel numbers g = -log E, E ~ Exp(1), of the shape, dtype and device of `like`.

    Drawn where the generator lives, then moved: a CPU generator gives one stream on all devices.
    """
    device = like.device if generator is None else generator.device
    noise = torch.empty(like.shape, dtype=like.dtype, device=device)
    return -noise.exponential_(generator=generator).to(like.device).log()


def gumbel_max(logits: Tensor, dim: int = -1, generator: torch.Generator | None = None) -> Tensor:
    """argmax(logits + g) along `dim`: int64, a draw from softmax(logits). It has no gradient."""
    return (logits.detach() + gumbel_noise(logits, generator)).argmax(dim)


def gumbel_softmax(
    logits: Tensor,
    tau: float = 1.0,
    hard: bool = False,
    dim: int = -1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """softmax((logits + g) / tau) along `dim`, of the logits' shape, as F.gumbel_softmax.

    Args:
        logits: unnormalised log-probabilities; -inf forbids a category.
        tau: the temperature. Near 0 the result is almost one-hot, far above 1 almost uniform.
        hard: straight-through. The value is exactly one-hot, at the argmax, which is a draw from
            softmax(logits) for any tau; the gradient is that of the smooth value.

    Raises ValueError unless tau > 0.
    """
    if not tau > 0:
        raise ValueError(f"tau must be positive, got {tau}: for a discrete draw use hard=True")
    soft = ((logits + gumbel_noise(logits, generator)) / tau).softmax(dim)
    if not hard:
        return soft
    one_hot = torch.zeros_like(soft).scatter_(dim, soft.argmax(dim, keepdim=True), 1.0)
    return one_hot + (soft - soft.detach())  # the bracket is exactly 0, and carries the gradient


def categorical_kl(logits: Tensor, prior: Tensor | None = None) -> Tensor:
    """KL(softmax(logits) || prior) = sum_c q_c (log q_c - log p_c): [..., C] -> [...], in nats.

    prior: probabilities p that broadcast to [..., C]; None is the uniform one, 1 / C. A category
    with q_c = 0 counts 0; the KL is infinite where q_c > 0 and p_c = 0.

    Raises ValueError for a prior that is negative or does not sum to one.
    """
    log_q = logits.log_softmax(-1)
    if prior is None:
        prior = torch.full_like(logits[..., :1], 1 / logits.size(-1)).expand_as(logits)
    elif bool((prior < 0).any()) or not torch.allclose(
        prior.sum(-1), torch.ones_like(prior[..., 0]), atol=1e-4
    ):
        raise ValueError("prior must hold probabilities >= 0 with sum one along the last axis")
    never = log_q == -torch.inf
    log_ratio = (log_q - prior.log()).masked_fill(never, 0.0)
    return (log_q.exp() * log_ratio).sum(-1)
