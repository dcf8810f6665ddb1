"""Unit 04, exercise 8: one step with a cache of keys and values."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.blocks import unit
from course_lib.exercises.transformers.naming import keep_arguments, named

FIRST = "S = 0"


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.cache_step,
    uses=("attention",),
    hints=[
        "keys and values are [B, H, S, d_h]; time is the third axis, dim=2, and the newest stands last.",
        "The new position looks at all S + 1 keys, its own among them; none lies in its future: all are open.",
        "Return (context, (keys, values)): [B, H, 1, d_h], and the two tensors [B, H, S + 1, d_h] for the next step.",
    ],
)
def cache_step(answer, case: Case) -> None:
    """(context [B, H, 1, d_h], (keys, values)) of one new position; query, key, value [B, H, 1, d_h], cache of S."""
    sizes, wide = (case.size(2, 3), case.size(2, 3)), case.size(3, 5)
    empty = torch.zeros(*sizes, 0, wide)
    cache = empty, empty
    for _ in range(2):
        cache = _expect_step(answer, case, cache)
    past = case.size(4, 7)
    cache = case.normal(*sizes, past, wide), case.normal(*sizes, past, wide)
    _expect_step(answer, case, cache)


def _expect_step(answer, case: Case, cache):
    """One step; returns the right cache, so that an error does not follow from an earlier one."""
    sizes = (*cache[0].shape[:2], 1, cache[0].shape[3])
    given = (*(1.5 * case.normal(3, *sizes)), cache)
    expected = reference.cache_step(*given)
    case.expect(answer(*given), expected, label=f"S = {cache[0].shape[2]}")
    keep_arguments(case, *given)
    return expected[1]


def _grown(key, value, cache):
    return tuple(torch.cat([old, new], dim=2) for old, new in zip(cache, (key, value)))


def _look(query, keys, values, scale=True):
    scores = query @ keys.transpose(-2, -1) / (query.shape[-1] ** 0.5 if scale else 1.0)
    return scores.softmax(-1) @ values


def _wrong_axis(observations) -> bool:
    """torch.cat said so at the first position that finds something in the cache."""
    return any(
        isinstance(o.got, Raised) and "must match except in dimension" in o.got.text
        for o in observations
        if o.label != FIRST
    )


@named(
    cache_step,
    "The new key and value were put in front. Time runs on along the third axis: the newest stands last.",
)
def in_front(query, key, value, cache):
    keys, values = (torch.cat([new, old], dim=2) for old, new in zip(cache, (key, value)))
    return _look(query, keys, values), (keys, values)


@cache_step.symptom(
    _wrong_axis,
    "torch.cat was asked to join along the wrong axis: keys and values are [B, H, S, d_h], and what grows is S, dim=2.",
)
def on_the_wrong_axis(query, key, value, cache):
    keys, values = (torch.cat([old, new], dim=1) for old, new in zip(cache, (key, value)))
    return _look(query, keys, values), (keys, values)


@named(
    cache_step,
    "The new position does not look at itself: append its key and value first, then attend.",
)
def not_at_itself(query, key, value, cache):
    return _look(query, *cache), _grown(key, value, cache)


@named(
    cache_step,
    "The new position looks at itself alone: attend with all keys and values, those of the cache too.",
)
def only_at_itself(query, key, value, cache):
    return _look(query, key, value), _grown(key, value, cache)


@named(
    cache_step,
    "The new position sees the first key alone. A causal mask [1, S + 1] that counts from the start calls it query 0; "
    "it is the last: nothing is closed.",
)
def first_key_only(query, key, value, cache):
    keys, values = _grown(key, value, cache)
    return values[:, :, :1], (keys, values)


@named(cache_step, "Keys and values are exchanged in the cache that you return: keys come first.")
def exchanged(query, key, value, cache):
    keys, values = _grown(key, value, cache)
    return _look(query, keys, values), (values, keys)


def _newest_kept(query, key, value, cache):
    return _look(query, *_grown(key, value, cache)), (key, value)


@named(
    cache_step,
    "The cache that you return is not the grown one: it holds all S + 1 keys and values, those that came in and the "
    "newest.",
    _newest_kept,
)
def not_kept(query, key, value, cache):
    return _look(query, *_grown(key, value, cache)), cache


def _everything_open(query, key, value, cache):
    """The same as `mask_of_many`, without any mask that closes."""
    keys, values = _grown(key, value, cache)
    return _look(query, keys, values).expand(-1, -1, keys.shape[2], -1), (keys, values)


@named(
    cache_step,
    "Your mask has a row for each of the S + 1 positions. Only the newest asks: one query, so the mask is [1, S + 1].",
    _everything_open,
)
def mask_of_many(query, key, value, cache):
    keys, values = _grown(key, value, cache)
    size = keys.shape[2]
    mask = torch.ones(size, size, dtype=torch.bool).tril()
    return reference.attention(query, keys, values, mask), (keys, values)


@named(
    cache_step,
    "Every key is closed, and the context is zero: True means that the query MAY look, so the mask is all True.",
)
def all_closed(query, key, value, cache):
    return torch.zeros_like(query), _grown(key, value, cache)
