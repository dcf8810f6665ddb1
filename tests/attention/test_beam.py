"""Beam search: one step by hand, the exhaustive search, greedy as a beam of one."""

from __future__ import annotations

import itertools

import pytest
import torch

from course_lib.attention.beam import beam_step
from course_lib.attention.tasks import END, PAD, START
from tests.attention.test_seq2seq import MODELS, TARGETS, batch_of, model_of


@pytest.mark.parametrize("name", MODELS)
def test_a_beam_of_one_is_greedy_and_log_probs_are_those_of_teacher_forcing(name):
    source, mask, _ = batch_of()
    model = model_of(name)
    greedy, _ = model.greedy(source, mask, 5)
    one = model.beam_search(source, mask, 1, 5)
    assert torch.equal(one.tokens[:, 0], greedy)
    beams = model.beam_search(source, mask, 3, 5)
    assert (beams.log_probs.diff(dim=1) <= 0).all()
    assert len({tuple(row) for row in beams.tokens[0].tolist()}) == 3
    for k in range(3):
        expected = log_prob_of(model, source, mask, beams.tokens[:, k])
        torch.testing.assert_close(beams.log_probs[:, k], expected)


def log_prob_of(model, source, mask, tokens) -> torch.Tensor:
    """log p of whole rows [B, T] under teacher forcing; what follows END or PAD is free."""
    start = torch.full((len(tokens), 1), START)
    with torch.no_grad():
        logits, _ = model(source, mask, torch.cat([start, tokens[:, :-1]], 1))
    each = logits.log_softmax(-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    ended = ((tokens == END) | (tokens == PAD)).long()
    return each.masked_fill(ended.cumsum(1) - ended > 0, 0.0).sum(1)


def test_a_beam_as_wide_as_all_prefixes_finds_the_best_of_all():
    model = model_of("before", seed=3)
    source, mask = batch_of()[0][:1], batch_of()[1][:1]
    rows = set()
    for row in itertools.product(range(TARGETS), repeat=3):
        ends = [t for t, token in enumerate(row) if token in (END, PAD)]
        rows.add(row if not ends else row[: ends[0] + 1] + (PAD,) * (2 - ends[0]))
    rows = torch.tensor(sorted(rows))
    log_probs = log_prob_of(model, source.expand(len(rows), -1), mask.expand(len(rows), -1), rows)
    torch.testing.assert_close(log_probs.exp().sum().item(), 1.0)
    best, place = log_probs.topk(4)
    beams = model.beam_search(source, mask, 60, 3)
    torch.testing.assert_close(beams.log_probs[0, :4], best)
    assert torch.equal(beams.tokens[0, :4], rows[place])


def test_a_wider_beam_finds_what_greedy_misses():
    # the first token's likelier choice, 3, leads nowhere likely: .6 * .5 < .4 * 1
    first = torch.tensor([[[0.0, 0, 0, 0.6, 0.4]] * 2]).log()
    log_probs, parent, token = beam_step(torch.tensor([[0.0, -torch.inf]]), first)
    assert token.tolist() == [[3, 4]] and parent.tolist() == [[0, 0]]
    second = torch.tensor([[[0.0, 0, 0, 0.5, 0.5], [0, 0, 1, 0, 0]]]).log()
    log_probs, parent, token = beam_step(log_probs, second)
    assert (parent[0, 0], token[0, 0]) == (1, END)
    torch.testing.assert_close(log_probs.exp(), torch.tensor([[0.4, 0.3]]))
    finished = torch.tensor([[True, False]])
    third = torch.full((1, 2, 5), 0.2).log()
    log_probs, parent, token = beam_step(log_probs, third, finished)
    assert (parent[0, 0], token[0, 0]) == (0, PAD)
    torch.testing.assert_close(log_probs.exp(), torch.tensor([[0.4, 0.06]]))
