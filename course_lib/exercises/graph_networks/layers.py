"""Unit 05, exercises 1 and 2: the normalised adjacency and a layer that uses it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from course_lib.exercises.case import Case
from course_lib.exercises.compare import describe
from course_lib.exercises.engine import Unit
from course_lib.exercises.graph_networks import reference

unit = Unit(
    "05_graph_networks",
    forbids=(
        "torch_geometric",
        "course_lib.graphs",
        "course_lib.exercises.graph_networks.reference",
    ),
)


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
    "Your degrees come from A: an isolated node then has degree 0, and 0 ** -0.5 is infinite. Take them from A + I."
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


@normalized_adjacency.mistake(
    "You normalised by columns, (A + I) D^-1: columns sum to one, and the matrix is not symmetric."
)
def column_normalised(adjacency):
    loops = adjacency + torch.eye(len(adjacency))
    return loops / loops.sum(0)


@normalized_adjacency.mistake(
    "Only one side is divided by the square roots of the degrees; rows and columns both need it."
)
def one_sided(adjacency):
    loops = adjacency + torch.eye(len(adjacency))
    return loops / loops.sum(1, keepdim=True).sqrt()


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
    wide = case.size(2, 5)
    out, nodes = wide + case.size(1, 3), wide + case.size(1, 4) + 3  # three different sizes
    x, weight, bias = case.normal(nodes, wide), case.normal(wide, out), case.normal(out)
    matrix = case.random_graph(nodes, isolated=case.flag(), directed=True)
    matrix = matrix * case.uniform(nodes, nodes, low=0.2) + torch.diag(case.uniform(nodes, low=0.2))
    layer = case.new(answer, wide, out)
    case.expect_that("fresh weights", _xavier_uniform(wide, out), layer.weight)
    case.expect(layer.bias, torch.zeros(out), label="fresh bias")
    loaded = layer.load_state_dict({"weight": weight, "bias": bias})
    case.expect_that("parameters weight [in, out] and bias [out]", lambda keys: None, loaded)
    case.expect(layer(x, matrix), reference.gcn_layer(x, matrix, weight, bias))
    case.expect_gradient(layer, lambda h, m: reference.gcn_layer(h, m, weight, bias), x, matrix)
    case.expect_parameter_gradients(
        layer,
        lambda own, h, m: reference.gcn_layer(h, m, own["weight"], own["bias"]),
        {"weight": weight, "bias": bias},
        x,
        matrix,
    )
    case.expect_equivariant(layer, x, matrix, axes=((0,), (0, 1)), out_axes=(0,))


def _xavier_uniform(wide: int, out: int):
    bound = (6 / (wide + out)) ** 0.5

    def judge(weight) -> str | None:
        if tuple(weight.shape) != (wide, out):
            return f"{describe(weight)}; weight should be [{wide}, {out}]"
        if float(weight.abs().max()) > bound + 1e-6:
            return f"an entry exceeds the bound {bound:.2f} of xavier_uniform_"
        if float(weight.std()) < 0.25 * bound:
            return "the entries hardly differ: was nn.init.xavier_uniform_ forgotten?"
        return None

    return judge


def _says(*texts: str):
    """A symptom: some call of the case raised, or was told, one of these texts."""

    def shown(observations) -> bool:
        told = [o.failure() or "" for o in observations]
        return any(text in told_one for told_one in told for text in texts)

    return shown


@GCNLayer.symptom(
    _says("size mismatch for weight", "weight should be ["),
    "`weight` has the wrong shape: it is [in, out] here, and stands on the right of X.",
)
class TurnedWeightLayer(reference.GCNLayer):
    def __init__(self, in_channels, out_channels):
        super().__init__(out_channels, in_channels)


@GCNLayer.symptom(
    _says("Missing key", "Unexpected key", "has no attribute 'weight'", "has no attribute 'bias'"),
    "The parameters must be self.weight and self.bias, each made with nn.Parameter (nn.Linear inside renames them).",
)
class LinearInsideLayer(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels)

    def forward(self, x, matrix):
        return matrix @ self.linear(x)


def _right_but_cut(observations) -> bool:
    values = [o.failure() for o in observations if o.kind == "value"]
    return not any(values) and _says("gradient reaches weight", "gradient reaches bias")(
        observations
    )


@GCNLayer.symptom(
    _right_but_cut,
    "The output is right, but the parameters cannot learn: use self.weight itself, not its .data or a detached copy.",
)
class DetachedLayer(reference.GCNLayer):
    def forward(self, x, matrix):
        return reference.gcn_layer(x, matrix, self.weight.data, self.bias.data)


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


@GCNLayer.mistake(
    "You added the identity to M, but M comes ready to use: its self-loops are in it."
)
class LoopsAgainLayer(reference.GCNLayer):
    def forward(self, x, matrix):
        return (matrix + torch.eye(len(x))) @ x @ self.weight + self.bias
