"""Local attention (Luong): each target step looks at a window of 2D + 1 source places about p_t.

    local-m (monotonic):   p_t = t
    local-p (predictive):  p_t = S sigmoid(v^T tanh(W h_t)), and the weights within the window are
                           multiplied by a Gaussian about p_t with standard deviation D / 2:
                           a_ts = align(h_t, k_s) exp(-(s - p_t)^2 / (2 (D / 2)^2))

Places s and steps t are counted from 0: the first of S source places is 0, the last S - 1; p_t of
local-p lies in (0, S). A window that overhangs an end of the source is cut off there. local-p does
not renormalise after the Gaussian: its weights sum to less than one, the less the further p_t lies
from the keys that fit. Local attention is differentiable almost everywhere (the window's edge moves
in jumps, the Gaussian smoothly); hard attention, which draws one place, is not.

Source: Luong, Pham and Manning 2015, section 3.2, https://arxiv.org/abs/1508.04025.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib.attention.scores import masked_softmax

__all__ = [
    "GlobalWeights",
    "LocalMWeights",
    "LocalPWeights",
    "PredictivePosition",
    "gaussian_bias",
    "local_m_mask",
    "local_p_weights",
    "local_window",
]


def local_window(center: Tensor, length: int | Tensor, half_width: float) -> Tensor:
    """Which places lie in the window: |s - p_t| <= D, bool [B, T, S] from centers p [B, T].

    length: S, or a key mask, bool [B, S], whose False places lie in no window.

    Raises ValueError for a negative half_width D.
    """
    _not_negative(half_width)
    places, mask = (length, None) if isinstance(length, int) else (length.size(-1), length)
    s = torch.arange(places, device=center.device)
    window = (s - center.unsqueeze(-1)).abs() <= half_width  # [B, T, S]
    return window if mask is None else window & mask.unsqueeze(-2)


def local_m_mask(
    queries: int, keys: int, half_width: float, *, device: torch.device | str | None = None
) -> Tensor:
    """The windows of local-m: |s - t| <= D, bool [Tq, Tk].

    A step t >= Tk + D has an empty window: `masked_softmax` gives it weights zero.

    Raises ValueError for a negative half_width D.
    """
    return local_window(torch.arange(queries, device=device), keys, half_width)


def gaussian_bias(center: Tensor, length: int, half_width: float) -> Tensor:
    """exp(-(s - p_t)^2 / (2 (D / 2)^2)) for s = 0 ... S - 1: p [B, T] -> [B, T, S].

    It multiplies the weights. At the window's edge, |s - p_t| = D, it is exp(-2) = 0.135.

    Raises ValueError unless half_width D > 0.
    """
    _positive(half_width)
    s = torch.arange(length, device=center.device, dtype=center.dtype)
    return torch.exp(-2 * ((s - center.unsqueeze(-1)) / half_width).square())


def local_p_weights(
    scores: Tensor, center: Tensor, half_width: float, mask: Tensor | None = None
) -> Tensor:
    """softmax of the scores within the window, times the Gaussian, not renormalised.

    scores [B, T, S], centers p [B, T], key mask bool [B, S] -> weights [B, T, S].
    """
    length = scores.size(-1)
    window = local_window(center, length if mask is None else mask, half_width)
    return masked_softmax(scores, window) * gaussian_bias(center, length, half_width)


class PredictivePosition(nn.Module):
    """p_t = S sigmoid(v^T tanh(W h_t)), with W [A, H], v [A]; A = attention_size."""

    def __init__(self, hidden_size: int, attention_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(hidden_size, attention_size, bias=False)  # W
        self.v = nn.Parameter(torch.empty(attention_size))
        nn.init.uniform_(self.v, -(attention_size**-0.5), attention_size**-0.5)

    def forward(self, h: Tensor, lengths: Tensor | int) -> Tensor:
        """Positions p [B, T] in (0, S) from states h [B, T, H].

        lengths: S of each row, [B], or one number for all.
        """
        share = torch.sigmoid(torch.tanh(self.hidden(h)) @ self.v)  # [B, T, H] -> [B, T]
        return share * (lengths if isinstance(lengths, int) else lengths.unsqueeze(-1))


class GlobalWeights(nn.Module):
    """Soft attention over all places: masked_softmax of the scores."""

    def forward(self, scores: Tensor, query: Tensor, mask: Tensor, first: int = 0) -> Tensor:
        """Weights [B, T, S] of scores [B, T, S]; query [B, T, H], key mask [B, S].

        first: number of the first of these T steps.
        """
        return masked_softmax(scores, mask.unsqueeze(1))


class LocalMWeights(nn.Module):
    """local-m: the softmax within |s - t| <= D."""

    def __init__(self, half_width: float) -> None:
        super().__init__()
        _not_negative(half_width)
        self.half_width = half_width

    def forward(self, scores: Tensor, query: Tensor, mask: Tensor, first: int = 0) -> Tensor:
        """As `GlobalWeights.forward`."""
        steps = torch.arange(first, first + scores.size(1), device=scores.device)
        return masked_softmax(scores, local_window(steps.unsqueeze(0), mask, self.half_width))


class LocalPWeights(nn.Module):
    """local-p: `local_p_weights` about the positions that a `PredictivePosition` reads off the query."""

    def __init__(self, hidden_size: int, attention_size: int, half_width: float) -> None:
        super().__init__()
        _positive(half_width)
        self.half_width = half_width
        self.position = PredictivePosition(hidden_size, attention_size)

    def forward(self, scores: Tensor, query: Tensor, mask: Tensor, first: int = 0) -> Tensor:
        """As `GlobalWeights.forward`."""
        center = self.position(query, mask.sum(-1))
        return local_p_weights(scores, center, self.half_width, mask)


def _not_negative(half_width: float) -> None:
    if half_width < 0:
        raise ValueError(f"half_width must not be negative, got {half_width}")


def _positive(half_width: float) -> None:
    if not half_width > 0:
        raise ValueError(f"half_width must be positive for a Gaussian, got {half_width}")
