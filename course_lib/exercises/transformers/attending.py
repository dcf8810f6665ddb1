"""Unit 04, exercise 2: scaled dot-product attention under a mask."""

from __future__ import annotations

import functools

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.masks import unit
from course_lib.exercises.transformers.naming import keep_arguments, named

RANDOM, OPEN, HUGE = "a random mask", "every key open", "huge scores"
NOTHING = "a query that may look at nothing"


@unit.exercise(
    points=3,
    minutes=11,
    reference=reference.attention,
    hints=[
        "The scores are query @ key.transpose(-2, -1), [..., T, S]; d_h is query.shape[-1], and its root divides them.",
        "Closed entries get -inf BEFORE the softmax (masked_fill with ~mask); the softmax runs over the last axis.",
        "A softmax over nothing but -inf is NaN. After it, weights = weights.masked_fill(~mask, 0.0) (no underscore: "
        "the gradient needs the old ones), then weights @ value.",
    ],
)
def attention(answer, case: Case) -> None:
    """softmax(q k^T / sqrt(d_h)) v [..., T, d_v] over the keys that mask leaves open; 0 where it leaves none."""
    few = case.size(3, 4)
    many, sizes = few + case.size(1, 3), (case.size(2, 3), case.size(2, 3))  # keys; batch, heads
    wide = many + case.size(1, 2)  # d_h is no other size, so that its root is not another's
    given = _drawn(case, sizes, few, many, wide, _open_and_closed(case, sizes[0], 1, few, many))
    case.expect(answer(*given), reference.attention(*given), label=RANDOM)
    keep_arguments(case, *given)
    given = _drawn(case, sizes, many, few, wide, torch.ones(many, few, dtype=torch.bool))
    case.expect(answer(*given), reference.attention(*given), label=OPEN)
    _expect_no_leak(answer, case, few, many, wide)
    mask = _open_and_closed(case, few, few)
    mask[int(torch.randint(few, (), generator=case.random))] = False
    given = _drawn(case, sizes, few, few, wide, mask)
    case.expect(answer(*given), reference.attention(*given), label=NOTHING)
    for wrt in range(3):
        case.expect_gradient(answer, reference.attention, *given[:3], wrt=wrt, extra=(mask,))


def _drawn(case: Case, sizes: tuple[int, int], queries: int, keys: int, wide: int, mask):
    """(query [B, H, T, d_h], key [B, H, S, d_h], value [B, H, S, d_v], mask)."""
    query, key = 1.5 * case.normal(*sizes, queries, wide), 1.5 * case.normal(*sizes, keys, wide)
    return query, key, case.normal(*sizes, keys, wide + case.size(1, 3)), mask


def _open_and_closed(case: Case, *shape: int):
    """A bool mask whose rows each have an open and a closed entry at random places."""
    mask = case.uniform(*shape) < 0.5
    place = torch.randint(shape[-1], (*shape[:-1], 1), generator=case.random)
    mask = mask.scatter(-1, place, True)
    return mask.scatter(-1, (place + 1) % shape[-1], False)


def _expect_no_leak(answer, case: Case, queries: int, keys: int, wide: int) -> None:
    """Closed scores of about +1e30, open ones of -1e30, all alike: the result is the mean of the open values."""
    mask = _open_and_closed(case, 1, keys).expand(queries, keys)
    query, key = torch.zeros(queries, wide), case.normal(keys, wide)
    query[:, 0] = 1e15
    key[:, 0] = torch.where(mask[0], -1e15, 1e15)
    value = case.normal(keys, wide + 1)
    mean = mask[0].float() @ value / mask[0].sum()
    case.expect(answer(query, key, value, mask), mean.expand(queries, -1), label=HUGE)


def _scores(query, key):
    return query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5


def _weights(scores, mask):
    """Over open keys; rows without any are zero."""
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    return weights.masked_fill(~mask, 0.0)


# Formulas: named by what they give under a random mask, whether rows without keys are thought of or not. ----


@named(attention, "The scaling is missing: divide the scores by the root of d_h.")
def not_scaled(query, key, value, mask):
    return _weights(query @ key.transpose(-2, -1), mask) @ value


@named(
    attention,
    "You divided by d_h itself. The scores have a spread of sqrt(d_h): divide by the root.",
)
def no_root(query, key, value, mask):
    return _weights(query @ key.transpose(-2, -1) / query.shape[-1], mask) @ value


@named(
    attention,
    "You divided by the root of the number of keys. Wanted is that of d_h, the length of a query: query.shape[-1].",
)
def by_keys(query, key, value, mask):
    return _weights(query @ key.transpose(-2, -1) / key.shape[-2] ** 0.5, mask) @ value


