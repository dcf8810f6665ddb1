"""The instructor's commands: release, new-unit, bench."""

from pathlib import Path
from typing import Annotated

import typer

from course_lib.commands.notebooks import NotebookError
from course_lib.commands.screen import console, fail, table, units
from course_lib.course_map import MapError, find_unit, root


def register(app: typer.Typer) -> None:
    """Add the instructor's commands to `app`."""
    app.command()(release)
    app.command("new-unit")(new_unit)
    bench = typer.Typer(help="Measure the course against its own budgets.", no_args_is_help=True)
    bench.command("notebooks")(bench_notebooks)
    app.add_typer(bench, name="bench")


def release(
    check: Annotated[
        bool, typer.Option(help="write nothing; leave with 1 on a difference")
    ] = False,
    student: Annotated[
        Path | None, typer.Option(metavar="DIR", help="write the students' distribution there")
    ] = None,
) -> None:
    """Make labs/ and README's table of units from solutions/ and course.toml."""
    from course_lib.publish import release as releases
    from course_lib.publish import student as students

    rows, folder = units(), root()
    if check and student is not None:
        fail("--check and --student exclude each other")
    try:
        if student is not None:
            files = students.write_student_tree(folder, rows, student)
            console.print(f"{len(files)} files written to {student}; there: make lab")
            return
        changed = releases.differences(folder, releases.products(folder, rows))
        if not check:
            releases.write(folder, changed)
    except (MapError, NotebookError, releases.ReleaseError, OSError) as error:
        fail(error)
    for product in changed:
        verb = "differs" if check else "removed" if product.text is None else "written"
        console.print(f"{verb}: {product.path}")
    if check and changed:
        fail("run `course release` and commit what it writes", code=1)
    if not changed:
        console.print("everything is up to date")


def new_unit(
    name: Annotated[str, typer.Argument(metavar="NN_slug", help="such as 12_normalizing_flows")],
) -> None:
    """Lay down the skeleton of a unit: all six parts, small, and passing the tests."""
    import importlib

    from course_lib.publish import release as releases
    from course_lib.publish import skeleton

    rows, folder = units(), root()
    try:
        written = skeleton.lay_down(folder, rows, name)
    except (ValueError, OSError) as error:
        fail(error)
    for path in written:
        console.print(f"written: {path}")
    importlib.invalidate_caches()  # a module was added while this process runs
    try:
        changed = releases.differences(folder, releases.products(folder, units()))
        releases.write(folder, changed)
    except (MapError, NotebookError, releases.ReleaseError, OSError) as error:
        fail(f"the skeleton is there, but the release failed: {error}", code=1)
    for product in changed:
        console.print(f"released: {product.path}")


def bench_notebooks(
    unit: Annotated[str | None, typer.Argument(help="only this unit")] = None,
    fast: Annotated[bool, typer.Option(help="with COURSE_FAST=1, against the fast budget")] = False,
) -> None:
    """Execute lectures, labs and masters against their seconds in course.toml.

    Leaves with 1 if a notebook takes longer, or fails.
    """
    from course_lib.publish import bench as benches

    rows, folder = units(), root()
    try:
        rows = (find_unit(unit, rows),) if unit else rows
    except MapError as error:
        fail(error)
    made, timings = table("notebook", "seconds", "budget", ""), []
    for row in rows:
        budget = row.seconds["fast" if fast else "full"]
        for path in benches.notebooks_of(row, folder):
            try:
                timing = benches.time_notebook(folder, path, budget, fast=fast)
            except NotebookError as error:
                fail(error)
            timings.append(timing)
            verdict = timing.error or ("ok" if timing.fits else "OVER")
            made.add_row(str(path), f"{timing.seconds:.1f}", f"{budget:g}", verdict)
    console.print(made)
    if not all(timing.fits for timing in timings):
        fail("a notebook fails or takes longer than course.toml allows", code=1)
