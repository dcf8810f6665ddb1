"""The gradebook: what was submitted, what grading said of it, what people added; and the score that follows.

Rows are only ever appended, each result in one transaction, so a run that is killed has lost only the job it was at.
The score is never stored: it is read from the views of schema.py. An override comes before a mark by hand, and that
before the automatic score; where none of them is, there is no score (None), which is not zero.
"""

from __future__ import annotations

import json
import math
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from course_lib.grading import schema
from course_lib.grading.database import DEFAULT, Database, GradebookError
from course_lib.grading.result import GRADER_ERROR, SubmissionResult
from course_lib.grading.roster import Roster, Student
from course_lib.grading.rows import (
    UNSANDBOXED,
    Graded,
    KeyParts,
    RosterChange,
    Score,
    Submission,
    Total,
)

__all__ = ["Gradebook", "GradebookError", "Graded", "KeyParts", "Score", "Submission", "Total"]


class Gradebook:
    """A gradebook in an SQLite file or a PostgreSQL database. Use it in a `with` block, in one process and thread.

    Args:
        url: sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME.
        create: make the gradebook where there is none; else that is an error.

    Every method raises GradebookError if the database fails or a request does not fit what is in it.
    """

    def __init__(self, url: str = DEFAULT, create: bool = True) -> None:
        self.database = Database(url, create)
        self.salt = self.database.salt

    def __enter__(self) -> Gradebook:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database."""
        self.database.engine.dispose()

    def grading_run(self, wait: float = 0) -> AbstractContextManager[None]:
        """For `with`: keep a second grading run out. It gets GradebookError after `wait` seconds."""
        return self.database.run_lock(wait)

    # what grading writes --------------------------------------------------------------------------

    def add_students(self, roster: Roster) -> RosterChange:
        """Take over `roster`, the whole list: whoever is no longer in it counts as withdrawn."""
        wanted = {s.student_id: s for s in roster.students}
        with self.database.writing() as db:
            known = {s.student_id: s for s in enrolled(db)}
            ever = {row.student for row in db.execute(sa.select(schema.students.c.student))}
            new = [s for key, s in wanted.items() if known.get(key) != s]
            gone = [s for key, s in known.items() if key not in wanted]
            for student in [*new, *gone]:
                cells = {key: text(value) for key, value in asdict(student).items()}
                cells["student"] = cells.pop("student_id")
                there = student.student_id in wanted
                add(db, schema.students, **cells, enrolled=there, at=now())
        ids = [s.student_id for s in new]
        return RosterChange(
            tuple(i for i in ids if i not in ever),
            tuple(i for i in ids if i in ever),
            tuple(s.student_id for s in gone),
        )

    def submit(
        self,
        student: str,
        unit: str,
        file_sha256: str,
        submitted_at: datetime | None,
        path: str | Path,
    ) -> Submission:
        """Note a submission, or find it again: the same student, unit, file and time are one submission.

        `submitted_at` without a zone is in UTC. Attempts are numbered as they are first seen.
        """
        student, unit, table = text(student), text(unit), schema.submissions
        own = sa.and_(table.c.student == student, table.c.unit == unit)
        when = table.c.submitted_at
        same_time = when.is_(None) if submitted_at is None else when == submitted_at
        wanted = sa.select(table).where(own, table.c.file_sha256 == file_sha256, same_time)
        with self.database.writing() as db:
            if db.execute(wanted).first() is None:
                last = db.execute(sa.select(sa.func.max(table.c.attempt)).where(own)).scalar()
                add(
                    db,
                    table,
                    student=student,
                    unit=unit,
                    attempt=(last or 0) + 1,
                    file_sha256=file_sha256,
                    submitted_at=submitted_at,
                    path=text(str(path)),
                    first_seen=now(),
                )
            row = db.execute(wanted).one()
            return Submission(**row._mapping, regrades=regrades(db, row.id))

    def is_done(self, key: str, unsandboxed: bool = False) -> bool:
        """Whether a job needs no further run: it has a result that is no grader_error, newer than any regrade request.

        A result without a sandbox counts only where `unsandboxed` says that none is wanted.
        """
        table = schema.results
        asked = sa.select(sa.func.count()).select_from(schema.regrade_requests)
        asked = asked.where(schema.regrade_requests.c.submission == table.c.submission)
        done = sa.select(table.c.id).where(
            table.c.job_key == key,
            table.c.status != GRADER_ERROR,
            table.c.round >= asked.scalar_subquery(),
        )
        if not unsandboxed:
            done = done.where(table.c.sandbox != UNSANDBOXED)
        with self.database.reading() as db:
            return db.execute(done).first() is not None

    def record(self, parts: KeyParts, submission: Submission, result: SubmissionResult) -> bool:
        """Keep a result, whole or not at all; False if this job was done already, which adds nothing.

        Raises ValueError if the result is of another unit, or a score is no finite number.
        """
        _check_result(submission, result)
        table, key = schema.results, parts.key(submission)
        done = sa.select(table.c.id).where(
            table.c.job_key == key,
            table.c.sandbox == result.sandbox,
            table.c.round == submission.regrades,
            table.c.status != GRADER_ERROR,
        )
        with self.database.writing() as db:
            if result.status != GRADER_ERROR and db.execute(done).first() is not None:
                return False
            number = add(
                db,
                table,
                submission=submission.id,
                job_key=key,
                **asdict(parts),
                sandbox=result.sandbox,
                status=result.status,
                round=submission.regrades,
                seconds=result.seconds,
                student_seconds=result.student_seconds,
                graded_at=now(),
                result=json.dumps(result.to_json(), allow_nan=False),
            )
            for position, exercise in enumerate(result.exercises):
                kept = {c: getattr(exercise, c) for c in ("exercise", "status", "outcome")}
                add(
                    db,
                    schema.exercise_results,
                    result=number,
                    position=position,
                    **kept,
                    mistake=text(exercise.mistake),
                    forbidden=text(" ".join(exercise.forbidden)),
                    earned=exercise.earned,
                    points=exercise.points,
                )
        return True

    # what can be asked ----------------------------------------------------------------------------

    def students(self) -> tuple[Student, ...]:
        """The roster, by student id."""
        with self.database.reading() as db:
            return tuple(enrolled(db))

    def units(self) -> list[str]:
        """The units of which something was submitted."""
        table = schema.submissions
        with self.database.reading() as db:
            return sorted(db.scalars(sa.select(table.c.unit).distinct()))

    def exercises(self, unit: str) -> dict[str, float]:
        """The points of the unit's exercises in their order, as its newest result has them."""
        with self.database.reading() as db:
            return exercises(db, unit)

    def current(self, unit: str) -> list[Score]:
        """A row for each student and exercise, by student and the unit's order of exercises."""
        with self.database.reading() as db:
            return _rows(db, schema.current_scores, Score, unit, "student", "position")

    def totals(self, unit: str) -> list[Total]:
        """A row for each student of the roster, and for whoever else has a submission or a mark."""
        with self.database.reading() as db:
            return _rows(db, schema.current_totals, Total, unit, "student")

    def results(self, unit: str, all_attempts: bool = False) -> list[Graded]:
        """The newest result of the attempts that count, or of all attempts, by student and attempt."""
        made, result = schema.submissions, schema.current_results
        counts = schema.current_submissions
        query = (
            sa.select(made.c.student, made.c.attempt, counts.c.id, result.c.result)
            .join_from(made, result, result.c.submission == made.c.id)
            .outerjoin(counts, counts.c.id == made.c.id)
            .where(made.c.unit == unit)
            .order_by(made.c.student, made.c.attempt)
        )
        with self.database.reading() as db:
            rows = db.execute(query).all()
        return [
            Graded(who, attempt, it is not None, SubmissionResult.from_json(json.loads(whole)))
            for who, attempt, it, whole in rows
            if all_attempts or it is not None
        ]


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


