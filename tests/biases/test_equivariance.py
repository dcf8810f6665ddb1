"""The three moves, and the measure of how well a function follows them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.biases import equivariance_error, transform
from course_lib.graphs.layers import GCNConv
from tests.biases.cases import randn
from tests.devices import devices

EXAMPLES = settings(max_examples=30, deadline=None)


def test_the_three_moves_by_hand():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert transform(x, "permutation", torch.tensor([2, 0, 1, 3])).tolist() == [3, 1, 2, 4]
    assert transform(x, "cyclic_shift", 1).tolist() == [4, 1, 2, 3]
    assert transform(x, "time_shift", 1).tolist() == [0, 1, 2, 3]
    assert transform(x, "time_shift", 9).tolist() == [0, 0, 0, 0]
    square = torch.arange(4.0).view(2, 2)
    assert transform(square, "cyclic_shift", (1, 1), (0, 1)).tolist() == [[3, 2], [1, 0]]
    assert transform(square, "permutation", [1, 0], (0, 1)).tolist() == [[3, 2], [1, 0]]


def test_moves_that_make_no_sense_are_refused():
    x = torch.ones(4)
    with pytest.raises(ValueError, match=r"must be int64 \[4\], got int64 \[3\]"):
        transform(x, "permutation", torch.arange(3))
    with pytest.raises(ValueError, match=r"must be int64 \[4\], got float32 \[4\]"):
        transform(x, "permutation", torch.arange(4.0))
    for order in ([0, 0, 1, 2], [-1, 0, 1, 2], [1, 2, 3, 4]):
        with pytest.raises(ValueError, match=r"each of 0\.\.3 once, got \["):
            transform(x, "permutation", order)
    for group, element in (("permutation", range(4)), ("cyclic_shift", 1), ("time_shift", 1)):
        for dim in (1, -2):
            with pytest.raises(ValueError, match=rf"x, \[4\], has no axis {dim}"):
                transform(x, group, element, dim)
    with pytest.raises(ValueError, match="group must be one of"):
        transform(x, "rotation", 1)
    with pytest.raises(ValueError, match="cannot be negative"):
        transform(x, "time_shift", -1)
    with pytest.raises(ValueError, match="1 dims, 2 shifts"):
        transform(x, "cyclic_shift", (1, 1))


@given(n=st.integers(2, 9), channels=st.integers(1, 3), seed=st.integers(0, 999))
@EXAMPLES
def test_what_acts_place_by_place_follows_every_move(n, channels, seed):
    x = randn(n, channels, seed=seed)
    for group in ("permutation", "cyclic_shift", "time_shift"):
        assert equivariance_error(torch.sin, x, group) == 0
    assert equivariance_error(lambda z: z.sum(0), x, "permutation", out_dim=()) < 1e-12
    assert equivariance_error(lambda z: z.amax(0), x, "cyclic_shift", out_dim=()) == 0


def test_unrelated_outputs_err_by_the_square_root_of_two():
    x, dense = randn(400, 8), nn.Linear(400, 400).double()
    error = equivariance_error(lambda z: dense(z.T).T, x, "permutation")
    assert error == pytest.approx(2**0.5, rel=0.05)


def test_the_measure_by_hand():
    weight = torch.tensor([1.0, 0.0])  # f keeps place 0 and clears place 1
    x = torch.tensor([3.0, 4.0])  # f(g x) = (4, 0), g f(x) = (0, 3)
    for group in ("permutation", "cyclic_shift"):  # of two places: the swap, both
        assert equivariance_error(lambda z: z * weight, x, group) == pytest.approx(5 / 3)


def test_several_axes_move_together_or_each_by_its_own():
    image = randn(1, 1, 6, 5)
    convolve = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular").double()
    assert equivariance_error(convolve, image, "cyclic_shift", dim=(2, 3)) < 1e-12
    adjacency = randn(5, 5)
    assert equivariance_error(lambda a: a @ a, adjacency, "permutation", dim=(0, 1)) < 1e-12
    assert equivariance_error(lambda a: a @ a, adjacency, "permutation", dim=0) > 0.1
    assert equivariance_error(lambda a: a.sum(1), adjacency, "permutation") < 1e-12
    assert equivariance_error(lambda a: a.sum(0), adjacency, "permutation") > 0.1


def test_a_zero_padded_convolution_errs_at_the_border_only():
    image = randn(64, 1, 16, 16)
    circular = nn.Conv2d(1, 8, 3, padding=1, padding_mode="circular", bias=False).double()
    padded = nn.Conv2d(1, 8, 3, padding=1, bias=False).double()
    error = equivariance_error(padded, image, "cyclic_shift", dim=(2, 3), elements=30)
    assert equivariance_error(circular, image, "cyclic_shift", dim=(2, 3)) < 1e-12
    assert error == pytest.approx(0.41, abs=0.03)


def test_a_graph_layer_follows_if_its_edges_do():
    ring = torch.stack([torch.arange(7), torch.arange(7).roll(1)])
    x, layer = randn(7, 3), GCNConv(3, 2).double()
    for group in ("permutation", "cyclic_shift"):
        assert equivariance_error(layer, x, group, edge_index=ring) < 1e-12
    path = ring[:, 1:]
    assert equivariance_error(layer, x, "permutation", edge_index=path) < 1e-12
    assert equivariance_error(layer, x, "cyclic_shift", edge_index=path) < 1e-12
    assert equivariance_error(lambda z: layer(z, ring), x, "cyclic_shift") < 1e-12  # a ring has it
    assert equivariance_error(lambda z: layer(z, ring), x, "permutation") > 0.1
    assert equivariance_error(lambda z: layer(z, path), x, "cyclic_shift") > 0.1


def test_a_recurrent_layer_follows_delays_if_its_state_begins_where_the_sequence_does():
    layer, x, h0 = nn.RNN(2, 5).double(), randn(12, 2), randn(1, 5)

    def from_the_first_step(z):
        start = int(z.any(1).int().argmax())
        return torch.cat([h0.expand(start, 5), layer(z[start:], h0)[0]])

    assert equivariance_error(from_the_first_step, x, "time_shift") < 1e-12
    assert equivariance_error(lambda z: layer(z)[0], x, "time_shift") > 0.01
    plain = nn.RNN(2, 5, bias=False).double()  # silence leaves its state at h0 = 0
    assert equivariance_error(lambda z: plain(z)[0], x, "time_shift") == 0
    assert equivariance_error(from_the_first_step, x, "cyclic_shift") > 0.1


def test_the_measure_draws_from_the_generator_it_is_given():
    dense, x = nn.Linear(9, 9).double(), randn(9)
    runs = [
        equivariance_error(
            dense, x, "permutation", elements=2, generator=torch.Generator().manual_seed(seed)
        )
        for seed in (1, 1, 2)
    ]
    assert runs[0] == runs[1] != runs[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": "rotation"}, "group must be one of"),
        ({"dim": 1}, "at least two places"),
        ({"elements": 0}, "elements >= 1"),
        ({"dim": (0, 2)}, r"different lengths \[4, 3\]"),
        ({"dim": (0, 0), "out_dim": 0}, "name as many"),
        ({"group": "time_shift", "edge_index": torch.zeros(2, 1).long()}, "keep the graph fixed"),
        ({"out_dim": 1}, r"pass out_dim=\(\)"),
        ({"out_dim": 3}, r"the output, \[4, 1, 3\], has no axis 3"),
        ({"dim": 3}, r"x, \[4, 1, 3\], has no axis 3"),
        ({"dim": -4}, r"x, \[4, 1, 3\], has no axis -4"),
    ],
)
def test_measures_that_make_no_sense_are_refused(options, message):
    group = options.pop("group", "permutation")
    with pytest.raises(ValueError, match=message):
        equivariance_error(lambda z, *_: z, torch.ones(4, 1, 3), group, **options)


def test_an_output_without_the_axis_is_refused():
    with pytest.raises(ValueError, match=r"the output, \[\], has no axis 0"):
        equivariance_error(torch.sum, torch.ones(4), "permutation")
    with pytest.raises(ValueError, match=r"the output, \[4\], has no axis 1: .* out_dim=\(\)"):
        equivariance_error(lambda z: z.sum(1), torch.ones(4, 3), "cyclic_shift", dim=1)


@pytest.mark.parametrize("device", devices())
def test_moves_and_measure_on_each_device(device):
    x, weight = randn(6, 4, seed=1), randn(6, 6, seed=2)
    ring = torch.stack([torch.arange(6), torch.arange(6).roll(1)]).to(device)
    there, moved_weight, layer = x.to(device), weight.to(device), GCNConv(4, 2).double().to(device)
    for group, element in (
        ("permutation", torch.arange(6).flip(0)),
        ("cyclic_shift", 2),
        ("time_shift", 2),
    ):
        moved = transform(there, group, element)
        assert moved.device == there.device
        assert torch.equal(moved.cpu(), transform(x, group, element))
        errors = [
            equivariance_error(
                lambda z, w=w: w @ z, z, group, generator=torch.Generator().manual_seed(0)
            )
            for w, z in ((weight, x), (moved_weight, there))
        ]
        assert errors[0] == pytest.approx(errors[1])
    assert equivariance_error(layer, there, "permutation", edge_index=ring) < 1e-12
