"""Takes the answers out of a notebook that nobody vouches for. It parses; it never runs what it reads.

This file is run by its path, in a process of its own with limits, and imports the standard library alone:

    python -I -S -B extract.py SECONDS        (of processor time)

Standard input is the length of the outline (little-endian uint32), the outline (JSON, see reading.py), and the bytes of
the notebook. Standard output is a line READY, once all that is ours has been read, and one JSON object:

    {"status": "unreadable", "reason": one line}
    {"status": "read", "programs": {exercise: program}, "written": {grade_id: text}, "notes": [line, ...]}
    program = {"status": "found" | "missing" | "syntax_error", "line", "cell", "cell_lines", "future", "forbidden",
               "chunks": [{"cell", "line", "source"}, ...], "digest"}
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import re
import struct
import sys
import warnings
from types import ModuleType

HEAD = struct.Struct("<I")
READY = b"READY\n"
ADDRESS_BYTES = 1 << 30
MOST_CELLS = 20_000
PROGRAM_CHARACTERS = 500_000  # of code, newlines in front included
WRITTEN_CHARACTERS = 100_000
MOST_NOTES = 12
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
HERE = os.path.dirname(os.path.abspath(__file__))
MISSING, SYNTAX_ERROR, FOUND = "missing", "syntax_error", "found"


def _load(*path: str) -> ModuleType:
    """A module by its place next to this file: neither package nor folder can be imported here."""
    place = os.path.join(HERE, *path)
    spec = importlib.util.spec_from_file_location(os.path.basename(place)[:-3], place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


slicing = _load("slicing.py")
forbidden = _load(os.pardir, "exercises", "forbidden.py")


class Unreadable(ValueError):
    """The bytes are no notebook that can be graded; the message is one line for the student."""


# the notebook ------------------------------------------------------------------------------------


def read_cells(data: bytes) -> list[dict]:
    """The cells of a notebook of format 4: dicts of strings "kind", "id", "grade_id", "text".

    Whatever a cell lacks, or has of the wrong type, is an empty string. Raises Unreadable.
    """
    if not data.strip():
        raise Unreadable("the file is empty")
    try:
        notebook = json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Unreadable("the file is not text in UTF-8, so it is no notebook") from None
    except RecursionError:
        raise Unreadable("the file is nested too deeply to be a notebook") from None
    except Unreadable:
        raise
    except ValueError as error:
        place = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise Unreadable(f"the file is no notebook: it is not JSON{place}") from None
    version = notebook.get("nbformat", 4) if isinstance(notebook, dict) else 4
    if version != 4:
        shown = version if type(version) is int and abs(version) < 1000 else "unknown"
        raise Unreadable(f"its notebook format is {shown}, not 4: open it in Jupyter and save it")
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise Unreadable("the file is no notebook: it is JSON, but without cells")
    if len(cells) > MOST_CELLS:
        raise Unreadable(f"it has {len(cells)} cells; at most {MOST_CELLS} are read")
    return [_plain_cell(cell) for cell in cells if isinstance(cell, dict)]


def _no_constant(name: str) -> None:
    raise Unreadable(f"the file is no notebook: it holds {name}, which JSON does not have")


def _plain_cell(cell: dict) -> dict:
    metadata = cell.get("metadata")
    graded = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    source = cell.get("source")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    found = {
        "kind": cell.get("cell_type"),
        "id": cell.get("id"),
        "grade_id": graded.get("grade_id") if isinstance(graded, dict) else None,
        "text": source,
    }
    return {key: value if isinstance(value, str) else "" for key, value in found.items()}


def code_cells(cells: list[dict]) -> list[slicing.Cell]:
    """The code cells, parsed; each is called by its grade_id, or "code cell N"."""
    made = []
    for cell in cells:
        if cell["kind"] == "code":
            name = cell["grade_id"]
            label = name if PLAIN_NAME.fullmatch(name) else f"code cell {len(made) + 1}"
            made.append(slicing.Cell(cell["text"], label, name))
    return made


# answers -----------------------------------------------------------------------------------------


def answer_cell(cells: list[slicing.Cell], name: str) -> slicing.Cell | None:
    """The cell that holds the answer `name`, the last of the best kind; None if there is no trace of it.

    From the best: a finished definition in a cell that its metadata names so; one elsewhere; a cell
    named so that cannot be compiled; the released stub; a cell elsewhere that cannot be compiled.
    """
    best, found = 0, None
    definition = re.compile(rf"^(?:async\s+)?(?:def|class)\s+{re.escape(name)}\b", re.MULTILINE)
    for cell in cells:
        named = cell.grade_id == name
        binding = [s for s in cell.statements if name in s.binds and not s.check]
        if cell.error is not None:
            rank = 4 if named else bool(definition.search("\n".join(cell.lines)))
        elif not binding or (not named and all(s.imports for s in binding)):
            rank = 0
        else:
            rank = (2 if any(s.stub for s in binding) else 5) + named
        if rank and rank >= best:
            best, found = rank, cell
    return found


class Master:
    """What grading knows of the unit's notebook; see `outline` in reading.py.

    Raises ValueError if one of the master's cells cannot be compiled.
    """

    def __init__(self, outline: dict) -> None:
        self.exercises, self.written = outline["exercises"], outline["written_cells"]
        cells = [slicing.Cell(source, "setup") for source in outline["setup"]]
        given = {n: slicing.Cell(source, "given") for n, source in outline["given"].items()}
        if any(cell.error is not None for cell in [*cells, *given.values()]):
            raise ValueError("a setup or answer cell of the master cannot be compiled")
        self.setup = [s for cell in cells for s in cell.statements if not s.future]
        self.given = {name: cell.statements for name, cell in given.items()}
        self.known = {s.tree for s in self.setup}  # what the student's own setup cell repeats


def program(master: Master, exercise: dict, code: list, slicer: slicing.Slicer) -> dict:
    """What the answer of one exercise needs, in the order it is to run."""
    name, made = exercise["name"], {"status": MISSING, "line": 0, "cell": "", "cell_lines": 0}
    made |= {"chunks": [], "forbidden": [], "digest": "", "future": []}
    cell = answer_cell(code, name)
    if cell is None:
        return made
    made |= {"cell": cell.label, "cell_lines": len(cell.lines)}
    if cell.error is not None:
        return made | {"status": SYNTAX_ERROR, "line": cell.error}
    given = [s for used in exercise["uses"] for s in master.given[used]]
    statements = [
        s
        for s in slicer.needed(cell, name, set(exercise["uses"]))
        if s.cell is cell or s.tree not in master.known
    ]
    chunks = slicing.chunks(master.setup) + slicing.chunks(given) + slicing.chunks(statements)
    if sum(len(chunk["source"]) for chunk in chunks) > PROGRAM_CHARACTERS:
        return made
    before = ast.Module([s.node for s in master.setup + given], [])
    aliases = forbidden.aliases_of(before, exercise["forbids"])
    tree = ast.Module([s.node for s in statements], [])
    return made | {
        "status": FOUND,
        "line": max(s.line for s in cell.statements if name in s.binds and not s.check),
        "chunks": chunks,
        "forbidden": forbidden.forbidden_names(tree, exercise["forbids"], aliases),
        "digest": hashlib.sha256("\n".join(s.tree for s in statements).encode()).hexdigest(),
        "future": ["annotations"] if any(_defers(s) for s in slicer.statements) else [],
    }


def _defers(statement: slicing.Statement) -> bool:
    return statement.future and statement.node.names[0].name == "annotations"


def written_answers(cells: list[dict], places: dict[str, str]) -> dict[str, str]:
    """The text of each written question: its last cell that is not blank, by grade_id or else by cell id."""
    found = {}
    for name, place in places.items():
        texts = [cell["text"] for cell in cells if cell["grade_id"] == name]
        texts = texts or [cell["text"] for cell in cells if place and cell["id"] == place]
        last = next((text for text in reversed(texts) if text.strip()), "")
        found[name] = last[:WRITTEN_CHARACTERS].encode("utf-8", "replace").decode()
    return found


# what the student is told ------------------------------------------------------------------------


def notes(master: Master, cells: list[dict], code: list, programs: dict) -> list[str]:
    """Lines about the notebook as a whole that are of use to the student."""
    made = []
    if cells and not any(cell["grade_id"] for cell in cells):
        made.append("The cells have lost their metadata: answers were found by their names.")
    for name, found in programs.items():
        named = [cell for cell in code if cell.grade_id == name]
        counts = found["cell"] if found["cell"] != name else "the last that defines it"
        if found["status"] == MISSING and found["cell"]:
            made.append(f"{name}: its code is longer than {PROGRAM_CHARACTERS} characters.")
        elif len(named) > 1:
            made.append(f"{name}: {len(named)} cells carry this name; {counts} counts.")
        elif named and found["cell"] and found["cell"] != named[0].label:
            made.append(f"{name}: its own cell holds no finished answer; {found['cell']} counts.")
        elif not named and any(cell["grade_id"] == name for cell in cells):
            made.append(f"{name}: its cell is no code cell any more.")
    if changed := _changed_checks(master, cells):
        made.append(f"Check cells changed or gone: {_few(changed)}. Grading runs its own.")
    if broken := [f"{c.label} (line {c.error})" for c in code if c.error is not None]:
        made.append(f"Not Python, so left out: {_few(broken)}.")
    if commands := [cell.label for cell in code if cell.commands and cell.error is None]:
        made.append(f"Notebook commands (%, !, ?) were left out: {_few(commands)}.")
    return made[:MOST_NOTES]


def _changed_checks(master: Master, cells: list[dict]) -> list[str]:
    texts = {cell["grade_id"]: cell["text"].strip() for cell in cells if cell["grade_id"]}
    wanted = {f"check_{e['name']}": e["check"].strip() for e in master.exercises}
    return [name for name, text in wanted.items() if texts and texts.get(name) != text]


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


# the process -------------------------------------------------------------------------------------


def extract(data: bytes, master: Master) -> dict:
    """All that grading takes from a notebook's bytes. Raises Unreadable."""
    cells = read_cells(data)
    code = code_cells(cells)
    slicer = slicing.Slicer(code)
    programs = {e["name"]: program(master, e, code, slicer) for e in master.exercises}
    written = written_answers(cells, master.written)
    told = notes(master, cells, code, programs)
    return {"status": "read", "programs": programs, "written": written, "notes": told}


