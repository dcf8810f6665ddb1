"""Aggregation, softmax over segments, self-loops and normalisation, by hand and against PyG."""

from __future__ import annotations

import pytest
import torch
import torch_geometric.utils as pyg
from torch_geometric.nn.conv.gcn_conv import gcn_norm as pyg_gcn_norm

from course_lib.graphs.message_passing import (
    add_remaining_self_loops,
    add_self_loops,
    aggregate,
    check_edge_index,
    degree,
    gcn_norm,
    remove_self_loops,
    segment_softmax,
)
from tests.graphs.cases import GRAPHS, dense

INDEX = torch.tensor([2, 0, 2, 2])  # node 1 receives nothing
REDUCTIONS = ["sum", "mean", "max", "min"]


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [("sum", [5.0, 0.0, -6.0]), ("mean", [5.0, 0.0, -2.0]), ("max", [5.0, 0.0, -1.0])]
    + [("min", [5.0, 0.0, -3.0])],
)
def test_aggregate_by_hand(reduce, expected):
    messages = torch.tensor([-1.0, 5.0, -3.0, -2.0])
    assert aggregate(messages, INDEX, 3, reduce).tolist() == expected


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("trailing", [(), (3,), (2, 3)])
@pytest.mark.parametrize("graph", GRAPHS)
def test_aggregate_and_its_gradient_against_pyg(graph, trailing, reduce):
    edge_index, n = GRAPHS[graph]
    ours = torch.randn(edge_index.size(1), *trailing, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    out = aggregate(ours, edge_index[1], n, reduce)
    oracle = pyg.scatter(theirs, edge_index[1], 0, n, reduce)
    torch.testing.assert_close(out, oracle)
    grad = torch.randn_like(out)
    out.backward(grad)
    oracle.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_aggregate_gradcheck(reduce):
    messages = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: aggregate(m, INDEX, 3, reduce), messages)


def test_sums_and_means_can_be_differentiated_twice():
    messages = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    for reduce in ("sum", "mean"):
        assert torch.autograd.gradgradcheck(
            lambda m, r=reduce: aggregate(m, INDEX, 3, r).pow(3), messages
        )


def test_ties_share_the_gradient_of_a_maximum():
    messages = torch.tensor([1.0, 1.0, 0.0], requires_grad=True)
    aggregate(messages, torch.zeros(3, dtype=torch.int64), 1, "max").backward(torch.ones(1))
    assert messages.grad.tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_aggregate_keeps_the_dtype(dtype, reduce):
    out = aggregate(torch.ones(4, 2, dtype=dtype), INDEX, 3, reduce)
    assert out.dtype == dtype
    assert out[1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (torch.tensor([0, 1, 2, 3]), "names node 3"),
        (torch.tensor([0, -1, 2, 2]), "names node -1"),
        (torch.tensor([0, 1]), "one entry a message"),
        (torch.tensor([0.0, 1, 2, 2]), "must be int64"),
        (torch.zeros(4, 2, dtype=torch.int64), "must be int64 \\[E\\]"),
    ],
)
def test_aggregate_refuses_a_wrong_index(index, message):
    with pytest.raises(ValueError, match=message):
        aggregate(torch.ones(4, 2), index, 3)


def test_aggregate_names_the_reductions_it_knows():
    with pytest.raises(ValueError, match="got 'median'"):
        aggregate(torch.ones(4), INDEX, 3, "median")


@pytest.mark.parametrize(
    ("edge_index", "message"),
    [
        (torch.zeros(5, 2), r"got float32 \[5, 2\]: transpose and cast it"),
        (torch.zeros(2, 5), r"got float32 \[2, 5\]: cast it"),
        (torch.zeros(5, 2, dtype=torch.int64), r"got int64 \[5, 2\]: transpose it"),
        (torch.zeros(4, dtype=torch.int64), "stack sources and targets"),
        ([[0, 1], [1, 0]], "got a list"),
        (torch.tensor([[0, 4], [1, 0]]), "names node 4, but nodes are numbered 0 to 3"),
        (torch.tensor([[0, -2], [1, 0]]), "names node -2"),
    ],
)
def test_check_edge_index_says_what_is_wrong(edge_index, message):
    with pytest.raises(ValueError, match=message):
        check_edge_index(edge_index, 4)


def test_check_edge_index_accepts_an_empty_graph():
    check_edge_index(torch.empty(2, 0, dtype=torch.int64), 0)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("trailing", [(), (2,)])
def test_segment_softmax_against_pyg(graph, trailing):
    edge_index, n = GRAPHS[graph]
    ours = torch.randn(edge_index.size(1), *trailing, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    out = segment_softmax(ours, edge_index[1], n)
    oracle = pyg.softmax(theirs, edge_index[1], num_nodes=n)
    torch.testing.assert_close(out, oracle)
    grad = torch.randn_like(out)
    out.backward(grad)
    oracle.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_segment_softmax_is_stable_and_masks_count_for_nothing():
    infinite = float("inf")
    scores = torch.tensor([1e4, 1e4, -1e4, -infinite, -infinite, 3.0], requires_grad=True)
    out = segment_softmax(scores, torch.tensor([0, 0, 0, 1, 2, 2]), 4)
    assert out.tolist() == [0.5, 0.5, 0.0, 0.0, 0.0, 1.0]
    out.square().sum().backward()
    assert torch.isfinite(scores.grad).all()


def test_segment_softmax_gradcheck():
    scores = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: segment_softmax(s, INDEX, 3), scores)


