"""The tables and views of the gradebook, for SQLite and PostgreSQL alike.

A row is written once and never changed: triggers refuse it. What holds now is read from views, which any tool that
speaks SQL may use: `roster`, `current_submissions`, `current_results`, `current_scores`, `current_totals`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

VERSION = 1


class UTCTime(sa.TypeDecorator):
    """A moment: timestamptz in PostgreSQL, text in UTC in SQLite, a datetime with its zone in Python."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """To UTC; a moment without a zone is in UTC."""
        if value is None:
            return None
        value = value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """From UTC."""
        return value and value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)


metadata = sa.MetaData()


def _column(name: str, kind: Any = sa.Text, *more: Any, nullable: bool = False) -> sa.Column:
    return sa.Column(name, kind, *more, nullable=nullable)


def _table(name: str, *parts: Any) -> sa.Table:
    return sa.Table(name, metadata, sa.Column("id", sa.Integer, primary_key=True), *parts)


# One row. `salt` makes the codes of anonymous answers.
gradebook = _table(
    "gradebook", _column("version", sa.Integer), _column("salt"), _column("created_at", UTCTime)
)

# A row is a version of a student; the newest counts. `enrolled` is false once a roster no longer has the student.
students = _table(
    "students",
    *map(_column, ("student", "first_name", "last_name", "email", "lms_id", "login")),
    _column("enrolled", sa.Boolean),
    _column("at", UTCTime),
    sa.Index("students_by_student", "student"),
)

# Identity: student, unit, file, time. `first_seen` is when the gradebook met it, `submitted_at` is from the LMS.
submissions = _table(
    "submissions",
    _column("student"),
    _column("unit"),
    _column("attempt", sa.Integer),
    _column("file_sha256"),
    _column("submitted_at", UTCTime, nullable=True),
    _column("path"),
    _column("first_seen", UTCTime),
    sa.UniqueConstraint("student", "unit", "attempt"),
)
_untimed = submissions.c.submitted_at.is_(None)
for _name, _columns, _where in (
    ("submission_once", ("student", "unit", "file_sha256", "submitted_at"), ~_untimed),
    ("submission_once_untimed", ("student", "unit", "file_sha256"), _untimed),
):
    _which = [submissions.c[c] for c in _columns]
    sa.Index(_name, *_which, unique=True, sqlite_where=_where, postgresql_where=_where)

# `round` is how many regrades had been requested when the job began; `result` is the whole SubmissionResult as JSON.
results = _table(
    "results",
    _column("submission", sa.Integer, sa.ForeignKey("submissions.id")),
    *map(_column, ("job_key", "checks_hash", "policy_hash", "secret_id", "sandbox", "status")),
    _column("round", sa.Integer),
    _column("seconds", sa.Double),
    _column("student_seconds", sa.Double),
    _column("graded_at", UTCTime),
    _column("result"),
    sa.Index("results_by_submission", "submission"),
    sa.Index("results_by_key", "job_key"),
)
_counts = results.c.status != "grader_error"
_which = [results.c[c] for c in ("job_key", "sandbox", "round")]
sa.Index("job_done_once", *_which, unique=True, sqlite_where=_counts, postgresql_where=_counts)

exercise_results = _table(
    "exercise_results",
    _column("result", sa.Integer, sa.ForeignKey("results.id")),
    _column("position", sa.Integer),
    *map(_column, ("exercise", "status", "outcome", "mistake", "forbidden")),
    _column("earned", sa.Double, nullable=True),
    _column("points", sa.Double),
    sa.UniqueConstraint("result", "exercise"),
    sa.CheckConstraint(
        "(earned IS NULL) = (status IN ('needs_manual', 'grader_error'))", name="no_score_no_points"
    ),
)

# A mark without an attempt is for whatever attempt counts; one without points takes an earlier one back.
marks = _table(
    "marks",
    *map(_column, ("student", "unit", "exercise")),
    _column("attempt", sa.Integer, nullable=True),
    _column("kind"),
    _column("points", sa.Double, nullable=True),
    _column("comment"),
    _column("by"),
    _column("at", UTCTime),
    sa.CheckConstraint("kind IN ('manual', 'override')", name="known_kind"),
    sa.CheckConstraint("points >= 0", name="no_negative_mark"),
    sa.Index("marks_by_student", "student", "unit", "exercise"),
)

regrade_requests = _table(
    "regrade_requests",
    _column("submission", sa.Integer, sa.ForeignKey("submissions.id")),
    _column("by"),
    _column("at", UTCTime),
    sa.Index("regrade_requests_by_submission", "submission"),
)

VIEWS = {
    "roster": """
