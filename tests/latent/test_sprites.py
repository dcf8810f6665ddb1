"""Sprites are where, as large and as turned as their factors say."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.latent import sprites as module
from course_lib.latent.sprites import FACTORS, SHAPES, render_sprites, sprites
from tests.devices import devices

F64 = torch.float64
AREAS = (math.pi / 2, 16 / 9)  # of the ellipse and the square, for scale 1


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def row(shape=0, x=0.0, y=0.0, scale=0.5, angle=0.0):
    return torch.tensor([[shape, x, y, scale, angle]], dtype=F64)


def centre(image):
    """Mean place of the ink, (x, y) in -1..1."""
    side = image.size(-1)
    ticks = (2 * torch.arange(side, dtype=image.dtype) + 1) / side - 1
    ink = image[0, 0] / image.sum()
    return (ink.sum(0) * ticks).sum(), -(ink.sum(1) * ticks).sum()


@given(
    shape=st.integers(0, 1),
    place=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    scale=st.floats(0.25, 0.5),
    angle=st.floats(0, 2 * math.pi),
)
@settings(max_examples=40, deadline=None)
def test_ink_has_the_place_and_the_area_of_its_factors(shape, place, scale, angle):
    image = render_sprites(row(shape, *place, scale, angle), side=48)
    assert image.shape == (1, 1, 48, 48) and image.min() >= 0 and image.max() == 1
    found = centre(image)
    assert all(abs(a - b) < 0.01 for a, b in zip(found, place))
    area = float(image.sum()) * (2 / 48) ** 2
    assert area == pytest.approx(AREAS[shape] * scale**2, rel=0.05)


def test_x_is_to_the_right_and_y_upwards():
    image = render_sprites(row(1, x=0.5, y=0.5, scale=0.25), side=8)[0, 0]
    assert image[:4, 4:].sum() == image.sum() > 0


def test_moved_by_whole_pixels_it_is_the_same_picture():
    one, other = (render_sprites(row(2, x, y, 0.3, 0.7), 32) for x, y in ((0, 0), (0.25, -0.125)))
    torch.testing.assert_close(one.roll((2, 4), (2, 3)), other)


@pytest.mark.parametrize(("shape", "period"), [(0, math.pi), (1, math.pi / 2), (2, 2 * math.pi)])
def test_a_shape_repeats_after_its_period_and_not_before(shape, period):
    still, full, half = (
        render_sprites(row(shape, 0.01, 0.01, angle=0.3 + turn), 32)
        for turn in (0.0, period, period / 2)
    )
    assert (still - full).abs().mean() < 0.002 < 0.02 < (still - half).abs().mean()


def test_angles_turn_counter_clockwise():
    quarter = render_sprites(row(2, angle=math.pi / 2), 32)
    torch.testing.assert_close(quarter, render_sprites(row(2), 32).rot90(1, (2, 3)))


def test_the_heart_stands_on_its_tip_and_the_ellipse_lies():
    heart = render_sprites(row(2), 64)[0, 0]
    widths = heart.sum(1)[heart.sum(1) > 0]
    assert widths[-2] < widths[len(widths) // 3] / 2
    torch.testing.assert_close(heart, heart.flip(1))
    ellipse = render_sprites(row(0), 64)[0, 0]
    assert (ellipse.amax(0) > 0).sum() == 2 * (ellipse.amax(1) > 0).sum() == 32


def test_drawn_sprites_lie_within_their_pictures():
    """At the extremes of the ranges, in any direction, no ink is lost over the edge."""
    angles = torch.linspace(0, 2 * math.pi, 25, dtype=F64)[:-1]
    for shape in range(3):
        middle, corner = (
            torch.cat([row(shape, x, x, 0.5, float(a)) for a in angles]) for x in (0.0, 0.5)
        )
        inks = [render_sprites(rows, 16).sum((1, 2, 3)) for rows in (middle, corner)]
        torch.testing.assert_close(*inks)


def test_factors_are_uniform_and_repeat_with_the_seed():
    images, factors = sprites(3000, seeded(), side=4)
    assert images.shape == (3000, 1, 4, 4) and factors.shape == (3000, len(FACTORS))
    torch.testing.assert_close(images, render_sprites(factors, 4))
    counts = torch.bincount(factors[:, 0].long(), minlength=len(SHAPES))
    assert (counts - 1000).abs().max() < 120
    for column, (low, high) in enumerate([(-0.5, 0.5), (-0.5, 0.5), (0.25, 0.5), (0, 2 * math.pi)]):
        share = (factors[:, column + 1] - low) / (high - low)
        assert share.min() >= 0 and share.max() <= 1
        assert abs(share.mean() - 0.5) < 0.025 and abs(share.var() - 1 / 12) < 0.01
    correlation = torch.corrcoef(factors.T) - torch.eye(5)
    assert correlation.abs().max() < 0.08
    assert torch.equal(factors[:9], sprites(3000, seeded(), side=4).factors[:9])
    assert not torch.equal(factors, sprites(3000, seeded(1), side=4).factors)


def test_a_batch_in_pieces_is_the_same(monkeypatch):
    _, factors = sprites(10, seeded())
    whole = render_sprites(factors)
    monkeypatch.setattr(module, "AT_ONCE", 3 * 64**2)
    assert torch.equal(render_sprites(factors), whole)
    assert torch.equal(torch.cat([render_sprites(one[None]) for one in factors]), whole)


@pytest.mark.parametrize(
    ("factors", "side", "message"),
    [
        (torch.zeros(2, 4), 16, r"\[N, 5\]"),
        (torch.zeros(2, 5, dtype=torch.int64), 16, "floating point"),
        (row(shape=3), 16, "0, 1 or 2"),
        (row(shape=0.5), 16, "0, 1 or 2"),
        (row(scale=0.0), 16, r"positive, got 0\.0"),
        (row(), 0, "at least 1 pixel"),
    ],
)
def test_wrong_factors_are_named(factors, side, message):
    with pytest.raises(ValueError, match=message):
        render_sprites(factors, side)


def test_no_sprites_cannot_be_drawn():
    with pytest.raises(ValueError, match="number must be at least 1, got 0"):
        sprites(0)


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees(device):
    _, factors = sprites(6, seeded())
    there = render_sprites(factors.to(device))
    assert there.device.type == device.type and there.dtype == torch.float32
    assert (there.cpu() - render_sprites(factors.double()).float()).abs().mean() < 1e-3
