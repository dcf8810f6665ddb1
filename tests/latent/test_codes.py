"""Active units, and the ways between two codes."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.latent.codes import active_units, lerp, slerp

F64 = torch.float64


def pair(seed=0, *shape):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_a_unit_is_active_where_its_mean_moves():
    """Columns -a, a have variance a^2: .0081, .0121 and 4, around any centre."""
    mean = torch.tensor([[-0.09, 5 - 0.11, -2.0], [0.09, 5 + 0.11, 2.0]], dtype=F64)
    assert active_units(mean).tolist() == [False, True, True]
    assert active_units(mean, threshold=1.0).tolist() == [False, False, True]
    assert not active_units(torch.full((7, 3), 2.0)).any()
    for bad in (torch.zeros(1, 3), torch.zeros(4)):
        with pytest.raises(ValueError, match="N > 1"):
            active_units(bad)


def test_a_quarter_turn_by_hand():
    a, b = torch.tensor([2.0, 0], dtype=F64), torch.tensor([0.0, 2], dtype=F64)
    half = math.sqrt(2)
    torch.testing.assert_close(slerp(a, b, 0.5), torch.tensor([half, half], dtype=F64))
    torch.testing.assert_close(lerp(a, b, 0.5), torch.tensor([1.0, 1], dtype=F64))


@given(seed=st.integers(0, 9999), k=st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_both_ways_join_the_ends_and_slerp_keeps_the_length(seed, k):
    a, b = pair(seed, 3, k)
    b = b / b.norm(dim=-1, keepdim=True) * a.norm(dim=-1, keepdim=True)
    t = torch.linspace(0, 1, 5, dtype=F64)
    for way in (lerp(a, b, t), slerp(a, b, t)):
        assert way.shape == (5, 3, k)
        torch.testing.assert_close(way[0], a)
        torch.testing.assert_close(way[-1], b)
    length = slerp(a, b, t).norm(dim=-1)
    torch.testing.assert_close(length, a.norm(dim=-1).expand(5, 3), rtol=1e-6, atol=1e-6)
    assert (lerp(a, b, t).norm(dim=-1) <= length + 1e-9).all()
    steps = slerp(a, b, t).diff(dim=0).norm(dim=-1)  # of one length: t is proportional to the angle
    torch.testing.assert_close(steps, steps[:1].expand(4, 3), rtol=1e-6, atol=1e-6)


def test_one_direction_is_joined_by_a_straight_line():
    a = torch.tensor([[1.0, 2, 3]])
    for near in (2 * a, a + 1e-9, a):
        way = slerp(a, near, torch.tensor([0.0, 0.5, 1.0]))
        torch.testing.assert_close(way, lerp(a, near, torch.tensor([0.0, 0.5, 1.0])))


def test_ends_without_a_shortest_arc_are_refused():
    a = torch.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="opposite"):
        slerp(a, -3 * a, 0.5)
    with pytest.raises(ValueError, match="zero vector"):
        slerp(a, torch.zeros(2), 0.5)
    with pytest.raises(ValueError, match=r"number or \[T\]"):
        lerp(a, a, torch.zeros(2, 2))
