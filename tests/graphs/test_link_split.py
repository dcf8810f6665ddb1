"""Splitting edges: nothing held out can be seen, no negative is an edge, the seed fixes it all."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.data import citation_graph, karate_club, load_planetoid
from course_lib.data.graph import Graph
from course_lib.graphs.link_split import NonEdges, link_split
from tests.devices import devices
from tests.graphs.cases import random_graphs
from tests.requirements import require

PARTS = ("val_edges", "val_non_edges", "test_edges", "test_non_edges")


def _graph(edge_index, num_nodes) -> Graph:
    none = torch.zeros(num_nodes, dtype=torch.bool)
    return Graph(
        torch.eye(num_nodes),
        edge_index,
        torch.zeros(num_nodes, dtype=torch.int64),
        *(none,) * 3,
        num_classes=1,
        name="test",
        source="twin",
    )


def _undirected(edge_index):
    return torch.cat([edge_index, edge_index.flip(0)], dim=1)


def _pairs(edges) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in edges.t().tolist()]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _tensors(split) -> list[torch.Tensor]:
    return [split.graph.edge_index, *(getattr(split, part) for part in PARTS)]


@settings(max_examples=60, deadline=None)
@given(random_graphs(max_nodes=12, max_edges=20), st.floats(0, 0.5), st.floats(0, 0.45))
def test_nothing_leaks(graph, validation, test):
    edge_index, num_nodes = graph
    edge_index = _undirected(edge_index)  # with its doubled edges and self-loops
    edges = {(u, v) for u, v in _pairs(edge_index) if u < v}
    wanted = int(validation * len(edges) + 1e-9) + int(test * len(edges) + 1e-9)
    if wanted >= len(edges) or wanted > num_nodes * (num_nodes - 1) // 2 - len(edges):
        with pytest.raises(ValueError, match=r"smaller shares?"):
            link_split(_graph(edge_index, num_nodes), validation, test, _generator(0))
        return
    split = link_split(_graph(edge_index, num_nodes), validation, test, _generator(0))
    passed = _pairs(split.graph.edge_index)
    parts = {name: _pairs(getattr(split, name)) for name in PARTS}
    assert len(parts["val_edges"]) == len(parts["val_non_edges"])
    assert len(parts["test_edges"]) == len(parts["test_non_edges"])
    assert len(parts["val_edges"]) == int(validation * len(edges) + 1e-9)
    assert len(parts["test_edges"]) == int(test * len(edges) + 1e-9)
    # the edges fall apart into three sets, and messages pass along one of them, both ways
    train = [(u, v) for u, v in passed if u < v]
    assert sorted(passed) == sorted(train + [(v, u) for u, v in train])
    assert sorted(train + parts["val_edges"] + parts["test_edges"]) == sorted(edges)
    # negatives: different pairs of different nodes, no edge of any part
    negatives = parts["val_non_edges"] + parts["test_non_edges"]
    assert all(u < v for u, v in negatives)
    assert len(set(negatives)) == len(negatives)
    assert not edges & set(negatives)


def test_the_default_shares_are_the_published_ones():
    split = link_split(karate_club(), generator=_generator(0))
    assert [part.size(1) for part in _tensors(split)] == [2 * (78 - 3 - 7), 3, 3, 7, 7]


@pytest.mark.parametrize(("share", "count"), [(0.29, 29), (0.07, 7), (0.009, 0)])
def test_a_share_is_rounded_down_but_not_because_of_floats(share, count):
    path = torch.arange(100)  # 0.29 * 100 is 28.999999999999996
    graph = _graph(_undirected(torch.stack([path, path + 1])), 101)
    assert link_split(graph, share, 0, _generator(0)).val_edges.size(1) == count


def test_all_but_the_edges_stays_and_the_edges_are_sorted_by_target():
    graph = karate_club()
    split = link_split(graph, generator=_generator(3))
    for field in dataclasses.fields(graph):
        if field.name != "edge_index":
            before, after = getattr(graph, field.name), getattr(split.graph, field.name)
            assert torch.equal(before, after) if torch.is_tensor(before) else before == after
    passed = _pairs(split.graph.edge_index.flip(0))
    assert passed == sorted(passed)


def test_the_seed_fixes_the_split_whatever_the_order_of_the_edges():
    graph = karate_club()
    first = _tensors(link_split(graph, generator=_generator(1)))
    order = torch.randperm(graph.num_edges)
    shuffled = dataclasses.replace(graph, edge_index=graph.edge_index[:, order])
    assert all(map(torch.equal, first, _tensors(link_split(shuffled, generator=_generator(1)))))
    other = _tensors(link_split(graph, generator=_generator(2)))
    assert not any(map(torch.equal, first, other))


def test_without_a_generator_torchs_own_is_drawn_from():
    torch.manual_seed(5)
    first = _tensors(link_split(karate_club()))
    torch.manual_seed(5)
    assert all(map(torch.equal, first, _tensors(link_split(karate_club()))))
    state = torch.get_rng_state()
    link_split(karate_club(), generator=_generator(0))
    assert torch.equal(state, torch.get_rng_state())


def test_a_dense_graph_gives_up_all_its_non_edges():
    all_pairs = torch.combinations(torch.arange(6)).t()  # 15 pairs
    edges = all_pairs[:, 3:]
    split = link_split(_graph(_undirected(edges), 6), 0.10, 0.17, _generator(0))  # 1 and 2 of 12
    found = _pairs(torch.cat([split.val_non_edges, split.test_non_edges], dim=1))
    assert sorted(found) == _pairs(all_pairs[:, :3])


@settings(max_examples=40, deadline=None)
@given(random_graphs(max_nodes=6, max_edges=12))
def test_non_edges_are_the_complement_with_equal_chances(graph):
    edge_index, num_nodes = graph
    taken = set(_pairs(_undirected(edge_index))) | {(v, v) for v in range(num_nodes)}
    free = {(u, v) for u in range(num_nodes) for v in range(num_nodes)} - taken
    non_edges = NonEdges(edge_index, num_nodes)
    assert len(non_edges) == len(free)
    if not free:
        with pytest.raises(ValueError, match="no pair to draw"):
            non_edges.draw(1)
        return
    draws = 200 * len(free)
    drawn = non_edges.draw(draws, _generator(0))
    counts = torch.bincount(drawn[0] * num_nodes + drawn[1], minlength=num_nodes**2).view(
        num_nodes, num_nodes
    )
    assert {tuple(pair) for pair in counts.nonzero().tolist()} == free
    chi_square = sum((counts[pair].item() - 200) ** 2 / 200 for pair in free)
    spread = (2 * len(free)) ** 0.5  # of chi-square with as many degrees of freedom
    assert chi_square < len(free) + 6 * spread + 6


def test_held_out_pairs_have_equal_chances():
    path = torch.arange(9)
    graph = _graph(_undirected(torch.stack([path, path + 1])), 10)  # 9 edges, 36 other pairs
    edges, others = torch.zeros(2, 10, 10)
    for seed in range(400):
        split = link_split(graph, 0.12, 0.34, _generator(seed))  # 1 and 3
        edges[tuple(split.test_edges)] += 1
        others[tuple(split.test_non_edges)] += 1
    for counts, cells in ((edges[edges > 0], 9), (others[others > 0], 36)):
        assert counts.numel() == cells
        expected = 400 * 3 / cells
        assert ((counts - expected) ** 2 / expected).sum() < cells + 5 * (2 * cells) ** 0.5


def test_errors_say_what_to_do():
    graph = karate_club()
    for shares in ((-0.1, 0.1), (0.5, 0.5), (float("nan"), 0.1)):
        with pytest.raises(ValueError, match="together below 1"):
            link_split(graph, *shares)
    one_way = dataclasses.replace(graph, edge_index=graph.edge_index[:, 1:])
    with pytest.raises(ValueError, match=r"directed.*add the reverse edges"):
        link_split(one_way)
    with pytest.raises(ValueError, match="leave none to train on"):
        link_split(_graph(torch.empty(2, 0, dtype=torch.int64), 3))
    complete = _graph(_undirected(torch.combinations(torch.arange(8)).t()), 8)
    with pytest.raises(ValueError, match="the graph has 0"):
        link_split(complete)


@pytest.mark.parametrize("device", devices())
def test_the_split_is_the_same_on_every_device(device):
    graph = citation_graph(num_nodes=80, num_classes=3, num_features=60, seed=0)
    split = link_split(graph.to(device), generator=_generator(4))
    there = _tensors(split)
    assert all(part.device.type == device.type for part in [*there, split.graph.x])
    wanted = _tensors(link_split(graph, generator=_generator(4)))
    assert all(torch.equal(a.cpu(), b) for a, b in zip(there, wanted))
    drawn = NonEdges(split.graph.edge_index, 80).draw(50, _generator(0))
    assert drawn.device.type == device.type
    again = NonEdges(split.graph.edge_index.cpu(), 80).draw(50, _generator(0))
    assert torch.equal(drawn.cpu(), again)


def test_cora_is_split_as_published():
    require("data")
    split = link_split(load_planetoid("cora"), generator=_generator(0))
    assert [part.size(1) for part in _tensors(split)] == [2 * 4488, 263, 263, 527, 527]
