"""Grading on Gradescope: the zip it builds its image from, and what runs there for each submission.

On Gradescope everything starts as root. The zip's files are root's alone, the secret is read and deleted before any
code of a student's runs, and that code runs under another uid. Where the grader fails no results.json is written, so
that Gradescope reports a failure and nobody gets a zero.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import stat
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from course_lib.course_map import UnitRow, root
from course_lib.grading import result as results
from course_lib.grading.page import AGAIN, REPAIR, STATES, state
from course_lib.grading.places import shown, write_whole
from course_lib.grading.report import student_view
from course_lib.grading.result import SubmissionResult

SECRET, SECRET_SIZE = "grading-secret", 32
COURSE_FILES = ("course.toml", "pyproject.toml", "constraints.txt", "README.md", "LICENSE")
TEMPLATES = Path(__file__).parent / "templates"
LONG_AGO = (
    2020,
    1,
    1,
    0,
    0,
    0,
)  # every file's time in the zip, so that equal courses give equal zips
MARKED_LATER = "A person marks this question. Its points are not part of the score shown here."


class NotGraded(RuntimeError):
    """The grader failed: there is no score to tell, and no results.json may be written."""


class NoNotebook(ValueError):
    """What the student uploaded holds no notebook to grade, or several; the message tells the student."""


# results.json -------------------------------------------------------------------------------------


def results_json(result: SubmissionResult) -> dict[str, Any]:
    """The content of Gradescope's results.json.

    The total stands at the top, so that a written question, which is marked elsewhere, can stand there without a score.

    Raises NotGraded if any exercise has a grader_error.
    """
    if results.GRADER_ERROR in {result.status, *(e.status for e in result.exercises)}:
        raise NotGraded("the grader failed at an exercise: there are no results")
    view = student_view("", result)
    lines = list(view["notes"])
    if result.status == results.UNREADABLE:
        lines = ["Your notebook could not be read.", *lines, "", *REPAIR, "", AGAIN]
    tests = [] if result.status == results.UNREADABLE else [_test(e) for e in view["exercises"]]
    return {
        **_outside(lines, view["earned"]),
        "execution_time": round(result.seconds),
        "tests": tests,
    }


def _outside(lines: Sequence[str], score: float) -> dict[str, Any]:
    return {
        "score": score,
        "output": "\n".join(lines),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "visibility": "visible",
        "stdout_visibility": "hidden",
    }


def _test(exercise: dict[str, Any]) -> dict[str, Any]:
    """One entry of `tests`."""
    _, _, words, meaning = STATES.get(state(exercise), ("", "", state(exercise), ""))
    made = {"name": exercise["exercise"], "visibility": "visible"}
    if exercise["earned"] is None:
        return {**made, "output": MARKED_LATER}
    lines = [words, *exercise["feedback"]]
    if exercise["forbidden"]:
        lines.append(f"To be done without: your answer uses {', '.join(exercise['forbidden'])}.")
    passed = exercise["earned"] >= exercise["points"]
    return {
        **made,
        "score": exercise["earned"],
        "max_score": exercise["points"],
        "status": "passed" if passed else "failed",
        "output": "\n".join([*lines, *([meaning] if meaning else [])]),
    }


# the zip ------------------------------------------------------------------------------------------


def _contents(row: UnitRow, folder: Path) -> list[Path]:
    """The course's files that grading `row` needs, relative to `folder`: of the units, the answers of this one only."""
    library = [p for p in (folder / "course_lib").rglob("*") if "__pycache__" not in p.parts]
    master = (folder / row.master).parent
    beside = [p for p in master.iterdir() if p.suffix in (".ipynb", ".py")]
    found = [*library, *beside, *(folder / name for name in COURSE_FILES)]
    return sorted(p.relative_to(folder) for p in found if p.is_file())


