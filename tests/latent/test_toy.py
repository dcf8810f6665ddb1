"""The two moons: a density that is one, its own samples, and distances between samples."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import energy_distance as scipys

from course_lib.latent.toy import (
    energy_distance,
    plane_grid,
    total_probability,
    two_moons,
    two_moons_entropy,
    two_moons_log_prob,
)
from tests.devices import devices

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("noise", [0.05, 0.1, 0.3])
def test_the_density_integrates_to_one_and_is_that_of_the_samples(noise):
    assert total_probability(lambda x: two_moons_log_prob(x, noise)) == pytest.approx(1, abs=1e-3)
    log_p = two_moons_log_prob(two_moons(20_000, seeded(), noise), noise)
    error = float(log_p.std()) / math.sqrt(len(log_p))
    assert abs(float(log_p.mean()) + two_moons_entropy(noise)) < 4 * error


def test_samples_fill_each_part_of_the_plane_as_the_density_says():
    """Counts of 20,000 points in 12 x 12 cells against the density's mass there: chi-square."""
    points = two_moons(20_000, seeded(1))
    grid, area = plane_grid(240)
    mass = (two_moons_log_prob(grid).exp() * area).view(12, 20, 12, 20).sum((1, 3)).flatten()
    cell = ((points + 3) / 0.5).floor().long()
    counts = torch.bincount(cell[:, 1] * 12 + cell[:, 0], minlength=144)
    expected = 20_000 * mass
    often = expected > 5
    square = ((counts - expected).square() / expected)[often].sum()
    freedom = int(often.sum()) - 1
    assert float(square) < freedom + 4 * math.sqrt(2 * freedom)


def test_the_moons_are_each_others_point_reflection_with_mean_zero():
    x = two_moons(500, seeded())
    torch.testing.assert_close(two_moons_log_prob(x), two_moons_log_prob(-x))
    assert two_moons(20_000, seeded()).mean(0).abs().max() < 0.03
    on, off = torch.tensor([[-0.5, 0.75]]), torch.tensor([[0.0, 0.0]])  # the upper moon's top
    assert two_moons_log_prob(on) > two_moons_log_prob(off) + 2


def test_one_seed_one_sample():
    assert torch.equal(two_moons(5, seeded(3)), two_moons(5, seeded(3)))
    assert not torch.equal(two_moons(5, seeded(3)), two_moons(5, seeded(4)))


def test_the_grid_fills_its_square_from_below():
    points, area = plane_grid(4, reach=2.0)
    assert area == 1.0 and points.dtype == F64
    assert points[0].tolist() == [-1.5, -1.5] and points[3].tolist() == [1.5, -1.5]
    assert points.view(4, 4, 2)[-1, 0].tolist() == [-1.5, 1.5]


def test_half_a_density_is_half():
    assert total_probability(lambda x: two_moons_log_prob(x) - math.log(2)) == pytest.approx(0.5)


def test_energy_distance_by_hand_and_by_scipy():
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [4.0], [1.0]])
    # across: (1 + 4 + 1 + 1 + 2 + 1) / 6, within: 2 and (3 + 0 + 3) / 3
    assert energy_distance(a, b).item() == pytest.approx(2 * 10 / 6 - 2 - 2)
    a, b = torch.randn(900, 1, dtype=F64), torch.randn(800, 1, dtype=F64) + 1
    ours = float(energy_distance(a, b))
    theirs = scipys(a[:, 0].numpy(), b[:, 0].numpy()) ** 2  # a square root, with pairs i = i
    assert abs(ours - theirs) < 0.005 < 0.1 < ours


def test_energy_distance_tells_other_samples_from_the_same():
    same = energy_distance(two_moons(1000, seeded(0)), two_moons(1000, seeded(1)))
    upper = two_moons(2000, seeded(2))
    half = energy_distance(upper[upper[:, 0] < 0], two_moons(1000, seeded(1)))
    assert abs(float(same)) < 0.005 < 0.1 < float(half)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="number >= 1"):
        two_moons(0)
    with pytest.raises(ValueError, match="noise > 0"):
        two_moons(3, noise=0.0)
    with pytest.raises(ValueError, match=r"x \[B, 2\]"):
        two_moons_log_prob(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="at least 2 rows"):
        energy_distance(torch.zeros(1, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="reach > 0"):
        plane_grid(3, reach=0)


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees(device):
    x = two_moons(50, seeded())
    there = two_moons_log_prob(x.to(device))
    assert there.device.type == device.type
    torch.testing.assert_close(
        there.cpu().double(), two_moons_log_prob(x.double()), atol=1e-3, rtol=1e-4
    )
