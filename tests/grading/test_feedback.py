"""What a run tells each student and the instructor: marks of people, lateness, and results that are none."""

from datetime import UTC, datetime, timedelta

import pytest

from course_lib.course_map import load_map
from course_lib.grading.deadlines import Deadline, Deadlines
from course_lib.grading.gradebook import Gradebook
from course_lib.grading.run import write_reports
from tests.grading import books, runs

ROWS = load_map()
UNIT = runs.UNIT
DUE = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def book(tmp_path):
    with Gradebook(f"sqlite:///{tmp_path / 'book.db'}") as made:
        yield made


def page(book, folder, due=None):
    """What the student ada is told: (JSON, HTML)."""
    write_reports(book, folder, ROWS, due or Deadlines())
    made = runs.reports(folder / "ada")
    return made[f"{UNIT}.json"], made[f"{UNIT}.html"]


def test_marks_of_people_stand_in_place_of_the_automatic_ones(book, tmp_path):
    books.graded(book, "ada", books.result(gcn=0.0, gin=0.0))
    told, html = page(book, tmp_path)
    assert [e["earned"] for e in told["exercises"]] == [0, 0, None]
    assert "4 of these points are still open" in html
    books.override(book, "ada", "gcn", 1.5, comment="your <idea> was right")
    books.by_hand(book, "ada", "essay", 3.0, comment="clear")
    told, html = page(book, tmp_path)
    gcn, gin, essay = told["exercises"]
    assert (gcn["earned"], gcn["outcome"]) == (1.5, "")
    assert gcn["feedback"][-2:] == ["Changed by a person.", "your <idea> was right"]
    assert essay["earned"] == 3.0 and essay["feedback"] == ["Marked by a person.", "clear"]
    assert gin["outcome"] == "failed" and told["earned"] == 4.5
    assert "your &lt;idea&gt; was right" in html and "<idea>" not in html
    assert html.count("Not right yet") == 2  # the row of gin, and what the words mean
    assert html.count("Marked") == 3 and "still open" not in html


@pytest.mark.parametrize("made", [books.broken(), books.unreadable(), books.result(gcn=None)])
def test_a_mark_ends_the_excuse_of_a_result_that_was_none(book, tmp_path, made):
    books.graded(book, "ada", made)
    told, html = page(book, tmp_path)
    excuse = "could not be read" if made.status == "unreadable" else "grading is not finished"
    assert told["status"] == made.status and excuse in html
    for name in ("gcn", "gin", "essay"):
        books.override(book, "ada", name, 1.0)
    told, html = page(book, tmp_path)
    assert (told["status"], told["earned"]) == ("graded", 3.0)
    assert excuse not in html and html.count("1 of ") == 3
    assert "graded again" not in html


@pytest.mark.parametrize(
    ("late", "lost", "said"),
    [
        (timedelta(hours=-1), 0.0, None),
        (timedelta(hours=1), 0.9, "That takes 0.9 off your points: 5.1 of 9 count."),
        (timedelta(days=1, seconds=1), 1.8, "That takes 1.8 off your points: 4.2 of 9 count."),
        (timedelta(days=9), 6.0, "That takes 6 off your points: 0 of 9 count."),
        (None, 0.0, None),
    ],
)
def test_a_late_student_reads_what_it_costs_and_the_table_says_the_same(
    book, tmp_path, late, lost, said
):
    when = None if late is None else DUE + late
    submission = book.submit("ada", UNIT, "file", when, "x")
    book.record(books.PARTS, submission, books.result(essay=4.0))
    due = Deadlines({UNIT: Deadline(DUE, 0.1, 3)})
    told, html = page(book, tmp_path, due)
    assert (told["remarks"][-1] if len(told["remarks"]) == 2 else None) == said
    assert said is None or said in html
    (row,) = runs.read_csv(tmp_path / "grades.csv")
    assert float(row["raw_score"]) == 6.0 == told["earned"]
    assert float(row["late_submission_penalty"]) == pytest.approx(lost)
    assert row["score"] == f"{6 - lost:.4g}"
    if late is None:
        assert told["remarks"] == ["The time of submission is not known: no penalty."]


def test_a_late_submission_that_waits_for_a_mark_says_so(book, tmp_path):
    submission = book.submit("ada", UNIT, "file", DUE + timedelta(hours=1), "x")
    book.record(books.PARTS, submission, books.result())
    due = Deadlines({UNIT: Deadline(DUE, 0.1)})
    told, _ = page(book, tmp_path, due)
    assert told["remarks"][-1] == "That takes 0.9 off your points: 1.1 of 9 count so far."
    (row,) = runs.read_csv(tmp_path / "grades.csv")
    assert row["raw_score"] == row["score"] == row["late_submission_penalty"] == ""


def test_who_submitted_nothing_has_a_zero_and_strangers_have_a_row(book, tmp_path):
    book.add_students(books.roster("ada", "bob"))
    books.graded(book, "ada", books.result(essay=0.0))
    books.graded(book, "eve", books.result(essay=1.0))
    write_reports(book, tmp_path, ROWS, Deadlines())
    rows = {row["student_id"]: row for row in runs.read_csv(tmp_path / "grades.csv")}
    assert [rows[name]["score"] for name in ("ada", "bob", "eve")] == ["2", "0", "3"]
    assert rows["bob"]["email"] == "bob@example.org" and rows["eve"]["email"] == ""
    assert not (tmp_path / "bob").exists()
