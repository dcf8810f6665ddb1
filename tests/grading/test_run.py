"""What a run grades and keeps, and what it skips; without any process or sandbox."""

from dataclasses import replace
from pathlib import Path

import pytest

from course_lib.course_map import load_map
from course_lib.grading import run
from course_lib.grading.batch import Done
from course_lib.grading.deadlines import Deadlines
from course_lib.grading.finding import find
from course_lib.grading.gradebook import Gradebook, GradebookError
from course_lib.grading.policy import Policy
from course_lib.grading.result import GRADER_ERROR, SubmissionResult
from tests.grading import books, runs

ROWS = load_map()
UNIT = runs.UNIT
POLICY, KEY = Policy(), b"k" * 32


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "submissions"


@pytest.fixture
def book(tmp_path):
    with Gradebook(f"sqlite:///{tmp_path / 'book.db'}") as made:
        yield made


# keeping -----------------------------------------------------------------------------------------


def graded_by(made):
    """A stand-in for `grade_all`: what `made(job)` returns is each job's result."""

    def grade_all(jobs, policy, *_):
        for job in jobs:
            given = made(job)
            yield Done(job, replace(given, sandbox=policy.sandbox), "why" * (given.status != "ok"))

    return grade_all


@pytest.fixture
def grade(monkeypatch, book, folder):
    """`grade(made, policy)`: one run over the folder."""

    def once(made=lambda job: books.result(), policy=POLICY, key=KEY):
        monkeypatch.setattr(run, "grade_all", graded_by(made))
        there, _ = find(folder, ROWS)
        return run.grade_folder(book, there, policy, key, Path(__file__).parents[2])

    return once


def test_done_jobs_are_skipped_until_something_changes(grade, book, folder):
    path = runs.submit(folder, "ada", b"1")
    assert grade().graded == {"graded": 1}
    again = grade()
    assert (again.found, again.skipped, again.graded) == (1, 1, {})
    path.write_bytes(b"2")
    assert grade().graded == {"graded": 1}  # another file
    (path.parent / "timestamp.txt").write_text("2199-03-01T10:00Z")
    assert grade().graded == {"graded": 1}  # another time
    assert grade(key=b"l" * 32).graded == {"graded": 1}  # another secret
    assert grade(policy=Policy(timeout=1)).graded == {"graded": 1}  # another policy
    assert grade(key=b"l" * 32).skipped == 1
    assert [total.attempt for total in book.totals(UNIT)] == [3]


def test_attempts_are_counted_and_handed_to_the_grader(grade, folder):
    seen = []
    for number in range(3):
        runs.submit(folder, "ada", str(number).encode(), when=f"2026-03-0{number + 1}T10:00Z")
        grade(lambda job: seen.append(job.attempt) or books.result())
    assert seen == [1, 2, 3]


def test_a_file_that_is_older_than_what_counts_is_graded_and_said(grade, book, folder):
    path = runs.submit(folder, "ada", b"1", when="2026-03-02T10:00Z")
    assert grade().older == []
    path.write_bytes(b"2")
    (path.parent / "timestamp.txt").write_text("2026-03-01T10:00Z")
    summary = grade()
    assert summary.graded == {"graded": 1} and len(summary.older) == 1
    assert "attempt 1 counts" in summary.older[0] and "ada" in summary.older[0]
    assert [total.attempt for total in book.totals(UNIT)] == [1]


def test_a_grader_error_has_no_score_and_is_tried_again(grade, book, folder):
    runs.submit(folder, "ada", b"1")
    runs.submit(folder, "bob", b"1")
    broken = grade(lambda job: books.broken() if "ada" in str(job.path) else books.result(essay=4))
    assert broken.graded == {"graded": 1, GRADER_ERROR: 1} and "ada" in broken.errors[0]
    assert [(t.student, t.state, t.score) for t in book.totals(UNIT)] == [
        ("ada", "grader_error", None),
        ("bob", "graded", 6.0),
    ]
    again = grade(lambda job: books.result(essay=1))
    assert (again.skipped, again.graded, again.errors) == (1, {"graded": 1}, [])
    assert [t.score for t in book.totals(UNIT)] == [3.0, 6.0]


def test_a_unit_that_could_not_be_loaded_is_a_grader_error_without_exercises(
    grade, book, folder, tmp_path
):
    runs.submit(folder, "ada", b"1")
    summary = grade(lambda job: SubmissionResult(UNIT, GRADER_ERROR, (), "bubblewrap", ("why",)))
    assert summary.graded == {GRADER_ERROR: 1}
    (total,) = book.totals(UNIT)
    assert total.state == GRADER_ERROR and total.score is None
    run.write_reports(book, tmp_path / "reports", ROWS, Deadlines())
    (row,) = runs.read_csv(tmp_path / "reports" / "grades.csv")
    assert row["score"] == row["raw_score"] == ""
    assert grade().graded == {"graded": 1}


def test_unsandboxed_is_labelled_and_never_done_for_a_sandboxed_run(grade, book, folder):
    runs.submit(folder, "ada", b"1")
    assert grade(policy=Policy(unsandboxed=True)).graded == {"graded": 1}
    assert [t.sandbox for t in book.totals(UNIT)] == ["unsandboxed"]
    assert grade(policy=Policy(unsandboxed=True)).skipped == 1
    assert grade().graded == {"graded": 1}
    assert [t.sandbox for t in book.totals(UNIT)] == ["bubblewrap"]
    assert grade().skipped == 1


@pytest.mark.xfail(reason="a job that was done once is never what counts again", strict=True)
@pytest.mark.parametrize("other", [Policy(unsandboxed=True), Policy(forbidden="zero")])
def test_going_back_to_an_earlier_policy_brings_its_result_back(grade, book, folder, other):
    runs.submit(folder, "ada", b"1")
    grade(lambda job: books.result(essay=4))
    grade(lambda job: books.result(essay=1), policy=other)
    assert [t.score for t in book.totals(UNIT)] == [3.0]
    grade(lambda job: books.result(essay=4))
    assert [(t.score, t.sandbox) for t in book.totals(UNIT)] == [(6.0, "bubblewrap")]


def test_a_gradebook_that_fails_ends_the_grading_of_the_rest(monkeypatch, book, folder):
    for name in "abc":
        runs.submit(folder, name, b"1")
    ended = []

    def grade_all(jobs, policy, *_):
        try:
            for job in jobs:
                yield Done(job, books.result())
        finally:
            ended.append(True)

    def record(*_):
        raise GradebookError("the disk is full")

    monkeypatch.setattr(run, "grade_all", grade_all)
    monkeypatch.setattr(book, "record", record)
    with pytest.raises(GradebookError) as caught:
        run.grade_folder(book, find(folder, ROWS)[0], POLICY, KEY, Path())
    assert ended == [True] and caught.value.__traceback__  # though the traceback still holds it
