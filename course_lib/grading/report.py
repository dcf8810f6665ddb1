"""What leaves the grading: a page and a JSON file for each student, and the tables for the instructor.

    REPORTS/STUDENT/UNIT.html, REPORTS/STUDENT/UNIT.json      for the student
    REPORTS/grades.csv                                        nbgrader's columns, a row per student and unit
    REPORTS/exercises.csv                                     a row per student, unit and exercise

A missing score stays missing: null in JSON, an empty cell in CSV, never 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from course_lib.grading import result as results
from course_lib.grading.csv_safety import write_rows
from course_lib.grading.page import LINES, page, said
from course_lib.grading.places import student_folder, write_whole
from course_lib.grading.result import ExerciseResult, SubmissionResult

GRADES, EXERCISES = "grades.csv", "exercises.csv"


@dataclass(frozen=True)
class GradeRow:
    """A row of grades.csv; the fields are the columns of nbgrader's own export, in its order.

    `raw_score` is before the penalty for lateness, `score` after it; None where there is no score yet.
    """

    assignment: str
    duedate: str
    timestamp: str
    student_id: str
    last_name: str
    first_name: str
    email: str
    raw_score: float | None
    late_submission_penalty: float | None
    score: float | None
    max_score: float


def _exercise(exercise: ExerciseResult) -> dict[str, Any]:
    """What a student may read of an exercise. Why the grader failed is not for students."""
    failed = exercise.status == results.GRADER_ERROR
    return {
        "exercise": said(exercise.exercise, 100),
        "status": exercise.status,
        "outcome": exercise.outcome,
        "earned": exercise.earned,
        "points": exercise.points,
        "feedback": [] if failed else [said(line) for line in exercise.feedback[:LINES]],
        "mistake": said(exercise.mistake),
        "forbidden": [said(name, 100) for name in exercise.forbidden[:LINES]],
    }


def student_view(
    student_id: str,
    result: SubmissionResult,
    attempt: int = 1,
    submitted_at: datetime | None = None,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of REPORTS/STUDENT/UNIT.json: what the student may know, as plain data.

    Two gradings of one submission give the same. How long the code took is not told: it could carry inputs out.
    For the arguments see `write_report`.
    """
    hidden = result.status == results.GRADER_ERROR  # its notes may be the grader's own
    return {
        "student": student_id,
        "unit": result.unit,
        "attempt": attempt,
        "status": result.status,
        "earned": result.earned,
        "points": result.points,
        "exercises": [_exercise(exercise) for exercise in result.exercises],
        "remarks": [said(remark) for remark in remarks[:LINES]],
        "notes": [] if hidden else [said(note) for note in result.notes[:LINES]],
        "times": {"submitted_at": submitted_at.isoformat() if submitted_at else None},
    }


def write_report(
    reports: Path,
    student_id: str,
    result: SubmissionResult,
    *,
    attempt: int = 1,
    submitted_at: datetime | None = None,
    name: str = "",
    title: str = "",
    remarks: Sequence[str] = (),
) -> Path:
    """Write a student's page and JSON file; returns the page's place.

    Args:
        name: the student's name for the page, by default `student_id`.
        title: the unit's title for the page, by default its name.
        remarks: lines to stand below the total, such as what a late submission costs.

    Raises UnsafeName if `student_id` cannot name a folder, OSError if a file cannot be written.
    """
    folder = reports / student_folder(student_id)
    view = student_view(student_id, result, attempt, submitted_at, remarks)
    text = json.dumps(view, indent=1, ensure_ascii=False, sort_keys=True, allow_nan=False)
    write_whole(folder / f"{result.unit}.json", text + "\n")
    place = folder / f"{result.unit}.html"
    write_whole(place, page(view, name or student_id, title or result.unit))
    return place


def write_grades(reports: Path, rows: Iterable[GradeRow]) -> Path:
    """Write grades.csv, which nbgrader's tools and most LMSs can import; returns its place."""
    write_rows(reports / GRADES, [field.name for field in fields(GradeRow)], map(astuple, rows))
    return reports / GRADES


def write_exercises(reports: Path, graded: Iterable[tuple[str, int, SubmissionResult]]) -> Path:
    """Write exercises.csv from (student_id, attempt, result); returns its place."""
    columns = ("student_id", "unit", "attempt", "exercise", "status", "outcome", "earned", "points")
    rows = [
        (student, r.unit, attempt, e.exercise, e.status, e.outcome, e.earned, e.points)
        + (said(e.mistake), said(" ".join(e.forbidden)))
        for student, attempt, r in graded
        for e in r.exercises
    ]
    write_rows(reports / EXERCISES, (*columns, "mistake", "forbidden"), rows)
    return reports / EXERCISES
