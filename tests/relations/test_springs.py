"""Springs: the plain specification, conservation, walls, the fast path beside the stepped one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.speed import plain_simulations as plain
from course_lib.relations.simulate import momentum, springs, springs_energy, springs_from
from tests.devices import devices


def _start(simulations, bodies, seed=0, speed=0.5):
    """Positions, velocities [S, N, 2] and symmetric weights [S, N, N] of three strengths."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(simulations, bodies, 2, generator=generator).double() / 2
    v = speed * torch.randn(simulations, bodies, 2, generator=generator).double()
    weights = torch.randint(3, (simulations, bodies, bodies), generator=generator) / 2
    weights = weights.tril(-1).double()
    return x, v, weights + weights.mT


def _plain(x, v, weights, frames, **law):
    law = {"dt": 0.001, "every": 100, "box": 5.0} | law
    one = [plain.springs(*(a.numpy() for a in s), frames, **law) for s in zip(x, v, weights)]
    return torch.from_numpy(np.stack(one))


@pytest.mark.parametrize("first_kick", [0.5, 1.0])
@pytest.mark.parametrize("bodies", [1, 2, 5])
def test_the_plain_specification_agrees_over_ten_frames(bodies, first_kick):
    start = _start(2, bodies)
    expected = _plain(*start, 10, first_kick=first_kick)
    for stepped in (False, True):
        ours = springs_from(*start, 10, first_kick=first_kick, stepped=stepped)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


def test_the_plain_specification_agrees_at_walls():
    x, v, weights = _start(3, 4, speed=3.0)
    expected = _plain(x, v, weights, 10, box=2.0)
    bounced = expected[..., 2:].diff(dim=2).abs().amax() > 3
    assert bounced
    for stepped in (False, True):
        ours = springs_from(x, v, weights, 10, box=2.0, stepped=stepped)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)


@given(st.integers(1, 6), st.integers(0, 10**6), st.sampled_from([0.3, 1.0, 3.0]))
@settings(max_examples=8, deadline=None)
def test_matrix_powers_are_the_steps_with_and_without_walls(bodies, seed, speed):
    start = _start(4, bodies, seed, speed)
    law = {"dt": 0.002, "every": 50, "box": 3.0}
    fast, stepped = (springs_from(*start, 15, stepped=s, **law) for s in (False, True))
    torch.testing.assert_close(fast, stepped, rtol=0, atol=1e-10)
    assert fast[..., :2].abs().max() <= 3.0


def test_a_wall_touched_between_two_frames_is_not_missed():
    """Two bodies rush to opposite walls and a stiff spring has them back before the frame."""
    x = torch.tensor([[[1.99, 0.0], [-1.99, 0.0]]], dtype=torch.float64)
    v = torch.tensor([[[2.0, 0.0], [-2.0, 0.0]]], dtype=torch.float64)
    law = {"interaction": 25.0, "box": 2.0}
    weights = torch.ones(1, 2, 2, dtype=torch.float64)
    away = springs_from(x, v, weights, 1, interaction=25.0, box=9.0)
    assert away[..., :2].abs().max() < 1.9  # without walls the frame shows no body near one
    fast = springs_from(x, v, weights, 1, **law)
    stepped = springs_from(x, v, weights, 1, stepped=True, **law)
    torch.testing.assert_close(fast, stepped, rtol=0, atol=1e-12)
    assert (fast - away).abs().max() > 0.1


def test_long_runs_meet_walls_and_agree_there_with_the_steps():
    made = springs(40, frames=2, generator=torch.Generator().manual_seed(1))
    start = made.states[:, :, 0, :2], made.states[:, :, 0, 2:], made.edges.double()
    fast, stepped = (springs_from(*start, 97, stepped=s) for s in (False, True))
    torch.testing.assert_close(fast, stepped, rtol=0, atol=1e-10)
    assert 0 < (fast[..., :2].abs() > 4.9).flatten(1).any(1).double().mean() < 0.3
    torch.testing.assert_close(fast[:, :, 0], made.states[:, :, 1], rtol=0, atol=1e-12)


