"""Planets, balls and strings: plain specifications, conservation, hand-made collisions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from benchmarks.speed import plain_simulations as plain
from course_lib.relations.simulate import (
    bouncing_balls,
    bouncing_balls_from,
    kinetic_energy,
    momentum,
    n_body,
    n_body_energy,
    n_body_from,
    string,
    string_energy,
    string_from,
)
from tests.devices import devices


def _seeded(make, simulations, **options):
    return make(simulations, generator=torch.Generator().manual_seed(0), **options)


def _start(made):
    return made.states[:, :, 0, :2], made.states[:, :, 0, 2:]


def _plain(specification, *arrays, frames=10, **law):
    one = [specification(*(a.numpy() for a in s), frames, **law) for s in zip(*arrays)]
    return torch.from_numpy(np.stack(one))


def test_planets_agree_with_the_plain_specification():
    made = _seeded(n_body, 3, frames=1)
    x, v, masses = *_start(made), made.attributes
    for softening in (0.0, 0.05):
        law = {"dt": 0.001, "every": 50, "softening": softening}
        expected = _plain(plain.n_body, x, v, masses, **law)
        ours = n_body_from(x, v, masses, 10, **law)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_planets_conserve_energy_and_momentum():
    made = _seeded(n_body, 30, frames=30)
    energy = n_body_energy(made.states, made.attributes)
    assert ((energy - energy[:, :1]) / energy[:, :1]).abs().amax(1).median() < 1e-4
    assert momentum(made.states, made.attributes).abs().max() < 1e-13


def test_a_circular_orbit_closes_after_its_period():
    """A planet of hardly any mass at r = 1 around G M = 1: the period is 2 pi."""
    x = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]], dtype=torch.float64)
    v = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    masses = torch.tensor([[1.0, 1e-12]], dtype=torch.float64)
    law = {"dt": 2 * math.pi / 4000, "every": 1000, "softening": 0.0}
    states = n_body_from(x, v, masses, 4, **law)
    corners = [[0, 1, -1, 0], [-1, 0, 0, -1], [0, -1, 1, 0], [1, 0, 0, 1]]
    torch.testing.assert_close(states[0, 1], torch.tensor(corners).double(), rtol=0, atol=1e-5)


def test_gravity_attracts_and_falls_with_the_square_of_the_distance():
    x = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]], dtype=torch.float64)
    masses = torch.tensor([[3.0, 5.0]], dtype=torch.float64)
    law = {"gravity": 2.0, "softening": 0.0, "dt": 1e-5, "every": 1}
    states = n_body_from(x, torch.zeros_like(x), masses, 1, **law)
    pull = states[0, :, 0, 2] / 1e-5
    assert pull.tolist() == pytest.approx([2 * 5 / 4, -2 * 3 / 4])


def test_planets_start_around_a_star_of_mass_one():
    made = _seeded(n_body, 200, bodies=4, frames=1, every=1)
    assert (made.attributes[:, 0] == 1).all()
    assert 0.01 <= made.attributes[:, 1:].min() < made.attributes[:, 1:].max() <= 0.1
    distance = (made.states[:, 1:, 0, :2] - made.states[:, :1, 0, :2]).norm(dim=-1)
    assert 0.49 < distance.min() < 0.6
    assert 1.9 < distance.max() < 2.01
    assert (made.types == 1).all()


def test_strings_agree_with_the_plain_specification():
    made = _seeded(string, 3, bodies=5, frames=1)
    law = {"stiffness": 20.0, "rest_length": 0.5, "gravity": 0.3, "dt": 0.001, "every": 50}
    ours = string_from(*_start(made), 10, **law)
    expected = _plain(plain.string, *_start(made), **law)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_a_string_hangs_from_its_pegs_and_conserves_energy():
    made = _seeded(string, 20, frames=20)
    pegs = made.states[:, [0, -1]]
    assert (pegs[..., 0].abs() == 1).all()
    assert not pegs[..., 1:].any()
    energy = string_energy(made.states, stiffness=20.0, rest_length=2 / 9, gravity=0.3)
    scale = kinetic_energy(made.states).amax(1)
    assert ((energy - energy[:, :1]).abs().amax(1) / scale).median() < 1e-4
    chain = torch.diag_embed(torch.ones(9).long(), 1)
    assert torch.equal(made.edges, (chain + chain.T).expand(20, -1, -1))


def test_a_spring_pulls_when_long_and_pushes_when_short():
    law = {"stiffness": 3.0, "rest_length": 1.0, "pegs": False, "dt": 1e-5, "every": 1}
    for length, force in ((1.5, 3.0 * 0.5), (0.5, -3.0 * 0.5), (1.0, 0.0)):
        x = torch.tensor([[[0.0, 0.0], [0.0, length]]], dtype=torch.float64)
        states = string_from(x, torch.zeros_like(x), 1, **law)
        assert (states[0, :, 0, 3] / 1e-5).tolist() == pytest.approx([force, -force], abs=1e-6)
    states = string_from(x, torch.zeros_like(x), 1, gravity=2.0, **law)
    assert (states[0, :, 0, 3] / 1e-5).tolist() == pytest.approx([-2.0, -2.0])


def test_balls_agree_with_the_plain_specification():
    made = _seeded(bouncing_balls, 4, bodies=6, radius=0.2, frames=1, every=1)
    law = {"radius": 0.2, "box": 1.0, "dt": 0.005, "every": 20}
    x, v = _start(made)
    ours = bouncing_balls_from(x, v, made.attributes, 10, **law)
    expected = _plain(plain.bouncing_balls, x, v, made.attributes, **law)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-11)
    speeds = expected[..., 2:].norm(dim=-1)
    assert (speeds.diff(dim=-1).abs() > 1e-6).any(-1).double().mean() > 0.5  # most have collided


def test_balls_conserve_energy_exactly_and_do_not_pass_through_each_other():
    made = _seeded(bouncing_balls, 40, bodies=6, radius=0.2, frames=30)
    energy = kinetic_energy(made.states, made.attributes)
    torch.testing.assert_close(energy, energy[:, :1].expand_as(energy), rtol=1e-12, atol=0)
    x = made.states[..., :2]
    assert x.abs().max() <= 0.8 + 1e-12
    apart = (x.unsqueeze(1) - x.unsqueeze(2)).norm(dim=-1) + 9 * torch.eye(6)[:, :, None]
    assert apart.min() > 0.4 - 0.05  # overlap is at most what they move in a step
    first = bouncing_balls(200, bodies=9, radius=0.3, frames=1, every=1, dt=1e-9).states[..., 0, :2]
    starts = (first.unsqueeze(1) - first.unsqueeze(2)).norm(dim=-1) + 9 * torch.eye(9)
    assert starts.min() > 0.6


def test_a_head_on_collision_of_equal_masses_exchanges_velocities():
    x = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]], dtype=torch.float64)
    v = torch.tensor([[[1.0, 0.3], [0.0, 0.0]]], dtype=torch.float64).mul(torch.tensor([1.0, 0.0]))
    law = {"radius": 0.2, "box": 100.0, "dt": 0.001, "every": 700}
    states = bouncing_balls_from(x, v, torch.ones(1, 2).double(), 1, **law)
    torch.testing.assert_close(states[0, 0, 0, 2:], torch.zeros(2).double())
    torch.testing.assert_close(states[0, 1, 0, 2:], v[0, 0])


def test_a_heavy_ball_throws_a_light_one_at_nearly_twice_its_speed():
    x = torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]], dtype=torch.float64)
    v = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    masses = torch.tensor([[99.0, 1.0]], dtype=torch.float64)
    law = {"radius": 0.2, "box": 100.0, "dt": 0.001, "every": 700}
    states = bouncing_balls_from(x, v, masses, 1, **law)
    assert states[0, :, 0, 2].tolist() == pytest.approx([0.98, 1.98])
    assert momentum(states, masses)[0, 0].tolist() == pytest.approx([99.0, 0.0])


def test_a_collision_leaves_the_tangential_velocities_alone():
    """They meet at 45 degrees: only the components along the line of centres are exchanged."""
    x = torch.tensor([[[0.0, 0.0], [0.14, 0.14]]], dtype=torch.float64)
    v = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    law = {"radius": 0.1, "box": 100.0, "dt": 1e-6, "every": 1}
    states = bouncing_balls_from(x, v, torch.ones(1, 2).double(), 1, **law)
    half = torch.full((2,), 0.5, dtype=torch.float64)
    torch.testing.assert_close(states[0, 1, 0, 2:], half, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        states[0, 0, 0, 2:], half * half.new_tensor([1, -1]), rtol=0, atol=1e-4
    )


def test_overlapping_balls_that_part_are_left_alone():
    x = torch.tensor([[[-0.1, 0.0], [0.1, 0.0]]], dtype=torch.float64)
    v = torch.tensor([[[-1.0, 0.5], [1.0, 0.0]]], dtype=torch.float64)
    law = {"radius": 0.2, "box": 100.0, "dt": 0.001, "every": 20}
    states = bouncing_balls_from(x, v, torch.ones(1, 2).double(), 1, **law)
    assert torch.equal(states[:, :, 0, 2:], v)


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"5 balls of radius 0.5 do not fit .* at most 0.333"):
        bouncing_balls(2, radius=0.5)
    with pytest.raises(ValueError, match="at least 3 bodies, got 2"):
        string(2, bodies=2)


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("make", [n_body, bouncing_balls, string])
def test_a_seed_means_the_same_on_every_device(make, device):
    there = _seeded(make, 10, frames=3, device=device)
    here = _seeded(make, 10, frames=3)
    assert there.states.device.type == there.attributes.device.type == device.type
    torch.testing.assert_close(there.states.cpu(), here.states, rtol=0, atol=1e-9)
