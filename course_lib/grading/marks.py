"""What people add to the gradebook: marks, overrides, requests for another run; and how it all came about."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from course_lib.grading import schema
from course_lib.grading.database import GradebookError
from course_lib.grading.gradebook import Gradebook, add, enrolled, exercises, now, regrades, text
from course_lib.grading.rows import OVERRIDE, Submission


@dataclass(frozen=True)
class Event:
    """Something that happened: `what` is "submitted", "graded", "regrade requested", "manual" or "override"."""

    at: datetime
    what: str
    attempt: int | None
    detail: str


def near(given: str, known: Iterable[str]) -> str:
    """A half sentence that names the nearest of `known`, or all where none is near and they are few."""
    known = sorted(known)
    found = difflib.get_close_matches(given, known, n=5, cutoff=0.5)
    if found:
        return f"; near are: {', '.join(found)}"
    return f"; there are: {', '.join(known)}" if 0 < len(known) <= 20 else ""


def mark(
    gradebook: Gradebook,
    student: str,
    unit: str,
    exercise: str,
    points: float | None,
    *,
    kind: str,
    by: str,
    comment: str = "",
    attempt: int | None = None,
    extra: bool = False,
) -> bool:
    """Append a mark; False if the newest one says the same, which adds nothing.

    Args:
        points: None takes back an earlier mark.
        kind: "manual" or "override".
        attempt: the attempt it is for; None is for whatever attempt counts.
        extra: allow more points than the exercise has.

    Raises GradebookError if student, unit, exercise or attempt is not known, or the points are out of range.
    """
    comment = text(comment)
    with gradebook.database.writing() as db:
        _check_student(db, student)
        _check_points(exercises(db, unit), unit, exercise, points, extra)
        _check_attempt(db, student, unit, attempt)
        table = schema.marks
        newest = (
            sa.select(table.c.attempt, table.c.points, table.c.comment)
            .where(table.c.student == student, table.c.unit == unit)
            .where(table.c.exercise == exercise, table.c.kind == kind)
            .order_by(table.c.id.desc())
        )
        if attempt is not None:  # what is for another attempt says nothing of this one
            newest = newest.where(sa.or_(table.c.attempt == attempt, table.c.attempt.is_(None)))
        last = db.execute(newest).first()
        if last is not None and tuple(last) == (attempt, points, comment):
            return False
        row = {"student": student, "unit": unit, "exercise": exercise, "attempt": attempt}
        add(db, table, **row, kind=kind, points=points, comment=comment, by=text(by), at=now())
    return True


def request_regrade(
    gradebook: Gradebook, unit: str, students: Collection[str] = (), *, by: str
) -> list[Submission]:
    """Ask for another run of the attempts that count, of `students` or of everybody; those it is asked for.

    Raises GradebookError if a student is not known or submitted nothing.
    """
    view = schema.current_submissions
    with gradebook.database.writing() as db:
        for student in students:
            _check_student(db, student)
        rows = db.execute(sa.select(view).where(view.c.unit == unit).order_by(view.c.student))
        found = {row.student: row for row in rows}
        if missing := sorted(set(students) - set(found)):
            raise GradebookError(f"nothing of {unit} was submitted by {', '.join(missing)}")
        chosen = [row for name, row in found.items() if not students or name in students]
        for row in chosen:
            add(db, schema.regrade_requests, submission=row.id, by=text(by), at=now())
        return [Submission(**row._mapping, regrades=regrades(db, row.id)) for row in chosen]


def newest_marks(
    gradebook: Gradebook, unit: str, kind: str
) -> dict[tuple[str, str, int | None], tuple[float | None, str]]:
    """The newest mark of each {(student, exercise, attempt): (points, comment)}, whichever attempt counts."""
    table = schema.marks
    query = sa.select(table).where(table.c.unit == unit, table.c.kind == kind).order_by(table.c.id)
    with gradebook.database.reading() as db:
        rows = db.execute(query).all()
    return {(r.student, r.exercise, r.attempt): (r.points, r.comment) for r in rows}


def idle_overrides(gradebook: Gradebook, unit: str) -> list[tuple[str, str, int]]:
    """Overrides that have no effect because a newer attempt counts: [(student, exercise, attempt)]."""
    given = newest_marks(gradebook, unit, OVERRIDE)
    counts = {total.student: total.attempt for total in gradebook.totals(unit)}
    return sorted(
        (student, exercise, attempt)
        for (student, exercise, attempt), (points, _) in given.items()
        if attempt is not None
        and points is not None
        and attempt != counts[student]
        and (student, exercise, None) not in given
        and (student, exercise, counts[student]) not in given
    )


def history(gradebook: Gradebook, student: str, unit: str) -> list[Event]:
    """All that happened to a student's work in a unit, oldest first."""
    made, done, asked, given = (
        schema.submissions,
        schema.results,
        schema.regrade_requests,
        schema.marks,
    )
    mine = sa.and_(made.c.student == student, made.c.unit == unit)
    seen = sa.select(made).where(mine).order_by(made.c.id)
    graded = sa.select(done, made.c.attempt).join(made).where(mine).order_by(done.c.id)
    again = sa.select(asked, made.c.attempt).join(made).where(mine).order_by(asked.c.id)
    marked = sa.select(given).where(given.c.student == student, given.c.unit == unit)
    with gradebook.database.reading() as db:
        events = [
            Event(r.first_seen, "submitted", r.attempt, _submitted(r)) for r in db.execute(seen)
        ]
        events += [
            Event(r.graded_at, "graded", r.attempt, f"{r.status}, {r.sandbox}")
            for r in db.execute(graded)
        ]
        events += [
            Event(r.at, "regrade requested", r.attempt, f"by {r.by}") for r in db.execute(again)
        ]
        events += [
            Event(r.at, r.kind, r.attempt, _marked(r))
            for r in db.execute(marked.order_by(given.c.id))
        ]
    return sorted(events, key=lambda event: event.at)


