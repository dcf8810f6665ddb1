"""`course release`: the labs made from their masters, with nbgrader's own preprocessors."""

import importlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from course_lib.commands.notebooks import NotebookError
from course_lib.course_map import MapError, UnitRow
from course_lib.exercises.engine import Unit

TABLE_START, TABLE_END = "<!-- units -->", "<!-- /units -->"


class ReleaseError(ValueError):
    """A master that must not be released, or a README without its markers; one line a problem."""


@dataclass(frozen=True)
class Product:
    """A generated file: its place relative to the root, and its text (None: it should not exist)."""

    path: Path
    text: str | None


def read_master(path: Path) -> NotebookNode:
    """The master at `path`, exactly as it is (nbformat.read would repair doubled cell ids).

    Raises NotebookError if it is missing or no notebook of format 4.
    """
    try:
        text = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nbformat.reads(text, as_version=nbformat.NO_CONVERT)
        return nbformat.v4.reads(text)
    except Exception as error:  # nbformat lets through whatever its parsers trip over
        raise NotebookError(f"{path} cannot be read: {type(error).__name__}: {error}") from error


def strip(master: NotebookNode) -> NotebookNode:
    """The lab of a master: answers, outputs and hidden tests out, graded cells locked, ids kept.

    The steps are those of `nbgrader generate_assignment`, less its database and autotests.
    Raises ReleaseError if nbgrader finds the master wrong, or is not installed.
    """
    try:
        from nbgrader import preprocessors as steps
    except ImportError as error:
        raise ReleaseError(
            "nbgrader is missing: pip install -c constraints.txt -e '.[grade]'"
        ) from error
    lab, resources = nbformat.from_dict(master), {}
    try:
        for step in (
            steps.LockCells,
            steps.ClearSolutions,
            steps.ClearOutput,
            steps.CheckCellMetadata,
            steps.ClearHiddenTests,
            steps.ClearMarkScheme,
            steps.ComputeChecksums,
            steps.CheckCellMetadata,
        ):
            lab, resources = step().preprocess(lab, resources)
    except Exception as error:  # each step raises its own kind
        raise ReleaseError(f"nbgrader: {error}") from error
    return lab


def problems(master: NotebookNode, unit: Unit) -> list[str]:
    """What is wrong with a master: its ids, its nbgrader metadata, its exercises; one line each."""
    found = []
    if (master.nbformat, master.nbformat_minor) < (4, 5):
        found.append(f"the format is {master.nbformat}.{master.nbformat_minor}: save it as 4.5")
    ids = [cell.get("id") for cell in master.cells]
    found += [f"cell id {i!r} is missing or stands twice" for i in {*ids} if ids.count(i) > 1]
    if not any("setup" in cell.metadata.get("tags", []) for cell in master.cells):
        found.append("no cell has the tag 'setup'")
    graded: dict[str, NotebookNode] = {}
    for cell in master.cells:
        meta = cell.metadata.get("nbgrader")
        begins = cell.source.count("BEGIN SOLUTION")
        if begins != cell.source.count("END SOLUTION"):
            found.append(f"cell {cell.get('id')}: BEGIN SOLUTION and END SOLUTION do not pair")
        if meta is None:
            if begins:
                found.append(f"cell {cell.get('id')} has a solution but no nbgrader metadata")
            continue
        name = meta.get("grade_id", "")
        if meta.get("schema_version") != 3:
            found.append(f"cell {name!r}: nbgrader's schema_version must be 3")
        if not name or name in graded:
            found.append(f"grade_id {name!r} is empty or stands twice")
        graded[name] = cell
        if cell.cell_type == "code" and meta.get("solution") and not begins:
            found.append(f"cell {name!r} has no ### BEGIN SOLUTION: its whole text would be lost")
    return found + _exercise_problems(master, unit, graded)


