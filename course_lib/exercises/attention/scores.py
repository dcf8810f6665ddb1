"""Unit 03, exercises 1 and 2: how well a query fits a key, by products and by a small network."""

from __future__ import annotations

import torch

from course_lib.exercises.attention import reference
from course_lib.exercises.case import Case
from course_lib.exercises.engine import Unit

unit = Unit(
    "03_attention",
    forbids=(
        "course_lib.attention",
        "course_lib.exercises.attention.reference",
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.functional.multi_head_attention_forward",
        "torch.nn.MultiheadAttention",
        "torch.nn.attention",
        "torch.masked",
        "torch.ops",
        "torch._C",
    ),
)


# 1 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=6,
    reference=reference.multiplicative_scores,
    hints=[
        "All pairs at once: query [B, Tq, d] times keys with their last two axes exchanged, .mT, [B, d, Tk].",
        "Without a weight the sum has d products in it: divide by the square root of d, the last size of the keys.",
        "With a weight it stands between the two, query @ weight @ keys.mT, and nothing is divided.",
    ],
)
def multiplicative_scores(answer, case: Case) -> None:
    """q . k / sqrt(d), or q^T W k with W [d_q, d_k]: [B, Tq, Tk] from query [B, Tq, d_q] and keys [B, Tk, d_k]."""
    batch, queries, size = case.size(2, 3), case.size(2, 4), case.size(2, 5)
    keys = queries + case.size(1, 3)
    # none of the sizes' roots may be alike: no mistake is right by chance
    query, key = case.normal(batch, queries, size), case.normal(batch, keys, size)
    case.expect(answer(query, key), reference.multiplicative_scores(query, key), label="dot")
    for wide, label in ((size, "general"), (size + case.size(1, 2), "general, d_q < d_k")):
        key, weight = case.normal(batch, keys, wide), case.normal(size, wide)
        expected = reference.multiplicative_scores(query, key, weight)
        case.expect(answer(query, key, weight), expected, label=label)
    case.expect_gradient(answer, reference.multiplicative_scores, query, key, weight, wrt=1)


def _products(query, keys, weight):
    """The plain sums of products [B, Tq, Tk]."""
    return (query if weight is None else query @ weight) @ keys.transpose(1, 2)


@multiplicative_scores.mistake(
    "The dot products are not scaled: divide q . k by the square root of d, or softmax is soon all or nothing."
)
def not_scaled(query, keys, weight=None):
    return _products(query, keys, weight)


@multiplicative_scores.mistake(
    "You divided by d. The products' spread grows like the square root of d; divide by that."
)
def by_d(query, keys, weight=None):
    return _products(query, keys, weight) / (query.shape[-1] if weight is None else 1)


@multiplicative_scores.mistake(
    "You multiplied by the square root of d; the spread is to shrink, so divide."
)
def times_root(query, keys, weight=None):
    return _products(query, keys, weight) * (query.shape[-1] ** 0.5 if weight is None else 1)


@multiplicative_scores.mistake(
    "You divided by the square root of the number of keys. It is the size d of a vector that counts, the last axis."
)
def by_number_of_keys(query, keys, weight=None):
    return _products(query, keys, weight) / (keys.shape[1] ** 0.5 if weight is None else 1)


@multiplicative_scores.mistake(
    "The general scores are divided too. W is learned and finds its own scale: only the dot product is divided."
)
def all_scaled(query, keys, weight=None):
    return _products(query, keys, weight) / keys.shape[-1] ** 0.5


@multiplicative_scores.mistake(
    "The dot product is left alone and the general score divided; it is the other way round."
)
def wrong_one_scaled(query, keys, weight=None):
    return _products(query, keys, weight) / (1 if weight is None else keys.shape[-1] ** 0.5)


@multiplicative_scores.mistake(
    "W is transposed: its rows belong to the query's entries, its columns to the key's, query @ weight @ keys.mT."
)
def turned(query, keys, weight=None):
    if weight is None:
        return reference.multiplicative_scores(query, keys)
    return _products(query, keys, weight.transpose(0, 1))


@multiplicative_scores.mistake(
    "The weight is not used: with a W the score is q^T W k, without one q . k / sqrt(d)."
)
def weight_ignored(query, keys, weight=None):
    return reference.multiplicative_scores(query, keys)


@multiplicative_scores.mistake(
    "Your scores are [B, Tk, Tq]. A row belongs to a query, a column to a key: exchange the last two axes."
)
def keys_in_rows(query, keys, weight=None):
    return reference.multiplicative_scores(query, keys, weight).transpose(1, 2)


@multiplicative_scores.mistake(
    "These are weights: a softmax has been applied. Scores are wanted here; the softmax is exercise 3."
)
def softmaxed(query, keys, weight=None):
    return reference.multiplicative_scores(query, keys, weight).softmax(-1)


@multiplicative_scores.mistake(
    "The vectors were made unit vectors first, so these are cosines. The score keeps the lengths of q and k."
)
def cosines(query, keys, weight=None):
    if weight is not None:
        return _products(query, keys, weight)
    return torch.nn.functional.cosine_similarity(query[:, :, None], keys[:, None], dim=-1)


