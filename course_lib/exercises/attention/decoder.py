"""Unit 03, exercise 5: one step of a decoder that looks before it moves."""

from __future__ import annotations

from itertools import permutations

import torch

from course_lib.exercises.attention import reference
from course_lib.exercises.attention.scores import gradient_is_cut
from course_lib.exercises.attention.weights import padding_mask, unit
from course_lib.exercises.case import Case
from course_lib.exercises.compare import difference

# 5 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=12,
    reference=reference.decoder_step,
    uses=("additive_scores", "masked_softmax", "context"),
    hints=[
        "One query a sequence, s_{t-1} as [B, 1, d]; keys and values are the annotations.",
        "Scores are [B, 1, S], the mask is [B, S]: it needs the query's axis as well.",
        "squeeze(1) takes the axis away again; torch.cat([y, c], 1) goes into the GRU.",
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
        vectors = case.normal(batch, embedded), state, annotations
        expected = reference.decoder_step(*vectors, mask, scorer, cell)
        case.expect(answer(*vectors, mask, scorer, cell), expected, label=label)
        state = expected[0]
    alone = (*(vector[:1] for vector in vectors), mask[:1], scorer, cell)
    case.expect(answer(*alone), reference.decoder_step(*alone), label="one sequence")
    for argument in range(3):
        extra = (mask, scorer, cell)
        case.expect_gradient(answer, reference.decoder_step, *vectors, wrt=argument, extra=extra)


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
    "The context and the previous symbol stand in the wrong order: the GRU reads [y; c], the symbol first."
)
def context_first(previous, state, annotations, mask, score_weights, gru_weights):
    found, weights = _look(state, annotations, mask, score_weights)
    return reference.gru(torch.cat([found, previous], 1), state, gru_weights), found, weights


@decoder_step.mistake(
    "Padding is attended like the rest: the mask is not used, or its new axis stands at the place of the keys; "
    "[B, 1, S] is wanted."
)
def without_mask(previous, state, annotations, mask, score_weights, gru_weights):
    found, weights = _look(state, annotations, torch.ones_like(mask), score_weights)
    return _move(previous, found, state, gru_weights), found, weights


def _mixed(observations) -> bool:
    """Right for one sequence, wrong for several."""
    *several, alone = (o.failure() is None for o in observations[:3])
    return alone and not any(several)


@decoder_step.symptom(
    _mixed,
    "Right for one sequence, wrong for several: the mask [B, S] is spread over the batch, so that sequences meet each "
    "other's. Give it the query's axis.",
)
def mask_of_the_first(previous, state, annotations, mask, score_weights, gru_weights):
    scores = reference.additive_scores(state[:, None], annotations, *score_weights)  # [B, 1, S]
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)  # [B, B, S]
    found = reference.context(weights, annotations)[:, 0]
    return _move(previous, found, state, gru_weights), found, weights[:, 0]


@decoder_step.mistake(
    "The context was read with the scores. They are no weights yet: masked_softmax comes between the two."
)
def raw_scores(previous, state, annotations, mask, score_weights, gru_weights):
    scores = reference.additive_scores(state[:, None], annotations, *score_weights)
    found = reference.context(scores, annotations)[:, 0]
    return _move(previous, found, state, gru_weights), found, scores[:, 0]


@decoder_step.mistake(
    "The state you return is the old one, s_{t-1}. The GRU's result is the state after the step."
)
def old_state(previous, state, annotations, mask, score_weights, gru_weights):
    return state, *_look(state, annotations, mask, score_weights)


@decoder_step.mistake(
    "The query's axis of length one is still in the context and the weights: [B, 1, m] and [B, 1, S]. Take it away."
)
def axis_left(previous, state, annotations, mask, score_weights, gru_weights):
    state, found, weights = reference.decoder_step(
        previous, state, annotations, mask, score_weights, gru_weights
    )
    return state, found[:, None], weights[:, None]


def _in_another_order(observations) -> bool:
    return all(
        o.failure() is not None
        and any(difference(list(parts), list(o.expected)) is None for parts in permutations(o.got))
        for o in observations[:2]
    )


@decoder_step.symptom(
    _in_another_order,
    "These are the right three, in another order: return (s_t, c_t, alpha_t), the state first and the weights last.",
)
def exchanged(previous, state, annotations, mask, score_weights, gru_weights):
    state, found, weights = reference.decoder_step(
        previous, state, annotations, mask, score_weights, gru_weights
    )
    return found, state, weights


def _alone_wrong(observations) -> bool:
    several = [o.failure() is None for o in observations[:2]]
    return all(several) and observations[2].failure() is not None


@decoder_step.symptom(
    _alone_wrong,
    "Right for several sequences, wrong for one: squeeze() takes a batch of length one away as well. Name the axis, "
    "squeeze(1).",
)
def squeezed(previous, state, annotations, mask, score_weights, gru_weights):
    scores = reference.additive_scores(state[:, None], annotations, *score_weights)
    weights = reference.masked_softmax(scores, mask[:, None])
    found = reference.context(weights, annotations).squeeze()
    return _move(previous, found, state, gru_weights), found, weights.squeeze()


@decoder_step.symptom(
    gradient_is_cut,
    "The three are right, but a gradient is cut: it has to come back to state and annotations, or nobody learns where "
    "to look. Was there no_grad or .detach()?",
)
def looked_without_gradient(previous, state, annotations, mask, score_weights, gru_weights):
    found, weights = _look(state, annotations, mask, score_weights)
    found, weights = found.detach(), weights.detach()
    return _move(previous, found, state, gru_weights), found, weights