def test_energy_and_momentum_are_conserved_away_from_walls():
    made = springs(500, generator=torch.Generator().manual_seed(0))
    for first_kick, bound in ((0.5, 1e-7), (1.0, 2e-4)):
        again = springs(500, generator=torch.Generator().manual_seed(0), first_kick=first_kick)
        energy = springs_energy(again.states, again.edges.double())
        drift = ((energy - energy[:, :1]) / energy[:, :1]).abs().amax(1)
        assert drift.median() < bound
        assert (first_kick == 1.0) == bool(drift.median() > 1e-6)
    total = momentum(made.states)
    torch.testing.assert_close(total, total[:, :1].expand_as(total), rtol=0, atol=1e-11)


def test_walls_conserve_energy():
    x, v, weights = _start(20, 4, speed=3.0)
    energy = springs_energy(springs_from(x, v, weights, 20, box=2.0), weights)
    drift = ((energy - energy[:, :1]) / energy[:, :1]).abs().amax(1)
    assert drift.median() < 2e-3  # a mirrored body has moved a step's distance against the springs


def test_positions_and_velocities_spread_as_the_public_data():
    states = springs(4000, generator=torch.Generator().manual_seed(0)).states
    assert 0.82 <= states[..., :2].std() <= 0.88
    assert states[..., 2:].std() == pytest.approx(0.32, abs=0.01)


def test_two_bodies_swing_about_their_centre():
    """One spring between two unit masses: the distance swings with omega^2 = 2 k."""
    x = torch.tensor([[[1.0, 0.0], [-1.0, 0.0]]], dtype=torch.float64)
    weights = torch.ones(1, 2, 2, dtype=torch.float64)
    states = springs_from(x, torch.zeros_like(x), weights, 30)
    t = 0.1 * torch.arange(1, 31, dtype=torch.float64)
    torch.testing.assert_close(states[0, 0, :, 0], torch.cos(math.sqrt(0.2) * t), rtol=0, atol=1e-6)
    torch.testing.assert_close(states[0, 0], -states[0, 1], rtol=0, atol=1e-12)


def test_without_springs_bodies_move_straight_on():
    made = springs(4, frames=5, spring_probability=0.0, generator=torch.Generator().manual_seed(0))
    assert not made.edges.any()
    x, v = made.states[..., :2], made.states[..., 2:]
    torch.testing.assert_close(x.diff(dim=2), 0.1 * v[:, :, :-1], rtol=0, atol=1e-12)
    torch.testing.assert_close(v.norm(dim=-1), torch.full_like(v[..., 0], 0.5))


def test_edges_are_symmetric_and_of_the_types_asked_for():
    make = {"frames": 1, "generator": torch.Generator().manual_seed(0)}
    made = springs(2000, strengths=(0.0, 0.5, 1.0), spring_probability=0.6, **make)
    assert torch.equal(made.edges, made.edges.mT)
    shares = made.types.flatten().bincount() / made.types.numel()
    torch.testing.assert_close(shares, torch.tensor([0.4, 0.3, 0.3]), rtol=0, atol=0.02)
    assert springs(3, spring_probability=1.0, **make).types.unique().tolist() == [1]


def test_the_strength_of_a_type_is_the_springs():
    seeded = {"frames": 10, "spring_probability": 1.0}
    soft, hard = (
        springs(3, strengths=(0.0, w), generator=torch.Generator().manual_seed(0), **seeded)
        for w in (0.5, 1.0)
    )
    weaker = springs(3, interaction=0.05, generator=torch.Generator().manual_seed(0), **seeded)
    torch.testing.assert_close(soft.states, weaker.states, rtol=0, atol=1e-13)
    assert (soft.states - hard.states).abs().max() > 1e-2


def test_errors_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"spring_probability must lie in \[0, 1\], got 1.5"):
        springs(2, spring_probability=1.5)
    with pytest.raises(ValueError, match="at least two types"):
        springs(2, strengths=(1.0,))
    x, v, weights = _start(2, 3)
    with pytest.raises(ValueError, match="weights must be symmetric"):
        springs_from(x, v, weights.tril(), 2)
    with pytest.raises(ValueError, match="start inside the box"):
        springs_from(x + 10, v, weights, 2)


@pytest.mark.parametrize("device", devices())
def test_a_seed_means_the_same_on_every_device(device):
    there = springs(50, frames=10, generator=torch.Generator().manual_seed(0), device=device)
    here = springs(50, frames=10, generator=torch.Generator().manual_seed(0))
    assert there.states.device.type == there.edges.device.type == device.type
    assert torch.equal(there.edges.cpu(), here.edges)
    torch.testing.assert_close(there.states.cpu(), here.states, rtol=0, atol=1e-11)
