"""Unit 03, exercise 6: how far an alignment is from the true one."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.attention import reference
from course_lib.exercises.attention.decoder import unit
from course_lib.exercises.case import Case

# 6 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.alignment_error_rate,
    hints=[
        "Make the links a bool tensor like `sure`, with one True a row: at the place of the largest weight.",
        "An output that nobody aligned gets no link. `&` and .sum() count what two bool tensors share.",
        "F.one_hot(weights.argmax(-1), S) has those ones; possible.any(-1, keepdim=True) tells which rows count.",
    ],
)
def alignment_error_rate(answer, case: Case) -> None:
    """1 - (|A and sure| + |A and possible|) / (|A| + |sure|), A the strongest link of each aligned output."""
    batch, outputs = case.size(2, 3), case.size(5, 7)
    inputs = outputs + case.size(1, 3)
    for share, label in ((0.75, "a good alignment"), (0.3, "a bad alignment")):
        sure, possible = _gold(case, batch, outputs, inputs)
        weights = case.uniform(batch, outputs, inputs)
        helped = case.uniform(batch, outputs, 1) < share
        weights = weights + 1.5 * (helped & possible) * case.uniform(batch, outputs, inputs)
        weights = weights / weights.sum(-1, keepdim=True)
        expected = reference.alignment_error_rate(weights, sure, possible)
        case.expect(answer(weights, sure, possible), expected, label=label)


def _gold(case: Case, batch: int, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
    """Sure and possible links, bool [B, T, S]; some outputs have several, some possible ones only, some none."""
    true = torch.randint(inputs, (batch, outputs), generator=case.random)
    possible = torch.nn.functional.one_hot(true, inputs).bool()
    sure = possible & (case.uniform(batch, outputs, 1) < 0.7)
    sure[:, 0], sure[:, 1] = possible[:, 0], False
    possible = possible | (case.uniform(batch, outputs, inputs) < 0.15)
    unaligned = outputs - 1 - torch.arange(batch) % 2  # sequences differ in their number of outputs
    for b, first in enumerate(unaligned.tolist()):
        amid = case.size(2, outputs - 3)  # as a hyphen stands between digits
        for hole in (slice(first, None), min(amid, outputs - 3)):
            sure[b, hole], possible[b, hole] = False, False
    return sure, possible


def _links(weights, possible):
    """The strongest link of each aligned output, bool [B, T, S]."""
    strongest = torch.zeros_like(possible)
    strongest.scatter_(-1, weights.argmax(-1, keepdim=True), True)
    return strongest & possible.any(-1, keepdim=True)


def _rate(links, sure, possible):
    agreed = (links & sure).sum() + (links & possible).sum()
    return 1 - agreed / (links.sum() + sure.sum())


@alignment_error_rate.mistake("This is the agreement, not the error: 1 minus it is missing.")
def agreement(weights, sure, possible):
    return 1 - _rate(_links(weights, possible), sure, possible)


@alignment_error_rate.mistake(
    "Outputs that nobody aligned got a link too. Count the rows that have a possible link, possible.any(-1), alone."
)
def all_rows(weights, sure, possible):
    return _rate(_links(weights, torch.ones_like(possible)), sure, possible)


@alignment_error_rate.mistake(
    "The strongest output of each input was taken. Each output, a row, gets one link: the largest along the last axis."
)
def by_columns(weights, sure, possible):
    strongest = torch.zeros_like(possible)
    strongest.scatter_(1, weights.argmax(1, keepdim=True), True)
    return _rate(strongest & possible.any(-1, keepdim=True), sure, possible)


@alignment_error_rate.mistake(
    "A right link counts once in your numerator. A sure one is possible as well and counts in both terms; only so can "
    "the rate fall to 0."
)
def counted_once(weights, sure, possible):
    links = _links(weights, possible)
    return 1 - (links & (sure | possible)).sum() / (links.sum() + sure.sum())


@alignment_error_rate.mistake(
    "Only the sure links count as right. A link that is merely possible is no error: |A and possible| is counted too."
)
def sure_alone(weights, sure, possible):
    return _rate(_links(weights, possible), sure, sure)


@alignment_error_rate.mistake(
    "The denominator has |possible| where |sure| belongs: nobody demands the possible links."
)
def possible_below(weights, sure, possible):
    links = _links(weights, possible)
    agreed = (links & sure).sum() + (links & possible).sum()
    return 1 - agreed / (links.sum() + possible.sum())


@alignment_error_rate.mistake(
    "The rates of the sequences are averaged. Count over the whole batch, and divide once."
)
def averaged(weights, sure, possible):
    links = _links(weights, possible)
    return torch.stack([_rate(*one) for one in zip(links, sure, possible)]).mean()


@alignment_error_rate.mistake(
    "You counted weights, not links: the weights on gold links were summed. Take the strongest input of each row."
)
def soft_links(weights, sure, possible):
    rows = weights * possible.any(-1, keepdim=True)
    agreed = (rows * sure).sum() + (rows * possible).sum()
    return 1 - agreed / (rows.sum() + sure.sum())
