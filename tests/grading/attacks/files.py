"""Files that are hostile before any of their code runs, and notebooks whose cells are not where they were."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from course_lib.grading.result import UNREADABLE
from tests.grading.attacks.attack import GIN, RIGHT, answer
from tests.grading.notebooks import code, grade_id, single

CORRECT, FALSE = answer(gives=RIGHT), answer()
CHECK = f"check_{GIN}"
OUTPUT = {"output_type": "display_data", "metadata": {}}
HOSTILE = "<script>alert(1)</script>"


@dataclass(frozen=True)
class File:
    """A file to be submitted; `write` puts it at a path. It earns the points of gin_aggregate if it is `right`."""

    name: str
    write: Callable[[Path], object]
    right: bool = False
    status: str = "graded"


def raw(name: str, data: bytes | Callable[[], bytes], status: str = UNREADABLE) -> File:
    """A file of these bytes."""
    return File(
        name, lambda path: path.write_bytes(data() if callable(data) else data), False, status
    )


def changed(
    name: str, change: Callable[[dict[str, Any]], object], right: bool = True, source: str = CORRECT
) -> File:
    """A notebook that `change` changes in place, or gives another for."""

    def write(path: Path) -> None:
        notebook = copy.deepcopy(single(GIN, source))
        path.write_text(json.dumps(change(notebook) or notebook), encoding="utf-8")

    return File(name, write, right)


def cells_of(notebook: dict[str, Any], name: str = GIN) -> list[dict[str, Any]]:
    """The cells of that grade_id."""
    return [cell for cell in notebook["cells"] if grade_id(cell) == name]


def _strip(notebook: dict[str, Any]) -> None:
    notebook["metadata"] = {}
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def _delete(notebook: dict[str, Any]) -> None:
    notebook["cells"] = [c for c in notebook["cells"] if grade_id(c) != GIN]


def _easy_check(notebook: dict[str, Any]) -> None:
    for cell in cells_of(notebook, CHECK):
        cell["source"] = (
            f"from course_lib.exercises.graph_networks import unit\nunit.exercises['{GIN}'].points = 100"
        )


def _points(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        cell["metadata"].setdefault("nbgrader", {})["points"] = 1000


def _same_ids(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        cell["id"] = "same"


def _widgets(notebook: dict[str, Any]) -> None:
    state = {
        f"{n:032x}": {"model_name": "HTMLModel", "state": {"value": "x" * 1000}}
        for n in range(14_000)
    }
    notebook["metadata"]["widgets"] = {
        "application/vnd.jupyter.widget-state+json": {"state": state}
    }


def _outputs(notebook: dict[str, Any]) -> None:
    for cell in cells_of(notebook):
        cell["outputs"] = [
            {**OUTPUT, "data": {"text/html": HOSTILE + "<img src=x onerror=alert(1)>"}}
        ]


def _nothing_plain(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        cell["outputs"], cell["execution_count"] = "no list", {"x": []}
        cell["metadata"]["tags"] = {"a": 1}
    notebook["cells"] += [
        None,
        7,
        [],
        {},
        {"cell_type": ["code"], "source": {"a": 1}, "metadata": []},
    ]


def _other_unit(notebook: dict[str, Any]) -> dict[str, Any]:
    cells = [code("def scaled_dot_product_attention(q, k, v):\n    return v", "attention")]
    return {**notebook, "cells": cells}


def _cells(*more: dict[str, Any], first: bool = False) -> Callable[[dict[str, Any]], None]:
    def change(notebook: dict[str, Any]) -> None:
        notebook["cells"] = [*more, *notebook["cells"]] if first else [*notebook["cells"], *more]

    return change


def _link(path: Path) -> None:
    path.with_name("target").write_text(json.dumps(single(GIN, CORRECT)))
    path.symlink_to("target")


def _whole(source: str) -> bytes:
    return json.dumps(single(GIN, source)).encode()


BYTES = [
    raw("an empty file", b""),
    raw("no JSON", b"{" * 100),
    raw("a page of HTML", HOSTILE.encode()),
    raw("JSON without cells", b'{"nbformat": 4, "cells": 3}'),
    raw("bytes that are not UTF-8", lambda: _whole(CORRECT).replace(b"import", b"\xff\xfe", 1)),
    raw("UTF-16", lambda: _whole(CORRECT).decode().encode("utf-16")),
    raw("nothing but zeros", bytes(1 << 20)),
    raw("lists nested 200,000 deep", b"[" * 200_000 + b"]" * 200_000),
    raw("dictionaries nested 200,000 deep", b'{"a":' * 200_000 + b"1" + b"}" * 200_000),
    raw("a file of 21 MB", lambda: _whole(CORRECT) + b" " * (21 << 20)),
    raw("200 MB of output", lambda: _whole(CORRECT) + bytes(200 << 20)),
    raw("a million cells", lambda: b'{"nbformat": 4, "cells": [' + b"{}," * 10**6 + b"{}]}"),
    raw("NaN", lambda: _whole(CORRECT)[:-1] + b', "x": NaN}'),
    raw(
        "a number of a million digits",
        lambda: _whole(CORRECT)[:-1] + b', "x": ' + b"9" * 10**6 + b"}",
    ),
    raw("a format of 10**400", b'{"nbformat": 1' + b"0" * 400 + b', "cells": []}'),
    raw(
        "half of a surrogate pair",
        lambda: _whole(CORRECT + "x = '@'").replace(b"@", b"\\ud800"),
        "graded",
    ),
    File("a link", _link, status=UNREADABLE),
    File("a pipe", os.mkfifo, status=UNREADABLE),
]
SOURCES = [
    raw("an answer with a null byte", lambda: _whole(FALSE + "\0"), "graded"),
    raw("brackets nested 5000 deep", lambda: _whole(FALSE + "(" * 5000 + ")" * 5000), "graded"),
    raw("minus signs without end", lambda: _whole(FALSE + "-" * 10**5 + "1"), "graded"),
    raw("a sum of 50,000 terms", lambda: _whole(FALSE + "+".join(["1"] * 50_000)), "graded"),
    raw(
        "an answer of 600,000 characters",
        lambda: _whole(FALSE + f"x = '{'x' * 600_000}'"),
        "graded",
    ),
    raw("a text of a million quotes", lambda: _whole(FALSE + "'" * 10**6), "graded"),
    raw("100,000 lines of commands", lambda: _whole(FALSE + "!x\n" * 100_000), "graded"),
]
CELLS = [
    changed("a right answer, as it is", lambda notebook: None),
    changed("a wrong answer with a check that likes it", _easy_check, False, FALSE),
    changed("a wrong answer with more points in its metadata", _points, False, FALSE),
    changed("an answer that is deleted", _delete, False),
    changed("a right answer without any metadata", _strip),
    changed("a wrong answer without any metadata", _strip, False, FALSE),
    changed("cells in the opposite order", lambda n: n["cells"].reverse()),
    changed("one id for all cells", _same_ids),
    changed("a wrong answer before the right one", _cells(code(FALSE, GIN), first=True)),
    changed("a wrong answer after the right one", _cells(code(FALSE, GIN)), False),
    changed(
        "the right answer once more, unnamed, after a wrong one",
        _cells(code(CORRECT)),
        False,
        FALSE,
    ),
    changed(
        "a right answer below a stub",
        _cells(code(f"def {GIN}(h, a, e):\n    raise NotImplementedError()", GIN), first=True),
    ),
    changed("widgets of 15 MB in the metadata", _widgets),
    changed("HTML in the outputs", _outputs),
    changed("metadata and outputs of the wrong kinds", _nothing_plain),
    changed("a name of HTML", _cells(code("1 +", f"<b>{HOSTILE}</b>"))),
    changed("the notebook of another unit", _other_unit, False),
    changed("no cells", lambda n: {**n, "cells": []}, False),
]
FILES = BYTES + SOURCES + CELLS