def text(given: str) -> str:
    """`given` as every database can hold it: no NUL, no half of a surrogate pair."""
    return given.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")


def add(db: sa.Connection, table: sa.Table, **row: Any) -> int:
    """Append a row; its id."""
    return db.execute(table.insert().values(row)).inserted_primary_key[0]


def enrolled(db: sa.Connection) -> list[Student]:
    """The students of the roster, by student id."""
    rows = db.execute(sa.select(schema.roster).order_by(schema.roster.c.student))
    return [Student(*row) for row in rows]


def exercises(db: sa.Connection, unit: str) -> dict[str, float]:
    """The points of a unit's exercises, in their order."""
    view = schema.unit_exercises
    query = sa.select(view.c.exercise, view.c.points).where(view.c.unit == unit)
    return dict(tuple(row) for row in db.execute(query.order_by(view.c.position)))


def regrades(db: sa.Connection, submission: int) -> int:
    """How many regrades of a submission were requested."""
    table = schema.regrade_requests
    query = sa.select(sa.func.count()).select_from(table).where(table.c.submission == submission)
    return db.execute(query).scalar_one()


def _rows(db: sa.Connection, view: sa.TableClause, kind: type, unit: str, *order: str) -> list:
    """The rows of a view as objects of `kind`, whose fields are columns of it."""
    columns = [view.c[field.name] for field in fields(kind)]
    query = sa.select(*columns).where(view.c.unit == unit).order_by(*(view.c[c] for c in order))
    return [kind(*row) for row in db.execute(query)]


def _check_result(submission: Submission, result: SubmissionResult) -> None:
    if result.unit != submission.unit:
        raise ValueError(
            f"a result of {result.unit} is no result of a submission of {submission.unit}"
        )
    for exercise in result.exercises:
        numbers = [exercise.points, *([] if exercise.earned is None else [exercise.earned])]
        if not all(math.isfinite(number) and number >= 0 for number in numbers):
            raise ValueError(f"{exercise.exercise} has no finite score: {numbers}")
