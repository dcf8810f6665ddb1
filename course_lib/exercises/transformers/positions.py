"""Unit 04, exercises 4 and 5: where a position stands, absolutely and relative to another."""

from __future__ import annotations

import functools

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.heads import unit
from course_lib.exercises.transformers.naming import keep_arguments, named

# 4 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=7,
    reference=reference.sinusoids,
    hints=[
        "There are d_model / 2 frequencies, one a pair of columns: 10000 ** (-even / d_model) for even = 0, 2, 4, ...",
        "A column of times t [T, 1] times a row of frequencies [d_model / 2] gives all the angles, [T, d_model / 2].",
        "Make an empty [T, d_model]; its columns 0::2 get the sines of the angles, 1::2 the cosines of the same ones.",
    ],
)
def sinusoids(answer, case: Case) -> None:
    """[T, d_model]: sin(t w_i) in column 2i and cos(t w_i) in 2i + 1, w_i = 10000 ** (-2i / d_model), t from 0."""
    for length, pairs in ((case.size(5, 9), 2), (case.size(11, 30), case.size(3, 6))):
        given = (length, 2 * pairs)
        case.expect(answer(*given), reference.sinusoids(*given), label="T {}, d {}".format(*given))
        keep_arguments(case, *given)


def _angles(length, d_model, first=0):
    """[T, d / 2]."""
    even = torch.arange(0, d_model, 2)
    return torch.arange(first, first + length)[:, None] / 10000 ** (even / d_model)


def _in_turn(angles):
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


@named(
    sinusoids,
    "All sines stand in front of all cosines. Here they take turns: sin, cos, sin, cos, a pair for each frequency.",
)
def in_halves(length, d_model):
    angles = _angles(length, d_model)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@named(
    sinusoids,
    "Sine and cosine are exchanged: even columns are sines, so that row 0 is 0, 1, 0, 1, ...",
)
def exchanged(length, d_model):
    angles = _angles(length, d_model)
    return torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)


@named(
    sinusoids,
    "Your frequencies grow, up to nearly 10000 turns a step. They fall: divide t by 10000 ** (2i / d).",
)
def growing(length, d_model):
    even = torch.arange(0, d_model, 2)
    return _in_turn(torch.arange(length)[:, None] * 10000 ** (even / d_model))


def _a_frequency_each(factor, length, d_model):
    angles = torch.arange(length)[:, None] / 10000 ** (factor * torch.arange(d_model) / d_model)
    return torch.stack([angles[:, ::2].sin(), angles[:, 1::2].cos()], dim=2).flatten(1)


@named(
    sinusoids,
    "i counts the pairs of columns, not the columns: columns 2i and 2i + 1 share one frequency, and the exponent is "
    "-2i / d for both (0, 0, 2 / d, 2 / d, ... without the sign).",
    functools.partial(_a_frequency_each, 2),
)
def a_frequency_each(length, d_model):
    return _a_frequency_each(1, length, d_model)


def _twice_the_exponent(length, d_model):
    even = torch.arange(0, d_model, 2)
    return _in_turn(torch.arange(length)[:, None] / 10000 ** (2 * even / d_model))


