"""Where a unit stands: everybody is counted once, the sums add up, and the page escapes what it shows."""

import random
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.grading.deadlines import Deadline, Deadlines
from course_lib.grading.gradebook import Gradebook
from course_lib.grading.roster import Roster, Student
from course_lib.grading.status import status, write_status
from tests.grading.books import (
    NOW,
    PARTS,
    UNIT,
    Model,
    broken,
    graded,
    result,
    roster,
    submit,
    unreadable,
)


@pytest.fixture
def book():
    with Gradebook("sqlite://") as made:
        yield made


def everything(book):
    """One student in each state, one unsandboxed, one stranger."""
    book.add_students(roster("ann", "bob", "cem", "dee", "eve", "fay", "gil"))
    graded(book, "ann", result(essay=1.0), hour=-1)
    graded(book, "bob", hour=30)
    graded(book, "cem", broken(), hour=None)
    graded(book, "dee", unreadable(), hour=90)
    submit(book, "eve", 0)
    graded(book, "fay", result(essay=2.0, sandbox="unsandboxed"), hour=1)
    graded(book, "zoe", result(essay=4.0))


RULES = Deadlines({UNIT: Deadline(NOW, 0.1, 3)}, {(UNIT, "fay"): 5.0})
COUNTS = {
    "in the roster": 7,
    "submitted": 6,
    "missing": 1,
    "submitted: graded (final)": 2,
    "submitted: needs a mark by hand": 1,
    "submitted: grader error": 1,
    "submitted: unreadable": 1,
    "submitted: not yet graded": 1,
    "submitted: on time": 3,
    "submitted: late": 1,
    "submitted: too late": 1,
    "submitted: time unknown": 1,
    "submitted: graded without a sandbox": 1,
    "submitted, but not in the roster": 1,
}


def test_status_counts_everybody_once(book):
    everything(book)
    assert dict(status(book, UNIT, RULES).counts()) == COUNTS


def adds_up(state):
    assert len(state.students) == len(state.submitted) + len(state.missing)
    assert len(state.submitted) == sum(state.states.values()) == sum(state.times.values())
    assert state.unsandboxed <= len(state.submitted)
    names = [one.total.student for one in state.students + state.strangers]
    assert len(set(names)) == len(names)
    for one in state.students:
        final = one.total.state in ("graded", "unreadable")
        assert not final or one.total.score is not None
        assert one.total.state not in ("needs_manual", "grader_error") or one.final is None
        assert one.final is None or 0 <= one.final <= one.total.score


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_sums_of_any_gradebook_add_up(chance):
    with Gradebook("sqlite://") as book:
        model = Model(chance, book)
        due = NOW + timedelta(hours=chance.choice([-300, -2, 0, 5]))
        state = status(book, UNIT, Deadlines({UNIT: Deadline(due, 0.2, 3)}))
        adds_up(state)
        assert len(state.students) == len(model.enrolled)
        there = {who for who, own in model.submissions.items() if own}
        assert {one.total.student for one in state.submitted + list(state.strangers)} == there


def test_status_adds_up_on_both_engines(url):
    with Gradebook(url) as book:
        Model(random.Random(5), book)
        everything(book)
        adds_up(status(book, UNIT, RULES))


def test_lateness_takes_from_the_score_that_is_final(book):
    book.add_students(roster("ann", "bob", "cem"))
    graded(book, "ann", result(essay=4.0), hour=30)
    graded(book, "bob", result(), hour=30)
    found = {one.total.student: one for one in status(book, UNIT, RULES).students}
    assert (found["ann"].total.score, found["ann"].penalty) == (6.0, pytest.approx(1.8))
    assert (found["ann"].final, found["ann"].said) == (pytest.approx(4.2), "4.2")
    assert (found["bob"].final, found["bob"].said) == (None, "0.2 so far")
    assert (found["cem"].final, found["cem"].said) == (None, "–")


def test_the_page_escapes_everything(book, tmp_path):
    bad = "<script>alert(1)</script>"
    book.add_students(Roster((Student("ann", bad, '"&\x1b[2J'),)))
    made = result(essay=1.0)
    book.record(PARTS, submit(book, bad), made)
    write_status(tmp_path / "s.html", status(book, UNIT), (bad,))
    text = (tmp_path / "s.html").read_text()
    assert "<script" not in text and "\x1b" not in text
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
