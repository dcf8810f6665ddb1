"""Unit 09, exercises 2 to 4: the edges of the complete graph, from nodes to edges, and from edges to nodes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.compare import describe
from course_lib.exercises.relational_inference import reference
from course_lib.exercises.relational_inference.motion import gradient_is_cut, unit


def some_edges(case: Case, nodes: int) -> Tensor:
    """Edges [2, E] in no order: a part of the complete graph. One node sends and hears nothing, one edge is doubled."""
    edges = reference.complete_graph(nodes - 1)
    edges = edges[:, case.permutation(edges.shape[1])][:, :-1]
    edges = torch.cat([edges[:, 1:], edges[:, :2]], 1)
    return case.permutation(nodes)[edges]


# 2 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=1,
    minutes=4,
    reference=reference.complete_graph,
    hints=[
        "Two loops over the bodies, the receiver outside, and nothing where both are the same body.",
        "A list of pairs [[j, i], ...] becomes a tensor [E, 2]; turned, .T, it is [2, E].",
    ],
)
def complete_graph(answer, case: Case) -> None:
    """All ordered pairs of N distinct bodies, int64 [2, N (N - 1)]: senders, receivers; sorted by receiver."""
    bodies = case.size(3, 5)
    for count in (bodies, bodies + case.size(1, 3)):
        case.expect(answer(count), reference.complete_graph(count), label=f"{count} bodies")
    case.expect_that("a tensor", _no_index, answer(bodies))


def _no_index(got: Any) -> str | None:
    """The lab's cells index with it, and the library's functions take int64 alone."""
    if isinstance(got, Tensor) and got.dtype == torch.int64:
        return None
    return f"{describe(got)}: a torch tensor of int64 is needed"


@complete_graph.mistake(
    "The right edges, with the rows exchanged or sorted by sender: row 0 has to hold the senders, row 1 the receivers, "
    "and the edges are sorted by receiver first, so row 1 begins 0, 0."
)
def rows_exchanged(bodies):
    return reference.complete_graph(bodies).flip(0)


@complete_graph.mistake(
    "There are self-loops among yours: no body acts on itself, N (N - 1) edges."
)
def self_loops(bodies):
    return torch.ones(bodies, bodies).nonzero().T.flip(0)


@complete_graph.mistake(
    "The numbers are right, but cut into rows wrongly: .T turns a list of pairs [E, 2], reshape and view do not."
)
def reshaped(bodies):
    return reference.complete_graph(bodies).T.reshape(2, -1)


def _half_of_them(observations) -> bool:
    values = [o for o in observations if o.kind == "value"]
    return all(2 * o.got.numel() == o.expected.numel() for o in values)


@complete_graph.symptom(
    _half_of_them,
    "Each pair comes once. An edge has a direction, j to i and i to j: N (N - 1) of them, not half as many.",
)
def each_pair_once(bodies):
    return torch.ones(bodies, bodies).tril(-1).nonzero().T.flip(0)


@complete_graph.mistake("This is [E, 2], a pair a row. Turn it: [2, E].")
def pairs_in_rows(bodies):
    return reference.complete_graph(bodies).T


@complete_graph.mistake(
    "This is [E, 2], a pair a row, with the receiver first. Senders first, and turn it."
)
def receivers_first_in_rows(bodies):
    return reference.complete_graph(bodies).flip(0).T


# 3 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=4,
    reference=reference.node_to_edge,
    hints=[
        "senders, receivers = edge_index. The nodes are axis 1 of h, after the simulations.",
        "h[:, senders] has one row for each edge, [B, E, F].",
        "torch.cat of the two along the last axis, the sender's features first.",
    ],
)
def node_to_edge(answer, case: Case) -> None:
    """The features of both ends of each edge, [sender, receiver]: h [B, N, F], edge_index [2, E] -> [B, E, 2F]."""
    batch, nodes = case.size(2, 3), case.size(4, 5)
    features, edges = case.size(3, 4), some_edges(case, nodes)
    h, few = case.normal(batch, nodes, features), case.normal(1, 3, 2)
    case.expect(answer(h, edges), reference.node_to_edge(h, edges), label="some edges")
    case.expect_gradient(answer, reference.node_to_edge, h, wrt=0, extra=(edges,))
    edges = reference.complete_graph(3)
    case.expect(answer(few, edges), reference.node_to_edge(few, edges), label="one simulation")


@node_to_edge.mistake(
    "Sender and receiver are exchanged: each edge holds [receiver, sender]. Row 0 of edge_index is the sender."
)
def ends_exchanged(h, edge_index):
    return torch.cat([h[:, edge_index[1]], h[:, edge_index[0]]], -1)


def _one_end(observations) -> bool:
    """Both halves of the features are the same, though the two ends are not."""
    seen = [o.got for o in observations if o.kind == "value"]
    return all(torch.equal(*got.chunk(2, -1)) for got in seen)


@node_to_edge.symptom(
    _one_end,
    "Both halves are features of the same end: [x_i, x_i] instead of [x_j, x_i]. The sender's come first, then the "
    "receiver's.",
)
def receiver_twice(h, edge_index):
    return torch.cat([h[:, edge_index[1]]] * 2, -1)


@node_to_edge.mistake(
    "You added the two ends. Then nobody can tell who sends; they stand side by side, [B, E, 2F]."
)
def ends_added(h, edge_index):
    return h[:, edge_index[0]] + h[:, edge_index[1]]


@node_to_edge.mistake(
    "This is [B, E, 2, F]: join the two along the last axis, torch.cat, instead of stacking."
)
def ends_stacked(h, edge_index):
    return torch.stack([h[:, edge_index[0]], h[:, edge_index[1]]], 2)


@node_to_edge.mistake("This is [B, 2E, F]: join the two along the LAST axis, not along the edges.")
def joined_along_edges(h, edge_index):
    return torch.cat([h[:, edge_index[0]], h[:, edge_index[1]]], 1)


@node_to_edge.mistake(
    "The difference of the two ends instead of both: [h_j, h_i] stand side by side, [B, E, 2F]."
)
def ends_subtracted(h, edge_index):
    return h[:, edge_index[0]] - h[:, edge_index[1]]


@node_to_edge.mistake("h[senders] picks SIMULATIONS, axis 0. The nodes are axis 1: h[:, senders].")
def simulations_picked(h, edge_index):
    return torch.cat([h[edge_index[0]], h[edge_index[1]]], -1)


@node_to_edge.symptom(
    gradient_is_cut(),
    "The values are right, but no gradient reaches h: was there .data, .detach() or numpy?",
)
def cut_edges(h, edge_index):
    return reference.node_to_edge(h.detach(), edge_index)


# 4 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=5,
    reference=reference.edge_to_node,
    hints=[
        "Start from zeros [B, N, F] and add each edge's message to the row of its receiver.",
        "A loop over the edges does it: one += for each. (In one call: index_add along axis 1.)",
        "out.index_add(1, receivers, messages) counts every edge, where out[:, receivers] += messages does not.",
    ],
)
def edge_to_node(answer, case: Case) -> None:
    """The sum of the messages that reach each node: messages [B, E, F], edge_index [2, E], N -> [B, N, F]."""
    batch, nodes, features = case.size(2, 3), case.size(5, 6), case.size(3, 4)
    for edges, label in (
        (some_edges(case, nodes), "some edges"),
        (reference.complete_graph(4), "the complete graph"),
    ):
        count = nodes if label == "some edges" else 4
        messages = case.normal(batch, edges.shape[1], features)
        given = messages if label == "some edges" else messages.double(), edges, count
        case.expect(answer(*given), reference.edge_to_node(*given), label=label)
        if label == "some edges":
            extra = given[1:]
            case.expect_gradient(answer, reference.edge_to_node, given[0], wrt=0, extra=extra)
    given = given[0][:1], *given[1:]
    case.expect(answer(*given), reference.edge_to_node(*given), label="one simulation")


def _summed(messages: Tensor, at: Tensor, nodes: int) -> Tensor:
    return messages.new_zeros(len(messages), nodes, messages.shape[2]).index_add(1, at, messages)


@edge_to_node.mistake(
    "Each message went back to its sender. It is the receiver, row 1 of edge_index, that sums what arrives."
)
def at_the_senders(messages, edge_index, nodes):
    return _summed(messages, edge_index[0], nodes)


@edge_to_node.mistake(
    "An assignment through repeated indices keeps ONE message a node: out[:, receivers] += messages does not add up. "
    "Use index_add, or a loop over edges."
)
def last_message_alone(messages, edge_index, nodes):
    out = messages.new_zeros(len(messages), nodes, messages.shape[2])
    out[:, edge_index[1]] += messages
    return out


def _counts(edge_index: Tensor, nodes: int) -> Tensor:
    return torch.bincount(edge_index[1], minlength=nodes)[:, None]


@edge_to_node.mistake("This is the mean of what arrives. Forces add up: take the sum.")
def mean_message(messages, edge_index, nodes):
    return _summed(messages, edge_index[1], nodes) / _counts(edge_index, nodes).clamp(min=1)


@edge_to_node.mistake(
    "This is the mean, with 0 / 0 at a node that nothing reaches. Forces add up: take the sum."
)
def mean_with_nan(messages, edge_index, nodes):
    return _summed(messages, edge_index[1], nodes) / _counts(edge_index, nodes)


@edge_to_node.mistake(
    "Yours puts the messages into a matrix of pairs, where an edge that is listed twice counts once. Add up the edges "
    "themselves: index_add, or a loop."
)
def matrix_of_pairs(messages, edge_index, nodes):
    dense = messages.new_zeros(len(messages), nodes, nodes, messages.shape[2])
    dense[:, edge_index[1], edge_index[0]] = messages
    return dense.sum(2)


def _by_reshape(observations) -> bool:
    """Right for the complete graph in its own order, wrong for other edges."""
    some, *whole = (o for o in observations if o.kind == "value")
    return some.failure() is not None and all(o.failure() is None for o in whole)


@edge_to_node.symptom(
    _by_reshape,
    "Right for the complete graph in its usual order alone. The edges may be any, in any order, and one may be listed "
    "twice: look at edge_index, and count every edge.",
)
def by_reshape(messages, edge_index, nodes):
    return messages.reshape(len(messages), nodes, nodes - 1, -1).sum(2)


@edge_to_node.symptom(
    gradient_is_cut(),
    "The values are right, but no gradient reaches the messages: was there .data, .detach() or numpy?",
)
def cut_messages(messages, edge_index, nodes):
    return reference.edge_to_node(messages.detach(), edge_index, nodes)
