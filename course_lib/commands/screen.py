"""How the `course` command speaks: tables and notes on stdout, complaints on stderr."""

from typing import NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from course_lib.course_map import MapError, UnitRow, load_map

console = Console(markup=False, highlight=False, soft_wrap=True)
complaints = Console(stderr=True, markup=False, highlight=False, soft_wrap=True)


def fail(message: object, code: int = 2) -> NoReturn:
    """Print `message` on stderr and leave with `code`."""
    complaints.print(f"course: {message}")
    raise typer.Exit(code)


def table(*columns: str) -> Table:
    """An empty table in the one style of this command."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def units() -> tuple[UnitRow, ...]:
    """The map of the course, or a clear end."""
    try:
        return load_map()
    except MapError as error:
        fail(error)
