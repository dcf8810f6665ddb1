"""Charged bodies: the plain specification over short horizons, energy, the clamp, the edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.speed import plain_simulations as plain
from course_lib.relations.simulate import charged, charged_energy, charged_from, momentum
from tests.devices import devices

LAW = {"dt": 0.001, "every": 100, "box": 5.0}


def _ring(simulations, bodies=5, seed=0):
    """Bodies around a circle of radius 2, at rest but for a little: no encounter for a while."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.arange(bodies, dtype=torch.float64) / bodies
    circle = 2 * torch.stack([angle.cos(), angle.sin()], -1)
    noise = torch.randn(2, simulations, bodies, 2, generator=generator, dtype=torch.float64) / 10
    charges = torch.where(torch.rand(simulations, bodies, generator=generator) < 0.5, 1.0, -1.0)
    return circle + noise[0], noise[1], charges.double()


def _plain(x, v, charges, frames, **law):
    one = [plain.charged(*(a.numpy() for a in s), frames, **LAW | law) for s in zip(x, v, charges)]
    return torch.from_numpy(np.stack(one))


@pytest.mark.parametrize("first_kick", [0.5, 1.0])
def test_the_plain_specification_agrees_over_ten_frames(first_kick):
    start = _ring(3)
    ours = charged_from(*start, 10, first_kick=first_kick)
    expected = _plain(*start, 10, first_kick=first_kick)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_the_plain_specification_agrees_at_walls_and_under_the_clamp():
    x, v, charges = _ring(3)
    x, v, charges = x / 8, 3 * v, torch.ones_like(charges)  # close together: a blast
    ours = charged_from(x, v, charges, 10, clamp=2.0, box=1.0)
    expected = _plain(x, v, charges, 10, clamp=2.0, box=1.0)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    assert ours[..., :2].abs().max() <= 1.0
    unclamped = charged_from(x, v, charges, 1, box=1.0)
    assert (unclamped - ours[:, :, :1]).abs().max() > 0.1


def test_random_starts_agree_for_a_frame_although_they_are_chaotic():
    made = charged(6, frames=3, generator=torch.Generator().manual_seed(0))
    x, v = made.states[:, :, 0, :2], made.states[:, :, 0, 2:]
    expected = _plain(x, v, made.attributes, 1)
    difference = (made.states[:, :, 1:2] - expected).abs().flatten(1).amax(1)
    assert difference.median() < 1e-12


def test_energy_and_momentum_are_conserved_while_all_repel():
    x, v, charges = _ring(20)
    charges = torch.ones_like(charges)
    states = charged_from(x, v, charges, 10)
    assert states[..., :2].abs().max() < 5  # no wall yet
    energy, total = charged_energy(states, charges), momentum(states)
    assert ((energy - energy[:, :1]) / energy[:, :1]).abs().max() < 1e-6
    torch.testing.assert_close(total, total[:, :1].expand_as(total), rtol=0, atol=1e-12)


def test_equal_charges_repel_and_opposite_ones_attract():
    x = torch.tensor([[[0.5, 0.0], [-0.5, 0.0]]], dtype=torch.float64).expand(2, -1, -1)
    charges = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    states = charged_from(x, torch.zeros_like(x), charges, 1, dt=1e-4, every=1)
    # a distance of 1: an acceleration of 1 along the line
    expected = torch.tensor([1e-4, -1e-4], dtype=torch.float64)
    torch.testing.assert_close(states[:, 0, 0, 2], expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(states[:, 1, 0, 2], -expected, rtol=1e-6, atol=0)


def test_two_repelling_bodies_gain_the_speed_that_energy_gives_them():
    """From rest at distance 1 to distance r: 2 v^2 / 2 = 1 - 1 / r."""
    x = torch.tensor([[[0.5, 0.0], [-0.5, 0.0]]], dtype=torch.float64)
    states = charged_from(x, torch.zeros_like(x), torch.ones(1, 2).double(), 20)
    distance = states[0, 0, :, 0] - states[0, 1, :, 0]
    torch.testing.assert_close(states[0, 0, :, 2], (1 - 1 / distance).sqrt(), rtol=0, atol=1e-6)


def test_accelerations_are_clamped():
    x = torch.tensor([[[0.005, 0.005], [-0.005, -0.005]]], dtype=torch.float64)
    states = charged_from(x, torch.zeros_like(x), torch.ones(1, 2).double(), 1, every=1)
    assert states[0, 0, 0, 2:].tolist() == pytest.approx([0.1, 0.1])


def test_types_say_repel_and_attract_and_no_pair_is_skipped():
    made = charged(300, frames=1, generator=torch.Generator().manual_seed(0))
    products = made.attributes[:, :, None] * made.attributes[:, None, :]
    off = ~torch.eye(5, dtype=torch.bool)
    assert torch.equal(made.edges[:, off], (products[:, off] < 0).long())
    assert made.attributes.unique().tolist() == [-1.0, 1.0]
    assert 0.4 < made.types.double().mean() < 0.6
    everyone = charged(5, frames=1, charge_probability=1.0)
    assert not everyone.edges.any()
    with pytest.raises(ValueError, match=r"charge_probability must lie in \[0, 1\]"):
        charged(2, charge_probability=-0.1)


@pytest.mark.parametrize("device", devices())
def test_every_device_follows_the_same_law(device):
    start = _ring(30)
    there = charged_from(*(a.to(device) for a in start), 3)
    assert there.device.type == device.type
    torch.testing.assert_close(there.cpu(), charged_from(*start, 3), rtol=0, atol=1e-11)
    made = charged(30, frames=1, generator=torch.Generator().manual_seed(0), device=device)
    here = charged(30, frames=1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(made.edges.cpu(), here.edges)
    apart = (made.states.cpu() - here.states).abs().flatten(1).amax(1)
    assert apart.median() < 1e-11
