"""The leapfrog, the walls, the fixed scales: analytic cases and properties."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from course_lib.relations import simulate
from course_lib.relations.motion import (
    check_generator,
    incidence,
    kinetic_energy,
    leapfrog,
    momentum,
    pair_differences,
    pair_sum,
    reflect,
    unordered_pairs,
)
from course_lib.relations.simulate import from_unit_box, to_unit_box

SYSTEMS = ("springs", "charged", "kuramoto", "n_body", "bouncing_balls", "string")


def _oscillator_error(dt, first_kick):
    """Distance of x'' = -x from x = cos t at t = 2, started at (1, 0)."""
    x, v = torch.ones(1, 2, 3).double(), torch.zeros(1, 2, 3).double()
    steps = round(2 / dt)
    x, v = leapfrog(x, v, lambda x: -x, dt=dt, steps=steps, first_kick=first_kick)
    t = torch.tensor(2.0).double()
    return max(float((x - t.cos()).abs().max()), float((v + t.sin()).abs().max()))


def test_half_a_first_kick_is_of_second_order_a_whole_one_of_first():
    for first_kick, factor in ((0.5, 4), (1.0, 2)):
        errors = [_oscillator_error(dt, first_kick) for dt in (0.1, 0.05, 0.025)]
        assert errors[0] / errors[1] == pytest.approx(factor, rel=0.1)
        assert errors[1] / errors[2] == pytest.approx(factor, rel=0.1)


def test_leapfrog_runs_backwards_when_velocities_turn():
    start, speed = torch.randn(2, 4, 2, 3).double()
    ahead = leapfrog(start, speed, lambda x: -x * x * x, dt=0.02, steps=50)
    back = leapfrog(ahead[0], -ahead[1], lambda x: -x * x * x, dt=0.02, steps=50)
    torch.testing.assert_close(back[0], start, rtol=0, atol=1e-11)
    torch.testing.assert_close(back[1], -speed, rtol=0, atol=1e-11)


def test_leapfrog_leaves_its_arguments_alone():
    start, speed = torch.randn(2, 4, 2, 3)
    kept = start.clone(), speed.clone()
    leapfrog(start, speed, lambda x: -x, dt=0.1, steps=3, box=0.5)
    assert torch.equal(start, kept[0])
    assert torch.equal(speed, kept[1])


def test_walls_mirror_what_is_outside_and_leave_the_rest_bit_by_bit():
    x = torch.tensor([5.25, -5.5, 4.9, -4.9, 5.0], dtype=torch.float64)
    v = torch.tensor([1.0, -2.0, 3.0, 4.0, 5.0]).double()
    mirrored, turned = reflect(x, v, 5.0)
    assert mirrored.tolist() == [4.75, -4.5, 4.9, -4.9, 5.0]
    assert turned.tolist() == [-1.0, 2.0, 3.0, 4.0, 5.0]


def test_behind_a_wall_a_velocity_that_points_inwards_stays():
    _, turned = reflect(torch.tensor([5.1, -5.1]), torch.tensor([-1.0, 1.0]), 5.0)
    assert turned.tolist() == [-1.0, 1.0]


def test_a_free_body_in_a_box_follows_a_triangle_wave():
    x, v = torch.zeros(1, 2, 1).double(), torch.tensor([1.0, -0.5]).double().view(1, 2, 1)
    for _ in range(10):
        x, v = leapfrog(x, v, torch.zeros_like, dt=0.01, steps=70, box=1.0)
    # 7 time units: x goes 0, 1, -1, 1, -1 and is at -1 after 7; y goes 0, -1 (2), 1 (6), 0.5 (7)
    torch.testing.assert_close(x.flatten(), torch.tensor([-1.0, 0.5]).double())
    assert v.flatten().abs().tolist() == [1.0, 0.5]


def test_pair_differences_and_sums_are_those_of_a_loop():
    positions = torch.randn(4, 2, 3).double()
    joined = unordered_pairs(4)
    assert joined.T.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
    matrix = incidence(joined, 4, positions)
    apart = pair_differences(matrix, positions)
    total = torch.zeros_like(positions)
    for row, (i, j) in enumerate(joined.T.tolist()):
        torch.testing.assert_close(apart[row], positions[i] - positions[j])
        total[i] += apart[row]
        total[j] -= apart[row]
    torch.testing.assert_close(pair_sum(matrix, apart), total)


def test_momentum_and_kinetic_energy_by_hand():
    states = torch.tensor([[[0, 0, 1.0, 2.0]], [[0, 0, -3.0, 0.0]]]).unsqueeze(0)  # [1, 2, 1, 4]
    masses = torch.tensor([[2.0, 1.0]])
    assert momentum(states).tolist() == [[[-2.0, 2.0]]]
    assert momentum(states, masses).tolist() == [[[-1.0, 4.0]]]
    assert kinetic_energy(states).tolist() == [[7.0]]
    assert kinetic_energy(states, masses).tolist() == [[9.5]]


def test_scales_are_constants_and_go_back():
    states = torch.randn(3, 5, 7, 4).double()
    scale = simulate.SPRINGS_SCALE
    unit = to_unit_box(states, scale)
    torch.testing.assert_close(from_unit_box(unit, scale), states)
    assert torch.equal(to_unit_box(states[1:2], scale), unit[1:2])
    assert torch.equal(to_unit_box(10 * states, scale)[..., 0], 10 * states[..., 0] / scale[0])
    for change in (to_unit_box, from_unit_box):
        with pytest.raises(ValueError, match="scale needs 4 numbers, one a feature, got 3"):
            change(states, scale[:3])


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_system_fills_its_unit_box_and_seldom_leaves_it(system):
    frames = 12 if system == "charged" else 49
    made = getattr(simulate, system)(64, frames=frames, generator=torch.Generator().manual_seed(0))
    unit = made.unit_states
    assert torch.equal(unit, made.states / torch.tensor(made.scale, dtype=torch.float64))
    assert (unit.abs() > 1).double().mean() < 0.01
    assert 0.3 < unit.abs().max() < 2
    assert made.states.dtype == torch.float64
    assert made.edges.dtype == torch.int64
    assert made.states.is_contiguous()
    assert not made.edges.diagonal(dim1=1, dim2=2).any()
    assert made.types.shape == (len(made), made.edges.size(1) * (made.edges.size(1) - 1))


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_seed_is_a_data_set(system):
    make = getattr(simulate, system)

    def run(seed, **options):
        return make(3, frames=2, generator=torch.Generator().manual_seed(seed), **options)

    first, again, other = run(7), run(7), run(8)
    assert torch.equal(first.states, again.states)
    assert torch.equal(first.edges, again.edges)
    assert not torch.equal(first.states, other.states)
    single = run(7, dtype=torch.float32)
    assert single.states.dtype == torch.float32
    assert torch.equal(single.edges, first.edges)
    torch.testing.assert_close(single.states.double(), first.states, rtol=0, atol=2e-2)
    torch.manual_seed(3)
    drawn = make(3, frames=2)
    torch.manual_seed(3)
    assert torch.equal(make(3, frames=2).states, drawn.states)


@pytest.mark.parametrize("system", SYSTEMS)
def test_counts_are_checked_and_none_is_allowed(system):
    make = getattr(simulate, system)
    assert make(0, frames=2).states.shape[0] == 0
    for wrong, message in (
        ({"frames": 0}, "frames must be at least 1, got 0"),
        ({"bodies": 0}, "bodies must be at least 1, got 0"),
        ({"every": 0}, "every must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make(2, **wrong)


def test_a_generator_of_another_device_is_refused():
    with pytest.raises(ValueError, match="must be a CPU generator, got one of cuda"):
        check_generator(SimpleNamespace(device=torch.device("cuda")))
