"""The student's desk: nothing that a student has changed is ever overwritten."""

import json

import pytest

from course_lib.commands.desk import RECORD, DeskError, fill

LAB = "labs/05_x/05_x.ipynb"


@pytest.fixture
def house(tmp_path):
    """A repository with a lab and a lecture in it."""
    for name in (LAB, "lectures/05_x.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("first release")
    return tmp_path


def test_copies_lectures_and_labs_and_then_leaves_them(house):
    desk = house / "work"
    assert {p.as_posix() for p in fill(house, desk).new} == {LAB, "lectures/05_x.ipynb"}
    assert (desk / LAB).read_text() == "first release"
    again = fill(house, desk)
    assert (again.new, again.updated, again.beside) == ([], [], [])


def test_updates_a_file_that_the_student_has_not_changed(house):
    desk = house / "work"
    fill(house, desk)
    (house / LAB).write_text("second release")
    assert [p.as_posix() for p in fill(house, desk).updated] == [LAB]
    assert (desk / LAB).read_text() == "second release"


def test_puts_a_newer_release_beside_a_changed_file_once(house):
    desk = house / "work"
    fill(house, desk)
    (desk / LAB).write_text("my answers")
    assert fill(house, desk).beside == []  # there is no newer release yet
    (house / LAB).write_text("second release")
    [(mine, beside)] = fill(house, desk).beside
    assert mine.as_posix() == LAB
    assert (desk / mine).read_text() == "my answers"
    assert (desk / beside).read_text() == "second release"
    assert beside.name.startswith("05_x.new-")
    assert beside.suffix == ".ipynb"
    (desk / beside).unlink()
    assert fill(house, desk).beside == []  # seen and thrown away: not offered again
    (house / LAB).write_text("third release")
    assert len(fill(house, desk).beside) == 1
    assert (desk / mine).read_text() == "my answers"


@pytest.mark.parametrize("record", ["", "[1, 2]", '{"labs": ', "[" * 100_000])
def test_without_a_readable_record_every_file_is_the_students(house, record):
    desk = house / "work"
    fill(house, desk)
    (desk / RECORD).write_text(record)
    (house / LAB).write_text("second release")
    assert len(fill(house, desk).beside) == 1
    assert (desk / LAB).read_text() == "first release"


def test_a_deleted_file_comes_back(house):
    desk = house / "work"
    fill(house, desk)
    (desk / LAB).unlink()
    assert [p.as_posix() for p in fill(house, desk).new] == [LAB]


def test_what_is_already_there_at_the_first_time_stays(house):
    desk = house / "work"
    (desk / LAB).parent.mkdir(parents=True)
    (desk / LAB).write_text("from last year")
    assert len(fill(house, desk).beside) == 1
    assert (desk / LAB).read_text() == "from last year"


def test_hidden_files_and_checkpoints_are_not_copied(house):
    hidden = house / "labs/05_x/.ipynb_checkpoints/05_x-checkpoint.ipynb"
    hidden.parent.mkdir()
    hidden.write_text("old")
    fill(house, house / "work")
    assert not list((house / "work").rglob("*checkpoint*"))


def test_a_failure_halfway_loses_nothing_and_says_what_to_do(house):
    desk = house / "work"
    desk.mkdir()
    (desk / "lectures").write_text("a file where a folder belongs")
    with pytest.raises(DeskError, match="writable"):
        fill(house, desk)
    assert (desk / "lectures").read_text() == "a file where a folder belongs"
    (desk / "lectures").unlink()
    fill(house, desk)
    assert set(json.loads((desk / RECORD).read_text())) == {LAB, "lectures/05_x.ipynb"}


def test_no_temporary_file_is_left(house):
    fill(house, house / "work")
    assert not list((house / "work").rglob(".copying-*"))
