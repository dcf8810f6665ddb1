"""Unit 03, exercises 1 and 2: how well a query fits a key, by products and by a small network."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.attention import reference
from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
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
        "All pairs at once: a matrix product of the queries with the keys, the last two axes of these exchanged.",
        "Without a weight there are d products in the sum: divide by the root of d. With one nothing is divided.",
        "keys.mT exchanges the last two axes, and the weight stands between the two: query @ weight @ keys.mT.",
    ],
)
def multiplicative_scores(answer, case: Case) -> None:
    """q . k / sqrt(d), or q^T W k with W [d_q, d_k]: [B, Tq, Tk] from query [B, Tq, d_q] and keys [B, Tk, d_k]."""
    batch, queries = case.size(2, 3), case.size(2, 4)
    keys = queries + case.size(1, 3)
    size = keys + case.size(1, 2)  # unlike the numbers of vectors: no mistake is right by chance
    query, key = case.normal(batch, queries, size), case.normal(batch, keys, size)
    case.expect(answer(query, key), reference.multiplicative_scores(query, key), label="dot")
    for wide, label in ((size, "general"), (size + case.size(1, 2), "general, d_q < d_k")):
        key, weight = case.normal(batch, keys, wide), case.normal(size, wide)
        expected = reference.multiplicative_scores(query, key, weight)
        case.expect(answer(query, key, weight), expected, label=label)
    for argument in range(3):
        case.expect_gradient(
            answer, reference.multiplicative_scores, query, key, weight, wrt=argument
        )


def gradient_is_cut(observations) -> bool:
    """All values are right, and a gradient is wrong without being nan: some argument was cut out of the graph."""
    gradients = [o for o in observations if o.kind == "gradient"]
    return (
        all(o.failure() is None for o in observations if o.kind == "value")
        and any(o.failure() is not None for o in gradients)
        and not any(isinstance(o.got, Raised) for o in gradients)
        and not any(g.isnan().any() for o in gradients for g in o.got if g is not None)
    )


def close(got: Tensor, expected: Tensor) -> bool:
    """Whether two tensors of one shape agree to three digits."""
    return torch.allclose(got.double(), expected.double(), rtol=1e-3, atol=1e-4)


def _factor(got: Tensor, expected: Tensor) -> float:
    """The number that `got` is `expected` times of; nan if it is not."""
    factor = float((got * expected).sum() / (expected**2).sum())
    return factor if close(got, factor * expected) else float("nan")


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


def _by_the_number_of_vectors(observations) -> bool:
    """The general scores are right, the dot products divided by the root of Tq or Tk."""
    dot, general, _, *gradients = observations
    _, queries, keys = dot.expected.shape
    size = gradients[2].expected[0].shape[0]
    squared = size / _factor(dot.got, dot.expected) ** 2
    return general.failure() is None and min(abs(squared - queries), abs(squared - keys)) < 0.01


@multiplicative_scores.symptom(
    _by_the_number_of_vectors,
    "You divided by the square root of a number of vectors, shape[1]. It is the size d of a vector that counts, the "
    "last axis.",
)
def by_number_of_keys(query, keys, weight=None):
    return _products(query, keys, weight) / (keys.shape[1] ** 0.5 if weight is None else 1)


def _general_divided_too(observations) -> bool:
    dot, *general = observations[:3]
    factors = [_factor(o.got, o.expected) for o in general]
    return dot.failure() is None and all(factor < 0.99 for factor in factors)


@multiplicative_scores.symptom(
    _general_divided_too,
    "The general scores are divided too. W is learned and finds its own scale: only the dot product is divided.",
)
def all_scaled(query, keys, weight=None):
    return _products(query, keys, weight) / query.shape[-1] ** 0.5


@multiplicative_scores.mistake(
    "W is transposed: its rows belong to the entries of the query, its columns to those of the key."
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


@multiplicative_scores.symptom(
    gradient_is_cut,
    "The scores are right, but a gradient is cut: was there no_grad, .data, .detach() or numpy on the way?",
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
        "To add every query to every key, each gets an axis of length one where the other has its vectors.",
        "[:, :, None] and [:, None] make those axes. Then tanh of the sum; `@ v` removes the last axis: [B, Tq, Tk].",
    ],
)
def additive_scores(answer, case: Case) -> None:
    """v^T tanh(W q + U k), [B, Tq, Tk], from query [B, Tq, d_q], keys [B, Tk, d_k], W [a, d_q], U [a, d_k], v [a]."""
    batch, queries, size = case.size(2, 3), case.size(2, 4), case.size(2, 4)
    keys = queries + case.size(1, 3)
    for more, label in ((0, "d_q = d_k"), (case.size(1, 2), "d_q < d_k")):
        inner = max(keys, size + more) + case.size(1, 2)  # no product fits by chance
        query, key = case.normal(batch, queries, size), case.normal(batch, keys, size + more)
        weights = case.normal(inner, size), case.normal(inner, size + more), case.normal(inner)
        expected = reference.additive_scores(query, key, *weights)
        case.expect(answer(query, key, *weights), expected, label=label)
    given = (query, key, *weights)
    for argument in range(5):
        case.expect_gradient(answer, reference.additive_scores, *given, wrt=argument)


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
    "v is missing: you summed tanh(W q + U k) over its a entries, each with the same weight."
)
def without_v(query, keys, w_query, w_key, v):
    q, k = _both(query, keys, w_query, w_key)
    return torch.tanh(q + k).sum(-1)


@additive_scores.mistake(
    "The query has no part in these scores: every row is the same. Add W q before the tanh."
)
def without_query(query, keys, w_query, w_key, v):
    _, k = _both(query, keys, w_query, w_key)
    return torch.tanh(k).expand(-1, query.shape[1], -1, -1) @ v


@additive_scores.mistake(
    "Your scores are [B, Tk, Tq]. A row belongs to a query: W q gets its axis of length one at the keys' place."
)
def keys_in_rows_of_sums(query, keys, w_query, w_key, v):
    return reference.additive_scores(query, keys, w_query, w_key, v).transpose(1, 2)


@additive_scores.mistake("W and U are exchanged: W projects the query, U the keys.")
def exchanged(query, keys, w_query, w_key, v):
    return reference.additive_scores(query, keys, w_key, w_query, v)


@additive_scores.symptom(
    gradient_is_cut,
    "The scores are right, but a gradient is cut: was there no_grad, .data, .detach() or numpy on the way?",
)
def sums_without_gradient(query, keys, w_query, w_key, v):
    return reference.additive_scores(query, keys, w_query, w_key, v).detach()
