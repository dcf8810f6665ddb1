"""Digits on a canvas: where they stand, that nothing is lost, seeds."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch
from sklearn.datasets import load_digits

from course_lib.data.digits import place_on_canvas, placed_digits


@pytest.fixture(scope="module")
def shifted():
    return placed_digits(seed=3)


@pytest.fixture(scope="module")
def centred():
    return placed_digits(shifted=False, seed=3)


def test_shapes_and_values(shifted):
    assert shifted.images.shape == (1797, 1, 16, 16)
    assert shifted.images.dtype == torch.float32
    assert (shifted.images.min(), shifted.images.max()) == (0, 1)
    assert shifted.labels.shape == (1797,)
    assert shifted.labels.unique().tolist() == list(range(10))
    assert shifted.corners.shape == (1797, 2)


def test_the_corners_say_where_the_digits_are(shifted, centred):
    assert (centred.corners == 4).all()
    for i in (0, 700, 1796):
        row, col = shifted.corners[i].tolist()
        cut = shifted.images[i, 0, row : row + 8, col : col + 8]
        assert torch.equal(cut, centred.images[i, 0, 4:12, 4:12])
        assert cut.sum() == shifted.images[i].sum()  # no ink elsewhere


def test_every_place_is_used_about_equally(shifted):
    assert (shifted.corners.amin(0).tolist(), shifted.corners.amax(0).tolist()) == ([0, 0], [8, 8])
    counts = torch.bincount(shifted.corners[:, 0] * 9 + shifted.corners[:, 1], minlength=81)
    assert counts.min() > 0
    assert counts.max() < 3 * 1797 / 81


def test_the_digits_are_scikit_learns_in_another_order(centred):
    ink, label = load_digits(return_X_y=True)
    pixels = centred.images[:, 0, 4:12, 4:12].reshape(-1, 64) * 16
    key = torch.cat([pixels, centred.labels[:, None]], 1)
    wanted = torch.cat([torch.from_numpy(ink).float(), torch.from_numpy(label)[:, None]], 1)
    assert not torch.equal(key, wanted)
    assert sorted(key.tolist()) == sorted(wanted.tolist())


def test_the_seed_decides(shifted):
    again, other = placed_digits(seed=3), placed_digits(seed=4)
    assert all(torch.equal(a, b) for a, b in zip(shifted, again))
    assert not torch.equal(shifted.labels, other.labels)
    assert not torch.equal(shifted.corners, other.corners)
    assert not torch.equal(shifted.labels.sort().values, shifted.labels)  # not by class


def test_a_canvas_just_large_enough_leaves_no_choice():
    tight = placed_digits(canvas=8)
    assert tight.images.shape == (1797, 1, 8, 8)
    assert (tight.corners == 0).all()
    with pytest.raises(ValueError, match="at least 8, got 7"):
        placed_digits(canvas=7)


def test_placing_by_hand():
    digits = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]])  # two images of one row, two columns
    out = place_on_canvas(digits, torch.tensor([[0, 1], [2, 0]]), canvas=3)
    assert out[0, 0].tolist() == [[0, 1, 2], [0, 0, 0], [0, 0, 0]]
    assert out[1, 0].tolist() == [[0, 0, 0], [0, 0, 0], [3, 4, 0]]
    assert place_on_canvas(digits[:0], torch.empty(0, 2, dtype=torch.int64), 3).shape == (
        0,
        1,
        3,
        3,
    )


@pytest.mark.parametrize("corner", [[-1, 0], [0, 2], [3, 0]])
def test_a_digit_over_the_edge_is_refused(corner):
    with pytest.raises(ValueError, match="from \\(0, 0\\) to \\(2, 1\\)"):
        place_on_canvas(torch.ones(1, 1, 2), torch.tensor([corner]), canvas=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_corners_that_are_no_whole_numbers_are_refused(dtype):
    with pytest.raises(ValueError, match="corners must be int64"):
        place_on_canvas(torch.ones(1, 2, 2), torch.ones(1, 2, dtype=dtype))


def test_corners_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match=r"corners \[N, 2\], got \[2, 4, 4\] and \[3, 2\]"):
        place_on_canvas(torch.ones(2, 4, 4), torch.zeros(3, 2, dtype=torch.int64))


def test_reading_them_does_not_import_scikit_learn():
    code = (
        "import sys; from course_lib.data.digits import placed_digits; placed_digits(); "
        "assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        placed_digits()
