"""Unit 09, exercise 9: the relations of bodies, learned from their motion alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised, describe
from course_lib.exercises.relational_inference import reference
from course_lib.exercises.relational_inference.relabelling import unit

FRAMES, SPACING, STIFFNESS = 13, 0.5, 0.4
BAR = 0.85

# 9 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=4,
    minutes=12,
    reference=reference.infer_relations,
    cases=2,
    uses=("node_to_edge", "edge_to_node", "decoder_step", "rollout", "nri_loss"),
    hints=[
        "Three tensors learn: logits [S, E, 2], message [2, 8, 4] and own [4, 4]. Each has to require its gradient.",
        "z = F.gumbel_softmax(logits, tau=0.5) in every iteration anew: it draws along the last axis, the types.",
        "Iteration: z, rollout(..., 3), nri_loss(...)[0].mean(), optimizer.zero_grad(), loss.backward(), step().",
    ],
)
def infer_relations(answer, case: Case) -> None:
    """Logits [S, E, 2] of the edges' types, "no spring" first, learned from states [S, N, T, 4] without any label."""
    simulations, bodies = (64, 3) if case.index == 0 else (48, 4)
    expect_relations(answer, case, simulations, bodies, 80)


def expect_relations(
    answer: Any, case: Case, simulations: int, bodies: int, iterations: int, chance: float = 0.5
) -> None:
    """Of the edges in fresh simulations 85 % must be found; `chance` is that of a spring between two bodies."""
    states, springs = simulated(case, simulations, bodies, chance)
    senders, receivers = edges = reference.complete_graph(bodies)
    true = springs[:, receivers, senders].long()  # [S, E]

    def share(logits: Tensor) -> float:
        return float((logits.argmax(-1) == true).double().mean())

    def judge(logits: Any) -> str | None:
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (*true.shape, 2):
            return f"{describe(logits)}; the shape should be {[*true.shape, 2]}"
        if not bool(logits.isfinite().all()):
            return "the logits contain NaN or infinity"
        if not share(logits) >= BAR:
            return f"{share(logits):.0%} of the edges are right; at least {BAR:.0%} wanted"
        return None

    given = {"share": share, "shape": (*true.shape, 2)}
    got = answer(states, edges, iterations)
    case.expect_that("edges that are right", judge, got, kind="score", given=given)


def simulated(case: Case, simulations: int, bodies: int, chance: float) -> tuple[Tensor, Tensor]:
    """States [S, N, T, 4] of bodies on springs of one strength, away from any wall, and the springs [S, N, N]."""
    springs = (case.uniform(simulations, bodies, bodies) < chance).double().triu(1)
    springs = springs + springs.mT
    position = 0.5 * case.normal(simulations, bodies, 2).double()
    velocity = case.normal(simulations, bodies, 2).double()
    velocity = 0.5 * velocity / velocity.norm(dim=-1, keepdim=True)
    frames = []
    for _ in range(FRAMES):
        frames.append(torch.cat([position, velocity], -1))
        position, velocity = reference.exact(position, velocity, springs, STIFFNESS, SPACING)
    return torch.stack(frames, 2).float(), springs


def _seen(observations) -> tuple[Tensor, float]:
    """The logits, and the share of edges that are right; only for logits of the right shape that are numbers."""
    logits, given = observations[0].got, observations[0].given
    if tuple(logits.shape) != given["shape"] or not bool(logits.isfinite().all()):
        raise ValueError("no logits")
    return logits, given["share"](logits)


def _surety(logits: Tensor) -> float:
    """How far the two logits of an edge lie apart, on average."""
    return float((logits[..., 0] - logits[..., 1]).abs().mean())


def _types_alone(observations) -> bool:
    got, shape = observations[0].got, observations[0].given["shape"]
    return not isinstance(got, Raised) and tuple(got.shape) == shape[:2]


@infer_relations.symptom(
    _types_alone,
    "You returned a type for each edge. The logits are wanted, two for each edge: [S, E, 2].",
)
def types_alone(states, edge_index, iterations):
    return reference.fit_relations(states, edge_index, 2).argmax(-1)


def _not_finite(observations) -> bool:
    return not bool(observations[0].got.isfinite().all())


@infer_relations.symptom(
    _not_finite,
    "The logits ran away to nan. Is the loss minimised, not its negative? Are message and own small at the start?",
)
def ran_away(states, edge_index, iterations):
    return torch.nan * reference.fit_relations(states, edge_index, 2)


def _exchanged(observations) -> bool:
    return _seen(observations)[1] < 0.15


@infer_relations.symptom(
    _exchanged,
    'The two types are exchanged: what you call "no spring" are the springs. Type 0 sends no message: skip the first.',
)
def exchanged(states, edge_index, iterations):
    return reference.fit_relations(states, edge_index, iterations).flip(-1)


def _unmoved(observations) -> bool:
    logits, _ = _seen(observations)
    return float(logits.std()) < 1e-4


@infer_relations.symptom(
    _unmoved,
    "The logits are where they began. Does the optimizer have them, is z made of them without .detach() or argmax, and "
    "do backward and step both run?",
)
def unmoved(states, edge_index, iterations):
    return torch.zeros(len(states), edge_index.shape[1], 2)


def _unsure(observations) -> bool:
    logits, share = _seen(observations)
    return _surety(logits) < 0.2 and share < BAR


@infer_relations.symptom(
    _unsure,
    "All logits stay near 0: the KL holds them there. Did you average the squared error, take the wrong variance, or "
    "draw z along the edges instead of the types?",
)
def unsure(states, edge_index, iterations):
    return 0.01 * reference.fit_relations(states, edge_index, 12)


def _too_little(observations) -> bool:
    return 0.15 <= _seen(observations)[1] < BAR


@infer_relations.symptom(
    _too_little,
    "It learned too little. A new z in each iteration? restart = 3 (an error that grows over many steps hides the "
    "rest), variance 0.1, a loss that is minimised, zero_grad, Adam at 0.1 for the logits and 0.02 for the weights?",
)
def too_little(states, edge_index, iterations):
    return reference.fit_relations(states, edge_index, 25)
