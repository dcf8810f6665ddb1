"""Unit 09, exercise 5: one step of the decoder."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.relational_inference import reference
from course_lib.exercises.relational_inference.pairs import gradient_is_cut, some_edges, unit


def weights(case: Case, types: int, features: int, nodes: int) -> tuple[Tensor, Tensor]:
    """message [K, 2D, D] and own [D, D], not symmetric; many steps with them do not explode."""
    message = case.normal(types, 2 * features, features) / (nodes * features**0.5)
    own = 0.3 * case.normal(features, features) / features**0.5
    return message, own - 0.3 * torch.eye(features)


def soft_types(case: Case, *shape: int) -> Tensor:
    """Probabilities along the last axis, none of them near 0 or 1."""
    return case.normal(*shape).softmax(-1)


# 5 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=9,
    reference=reference.decoder_step,
    uses=("node_to_edge", "edge_to_node"),
    hints=[
        "Begin with the pairs, [B, E, 2D]. One type's messages are pairs @ message[k], for all edges at once.",
        "Sum over the types: z[:, :, k] weighs the messages of type k, as [B, E, 1]: z[:, :, k : k + 1] is that.",
        "for k in range(int(skip_first), K): add z[:, :, k:k+1] * (pairs @ message[k]). Then from edges to nodes.",
    ],
)
def decoder_step(answer, case: Case) -> None:
    """x + x own + what reaches each body, the types weighed by z: x [B, N, D], z [B, E, K] -> [B, N, D]."""
    batch, nodes, types = case.size(2, 3), case.size(4, 5), case.size(3, 4)
    features = types + case.size(1, 2)
    edges, (message, own) = some_edges(case, nodes), weights(case, types, features, nodes)
    x, z = case.normal(batch, nodes, features), soft_types(case, batch, edges.shape[1], types)
    for skip, label in ((False, "all types"), (True, "the first type skipped")):
        given = x, z, edges, message, own, skip
        case.expect(answer(*given), reference.decoder_step(*given), label=label)
    hard = F.one_hot(z[:1].argmax(-1), types).to(z.dtype)
    given = x[:1], hard, edges, message, own, False
    case.expect(answer(*given), reference.decoder_step(*given), label="one simulation, one-hot z")
    given = x.double(), z.double(), edges, message.double(), own.double()
    for argument in (0, 1, 3, 4):
        case.expect_gradient(answer, reference.decoder_step, *given, wrt=argument, extra=(True,))


def _step(x, z, edge_index, message, own, first=0, pairs=None, stay=True):
    """One step by a loop over types from `first` on; pairs [B, E, 2D] in place of the right ones."""
    pairs = reference.node_to_edge(x, edge_index) if pairs is None else pairs
    sent = sum(z[..., k : k + 1] * (pairs @ message[k]) for k in range(first, len(message)))
    moved = x @ own + reference.edge_to_node(sent, edge_index, x.shape[1])
    return x + moved if stay else moved


@decoder_step.mistake(
    "Sender and receiver are exchanged in the pairs: the message's map sees [receiver, sender]."
)
def pairs_exchanged(x, z, edge_index, message, own, skip_first):
    pairs = reference.node_to_edge(x, edge_index.flip(0))
    return _step(x, z, edge_index, message, own, skip_first, pairs)


@decoder_step.mistake(
    "Sender and receiver are exchanged everywhere: row 0 of edge_index holds the senders, row 1 the receivers."
)
def rows_exchanged(x, z, edge_index, message, own, skip_first):
    return _step(x, z, edge_index.flip(0), message, own, skip_first)


@decoder_step.mistake(
    "Each pair is [x_i, x_i], the receiver twice: then no message says anything about its sender."
)
def receiver_alone(x, z, edge_index, message, own, skip_first):
    pairs = torch.cat([x[:, edge_index[1]]] * 2, -1)
    return _step(x, z, edge_index, message, own, skip_first, pairs)


@decoder_step.mistake(
    "The messages went back to their senders: each body sums what REACHES it, row 1."
)
def back_to_senders(x, z, edge_index, message, own, skip_first):
    return _step(
        x, z, edge_index.flip(0), message, own, skip_first, reference.node_to_edge(x, edge_index)
    )


@decoder_step.mistake("skip_first has no effect in yours: with True, type 0 sends nothing.")
def never_skipped(x, z, edge_index, message, own, skip_first):
    return _step(x, z, edge_index, message, own)


@decoder_step.mistake(
    "You always skip type 0. With skip_first=False every type sends, the first too."
)
def always_skipped(x, z, edge_index, message, own, skip_first):
    return _step(x, z, edge_index, message, own, 1)


@decoder_step.mistake('The LAST type is left out where the first is to be: type 0 is "no edge".')
def last_skipped(x, z, edge_index, message, own, skip_first):
    last = len(message) - int(skip_first)
    return _step(x, z[..., :last], edge_index, message[:last], own)


@decoder_step.mistake("x itself is missing: the step predicts a CHANGE, which is added to x.")
def without_x(x, z, edge_index, message, own, skip_first):
    return _step(x, z, edge_index, message, own, skip_first, stay=False)


@decoder_step.mistake("The term x own is missing: what a body does by itself.")
def without_own(x, z, edge_index, message, own, skip_first):
    return _step(x, z, edge_index, message, 0 * own, skip_first)


@decoder_step.mistake(
    "Only the last type's messages arrive: is the sum over the types overwritten in the loop (= for +=)?"
)
def overwritten(x, z, edge_index, message, own, skip_first):
    return _step(x, z, edge_index, message, own, len(message) - 1)


@decoder_step.mistake(
    "With the first type skipped, z and message are out of step: type k's weight z[:, :, k] goes with message[k]."
)
def out_of_step(x, z, edge_index, message, own, skip_first):
    kept = message[int(skip_first) :]
    return _step(x, z[..., : len(kept)], edge_index, kept, own)


@decoder_step.mistake(
    "z has no effect in yours: every type's message counts in full, whatever the encoder said."
)
def without_z(x, z, edge_index, message, own, skip_first):
    return _step(x, torch.ones_like(z) + 0 * z, edge_index, message, own, skip_first)


def _hardened(observations) -> bool:
    """Right where z is one-hot, wrong where it is soft."""
    first, second, hard = (o for o in observations if o.kind == "value")
    return hard.failure() is None and None not in (first.failure(), second.failure())


@decoder_step.symptom(
    _hardened,
    "Right for a one-hot z alone. z weighs the types' messages, whatever numbers it holds: the sum over k of z_k times "
    "message k. No argmax (it picks one type), and no other function of z.",
)
def picked(x, z, edge_index, message, own, skip_first):
    hard = F.one_hot(z.argmax(-1), z.shape[-1]).to(z.dtype)
    return _step(x, hard, edge_index, message, own, skip_first)


@decoder_step.symptom(
    gradient_is_cut("z"),
    "The values are right, but no gradient reaches z: an encoder that makes z would learn nothing.",
)
def cut_z(x, z, edge_index, message, own, skip_first):
    return reference.decoder_step(x, z.detach(), edge_index, message, own, skip_first)


@decoder_step.symptom(
    gradient_is_cut(),
    "The values are right, but a gradient is cut: it has to reach x, z, message and own.",
)
def cut_step(x, z, edge_index, message, own, skip_first):
    return reference.decoder_step(x.detach(), z, edge_index, message, own, skip_first)