SELECT student, first_name, last_name, email, lms_id, login FROM students s
WHERE enrolled AND id = (SELECT MAX(id) FROM students t WHERE t.student = s.student)""",
    # The attempt that counts: the newest by its time. One without a time is as old as when it was first seen, and
    # steps back for the same file with a time.
    "current_submissions": """
SELECT id, student, unit, attempt, file_sha256, submitted_at, path, first_seen FROM (
  SELECT s.*, ROW_NUMBER() OVER (
    PARTITION BY student, unit ORDER BY COALESCE(submitted_at, first_seen) DESC, attempt DESC
  ) AS place FROM submissions s
  WHERE submitted_at IS NOT NULL OR NOT EXISTS (
    SELECT 1 FROM submissions t WHERE t.student = s.student AND t.unit = s.unit
    AND t.file_sha256 = s.file_sha256 AND t.submitted_at IS NOT NULL)
) ranked WHERE place = 1""",
    # The newest result of each submission; a grader_error only where there is no other.
    "current_results": """
SELECT id, submission, status, sandbox, graded_at, result FROM (
  SELECT r.*, ROW_NUMBER() OVER (
    PARTITION BY submission ORDER BY CASE WHEN status = 'grader_error' THEN 1 ELSE 0 END, id DESC
  ) AS place FROM results r
) ranked WHERE place = 1""",
    # The exercises of a unit: those of its newest result.
    "unit_exercises": """
SELECT newest.unit, e.exercise, e.position, e.points FROM exercise_results e JOIN (
  SELECT s.unit AS unit, MAX(r.id) AS id FROM results r JOIN submissions s ON s.id = r.submission
  WHERE EXISTS (SELECT 1 FROM exercise_results x WHERE x.result = r.id) GROUP BY s.unit
) newest ON newest.id = e.result""",
    # Everybody of the roster in every unit, and whoever else has a submission or a mark.
    "people": """
SELECT p.student, p.unit, (r.student IS NOT NULL) AS enrolled FROM (
  SELECT student, unit FROM submissions UNION SELECT student, unit FROM marks
  UNION SELECT r.student, u.unit FROM roster r CROSS JOIN (SELECT DISTINCT unit FROM submissions) u
) p LEFT JOIN roster r ON r.student = p.student""",
    "standing": """
SELECT p.student, p.unit, p.enrolled, s.id AS submission, s.attempt, s.submitted_at,
  r.id AS result, r.status, r.sandbox
FROM people p
LEFT JOIN current_submissions s ON s.student = p.student AND s.unit = p.unit
LEFT JOIN current_results r ON r.submission = s.id""",
    # The newest override and mark by hand of each exercise, of those for the attempt that counts or for any.
    "standing_marks": """
SELECT student, unit, exercise,
  MAX(CASE WHEN kind = 'override' THEN points END) AS override,
  MAX(CASE WHEN kind = 'override' THEN comment END) AS override_comment,
  MAX(CASE WHEN kind = 'manual' THEN points END) AS manual,
  MAX(CASE WHEN kind = 'manual' THEN comment END) AS manual_comment
FROM (
  SELECT m.*, ROW_NUMBER() OVER (
    PARTITION BY m.student, m.unit, m.exercise, m.kind ORDER BY m.id DESC
  ) AS place
  FROM marks m LEFT JOIN current_submissions s ON s.student = m.student AND s.unit = m.unit
  WHERE m.attempt IS NULL OR m.attempt = s.attempt
) given WHERE place = 1 AND points IS NOT NULL GROUP BY student, unit, exercise""",
    # One row a student and exercise. `earned` is NULL where there is no score yet. CROSS JOIN has SQLite begin with the
    # left side.
    "current_scores": """
SELECT a.student, a.unit, a.attempt, a.exercise, a.position, a.status, a.outcome, a.mistake,
  a.points, COALESCE(m.override, m.manual, a.earned) AS earned,
  CASE WHEN m.override IS NOT NULL THEN 'override' WHEN m.manual IS NOT NULL THEN 'manual'
    WHEN a.earned IS NOT NULL THEN 'automatic' ELSE '' END AS source,
  COALESCE(m.override_comment, m.manual_comment, '') AS comment
