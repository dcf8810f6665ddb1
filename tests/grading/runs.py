"""Grading runs for the tests: folders of submissions, the `course` command as a process, and what a run left behind."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from course_lib.cli import app
from course_lib.commands.screen import complaints, console
from course_lib.grading.batch import Done, Job
from course_lib.grading.grade import Grader
from course_lib.grading.policy import Policy
from tests.grading import notebooks

UNIT = notebooks.UNIT.name
GIN = "gin_aggregate"
RIGHT = notebooks.source_of(GIN)
WRONG = RIGHT.replace("(1 + eps)", "eps")
RAISES = f"def {GIN}(h, adjacency, eps):\n    return h[1, 2, 3]"
LOOPS = f"def {GIN}(h, adjacency, eps):\n    while True:\n        pass"
TIMES = {"seconds", "student_seconds", "graded_at", "first_seen", "created_at", "at"}
GRADES = (  # the first line of what nbgrader exports (nbgrader/plugins/export.py)
    "assignment,duedate,timestamp,student_id,last_name,first_name,email,"
    "raw_score,late_submission_penalty,score,max_score"
)

# submissions -------------------------------------------------------------------------------------


def submit(
    folder: Path,
    student: str,
    content: dict[str, Any] | str | bytes,
    when: str = "",
    unit: str = UNIT,
    name: str = "",
) -> Path:
    """Lay down FOLDER/STUDENT/UNIT/UNIT.ipynb: a notebook, the answer to gin_aggregate as a text, or any bytes."""
    place = folder / student / unit
    place.mkdir(parents=True, exist_ok=True)
    if isinstance(content, str):
        content = notebooks.single(GIN, content)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path = place / (name or f"{unit}.ipynb")
    path.write_bytes(data)
    if when:
        (place / "timestamp.txt").write_text(when)
    return path


def in_this_process(grader: Grader) -> Callable[..., Iterator[Done]]:
    """A stand-in for `batch.grade_all` that grades with a grader that is warm already."""

    def grade_all(jobs: Iterable[Job], policy: Policy, *_: object) -> Iterator[Done]:
        before = grader.policy
        grader.policy = replace(before, forbidden=policy.forbidden, unsandboxed=policy.unsandboxed)
        try:
            for job in jobs:
                done = grader.grade(job.path, job.attempt)
                yield Done(job, done, grader.last_error)
        finally:
            grader.policy = before

    return grade_all


# the command -------------------------------------------------------------------------------------


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This process's environment, with the secret in `folder`, and wide tables."""
    outer = {k: v for k, v in os.environ.items() if k != "COURSE_GRADEBOOK"}
    return {**outer, "COURSE_SECRET_FILE": str(folder / "secret"), "COLUMNS": "250", **more}


def start(folder: Path, *arguments: object, **more: str) -> subprocess.Popen:
    """Start `course ARGUMENTS` in `folder`, in a process group and session of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "course_lib.cli", *map(str, arguments)],
        cwd=folder,
        env=environment(folder, **more),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_hear_interrupts,
    )


def _hear_interrupts() -> None:
    """Ctrl-C is heard, also where the tests were started in the background, by a shell that ignores it there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def course(folder: Path, *arguments: object, code: int = 0, **more: str) -> str:
    """Run `course ARGUMENTS` in `folder`; it must leave with `code` and no traceback. All that it printed."""
    with start(folder, *arguments, **more) as process:
        said = "".join(process.communicate(timeout=400))
    assert process.returncode == code, said
    assert "Traceback" not in said
    return said


def invoke(folder: Path, *arguments: object, code: int = 0, **more: str) -> str:
    """The same in this process, which is quicker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("COURSE_GRADEBOOK", raising=False)
        for name, value in {"COURSE_SECRET_FILE": str(folder / "secret"), **more}.items():
            patch.setenv(name, value)
        for one in (console, complaints):
            patch.setattr(one, "_width", 250)
        done = CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def table(said: str) -> dict[str, int]:
    """The rows of printed tables that are words and a number."""
    found = re.findall(r"^ *(\S.*?) {2,}(\d+) *$", said, re.MULTILINE)
    return {words: int(number) for words, number in found}


# what a run left behind --------------------------------------------------------------------------


def query(book: Path, sql: str) -> list[tuple]:
    """Rows of the gradebook in the SQLite file `book`; none if there is no such file or table yet."""
    if not book.exists():
        return []
    with closing(sqlite3.connect(f"file:{book}?mode=ro", uri=True, timeout=30)) as db:
        try:
            return db.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise


def contents(book: Path) -> dict[str, list[str]]:
    """All rows of all tables but ids, times and seconds, in an order that does not tell who came first."""
    with closing(sqlite3.connect(f"file:{book}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        names = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: [dict(r) for r in db.execute(f"SELECT * FROM {name}")] for name in names}
    keys = {r["id"]: (r["student"], r["unit"], r["attempt"]) for r in rows["submissions"]}
    of = {r["id"]: keys[r["submission"]] for r in rows["results"]}
    rows.pop("gradebook")
    for name, members in rows.items():
        for row in members:
            row.pop("id")
            if "submission" in row:
                row["submission"] = keys[row["submission"]]
            if name == "results":
                row["result"] = timeless(json.loads(row["result"]))
            elif "result" in row:
                row["result"] = of[row["result"]]
            for key in TIMES & set(row):
                del row[key]
    return {n: sorted(repr(sorted(r.items())) for r in members) for n, members in rows.items()}


def timeless(result: dict[str, Any]) -> dict[str, Any]:
    """A result or a report as plain data, without what may differ between two gradings."""
    return {key: value for key, value in result.items() if key not in TIMES | {"times"}}


def reports(folder: Path) -> dict[str, Any]:
    """Every file below `folder` and what is in it; JSON files without their times."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(folder).as_posix()
        found[name] = timeless(json.loads(text)) if path.suffix == ".json" else text
    return found


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, as any other program would read it."""
    with open(path, encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def exercise(report: dict[str, Any], name: str = GIN) -> dict[str, Any]:
    """One exercise of a student's report."""
    return next(e for e in report["exercises"] if e["exercise"] == name)


def processes(pids: Iterable[int]) -> list[tuple[int, str]]:
    """Those of `pids` that are alive, with the moment of their start, which tells them from later ones."""
    alive = []
    for pid in pids:
        try:
            state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        if state not in "ZX":
            alive.append((pid, rest[18]))
    return alive