def _submitted(row: sa.Row) -> str:
    time = row.submitted_at.isoformat() if row.submitted_at else "at an unknown time"
    return f"{row.path}, submitted {time}, sha256 {row.file_sha256[:12]}"


def _marked(row: sa.Row) -> str:
    points = "taken back" if row.points is None else f"{row.points:g} points"
    return f"{row.exercise}: {points} by {row.by}" + (f": {row.comment}" if row.comment else "")


def _check_student(db: sa.Connection, student: str) -> None:
    there = db.scalars(sa.select(schema.submissions.c.student).distinct())
    known = {s.student_id for s in enrolled(db)} | {*there}
    if student not in known:
        raise GradebookError(
            f"no student {student!r} is in the roster or among the submissions{near(student, known)}"
        )


def _check_attempt(db: sa.Connection, student: str, unit: str, attempt: int | None) -> None:
    table = schema.submissions
    mine = sa.select(table.c.attempt).where(table.c.student == student, table.c.unit == unit)
    there = sorted(db.scalars(mine))
    if attempt is not None and attempt not in there:
        known = ", ".join(map(str, there)) or "none"
        raise GradebookError(f"{student} has no attempt {attempt} of {unit}; attempts: {known}")


def _check_points(
    known: dict[str, float], unit: str, exercise: str, points: float | None, extra: bool
) -> None:
    if not known:
        raise GradebookError(f"nothing of {unit} was graded yet: run `course grade` first")
    if exercise not in known:
        raise GradebookError(f"{unit} has no exercise {exercise!r}{near(exercise, known)}")
    if points is None:
        return
    if not math.isfinite(points) or points < 0:
        raise GradebookError(f"{points:g} are no points for {exercise}: give a number from 0 on")
    if points > known[exercise] and not extra:
        raise GradebookError(
            f"{points:g} points are more than the {known[exercise]:g} of {exercise}: "
            "allow that with --extra, or correct them"
        )
