"""Unit 03, exercises 3 and 4: from scores to weights, and from weights to what is read."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.attention import reference
from course_lib.exercises.attention.scores import close, gradient_is_cut, unit
from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised

# 3 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=9,
    reference=reference.masked_softmax,
    hints=[
        "Before the softmax: what may not be attended gets the score -inf, by scores.masked_fill(~mask, ...).",
        "A row belongs to a query and has to sum to 1 over the keys: which axis is that?",
        "A row that is all -inf comes out as nan. Fill what the mask forbids with 0 once more, after the softmax.",
    ],
)
def masked_softmax(answer, case: Case) -> None:
    """Softmax of scores [B, Tq, Tk] over the keys where the bool mask is True, else 0; a row without any is all 0."""
    batch, queries = case.size(2, 4), case.size(2, 4)
    keys = queries + case.size(1, 3)
    scores = 2 * case.normal(batch, queries, keys)
    padding = padding_mask(case, batch, keys)[:, None]
    loud = scores + 300 * (torch.arange(batch) == 0)[:, None, None]  # no exp() without a maximum
    loud = torch.where(padding, loud, torch.full_like(scores, 1e4))
    low = torch.where(padding, torch.full_like(scores, -1e30), scores)  # below any filler for -inf
    for given, label in (
        (scores, "padding [B, 1, Tk]"),
        (loud, "a padded score of 1e4, others of 300"),
        (low, "allowed scores of -1e30"),
    ):
        case.expect(answer(given, padding), reference.masked_softmax(given, padding), label=label)
    allowed = case.uniform(batch, queries, keys) < 0.6
    allowed[:, :, 1], allowed[:, :, 2] = True, False
    allowed[0, 1] = False  # one query that may attend nothing
    expected = reference.masked_softmax(scores, allowed)
    case.expect(answer(scores, allowed), expected, label="a query without a key")
    case.expect_gradient(answer, reference.masked_softmax, scores, allowed, wrt=0)


def padding_mask(case: Case, batch: int, keys: int) -> Tensor:
    """bool [B, Tk], True at the real tokens: the first sequence has one or two to spare, the second none."""
    lengths = torch.randint(2, keys + 1, (batch,), generator=case.random)
    lengths[0], lengths[1] = keys - case.size(1, 2), keys
    return torch.arange(keys) < lengths[:, None].clamp(min=1)


def _filled(scores, mask, dim=-1):
    """Softmax along an axis, with -inf where the mask forbids and 0 afterwards."""
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim)
    return weights.masked_fill(~mask, 0.0)


def _parts(observations) -> list[tuple[Tensor, Tensor]] | None:
    """What came back and what should have: with padding, loud and low scores, and the empty row."""
    seen = [(o.got, o.expected) for o in observations[:4]]
    for got, expected in seen:
        if isinstance(got, Raised) or not isinstance(got, Tensor) or got.shape != expected.shape:
            return None
    return seen


def _sums_over_queries(observations) -> bool:
    """Each column of an allowed key sums to one; the rows do not."""
    (got, expected), *_ = _parts(observations)
    columns = got.nan_to_num().sum(1)[expected.sum(1) > 0]
    rows = got.nan_to_num().sum(2)
    return close(columns, torch.ones_like(columns)) and not close(rows, torch.ones_like(rows))


@masked_softmax.symptom(
    _sums_over_queries,
    "Softmax over the wrong axis: your columns sum to 1. Each query spreads a whole over its keys, the last axis.",
)
def wrong_axis(scores, mask):
    return _filled(scores, mask, dim=1)


@masked_softmax.mistake("The mask has no effect: padding gets weight, too.")
def no_mask(scores, mask):
    return scores.softmax(-1)


def _forbids_the_allowed(observations) -> bool:
    """In the first sequence all weight is on the padding."""
    (got, expected), *_ = _parts(observations)
    real = expected[0, 0] > 0
    on_padding = got[0].nan_to_num()[:, ~real].sum(1)
    return close(on_padding, torch.ones_like(on_padding))


@masked_softmax.symptom(
    _forbids_the_allowed,
    "The mask is the wrong way round: True means that a key MAY be attended. Fill where ~mask is True.",
)
def inverted(scores, mask):
    return _filled(scores, ~mask)


@masked_softmax.mistake(
    "Masked after the softmax: what the forbidden keys had taken is missing, and rows sum to less than 1."
)
def after_softmax(scores, mask):
    return scores.softmax(-1) * mask


def _all_nan(observations) -> bool:
    return all(got.isnan().all() for got, _ in _parts(observations))


@masked_softmax.symptom(
    _all_nan,
    "All is nan: you multiplied by -inf, and 0 * -inf is nan. Use masked_fill or torch.where instead.",
)
def times_infinity(scores, mask):
    return (scores + (~mask).float() * -torch.inf).softmax(-1)


@masked_softmax.mistake(
    "Forbidden scores were set to 0. exp(0) = 1, so they still get weight; only -inf gives none."
)
def zero_scores(scores, mask):
    return (scores * mask).softmax(-1)


@masked_softmax.mistake(
    "The mask was added to the scores, where True counts as 1. Only a score of -inf gets the weight 0."
)
def mask_added(scores, mask):
    return (scores + mask).softmax(-1)


def _no_own_maximum(observations) -> bool:
    """Right with ordinary scores; not right in the second sequence, without padding, beside a loud one or low."""
    (got, expected), *extreme, _ = _parts(observations)
    return close(got, expected) and any(not close(g[1], e[1]) for g, e in extreme)


@masked_softmax.symptom(
    _no_own_maximum,
    "exp leaves the range of floats. Each row needs its own largest allowed score subtracted first, as .softmax(-1) "
    "does; none was, or one for the whole tensor.",
)
def by_hand(scores, mask):
    powers = scores.exp() * mask
    return powers / powers.sum(-1, keepdim=True)


def _drowned(observations) -> bool:
    """Right with ordinary scores; beside the padded 1e4, in the first sequence, nothing or nan is left."""
    (got, expected), (loud, _), *_ = _parts(observations)
    return close(got, expected) and not bool(loud[0].nan_to_num().any())


@masked_softmax.symptom(
    _drowned,
    "The softmax saw the forbidden scores: one of 1e4 took all weight, and nothing was left to share out again. Fill "
    "with -inf before the softmax.",
)
def renormalised(scores, mask):
    weights = scores.softmax(-1) * mask
    return weights / weights.sum(-1, keepdim=True)


def _beaten(observations) -> bool:
    """Right with ordinary scores, no nan with loud ones; low scores are beaten, or the empty row sums to one."""
    (got, expected), (loud, _), (low, uniform), (empty, rest) = _parts(observations)
    total = empty[rest.sum(2) == 0].sum(1)
    seen = close(got, expected) and not loud.isnan().any()
    return seen and (not close(low, uniform) or close(total, torch.ones_like(total)))


@masked_softmax.symptom(
    _beaten,
    "A finite number stands for -inf: scores far below it lose to the padding, and a query without a key attends what "
    "it may not. Fill with -inf, and give such a query zeros afterwards.",
)
def finite(scores, mask):
    return scores.masked_fill(~mask, -1e4).softmax(-1)


def _nan_row(observations) -> bool:
    *others, (empty, right) = _parts(observations)
    without = right.sum(2) == 0
    return all(close(*o) for o in others) and bool(empty[without].isnan().all())


@masked_softmax.symptom(
    _nan_row,
    "A query that may attend nothing gives nan: softmax of a row of -inf is 0 / 0. Its weights are to be 0.",
)
def nan_rows(scores, mask):
    return scores.masked_fill(~mask, -torch.inf).softmax(-1)


@masked_softmax.mistake(
    "The weights are right, but a query without a key gets the gradient nan: -inf was ADDED, and the nan of the "
    "softmax's slope comes back through the sum. masked_fill in place of it cuts that off."
)
def nan_gradient(scores, mask):
    added = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
    return (scores + added).softmax(-1).nan_to_num()


@masked_softmax.symptom(
    gradient_is_cut,
    "The weights are right, but the gradient is cut: was there no_grad, .data, .detach() or numpy on the way?",
)
def weights_without_gradient(scores, mask):
    return reference.masked_softmax(scores, mask).detach()


# 4 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=1,
    minutes=4,
    reference=reference.context,
    hints=[
        "Entry [b, t] is the sum over j of weights[b, t, j] times the vector values[b, j].",
        "That sum over j is one matrix product a sequence, [Tq, Tk] @ [Tk, d_v]; @ does it for the whole batch.",
    ],
)
def context(answer, case: Case) -> None:
    """c_t = the sum over j of alpha_tj value_j, [B, Tq, d_v]; weights [B, Tq, Tk], values [B, Tk, d_v]."""
    batch, queries, size = case.size(2, 3), case.size(2, 4), case.size(2, 4)
    for keys, label in ((queries + case.size(1, 3), "Tq < Tk"), (queries, "Tq = Tk")):
        values = case.normal(batch, keys, size + keys)
        weights = case.normal(batch, queries, keys).softmax(-1)
        weights = weights * case.uniform(batch, queries, 1, low=0.3)  # local attention sums to less
        case.expect(answer(weights, values), reference.context(weights, values), label=label)
    for argument in (0, 1):
        case.expect_gradient(answer, reference.context, weights, values, wrt=argument)


@context.mistake(
    "The weights are transposed: row t of the weights belongs to query t, and is summed over its columns."
)
def transposed(weights, values):
    return weights.transpose(1, 2) @ values


@context.mistake(
    "You took the one value with the largest weight. Soft attention mixes all of them, each by its weight."
)
def hardest(weights, values):
    chosen = weights.argmax(-1)[..., None].expand(-1, -1, values.shape[-1])
    return values.gather(1, chosen)


@context.mistake(
    "This is the plain mean of the values, the same for every query: multiply by the weights."
)
def plain_mean(weights, values):
    return values.mean(1, keepdim=True).expand(-1, weights.shape[1], -1)


@context.mistake(
    "The weights went through a softmax a second time. They are weights already: use them as they are."
)
def softmax_again(weights, values):
    return weights.softmax(-1) @ values


@context.mistake(
    "You divided by the sum of the weights. Use them as they are: local attention's sum to less than 1 on purpose."
)
def made_whole(weights, values):
    return weights @ values / weights.sum(-1, keepdim=True)


@context.symptom(
    gradient_is_cut,
    "The vectors are right, but a gradient is cut: it has to reach the weights and the values. Was one detached?",
)
def context_without_gradient(weights, values):
    return reference.context(weights.detach(), values)
