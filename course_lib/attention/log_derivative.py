"""The log-derivative trick: a gradient through a choice that has none of its own.

A place s is drawn from alpha = softmax(e), and costs the loss L_s. The expected loss is
J = sum_s alpha_s L_s. The drawn place is a whole number, so backpropagation through it stops; but

    dJ/de = sum_s L_s d(alpha_s)/de = sum_s alpha_s L_s d(log alpha_s)/de
          = E_s[(L_s - b) d(log alpha_s)/de],   d(log alpha_s)/de_k = [s = k] - alpha_k

is an expectation, and one draw of s estimates it without bias. The baseline b may be any number that
does not depend on s, since E[d(log alpha_s)/de] = 0: it moves the variance and not the mean.

Source: Williams 1992, https://doi.org/10.1007/BF00992696 (REINFORCE); Xu et al. 2015, section 4.1,
https://arxiv.org/abs/1502.03044.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.attention.scores import hard_attention

__all__ = [
    "exact_gradient",
    "possible_gradients",
    "score_function_gradient",
    "score_function_loss",
]


def exact_gradient(scores: Tensor, losses: Tensor) -> Tensor:
    """dJ/de_k = alpha_k (L_k - J) [..., Tk], from scores and losses [..., Tk]."""
    alpha = scores.softmax(-1)
    return alpha * (losses - (alpha * losses).sum(-1, keepdim=True))


def possible_gradients(scores: Tensor, losses: Tensor, baseline: Tensor | float = 0.0) -> Tensor:
    """What each place would estimate if it were drawn: [..., Tk (drawn s), Tk (component k)].

    Entry (s, k) is (L_s - b)([s = k] - alpha_k). Weighted by alpha_s, the rows sum to
    `exact_gradient`; their spread is the estimator's variance. baseline: b, a number or [...].
    """
    alpha = scores.softmax(-1)
    excess = losses - torch.as_tensor(baseline, dtype=losses.dtype, device=losses.device)[..., None]
    slopes = torch.eye(alpha.size(-1), dtype=alpha.dtype, device=alpha.device) - alpha[..., None, :]
    return excess.unsqueeze(-1) * slopes


def score_function_gradient(
    scores: Tensor,
    losses: Tensor,
    generator: torch.Generator,
    *,
    samples: int = 1,
    baseline: Tensor | float = 0.0,
) -> Tensor:
    """`samples` independent estimates of dJ/de, [samples, ..., Tk], each from one drawn place.

    scores, losses: [..., Tk]. Each estimate is (L_s - b)(one_hot(s) - alpha). baseline: b, a number
    or [...]. Raises ValueError for fewer than one sample.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    with torch.no_grad():
        one_hot, _ = hard_attention(scores.expand(samples, *scores.shape), generator)
        drawn = (one_hot * losses).sum(-1)  # L_s: [samples, ...]
        return (drawn - baseline).unsqueeze(-1) * (one_hot - scores.softmax(-1))


def score_function_loss(log_prob: Tensor, loss: Tensor, baseline: Tensor | float = 0.0) -> Tensor:
    """A number whose gradient in the scores is the estimate: (L_s - b) log alpha_s, [...].

    log_prob [...]: log alpha_s of the place drawn (`hard_attention`). loss [...]: L_s, taken as a
    constant. The value itself means nothing.
    """
    return (loss - baseline).detach() * log_prob
