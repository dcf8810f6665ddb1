"""The instructor's commands on the gradebook: status, manual, override, regrade."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from course_lib.commands.screen import console, fail, table, units
from course_lib.course_map import MapError, find_unit
from course_lib.grading import manual as written
from course_lib.grading import marks as given
from course_lib.grading import status as standings
from course_lib.grading.csv_safety import CsvError
from course_lib.grading.database import DEFAULT, GradebookError
from course_lib.grading.deadlines import DeadlineError, Deadlines
from course_lib.grading.gradebook import Gradebook
from course_lib.grading.places import shown
from course_lib.grading.roster import Roster, RosterError
from course_lib.grading.rows import OVERRIDE

Url = Annotated[
    str,
    typer.Option(
        "--gradebook",
        envvar="COURSE_GRADEBOOK",
        metavar="URL",
        help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME",
    ),
]
UnitName = Annotated[str, typer.Argument(metavar="UNIT", help="number, slug or full name")]
By = Annotated[str | None, typer.Option(help="who does this; your login if left out")]
WRONG = (MapError, GradebookError, CsvError, DeadlineError, written.MarksError, RosterError)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (status, manual, override, regrade):
        app.command()(command)


@contextmanager
def _plainly() -> Iterator[None]:
    """Whatever can be wrong with a request, as one clear message and exit code 2."""
    try:
        yield
    except WRONG as error:
        fail(error)
    except OSError as error:
        fail(f"{error.filename or 'a file'} cannot be written: {error.strerror or error}")


def _login() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


def status(
    unit: UnitName,
    deadlines: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="deadlines, extensions and penalties"),
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="take over this roster, the whole list, first"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="write a page there as well")
    ] = None,
    gradebook: Url = DEFAULT,
) -> None:
    """Say who submitted, what has a score, and what waits for a person."""
    with _plainly():
        name, known = find_unit(unit, units()).name, [row.name for row in units()]
        people = Roster.read(roster) if roster else None
        with Gradebook(gradebook, create=people is not None) as book:
            if people:
                change = book.add_students(people)
                console.print(
                    f"roster: {len(people.students)} students, {len(change.added)} new, "
                    f"{len(change.changed)} changed, {len(change.withdrawn)} withdrawn"
                )
            ids = [student.student_id for student in book.students()]
            due = Deadlines.read(deadlines, known, ids) if deadlines else None
            state = standings.status(book, name, due)
            remarks = _remarks(ids, given.idle_overrides(book, name))
        if out is not None:
            standings.write_status(out, state, remarks)
    for caption, rows in (("in the roster", state.students), ("others", state.strangers)):
        if rows:
            made = table(*(standings.COLUMNS[i] for i in standings.NARROW))
            for one in rows:
                cells = standings.row(one)
                made.add_row(*(shown(cells[i]) for i in standings.NARROW))
            console.print(f"{name}, {caption}:")
            console.print(made)
    counts = table(name, "students")
    for words, number in state.counts():
        counts.add_row(words, str(number))
    console.print(counts)
    for remark in remarks:
        console.print(f"note: {shown(remark, 300)}")
    if out is not None:
        console.print(f"written: {out}")


def _remarks(ids: list[str], idle: list[tuple[str, str, int]]) -> list[str]:
    remarks = []
    if not ids:
        remarks.append("the gradebook has no roster: give one with --roster to see who is missing")
    for student, exercise, attempt in idle:
        remarks.append(
            f"{student} has an override of {exercise} for attempt {attempt}, but a newer attempt counts: "
            "override that one too if it should hold"
        )
    return remarks


def manual(
    unit: UnitName,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="write pages and CSV there (default: manual/)"),
    ] = None,
    marks: Annotated[
        Path | None, typer.Option(metavar="CSV", help="read this filled CSV back")
    ] = None,
    extra: Annotated[
        bool, typer.Option("--extra", help="allow more points than a question has")
    ] = False,
    by: By = None,
    gradebook: Url = DEFAULT,
) -> None:
    """Write anonymous pages of the written answers and a CSV for marks; or read that CSV back."""
    with _plainly():
        name = find_unit(unit, units()).name
        with Gradebook(gradebook, create=False) as book:
            if marks is not None:
                done = written.read_marks(book, name, marks, by=by or _login(), extra=extra)
                console.print(f"{done.new} marks recorded, {done.known} known already")
                if done.earlier:
                    console.print(
                        f"note: {done.earlier} of them are for attempts that no longer count"
                    )
                if done.only_comment:
                    console.print(
                        f"note: {done.only_comment} rows have a comment but no points: not recorded"
                    )
            if out is not None or marks is None:
                for path in written.write_pages(book, name, out or Path("manual")):
                    console.print(f"written: {path}")
            waiting = [a for a in written.answers(book, name) if a.current and a.points is None]
    console.print(f"{len(waiting)} answers of {name} wait for a mark")


def override(
    student: Annotated[str, typer.Argument(metavar="STUDENT", help="the student's id")],
    unit: UnitName,
    exercise: Annotated[str, typer.Argument(metavar="EXERCISE", help="the exercise's name")],
    points: Annotated[
        str, typer.Argument(metavar="POINTS", help="a number, or none to take an override back")
    ],
    comment: Annotated[str, typer.Option(help="why; the student may read it")],
    attempt: Annotated[
        int | None, typer.Option(min=1, help="for this attempt (default: the one that counts)")
    ] = None,
    all_attempts: Annotated[
        bool, typer.Option("--all-attempts", help="for whatever attempt counts, now and later")
    ] = False,
    extra: Annotated[
        bool, typer.Option("--extra", help="allow more points than the exercise has")
    ] = False,
    by: By = None,
    gradebook: Url = DEFAULT,
) -> None:
    """Give points for an exercise by hand; they come before the automatic ones and before a mark."""
    if attempt is not None and all_attempts:
        fail("--attempt and --all-attempts exclude each other")
    try:
        number = None if points.casefold() == "none" else float(points)
    except ValueError:
        fail(f"{points!r} are no points: give a number, or none to take an override back")
    with _plainly():
        name = find_unit(unit, units()).name
        with Gradebook(gradebook, create=False) as book:
            totals = {total.student: total for total in book.totals(name)}
            which = None if all_attempts else attempt
            if which is None and not all_attempts and student in totals:
                which = totals[student].attempt
                if which is None:
                    fail(f"{student} submitted nothing of {name}: use --all-attempts")
            who = (student, name, exercise, number)
            more = {"comment": comment, "attempt": which, "extra": extra}
            new = given.mark(book, *who, kind=OVERRIDE, by=by or _login(), **more)
            score = next(
                s for s in book.current(name) if (s.student, s.exercise) == (student, exercise)
            )
    where = "all attempts" if which is None else f"attempt {which}"
    console.print("recorded" if new else "nothing new: the gradebook has this override already")
    earned = "no score" if score.earned is None else f"{score.earned:g} of {score.points:g}"
    source = f" ({score.source})" if score.source else ""
    console.print(f"{student}, {name}, {exercise}, override for {where}; now: {earned}{source}")


def regrade(
    unit: UnitName,
    students: Annotated[
        list[str] | None, typer.Argument(metavar="STUDENT", help="everybody if left out")
    ] = None,
    by: By = None,
    gradebook: Url = DEFAULT,
) -> None:
    """Have the next `course grade` grade the attempts that count again, of these students or of all."""
    with _plainly():
        name = find_unit(unit, units()).name
        with Gradebook(gradebook, create=False) as book:
            asked = given.request_regrade(book, name, students or (), by=by or _login())
    console.print(
        f"{len(asked)} submissions of {name} will be graded again by the next `course grade`"
    )
