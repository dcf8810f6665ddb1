"""Unit 05, first half of the lab: one layer at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from course_lib.exercises.case import Case
from course_lib.exercises.engine import Unit
from course_lib.exercises.graph_networks import reference

unit = Unit("05_graph_networks")


# 1 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.normalized_adjacency,
    hints=[
        "What should an isolated node keep of itself?",
        "Add the identity first; take the degrees of what you then have.",
        "Divide entry [i, j] by the square root of degree i times degree j.",
    ],
)
def normalized_adjacency(answer, case: Case) -> None:
    """The symmetric normalisation D^-1/2 (A + I) D^-1/2 of a dense adjacency matrix [N, N]."""
    adjacency = case.random_graph(nodes=case.size(3, 9), isolated=case.flag())
    case.expect(answer(adjacency), reference.normalized_adjacency(adjacency))
    case.expect_equivariant(answer, adjacency, group="permutation")


@normalized_adjacency.mistake(
    "You normalised by rows, D^-1 (A + I). Rows then sum to one, but the matrix is no longer symmetric."
)
def row_normalised(adjacency):
    loops = adjacency + torch.eye(len(adjacency))
    return loops / loops.sum(1, keepdim=True)


@normalized_adjacency.mistake(
    "Your degrees come from A, not from A + I: the node itself is in the sum, but not in the count."
)
def degrees_without_loops(adjacency):
    scale = adjacency.sum(1).clamp(min=1).rsqrt()
    return scale[:, None] * (adjacency + torch.eye(len(adjacency))) * scale


@normalized_adjacency.mistake(
    "An isolated node has degree 0 in A, and 0 ** -0.5 is infinite: add the identity before you count."
)
def isolated_infinite(adjacency):
    scale = adjacency.sum(1) ** -0.5
    return scale[:, None] * (adjacency + torch.eye(len(adjacency))) * scale


@normalized_adjacency.mistake(
    "You normalised A without its self-loops: a node would forget its own features at every layer."
)
def no_loops(adjacency):
    scale = adjacency.sum(1).clamp(min=1).rsqrt()
    return scale[:, None] * adjacency * scale


@normalized_adjacency.mistake(
    "The self-loops are in twice: A + 2I. Is the identity added in two places?"
)
def doubled_loops(adjacency):
    loops = adjacency + 2 * torch.eye(len(adjacency))
    scale = loops.sum(1).rsqrt()
    return scale[:, None] * loops * scale


@normalized_adjacency.mistake(
    "You divided by the degrees on both sides; each side takes their square root."
)
def full_degrees(adjacency):
    loops = adjacency + torch.eye(len(adjacency))
    return loops / loops.sum(1) / loops.sum(1, keepdim=True)


# 2 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=10,
    reference=reference.GCNLayer,
    hints=[
        "Row i of M X is what node i receives. Which side must M stand on?",
        "The bias is added once, after the neighbours have been summed, and no non-linearity belongs in here.",
        "nn.Parameter makes a tensor part of the module: weight is [in, out], bias is [out].",
    ],
)
def GCNLayer(answer, case: Case) -> None:
    """A module with parameters weight [in, out] and bias [out] whose forward(x, matrix) is M X W + b."""
    nodes, wide, out = case.size(2, 7), case.size(2, 5), case.size(1, 4)
    x, weight, bias = case.normal(nodes, wide), case.normal(wide, out), case.normal(out)
    matrix = case.random_graph(nodes, isolated=case.flag(), directed=True) * case.uniform(
        nodes, nodes, low=0.2
    )
    matrix = matrix + torch.diag(case.uniform(nodes, low=0.2))
    layer = answer(wide, out)
    loaded = layer.load_state_dict({"weight": weight, "bias": bias})
    case.expect_that("parameters weight [in, out] and bias [out]", lambda keys: None, loaded)
    case.expect(layer(x, matrix), reference.gcn_layer(x, matrix, weight, bias))
    case.expect_gradient(layer, lambda h, m: reference.gcn_layer(h, m, weight, bias), x, matrix)
    case.expect_equivariant(layer, x, matrix, axes=((0,), (0, 1)), out_axes=(0,))


@GCNLayer.mistake("You multiplied by M transposed: messages then run from targets back to sources.")
class TransposedLayer(reference.GCNLayer):
    def forward(self, x, matrix):
        return matrix.T @ x @ self.weight + self.bias


@GCNLayer.mistake(
    "The bias went in before the neighbours were summed, so each node gets it as often as it has neighbours."
)
class EarlyBiasLayer(reference.GCNLayer):
    def forward(self, x, matrix):
        return matrix @ (x @ self.weight + self.bias)


@GCNLayer.mistake("This is X W + b: no node hears from its neighbours. Where does M come in?")
class NoNeighborsLayer(reference.GCNLayer):
    def forward(self, x, matrix):
        return x @ self.weight + self.bias


@GCNLayer.mistake(
    "There is a ReLU inside the layer. Leave it to whoever stacks layers: the last one must not have it."
)
class ReluLayer(reference.GCNLayer):
    def forward(self, x, matrix):
        return F.relu(matrix @ x @ self.weight + self.bias)


@GCNLayer.mistake("The bias is missing from the output.")
class NoBiasLayer(reference.GCNLayer):
    def forward(self, x, matrix):
        return matrix @ x @ self.weight


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


# 4 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=1,
    minutes=6,
    reference=reference.gin_aggregate,
    hints=[
        "Nothing is divided in GIN.",
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
