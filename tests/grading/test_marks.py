"""Marks and overrides, on SQLite and on PostgreSQL: which of them holds, and for which attempt."""

import pytest

from course_lib.grading import marks
from course_lib.grading.gradebook import GradebookError
from tests.grading.books import (
    POINTS,
    UNIT,
    broken,
    by_hand,
    graded,
    override,
    result,
    roster,
    rows,
    scores,
    total,
)


def test_override_before_mark_before_automatic(book):
    graded(book, "ann")
    assert scores(book, "ann") == {"gcn": 2.0, "gin": 0.0, "essay": None}
    assert (total(book, "ann").state, total(book, "ann").score) == ("needs_manual", None)
    assert by_hand(book, "ann", "essay", 3.0, 1)
    assert (total(book, "ann").state, total(book, "ann").score) == ("graded", 5.0)
    assert override(book, "ann", "essay", 1.0, 1)
    assert by_hand(book, "ann", "essay", 4.0, 1)
    (line,) = [s for s in book.current(UNIT) if s.exercise == "essay"]
    assert (line.earned, line.source, line.comment) == (1.0, "override", "why")
    assert override(book, "ann", "essay", None, 1)
    (line,) = [s for s in book.current(UNIT) if s.exercise == "essay"]
    assert (line.earned, line.source, line.comment) == (4.0, "manual", "good")


def test_a_mark_for_an_attempt_is_for_that_attempt(book):
    graded(book, "ann", hour=0)
    override(book, "ann", "gin", 3.0, 1)
    override(book, "ann", "gcn", 1.0)
    graded(book, "ann", result(gin=1.0), hour=1)
    assert scores(book, "ann") == {"gcn": 1.0, "gin": 1.0, "essay": None}
    assert marks.idle_overrides(book, UNIT) == [("ann", "gin", 1)]
    override(book, "ann", "gin", 2.0)
    assert marks.idle_overrides(book, UNIT) == []
    assert scores(book, "ann")["gin"] == 2.0


def test_a_regrade_keeps_marks_and_overrides(book):
    graded(book, "ann")
    by_hand(book, "ann", "essay", 3.0, 1)
    override(book, "ann", "gin", 2.0, 1)
    marks.request_regrade(book, UNIT, by="prof")
    graded(book, "ann", result(gcn=0.0))
    assert scores(book, "ann") == {"gcn": 0.0, "gin": 2.0, "essay": 3.0}


def test_an_override_gives_a_score_where_grading_failed_or_nothing_was_submitted(book):
    book.add_students(roster("ann", "bob"))
    graded(book, "ann", broken())
    for name, points in POINTS.items():
        override(book, "ann", name, points, 1)
        assert total(book, "bob").score is None
        override(book, "bob", name, points)
    assert (total(book, "ann").state, total(book, "ann").score) == ("graded", 9.0)
    assert (total(book, "bob").state, total(book, "bob").score) == ("missing", 9.0)


def test_the_same_mark_twice_adds_nothing(book):
    graded(book, "ann")
    assert override(book, "ann", "gin", 1.0, 1)
    assert not override(book, "ann", "gin", 1.0, 1)
    assert override(book, "ann", "gin", 2.0, 1)
    assert override(book, "ann", "gin", 1.0)
    assert override(book, "ann", "gin", 2.0, 1)
    assert scores(book, "ann")["gin"] == 2.0
    assert rows(book, "marks") == 4


def test_wrong_marks_are_clear_errors(book):
    book.add_students(roster("ann", "bob"))
    with pytest.raises(GradebookError, match="run `course grade` first"):
        override(book, "ann", "gin", 1.0)
    graded(book, "ann")
    for arguments, words in (
        (("anna", "gin", 1.0), "near are: ann"),
        (("ann", "gim", 1.0), "near are: gin"),
        (("ann", "zzz", 1.0), "there are: essay, gcn, gin"),
        (("ann", "gin", 3.5), "more than the 3 of gin.*--extra"),
        (("ann", "gin", -1.0), "from 0 on"),
        (("ann", "gin", float("nan")), "from 0 on"),
        (("ann", "gin", 1.0, 2), "no attempt 2.*attempts: 1"),
        (("bob", "gin", 1.0, 1), "attempts: none"),
    ):
        with pytest.raises(GradebookError, match=words):
            override(book, *arguments)
    assert override(book, "ann", "gin", 3.5, extra=True)
    with pytest.raises(GradebookError, match="submitted by bob"):
        marks.request_regrade(book, UNIT, ["ann", "bob"], by="prof")
    with pytest.raises(GradebookError, match="near are: ann"):
        marks.request_regrade(book, UNIT, ["anne"], by="prof")
    assert rows(book, "marks") == 1 and rows(book, "regrade_requests") == 0


def test_history_tells_everything_in_order(book):
    graded(book, "ann")
    override(book, "ann", "gin", 1.0, 1)
    marks.request_regrade(book, UNIT, by="prof")
    graded(book, "ann", result(gin=1.0))
    by_hand(book, "ann", "essay", 1.0, 1)
    events = marks.history(book, "ann", UNIT)
    kinds = ["submitted", "graded", "override", "regrade requested", "graded", "manual"]
    assert [e.what for e in events] == kinds
    assert "gin: 1 points by prof: why" in events[2].detail
    assert marks.history(book, "bob", UNIT) == []
