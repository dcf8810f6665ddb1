"""One grading run: a folder of submissions in, rows of the gradebook and reports out.

Every job has a key; keys that are done are skipped. A result is one transaction, and reports are written from the
gradebook, so a run that is killed anywhere is completed by running it again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from course_lib.course_map import UnitRow
from course_lib.grading import result as results
from course_lib.grading.batch import Done, Job, grade_all
from course_lib.grading.deadlines import Deadlines
from course_lib.grading.gradebook import Gradebook, Graded, KeyParts, Score, Submission, Total
from course_lib.grading.places import UnsafeName, shown, student_folder
from course_lib.grading.policy import Policy, checks_digest
from course_lib.grading.report import GradeRow, write_exercises, write_grades, write_report
from course_lib.grading.result import SubmissionResult
from course_lib.grading.roster import Student
from course_lib.grading.secret import secret_id
from course_lib.grading.submitted_at import parse_time

TIME_FILE = "timestamp.txt"  # nbgrader's convention


@dataclass(frozen=True)
class Found:
    """A notebook in the folder of submissions. `submitted_at` is None where the LMS's export gave no time."""

    student: str
    row: UnitRow
    path: Path
    sha256: str
    submitted_at: datetime | None


@dataclass
class Summary:
    """What a run did: submissions found, skipped because they were done, results by status, and complaints."""

    found: int = 0
    skipped: int = 0
    graded: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


# finding -----------------------------------------------------------------------------------------


def _folders(folder: Path) -> list[Path]:
    """The folders in `folder` that are no links, in order; those that begin with . or _ are nobody's."""
    return sorted(
        Path(entry.path)
        for entry in os.scandir(folder)
        if entry.is_dir(follow_symlinks=False) and entry.name[0] not in "._"
    )


def _sha256(path: Path) -> str:
    """The file's hash; of a link, that of where it points, since links are not followed."""
    if path.is_symlink():
        return hashlib.sha256(b"link\0" + os.fsencode(os.readlink(path))).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(folder: Path, rows: Sequence[UnitRow]) -> tuple[list[Found], list[str]]:
    """The submissions under `folder`/STUDENT/UNIT, and a line for everything there that is none.

    Raises NotADirectoryError if `folder` is no folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: give the one that `course collect` wrote")
    units, found, problems = {row.name: row for row in rows}, [], []
    for place in _folders(folder):
        try:
            student_folder(place.name)
        except UnsafeName as error:
            problems.append(str(error))
            continue
        for part in _folders(place):
            where = shown(f"{place.name}/{part.name}")
            if part.name not in units:
                problems.append(f"{where} is no unit of this course: {', '.join(units)}")
                continue
            named = part / f"{part.name}.ipynb"
            notebooks = sorted(p for p in part.glob("*.ipynb"))
            if named not in notebooks and len(notebooks) != 1:
                many = ", ".join(shown(p.name, 40) for p in notebooks[:5]) or "none"
                problems.append(
                    f"{where}: which notebook is it? Name it {named.name}; there: {many}"
                )
                continue
            path = named if named in notebooks else notebooks[0]
            stamp = part / TIME_FILE
            text = stamp.read_text(errors="replace") if stamp.is_file() else ""
            when = parse_time(text)
            if text.strip() and when is None:
                problems.append(f"{where}/{TIME_FILE} holds no time: {shown(text, 40)}")
            try:
                found.append(Found(place.name, units[part.name], path, _sha256(path), when))
            except OSError as error:
                problems.append(f"{where}/{shown(path.name)} cannot be read: {error.strerror}")
    return found, problems


# grading -----------------------------------------------------------------------------------------


def grade_folder(
    book: Gradebook,
    found: Iterable[Found],
    policy: Policy,
    key: bytes,
    folder: Path,
    *,
    workers: int = 1,
    groups: bool = True,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> Summary:
    """Grade what is not graded yet and keep every result.

    Args:
        key: the secret.
        folder: of the repository.
        groups: whether to use control groups where they can be had.
        told: called with how many jobs are done, and of how many.
    """
    summary, jobs, known = Summary(), [], {}
    parts: dict[str, KeyParts] = {}
    for one in found:
        name = one.row.name
        if name not in parts:
            checks = checks_digest(one.row, folder)
            parts[name] = KeyParts(checks, policy.digest(), secret_id(key))
        submission = book.submit(one.student, name, one.sha256, one.submitted_at, one.path)
        summary.found += 1
        if book.is_done(parts[name].key(submission), policy.unsandboxed):
            summary.skipped += 1
            continue
        known[len(jobs)] = submission
        jobs.append(Job(len(jobs), name, one.path, submission.attempt))
    told(0, len(jobs))
    jobs.sort(key=lambda job: job.unit)  # a process changes its sandbox as rarely as possible
    for number, done in enumerate(grade_all(jobs, policy, key, workers, groups), start=1):
        submission = known[done.job.number]
        book.record(parts[submission.unit], submission, done.result)
        _count(summary, submission, done)
        told(number, len(jobs))
    return summary


def _count(summary: Summary, submission: Submission, done: Done) -> None:
    status = done.result.status
    summary.graded[status] = summary.graded.get(status, 0) + 1
    if status == results.GRADER_ERROR:
        summary.errors.append(f"{submission.student}, {submission.unit}: {shown(done.error, 300)}")


# reports -----------------------------------------------------------------------------------------


def write_reports(
    book: Gradebook, reports: Path, rows: Sequence[UnitRow], deadlines: Deadlines
) -> None:
    """Write the students' pages and the two tables, of all units that have submissions."""
    students = {student.student_id: student for student in book.students()}
    with_submissions = set(book.units())
    grades, graded = [], []
    for row in rows:
        if row.name not in with_submissions:
            continue
        scores: dict[str, dict[str, Score]] = {}
        for score in book.current(row.name):
            scores.setdefault(score.student, {})[score.exercise] = score
        totals = {total.student: total for total in book.totals(row.name)}
        for one in book.results(row.name):
            marked = with_marks(one.result, scores.get(one.student, {}))
            graded.append((one.student, one.attempt, marked))
            _write_page(reports, one, marked, totals[one.student], students, row, deadlines)
        grades += [_grade_row(total, students, deadlines) for total in totals.values()]
    write_grades(reports, grades)
    write_exercises(reports, graded)