def write_zip(row: UnitRow, target: Path, secret: bytes, options: Sequence[str] = ()) -> list[str]:
    """Write the autograder of one unit to `target`, readable by its owner only; returns the names in it.

    Args:
        secret: goes into the zip; whoever has it can foresee the hidden inputs.
        options: arguments of `main` after the unit, such as `--timeout 20`.

    Raises FileNotFoundError if the unit has no master, OSError if the zip cannot be written.
    """
    folder = root()
    if not (folder / row.master).is_file():
        raise FileNotFoundError(f"{row.name} cannot be graded: {row.master} is not in {folder}")
    run = (TEMPLATES / "gradescope_run.sh").read_text(encoding="utf-8")
    arguments = shlex.join([row.name, *options])
    files: list[tuple[str, bytes, int]] = [
        ("setup.sh", (TEMPLATES / "gradescope_setup.sh").read_bytes(), 0o700),
        ("run_autograder", run.replace("@ARGUMENTS@", arguments).encode(), 0o755),
        (SECRET, secret, 0o600),
    ]
    for path in _contents(row, folder):
        files.append((f"course/{path.as_posix()}", (folder / path).read_bytes(), 0o600))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in files:
            info = zipfile.ZipInfo(name, LONG_AGO)
            info.external_attr = (stat.S_IFREG | mode) << 16
            info.create_system, info.compress_type = 3, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    before = os.umask(0o077)
    try:
        write_whole(target, buffer.getvalue())
    finally:
        os.umask(before)
    target.chmod(0o600)
    return [name for name, _, _ in files]


# on Gradescope ------------------------------------------------------------------------------------


def take_secret(path: Path) -> bytes:
    """Read the secret and delete its file. Raises NotGraded if it is not there whole, or cannot be deleted."""
    try:
        secret = path.read_bytes()
        path.unlink()
    except OSError as error:
        raise NotGraded(f"the secret {path} cannot be taken: {error.strerror}") from error
    if len(secret) != SECRET_SIZE:
        raise NotGraded(
            f"the secret holds {len(secret)} bytes, not {SECRET_SIZE}: build the zip anew"
        )
    return secret


def find_notebook(folder: Path, unit: str) -> Path:
    """The one notebook of an upload: the only one, or of several the one called UNIT.ipynb.

    Links are passed over: a student could point one at the answers. Raises NoNotebook.
    """
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f not in (".ipynb_checkpoints", "__MACOSX")]
        for name in files:
            path = Path(place, name)
            ours = name.lower().endswith(".ipynb") and not name.startswith("._")
            if ours and stat.S_ISREG(path.lstat().st_mode):
                found.append(path)
    named = [path for path in found if path.name == f"{unit}.ipynb"]
    if len(found) == 1 or len(named) == 1:
        return (named or found)[0]
    if not found:
        raise NoNotebook(f"There is no notebook in your upload. Submit the file {unit}.ipynb.")
    names = ", ".join(sorted(shown(path.name, 60) for path in found)[:5])
    raise NoNotebook(
        f"There are {len(found)} notebooks in your upload ({names}). Submit the file {unit}.ipynb alone."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Grade /autograder/submission and write /autograder/results/results.json; returns the exit code.

    `$AUTOGRADER_ROOT` stands for /autograder, for tests.
    """
    parser = argparse.ArgumentParser(prog="run_autograder")
    parser.add_argument("unit")
    parser.add_argument("--timeout", type=float, default=20.0)
    parser.add_argument("--memory", type=float, default=2.0)
    parser.add_argument("--forbidden", choices=("warn", "zero"), default="warn")
    parser.add_argument("--unsandboxed", action="store_true")
    asked = parser.parse_args(arguments)
    place = Path(os.environ.get("AUTOGRADER_ROOT") or "/autograder")
    try:
        secret = take_secret(place / "source" / SECRET)
        told = _grade(place / "submission", asked, secret)
    except NotGraded as error:
        print(f"not graded: {error}", file=sys.stderr)
        return 3
    write_whole(place / "results" / "results.json", json.dumps(told, indent=1, allow_nan=False))
    return 0


def _grade(submission: Path, asked: argparse.Namespace, secret: bytes) -> dict[str, Any]:
    """What results.json is to hold. Raises NotGraded if it was the grader that failed, in whatever way."""
    try:
        notebook = find_notebook(submission, asked.unit)
    except NoNotebook as error:
        return {**_outside([str(error)], 0.0), "tests": []}
    try:
        from course_lib.grading.grade import grade_notebook
        from course_lib.grading.plain import PlainSandbox

        if asked.unsandboxed and os.geteuid() == 0 and not PlainSandbox.drops():
            raise NotGraded(
                "a student's code would run as root: another uid cannot reach the interpreter"
            )
        graded = grade_notebook(
            notebook,
            asked.unit,
            secret,
            timeout=asked.timeout,
            memory=asked.memory,
            forbidden=asked.forbidden,
            unsandboxed=asked.unsandboxed,
        )
        return results_json(graded)
    except NotGraded:
        raise
    except Exception as error:
        raise NotGraded(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
