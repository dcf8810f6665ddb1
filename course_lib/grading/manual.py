"""Written questions: anonymous pages to read, and a CSV to fill in and read back.

An answer is known by a code made from the gradebook's salt, another for each question: it does not tell who wrote it,
nor which answers are by one person, and is the same whenever the pages are written.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib.grading.csv_safety import CsvError, read_rows, write_rows
from course_lib.grading.gradebook import Gradebook
from course_lib.grading.instructor_page import line, write_page
from course_lib.grading.marks import mark, newest_marks
from course_lib.grading.places import harmless
from course_lib.grading.result import NEEDS_MANUAL
from course_lib.grading.rows import MANUAL

COLUMNS = ("code", "exercise", "points", "max", "comment")
LETTERS = "bcdfghjkmnpqrstvwxyz"  # no digits, so that no spreadsheet reads a number; no vowels, so no words
LENGTH = 10  # 20**10 codes
LONGEST = 100_000  # characters of an answer that a page shows


class MarksError(ValueError):
    """Marks cannot be read, or would be overwritten; the message says which and what to do."""


@dataclass(frozen=True)
class Answer:
    """A written answer. `current` says whether its attempt counts; `points` is the mark it has, None without one."""

    code: str
    student: str
    attempt: int
    exercise: str
    text: str
    most: float
    current: bool
    points: float | None
    comment: str


@dataclass(frozen=True)
class Recorded:
    """What reading marks came to, in rows: new marks (those of earlier attempts among them), known ones, empty ones."""

    new: int
    earlier: int
    known: int
    empty: int
    only_comment: int


def code(salt: str, student: str, unit: str, attempt: int, exercise: str) -> str:
    """The code of an answer: ten letters."""
    who = json.dumps([student, unit, attempt, exercise]).encode()
    number = int.from_bytes(hmac.digest(salt.encode(), who, hashlib.sha256)[:16], "big")
    return "".join(LETTERS[number // len(LETTERS) ** i % len(LETTERS)] for i in range(LENGTH))


def answers(gradebook: Gradebook, unit: str) -> list[Answer]:
    """The written answers of all attempts, question by question, in the order of their codes."""
    marked = newest_marks(gradebook, unit, MANUAL)
    made, order = [], {}
    for graded in gradebook.results(unit, all_attempts=True):
        for place, e in enumerate(graded.result.exercises):
            if e.status != NEEDS_MANUAL:
                continue
            order[e.exercise] = place
            key = (graded.student, e.exercise, graded.attempt)
            points, comment = marked.get(key, (None, ""))
            made.append(
                Answer(
                    code(gradebook.salt, graded.student, unit, graded.attempt, e.exercise),
                    graded.student,
                    graded.attempt,
                    e.exercise,
                    e.answer,
                    e.points,
                    graded.current,
                    points,
                    comment,
                )
            )
    return sorted(made, key=lambda a: (order[a.exercise], a.exercise, a.code))


def write_pages(gradebook: Gradebook, unit: str, folder: Path) -> list[Path]:
    """Write a page for each written question and `UNIT-marks.csv`, with the marks that there are; the files.

    Only attempts that count are in them. Raises MarksError if the CSV of an earlier time holds marks that were not
    read back, which would be lost; OSError if a file cannot be written.
    """
    known = answers(gradebook, unit)
    there = [answer for answer in known if answer.current]
    table = folder / f"{unit}-marks.csv"
    if table.exists() and _holds_more(table, known):
        raise MarksError(
            f"{table} holds marks that are not in the gradebook: "
            f"read it with --marks {table} first, or give another --out"
        )
    paths = []
    for exercise in dict.fromkeys(answer.exercise for answer in there):
        own = [answer for answer in there if answer.exercise == exercise]
        paths.append(folder / f"{unit}-{harmless(exercise)}.html")
        write_page(paths[-1], f"{exercise} ({unit})", "".join([_intro(own), *map(_card, own)]))
    rows = [(a.code, a.exercise, a.points, a.most, a.comment) for a in there]
    write_rows(table, COLUMNS, rows)
    return [*paths, table]


def _intro(own: Sequence[Answer]) -> str:
    return (
        f'<p class="soft">{len(own)} answers, {sum(a.points is not None for a in own)} of them marked; '
        f"{own[0].most:.4g} points each at most.</p>"
    )


def _card(answer: Answer) -> str:
    text = "".join(
        c
        if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs")
        else "\N{REPLACEMENT CHARACTER}"
        for c in answer.text[:LONGEST]
    )
    cut = len(answer.text) - LONGEST
    more = f'<p class="bad">{cut} more characters are not shown.</p>' if cut > 0 else ""
    shown = f"<pre>{html.escape(text)}</pre>" if text.strip() else '<p class="soft">(empty)</p>'
    mark = "not marked yet" if answer.points is None else f"marked {answer.points:.4g}"
    return (
        f'<section class="card"><h2><code>{answer.code}</code></h2>'
        f'<p class="soft">at most {answer.most:.4g} points; {line(mark)}</p>{shown}{more}</section>'
    )


def _number(text: str) -> float:
    """A number, with a point or a comma; NaN for anything else."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return math.nan