def _along(axis: int, fill: float, cleaned: bool, query, key, value, mask):
    """A softmax over another axis, whose columns without an open entry are NaN, shared out, or cleaned."""
    weights = _scores(query, key).masked_fill(~mask, fill)
    weights = weights.softmax(axis if weights.dim() > 2 else -1)
    return (weights.masked_fill(~mask, 0.0) if cleaned else weights) @ value


@named(
    attention,
    "Your softmax runs over the wrong axis (the queries, or the heads in front). Each query shares out its attention "
    "over the keys: the last axis, dim=-1.",
    *(
        functools.partial(_along, axis, fill, cleaned)
        for axis in (-2, -3)
        for fill, cleaned in ((-torch.inf, True), (-torch.inf, False), (-1e9, False))
    ),
)
def over_queries(query, key, value, mask):
    weights = _scores(query, key).masked_fill(~mask, -torch.inf).softmax(-2)
    return weights.masked_fill(~mask, 0.0) @ value


@named(attention, "The mask has no effect: every query looks at all keys.")
def no_mask(query, key, value, mask):
    return _scores(query, key).softmax(-1) @ value


@named(
    attention,
    "You closed what the mask leaves open: True means that the query MAY look. masked_fill wants ~mask.",
)
def inverted(query, key, value, mask):
    return _weights(_scores(query, key), ~mask) @ value


@named(
    attention,
    "You masked after the softmax: what the closed keys had taken is lost, and the weights sum to less than one. Put "
    "-inf before it.",
)
def masked_late(query, key, value, mask):
    return _scores(query, key).softmax(-1).masked_fill(~mask, 0.0) @ value


@named(
    attention,
    "Your closed scores are 0 (did you multiply by the mask, or fill with 0?). That is no exclusion, exp(0) is 1: "
    "closed entries need -inf.",
)
def closed_are_zero(query, key, value, mask):
    return (_scores(query, key) * mask).softmax(-1) @ value


@named(attention, "These are the weights; they have to be multiplied by value.")
def weights_alone(query, key, value, mask):
    return _weights(_scores(query, key), mask)


@attention.mistake(
    "The values are right, but no gradient reaches the queries and keys: the weights were cut off (.detach(), .data, "
    "no_grad), and nobody learns to look."
)
def weights_detached(query, key, value, mask):
    return _weights(_scores(query, key), mask).detach() @ value


# What follows is recognised by what went wrong where: there are many ways to write it. --------------


def _seen(observations):
    """(right on other masks, observation with huge scores, observation with an empty row, gradients)."""
    by = {o.label: o for o in observations}
    right = by[RANDOM].failure() is None and by[OPEN].failure() is None
    return right, by[HUGE], by[NOTHING], [o for o in observations if o.kind == "gradient"]


def _swamped(observations) -> bool:
    right, huge, _, _ = _seen(observations)
    return right and huge.failure() is not None and not huge.got.nan_to_num().any()


def _finite(observations) -> bool:
    right, huge, nothing, _ = _seen(observations)
    return right and any(
        o.failure() is not None and o.got.isfinite().all() for o in (huge, nothing)
    )


def _empty_is_nan(observations) -> bool:
    right, huge, nothing, _ = _seen(observations)
    return right and huge.failure() is None and bool(nothing.got.isnan().any())


def _gradient_is_nan(observations) -> bool:
    right, huge, nothing, gradients = _seen(observations)
    return (
        right
        and huge.failure() is None
        and nothing.failure() is None
        and any(g is not None and bool(g.isnan().any()) for o in gradients for g in o.got)
    )


@attention.symptom(
    _swamped,
    "Nothing is left where a closed score is far above the open ones: close it with -inf before the softmax (a finite "
    "number is beaten, and a zero afterwards comes too late to bring the open ones back), and leave exp to softmax.",
)
def renormalised(query, key, value, mask):
    weights = _scores(query, key).softmax(-1) * mask
    return weights / weights.sum(-1, keepdim=True) @ value


@attention.symptom(
    _finite,
    "Your mask is finite: a large negative number such as -1e9 can be beaten, and shares out a row without open keys. "
    "Use -inf.",
)
def finite_mask(query, key, value, mask):
    return _scores(query, key).masked_fill(~mask, -1e9).softmax(-1) @ value


@attention.symptom(
    _empty_is_nan,
    "A row without any open key gives NaN: a softmax over nothing but -inf is 0 / 0. Fill what is closed with 0.0 "
    "after the softmax as well.",
)
def empty_row_is_nan(query, key, value, mask):
    return _scores(query, key).masked_fill(~mask, -torch.inf).softmax(-1) @ value


@attention.symptom(
    _gradient_is_nan,
    "The values are right, but a row without open keys sends NaN back: 0 times NaN is NaN. Clean the weights, before "
    "they multiply value, with masked_fill.",
)
def nan_gradient(query, key, value, mask):
    out = _scores(query, key).masked_fill(~mask, -torch.inf).softmax(-1) @ value
    return torch.where(mask.any(-1, keepdim=True), out, 0.0)
