"""Notebooks as students might submit them: made from the master, or cell by cell around one exercise."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from course_lib.course_map import UnitRow, find_unit, root
from course_lib.grading.grade import Grader
from course_lib.grading.result import ExerciseResult, SubmissionResult

UNIT = find_unit("05_graph_networks")
GRADED = {"schema_version": 3, "locked": False, "task": False, "solution": True, "grade": False}


@functools.cache
def _text(path: Path) -> str:
    return (root() / path).read_text(encoding="utf-8")


def master(row: UnitRow = UNIT) -> dict[str, Any]:
    """A fresh copy of the master of a unit's lab."""
    return json.loads(_text(row.master))


def grade_id(cell: dict[str, Any]) -> str:
    """The name that nbgrader's metadata give a cell, or ""."""
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def source_of(name: str, row: UnitRow = UNIT) -> str:
    """The source of the master's cell with that grade_id. Raises StopIteration if there is none."""
    return next("".join(c["source"]) for c in master(row)["cells"] if grade_id(c) == name)


def code(source: str, name: str = "") -> dict[str, Any]:
    """A code cell, an answer's if `name` is given."""
    metadata = {"nbgrader": {**GRADED, "grade_id": name}} if name else {}
    return {"cell_type": "code", "id": name or "more", "metadata": metadata, "source": source} | {
        "outputs": [],
        "execution_count": None,
    }


def solved(row: UnitRow = UNIT, **answers: str | None) -> dict[str, Any]:
    """The master with the sources of some answer cells replaced; a cell given as None is left out."""
    notebook = master(row)
    for cell in notebook["cells"]:
        if grade_id(cell) in answers:
            cell["source"] = answers[grade_id(cell)]
    notebook["cells"] = [c for c in notebook["cells"] if c["source"] is not None]
    return notebook


def single(
    name: str, source: str, before: tuple = (), after: tuple = (), row: UnitRow = UNIT
) -> dict[str, Any]:
    """The lab's own setup cell, `source` as the answer cell of exercise `name`, and its check cell.

    `before` and `after` are the sources of cells around the answer. All other exercises are missing.
    """
    whole = master(row)
    setup = [c for c in whole["cells"] if "setup" in c["metadata"].get("tags", [])]
    check = [c for c in whole["cells"] if grade_id(c) == f"check_{name}"]
    cells = [*setup, *map(code, before), code(source, name), *check, *map(code, after)]
    return {**whole, "cells": cells}


def write(folder: Path, notebook: dict[str, Any]) -> Path:
    """Write a notebook into `folder`; returns its path."""
    path = folder / "submission.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    return path


def grade(
    grader: Grader, folder: Path, notebook: dict[str, Any], attempt: int = 1
) -> SubmissionResult:
    """Grade a notebook by way of a file in `folder`."""
    done = grader.grade(write(folder, notebook), attempt)
    assert grader.last_error == ""
    return done


def grade_one(
    grader: Grader,
    folder: Path,
    name: str,
    source: str,
    before: tuple = (),
    after: tuple = (),
    attempt: int = 1,
) -> ExerciseResult:
    """The result of one exercise whose answer cell holds `source`, in a notebook without the others."""
    notebook = single(name, source, before, after, grader.row)
    done = grade(grader, folder, notebook, attempt)
    return next(e for e in done.exercises if e.exercise == name)


GIN = source_of("gin_aggregate")


def gin(*lines: str) -> str:
    """An answer to gin_aggregate with these lines as its body; the first one is line 2 of its cell."""
    return "def gin_aggregate(h, adjacency, eps):\n" + "".join(f"    {line}\n" for line in lines)
