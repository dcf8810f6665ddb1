"""Unit 09, exercise 9: the relations of bodies, learned from their motion alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised, describe
from course_lib.exercises.relational_inference import reference
from course_lib.exercises.relational_inference.relabelling import unit

FRAMES, SPACING, STIFFNESS = 13, 0.35, 0.4
BAR = 0.85
STEP = (
    2 * 0.1
)  # how far the first step of Adam at a rate of 0.1 drives the two logits of an edge apart

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
    expect_relations(answer, case, simulations, bodies, 60)


def expect_relations(
    answer: Any,
    case: Case,
    simulations: int,
    bodies: int,
    iterations: int,
    chance: float = 0.5,
    bar: float = BAR,
) -> None:
    """Of the edges in fresh simulations the share `bar` must be found, with as much certainty as the loss allows.

    How sure is the mean distance of an edge's two logits, compared with the reference's on the same data: without the
    KL it is 1.2 to 1.35 times as large, with single steps half. `chance` is that of a spring between two bodies.
    """
    states, springs = simulated(case, simulations, bodies, chance)
    senders, receivers = edges = reference.complete_graph(bodies)
    true = springs[:, receivers, senders].long()  # [S, E]
    usual = _surety(reference.infer_relations(states, edges, iterations))
    sure = 0.75 * usual, 1.13 * usual

    def share(logits: Tensor) -> float:
        return float((logits.argmax(-1) == true).double().mean())

    def judge(logits: Any) -> str | None:
        if (text := _no_logits(logits, (*true.shape, 2))) is not None:
            return text
        if not share(logits) >= bar:
            return f"{share(logits):.0%} of the edges are right; at least {bar:.0%} wanted"
        if not sure[0] <= _surety(logits) <= sure[1]:
            return (
                f"the two logits of an edge are {_surety(logits):.2f} apart on average; with this loss they come to "
                f"lie {sure[0]:.2f} to {sure[1]:.2f} apart"
            )
        return None

    def judge_one(logits: Any) -> str | None:
        if (text := _no_logits(logits, (3, true.shape[1], 2))) is not None:
            return text
        if abs(_step(logits) - STEP) > 0.02:
            return (
                f"after one iteration the two logits of an edge are {_step(logits):.3f} apart; a first step of Adam at "
                f"the rate 0.1 makes it {STEP}"
            )
        return None

    given = {"share": share, "sure": sure, "shape": (*true.shape, 2)}
    got = answer(states, edges, iterations)
    case.expect_that("edges that are right", judge, got, kind="score", given=given)
    case.expect_that("one iteration", judge_one, answer(states[:3], edges, 1))


def _no_logits(logits: Any, shape: tuple[int, ...]) -> str | None:
    """What is wrong with the logits before one looks at what they say."""
    if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
        return f"{describe(logits)}; the shape should be {list(shape)}"
    return None if bool(logits.isfinite().all()) else "the logits contain NaN or infinity"


def _step(logits: Tensor) -> float:
    return float((logits[..., 0] - logits[..., 1]).abs().median())


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


def _probabilities(observations) -> bool:
    logits, _ = _seen(observations)
    return bool((logits >= 0).all()) and float((logits.sum(-1) - 1).abs().max()) < 1e-3


@infer_relations.symptom(
    _probabilities,
    "These are probabilities: each edge's two add up to 1. The logits are wanted, before any softmax.",
)
def probabilities(states, edge_index, iterations):
    return reference.fit_relations(states, edge_index, iterations).softmax(-1)


def _another_rate(observations) -> bool:
    return _seen(observations)[1] >= 0.15 and abs(_step(observations[1].got) - STEP) > 0.02


@infer_relations.symptom(
    _another_rate,
    "After a single iteration the logits are not where they should be. Do they begin at 0, is their rate in Adam 0.1, "
    "is message random (with zeros nothing pulls at first), z drawn over the types (not the edges), and are there as "
    "many steps as `iterations` says?",
)
def another_rate(states, edge_index, iterations):
    return 2 * reference.fit_relations(states, edge_index, iterations)


def _unsure(observations) -> bool:
    logits, share = _seen(observations)
    low = observations[0].given["sure"][0]
    return _surety(logits) < (low if share > 0.7 else 0.2)


@infer_relations.symptom(
    _unsure,
    "The logits stay too near 0: the KL outweighs what the edges explain. Is restart 3 (over single steps an edge is "
    "not worth its price, and z is ignored), the squared error a sum, the variance 0.1, the target one frame on, z "
    "drawn with noise?",
)
def single_steps(states, edge_index, iterations):
    return reference.fit_relations(states, edge_index, iterations, restart=1)


def _too_sure(observations) -> bool:
    logits, share = _seen(observations)
    return _surety(logits) > observations[0].given["sure"][1] and share > 0.7


@infer_relations.symptom(
    _too_sure,
    "Most edges are right, but you are surer of them than the loss allows. Is the KL in it, with a plus, the variance "
    "0.1, and z drawn anew in each iteration?",
)
def without_kl(states, edge_index, iterations):
    return reference.fit_relations(states, edge_index, iterations, weight=0.0)


def _piled_up(observations) -> bool:
    logits, share = _seen(observations)
    return _surety(logits) > 9 and share < 0.7


@infer_relations.symptom(
    _piled_up,
    "The gradients of all iterations pile up: optimizer.zero_grad() before each backward.",
)
def piled_up(states, edge_index, iterations):
    return reference.fit_relations(states, edge_index, iterations, clear=False)


def _too_little(observations) -> bool:
    return 0.15 <= _seen(observations)[1] < BAR


@infer_relations.symptom(
    _too_little,
    "It learned too little. Are logits, message and own all in the optimizer, at the rates 0.1 and 0.02? message small "
    "at the start and own 0, restart = 3 (over many steps the errors grow and hide the rest), a uniform prior, a loss "
    "that goes DOWN?",
)
def too_little(states, edge_index, iterations):
    return reference.fit_relations(states, edge_index, iterations, restart=12)