def limit(seconds: int) -> None:
    """Bound this process: memory, processor time, no files, no further processes."""
    try:
        import resource
    except ImportError:  # not a Unix
        return
    bounds = {"AS": ADDRESS_BYTES, "CPU": seconds, "FSIZE": 0, "NPROC": 0, "CORE": 0, "NOFILE": 8}
    for name, value in bounds.items():
        what = getattr(resource, f"RLIMIT_{name}")
        most = resource.getrlimit(what)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(what, (value, value))


def main() -> None:
    """Read the outline and the notebook, and write what was found."""
    limit(int(sys.argv[1]))
    warnings.simplefilter("ignore")
    given = sys.stdin.buffer
    master = Master(json.loads(given.read(HEAD.unpack(given.read(HEAD.size))[0])))
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    try:
        reply = extract(given.read(), master)
    except Unreadable as error:
        reply = {"status": "unreadable", "reason": str(error)}
    except MemoryError:
        reply = {"status": "unreadable", "reason": "reading the file takes too much memory"}
    except Exception as error:
        reason = f"the file cannot be read as a notebook ({type(error).__name__})"
        reply = {"status": "unreadable", "reason": reason}
    sys.stdout.buffer.write(json.dumps(reply, allow_nan=False).encode())
    sys.stdout.buffer.flush()
    os._exit(0)  # no time is spent on taking a large tree apart


if __name__ == "__main__":
    main()
