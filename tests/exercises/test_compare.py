"""Comparisons and the words for a difference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_lib.exercises.compare import Raised, describe, difference, snapshot

T = torch.tensor


@pytest.mark.parametrize(
    ("got", "expected"),
    [
        (T([1.0, 2.0]), T([1.0, 2.0])),
        (T([1.0, 2.0], dtype=torch.float64), T([1.0, 2.0])),
        (np.array([1.0, 2.0]), T([1.0, 2.0])),
        (1.5, T(1.5)),
        (2, T(2.0)),
        ([0, T(1.5), 2.5], T([0.0, 1.5, 2.5])),
        ([T([1.0]), {"a": T([2])}], (T([1.0]), {"a": T([2])})),
        (T([float("-inf"), float("nan")]), T([float("-inf"), float("nan")])),
        (Raised("TypeError", "a"), Raised("TypeError", "b")),
    ],
)
def test_equal(got, expected):
    assert difference(got, expected) is None


@pytest.mark.parametrize(
    ("got", "expected", "said"),
    [
        (T([1.0, 2.0]), T([[1.0, 2.0]]), "shape should be [1, 2]"),
        (T([1, 2]), T([1.0, 2.0]), "dtype should be float32"),
        (T([1.0, 0.0]), T([True, False]), "dtype should be bool"),
        (T([1.0, float("nan")]), T([1.0, 2.0]), "contains NaN"),
        (T([1.0, float("inf")]), T([1.0, 2.0]), "at [1]"),
        (T([1.0, 2.0]), T([1.0, float("-inf")]), "at [1]: 2, expected -inf"),
        (T([float("inf")]), T([float("-inf")]), "at [0]: inf, expected -inf"),
        (T([1.0, 5.0]), T([1.0, 2.0]), "1 of 2 entries differ, most at [1]: 5, expected 2"),
        (None, T([1.0]), "is a `return` missing?"),
        ((T([1.0]),), (T([1.0]), T([1.0])), "tuple of 2"),
        ({"a": 1}, {"b": 1}, "keys"),
        (Raised("ValueError", "no"), T([1.0]), "ValueError"),
        ("text", T([1.0]), "expected a tensor"),
        ([True, 1.5], T([1.0, 1.5]), "expected a tensor"),
    ],
)
def test_different(got, expected, said):
    assert said in difference(got, expected)


def test_empty_tensors_compare_by_shape():
    assert difference(torch.zeros(0, 3), torch.zeros(0, 3)) is None
    assert difference(torch.zeros(0, 2), torch.zeros(0, 3)) is not None


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1.0))
def test_a_change_above_the_tolerance_is_always_seen(value, step):
    gap = step * (1 + abs(value))
    assert (
        difference(T(value + gap, dtype=torch.float64), T(value, dtype=torch.float64)) is not None
    )
    assert (
        difference(T(value * (1 + 1e-6), dtype=torch.float64), T(value, dtype=torch.float64))
        is None
    )


def test_snapshot_is_independent():
    value = {"a": [torch.zeros(2)]}
    kept = snapshot(value)
    value["a"][0] += 1
    assert kept["a"][0].sum() == 0


def test_describe_never_shows_entries():
    assert describe(T([[3.25]])) == "float32 [1, 1]"
    assert describe((T([3.25]), T([1]))) == "tuple of 2: (float32 [1], int64 [1])"
