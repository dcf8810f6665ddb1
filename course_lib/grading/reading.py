"""The trusted side of reading a notebook: starts extract.py, and believes what of its reply has the right shape."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from course_lib.commands.notebooks import NotebookError
from course_lib.exercises.engine import Unit
from course_lib.grading import result
from course_lib.grading.extract import HEAD, READY, Master

EXTRACT = Path(__file__).with_name("extract.py")
NOTEBOOK_BYTES = 20 << 20
REPLY_BYTES = 8 << 20
MOST_LINES = NOTEBOOK_BYTES
TOO_LONG = "takes too long"
ENDED_BY_LIMIT = {-9, -24}  # SIGKILL, SIGXCPU
WALL = 6  # seconds of the clock for each second of processor time


class ReaderError(RuntimeError):
    """The process that reads notebooks did not start: the grader's fault, never the student's."""


class _Wrong(ValueError):
    """A reply that has not the shape it should have."""


# the master --------------------------------------------------------------------------------------


def _cells_of(master: Path) -> list[dict[str, Any]]:
    """The cells of our own notebook, sources as one text. (nbformat would do, and takes a second to import.)"""
    try:
        cells = json.loads(master.read_text(encoding="utf-8"))["cells"]
        return [{**cell, "source": "".join(cell["source"])} for cell in cells]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotebookError(f"{master} cannot be read: {type(error).__name__}: {error}") from error


def outline(unit: Unit, master: Path) -> dict[str, Any]:
    """What the reader has to know of a unit: plain data.

    `exercises` (name, forbids, uses, check: the master's check cell), `written` {grade_id: points}, `written_cells`
    {grade_id: cell id}, `setup` (sources of the cells tagged so), `given` {name: the master's answer cell}.

    Raises NotebookError if the master cannot be read; ValueError if `uses` names what is no other
    exercise of the unit, or a cell that programs get from the master cannot be compiled.
    """
    cells = _cells_of(master)
    marked = [(c["metadata"]["nbgrader"], c) for c in cells if "nbgrader" in c["metadata"]]
    graded = {meta.get("grade_id", ""): cell for meta, cell in marked}
    exercises, given = [], {}
    for name, exercise in unit.exercises.items():
        for used in exercise.uses:
            if used == name or used not in unit.exercises or used not in graded:
                raise ValueError(f"{name} uses {used!r}, which is no other exercise of {unit.name}")
            given[used] = graded[used]["source"]
        check = graded[f"check_{name}"]["source"] if f"check_{name}" in graded else ""
        forbids, uses = list(exercise.forbids), list(exercise.uses)
        exercises.append({"name": name, "forbids": forbids, "uses": uses, "check": check})
    written = written_questions(master)
    made = {
        "exercises": exercises,
        "written": written,
        "written_cells": {name: graded[name].get("id", "") for name in written},
        "setup": [c["source"] for c in cells if "setup" in c["metadata"].get("tags", [])],
        "given": given,
    }
    Master(made)
    return made


def written_questions(master: Path) -> dict[str, float]:
    """Points of the questions that a person marks, by grade_id. Raises NotebookError if the master cannot be read."""
    found = {}
    for cell in _cells_of(master):
        meta = cell["metadata"].get("nbgrader", {})
        if cell["cell_type"] == "markdown" and meta.get("grade") and meta.get("solution"):
            found[meta["grade_id"]] = float(meta["points"])
    return found


# the file ----------------------------------------------------------------------------------------


def read_bytes(path: Path, most: int = NOTEBOOK_BYTES) -> bytes:
    """The bytes of a regular file.

    Raises ValueError, with a line for the student, if it is none or too large; OSError if the machine cannot read it.
    """
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if path.is_symlink() or error.errno == errno.ENXIO:  # a link, a socket
            raise ValueError("the file is no regular file") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("the file is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(most + 1)
    finally:
        os.close(descriptor)
    if len(data) > most:
        raise ValueError(
            f"the file is larger than {most >> 20} MiB: clear the outputs and submit it again"
        )
    return data


# the process -------------------------------------------------------------------------------------


def read_submission(path: Path, outline: dict[str, Any], seconds: float = 10) -> dict[str, Any]:
    """The programs of all exercises and the written answers of the notebook at `path`.

    Args:
        outline: what `outline` made of the master.
        seconds: of processor time.

    Returns {"status": "read", "programs", "written", "notes"} as extract.py describes it, or {"status": "unreadable",
    "reason": one line}.

    Raises ReaderError if the process that reads it cannot be started, OSError if the file cannot be opened.
    """
    try:
        data = read_bytes(path)
    except ValueError as error:
        return _unreadable(str(error))
    limit = max(1, round(seconds))
    reply, in_time = _run(data, outline, limit)
    if not reply.startswith(READY):
        raise ReaderError(f"{EXTRACT.name} did not start: is {sys.executable} a working Python?")
    if len(reply) > REPLY_BYTES:
        return _unreadable("the answers are too long to be graded")
    if len(reply) == len(READY):
        return _unreadable(f"reading the file {'ends in a crash' if in_time else TOO_LONG}")
    try:
        return _believed(_parsed(reply[len(READY) :]), outline)
    except _Wrong:
        return _unreadable("reading the file ends in a crash")


def _unreadable(reason: str) -> dict[str, Any]:
    return {"status": result.UNREADABLE, "reason": reason}


def _run(data: bytes, outline: dict[str, Any], seconds: int) -> tuple[bytes, bool]:
    """What the process wrote, at most a byte more than is allowed, and whether it kept to its time."""
    text = json.dumps(outline).encode()
    with tempfile.TemporaryFile() as given:
        given.write(HEAD.pack(len(text)) + text + data)
        given.seek(0)
        command = [sys.executable, "-I", "-S", "-B", str(EXTRACT), str(seconds)]
        try:
            process = subprocess.Popen(
                command,
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={k: os.environ[k] for k in ("SYSTEMROOT",) if k in os.environ},
                cwd=os.sep,
                start_new_session=True,
            )
        except OSError as error:
            raise ReaderError(f"{sys.executable} cannot be started: {error.strerror}") from error
    parts: list[bytes] = []
    reader = threading.Thread(target=_collect, args=(process.stdout, parts), daemon=True)
    reader.start()
    reader.join(WALL * seconds)
    in_time = not reader.is_alive()
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGKILL) if hasattr(os, "killpg") else process.kill()
    code = process.wait()
    reader.join(1)
    return b"".join(parts), in_time and code not in ENDED_BY_LIMIT


def _collect(stream: IO[bytes], parts: list[bytes]) -> None:
    left = REPLY_BYTES + 1
    with stream:
        while left and (part := stream.read1(min(left, 1 << 16))):
            parts.append(part)
            left -= len(part)


# the reply ---------------------------------------------------------------------------------------


def _parsed(reply: bytes) -> Any:
    def no_constant(name: str) -> None:
        raise _Wrong(name)

    try:
        return json.loads(reply.decode("ascii"), parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise _Wrong(str(error)) from None


def _believed(reply: Any, outline: dict[str, Any]) -> dict[str, Any]:
    """The reply, made anew of the parts that have the right shape. Raises _Wrong."""
    status = reply.get("status") if isinstance(reply, dict) else None
    if status == result.UNREADABLE:
        return _unreadable(_line(reply.get("reason")))
    programs, written, notes = (_get(reply, key) for key in ("programs", "written", "notes"))
    names = [e["name"] for e in outline["exercises"]]
    whole = status == "read" and isinstance(programs, dict) and isinstance(written, dict)
    if not whole or [*programs] != names or [*written] != [*outline["written"]]:
        raise _Wrong("other exercises")
    return {
        "status": status,
        "programs": {e["name"]: _program(programs[e["name"]], e) for e in outline["exercises"]},
        "written": {name: _text(text) for name, text in written.items()},
        "notes": [_line(note) for note in _list(notes, 20)],
    }


def _program(reply: Any, exercise: dict[str, Any]) -> dict[str, Any]:
    digest, cell = _text(_get(reply, "digest")), _line(_get(reply, "cell"))
    status, future = _get(reply, "status"), _get(reply, "future")
    found = status == "found" and re.fullmatch("[0-9a-f]{64}", digest)
    if not found and (status not in ("missing", "syntax_error") or digest or reply.get("chunks")):
        raise _Wrong("status")
    if future not in ([], ["annotations"]):
        raise _Wrong("future")
    chunks = [
        {
            "cell": _line(_get(chunk, "cell")),
            "line": _count(_get(chunk, "line")),
            "source": _text(_get(chunk, "source")),
        }
        for chunk in _list(_get(reply, "chunks"), REPLY_BYTES)
    ]
    used = (
        [_line(name) for name in _list(_get(reply, "forbidden"), 1000)]
        if exercise["forbids"]
        else []
    )
    lines = {key: _count(_get(reply, key)) for key in ("line", "cell_lines")}
    rest = {"forbidden": used, "digest": digest, "future": future}
    return {"status": status, "cell": cell, **lines, "chunks": chunks, **rest}


def _get(value: Any, key: str) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise _Wrong(key)
    return value[key]


def _list(value: Any, most: int) -> list:
    if not isinstance(value, list) or len(value) > most:
        raise _Wrong("list")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MOST_LINES:
        raise _Wrong("count")
    return value


def _text(value: Any) -> str:
    """Text that can be written down as UTF-8."""
    try:
        if isinstance(value, str) and value.encode() is not None:
            return value
    except UnicodeEncodeError:
        pass
    raise _Wrong("text")


def _line(value: Any) -> str:
    """One line to show: cut, and without control characters."""
    return "".join(c if c.isprintable() else " " for c in _text(value)[:300])
