"""Unit 04, exercises 4 and 5: where a token stands, absolutely and relative to another."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.heads import unit

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


def _angles(length, d_model, first=0):
    """[T, d / 2]."""
    even = torch.arange(0, d_model, 2)
    return torch.arange(first, first + length)[:, None] / 10000 ** (even / d_model)


def _in_turn(angles):
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


@sinusoids.mistake(
    "All sines stand in front of all cosines. Here they take turns: sin, cos, sin, cos, a pair for each frequency."
)
def in_halves(length, d_model):
    angles = _angles(length, d_model)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


@sinusoids.mistake(
    "Sine and cosine are exchanged: even columns are sines, so that row 0 is 0, 1, 0, 1, ..."
)
def exchanged(length, d_model):
    angles = _angles(length, d_model)
    return torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)


@sinusoids.mistake(
    "Each column has a frequency of its own. The two columns of a pair share one: for column 2i + 1 the exponent is "
    "2i / d as well."
)
def a_frequency_each(length, d_model):
    angles = torch.arange(length)[:, None] / 10000 ** (torch.arange(d_model) / d_model)
    return torch.stack([angles[:, ::2].sin(), angles[:, 1::2].cos()], dim=2).flatten(1)


@sinusoids.mistake("The exponent is 2i / d, where i counts the pairs; yours is i / d.")
def half_the_exponent(length, d_model):
    return _in_turn(torch.arange(length)[:, None] / 10000 ** (torch.arange(d_model // 2) / d_model))


@sinusoids.mistake(
    "The exponent is doubled: 2i is the number of the even column already. Does arange(0, d, 2) meet another factor 2?"
)
def twice_the_exponent(length, d_model):
    even = torch.arange(0, d_model, 2)
    return _in_turn(torch.arange(length)[:, None] / 10000 ** (2 * even / d_model))


@sinusoids.mistake("Your positions begin with 1; the first token has t = 0.")
def from_one(length, d_model):
    return _in_turn(_angles(length, d_model, first=1))


@sinusoids.mistake(
    "Your frequencies grow, up to nearly 10000 turns a step. They fall: divide t by 10000 ** (2i / d)."
)
def growing(length, d_model):
    even = torch.arange(0, d_model, 2)
    return _in_turn(torch.arange(length)[:, None] * 10000 ** (even / d_model))


@sinusoids.mistake(
    "Your powers are all 1 (or whole numbers): was the exponent 2i / d divided with //, or t made an integer?"
)
def whole_exponents(length, d_model):
    return _in_turn(torch.arange(length)[:, None] / 10000 ** torch.zeros(d_model // 2))


@sinusoids.mistake("Your table is transposed: rows are positions, columns features, [T, d_model].")
def turned(length, d_model):
    return _in_turn(_angles(length, d_model)).T


# 5 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=11,
    reference=reference.relative_scores,
    hints=[
        "j = torch.arange(T); distance = j - j[:, None] has j - i in row i, column j. Clip it to -k ... k, then add k.",
        "query @ table.T is [B, H, T, 2k + 1]: what query i says of each distance. Each pair picks one of these.",
        "torch.gather(found, -1, index.expand(B, H, T, T)) picks; add query @ key^T, then divide the sum by sqrt(d_h).",
    ],
)
def relative_scores(answer, case: Case) -> None:
    """(q_i . k_j + q_i . a_{j-i}) / sqrt(d_h) [B, H, T, T]; a in row clip(j - i, -k, k) + k of table [2k + 1, d_h]."""
    for reach in (2, case.size(1, 3)):
        size, wide = 2 * reach + case.size(2, 4), case.size(3, 6)
        sizes = (case.size(2, 3), case.size(2, 3), size, wide)
        given = (case.normal(*sizes), case.normal(*sizes), case.normal(2 * reach + 1, wide))
        case.expect(answer(*given), reference.relative_scores(*given), label=f"k = {reach}")
    case.expect_gradient(answer, reference.relative_scores, *given, wrt=0)
    case.expect_gradient(answer, reference.relative_scores, *given, wrt=2)


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
    """clip(j - i, -k, k) + k."""
    reach = len(table) // 2
    return _distance(query.shape[-2]).clamp(-reach, reach) + reach


def _place(query, table):
    return _picked(query, table, _index(query, table))


def _root(query):
    return query.shape[-1] ** 0.5


@relative_scores.mistake(
    "Your distance is i - j. The row belongs to j - i: positive where the key comes after the query."
)
def the_other_way(query, key, table):
    other = _picked(query, table, len(table) - 1 - _index(query, table))
    return (_content(query, key) + other) / _root(query)


@relative_scores.mistake(
    "The part of the table (a^K) was added after the scaling: both parts are products of length d_h, and both are "
    "divided by its root."
)
def table_not_scaled(query, key, table):
    return _content(query, key) / _root(query) + _place(query, table)


@relative_scores.mistake("The scaling is missing: divide the sum of both parts by the root of d_h.")
def not_scaled(query, key, table):
    return _content(query, key) + _place(query, table)


@relative_scores.mistake(
    "Only the table's part was divided by the root of d_h: put the sum in brackets."
)
def content_not_scaled(query, key, table):
    return _content(query, key) + _place(query, table) / _root(query)


@relative_scores.mistake("The content is missing: q_i . k_j belongs to the score as well.")
def place_alone(query, key, table):
    return _place(query, table) / _root(query)


@relative_scores.mistake("The table has no effect: this is ordinary attention.")
def content_alone(query, key, table):
    return _content(query, key) / _root(query)


@relative_scores.mistake(
    "k was not added to the clipped distance: row 0 is distance -k, row k distance 0. (Python lets a negative index "
    "count from the end.)"
)
def not_shifted(query, key, table):
    other = _picked(query, table, _index(query, table) - len(table) // 2)
    return (_content(query, key) + other) / _root(query)


@relative_scores.mistake(
    "All keys before the query share a row: you clipped to 0 ... k or 0 ... 2k, or took an absolute value. "
    "Clip to -k ... k first, then add k."
)
def clipped_at_zero(query, key, table):
    reach = len(table) // 2
    index = _distance(query.shape[-2]).clamp(0, reach) + reach
    return (_content(query, key) + _picked(query, table, index)) / _root(query)


@relative_scores.mistake(
    "You clipped without adding k: all keys before the query share row 0. Clip to -k ... k, then add k."
)
def clipped_unshifted(query, key, table):
    index = _distance(query.shape[-2]).clamp(0, len(table) - 1)
    return (_content(query, key) + _picked(query, table, index)) / _root(query)


@relative_scores.mistake(
    "The distance has lost its sign: before and after have rows of their own. Leave out abs."
)
def without_sign(query, key, table):
    reach = len(table) // 2
    index = _distance(query.shape[-2]).abs().clamp(max=reach) + reach
    return (_content(query, key) + _picked(query, table, index)) / _root(query)


@relative_scores.mistake(
    "Shaw's k is the half of the table: with 2k + 1 rows, k = len(table) // 2. You clip one step too early."
)
def clipped_early(query, key, table):
    reach = len(table) // 2
    index = _distance(query.shape[-2]).clamp(1 - reach, reach - 1) + reach
    return (_content(query, key) + _picked(query, table, index)) / _root(query)


@relative_scores.mistake(
    "You multiplied the table by the keys. It stands beside the key, so the query meets it: query @ table.T."
)
def key_meets_table(query, key, table):
    found = torch.einsum("bhjd,ijd->bhij", key, table[_index(query, table)])
    return (_content(query, key) + found) / _root(query)


@relative_scores.mistake(
    "The values are right, but no gradient reaches the table: was it detached, or copied number by number?"
)
def table_detached(query, key, table):
    return (_content(query, key) + _place(query, table.detach())) / _root(query)


@relative_scores.mistake(
    "The values are right, but no gradient flows: was there no_grad, .data, .detach() or numpy on the way?"
)
def without_gradient(query, key, table):
    return ((_content(query, key) + _place(query, table)) / _root(query)).detach()