FROM (
  SELECT b.student, b.unit, b.attempt, e.exercise, e.position, e.status, e.outcome, e.mistake,
    e.earned, e.points
  FROM standing b CROSS JOIN exercise_results e WHERE e.result = b.result
  UNION ALL
  SELECT b.student, b.unit, b.attempt, u.exercise, u.position,
    CASE WHEN b.submission IS NULL THEN 'missing' ELSE 'not_graded' END, '', '', NULL, u.points
  FROM standing b CROSS JOIN unit_exercises u WHERE u.unit = b.unit AND b.result IS NULL
) a LEFT JOIN standing_marks m
  ON m.student = a.student AND m.unit = a.unit AND m.exercise = a.exercise""",
    # One row a student and unit. `score` is NULL until every exercise has one; `provisional` adds up those there are.
    "current_totals": """
WITH sums AS (
  SELECT student, unit, COUNT(*) AS exercises, SUM(points) AS points,
    COALESCE(SUM(earned), 0.0) AS provisional,
    SUM(CASE WHEN earned IS NULL THEN 1 ELSE 0 END) AS unscored,
    SUM(CASE WHEN earned IS NULL AND status = 'grader_error' THEN 1 ELSE 0 END) AS broken
  FROM current_scores GROUP BY student, unit)
SELECT b.student, b.unit, b.enrolled, b.attempt, b.submitted_at, COALESCE(b.sandbox, '') AS sandbox,
  CASE WHEN b.submission IS NULL THEN 'missing' WHEN b.result IS NULL THEN 'not_graded'
    WHEN b.status = 'unreadable' THEN 'unreadable'
    WHEN t.broken > 0 OR (t.exercises IS NULL AND b.status = 'grader_error') THEN 'grader_error'
    WHEN t.unscored > 0 THEN 'needs_manual' ELSE 'graded' END AS state,
  CASE WHEN t.unscored > 0 THEN NULL
    WHEN t.exercises IS NULL AND COALESCE(b.status, 'grader_error') = 'grader_error' THEN NULL
    ELSE COALESCE(t.provisional, 0.0) END AS score,
  COALESCE(t.provisional, 0.0) AS provisional, COALESCE(t.points, 0.0) AS points,
  COALESCE(t.unscored, 0) AS unscored
FROM standing b LEFT JOIN sums t ON t.student = b.student AND t.unit = b.unit""",
}


def _view(name: str, **columns: Any) -> sa.TableClause:
    return sa.table(name, *(sa.column(key, kind) for key, kind in columns.items()))


_student = dict.fromkeys(
    ("student", "first_name", "last_name", "email", "lms_id", "login"), sa.Text
)
roster = _view("roster", **_student)
current_submissions = _view("current_submissions", **{c.name: c.type for c in submissions.c})
current_results = _view("current_results", submission=sa.Integer, result=sa.Text)
unit_exercises = _view(
    "unit_exercises", unit=sa.Text, exercise=sa.Text, position=sa.Integer, points=sa.Double
)
_line = ("exercise", "status", "outcome", "mistake", "source", "comment")
current_scores = _view(
    "current_scores",
    **dict.fromkeys(("student", "unit", *_line), sa.Text),
    **dict.fromkeys(("attempt", "position"), sa.Integer),
    **dict.fromkeys(("earned", "points"), sa.Double),
)
current_totals = _view(
    "current_totals",
    **dict.fromkeys(("student", "unit", "sandbox", "state"), sa.Text),
    **dict.fromkeys(("attempt", "unscored"), sa.Integer),
    **dict.fromkeys(("score", "provisional", "points"), sa.Double),
    enrolled=sa.Boolean,
    submitted_at=UTCTime,
)


def create(connection: sa.Connection, salt: str) -> None:
    """Make tables, views and triggers in an empty database, inside the caller's transaction."""
    metadata.create_all(connection)
    for name, query in VIEWS.items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {query}")
    postgres = connection.dialect.name == "postgresql"
    refuse = "rows of the gradebook are never changed or deleted"
    if postgres:
        connection.exec_driver_sql(
            "CREATE FUNCTION gradebook_refuse() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{refuse}'; END $$"
        )
    for table in metadata.tables:
        for event in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(
                f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
                + (
                    "FOR EACH STATEMENT EXECUTE FUNCTION gradebook_refuse()"
                    if postgres
                    else f"BEGIN SELECT RAISE(ABORT, '{refuse}'); END"
                )
            )
    row = {"version": VERSION, "salt": salt, "created_at": datetime.now(UTC)}
    connection.execute(gradebook.insert().values(row))
