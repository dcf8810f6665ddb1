"""The gradebook, on SQLite and on PostgreSQL: nothing lost, nothing doubled, a missing score is no zero."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from course_lib.grading import marks
from course_lib.grading.gradebook import GradebookError, KeyParts
from course_lib.grading.result import SubmissionResult
from tests.grading.books import (
    NOW,
    OTHER,
    PARTS,
    POINTS,
    UNIT,
    broken,
    exercise,
    graded,
    override,
    result,
    roster,
    rows,
    scores,
    student,
    submit,
    total,
    unreadable,
)

# the roster --------------------------------------------------------------------------------------


def test_the_roster_is_kept_in_versions(book):
    assert book.add_students(roster("ann", "bob")).added == ("ann", "bob")
    again = book.add_students(roster("ann", "bob"))
    assert (again.added, again.changed, again.withdrawn) == ((), (), ())
    assert rows(book, "students") == 2
    change = book.add_students(roster("ann", "cem"))
    assert (change.added, change.withdrawn) == (("cem",), ("bob",))
    assert [s.student_id for s in book.students()] == ["ann", "cem"]
    assert book.add_students(roster("ann", "bob", "cem")).changed == ("bob",)
    assert book.students() == tuple(map(student, ("ann", "bob", "cem")))
    assert rows(book, "students") == 5


# submissions and jobs ----------------------------------------------------------------------------


def test_a_submission_is_its_student_unit_file_and_time(book):
    first = submit(book, "ann", 0)
    assert submit(book, "ann", 0) == first
    assert [submit(book, "ann", h, f).attempt for h, f in ((1, "file"), (0, "more"))] == [2, 3]
    assert submit(book, "ann", None).attempt == 4
    assert submit(book, "ann", None).attempt == 4
    assert submit(book, "bob", 0).attempt == submit(book, "ann", 0, unit=OTHER).attempt == 1
    assert rows(book, "submissions") == 6


def test_times_are_moments_whatever_their_zone(book):
    moment = datetime(2026, 3, 1, 12, tzinfo=UTC)
    there = moment.astimezone(timezone(timedelta(hours=5, minutes=45)))
    for when in (moment, there, moment.replace(tzinfo=None)):
        made = book.submit("ann", UNIT, "f", when, "p")
        assert made.attempt == 1
        assert made.submitted_at == moment and made.submitted_at.utcoffset() == timedelta(0)
    assert total(book, "ann").submitted_at == moment


def test_a_job_is_done_once(book):
    submission = submit(book, "ann")
    key = PARTS.key(submission)
    assert not book.is_done(key)
    assert book.record(PARTS, submission, result())
    assert book.is_done(key)
    assert not book.record(PARTS, submission, result(gin=3.0))
    assert rows(book, "results") == 1 and rows(book, "exercise_results") == 3
    others = [KeyParts("x", "policy", "secret"), KeyParts("checks", "x", "secret")]
    assert not any(
        book.is_done(p.key(submission)) for p in (*others, KeyParts("checks", "policy", "x"))
    )
    assert not book.is_done(PARTS.key(submit(book, "ann", 1)))


def test_the_database_itself_refuses_a_second_result_of_a_job(book):
    graded(book, "ann")
    copy = """INSERT INTO results (submission, job_key, checks_hash, policy_hash, secret_id, sandbox, status, round,
        seconds, student_seconds, graded_at, result) SELECT submission, job_key, checks_hash, policy_hash, secret_id,
        sandbox, status, round, seconds, student_seconds, graded_at, result FROM results"""
    with pytest.raises(GradebookError, match=r"(?i)unique"), book.database.writing() as db:
        db.execute(sa.text(copy))
    assert rows(book, "results") == 1


def test_a_grader_error_is_never_done_and_has_no_score(book):
    submission = graded(book, "ann", broken())
    assert not book.is_done(PARTS.key(submission))
    assert book.record(PARTS, submission, result(gcn=None))
    now = total(book, "ann")
    assert (now.state, now.score, now.provisional, now.unscored) == ("grader_error", None, 0.0, 2)
    assert scores(book, "ann") == {"gcn": None, "gin": 0.0, "essay": None}
    assert book.record(PARTS, submission, result(essay=4.0))
    assert book.is_done(PARTS.key(submission))
    assert total(book, "ann").score == 6.0


def test_a_later_grader_error_hides_no_result(book):
    submission = graded(book, "ann", result(essay=1.0))
    assert book.record(KeyParts("new", "policy", "secret"), submission, broken())
    assert total(book, "ann").score == 3.0
    assert book.record(
        KeyParts("newer", "policy", "secret"), submission, result(gcn=0.0, essay=1.0)
    )
    assert total(book, "ann").score == 1.0


def test_a_result_without_a_sandbox_is_not_done_for_a_run_with_one(book):
    submission = graded(book, "ann", result(sandbox="unsandboxed"))
    key = PARTS.key(submission)
    assert not book.is_done(key)
    assert book.is_done(key, unsandboxed=True)
    assert total(book, "ann").sandbox == "unsandboxed"
    assert book.record(PARTS, submission, result())
    assert book.is_done(key)
    assert total(book, "ann").sandbox == "bubblewrap"


def test_a_regrade_is_done_when_a_newer_result_is_there(book):
    before = graded(book, "ann")
    graded(book, "bob")
    asked = marks.request_regrade(book, UNIT, ["ann"], by="prof")
    assert [s.student for s in asked] == ["ann"]
    key = PARTS.key(before)
    assert not book.is_done(key)
    assert book.is_done(PARTS.key(submit(book, "bob")))
    assert total(book, "ann").provisional == 2.0  # what was there holds until the new result
    assert not book.record(PARTS, before, result())  # a job from before the request answers nothing
    assert not book.is_done(key)
    again = submit(book, "ann")
    assert again.regrades == 1 and PARTS.key(again) == key
    assert book.record(PARTS, again, broken())
    assert not book.is_done(key)
    assert book.record(PARTS, again, result(gin=3.0))
    assert book.is_done(key)
    assert total(book, "ann").provisional == 5.0
    assert len(marks.request_regrade(book, UNIT, by="prof")) == 2


def test_what_is_recorded_comes_back_whole(book):
    text = "ünï\0cödé \ud800 <b> ' \" \\ \n=1+1"
    made = result(text=text)
    submission = book.submit("ann", UNIT, "f", None, "weird\udcff\0name.ipynb")
    assert book.record(PARTS, submission, made)
    (found,) = book.results(UNIT)
    assert found.result == made
    assert (found.student, found.attempt, found.current) == ("ann", 1, True)


def test_results_of_all_attempts(book):
    graded(book, "ann", hour=0)
    graded(book, "ann", result(gin=3.0), hour=1)
    assert [(g.attempt, g.current) for g in book.results(UNIT, all_attempts=True)] == [
        (1, False),
        (2, True),
    ]
    assert [g.attempt for g in book.results(UNIT)] == [2]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_a_score_that_is_none_is_refused_whole(book, bad):
    submission = submit(book, "ann")
    with pytest.raises(ValueError, match="finite"):
        book.record(PARTS, submission, result(gin=bad))
    with pytest.raises(ValueError, match="no result of a submission"):
        book.record(PARTS, submission, result(unit=OTHER))
    twice = (exercise("gcn", 2.0), exercise("gcn", 2.0))
    with pytest.raises(GradebookError):  # the second row fails, so the first is not there either
        book.record(PARTS, submission, SubmissionResult(UNIT, "graded", twice, "bubblewrap"))
    assert rows(book, "results") == rows(book, "exercise_results") == 0


# which attempt counts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hours", "counts"),
    [((0, 1), 2), ((1, 0), 1), ((0, 0), 2), ((None, None), 2), ((-5, None), 2), ((None, -5), 1)],
)
def test_the_newest_submission_counts(book, hours, counts):
    for number, hour in enumerate(hours):
        submit(book, "ann", hour, f"file{number}")
    assert total(book, "ann").attempt == counts


def test_a_time_that_becomes_known_counts(book):
    graded(book, "ann", hour=None)
    submit(book, "ann", -500)
    now = total(book, "ann")
    assert (now.attempt, now.submitted_at) == (2, NOW - timedelta(hours=500))


# what is asked -----------------------------------------------------------------------------------


def test_everybody_of_the_roster_has_a_row(book):
    book.add_students(roster("ann", "bob"))
    graded(book, "eve", unreadable())
    states = {t.student: (t.enrolled, t.state, t.score, t.points) for t in book.totals(UNIT)}
    assert states == {
        "ann": (True, "missing", None, 9.0),
        "bob": (True, "missing", None, 9.0),
        "eve": (False, "unreadable", 0.0, 9.0),
    }
    submit(book, "ann")
    assert total(book, "ann").state == "not_graded" and total(book, "ann").score is None
    assert scores(book, "bob") == dict.fromkeys(POINTS)
    assert (book.units(), book.exercises(UNIT)) == ([UNIT], POINTS)
    assert list(book.exercises(UNIT)) == list(POINTS)  # in the unit's order
    assert book.exercises(OTHER) == {} and book.totals(OTHER) == [] and book.current(OTHER) == []


def test_who_leaves_the_course_keeps_what_was_marked(book):
    book.add_students(roster("ann", "bob"))
    graded(book, "ann")
    override(book, "bob", "gin", 3.0)
    book.add_students(roster("ann"))
    left = total(book, "bob")
    assert (left.enrolled, left.state, left.provisional) == (False, "missing", 3.0)


def test_units_do_not_mix(book):
    book.add_students(roster("ann"))
    graded(book, "ann")
    graded(book, "ann", result(essay=1.0, unit=OTHER), unit=OTHER)
    override(book, "ann", "gin", 3.0)
    more = {"kind": "override", "by": "prof"}
    assert marks.mark(book, "ann", OTHER, "gin", 0.0, **more)
    assert total(book, "ann").provisional == 5.0
    assert [(t.student, t.score) for t in book.totals(OTHER)] == [("ann", 3.0)]


def test_rows_are_never_changed_or_deleted(book):
    book.add_students(roster("ann"))
    graded(book, "ann")
    override(book, "ann", "gin", 1.0)
    marks.request_regrade(book, UNIT, by="prof")
    for table in ("students", "submissions", "results", "exercise_results", "marks"):
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET id = id + 100"):
            refused = pytest.raises(GradebookError, match="never changed or deleted")
            with refused, book.database.writing() as db:
                db.execute(sa.text(statement))
    with (
        pytest.raises(GradebookError),
        book.database.writing() as db,
    ):  # no result without its submission
        db.execute(
            sa.text(
                "INSERT INTO regrade_requests (submission, by, at) VALUES (99, '', '2026-01-01')"
            )
        )


def test_the_key_depends_on_every_part(book):
    one = submit(book, "ann")
    others = [
        submit(book, "bob"),
        submit(book, "ann", unit=OTHER),
        submit(book, "ann", 1),
        submit(book, "ann", 0, "more"),
    ]
    assert len({PARTS.key(s) for s in (one, *others)}) == 5
    assert len(PARTS.key(one)) == 64


def test_results_are_plain_json_for_other_tools(book):
    graded(book, "ann")
    with book.database.reading() as db:
        whole = db.execute(sa.text("SELECT result FROM results")).scalar()
    assert json.loads(whole)["exercises"][0]["exercise"] == "gcn"
