"""Edge cases of unit 03 that only grading runs. The students' distribution does not contain this file."""

from __future__ import annotations

import torch

from course_lib.exercises.attention import reference, unit
from course_lib.exercises.case import Case

EXACT = {"rtol": 1e-10, "atol": 1e-12}  # what is given in float64 comes back in float64


@unit.find("multiplicative_scores").hidden_check
def one_number_and_many(answer, case: Case) -> None:
    """d = 1, where the root changes nothing; d = 64; and a weight that makes one number of two vectors."""
    for size, label in ((1, "d = 1"), (64, "d = 64")):
        query, keys = case.normal(2, 3, size), case.normal(2, 5, size)
        case.expect(answer(query, keys), reference.multiplicative_scores(query, keys), label=label)
    query, keys, weight = case.normal(1, 1, 3), case.normal(1, 4, 1), case.normal(3, 1)
    expected = reference.multiplicative_scores(query, keys, weight)
    case.expect(answer(query, keys, weight), expected, label="one query, keys of one number")
    query, keys, weight = (tensor.double() / 3 for tensor in (query, keys, weight))
    expected = reference.multiplicative_scores(query, keys, weight)
    case.expect(answer(query, keys, weight), expected, label="float64", **EXACT)
    case.expect(answer(query, query), reference.multiplicative_scores(query, query), **EXACT)


@unit.find("additive_scores").hidden_check
def one_hidden_unit(answer, case: Case) -> None:
    """a = 1; one query and one key; and projections so large that tanh is 1 or -1."""
    for a, queries, keys, large in ((1, 2, 4, 1.0), (3, 1, 1, 1.0), (4, 3, 3, 100.0)):
        query, key = case.normal(2, queries, 2), case.normal(2, keys, 3)
        weights = large * case.normal(a, 2), large * case.normal(a, 3), case.normal(a)
        expected = reference.additive_scores(query, key, *weights)
        case.expect(answer(query, key, *weights), expected, label=f"a = {a}, Tk = {keys}")
    given = [tensor.double() / 300 for tensor in (query, key, *weights)]
    case.expect(answer(*given), reference.additive_scores(*given), label="float64", **EXACT)


@unit.find("masked_softmax").hidden_check
def one_key_none_and_very_large(answer, case: Case) -> None:
    """A single allowed key; a batch that may attend nothing; scores of +-1e30, beside which -1e9 is nothing."""
    batch, queries, keys = 2, case.size(2, 4), case.size(5, 7)
    scores = case.normal(batch, queries, keys)
    alone = torch.zeros(batch, queries, keys, dtype=torch.bool)
    alone[:, :, 2] = True
    expected = reference.masked_softmax(scores, alone)
    case.expect(answer(scores, alone), expected, label="one key alone")
    none = torch.zeros(batch, 1, keys, dtype=torch.bool)
    case.expect(answer(scores, none), torch.zeros_like(scores), label="no key at all")
    mask = case.uniform(batch, queries, keys) < 0.5
    mask[:, :, 0], mask[:, :, 1] = True, False
    huge = torch.where(mask, torch.full_like(scores, -1e30), 1e30 * scores.abs())
    expected = reference.masked_softmax(huge, mask)
    case.expect(answer(huge, mask), expected, label="allowed scores of -1e30")
    given = scores.double() / 3
    expected = reference.masked_softmax(given, mask)
    case.expect(answer(given, mask), expected, label="float64", **EXACT)
    case.expect_gradient(answer, reference.masked_softmax, scores, none, wrt=0)


@unit.find("context").hidden_check
def one_key_and_no_weight(answer, case: Case) -> None:
    """One key; a query without any weight, which reads zeros; values of one number."""
    weights, values = case.uniform(2, 3, 1), case.normal(2, 1, 4)
    case.expect(answer(weights, values), reference.context(weights, values), label="one key")
    weights, values = case.uniform(1, 4, 4), case.normal(1, 4, 1)
    weights[:, 1] = 0.0
    case.expect(answer(weights, values), reference.context(weights, values), label="no weight")
    weights, values = weights.double() / 3, values.double() / 7
    expected = reference.context(weights, values)
    case.expect(answer(weights, values), expected, label="float64", **EXACT)


