"""Unit 03, exercises 7 and 8: a window about a place, and a Gaussian within it."""

from __future__ import annotations

import torch

from course_lib.exercises.attention import reference
from course_lib.exercises.attention.alignment import unit
from course_lib.exercises.attention.weights import padding_mask
from course_lib.exercises.case import Case

# 7 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=1,
    minutes=6,
    reference=reference.local_window,
    hints=[
        "The places are torch.arange(length); each of them is compared with each center.",
        "center[:, :, None] is [B, T, 1]; minus the places it is [B, T, S], one distance a pair.",
        "Both edges belong to the window: the distance is at most half_width. At an end the window is simply cut off.",
    ],
)
def local_window(answer, case: Case) -> None:
    """bool [B, T, S], True where |j - p_t| <= half_width; centers p [B, T], places j = 0 ... length - 1."""
    half_width = case.size(1, 3)
    length, steps = 2 * half_width + case.size(3, 5), case.size(4, 6)
    center = torch.randint(length, (2, steps), generator=case.random).float()
    center[0, :3] = torch.tensor([0.0, length - 1.0, half_width + 1.0])
    expected = reference.local_window(center, length, half_width)
    case.expect(answer(center, length, half_width), expected, label="whole centers")
    between = case.uniform(2, steps, high=length - 1.0)
    between = between.floor() + 0.02 + 0.96 * (between - between.floor())
    between[1, :2] = torch.tensor([half_width + 0.3, half_width + 0.7])
    expected = reference.local_window(between, length, half_width)
    case.expect(answer(between, length, half_width), expected, label="centers between places")


def _away(center, length):
    """j - p_t, [B, T, S]."""
    return torch.arange(length) - center[..., None]


@local_window.mistake(
    "The edges are missing: |j - p| = D still belongs to the window, which has 2 D + 1 places. Use <=."
)
def without_edges(center, length, half_width):
    return _away(center, length).abs() < half_width


@local_window.mistake(
    "The window looks back only. It reaches D places to either side: take the absolute value of the distance."
)
def back_only(center, length, half_width):
    away = _away(center, length)
    return (away >= -half_width) & (away <= 0)


@local_window.mistake(
    "One side has no edge: j - p <= D alone also admits everything far behind. Take the absolute value."
)
def no_near_edge(center, length, half_width):
    return _away(center, length) <= half_width


@local_window.mistake("half_width is the reach to one side; your window is that wide in all.")
def half_as_wide(center, length, half_width):
    return _away(center, length).abs() <= half_width / 2


@local_window.mistake(
    "Your window wraps around: what overhangs one end comes back at the other. Cut it off there."
)
def wrapped(center, length, half_width):
    away = _away(center, length).abs()
    return torch.minimum(away, length - away) <= half_width


@local_window.mistake(
    "Your window is pushed inwards at the ends to keep its 2 D + 1 places. It stays where p is; what overhangs is lost."
)
def pushed_inwards(center, length, half_width):
    kept = center.clamp(half_width, length - 1 - half_width)
    return _away(kept, length).abs() <= half_width


@local_window.mistake("Your places are counted from 1. The first place is 0, the last length - 1.")
def from_one(center, length, half_width):
    return _away(center - 1, length).abs() <= half_width


@local_window.mistake(
    "The center was rounded. It may lie between two places; compare with it as it is."
)
def rounded(center, length, half_width):
    return _away(center.round(), length).abs() <= half_width


@local_window.mistake(
    "The center was cut down to a whole number (.long(), int() or floor). Compare with it as it is."
)
def cut_down(center, length, half_width):
    return _away(center.floor(), length).abs() <= half_width


@local_window.mistake(
    "The window is the wrong way round: True means inside, where a key may be attended."
)
def outside(center, length, half_width):
    return _away(center, length).abs() > half_width


@local_window.mistake(
    "Your window is [B, S, T]: rows belong to the centers, columns to the places."
)
def places_in_rows(center, length, half_width):
    return (_away(center, length).abs() <= half_width).transpose(1, 2)


@local_window.mistake("These are numbers, 0 and 1. A mask is bool: return the comparison itself.")
def numbers(center, length, half_width):
    return (_away(center, length).abs() <= half_width).float()


