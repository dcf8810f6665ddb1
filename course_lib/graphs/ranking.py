"""How well scores put positives before negatives: the area under the ROC curve, average precision.

Both look at the order of the scores alone, and tell nothing of their size.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["auc", "average_precision"]


def _by_score(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """How many positives and negatives have each distinct score, lowest first: float64 [S], [S]."""
    if scores.dim() != 1 or scores.shape != labels.shape:
        raise ValueError(
            "scores and labels must be [M], one of each a pair, got "
            f"{list(scores.shape)} and {list(labels.shape)}"
        )
    if scores.isnan().any():
        raise ValueError("scores hold NaN, which has no rank: has the training diverged?")
    is_positive = labels.cpu() == 1
    if not (is_positive | (labels.cpu() == 0)).all() or is_positive.all() or not is_positive.any():
        raise ValueError("labels must be 1 (linked) or 0 (not), and both must occur")
    values, position = scores.detach().cpu().unique(return_inverse=True)
    counts = [
        torch.bincount(position[m], minlength=len(values)) for m in (is_positive, ~is_positive)
    ]
    return counts[0].double(), counts[1].double()


def auc(scores: Tensor, labels: Tensor) -> float:
    """The probability that a random positive scores higher than a random negative; a tie is 1/2.

    The area under the ROC curve, as scikit-learn's `roc_auc_score(labels, scores)`.

    Args:
        scores: [M]. labels: [M], 1 for a positive, 0 for a negative.

    Raises ValueError where only one kind occurs, or a score is NaN.
    """
    positives, negatives = _by_score(scores, labels)
    lower = negatives.cumsum(0) - negatives / 2
    return float((positives * lower).sum() / (positives.sum() * negatives.sum()))


def average_precision(scores: Tensor, labels: Tensor) -> float:
    """sum over thresholds n of (recall_n - recall_{n-1}) precision_n, from the highest score down.

    Equal scores pass a threshold together, as in scikit-learn's `average_precision_score(labels,
    scores)`. Arguments and errors as in `auc`.
    """
    positives, negatives = (count.flip(0) for count in _by_score(scores, labels))
    found = positives.cumsum(0)
    precision = found / (found + negatives.cumsum(0))
    return float((positives * precision).sum() / found[-1])
