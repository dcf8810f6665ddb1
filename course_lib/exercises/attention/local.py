"""Unit 03, exercises 7 and 8: a window about a place, and a Gaussian within it."""

from __future__ import annotations

import torch

from course_lib.exercises.attention import reference
from course_lib.exercises.attention.alignment import unit
from course_lib.exercises.attention.scores import close, gradient_is_cut
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


def _one_sided(observations) -> bool:
    """Of each window that is not cut off only its first half is left, or only its second."""
    got, expected = observations[0].got.int(), observations[0].expected.int()
    whole = expected.sum(-1) == expected.sum(-1).max()
    got, expected = got[whole], expected[whole]
    half = bool((got.sum(-1) == (expected.sum(-1) + 1) // 2).all() and (got <= expected).all())
    return half and any(
        torch.equal(got.flip(axes).argmax(-1), expected.flip(axes).argmax(-1)) for axes in ((), -1)
    )


@local_window.symptom(
    _one_sided,
    "The window looks to one side only. It reaches D places to either side: take the absolute value of the distance.",
)
def back_only(center, length, half_width):
    away = _away(center, length)
    return (away >= -half_width) & (away <= 0)


def _open(observations) -> bool:
    """All from the first place of each window on is True, or all up to its last."""
    pairs = [(o.got, o.expected.int()) for o in observations]
    after = [torch.equal(got, right.cummax(-1).values.bool()) for got, right in pairs]
    before = [
        torch.equal(got, right.flip(-1).cummax(-1).values.flip(-1).bool()) for got, right in pairs
    ]
    return all(after) or all(before)


@local_window.symptom(
    _open,
    "One side has no edge: j - p <= D alone, or p - j <= D, admits everything on the other side. Take the absolute "
    "value of the distance.",
)
def no_near_edge(center, length, half_width):
    return _away(center, length) <= half_width


def _empty_at_the_start(observations) -> bool:
    """With whole centers the windows that are cut off at 0 are empty, and the others right."""
    got, expected = observations[0].got, observations[0].expected
    cut = expected[..., 0] & (expected.sum(-1) < expected.sum(-1).max())
    return torch.equal(got[~cut], expected[~cut]) and not got[cut].any()


@local_window.symptom(
    _empty_at_the_start,
    "The windows near the first place are empty: a slice that begins below 0 counts from the end. Compare all places "
    "with the center instead.",
)
def sliced(center, length, half_width):
    window = torch.zeros(*center.shape, length, dtype=torch.bool)
    for b, row in enumerate(center.long().tolist()):
        for t, p in enumerate(row):
            window[b, t, p - half_width : p + half_width + 1] = True
    return window


@local_window.mistake("half_width is the reach to one side; your window is that wide in all.")
def half_as_wide(center, length, half_width):
    return _away(center, length).abs() <= half_width / 2


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


# 8 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.local_p_weights,
    uses=("local_window", "masked_softmax"),
    hints=[
        "Two masks hold at once: `mask & local_window(...)`. The softmax runs over what both allow.",
        "Multiply the weights by the Gaussian after the softmax, and leave them so: they sum to less than 1.",
        "The j - p_t are a tensor [B, T, S]: torch.arange(S) minus the centers, which get a last axis of length one.",
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
    for argument in (0, 1):
        case.expect_gradient(
            answer, reference.local_p_weights, scores, center, wrt=argument, extra=extra
        )


def _gaussian(scores, center, sigma):
    """exp(-(j - p)^2 / (2 sigma^2)), [B, T, S]."""
    return torch.exp(-(_away(center, scores.shape[-1]) ** 2) / (2 * sigma**2))


def _within(scores, center, half_width, mask):
    """Softmax within mask and window."""
    window = reference.local_window(center, scores.shape[-1], half_width)
    return reference.masked_softmax(scores, mask & window)


def _whole_again(observations) -> bool:
    """The expected weights, divided by the sum of their row where it has one."""
    for o in observations[:2]:
        there = o.expected.sum(-1) > 0
        got, expected = o.got[there], o.expected[there]
        if not close(got, expected / expected.sum(-1, keepdim=True)):
            return False
    return True


@local_p_weights.symptom(
    _whole_again,
    "Renormalised after the Gaussian (or it was added to the scores, which is the same). Multiply the weights, and "
    "leave them so: a key far from p is to count less.",
)
def renormalised(scores, center, half_width, mask):
    weights = _within(scores, center, half_width, mask) * _gaussian(scores, center, half_width / 2)
    return weights / weights.sum(-1, keepdim=True)


@local_p_weights.mistake(
    "The Gaussian is missing: these are the softmax weights within the window."
)
def without_gaussian(scores, center, half_width, mask):
    return _within(scores, center, half_width, mask)


@local_p_weights.mistake(
    "The Gaussian is too wide: sigma is half_width / 2, so that the edge of the window lies two sigmas away."
)
def too_wide(scores, center, half_width, mask):
    return _within(scores, center, half_width, mask) * _gaussian(scores, center, half_width)


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
    "`/ 2 * sigma ** 2` divides by 2 and then MULTIPLIES by sigma squared. Put brackets around the denominator."
)
def without_brackets(scores, center, half_width, mask):
    sigma = half_width / 2
    return _within(scores, center, half_width, mask) * _gaussian(scores, center, 1 / sigma)


@local_p_weights.mistake(
    "sigma was cut down to a whole number: half_width // 2 leaves the half out. Use /."
)
def floored(scores, center, half_width, mask):
    return _within(scores, center, half_width, mask) * _gaussian(scores, center, half_width // 2)


@local_p_weights.mistake(
    "The 2 in front of sigma squared is missing: the exponent is divided by 2 * sigma ** 2."
)
def without_two(scores, center, half_width, mask):
    sigma = half_width / 2 / 2**0.5
    return _within(scores, center, half_width, mask) * _gaussian(scores, center, sigma)


@local_p_weights.symptom(
    gradient_is_cut,
    "The weights are right, but a gradient is cut: the scores have to learn, and so has the center, through the "
    "Gaussian. Was one of them detached?",
)
def center_detached(scores, center, half_width, mask):
    return reference.local_p_weights(scores, center.detach(), half_width, mask)
