"""Unit 03, exercise 5: one step of a decoder that looks before it moves."""

from __future__ import annotations

import torch

from course_lib.exercises.attention import reference
from course_lib.exercises.attention.weights import padding_mask, unit
from course_lib.exercises.case import Case

# 5 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=12,
    reference=reference.decoder_step,
    uses=("additive_scores", "masked_softmax", "context"),
    hints=[
        "One query a sequence: the state s_{t-1} as [B, 1, d]. Keys and values are both the annotations.",
        "The mask is [B, S], the scores are [B, 1, S]: give the mask its axis for the query as well.",
        "Take the axis of length one away, put previous and context side by side, [y; c], then torch.gru_cell.",
    ],
)
def decoder_step(answer, case: Case) -> None:
    """(s_t [B, d], c_t [B, m], alpha_t [B, S]) from y_{t-1} [B, E], s_{t-1}, annotations [B, S, m], mask, weights."""
    batch, places = case.size(2, 4), case.size(3, 6)
    embedded = case.size(2, 3)
    size = embedded + case.size(1, 2)
    key_size = size + case.size(1, 2)
    annotations, mask = case.normal(batch, places, key_size), padding_mask(case, batch, places)
    inner = case.size(2, 4)
    scorer = 1.5 * case.normal(inner, size), case.normal(inner, key_size), 2 * case.normal(inner)
    inputs, rows = embedded + key_size, 3 * size
    cell = 0.5 * case.normal(rows, inputs), case.normal(rows, size), *(0.5 * case.normal(2, rows))
    state = torch.tanh(case.normal(batch, size))
    for label in ("(s_1, c_1, alpha_1)", "(s_2, c_2, alpha_2)"):
        given = (case.normal(batch, embedded), state, annotations, mask, scorer, cell)
        expected = reference.decoder_step(*given)
        case.expect(answer(*given), expected, label=label)
        state = expected[0]


def _look(state, annotations, mask, score_weights):
    """The context [B, m] and the weights [B, S] of a look with this state."""
    scores = reference.additive_scores(state[:, None], annotations, *score_weights)
    weights = reference.masked_softmax(scores, mask[:, None])
    return reference.context(weights, annotations)[:, 0], weights[:, 0]


def _move(previous, found, state, gru_weights):
    return reference.gru(torch.cat([previous, found], 1), state, gru_weights)


@decoder_step.mistake(
    "Scored with the state after the step: the weights and the context you return belong to s_t. This decoder looks "
    "with s_{t-1}, and what it finds takes it to s_t."
)
def scored_after(previous, state, annotations, mask, score_weights, gru_weights):
    found, _ = _look(state, annotations, mask, score_weights)
    state = _move(previous, found, state, gru_weights)
    return state, *_look(state, annotations, mask, score_weights)


@decoder_step.mistake(
    "You moved first, with zeros in place of a context, and looked with the new state. Look with s_{t-1}, then move."
)
def moved_first(previous, state, annotations, mask, score_weights, gru_weights):
    nothing = torch.zeros_like(annotations[:, 0])
    state = _move(previous, nothing, state, gru_weights)
    return state, *_look(state, annotations, mask, score_weights)


@decoder_step.mistake(
    "The context and the previous symbol stand in the wrong order: the GRU reads [y; c], the symbol first."
)
def context_first(previous, state, annotations, mask, score_weights, gru_weights):
    found, weights = _look(state, annotations, mask, score_weights)
    return reference.gru(torch.cat([found, previous], 1), state, gru_weights), found, weights


@decoder_step.mistake(
    "The mask is not used: padding behind the end of a short input is attended like the rest."
)
def without_mask(previous, state, annotations, mask, score_weights, gru_weights):
    found, weights = _look(state, annotations, torch.ones_like(mask), score_weights)
    return _move(previous, found, state, gru_weights), found, weights


@decoder_step.mistake(
    "The mask is the wrong way round: True stands for a real token, which may be attended."
)
def inverted_mask(previous, state, annotations, mask, score_weights, gru_weights):
    found, weights = _look(state, annotations, ~mask, score_weights)
    return _move(previous, found, state, gru_weights), found, weights


@decoder_step.mistake(
    "The state you return is the old one, s_{t-1}. The GRU's result is the state after the step."
)
def old_state(previous, state, annotations, mask, score_weights, gru_weights):
    return state, *_look(state, annotations, mask, score_weights)


@decoder_step.mistake(
    "The GRU starts from zeros at every step. Its hidden state is s_{t-1}, the decoder's memory."
)
def forgetful(previous, state, annotations, mask, score_weights, gru_weights):
    found, weights = _look(state, annotations, mask, score_weights)
    return _move(previous, found, torch.zeros_like(state), gru_weights), found, weights


@decoder_step.mistake(
    "The state was made without what was found: the second half of the GRU's input is zero where the context belongs."
)
def context_unused(previous, state, annotations, mask, score_weights, gru_weights):
    found, weights = _look(state, annotations, mask, score_weights)
    return _move(previous, torch.zeros_like(found), state, gru_weights), found, weights


@decoder_step.mistake("The weights are not weights: you returned the scores, before the softmax.")
def scores_returned(previous, state, annotations, mask, score_weights, gru_weights):
    state_after, found, _ = reference.decoder_step(
        previous, state, annotations, mask, score_weights, gru_weights
    )
    scores = reference.additive_scores(state[:, None], annotations, *score_weights)
    return state_after, found, scores[:, 0]


@decoder_step.mistake(
    "The query's axis of length one is still in the context and the weights: [B, 1, m] and [B, 1, S]. Take it away."
)
def axis_left(previous, state, annotations, mask, score_weights, gru_weights):
    state, found, weights = reference.decoder_step(
        previous, state, annotations, mask, score_weights, gru_weights
    )
    return state, found[:, None], weights[:, None]


@decoder_step.mistake("You returned (s_t, alpha_t, c_t); the context comes before the weights.")
def exchanged(previous, state, annotations, mask, score_weights, gru_weights):
    state, found, weights = reference.decoder_step(
        previous, state, annotations, mask, score_weights, gru_weights
    )
    return state, weights, found