@named(
    sinusoids,
    "The exponent is 2i / d, where i counts the pairs: from pair to pair it grows by 2 / d, and yours by half of that "
    "or by twice as much. (arange(0, d, 2) has the factor 2 in it.)",
    _twice_the_exponent,
)
def half_the_exponent(length, d_model):
    return _in_turn(torch.arange(length)[:, None] / 10000 ** (torch.arange(d_model // 2) / d_model))


def _pairs_from_one(length, d_model):
    return _in_turn(_angles(length, d_model) / 10000 ** (2 / d_model))


@named(
    sinusoids,
    "Both counts begin with 0: the first position has t = 0, and the first pair i = 0, with frequency 1.",
    _pairs_from_one,
)
def from_one(length, d_model):
    return _in_turn(_angles(length, d_model, first=1))


# 5 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=11,
    reference=reference.relative_scores,
    hints=[
        "j = torch.arange(T); distance = j - j[:, None] has j - i in row i, column j. Clip it to -r ... r, then add r.",
        "query @ table.T is [B, H, T, 2r + 1]: what query i says of each distance. Each pair picks one of these.",
        "torch.gather(found, -1, index.expand(B, H, T, T)) picks; add query @ key^T, then divide the sum by sqrt(d_h).",
    ],
)
def relative_scores(answer, case: Case) -> None:
    """(q_i . k_j + q_i . a_{j-i}) / sqrt(d_h) [B, H, T, T]; a in row clip(j - i, -r, r) + r of table [2r + 1, d_h]."""
    for reach in (2, case.size(1, 3)):
        size, wide = 2 * reach + case.size(2, 4), case.size(3, 6)
        sizes = (case.size(2, 3), case.size(2, 3), size, wide)
        given = (case.normal(*sizes), case.normal(*sizes), case.normal(2 * reach + 1, wide))
        case.expect(answer(*given), reference.relative_scores(*given), label=f"r = {reach}")
        keep_arguments(case, *given)
    for wrt in range(3):
        case.expect_gradient(answer, reference.relative_scores, *given, wrt=wrt)


def _distance(size):
    """j - i [T, T]."""
    j = torch.arange(size)
    return j - j[:, None]


def _picked(query, rows, index):
    """q_i . rows[index_ij], unscaled; rows [n, d_h], index [T, T]."""
    return torch.einsum("bhid,ijd->bhij", query, rows[index])


def _content(query, key):
    return query @ key.transpose(-2, -1)


def _index(query, table):
    """clip(j - i, -r, r) + r."""
    reach = len(table) // 2
    return _distance(query.shape[-2]).clamp(-reach, reach) + reach


def _place(query, table):
    return _picked(query, table, _index(query, table))


def _root(query):
    return query.shape[-1] ** 0.5


@named(
    relative_scores,
    "Your distance is i - j. The row belongs to j - i: positive where the key comes after the query.",
)
def the_other_way(query, key, table):
    other = _picked(query, table, len(table) - 1 - _index(query, table))
    return (_content(query, key) + other) / _root(query)


@named(relative_scores, "The scaling is missing: divide the sum of both parts by the root of d_h.")
def not_scaled(query, key, table):
    return _content(query, key) + _place(query, table)


@named(
    relative_scores,
    "r was not added to the clipped distance: row 0 is distance -r, row r distance 0. (Python lets a negative index "
    "count from the end.)",
)
def not_shifted(query, key, table):
    other = _picked(query, table, _index(query, table) - len(table) // 2)
    return (_content(query, key) + other) / _root(query)


@relative_scores.mistake(
    "The values are right, but no gradient reaches the table: was it detached, or copied number by number?"
)
def table_detached(query, key, table):
    return (_content(query, key) + _place(query, table.detach())) / _root(query)


def _table_alone_scaled(query, key, table):
    return _content(query, key) + _place(query, table) / _root(query)


@named(
    relative_scores,
    "Only one of the two parts is divided by the root of d_h. Both are products of length d_h: put their sum in "
    "brackets, and divide it.",
    _table_alone_scaled,
)
def content_alone_scaled(query, key, table):
    return _content(query, key) / _root(query) + _place(query, table)


def _with_rows(index, query, key, table):
    return (_content(query, key) + _picked(query, table, index)) / _root(query)


def _clipped_unshifted(query, key, table):
    return _with_rows(_distance(query.shape[-2]).clamp(0, len(table) - 1), query, key, table)


@named(
    relative_scores,
    "All keys before the query share a row: you clipped to 0 ... r or 0 ... 2r. Clip to -r ... r first, then add r.",
    _clipped_unshifted,
)
def clipped_at_zero(query, key, table):
    reach = len(table) // 2
    return _with_rows(_distance(query.shape[-2]).clamp(0, reach) + reach, query, key, table)


def _without_sign_or_shift(query, key, table):
    return _with_rows(
        _distance(query.shape[-2]).abs().clamp(max=len(table) // 2), query, key, table
    )


@named(
    relative_scores,
    "The distance has lost its sign: before and after have rows of their own. Leave out abs; clip, then add r.",
    _without_sign_or_shift,
)
def without_sign(query, key, table):
    reach = len(table) // 2
    return _with_rows(_distance(query.shape[-2]).abs().clamp(max=reach) + reach, query, key, table)


def _row_of_the_key(query, key, table):
    """torch.gather(key @ table.T, ...): place (i, j) takes its entry from key i."""
    return (_content(query, key) + _place(key, table)) / _root(query)


@named(
    relative_scores,
    "You multiplied the table by the keys. It stands beside the key, so the query meets it: query @ table.T.",
    _row_of_the_key,
)
def key_meets_table(query, key, table):
    found = torch.einsum("bhjd,ijd->bhij", key, table[_index(query, table)])
    return (_content(query, key) + found) / _root(query)


@named(
    relative_scores,
    "Your scores are masked: -inf or the like stands where the key comes after the query. Asked for are all scores; "
    "the mask comes later.",
    lambda *given: _masked(0.0, *given),
    lambda *given: _masked(-1e9, *given),
)
def masked(query, key, table):
    scores = (_content(query, key) + _place(query, table)) / _root(query)
    return scores.masked_fill(_distance(query.shape[-2]) > 0, -torch.inf)


def _masked(fill, query, key, table):
    scores = (_content(query, key) + _place(query, table)) / _root(query)
    return scores.masked_fill(_distance(query.shape[-2]) > 0, fill)


def _out_of_bounds(observations) -> bool:
    return any(isinstance(o.got, Raised) and "out of bounds" in o.got.text for o in observations)


@relative_scores.symptom(
    _out_of_bounds,
    "Your row numbers leave the table. The row is the clipped distance PLUS r, from 0 to 2r, and r = len(table) // 2.",
)
def gathered_unshifted(query, key, table):
    size, reach = query.shape[-2], len(table) // 2
    index = _distance(size).clamp(-reach, reach).expand(*query.shape[:2], size, size)
    return (_content(query, key) + torch.gather(query @ table.T, -1, index)) / _root(query)
