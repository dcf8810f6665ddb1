"""The complete graph's indices: by hand, against a loop, and there and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.relations.graphs import (
    complete_graph,
    edges_to_types,
    reverse_edges,
    types_to_edges,
)
from tests.devices import devices

bodies = st.integers(2, 7)


def test_three_bodies_by_hand():
    assert complete_graph(3).tolist() == [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]
    edges = torch.tensor([[9, 1, 2], [3, 9, 4], [5, 6, 9]])  # row receives, column sends
    assert edges_to_types(edges).tolist() == [1, 2, 3, 4, 5, 6]
    assert types_to_edges(torch.arange(1, 7)).tolist() == [[0, 1, 2], [3, 0, 4], [5, 6, 0]]
    assert reverse_edges(3).tolist() == [2, 4, 0, 5, 1, 3]


@given(bodies)
@settings(max_examples=7, deadline=None)
def test_every_ordered_pair_stands_once_sorted_by_receiver_then_sender(n):
    expected = [(j, i) for i in range(n) for j in range(n) if i != j]
    assert [tuple(pair) for pair in complete_graph(n).T.tolist()] == expected


@given(bodies, st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_vector_and_matrix_form_are_inverse_to_each_other(n, seed):
    generator = torch.Generator().manual_seed(seed)
    edges = torch.randn(2, 3, n, n, generator=generator)
    types = edges_to_types(edges)
    there_and_back = types_to_edges(types)
    off = ~torch.eye(n, dtype=torch.bool)
    assert torch.equal(there_and_back[..., off], edges[..., off])
    assert not there_and_back.diagonal(dim1=-2, dim2=-1).any()
    senders, receivers = complete_graph(n)
    assert torch.equal(types, edges[..., receivers, senders])


@given(bodies)
@settings(max_examples=6, deadline=None)
def test_reversed_edges_are_those_of_the_transposed_matrix(n):
    edges = torch.randn(n, n)
    assert torch.equal(edges_to_types(edges)[reverse_edges(n)], edges_to_types(edges.T))
    assert torch.equal(complete_graph(n)[:, reverse_edges(n)], complete_graph(n).flip(0))


def test_gradients_pass_both_ways():
    edges = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e: types_to_edges(edges_to_types(e)), edges)


def test_one_body_has_no_edges():
    assert complete_graph(1).shape == (2, 0)
    assert edges_to_types(torch.zeros(5, 1, 1)).shape == (5, 0)
    assert reverse_edges(1).shape == (0,)


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match="at least one body, got bodies=0"):
        complete_graph(0)
    with pytest.raises(ValueError, match=r"square matrices .* got \[3, 4\]"):
        edges_to_types(torch.zeros(3, 4))
    for shape in ((2, 5), (2, 0), ()):
        with pytest.raises(ValueError, match=r"N \(N - 1\)"):
            types_to_edges(torch.zeros(shape))


@pytest.mark.parametrize("device", devices())
def test_indices_lie_on_the_device_of_what_they_index(device):
    assert complete_graph(3, device=device).device.type == device.type
    edges = torch.rand(2, 3, 3, device=device)
    assert types_to_edges(edges_to_types(edges)).device.type == device.type
