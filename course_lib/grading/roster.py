"""The roster: who takes the course, read from a CSV file and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from course_lib.grading.csv_safety import read_rows
from course_lib.grading.places import UnsafeName, student_folder

COLUMNS = ("student_id", "first_name", "last_name", "email")
OPTIONAL = ("lms_id", "login")


class RosterError(ValueError):
    """A row of the roster is wrong; the message names file, line, and what to do."""


@dataclass(frozen=True)
class Student:
    """One row of the roster. `student_id` also names the student's folder; "" stands for what is not known."""

    student_id: str
    first_name: str
    last_name: str
    email: str = ""
    lms_id: str = ""
    login: str = ""

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True)
class Roster:
    """All students of the course, in the order of the file."""

    students: tuple[Student, ...]

    @classmethod
    def read(cls, path: Path) -> Roster:
        """The roster in the CSV file `path`, with columns student_id,first_name,last_name,email and,
        where the LMS needs them, lms_id and login.

        Raises CsvError if the file cannot be read, RosterError if it holds no student, a student_id cannot name a
        folder, or two students share a student_id, an email, an lms_id or a login (upper and lower case being equal).
        """
        rows = [(n, Student(**cells)) for n, cells in read_rows(path, COLUMNS, OPTIONAL)]
        if not rows:
            raise RosterError(f"{path} holds no student: add a line for each below the first")
        for number, student in rows:
            if problem := _problem(student):
                raise RosterError(f"{path}, line {number}: {problem}")
        for column in ("student_id", "email", *OPTIONAL):
            _all_different(path, column, [(n, getattr(s, column)) for n, s in rows])
        return cls(tuple(student for _, student in rows))


def _problem(student: Student) -> str | None:
    """What is wrong with one row, or None."""
    try:
        student_folder(student.student_id)
    except UnsafeName as error:
        return str(error)
    if not student.name:
        return f"student {student.student_id!r} has no name: fill in first_name or last_name"
    if student.email and not re.fullmatch(r"[^@\s]+@[^@\s]+", student.email):
        return f"{student.email!r} is no email address: correct it or leave it empty"
    return None


def _all_different(path: Path, column: str, cells: Iterable[tuple[int, str]]) -> None:
    seen: dict[str, int] = {}
    for number, text in cells:
        first = seen.setdefault(text.casefold(), number)
        if text and first != number:
            raise RosterError(
                f"{path}, line {number}: {column} {text!r} stands in line {first} already: "
                "remove one of the two or correct it"
            )
