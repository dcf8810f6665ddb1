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
        "A candidate's total is its hypothesis' total plus a log-probability: totals[:, None] + log_probs, [K, V].",
        "A finished row has one candidate, `end` at no cost: make its log-probabilities -inf, and 0 at `end`.",
        "topk of the flattened table: an index // V is the row it continues, and an index % V the token.",
    ],
)
def beam_step(answer, case: Case) -> None:
    """(totals, rows, tokens) of the `width` best continuations, best first; totals, finished [K], log_probs [K, V]."""
    symbols, width = case.size(5, 7), 3
    end = int(torch.randint(symbols, (), generator=case.random))
    first = case.normal(1, symbols).log_softmax(1)
    totals, finished = -case.uniform(1), torch.tensor([False])
    given = (totals, finished, first, end, width)
    case.expect(answer(*given), reference.beam_step(*given), label="the first step")
    ended = int(torch.randint(3, (), generator=case.random))
    for finishes, label in ((False, "none finished"), (True, "one finished")):
        apart = 0.4 if finishes else 2.0  # far apart, one row may have all the best
        totals = -0.5 * case.uniform(3) - apart * torch.arange(3)
        log_probs = (1.5 * case.normal(3, symbols)).log_softmax(1)
        finished = (torch.arange(3) == ended) & finishes
        if finishes:  # the likeliest so far has ended, and says `end` again
            log_probs[ended] = log_probs[ended].sort(descending=True).values.roll(end)
            totals[ended] = totals.max() + 0.3
        given = (totals, finished, log_probs, end, width)
        case.expect(answer(*given), reference.beam_step(*given), label=label)


def _table(totals, finished, log_probs, end):
    """The totals of all candidates [K, V]."""
    stays = torch.full_like(log_probs, -torch.inf)
    stays[:, end] = 0.0
    return totals[:, None] + torch.where(finished[:, None], stays, log_probs)


def _best(table, width, largest=True):
    values, index = table.flatten().topk(width, largest=largest)
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
    "The totals so far are left out: a good last token does not make a good sentence. Add totals[:, None]."
)
def last_token_alone(totals, finished, log_probs, end, width):
    _, rows, tokens = _best(_table(0 * totals, finished, log_probs, end), width)
    return _table(0 * totals, finished, log_probs, end)[rows, tokens], rows, tokens


@beam_step.mistake(
    "You added probabilities to the totals. Log-probabilities add, since probabilities multiply."
)
def probabilities(totals, finished, log_probs, end, width):
    return _best(_table(totals, finished, log_probs, end).exp() + 0 * width, width)


@beam_step.mistake("Totals and log-probabilities are multiplied. They are logarithms: add them.")
def multiplied(totals, finished, log_probs, end, width):
    table = _table(torch.zeros_like(totals), finished, log_probs, end)
    kept = torch.where(finished[:, None], totals[:, None] + table, totals[:, None] * log_probs)
    return _best(kept, width)


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
    "A finished hypothesis pays for `end` again. It has paid already: its total stays as it is."
)
def pays_twice(totals, finished, log_probs, end, width):
    table = _table(totals, finished, log_probs, end)
    table[:, end] = totals + log_probs[:, end]
    return _best(table, width)


@beam_step.mistake(
    "The worst come first, or are kept instead of the best: the largest totals are wanted."
)
def worst(totals, finished, log_probs, end, width):
    table = _table(totals, finished, log_probs, end)
    return _best(table.masked_fill(table == -torch.inf, torch.inf), width, largest=False)


@beam_step.mistake("The best come last: sort by falling total, as topk does.")
def best_last(totals, finished, log_probs, end, width):
    return tuple(part.flip(0) for part in _best(_table(totals, finished, log_probs, end), width))


@beam_step.mistake(
    "Rows and tokens are exchanged: index // V is the row, index % V the token. Return (totals, rows, tokens)."
)
def rows_for_tokens(totals, finished, log_probs, end, width):
    values, rows, tokens = _best(_table(totals, finished, log_probs, end), width)
    return values, tokens, rows


@beam_step.mistake(
    "The flat index was divided by K or by the width. A row of the table has V entries: divide by V."
)
def divided_by_rows(totals, finished, log_probs, end, width):
    table = _table(totals, finished, log_probs, end)
    values, index = table.flatten().topk(width)
    return values, index // len(table), index % len(table)


@beam_step.mistake(
    "You returned the index into the flattened table as token: the remainder % V is missing."
)
def flat_tokens(totals, finished, log_probs, end, width):
    table = _table(totals, finished, log_probs, end)
    values, index = table.flatten().topk(width)
    return values, index // table.shape[1], index