def test_degree_counts_what_it_is_given():
    edge_index, n = GRAPHS["star_in"]
    assert degree(edge_index[1], n).tolist() == [6, 0, 0, 0, 0, 0, 0]
    assert degree(edge_index[0]).tolist() == [0, 1, 1, 1, 1, 1, 1]
    assert degree(edge_index[0], n, torch.float64).dtype == torch.float64


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (add_self_loops, pyg.add_self_loops),
        (add_remaining_self_loops, pyg.add_remaining_self_loops),
    ],
)
def test_self_loops_against_pyg(graph, ours, theirs):
    edge_index, n = GRAPHS[graph]
    attr = torch.rand(edge_index.size(1), 2)
    for given in (None, attr):
        torch.testing.assert_close(
            ours(edge_index, given, 0.5, n), theirs(edge_index, given, 0.5, n)
        )


@pytest.mark.parametrize("graph", GRAPHS)
def test_remove_self_loops_against_pyg(graph):
    edge_index, _ = GRAPHS[graph]
    attr = torch.rand(edge_index.size(1))
    for given in (None, attr):
        torch.testing.assert_close(
            remove_self_loops(edge_index, given), pyg.remove_self_loops(edge_index, given)
        )


def test_of_several_loops_at_one_node_the_last_counts():
    edge_index = torch.tensor([[1, 1, 0, 1], [1, 0, 1, 1]])
    weight = torch.tensor([2.0, 3.0, 4.0, 5.0], requires_grad=True)
    looped, attr = add_remaining_self_loops(edge_index, weight, num_nodes=2)
    assert looped.tolist() == [[1, 0, 0, 1], [0, 1, 0, 1]]
    assert attr.tolist() == [3.0, 4.0, 1.0, 5.0]
    attr.sum().backward()
    assert weight.grad.tolist() == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("improved", [False, True])
@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("graph", GRAPHS)
def test_gcn_norm_against_pyg_and_its_gradient(graph, loops, improved):
    edge_index, n = GRAPHS[graph]
    ours = torch.rand(edge_index.size(1), dtype=torch.float64) + 0.1
    theirs = ours.clone()
    ours.requires_grad_()
    edges, weight = gcn_norm(edge_index, ours, n, improved, loops)
    oracle_edges, oracle = pyg_gcn_norm(edge_index, theirs, n, improved, loops)
    assert torch.equal(edges, oracle_edges)
    torch.testing.assert_close(weight.detach(), oracle)
    if ours.numel():
        assert torch.autograd.gradcheck(
            lambda w: gcn_norm(edge_index, w, n, improved, loops)[1], ours
        )


@pytest.mark.parametrize("graph", GRAPHS)
def test_gcn_norm_against_its_dense_equations(graph):
    edge_index, n = GRAPHS[graph]
    edges, weight = gcn_norm(edge_index, num_nodes=n, dtype=torch.float64)
    simple = pyg.remove_self_loops(edge_index)[0]  # a loop that is there takes the place of I
    adjacency = dense(simple, torch.ones(simple.size(1), dtype=torch.float64), n)
    a = adjacency + torch.eye(n, dtype=torch.float64)
    d = a.sum(1)
    torch.testing.assert_close(dense(edges, weight, n), d[:, None] ** -0.5 * a * d**-0.5)
    edges, weight = gcn_norm(edge_index, num_nodes=n, norm="row", dtype=torch.float64)
    torch.testing.assert_close(dense(edges, weight, n), a / d[:, None])


def test_an_isolated_node_keeps_itself_and_nothing_is_nan():
    edge_index, n = GRAPHS["isolated"]
    for norm in ("sym", "row"):
        edges, weight = gcn_norm(edge_index, num_nodes=n, norm=norm)
        assert dense(edges, weight, n)[5].tolist() == [0, 0, 0, 0, 0, 1]
        ones = torch.ones(edge_index.size(1), requires_grad=True)
        _, weight = gcn_norm(edge_index, ones, n, add_self_loops=False, norm=norm)
        weight.sum().backward()
        assert torch.isfinite(weight).all()
        assert torch.isfinite(ones.grad).all()


def test_improved_without_weights_means_loops_of_two():
    edges, weight = gcn_norm(torch.tensor([[0, 1], [1, 0]]), num_nodes=2, improved=True, norm="row")
    torch.testing.assert_close(dense(edges, weight, 2), torch.tensor([[2.0, 1], [1, 2]]) / 3)


def test_gcn_norm_refuses_what_it_does_not_know():
    edge_index, n = GRAPHS["directed"]
    with pytest.raises(ValueError, match='"sym" or "row"'):
        gcn_norm(edge_index, num_nodes=n, norm="col")
    with pytest.raises(ValueError, match=r"\[E\] = \[5\]"):
        gcn_norm(edge_index, torch.ones(5, 1), n)
