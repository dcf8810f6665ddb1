"""`course grade`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from course_lib.commands.screen import complaints, console, fail, table, units
from course_lib.course_map import MapError, find_unit, root
from course_lib.grading import result as results
from course_lib.grading.csv_safety import CsvError
from course_lib.grading.database import DEFAULT, GradebookError
from course_lib.grading.finding import Found, find
from course_lib.grading.roster import Roster, RosterError
from course_lib.grading.secret import SecretError, load_secret

if TYPE_CHECKING:  # they bring torch along, which the other commands need not wait for
    from course_lib.grading.gradebook import Gradebook
    from course_lib.grading.policy import Policy
    from course_lib.grading.run import Summary

INTERRUPTED = 130  # the exit code by which shells know Ctrl-C


def register(app: typer.Typer) -> None:
    """Add `grade` to `app`."""
    app.command()(grade)


def grade(
    submissions: Annotated[Path, typer.Argument(help="folder: STUDENT/UNIT/UNIT.ipynb")],
    out: Annotated[Path | None, typer.Option(metavar="REPORTS", help="folder of reports")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="processes")] = os.cpu_count() or 1,
    gradebook: Annotated[
        str, typer.Option(metavar="URL", envvar="COURSE_GRADEBOOK", help="SQLite or PostgreSQL")
    ] = DEFAULT,
    timeout: Annotated[float, typer.Option(min=0.5, help="seconds that a case may take")] = 20,
    memory: Annotated[float, typer.Option(min=0.25, help="gigabytes that a case may take")] = 2,
    forbidden: Annotated[str, typer.Option(help="use of a forbidden name: warn or zero")] = "warn",
    unsandboxed: Annotated[
        bool, typer.Option(help="run students' code without protection")
    ] = False,
    roster: Annotated[Path | None, typer.Option(help="CSV: who is in the course")] = None,
    deadlines: Annotated[Path | None, typer.Option(help="CSV: due times, extensions")] = None,
    explain: Annotated[
        tuple[str, str, str] | None, typer.Option(metavar="STUDENT UNIT EXERCISE", help="show all")
    ] = None,
) -> None:
    """Grade every notebook that is not graded yet, and write feedback and tables.

    What is done is skipped, so a run that was broken off is completed by running it again. Leaves with 3 if the grader
    itself failed on a submission (it is tried again at the next run), with 1 if something in the folder is no
    submission, else with 0.
    """
    from course_lib.grading import run
    from course_lib.grading.batch import start_importing
    from course_lib.grading.deadlines import DeadlineError, Deadlines
    from course_lib.grading.gradebook import Gradebook
    from course_lib.grading.plain import PlainSandbox
    from course_lib.grading.policy import Policy
    from course_lib.grading.sandbox import Sandbox, SandboxError

    wrong = (MapError, SecretError, SandboxError, GradebookError, RosterError, DeadlineError)
    rows = units()
    if forbidden not in ("warn", "zero"):
        fail(f"--forbidden is warn or zero, not {forbidden!r}")
    if out is None and explain is None:
        fail("say where the reports go: --out REPORTS")
    lacking = (PlainSandbox if unsandboxed else Sandbox).lacking()
    if lacking:
        fail(
            f"{lacking}. (--unsandboxed runs students' code without protection: only for code you trust)"
        )
    policy = Policy(timeout, memory, forbidden, unsandboxed)
    if explain is None:
        start_importing()
    try:
        found, problems = find(submissions, rows)
        key = load_secret()
        if explain is not None:
            _explain(found, explain, policy, key)
            return
        with Gradebook(gradebook) as book, book.grading_run():
            if roster is not None:
                book.add_students(Roster.read(roster))
            names = {s.student_id for s in book.students()}
            due = (
                Deadlines.read(deadlines, [r.name for r in rows], names)
                if deadlines
                else Deadlines()
            )
            summary = _grade(book, found, policy, key, workers)
            run.write_reports(book, out, rows, due)
    except (*wrong, CsvError, OSError) as error:
        fail(error)
    except KeyboardInterrupt:
        fail("stopped; what was graded is kept: run it again for the rest", code=INTERRUPTED)
    summary.problems = problems
    _print(summary, out)
    if summary.errors:
        fail(
            "the grader failed on some submissions: they have no score, and are tried again", code=3
        )
    if problems:
        fail("something in the folder is no submission: see above", code=1)


def _grade(
    book: Gradebook, found: list[Found], policy: Policy, key: bytes, workers: int
) -> Summary:
    from course_lib.grading.run import grade_folder

    columns = (TextColumn("grading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=complaints) as progress:
        task = progress.add_task("grading", total=None)

        def told(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of)

        return grade_folder(book, found, policy, key, root(), workers=workers, told=told)


def _explain(found: list[Found], wanted: tuple[str, str, str], policy: Policy, key: bytes) -> None:
    from course_lib.grading.batch import first_slot
    from course_lib.grading.explain import explain as explained
    from course_lib.grading.grade import Grader

    student, unit, exercise = wanted
    row = find_unit(unit)
    path = next((f.path for f in found if (f.student, f.row.name) == (student, row.name)), None)
    if path is None:
        there = ", ".join(sorted({f.student for f in found if f.row == row})[:20]) or "nobody"
        fail(f"{student!r} has no submission of {row.name} in the folder; there: {there}")
    with Grader(row, key, policy, slot=first_slot()) as grader:
        if exercise not in grader.unit.exercises:
            fail(f"{row.name} has no exercise {exercise!r}: {', '.join(grader.unit.exercises)}")
        for line in explained(grader, path, exercise):
            console.print(line)


def _print(summary: Summary, out: Path) -> None:
    made = table("submissions", "")
    made.add_row("found", str(summary.found))
    made.add_row("done before", str(summary.skipped))
    for status in (results.GRADED, results.UNREADABLE, results.GRADER_ERROR):
        made.add_row(f"now {status.replace('_', ' ')}", str(summary.graded.get(status, 0)))
    console.print(made)
    for line in (*summary.problems, *summary.older, *summary.errors):
        console.print(f"note: {line}")
    console.print(f"reports: {out}")
