"""Beam search, one step of it: keep the K likeliest prefixes at every length instead of one.

p(y_1 ... y_t) = p(y_1 ... y_{t-1}) p(y_t | y_1 ... y_{t-1}), in logarithms a sum. Greedy decoding keeps
the likeliest token at each step, and cannot go back where a less likely one would have led further.
`Seq2Seq.beam_search` uses it.

Source: Sutskever, Vinyals and Le 2014, section 3.2, https://arxiv.org/abs/1409.3215.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.attention.tasks import PAD

__all__ = ["Beams", "beam_step"]


class Beams(NamedTuple):
    """The best translations, best first: tokens [B, K, T] (END, then PAD) and log p [B, K]."""

    tokens: Tensor
    log_probs: Tensor


def beam_step(
    log_probs: Tensor, next_log_probs: Tensor, finished: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Extend K prefixes by every token and keep the K best: (log p, parent, token), each [B, K].

    log_probs [B, K]: of the prefixes. next_log_probs [B, K, V]: of each token after each. finished:
    bool [B, K], prefixes that ended; they go on with PAD alone, at no cost. parent says which prefix
    was extended; the results are sorted, best first.
    """
    width, tokens = next_log_probs.shape[1:]
    if finished is not None:
        stay = next_log_probs.new_full((tokens,), -torch.inf)
        stay[PAD] = 0.0
        next_log_probs = torch.where(finished.unsqueeze(-1), stay, next_log_probs)
    total = log_probs.unsqueeze(-1) + next_log_probs  # [B, K, V]
    best, place = total.flatten(1).topk(width, dim=1)  # [B, K V] -> [B, K]
    return best, place // tokens, place % tokens