def _exercise_problems(
    master: NotebookNode, unit: Unit, graded: dict[str, NotebookNode]
) -> list[str]:
    found = []
    checks = {f"check_{name}" for name in unit.exercises}
    for name, exercise in unit.exercises.items():
        answer, check = graded.get(name), graded.get(f"check_{name}")
        if answer is None or not answer.metadata.nbgrader.get("solution"):
            found.append(f"exercise {name} has no answer cell (solution cell of that grade_id)")
        if check is None or not check.metadata.nbgrader.get("grade"):
            found.append(f"exercise {name} has no check cell (grade cell check_{name})")
            continue
        points = check.metadata.nbgrader.get("points")
        if points != exercise.points:
            found.append(f"check_{name} gives {points} points, its module {exercise.points:g}")
        if not re.search(rf"check\(\s*[\"']{name}[\"']", check.source):
            found.append(f'check_{name} does not call check("{name}", ...)')
        if answer is not None and master.cells.index(answer) > master.cells.index(check):
            found.append(f"check_{name} stands before its answer cell")
    for name, cell in graded.items():
        meta = cell.metadata.nbgrader
        if meta.get("grade") and cell.cell_type == "code" and name not in checks:
            found.append(f"grade cell {name!r} belongs to no exercise of {unit.name}")
        if meta.get("solution") and cell.cell_type == "code" and name not in unit.exercises:
            found.append(f"answer cell {name!r} belongs to no exercise of {unit.name}")
    return found


def unit_table(rows: tuple[UnitRow, ...]) -> str:
    """The table of units in Markdown, as README shows it."""
    lines = ["| | unit | what it is about | minutes |", "|---|---|---|---|"]
    for row in rows:
        links = f"[lecture]({row.lecture.as_posix()}) · [lab]({row.lab.as_posix()})"
        minutes = f"{row.minutes['lecture']} + {row.minutes['lab']}"
        lines.append(
            f"| {row.number:02d} | **{row.title}**<br>{links} | {row.summary} | {minutes} |"
        )
    return "\n".join(lines)


def with_table(text: str, rows: tuple[UnitRow, ...]) -> str:
    """`text` with the table of units renewed between its two markers.

    Raises ReleaseError if a marker is missing.
    """
    start, end = text.find(TABLE_START), text.find(TABLE_END)
    if not 0 <= start < end:
        raise ReleaseError(f"README.md needs the lines {TABLE_START} and {TABLE_END}")
    return f"{text[: start + len(TABLE_START)]}\n{unit_table(rows)}\n{text[end:]}"


def unit_of(row: UnitRow) -> Unit:
    """The exercises of a unit, from its module."""
    return importlib.import_module(row.module).unit


def products(folder: Path, rows: tuple[UnitRow, ...]) -> list[Product]:
    """All that `course release` generates in the repository `folder`; nothing is written.

    Raises ReleaseError listing every problem of every master; NotebookError if one is unreadable.
    """
    made, wrong = [], []
    for row in rows:
        master = read_master(folder / row.master)
        unit = unit_of(row)
        if unit.name != row.name:
            raise MapError(f"{row.module} says its unit is {unit.name}, course.toml {row.name}")
        wrong += [f"{row.master}: {problem}" for problem in problems(master, unit)]
        if not wrong:
            made.append(Product(row.lab, nbformat.writes(strip(master)) + "\n"))
    if wrong:
        raise ReleaseError("\n".join(wrong))
    labs = {row.lab for row in rows}
    for path in sorted((folder / "labs").rglob("*.ipynb")):
        if path.relative_to(folder) not in labs and ".ipynb_checkpoints" not in path.parts:
            made.append(Product(path.relative_to(folder), None))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    made.append(Product(Path("README.md"), with_table(readme, rows)))
    return made


def differences(folder: Path, made: list[Product]) -> list[Product]:
    """Those products that the repository `folder` does not hold as they should be."""

    def present(path: Path) -> bytes | None:
        return path.read_bytes() if path.exists() else None

    wanted = [(product, product.text and product.text.encode()) for product in made]
    return [product for product, content in wanted if present(folder / product.path) != content]


def write(folder: Path, changed: list[Product]) -> None:
    """Write the products `changed` into `folder`; those that should not exist are removed."""
    for product in changed:
        path = folder / product.path
        if product.text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(product.text.encode())