def _holds_more(path: Path, known: Sequence[Answer]) -> bool:
    """Whether somebody wrote what the gradebook does not have into the CSV of an earlier time."""
    marks = {answer.code: answer for answer in known}
    try:
        rows = read_rows(path, COLUMNS)
    except CsvError:
        return True
    for _, row in rows:
        points = _number(row["points"]) if row["points"] else None
        answer = marks.get(row["code"].casefold())
        written = points is not None or row["comment"]
        if written and (answer is None or not _is_mark(answer, points, row["comment"])):
            return True
    return False


def _is_mark(answer: Answer, points: float | None, comment: str) -> bool:
    """Whether the answer has just this mark; blanks of the comment do not count."""
    return points == answer.points and comment.split() == answer.comment.split()


def read_marks(
    gradebook: Gradebook, unit: str, path: Path, *, by: str, extra: bool = False
) -> Recorded:
    """Record the marks of a CSV that `write_pages` wrote and a person filled in. Empty points are no mark.

    A mark is for the attempt whose answer was read. Marks that the gradebook has already add nothing. All rows are
    checked before one is recorded. Raises CsvError if the file cannot be read; MarksError if a row has an unknown
    code, one that stood there before, another exercise, or points that are no number from 0 to the most there are
    (`extra` allows more).
    """
    known = {answer.code: answer for answer in answers(gradebook, unit)}
    marked, only_comment, seen, wrong = [], 0, set(), []
    rows = read_rows(path, COLUMNS)
    for number, row in rows:
        answer = known.get(row["code"].casefold())
        if problem := _problem(row, answer, seen, unit, extra):
            wrong.append(f"line {number}: {problem}")
        elif row["points"]:
            marked.append((answer, _number(row["points"]), row["comment"]))
        elif row["comment"]:
            only_comment += 1
        seen.add(row["code"].casefold())
    if wrong:
        more = f"\n(and {len(wrong) - 10} more)" if len(wrong) > 10 else ""
        raise MarksError(f"{path}: nothing was recorded. " + "\n".join(wrong[:10]) + more)
    new = earlier = 0
    for answer, points, comment in marked:
        if _is_mark(answer, points, comment):
            continue
        who = (answer.student, unit, answer.exercise, points)
        more = {"by": by, "comment": comment, "attempt": answer.attempt, "extra": True}
        if mark(gradebook, *who, kind=MANUAL, **more):
            new += 1
            earlier += not answer.current
    empty = len(rows) - len(marked) - only_comment
    return Recorded(new, earlier, len(marked) - new, empty, only_comment)


def _problem(
    row: dict[str, str], answer: Answer | None, seen: set[str], unit: str, extra: bool
) -> str | None:
    """What is wrong with a row of marks, or None."""
    if answer is None:
        return f"no answer of {unit} has the code {row['code']!r}: copy it from the page"
    if answer.code in seen:
        return f"code {row['code']} stands there already: remove one of the rows"
    if row["exercise"] != answer.exercise:
        return f"code {row['code']} is of {answer.exercise}, not of {row['exercise']!r}"
    if not row["points"]:
        return None
    points = _number(row["points"])
    if not math.isfinite(points) or points < 0:
        return f"{row['points']!r} are no points: give a number from 0 to {answer.most:g}"
    if points > answer.most and not extra:
        return f"{points:g} points are more than {answer.most:g}: correct them, or allow it with --extra"
    return None