def with_marks(result: SubmissionResult, scores: dict[str, Score]) -> SubmissionResult:
    """The result with what people have marked: their points stand in place of the automatic ones."""
    exercises = []
    for exercise in result.exercises:
        score = scores.get(exercise.exercise)
        if score is not None and score.source in ("manual", "override"):
            said = "Marked by a person." if score.source == "manual" else "Changed by a person."
            comment = (score.comment,) if score.comment else ()
            lines = (*exercise.feedback, said, *comment)
            exercise = replace(exercise, status=results.GRADED, earned=score.earned, feedback=lines)
        exercises.append(exercise)
    return replace(result, exercises=tuple(exercises))


def _write_page(
    reports: Path,
    one: Graded,
    marked: SubmissionResult,
    total: Total,
    students: dict[str, Student],
    row: UnitRow,
    deadlines: Deadlines,
) -> None:
    reason = deadlines.lateness(row.name, one.student, total.submitted_at).reason
    write_report(
        reports,
        one.student,
        marked,
        attempt=one.attempt,
        submitted_at=total.submitted_at,
        name=students[one.student].name if one.student in students else "",
        title=row.title,
        remarks=(reason,) if reason else (),
    )


def _grade_row(total: Total, students: dict[str, Student], deadlines: Deadlines) -> GradeRow:
    """A student's row of grades.csv. Who submitted nothing has 0, as in nbgrader's own export; no score is empty."""
    who = students.get(total.student)
    late = deadlines.lateness(total.unit, total.student, total.submitted_at)
    raw = 0.0 if total.state == "missing" and total.score is None else total.score
    penalty = None
    if raw is not None:
        when = total.submitted_at
        penalty = deadlines.penalty(total.unit, total.student, when, raw, total.points)
    return GradeRow(
        assignment=total.unit,
        duedate=late.due.isoformat() if late.due else "",
        timestamp=total.submitted_at.isoformat() if total.submitted_at else "",
        student_id=total.student,
        last_name=who.last_name if who else "",
        first_name=who.first_name if who else "",
        email=who.email if who else "",
        raw_score=raw,
        late_submission_penalty=penalty,
        score=None if raw is None else raw - penalty,
        max_score=total.points,
    )
