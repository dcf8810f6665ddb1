"""`course bench`: every notebook executed against the seconds that `course.toml` gives it."""

from dataclasses import dataclass
from pathlib import Path

from course_lib.commands import notebooks
from course_lib.course_map import UnitRow


@dataclass(frozen=True)
class Timing:
    """One notebook's execution. `error` is empty if it ran to its end without one."""

    path: Path
    seconds: float
    budget: float
    error: str = ""

    @property
    def fits(self) -> bool:
        """Whether it ran without error and within its budget."""
        return not self.error and self.seconds <= self.budget


def time_notebook(folder: Path, path: Path, budget: float, *, fast: bool) -> Timing:
    """Execute `folder`/`path` in a fresh kernel; seconds include the kernel's start.

    A cell may take ten times the notebook's budget before it is interrupted.
    """
    environment = notebooks.kernel_environment(
        COURSE_FAST="1" if fast else None, COURSE_NO_PROGRESS="1", NBGRADER_EXECUTION=None
    )
    place = folder / path
    notebook = notebooks.read(place)
    run = notebooks.execute(notebook, place.parent, environment, timeout=10 * budget)
    allowed = {
        index
        for index, cell in enumerate(notebook.cells)
        if "raises-exception" in cell.metadata.get("tags", [])
    }
    errors = [
        f"{notebooks.place(notebook, index)}: {error}"
        for index, error in run.errors.items()
        if index not in allowed
    ]
    if run.stopped_at is not None:
        errors.append(f"{run.reason} {notebooks.place(notebook, run.stopped_at)}")
    return Timing(path, run.seconds, budget, errors[0] if errors else "")


def notebooks_of(row: UnitRow, folder: Path) -> list[Path]:
    """The unit's lecture, lab and master, as far as they exist, relative to `folder`."""
    return [path for path in (row.lecture, row.lab, row.master) if (folder / path).is_file()]
