"""`course gradescope`: the autograder of a unit as a zip for Gradescope."""

from pathlib import Path
from typing import Annotated

import typer

from course_lib.commands.screen import console, fail, units
from course_lib.course_map import MapError, find_unit


def register(app: typer.Typer) -> None:
    """Add `gradescope` to `app`."""
    app.command()(gradescope)


def gradescope(
    unit: Annotated[str, typer.Argument(help="number, slug or full name of the unit")],
    out: Annotated[Path, typer.Option(metavar="ZIP", help="the zip to upload to Gradescope")],
    timeout: Annotated[float, typer.Option(min=1, help="seconds a case may take")] = 20,
    memory: Annotated[float, typer.Option(min=0.1, help="gigabytes a case may take")] = 2,
    forbidden: Annotated[
        str, typer.Option(help="warn, or zero: forbidden names cost points")
    ] = "warn",
    unsandboxed: Annotated[
        bool, typer.Option("--unsandboxed", help="where bubblewrap cannot run there: weaker")
    ] = False,
) -> None:
    """Write the zip from which Gradescope grades a unit.

    It holds the unit's answers, its hidden checks and the grading secret: upload it, then delete it. Written questions
    get no score there; add them on Gradescope as questions that you mark.
    """
    from course_lib.grading import gradescope as packing
    from course_lib.grading.secret import SecretError, load_secret

    if forbidden not in ("warn", "zero"):
        fail(f"--forbidden is warn or zero, not {forbidden!r}")
    options = ["--timeout", f"{timeout:g}", "--memory", f"{memory:g}", "--forbidden", forbidden]
    options += ["--unsandboxed"] if unsandboxed else []
    try:
        row = find_unit(unit, units())
        names = packing.write_zip(row, out, load_secret(), options)
    except (MapError, SecretError, OSError) as error:
        fail(error)
    console.print(f"{len(names)} files written to {out}, which only you can read")
    console.print(
        "it holds answers and the grading secret: upload it to Gradescope, then delete it"
    )
    if unsandboxed:
        console.print(
            "unsandboxed: only its uid and its limits stand between a student's code and the grader"
        )