# 8 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.local_p_weights,
    uses=("local_window", "masked_softmax"),
    hints=[
        "Two masks hold at once: `mask & local_window(...)`. The softmax runs over what both allow.",
        "The Gaussian is 1 at j = p: exp(-(j - p) ** 2 / (2 * sigma ** 2)), with sigma = half_width / 2.",
        "Multiply the weights by it after the softmax, and leave them so: they sum to less than 1.",
    ],
)
def local_p_weights(answer, case: Case) -> None:
    """Softmax of scores [B, T, S] within mask and window, times a Gaussian of sigma D / 2 about p [B, T], as it is."""
    batch, steps, half_width = case.size(2, 3), case.size(2, 4), case.size(1, 2) + 2
    places = 2 * half_width + case.size(2, 4)
    mask = padding_mask(case, batch, places)[:, None]
    for width, label in ((half_width, "centers inside"), (half_width - 1, "centers near the ends")):
        scores = 1.5 * case.normal(batch, steps, places)
        center = case.uniform(batch, steps, low=1.3, high=places - 2.3)
        if width < half_width:
            center[:, 0], center[1, 1] = case.uniform(batch, high=0.9), places - 1.4
            center[0, 1] = places - 1.4 - float(case.uniform(1))  # whose window reaches the padding
        expected = reference.local_p_weights(scores, center, width, mask)
        case.expect(answer(scores, center, width, mask), expected, label=label)
    extra = (width, mask)
    case.expect_gradient(answer, reference.local_p_weights, scores, center, wrt=1, extra=extra)


def _gaussian(scores, center, sigma):
    """exp(-(j - p)^2 / (2 sigma^2)), [B, T, S]."""
    return torch.exp(-(_away(center, scores.shape[-1]) ** 2) / (2 * sigma**2))


def _within(scores, center, half_width, mask):
    """Softmax within mask and window."""
    window = reference.local_window(center, scores.shape[-1], half_width)
    return reference.masked_softmax(scores, mask & window)


@local_p_weights.mistake(
    "Renormalised after the Gaussian (or it was added to the scores, which is the same). Multiply the weights, and "
    "leave them so: a key far from p is to count less."
)
def renormalised(scores, center, half_width, mask):
    weights = _within(scores, center, half_width, mask) * _gaussian(scores, center, half_width / 2)
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total > 0, total, torch.ones_like(total))


@local_p_weights.mistake(
    "The Gaussian is missing: these are the softmax weights within the window."
)
def without_gaussian(scores, center, half_width, mask):
    return _within(scores, center, half_width, mask) + 0 * center[..., None]


@local_p_weights.mistake(
    "The Gaussian is too wide: sigma is half_width / 2, so that the edge of the window lies two sigmas away."
)
def too_wide(scores, center, half_width, mask):
    return _within(scores, center, half_width, mask) * _gaussian(scores, center, half_width)


@local_p_weights.mistake(
    "The 2 in front of sigma squared is missing: exp(-(j - p) ** 2 / (2 * sigma ** 2))."
)
def without_two(scores, center, half_width, mask):
    sigma = half_width / 2 / 2**0.5
    return _within(scores, center, half_width, mask) * _gaussian(scores, center, sigma)


@local_p_weights.mistake("sigma is not squared in the exponent: divide by 2 * sigma ** 2.")
def not_squared(scores, center, half_width, mask):
    sigma = (half_width / 2) ** 0.5
    return _within(scores, center, half_width, mask) * _gaussian(scores, center, sigma)


@local_p_weights.mistake(
    "This is a density: it is divided by sigma times the root of 2 pi. The factor is to be 1 at j = p: leave that out."
)
def density(scores, center, half_width, mask):
    sigma = half_width / 2
    gaussian = _gaussian(scores, center, sigma) / (sigma * (2 * torch.pi) ** 0.5)
    return _within(scores, center, half_width, mask) * gaussian


@local_p_weights.mistake(
    "There is no window: the softmax runs over all keys. Join the two masks with & before the softmax."
)
def without_window(scores, center, half_width, mask):
    return reference.masked_softmax(scores, mask) * _gaussian(scores, center, half_width / 2)


@local_p_weights.mistake(
    "The window came after the softmax: keys outside it have taken their share already. Mask before the softmax."
)
def window_after(scores, center, half_width, mask):
    window = reference.local_window(center, scores.shape[-1], half_width)
    return window * without_window(scores, center, half_width, mask)


@local_p_weights.mistake(
    "The mask is not used: within the window, padding is attended like real tokens."
)
def padding_too(scores, center, half_width, mask):
    return reference.local_p_weights(scores, center, half_width, torch.ones_like(mask))


@local_p_weights.mistake(
    "The masks are joined with `or`: a key has to be real AND in the window, `&`."
)
def either(scores, center, half_width, mask):
    window = reference.local_window(center, scores.shape[-1], half_width)
    weights = reference.masked_softmax(scores, mask | window)
    return weights * _gaussian(scores, center, half_width / 2)


@local_p_weights.mistake(
    "The Gaussian multiplies the scores. It belongs to the weights, after the softmax."
)
def gaussian_on_scores(scores, center, half_width, mask):
    return _within(scores * _gaussian(scores, center, half_width / 2), center, half_width, mask)


@local_p_weights.mistake(
    "The weights are right, but no gradient reaches the center, which a net has to learn: was it rounded or detached?"
)
def center_detached(scores, center, half_width, mask):
    return (
        reference.local_p_weights(scores, center.detach(), half_width, mask) + 0 * center[..., None]
    )
