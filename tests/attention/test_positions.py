"""Absolute positions against their definition: sines by hand, shifts that are rotations."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.attention.positions import (
    LearnedPositions,
    shift_rotation,
    sinusoidal_positions,
)
from tests.devices import devices

F64 = torch.float64


def test_sines_by_hand():
    table = sinusoidal_positions(50, 6, dtype=F64)
    assert table[0].tolist() == [0, 1, 0, 1, 0, 1]
    for t in (1, 7, 49):
        for m in range(3):
            angle = t / 10000 ** (2 * m / 6)
            assert table[t, 2 * m].item() == pytest.approx(math.sin(angle), abs=1e-12)
            assert table[t, 2 * m + 1].item() == pytest.approx(math.cos(angle), abs=1e-12)
    assert sinusoidal_positions(3, 4).dtype == torch.get_default_dtype()
    assert sinusoidal_positions(0, 4).shape == (0, 4)
    half = sinusoidal_positions(9, 4, base=100.0, dtype=torch.float16)
    torch.testing.assert_close(
        half.double(), sinusoidal_positions(9, 4, 100.0, dtype=F64), atol=1e-3, rtol=0
    )


@settings(max_examples=25, deadline=None)
@given(
    pairs=st.integers(1, 16),
    offset=st.integers(-40, 40),
    base=st.floats(1.5, 1e5),
)
def test_a_shift_is_a_rotation(pairs, offset, base):
    d = 2 * pairs
    table = sinusoidal_positions(90, d, base, dtype=F64)
    R = shift_rotation(offset, d, base, dtype=F64)
    t = torch.arange(40, 50)
    torch.testing.assert_close(table[t] @ R.T, table[t + offset], atol=1e-10, rtol=0)
    torch.testing.assert_close(R @ R.T, torch.eye(d, dtype=F64))
    assert torch.linalg.det(R).item() == pytest.approx(1)
    torch.testing.assert_close(
        R @ shift_rotation(-offset, d, base, dtype=F64), torch.eye(d, dtype=F64)
    )


def test_learned_positions():
    positions = LearnedPositions(5, 4)
    assert torch.equal(positions(3), positions.weight[:3])
    positions(3).sum().backward()
    assert positions.weight.grad.sum(1).tolist() == [4, 4, 4, 0, 0]
    with pytest.raises(ValueError, match="length 6 exceeds the 5 learned positions"):
        positions(6)


@pytest.mark.parametrize("device", devices())
def test_tables_are_made_on_every_device(device):
    table = sinusoidal_positions(50, 6, device=device, dtype=torch.float32)
    assert table.device.type == device.type
    torch.testing.assert_close(table.double().cpu(), sinusoidal_positions(50, 6, dtype=F64))
    R = shift_rotation(2, 6, device=device, dtype=torch.float32)
    torch.testing.assert_close(R.double().cpu(), shift_rotation(2, 6, dtype=F64))


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="d_model must be even"):
        sinusoidal_positions(3, 5)
    with pytest.raises(ValueError, match="base must be positive"):
        sinusoidal_positions(3, 4, 0.0)
    with pytest.raises(ValueError, match="length must be at least 0"):
        sinusoidal_positions(-1, 4)
    with pytest.raises(ValueError, match="d_model must be even"):
        shift_rotation(1, 7)