@unit.find("decoder_step").hidden_check
def one_place_and_equal_sizes(answer, case: Case) -> None:
    """One real place in a padded source; E = d = m = S = a = B, where no shape protects; large scores; B = S = 1."""
    for n, lengths in ((3, (1, 3, 2)), (4, (4, 1, 2, 3))):
        mask = torch.arange(n) < torch.tensor(lengths)[:, None]
        scorer = 1.5 * case.normal(n, n), case.normal(n, n), 2 * case.normal(n)
        cell = case.normal(3 * n, 2 * n), case.normal(3 * n, n), *case.normal(2, 3 * n)
        given = (case.normal(n, n), case.normal(n, n), case.normal(n, n, n), mask, scorer, cell)
        case.expect(answer(*given), reference.decoder_step(*given), label=f"all sizes {n}")
    loud = (scorer[0], scorer[1], 200 * scorer[2])  # one key takes all, padding or not
    given = (*given[:4], loud, cell)
    case.expect(answer(*given), reference.decoder_step(*given), label="large scores")
    given = (case.normal(1, n), case.normal(1, n), case.normal(1, 1, n), mask[:1, :1], scorer, cell)
    case.expect(answer(*given), reference.decoder_step(*given), label="one place of one sequence")


@unit.find("alignment_error_rate").hidden_check
def perfect_hopeless_and_large(answer, case: Case) -> None:
    """The gold links as weights, AER 0; weights that avoid them, AER 1; and a large batch with padded rows."""
    true = torch.randint(6, (2, 5), generator=case.random)
    sure = torch.nn.functional.one_hot(true, 6).bool()
    sure[1, 3:] = False
    possible = sure | (case.uniform(2, 5, 6) < 0.2) & sure.any(-1, keepdim=True)
    best = 0.3 * case.uniform(2, 5, 6) + sure
    case.expect(answer(best, sure, possible), torch.tensor(0.0), label="perfect")
    case.expect(answer(best, ~possible, ~possible), _rate(best, ~possible), label="turned round")
    weights = case.uniform(9, 12, 14)
    sure = case.uniform(9, 12, 14) < 0.06
    possible = sure | (case.uniform(9, 12, 14) < 0.06)
    expected = reference.alignment_error_rate(weights, sure, possible)
    case.expect(answer(weights, sure, possible), expected, label="a large batch")


def _rate(weights, links):
    return reference.alignment_error_rate(weights, links, links)


@unit.find("local_window").hidden_check
def wider_than_the_input(answer, case: Case) -> None:
    """Centers beyond the ends; a window wider than the input; D = 0; and one place alone."""
    center = torch.tensor([[-2.0, -0.5, 0.0, 3.0, 7.0, 9.5]])
    for length, half_width in ((5, 2), (4, 9), (6, 0), (1, 1)):
        expected = reference.local_window(center, length, half_width)
        got = answer(center, length, half_width)
        case.expect(got, expected, label=f"S = {length}, D = {half_width}")


@unit.find("local_p_weights").hidden_check
def windows_of_padding(answer, case: Case) -> None:
    """A window that holds nothing but padding gives zeros; a wide one; a center on a place; very low scores."""
    scores, mask = 2 * case.normal(2, 3, 9), torch.arange(9) < torch.tensor([[3], [9]])
    for half_width in (1, 2, 12):
        center = case.uniform(2, 3, low=6.5, high=8.0)
        center[1] = torch.tensor([0.0, 4.0, 8.0])
        given = (scores, center, half_width, mask[:, None])
        expected = reference.local_p_weights(*given)
        case.expect(answer(*given), expected, label=f"D = {half_width}")
    given = (torch.where(mask[:, None], scores - 1e6, scores), center, 4, mask[:, None])
    case.expect(answer(*given), reference.local_p_weights(*given), label="scores of -1e6")


@unit.find("beam_step").hidden_check
def all_finished_and_wide(answer, case: Case) -> None:
    """All hypotheses finished; a width of one, or more than there are hypotheses; in float64."""
    log_probs = case.normal(4, 9).log_softmax(1)
    totals = torch.tensor([-3.0, -1.0, -2.0, -0.5]) - 0.1 * case.uniform(4)
    for finished, width, label in (
        ((True, True, True, True), 4, "all finished"),
        ((False, True, False, False), 1, "width 1"),
        ((False, False, True, True), 7, "width 7"),
    ):
        given = (totals, torch.tensor(finished), log_probs, 4, width)
        case.expect(answer(*given), reference.beam_step(*given), label=label)
    given = (totals.double() / 3, torch.tensor(finished), log_probs.double() / 3, 4, 3)
    case.expect(answer(*given), reference.beam_step(*given), label="float64", **EXACT)
