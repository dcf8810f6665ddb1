"""The `course` command. Exit codes: 0 done, 1 something was found wanting, 2 a wrong request."""

from pathlib import Path
from typing import Annotated

import typer

from course_lib.commands.screen import console, fail, table, units
from course_lib.course_map import MapError, find_unit, root

app = typer.Typer(
    help="A notebook course on relational deep learning.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def lab(
    unit: Annotated[
        str | None, typer.Argument(help="number, slug or full name of the unit whose lab to open")
    ] = None,
    browser: Annotated[bool, typer.Option(help="open a browser window")] = True,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="port to listen on")] = None,
) -> None:
    """Open JupyterLab in work/, where lectures and labs are yours to change.

    What you have changed there is never overwritten: a newer release is put beside it.
    """
    from course_lib.commands import desk as desks
    from course_lib.commands import lab as labs

    rows = units()
    folder = root()
    desk = folder / "work"
    try:
        row = find_unit(unit, rows) if unit else None
        labs.absolute_data_folder()
        done = desks.fill(folder, desk)
    except (MapError, NotADirectoryError, desks.DeskError) as error:
        fail(error)
    for name in done.updated:
        console.print(f"updated: work/{name}")
    for name, beside in done.beside:
        console.print(
            f"work/{name} is as you left it; its newer release lies beside it as {beside.name}"
        )
    console.print(f"{len(done.new)} notebooks copied to work/" if done.new else "work/ is ready")
    if row is not None and not (desk / row.lab).is_file():
        fail(f"{row.name} has no lab yet: {row.lab} is not in the repository")
    if port is not None and not labs.port_is_free(port):
        fail(f"port {port} is taken: choose another with --port, or leave it out")
    labs.open_lab(labs.jupyter_command(desk, row, browser=browser, port=port))


@app.command()
def check(
    notebook: Annotated[Path, typer.Argument(help="the lab to check")],
    timeout: Annotated[float, typer.Option(min=1, help="seconds that one cell may take")] = 120,
) -> None:
    """Run a lab's exercises in a fresh process and print exercise, points, status.

    These are the public checks. The notebook and your progress stay as they are.
    """
    from course_lib.commands import check as checks
    from course_lib.commands import lab as labs
    from course_lib.commands.notebooks import NotebookError

    try:
        labs.absolute_data_folder()
        report = checks.check_notebook(notebook, units(), timeout)
    except (NotebookError, NotADirectoryError) as error:
        fail(error)
    made = table("exercise", "points", "status")
    for line in report.lines:
        earned = "–" if line.earned is None else f"{line.earned:g}"
        made.add_row(line.exercise, f"{earned} of {line.points:g}", line.status)
    made.add_section()
    made.add_row("total", f"{report.earned:g} of {report.points:g}", "public checks")
    console.print(f"{report.unit}: {notebook}")
    console.print(made)
    for line in report.lines:
        if line.message and line.status != "passed":
            console.print(f"{line.message}\n")
    for note in report.notes:
        console.print(f"note: {note}")
    console.print(checks.HONEST)


@app.command()
def progress() -> None:
    """Print how far you are, unit by unit."""
    import importlib
    import importlib.util

    from course_lib.exercises import progress as kept

    found, rows = kept.load(), units()
    made = table("unit", "exercise", "points", "status", "attempts")
    for row in rows:
        if importlib.util.find_spec(row.module) is None:
            continue
        unit = importlib.import_module(row.module).unit
        for name, exercise in unit.exercises.items():
            entry = found.get(row.name, {}).get(name, {})
            earned = f"{entry.get('earned', 0):g} of {exercise.points:g}"
            status = str(entry.get("status", "not attempted")).replace("_", " ")
            made.add_row(row.name, name, earned, status, str(entry.get("attempts", 0)))
    console.print(made)
    console.print(f"kept in {kept.progress_file()}")


@app.command()
def doctor() -> None:
    """Say what this machine has for the course, and what to do about each lack.

    Leaves with 1 if something needed is missing.
    """
    from course_lib.commands.doctor import examine

    units()  # a broken map is said before anything else
    signs = {"ok": "ok", "note": "optional", "problem": "PROBLEM"}
    made = table("what", "", "found", "what to do")
    findings = examine(root())
    for finding in findings:
        made.add_row(finding.what, signs[finding.level], finding.found, finding.advice)
    console.print(made)
    if problems := [finding.what for finding in findings if finding.level == "problem"]:
        fail(f"to put right: {', '.join(problems)}", code=1)


if (Path(__file__).parent / "publish").is_dir():  # students get the course without these two
    from course_lib.publish.commands import register

    register(app)
if (Path(__file__).parent / "grading").is_dir():
    from course_lib.grading.commands import register as register_grading

    register_grading(app)

if __name__ == "__main__":
    app()
