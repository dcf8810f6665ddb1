"""Unit 09, exercise 6: many steps of the decoder, begun anew from the truth now and then."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.relational_inference import reference
from course_lib.exercises.relational_inference.decoding import (
    gradient_is_cut,
    soft_types,
    unit,
    weights,
)

# 6 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=7,
    reference=reference.rollout,
    uses=("node_to_edge", "edge_to_node", "decoder_step"),
    hints=[
        "A loop over t = 0, ..., T - 2: from what stands at t you predict t + 1.",
        "Where t % restart == 0 the state is the true one, states[:, :, t]; else it is the last prediction.",
        "Collect the predictions in a list, and torch.stack(list, 2) makes [B, N, T - 1, D] of it.",
    ],
)
def rollout(answer, case: Case) -> None:
    """Predictions of frames 1 ... T-1 of states [B, N, T, D], from the truth every `restart` frames: [B, N, T-1, D]."""
    batch, bodies, types, features = case.size(2, 3), case.size(3, 4), 2, case.size(3, 4)
    restart = case.size(3, 4)
    frames = 2 * restart + 2 + case.size(0, 1)
    edges, weighed = reference.complete_graph(bodies), weights(case, types, features, bodies)
    states = case.normal(batch, bodies, frames, features)
    z = soft_types(case, batch, edges.shape[1], types)
    given = states[:, :, : frames - 1], z, edges, *weighed, restart
    expected = reference.rollout(*given)
    case.expect(answer(*given), expected, f"restart = {restart}", rtol=1e-3, atol=1e-3)
    states, z, (message, own) = states.double(), z.double(), (w.double() for w in weighed)
    for every, label in ((restart, "float64"), (1, "restart = 1"), (frames, "never anew")):
        given = states, z, edges, message, own, every
        case.expect(answer(*given), reference.rollout(*given), label=label)
    given = states[:1, :, :5], z[:1], edges, message, own, 2
    case.expect(answer(*given), reference.rollout(*given), label="one simulation")
    given = states, z, edges, message, own
    for argument in (0, 1, 3, 4):
        case.expect_gradient(answer, reference.rollout, *given, wrt=argument, extra=(restart,))


def _run(states, z, edges, message, own, fresh, between=lambda x: x):
    """Predictions one after the other; fresh(t): whether the step from t begins with the truth."""
    x, made = states[:, :, 0], []
    for t in range(states.shape[2] - 1):
        x = states[:, :, t] if fresh(t) else between(x)
        x = reference.decoder_step(x, z, edges, message, own, True)
        made.append(x)
    return torch.stack(made, 2)


@rollout.mistake(
    "Every step begins with the truth, whatever `restart` is. Over a single step the graph hardly matters, and a model "
    "trained so may ignore z: go on from your own prediction."
)
def single_steps(states, z, edge_index, message, own, restart):
    return _run(states, z, edge_index, message, own, lambda t: True)


@rollout.mistake(
    "Yours never begins anew: the truth is taken up again wherever t is a multiple of `restart`."
)
def never_anew(states, z, edge_index, message, own, restart):
    return _run(states, z, edge_index, message, own, lambda t: t == 0)


@rollout.mistake(
    "You begin anew one frame too late: the truth stands at t = 0, restart, 2 restart, ..., and is where the step "
    "to t + 1 begins."
)
def one_late(states, z, edge_index, message, own, restart):
    return _run(states, z, edge_index, message, own, lambda t: t == 0 or t % restart == 1 % restart)


@rollout.mistake(
    "You begin anew one frame too early: the truth is taken up at t = 0, restart, 2 restart, ..., not before."
)
def one_early(states, z, edge_index, message, own, restart):
    return _run(states, z, edge_index, message, own, lambda t: t == 0 or (t + 1) % restart == 0)


@rollout.mistake(
    "The first frame is given, not predicted: T - 1 predictions are wanted, of frames 1 to T - 1."
)
def first_frame_included(states, z, edge_index, message, own, restart):
    predicted = reference.rollout(states, z, edge_index, message, own, restart)
    return torch.cat([states[:, :, :1], predicted], 2)


def _stacked_elsewhere(observations) -> bool:
    """Everywhere the right sizes of axes, and somewhere in another order."""
    values = [o for o in observations if o.kind == "value"]
    return all(
        not isinstance(o.got, Raised) and sorted(o.got.shape) == sorted(o.expected.shape)
        for o in values
    ) and any(o.got.shape != o.expected.shape for o in values)


@rollout.symptom(
    _stacked_elsewhere,
    "The frames stand on another axis. They are axis 2, between bodies and features: torch.stack(list, 2).",
)
def stacked_in_front(states, z, edge_index, message, own, restart):
    return reference.rollout(states, z, edge_index, message, own, restart).permute(2, 0, 1, 3)


@rollout.mistake('Type 0 sends messages in yours: for springs it is "no edge", skip_first=True.')
def first_type_sends(states, z, edge_index, message, own, restart):
    x, made = states[:, :, 0], []
    for t in range(states.shape[2] - 1):
        x = states[:, :, t] if t % restart == 0 else x
        x = reference.decoder_step(x, z, edge_index, message, own, False)
        made.append(x)
    return torch.stack(made, 2)


@rollout.symptom(
    gradient_is_cut(),
    "The values are right, but a gradient is cut, perhaps between two steps: what z does to a later frame is what "
    "teaches the encoder. No .detach(), no .data on the way.",
)
def cut_between_steps(states, z, edge_index, message, own, restart):
    return _run(
        states, z, edge_index, message, own, lambda t: t % restart == 0, lambda x: x.detach()
    )
