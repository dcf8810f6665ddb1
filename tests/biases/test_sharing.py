"""Tied along the orbits is equivariant, and nothing else is: both ways, for every group (Hypothesis)."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from course_lib.biases import (
    SharedLinear,
    cyclic_orbits,
    equivariance_error,
    permutation_orbits,
    tie,
    weight_orbits,
)
from tests.biases.cases import randn
from tests.devices import devices

EXAMPLES = settings(max_examples=30, deadline=None)
ORBITS = {"permutation": permutation_orbits, "cyclic_shift": cyclic_orbits}
GENERATORS = {  # of the same groups, as permutations: a shift; a shift and a swap
    "cyclic_shift": lambda n: torch.arange(n).roll(1)[None],
    "permutation": lambda n: torch.stack(
        [torch.arange(n).roll(1), torch.tensor([1, 0, *range(2, n)])]
    ),
}


@given(n=st.integers(2, 7), group=st.sampled_from([*ORBITS]), seed=st.integers(0, 999))
@EXAMPLES
def test_tied_maps_are_equivariant_and_untied_ones_are_not(n, group, seed):
    x, weight, orbits = randn(n, seed=seed), randn(n, n, seed=seed + 1), ORBITS[group](n)
    tied = tie(weight, orbits)
    assert equivariance_error(lambda z: tied @ z, x, group) < 1e-10
    assume(float((weight - tied).norm()) > 0.1)
    many = randn(n, 20, seed=seed)
    assert equivariance_error(lambda z: weight @ z, many, group) > 0.01


@given(n=st.integers(2, 5), group=st.sampled_from([*ORBITS]), seed=st.integers(0, 999))
@EXAMPLES
def test_tying_is_averaging_over_the_group_and_a_projection(n, group, seed):
    weight, orbits = randn(n, n, seed=seed), ORBITS[group](n)
    if group == "permutation":
        orders = [torch.tensor(order) for order in itertools.permutations(range(n))]
    else:
        orders = [torch.arange(n).roll(k) for k in range(n)]
    averaged = torch.stack([weight[order][:, order] for order in orders]).mean(0)
    tied = tie(weight, orbits)
    torch.testing.assert_close(tied, averaged)
    torch.testing.assert_close(tie(tied, orbits), tied)
    assert abs(float(((weight - tied) * tied).sum())) < 1e-10  # orthogonal: the nearest tied map


@given(n=st.integers(2, 7), group=st.sampled_from([*ORBITS]))
@EXAMPLES
def test_the_orbits_follow_from_the_groups_generators(n, group):
    found, known = weight_orbits(GENERATORS[group](n)), ORBITS[group](n)
    same = known.flatten()[:, None] == known.flatten()
    assert torch.equal(found.flatten()[:, None] == found.flatten(), same)
    assert sorted(found.unique().tolist()) == list(range(len(known.unique())))


def test_orbits_between_inputs_and_outputs_that_move_differently():
    swap, stay = torch.tensor([[1, 0]]), torch.tensor([[0]])
    assert weight_orbits(swap, stay).tolist() == [[0, 0]]  # an invariant sum
    with pytest.raises(ValueError, match="1 moves of the input but 2"):
        weight_orbits(swap, stay.expand(2, 1))
    with pytest.raises(ValueError, match="a permutation"):
        weight_orbits(torch.tensor([[0, 0]]))


@pytest.mark.parametrize("group", ORBITS)
def test_the_shared_layer_is_equivariant_bias_and_all(group):
    layer = SharedLinear(ORBITS[group](6), torch.zeros(6, dtype=torch.int64)).double()
    assert layer.values.numel() == {"permutation": 2, "cyclic_shift": 6}[group]
    assert equivariance_error(lambda x: layer(x.T).T, randn(6, 4), group) < 1e-12
    own = SharedLinear(ORBITS[group](6), torch.arange(6)).double()  # a bias for each place
    assert equivariance_error(lambda x: own(x.T).T, randn(6, 4), group) > 0.01


def test_the_permutation_layer_is_deep_sets():
    layer, x = SharedLinear(permutation_orbits(5)).double(), randn(3, 5)
    me, others = layer.values
    torch.testing.assert_close(layer(x), (me - others) * x + others * x.sum(1, keepdim=True))


def test_a_shared_weights_gradient_is_the_sum_over_its_places():
    orbits = torch.tensor([[0, 1, -1], [1, 0, 2]])
    layer, x, target = SharedLinear(orbits, torch.tensor([0, 0])).double(), randn(4, 3), randn(4, 2)
    free = layer.weight.detach().requires_grad_()
    F.mse_loss(layer(x), target).backward()
    F.mse_loss(F.linear(x, free, layer.bias.detach()), target).backward()
    by_hand = [free.grad[orbits == k].sum() for k in range(3)]
    torch.testing.assert_close(layer.values.grad, torch.stack(by_hand))
    assert layer.weight[0, 2] == 0
    assert tie(randn(2, 3), orbits)[0, 2] == 0


@pytest.mark.parametrize(
    ("orbits", "message"),
    [
        (torch.zeros(2, 2), "must be int64"),
        (torch.full((2, 2), -2), "-1 for forbidden"),
        (torch.zeros(4, dtype=torch.int64), r"\[n_out, n_in\]"),
    ],
)
def test_orbits_are_checked(orbits, message):
    with pytest.raises(ValueError, match=message):
        SharedLinear(orbits)
    with pytest.raises(ValueError, match=r"bias_orbits must be int64 \[2\]"):
        SharedLinear(permutation_orbits(2), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"bias_orbits are numbered from 0, .* got -2"):
        SharedLinear(permutation_orbits(2), torch.tensor([0, -2]))
    with pytest.raises(ValueError, match="one shape"):
        tie(torch.ones(2, 3), permutation_orbits(2))


@given(
    generators=st.integers(2, 7).flatmap(
        lambda n: st.lists(st.permutations(range(n)), min_size=1, max_size=2)
    ),
    seed=st.integers(0, 999),
)
@EXAMPLES
def test_the_theorem_for_any_group_of_permutations(generators, seed):
    moves = torch.tensor(generators)
    weight, orbits = randn(moves.size(1), moves.size(1), seed=seed), weight_orbits(moves)
    tied = tie(weight, orbits)
    for g in moves:  # W g = g W for the generators, and so for all that they generate
        torch.testing.assert_close(tied[:, g.argsort()], tied[g])
    broken = [float((weight[:, g.argsort()] - weight[g]).abs().max()) for g in moves]
    assert (max(broken) > 1e-3) == bool((weight - tied).norm() > 1e-3)


@pytest.mark.parametrize("device", devices())
def test_the_shared_layer_on_each_device(device):
    layer = SharedLinear(cyclic_orbits(5), torch.zeros(5, dtype=torch.int64)).double()
    x, there = randn(3, 5), SharedLinear(cyclic_orbits(5), torch.zeros(5, dtype=torch.int64))
    there.double().load_state_dict(layer.state_dict())
    there.to(device)
    layer(x).square().sum().backward()
    there(x.to(device)).square().sum().backward()
    torch.testing.assert_close(there(x.to(device)).cpu(), layer(x))
    torch.testing.assert_close(there.values.grad.cpu(), layer.values.grad)
    torch.testing.assert_close(
        tie(layer.weight.to(device), cyclic_orbits(5)).cpu(), layer.weight.detach()
    )