@multiplicative_scores.mistake(
    "The scores are right, but no gradient flows: was there no_grad, .data, .detach() or numpy on the way?"
)
def without_gradient(query, keys, weight=None):
    return reference.multiplicative_scores(query, keys, weight).detach()


# 2 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=7,
    reference=reference.additive_scores,
    hints=[
        "Project first: query @ w_query.T is [B, Tq, a], keys @ w_key.T is [B, Tk, a].",
        "To add every query to every key, give each an axis of length one: [B, Tq, 1, a] + [B, 1, Tk, a].",
        "tanh of the sum, and then v: the product with v removes the last axis and leaves [B, Tq, Tk].",
    ],
)
def additive_scores(answer, case: Case) -> None:
    """v^T tanh(W q + U k), [B, Tq, Tk], from query [B, Tq, d_q], keys [B, Tk, d_k], W [a, d_q], U [a, d_k], v [a]."""
    batch, queries, size = case.size(2, 3), case.size(2, 4), case.size(2, 4)
    keys = queries + case.size(1, 3)
    for more, label in ((0, "d_q = d_k"), (case.size(1, 2), "d_q < d_k")):
        inner = size + more + case.size(1, 2)
        query, key = case.normal(batch, queries, size), case.normal(batch, keys, size + more)
        weights = case.normal(inner, size), case.normal(inner, size + more), case.normal(inner)
        expected = reference.additive_scores(query, key, *weights)
        case.expect(answer(query, key, *weights), expected, label=label)
    case.expect_gradient(answer, reference.additive_scores, query, key, *weights, wrt=2)


def _both(query, keys, w_query, w_key):
    """W q as [B, Tq, 1, a] and U k as [B, 1, Tk, a]."""
    return (query @ w_query.T)[:, :, None], (keys @ w_key.T)[:, None]


@additive_scores.mistake(
    "tanh is missing. Without it the query's part is the same for every key, and softmax cannot see it."
)
def linear(query, keys, w_query, w_key, v):
    q, k = _both(query, keys, w_query, w_key)
    return (q + k) @ v


@additive_scores.mistake(
    "tanh comes last in yours. It belongs around W q + U k, before the product with v."
)
def squashed_last(query, keys, w_query, w_key, v):
    q, k = _both(query, keys, w_query, w_key)
    return torch.tanh((q + k) @ v)


@additive_scores.mistake(
    "tanh was taken of W q and of U k apart. Add first: the query's part is else the same for every key."
)
def squashed_apart(query, keys, w_query, w_key, v):
    q, k = _both(query, keys, w_query, w_key)
    return (q.tanh() + k.tanh()) @ v


@additive_scores.mistake("W q and U k are multiplied entry by entry; the additive score adds them.")
def multiplied(query, keys, w_query, w_key, v):
    q, k = _both(query, keys, w_query, w_key)
    return torch.tanh(q * k) @ v


@additive_scores.mistake(
    "v is missing: you summed tanh(W q + U k) over its a entries, each with the same weight."
)
def without_v(query, keys, w_query, w_key, v):
    q, k = _both(query, keys, w_query, w_key)
    return torch.tanh(q + k).sum(-1)


@additive_scores.mistake(
    "The query has no part in these scores: every row is the same. Add W q before the tanh."
)
def without_query(query, keys, w_query, w_key, v):
    q, k = _both(query, keys, w_query, w_key)
    return torch.tanh(0 * q + k) @ v


@additive_scores.mistake(
    "The last axis is left, [B, Tq, Tk, a]: the product with v has to sum it up, `@ v`."
)
def not_summed(query, keys, w_query, w_key, v):
    q, k = _both(query, keys, w_query, w_key)
    return torch.tanh(q + k) * v


@additive_scores.mistake(
    "Your scores are [B, Tk, Tq]. A row belongs to a query: W q gets its axis of length one at the keys' place."
)
def keys_in_rows_of_sums(query, keys, w_query, w_key, v):
    return reference.additive_scores(query, keys, w_query, w_key, v).transpose(1, 2)


@additive_scores.mistake(
    "These scores are divided by the square root of a size. That is the dot product's cure; here tanh keeps them small."
)
def scaled(query, keys, w_query, w_key, v):
    return reference.additive_scores(query, keys, w_query, w_key, v) / len(v) ** 0.5


@additive_scores.mistake(
    "These are weights: a softmax has been applied. Scores are wanted; the softmax comes next."
)
def softmaxed_sums(query, keys, w_query, w_key, v):
    return reference.additive_scores(query, keys, w_query, w_key, v).softmax(-1)


@additive_scores.mistake(
    "The scores are right, but no gradient reaches W: was there no_grad, .data, .detach() or numpy on the way?"
)
def sums_without_gradient(query, keys, w_query, w_key, v):
    return reference.additive_scores(query, keys, w_query, w_key, v).detach()
