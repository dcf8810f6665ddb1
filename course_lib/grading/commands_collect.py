"""`course collect`: from an LMS's export to a folder of submissions."""

from pathlib import Path
from typing import Annotated

import typer

from course_lib.commands.screen import console, fail, units
from course_lib.course_map import MapError, find_unit
from course_lib.grading import collect as collecting
from course_lib.grading.csv_safety import CsvError
from course_lib.grading.exports import ExportError
from course_lib.grading.places import UnsafeName, shown
from course_lib.grading.roster import Roster, RosterError
from course_lib.grading.submitted_at import TimesError, read_times

SHOWN = 50  # lines of each kind; the CSV holds all


def register(app: typer.Typer) -> None:
    """Add `collect` to `app`."""
    app.command()(collect)


def collect(
    source: Annotated[Path, typer.Argument(metavar="ZIP", help="the LMS's export: zip or folder")],
    roster: Annotated[Path, typer.Option(help="CSV: student_id,first_name,last_name,email")],
    lms: Annotated[str, typer.Option(help="canvas, moodle, nbgrader or folder")],
    out: Annotated[Path, typer.Option(metavar="SUBMISSIONS", help="the folder of submissions")],
    unit: Annotated[str | None, typer.Option(help="needed if no file names the unit")] = None,
    times: Annotated[
        Path | None, typer.Option(metavar="CSV", help="from the LMS: student_id,submitted_at")
    ] = None,
) -> None:
    """Sort an LMS's export into SUBMISSIONS/STUDENT/UNIT/UNIT.ipynb.

    Nothing is guessed: what cannot be matched is listed, kept under SUBMISSIONS/_unmatched, and the command leaves
    with 1. Canvas and Moodle export no times of submission: give them with --times. Collecting again replaces only
    what is newer and keeps what it replaces under SUBMISSIONS/_earlier.
    """
    rows = units()
    if lms not in collecting.LMS:
        fail(f"--lms is one of {', '.join(collecting.LMS)}; not {lms!r}")
    try:
        name = find_unit(unit, rows).name if unit else None
        students = Roster.read(roster).students
        given, strangers = (
            read_times(times, [s.student_id for s in students]) if times else ({}, [])
        )
        names = [row.name for row in rows]
        done = collecting.collect(source, students, lms, out, names, name, given)
    except (MapError, CsvError, RosterError, TimesError, UnsafeName, ExportError, OSError) as error:
        fail(error)
    _print(done, out, strangers)
    if done.of(collecting.UNMATCHED):
        fail("some files are matched to nobody: see above, and SUBMISSIONS/_unmatched", code=1)
    if not done.matched:
        fail(f"no file was matched: is this an export of {lms}?", code=1)


def _print(done: collecting.Collected, out: Path, strangers: list[str]) -> None:
    """The lists and the sums."""
    for status in (collecting.IGNORED, collecting.UNMATCHED):
        lines = done.of(status)
        for line in lines[:SHOWN]:
            console.print(f"{status}: {shown(line.file)}\n    {line.note}")
        if len(lines) > SHOWN:
            console.print(f"and {len(lines) - SHOWN} more {status}")
    submitted, missing = done.of(collecting.SUBMITTED), done.of(collecting.MISSING)
    for line in [line for line in submitted if line.note][:SHOWN]:
        console.print(f"note: {line.student_id}: {line.note}")
    if missing:
        names = ", ".join(line.student_id for line in missing[:SHOWN])
        console.print(f"missing: {names}{' …' if len(missing) > SHOWN else ''}")
    if strangers:
        console.print(f"not in the roster, but in --times: {shown(', '.join(strangers), 300)}")
    if timeless := [line for line in submitted if not line.submitted_at]:
        console.print(f"{len(timeless)} of {len(submitted)} submissions have no time: see --times")
    unmatched, ignored = len(done.of(collecting.UNMATCHED)), len(done.of(collecting.IGNORED))
    console.print(f"{done.unit}: {len(done.changed)} submissions are new or changed")
    console.print(
        f"files: {done.entries} = {done.matched} matched + {unmatched} unmatched + {ignored} ignored"
    )
    console.print(
        f"roster: {len(submitted) + len(missing)} = {len(submitted)} submitted + {len(missing)} missing"
    )
    console.print(f"listed in {out / f'collected-{done.unit}.csv'}")
