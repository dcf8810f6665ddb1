"""Edge cases of unit 05 that only grading runs. The students' distribution does not contain this file."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.graph_networks import reference, unit


@unit.find("normalized_adjacency").hidden_check
def islands(answer, case: Case) -> None:
    """Two graphs side by side and some nodes without a neighbour; and one node alone."""
    small, large = case.random_graph(case.size(2, 5)), case.random_graph(case.size(3, 8))
    both = torch.block_diag(small, large, torch.zeros(2, 2))
    case.expect(answer(both), reference.normalized_adjacency(both), label="islands")
    case.expect(answer(torch.zeros(1, 1)), torch.ones(1, 1), label="one node")


@unit.find("GCNLayer").hidden_check
def one_node_one_channel(answer, case: Case) -> None:
    """The smallest layer, and a column of parameters that are not square."""
    for nodes, wide, out in ((1, 1, 1), (1, 4, 2), (case.size(2, 6), 1, 3)):
        weight, bias = case.normal(wide, out), case.normal(out)
        x, matrix = case.normal(nodes, wide), case.normal(nodes, nodes)
        layer = case.new(answer, wide, out)
        layer.load_state_dict({"weight": weight, "bias": bias})
        case.expect(layer(x, matrix), reference.gcn_layer(x, matrix, weight, bias))


@unit.find("neighbor_mean").hidden_check
def no_edges_and_double_edges(answer, case: Case) -> None:
    """A list without edges, a self-loop, and an edge that stands three times."""
    nodes = case.size(3, 7)
    x = case.normal(nodes, 2)
    case.expect(
        answer(x, torch.zeros(2, 0, dtype=torch.int64)), torch.zeros(nodes, 2), label="no edges"
    )
    repeated = torch.tensor([[0, 0, 0, 1, 2], [1, 1, 1, 2, 2]])
    case.expect(answer(x, repeated), reference.neighbor_mean(x, repeated), label="repeated edges")
    row = torch.stack([torch.arange(1, nodes), torch.zeros(nodes - 1, dtype=torch.int64)])
    case.expect(answer(x, row), reference.neighbor_mean(x, row), label="a star")


@unit.find("gin_aggregate").hidden_check
def eps_zero_and_no_edges(answer, case: Case) -> None:
    """eps = 0, negative eps, and a graph without edges."""
    nodes = case.size(2, 6)
    h, adjacency = case.normal(nodes, 3), case.random_graph(nodes, directed=True)
    for eps in (0.0, -0.5, 2.0):
        case.expect(
            answer(h, adjacency, eps),
            reference.gin_aggregate(h, adjacency, eps),
            label=f"eps {eps}",
        )
    case.expect(answer(h, torch.zeros(nodes, nodes), 0.5), 1.5 * h, label="no edges")


@unit.find("told_apart").hidden_check
def single_rows(answer, case: Case) -> None:
    """Multisets of one element, and sums that differ only by rounding."""
    row = case.normal(1, 3)
    case.expect(
        answer(row, row.repeat(3, 1)),
        torch.tensor([True, False, False]),
        label="one row, three times",
    )
    many = case.normal(40, 3) * 100
    shuffled = many[case.permutation(40)]
    case.expect(
        answer(many, shuffled), torch.tensor([False, False, False]), label="forty rows, shuffled"
    )
    one_column = row + torch.tensor([[0.0, 0.0, 1.0]])
    case.expect(
        answer(row, one_column), torch.tensor([True, True, True]), label="one entry differs"
    )


@unit.find("smoothing_distance").hidden_check
def at_the_limit_and_across_it(answer, case: Case) -> None:
    """0 at the limit, 1 for what is orthogonal to it, and no change when h is scaled."""
    adjacency = torch.block_diag(case.random_graph(case.size(3, 8)), torch.zeros(1, 1))
    adjacency[-1, 0] = adjacency[0, -1] = 1.0
    u = (adjacency.sum(1) + 1).sqrt()
    u = u / u.norm()
    h = case.normal(len(u), 2)
    across = h - torch.outer(u, u @ h)
    case.expect(
        answer(torch.outer(u, torch.tensor([2.0, -3.0])), adjacency),
        torch.tensor(0.0),
        label="at the limit",
    )
    case.expect(answer(across, adjacency), torch.tensor(1.0), label="across")
    case.expect(
        answer(50 * h, adjacency), reference.smoothing_distance(h, adjacency), label="scaled"
    )
