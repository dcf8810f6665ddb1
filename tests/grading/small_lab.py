"""A small lab with three exercises and a written question, changed as a test wants it, and what is read of it."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

from course_lib.exercises.engine import Unit
from course_lib.grading import extract, reading

NAMES = ("first", "second", "third")
MINE = "def first(x):\n    return 'mine'"
STUB = "def first(x):\n    raise NotImplementedError()"
GRADED = {"schema_version": 3, "locked": False, "task": False, "solution": True, "grade": False}


def code(source: object, grade_id: str = "", **more: object) -> dict:
    metadata = {"nbgrader": {**GRADED, "grade_id": grade_id}} if grade_id else {}
    return {
        "cell_type": "code",
        "id": f"id-{grade_id}",
        "metadata": metadata,
        "source": source,
    } | more


def solution(name: str) -> dict:
    return code(f"def {name}(x):\n    return x + one\n", name)


def check_cell(name: str) -> dict:
    cell = code(f'{name} = check("{name}", {name})', f"check_{name}")
    cell["metadata"]["nbgrader"] |= {"grade": True, "solution": False, "points": 2}
    return cell


def question(name: str, text: str) -> dict:
    meta = {**GRADED, "grade_id": name, "grade": True, "points": 3}
    return {
        "cell_type": "markdown",
        "id": f"id-{name}",
        "metadata": {"nbgrader": meta},
        "source": text,
    }


SETUP = code("import torch\nfrom torch import nn, optim\none = 1") | {
    "metadata": {"tags": ["setup"]}
}
LAB = [SETUP]
for _name in NAMES:
    LAB += [solution(_name), check_cell(_name)]
LAB.append(question("why", "Because."))


def notebook(cells: list) -> dict:
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


def raw(cells: list) -> bytes:
    return json.dumps(notebook(cells)).encode()


def unit_and_outline() -> tuple[Unit, dict]:
    """The unit of the lab, and what the reader is told of it."""
    unit = Unit("99_small", forbids=["torch.nn.LSTM"])
    for name in NAMES:

        def check(answer, case): ...

        check.__name__ = name
        uses = ("first",) if name == "third" else ()
        unit.exercise(points=2, minutes=1, reference=len, uses=uses, forbids=["torch.mean"])(check)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "master.ipynb"
        path.write_text(json.dumps(notebook([as_run(cell) for cell in LAB])))
        return unit, reading.outline(unit, path)


def as_run(cell: dict) -> dict:
    """The cell with the keys that nbformat wants a code cell to have."""
    return {**cell, "outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell


UNIT, OUTLINE = unit_and_outline()
MASTER = extract.Master(OUTLINE)


def read(cells: list | bytes) -> dict:
    """Extraction in this process, of cells or bytes."""
    return extract.extract(cells if isinstance(cells, bytes) else raw(cells), MASTER)


def lab(**changed: object) -> list:
    """A fresh copy of the lab; a name's cell is replaced by other cells, or its source by a text."""
    cells = []
    for cell in copy.deepcopy(LAB):
        nbgrader = cell["metadata"].get("nbgrader", {})
        new = changed.get(nbgrader.get("grade_id"), cell)
        if isinstance(new, str):
            cell["source"], new = new, cell
        cells += new if isinstance(new, list) else [new]
    return cells


def sources(program: dict) -> list[str]:
    """What the student's chunks hold, without the newlines in front."""
    chunks = program["chunks"]
    return [c["source"].lstrip("\n") for c in chunks if c["cell"] not in ("setup", "given")]
