"""Unit 03, exercise 9: one step of a beam search."""

from __future__ import annotations

import torch

from course_lib.exercises.attention import reference
from course_lib.exercises.attention.local import unit
from course_lib.exercises.case import Case

# 9 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=10,
    reference=reference.beam_step,
    hints=[
        "A table [K, V] of all candidates: the total of the row's hypothesis plus the log-probability of the column.",
        "A finished row has one candidate, `end` at no cost: make its log-probabilities -inf, and 0 at `end`.",
        "topk of the flattened table gives an index: index // V is the row it continues, index % V the token.",
    ],
)
def beam_step(answer, case: Case) -> None:
    """(totals, rows, tokens) of the `width` best continuations, best first; totals, finished [K], log_probs [K, V]."""
    symbols, width = case.size(5, 7), case.size(2, 4)
    end = int(torch.randint(symbols, (), generator=case.random))
    first = case.normal(1, symbols).log_softmax(1)
    totals, finished = -case.uniform(1), torch.tensor([False])
    given = (totals, finished, first, end, min(width, symbols))
    case.expect(answer(*given), reference.beam_step(*given), label="the first step")
    hypotheses = 3 + case.size(1, 2)
    ended = case.permutation(hypotheses)[:2]
    for finishes, late, label in (
        (False, 0.0, "none finished"),
        (True, 0.0, "two finished"),
        (True, 200.0, "two finished, the others with totals near -200"),
    ):
        apart = 0.4 if finishes else 2.0  # far apart, one row may have all the best
        totals = -0.5 * case.uniform(hypotheses) - apart * torch.arange(hypotheses) - late
        log_probs = (1.5 * case.normal(hypotheses, symbols)).log_softmax(1)
        finished = torch.zeros(hypotheses, dtype=torch.bool)
        if finishes:  # the likeliest so far have ended; the net would go on with another character
            finished[ended] = True
            log_probs[ended] = log_probs[ended].sort(descending=True).values.roll(end + 1, 1)
            log_probs[ended] -= log_probs[ended].max(1, keepdim=True).values + 0.05
            totals[ended] = 0.3 - 0.6 * case.uniform(2)
        given = (totals, finished, log_probs, end, width + finishes)
        case.expect(answer(*given), reference.beam_step(*given), label=label)


def _table(totals, finished, log_probs, end):
    """The totals of all candidates [K, V]."""
    stays = torch.full_like(log_probs, -torch.inf)
    stays[:, end] = 0.0
    return totals[:, None] + torch.where(finished[:, None], stays, log_probs)


def _best(table, width):
    values, index = table.flatten().topk(width)
    symbols = table.shape[1]
    return values, index // symbols, index % symbols


@beam_step.mistake(
    "Each hypothesis kept its own best continuation. All compete in one table: a row may win twice, or never."
)
def each_its_own(totals, finished, log_probs, end, width):
    table = _table(totals, finished, log_probs, end)
    values, tokens = table.max(1)
    values, rows = values.topk(min(width, len(values)))
    return values, rows, tokens[rows]


@beam_step.mistake(
    "The totals so far are left out: a good last token does not make a good sentence. Add each row's total."
)
def last_token_alone(totals, finished, log_probs, end, width):
    _, rows, tokens = _best(_table(0 * totals, finished, log_probs, end), width)
    return _table(0 * totals, finished, log_probs, end)[rows, tokens], rows, tokens


@beam_step.mistake(
    "You added probabilities to the totals. Log-probabilities add, since probabilities multiply."
)
def probabilities(totals, finished, log_probs, end, width):
    table = _table(totals, finished, log_probs, end)
    return _best(torch.where(finished[:, None], table, totals[:, None] + log_probs.exp()), width)


@beam_step.mistake(
    "These totals are probabilities: exp was taken at the end. The next step adds to them, so they stay logarithms."
)
def exponentiated(totals, finished, log_probs, end, width):
    return _best(_table(totals, finished, log_probs, end).exp(), width)


@beam_step.mistake(
    "Finished hypotheses go on: one that has ended may only be followed by `end`, and its total stays."
)
def goes_on(totals, finished, log_probs, end, width):
    return _best(totals[:, None] + log_probs, width)


@beam_step.mistake(
    "Finished hypotheses are lost: each stays in the running with the total it has, by the token `end`."
)
def lost(totals, finished, log_probs, end, width):
    table = _table(totals, finished, log_probs, end)
    return _best(table.masked_fill(finished[:, None], -torch.inf), width)


@beam_step.mistake(
    "Every character is free after a finished hypothesis. `end` alone costs nothing; the others may not follow: -inf."
)
def all_free(totals, finished, log_probs, end, width):
    return _best(totals[:, None] + log_probs.masked_fill(finished[:, None], 0.0), width)


@beam_step.mistake(
    "`end` is free after a finished hypothesis, but other characters may still follow it. Give these -inf."
)
def others_open(totals, finished, log_probs, end, width):
    log_probs = log_probs.clone()
    log_probs[finished, end] = 0.0
    return _best(totals[:, None] + log_probs, width)


def _long_ones_lose(observations) -> bool:
    return [o.failure() is None for o in observations] == [True, True, True, False]


@beam_step.symptom(
    _long_ones_lose,
    "Right but for long hypotheses, whose totals lie near -200: a finite number stands for -inf, and what may not "
    "follow a finished hypothesis beats them.",
)
def finite(totals, finished, log_probs, end, width):
    table = _table(torch.zeros_like(totals), finished, log_probs, end)
    return _best(totals[:, None] + table.clamp(min=-20.0), width)


@beam_step.mistake(
    "Rows and tokens are exchanged. A row of the table has V entries: dividing by V tells the row, the remainder the "
    "token."
)
def rows_for_tokens(totals, finished, log_probs, end, width):
    values, rows, tokens = _best(_table(totals, finished, log_probs, end), width)
    return values, tokens, rows
