"""One grading run: a folder of submissions in, rows of the gradebook and reports out.

Every job has a key; keys that are done are skipped. A result is one transaction, and reports are written from the
gradebook, so a run that is killed anywhere is completed by running it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from course_lib.course_map import UnitRow
from course_lib.grading import result as results
from course_lib.grading.batch import Done, Job, grade_all
from course_lib.grading.deadlines import Deadlines
from course_lib.grading.finding import Found
from course_lib.grading.gradebook import Gradebook, Graded, KeyParts, Score, Submission, Total
from course_lib.grading.places import shown
from course_lib.grading.policy import Policy, checks_digest
from course_lib.grading.report import GradeRow, write_exercises, write_grades, write_report
from course_lib.grading.result import SubmissionResult
from course_lib.grading.roster import Student
from course_lib.grading.secret import secret_id


@dataclass
class Summary:
    """What a run did: submissions found, skipped because they were done, results by status, and complaints.

    `older` are lines on submissions that were found, but are not the attempts that count.
    """

    found: int = 0
    skipped: int = 0
    graded: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    older: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


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
    summary, jobs, known, everything = Summary(), [], {}, []
    parts: dict[str, KeyParts] = {}
    for one in found:
        name = one.row.name
        if name not in parts:
            checks = checks_digest(one.row, folder)
            parts[name] = KeyParts(checks, policy.digest(), secret_id(key))
        submission = book.submit(one.student, name, one.sha256, one.submitted_at, one.path)
        everything.append(submission)
        summary.found += 1
        if book.is_done(parts[name].key(submission), policy.unsandboxed):
            summary.skipped += 1
            continue
        known[len(jobs)] = submission
        jobs.append(Job(len(jobs), name, one.path, submission.attempt))
    told(0, len(jobs))
    jobs.sort(key=lambda job: job.unit)  # a process changes its sandbox as rarely as possible
    with closing(grade_all(jobs, policy, key, workers, groups)) as graded:
        for number, done in enumerate(graded, start=1):
            submission = known[done.job.number]
            book.record(parts[submission.unit], submission, done.result)
            _count(summary, submission, done)
            told(number, len(jobs))
    summary.older = _older(book, everything)
    return summary


def _older(book: Gradebook, submissions: list[Submission]) -> list[str]:
    """Lines on those of `submissions` that are not the attempts that count."""
    units = {submission.unit for submission in submissions}
    counts = {(t.student, t.unit): t.attempt for unit in units for t in book.totals(unit)}
    return [
        f"{s.student}, {s.unit}: attempt {counts[s.student, s.unit]} counts, which is newer than attempt {s.attempt} "
        "in the folder (one of unknown time is as old as its first grading)"
        for s in submissions
        if s.attempt != counts[s.student, s.unit]
    ]


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
    """The result with what people have marked: their points, and their word, stand in place of the automatic ones."""
    exercises, by_hand = [], False
    for exercise in result.exercises:
        score = scores.get(exercise.exercise)
        if score is not None and score.source in ("manual", "override"):
            said = "Marked by a person." if score.source == "manual" else "Changed by a person."
            ours = exercise.status == results.GRADER_ERROR
            lines = (*(() if ours else exercise.feedback), said)
            lines = (*lines, score.comment) if score.comment else lines
            marked = {"status": results.GRADED, "outcome": "", "earned": score.earned}
            exercise, by_hand = replace(exercise, **marked, feedback=lines), True
        exercises.append(exercise)
    status = result.status
    if by_hand and not any(e.status == results.GRADER_ERROR for e in exercises):
        status = (
            results.GRADED
        )  # neither broken nor unreadable any more, for whoever reads the page
    return replace(result, status=status, exercises=tuple(exercises))


def _write_page(
    reports: Path,
    one: Graded,
    marked: SubmissionResult,
    total: Total,
    students: dict[str, Student],
    row: UnitRow,
    deadlines: Deadlines,
) -> None:
    write_report(
        reports,
        one.student,
        marked,
        attempt=one.attempt,
        submitted_at=total.submitted_at,
        name=students[one.student].name if one.student in students else "",
        title=row.title,
        remarks=_lateness(total, deadlines),
    )


def _lateness(total: Total, deadlines: Deadlines) -> tuple[str, ...]:
    """What the student is told of the time of submission, and of what is left of the points."""
    who, when = (total.unit, total.student), total.submitted_at
    reason = deadlines.lateness(*who, when).reason
    if not reason:
        return ()
    lost = deadlines.penalty(*who, when, total.provisional, total.points)
    reason = f"{reason[0].upper()}{reason[1:]}."
    if not lost:
        return (reason,)
    far = "" if total.score is not None else " so far"
    left = f"{total.provisional - lost:.4g} of {total.points:.4g}"
    return (reason, f"That takes {lost:.4g} off your points: {left} count{far}.")


def _grade_row(total: Total, students: dict[str, Student], deadlines: Deadlines) -> GradeRow:
    """A student's row of grades.csv. Who submitted nothing has 0, as in nbgrader's own export; no score is empty."""
    who = students.get(total.student)
    late = deadlines.lateness(total.unit, total.student, total.submitted_at)
    raw = 0.0 if total.state == "missing" and total.score is None else total.score
    penalty = None
    if raw is not None:
        when = total.submitted_at
        penalty = deadlines.penalty(total.unit, total.student, when, raw, total.points)
        penalty = round(penalty, 6)  # 2.7, not 2.7000000000000002
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
        score=None if raw is None else round(raw - penalty, 6),
        max_score=total.points,
    )
