"""The submissions in a folder, SUBMISSIONS/STUDENT/UNIT/UNIT.ipynb, and what else is there, so that none is lost."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from course_lib.course_map import UnitRow
from course_lib.grading.exports import LARGEST
from course_lib.grading.places import UnsafeName, shown, student_folder
from course_lib.grading.submitted_at import parse_time

TIME_FILE = "timestamp.txt"  # nbgrader's convention


@dataclass(frozen=True)
class Found:
    """A notebook in the folder of submissions. `submitted_at` is None where the LMS's export gave no time."""

    student: str
    row: UnitRow
    path: Path
    sha256: str
    submitted_at: datetime | None


def _folders(folder: Path, name: str, problems: list[str]) -> list[Path]:
    """The folders in `folder`, in order; those that begin with . or _ are nobody's.

    What could be meant as a submission, but is passed over, is added to `problems`.
    """
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        problems.append(f"{shown(name)} cannot be listed: {error.strerror}")
        return []
    folders = []
    for entry in entries:
        where = shown(f"{name}/{entry.name}" if name else entry.name)
        if entry.name[0] in "._":
            continue
        if entry.is_symlink():
            problems.append(
                f"{where} is a link, which is not followed: put there what it points to"
            )
        elif entry.is_dir():
            folders.append(Path(entry.path))
        elif entry.name.casefold().endswith(".ipynb"):
            problems.append(f"{where} is passed over: a submission is STUDENT/UNIT/UNIT.ipynb")
    return folders


def _sha256(path: Path) -> str:
    """The file's hash. Of what is no file, or too large, and so unreadable: that of what tells it from others."""
    state = path.lstat()
    if stat.S_ISREG(state.st_mode) and state.st_size <= LARGEST:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    to = os.fsencode(os.readlink(path)) if path.is_symlink() else b""
    return hashlib.sha256(f"{state.st_mode} {state.st_size}\0".encode() + to).hexdigest()


def find(folder: Path, rows: Sequence[UnitRow]) -> tuple[list[Found], list[str]]:
    """The submissions under `folder`/STUDENT/UNIT, and a line for everything there that is none.

    Raises NotADirectoryError if `folder` is no folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder: give the one that `course collect` wrote")
    units, found, problems = {row.name: row for row in rows}, [], []
    for place in _folders(folder, "", problems):
        try:
            student_folder(place.name)
        except UnsafeName as error:
            problems.append(str(error))
            continue
        for part in _folders(place, place.name, problems):
            where = shown(f"{place.name}/{part.name}")
            if part.name not in units:
                problems.append(f"{where} is no unit of this course: {', '.join(units)}")
                continue
            try:
                if one := _found(place.name, part, where, units[part.name], problems):
                    found.append(one)
            except OSError as error:
                problems.append(f"{where} cannot be read: {error.strerror}")
    return found, problems


def _found(student: str, part: Path, where: str, row: UnitRow, problems: list[str]) -> Found | None:
    """The submission in the folder `part`, None if nothing says which notebook it is. Raises OSError."""
    named = part / f"{row.name}.ipynb"
    notebooks = sorted(p for p in part.glob("*.ipynb") if p.name[0] != ".")
    if named not in notebooks and len(notebooks) != 1:
        many = ", ".join(shown(p.name, 40) for p in notebooks[:5]) or "none"
        problems.append(f"{where}: which notebook is it? Name it {named.name}; there: {many}")
        return None
    path = named if named in notebooks else notebooks[0]
    if path.is_symlink():
        problems.append(f"{where}/{shown(path.name)} is a link, which is not followed: unreadable")
    stamp = part / TIME_FILE
    text = stamp.read_text(errors="replace") if stamp.is_file() else ""
    when = parse_time(text)
    if text.strip() and when is None:
        problems.append(f"{where}/{TIME_FILE} holds no time: {shown(text, 40)}")
    return Found(student, row, path, _sha256(path), when)
