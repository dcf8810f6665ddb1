"""Unit 05, exercises 3 and 4: mean and sum over neighbours."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.graph_networks import reference
from course_lib.exercises.graph_networks.layers import unit

# 3 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=9,
    reference=reference.neighbor_mean,
    hints=[
        "Row 0 of edge_index holds the sources, row 1 the targets. Who receives?",
        "Two sums by index_add_: of the messages, and of ones. Then divide.",
        "A node that receives nothing has count 0; clamp the count at 1.",
    ],
)
def neighbor_mean(answer, case: Case) -> None:
    """The mean [N, F] of what each node receives along edge_index [2, E]; zero where nothing arrives."""
    nodes = case.size(3, 8)
    adjacency = case.random_graph(nodes, isolated=case.flag(), directed=True)
    adjacency[0, 1:] = 0.0  # node 0 sends but never receives
    adjacency[1, 0] = 1.0
    edge_index, x = reference.to_edges(adjacency), case.normal(nodes, case.size(2, 4))
    edge_index = torch.cat([edge_index, edge_index[:, :2]], dim=1)  # two edges that stand twice
    expected = reference.neighbor_mean(x, edge_index)
    case.expect(answer(x, edge_index), expected)
    shuffled = edge_index[:, case.permutation(edge_index.shape[1])]
    case.expect(answer(x, shuffled), expected, label="the same edges in another order")
    case.expect_gradient(answer, reference.neighbor_mean, x, edge_index)


def _mean_from(x, edge_index, gather, scatter, count):
    total = torch.zeros_like(x).index_add_(0, edge_index[scatter], x[edge_index[gather]])
    ones = torch.ones(edge_index.shape[1])
    return total, torch.zeros(len(x)).index_add_(0, edge_index[count], ones).unsqueeze(1)


@neighbor_mean.mistake(
    "Sources and targets are swapped: you averaged over the nodes that each node sends to."
)
def swapped(x, edge_index):
    total, count = _mean_from(x, edge_index, 1, 0, 0)
    return total / count.clamp(min=1)


@neighbor_mean.mistake(
    "This is the sum over neighbours; it still has to be divided by how many there are."
)
def sum_only(x, edge_index):
    return _mean_from(x, edge_index, 0, 1, 1)[0]


@neighbor_mean.mistake(
    "A node that receives nothing gives 0/0 = NaN. What should its mean be here?"
)
def not_a_number(x, edge_index):
    total, count = _mean_from(x, edge_index, 0, 1, 1)
    return total / count


@neighbor_mean.mistake(
    "You divided by the number of edges that leave a node, not by the number that arrive."
)
def out_degrees(x, edge_index):
    total, count = _mean_from(x, edge_index, 0, 1, 0)
    return total / count.clamp(min=1)


@neighbor_mean.mistake(
    "Each node is counted among its own neighbours; there is no self-loop in edge_index."
)
def with_itself(x, edge_index):
    total, count = _mean_from(x, edge_index, 0, 1, 1)
    return (total + x) / (count + 1)


@neighbor_mean.mistake(
    "`total[targets] += ...` keeps one message per target and drops the others; index_add_ adds them all."
)
def overwritten(x, edge_index):
    total = torch.zeros_like(x)
    total[edge_index[1]] += x[edge_index[0]]
    count = _mean_from(x, edge_index, 0, 1, 1)[1]
    return total / count.clamp(min=1)


@neighbor_mean.mistake(
    "An edge that stands twice in the list counts twice; you counted each pair once."
)
def without_repeats(x, edge_index):
    return reference.neighbor_mean(x, edge_index.unique(dim=1))


@neighbor_mean.mistake("You divided by the count plus one; clamp the count at one instead.")
def count_plus_one(x, edge_index):
    total, count = _mean_from(x, edge_index, 0, 1, 1)
    return total / (count + 1)


# 4 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=1,
    minutes=5,
    reference=reference.gin_aggregate,
    hints=[
        "Sum over the neighbours: what does a matrix product with the adjacency do?",
        "The node itself enters once, weighted by 1 + eps; A has no self-loops.",
    ],
)
def gin_aggregate(answer, case: Case) -> None:
    """What GIN feeds its MLP: (1 + eps) h_v + sum of h_u over neighbours u; h [N, F], dense adjacency."""
    nodes = case.size(2, 8)
    adjacency = case.random_graph(nodes, isolated=case.flag(), directed=True)
    h, eps = case.normal(nodes, case.size(2, 4)), float(case.uniform(1, low=0.1, high=0.9))
    case.expect(answer(h, adjacency, eps), reference.gin_aggregate(h, adjacency, eps))
    case.expect_gradient(answer, reference.gin_aggregate, h, adjacency, extra=(0.5,))
    case.expect_equivariant(answer, h, adjacency, axes=((0,), (0, 1)), out_axes=(0,), extra=(eps,))


@gin_aggregate.mistake(
    "You took the mean over neighbours. GIN sums: the mean cannot see how many there are."
)
def gin_mean(h, adjacency, eps):
    return (1 + eps) * h + adjacency @ h / adjacency.sum(1, keepdim=True).clamp(min=1)


@gin_aggregate.mistake(
    "The node itself has weight eps; it should be 1 + eps, so that eps = 0 is the plain sum."
)
def gin_eps(h, adjacency, eps):
    return eps * h + adjacency @ h


@gin_aggregate.mistake(
    "The node itself is in twice: once with 1 + eps, once through a self-loop that you added to A."
)
def gin_loops(h, adjacency, eps):
    return (1 + eps) * h + adjacency @ h + h


@gin_aggregate.mistake(
    "1 + eps multiplies the neighbours too; it belongs to the node itself alone."
)
def gin_all(h, adjacency, eps):
    return (1 + eps) * (h + adjacency @ h)


@gin_aggregate.mistake("eps has no effect here; the node itself counts 1 + eps times.")
def gin_no_eps(h, adjacency, eps):
    return h + adjacency @ h


@gin_aggregate.mistake(
    "You summed along the wrong direction: row i of the adjacency says from whom node i receives."
)
def gin_transposed(h, adjacency, eps):
    return (1 + eps) * h + adjacency.T @ h
