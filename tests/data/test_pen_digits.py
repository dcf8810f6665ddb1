"""Pen digits: the facts of the real files, files by hand, and a twin of the same form."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.data import ChecksumError, MalformedFile
from course_lib.data.pen_digits import (
    load_pen_digits,
    pen_digits,
    procedural_strokes,
    read_pen_digits,
    twin_digits,
)
from tests.requirements import require

LINE = " 47,100, 27, 81, 57, 37, 26,  0,  0, 23, 56, 53,100, 90, 40, 98, 8\n"


def test_the_facts_of_the_real_files():
    require("data")
    digits = load_pen_digits()
    assert digits.source == "real"
    assert digits.train_points.shape == (7494, 8, 2) and digits.test_points.shape == (3498, 8, 2)
    assert digits.train_points.dtype == torch.float32
    counts = [780, 779, 780, 719, 780, 720, 720, 778, 719, 719]
    assert torch.bincount(digits.train_labels).tolist() == counts
    first = [[47, 100], [27, 81], [57, 37], [26, 0], [0, 23], [56, 53], [100, 90], [40, 98]]
    assert digits.train_points[0].tolist() == first and int(digits.train_labels[0]) == 8


def test_real_or_twin_is_said_in_the_first_line(capsys, monkeypatch, tmp_path):
    require("data")
    assert pen_digits().source == "real"
    assert capsys.readouterr().out.startswith("real: ")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    offline(monkeypatch)
    assert pen_digits().source == "twin"
    said = capsys.readouterr().out
    assert said.startswith("twin: ") and "set COURSE_DATA" in said


def offline(monkeypatch) -> None:
    """No download succeeds."""

    def refuse(*arguments, **options):
        raise OSError("no network in this test")

    monkeypatch.setattr("pooch.retrieve", refuse)


def test_without_files_the_twin_is_the_same_for_a_seed(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path))
    offline(monkeypatch)
    one, again, other = pen_digits(seed=1), pen_digits(seed=1), pen_digits(seed=2)
    assert torch.equal(one.train_points, again.train_points)
    assert not torch.equal(one.train_points, other.train_points)
    assert one.train_points.shape == (7494, 8, 2) and one.test_points.shape == (3498, 8, 2)


def test_a_damaged_file_is_no_reason_for_the_twin(monkeypatch, tmp_path):
    (tmp_path / "pendigits").mkdir()
    (tmp_path / "pendigits" / "pendigits.tra").write_text(LINE)
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(ChecksumError):
        pen_digits()


def test_a_file_by_hand(tmp_path):
    path = tmp_path / "digits"
    path.write_text(LINE + LINE.replace("8\n", "3\n"))
    points, labels = read_pen_digits(path)
    assert points.shape == (2, 8, 2) and labels.tolist() == [8, 3]
    assert points[1, 1].tolist() == [27, 81]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LINE.replace("47", "x"), "must hold whole numbers"),
        (LINE.replace("47", "4.7"), "must hold whole numbers"),
        (LINE.replace(", 8\n", "\n"), "17 numbers a line"),
        (LINE.replace("47", "-1"), r"coordinates in 0\.\.100"),
        (LINE.replace("47", "101"), r"coordinates in 0\.\.100"),
        (LINE.replace(", 8\n", ",10\n"), r"digits in 0\.\.9"),
        (LINE.replace(", 8\n", ",-1\n"), r"digits in 0\.\.9"),
    ],
)
def test_malformed_files_are_named(tmp_path, text, message):
    path = tmp_path / "digits"
    path.write_text(text)
    with pytest.raises(MalformedFile, match=message):
        read_pen_digits(path)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(3, 20), st.integers(0, 2**32))
def test_strokes_fill_their_box_and_are_nearly_even(count, points, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(10, (count,), generator=generator)
    strokes = procedural_strokes(labels, generator, points)
    assert strokes.shape == (count, points, 2) and strokes.dtype == torch.float32
    torch.testing.assert_close(strokes.amin(1), torch.zeros(count, 2))
    torch.testing.assert_close(strokes.amax(1), torch.full((count, 2), 100.0))


def test_every_digit_is_written_in_its_own_ways():
    """Strokes of one digit lie nearer to its own mean strokes than to another digit's."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat_interleave(200)
    strokes = procedural_strokes(labels, generator).flatten(1)
    neighbours = torch.cdist(strokes[::2], strokes[1::2]).argmin(1)
    right = (labels[1::2][neighbours] == labels[::2]).double()
    assert float(right.mean()) > 0.9
    assert float(right.view(10, -1).mean(1).min()) > 0.75


def test_the_twin_has_whole_numbers_and_all_digits():
    twin = twin_digits(3, (50, 30))
    assert twin.source == "twin"
    assert torch.bincount(twin.train_labels).tolist() == [5] * 10
    assert torch.bincount(twin.test_labels).tolist() == [3] * 10
    assert torch.equal(twin.train_points, twin.train_points.round())
    assert not torch.equal(twin.train_points[:30], twin.test_points)


@pytest.mark.parametrize(
    ("labels", "points", "message"),
    [
        (torch.tensor([1.0]), 8, r"must be int64 \[B\], got torch.float32 \[1\]"),
        (torch.tensor([[1]]), 8, r"must be int64 \[B\], got torch.int64 \[1, 1\]"),
        (torch.tensor([10]), 8, r"digits 0\.\.9, got 10\.\.10"),
        (torch.tensor([-1]), 8, r"digits 0\.\.9"),
        (torch.tensor([1]), 1, "at least 2 points, got 1"),
    ],
)
def test_wrong_arguments_are_named(labels, points, message):
    with pytest.raises(ValueError, match=message):
        procedural_strokes(labels, torch.Generator(), points)
