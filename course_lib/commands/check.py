"""`course check`: a notebook's exercises run in a fresh process, and what the public checks say."""

import importlib
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from course_lib.commands import notebooks
from course_lib.course_map import UnitRow
from course_lib.exercises.engine import Unit

HONEST = (
    "These are the public checks, run on your own machine: a passed one is a good sign, not a mark. "
    "Grading uses other, hidden inputs."
)
WRITTEN = "written: marked by a person"


@dataclass(frozen=True)
class Line:
    """One row of the table. `earned` is None where only a person can say."""

    exercise: str
    points: float
    earned: float | None
    status: str
    message: str = ""


@dataclass(frozen=True)
class Report:
    """The rows of a notebook's table, and what else the student should know."""

    unit: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...]

    @property
    def earned(self) -> float:
        """The points that public checks gave."""
        return sum(line.earned or 0 for line in self.lines)

    @property
    def points(self) -> float:
        """The points that public checks can give."""
        return sum(line.points for line in self.lines if line.earned is not None)


def unit_of(notebook: NotebookNode, path: Path, rows: tuple[UnitRow, ...]) -> Unit:
    """The unit whose exercises the notebook holds, by what it imports, else by its file name.

    Raises NotebookError if it holds exercises of no unit (a lecture does not).
    """
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    answers = any("nbgrader" in cell.metadata for cell in notebook.cells)
    for row in rows:
        imported = rf"course_lib\.exercises(\.{row.slug}\b| +import[^\n]*\b{row.slug}\b)"
        if re.search(imported, source) or (answers and row.name in path.name):
            return importlib.import_module(row.module).unit
    labs = ", ".join(row.lab.as_posix() for row in rows) or "none yet"
    raise notebooks.NotebookError(
        f"{path} holds no exercises of a unit. Give it a lab; the labs are: {labs}"
    )


def _grade_id(cell: NotebookNode) -> str:
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def _reported(path: Path, unit: Unit) -> dict[str, dict]:
    """The last report of each exercise of `unit`; lines that are no report are passed over."""
    found = {}
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and entry.get("unit") == unit.name:
            found[entry.get("exercise")] = entry
    return found


def _silent_line(name: str, points: float, notebook: NotebookNode, run: notebooks.Run) -> Line:
    """The row of an exercise whose check reported nothing, with the reason."""
    cells = [i for i, c in enumerate(notebook.cells) if _grade_id(c) in {name, f"check_{name}"}]
    called = re.compile(rf"check\(\s*[\"']{name}[\"']")
    checks = [
        i for i, c in enumerate(notebook.cells) if c.cell_type == "code" and called.search(c.source)
    ]
    late = [i for i in {*cells, *checks} if i in run.timed_out]
    if late:
        return _said(name, points, "timed out", run.errors[late[0]])
    if run.stopped_at is not None and checks and checks[-1] >= run.stopped_at:
        return _said(name, points, "not reached", "the run ended before its check")
    if not checks:
        text = f'its check cell, {name} = check("{name}", {name}), is not in the notebook'
        return _said(name, points, "missing", text)
    error = next((run.errors[i] for i in sorted({*cells, *checks}) if i in run.errors), "")
    return _said(name, points, "error", error or "its check cell said nothing")


def _said(name: str, points: float, status: str, text: str) -> Line:
    return Line(name, points, 0, status, f"✗ {name}: {text}")


def _line(name: str, unit: Unit, entry: dict) -> Line:
    exercise = unit.exercises[name]
    status, message = str(entry.get("status")), str(entry.get("message", ""))
    if status == "not_attempted" and exercise.hints:
        message = f"{message}\n  hint      {exercise.hints[0]}"
    earned = exercise.points if status == "passed" else 0
    return Line(name, exercise.points, earned, status.replace("_", " "), message)


def _written(notebook: NotebookNode) -> list[Line]:
    """The written questions, which no check can mark."""
    manual = [
        cell.metadata.nbgrader
        for cell in notebook.cells
        if cell.cell_type == "markdown" and cell.metadata.get("nbgrader", {}).get("grade")
    ]
    return [Line(m["grade_id"], m.get("points", 0), None, WRITTEN) for m in manual]


def check_notebook(path: Path, rows: tuple[UnitRow, ...], timeout: float) -> Report:
    """Run the notebook at `path` in a fresh kernel and report on every exercise of its unit.

    `timeout` is in seconds a cell. The file itself and the student's progress stay as they are.
    Raises NotebookError if the file is no notebook, or holds no exercises.
    """
    notebook = notebooks.read(path)
    unit = unit_of(notebook, path, rows)
    with tempfile.TemporaryDirectory(prefix="course-check-") as folder:
        report = Path(folder) / "report.jsonl"
        report.touch()
        environment = notebooks.kernel_environment(
            COURSE_REPORT=str(report), COURSE_NO_PROGRESS="1", NBGRADER_EXECUTION=None
        )
        run = notebooks.execute(notebook, path.resolve().parent, environment, timeout)
        reported = _reported(report, unit)
    lines = [
        _line(name, unit, reported[name])
        if name in reported
        else _silent_line(name, exercise.points, notebook, run)
        for name, exercise in unit.exercises.items()
    ]
    return Report(unit.name, (*lines, *_written(notebook)), tuple(_notes(notebook, run, timeout)))


def _notes(notebook: NotebookNode, run: notebooks.Run, timeout: float) -> list[str]:
    notes = []
    for index, error in run.errors.items():
        if index in run.timed_out:
            text = f"took more than {timeout:g} s and was interrupted (--timeout gives it longer)"
        else:
            text = f"raised {error[:160]}"
        notes.append(f"{notebooks.place(notebook, index)} {text}")
    if run.stopped_at is not None:
        where = notebooks.place(notebook, run.stopped_at)
        notes.append(f"{run.reason} {where}; the cells after it were not run")
    return notes
