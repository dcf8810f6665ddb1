"""A class of thirty with odd names, what each of them did, and what their grades must come to, worked out by hand.

The unit is 05 with two of its exercises, which count 2 points and 1, and its written question, which counts 3; all
others are left out of the notebooks. It is due at noon, each late day costs 0.05 of the unit's 18 points, which is 0.9,
and after three days nothing is left. `Person.final` is worked out here alone, from the columns of the table.
"""

from __future__ import annotations

import csv
import json
import math
import unicodedata
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.grading import notebooks, runs

UNIT = notebooks.UNIT.name
NOTEBOOK = f"{UNIT}.ipynb"
NORMALIZED, GIN, ESSAY = "normalized_adjacency", "gin_aggregate", "why_depth_hurts"
POINTS = 18
DUE = datetime(2026, 3, 1, 12, tzinfo=UTC)
PENALTY, MOST_DAYS = 0.05, 3
BAD, CORRUPT = (
    "bad",
    "corrupt",
)  # kinds of `sent`, besides "ng": right in normalized_adjacency, in gin_aggregate
EXTENDED = {"s04": 48}  # hours


@dataclass(frozen=True)
class Person:
    """One student.

    `sent`: which answers are right ("n", "g", both or ""), CORRUPT, or None for no submission that counts.
    `late`: hours after the deadline; None is no known time. `mark`: for the written question; None waits.
    `again`: (sent, late) of a second submission, in a later export.
    """

    id: str
    first: str
    last: str
    sent: str | None
    late: float | None = -1
    mark: float | None = 0
    again: tuple[str, float] | None = None
    override: float | None = None  # of gin_aggregate
    file: str = NOTEBOOK

    @property
    def lms_id(self) -> str:
        """Canvas's number of the user."""
        return str(40_000 + PEOPLE.index(self))

    @property
    def email(self) -> str:
        """Another for each."""
        return f"u{self.lms_id}@uni.example"

    @property
    def counts(self) -> tuple[str | None, float | None]:
        """What of the submissions counts in the end: (sent, late)."""
        return self.again or (self.sent, self.late)

    @property
    def when(self) -> datetime | None:
        """When that was submitted."""
        sent, late = self.counts
        return None if sent is None or late is None else DUE + timedelta(hours=late)

    @property
    def raw(self) -> float | None:
        """The points before lateness; None while the written answer waits for a mark."""
        sent, _ = self.counts
        if sent is None or (sent == CORRUPT and self.override is None):
            return 0.0
        gin = float("g" in sent) if self.override is None else self.override
        if sent == CORRUPT:
            return gin
        return None if self.mark is None else 2.0 * ("n" in sent) + gin + self.mark

    @property
    def penalty(self) -> float | None:
        """What lateness takes of them."""
        if self.raw is None or self.counts[0] is None:
            return None if self.raw is None else 0.0
        hours = (self.counts[1] or 0) - EXTENDED.get(self.id, 0)
        days = max(0, math.ceil(hours / 24))
        return self.raw if days > MOST_DAYS else min(self.raw, days * PENALTY * POINTS)

    @property
    def final(self) -> float | None:
        """The grade."""
        return None if self.raw is None else self.raw - self.penalty

    @property
    def time(self) -> str:
        """How `course status` calls the time of the submission."""
        if self.counts[1] is None:
            return "time unknown"
        hours = self.counts[1] - EXTENDED.get(self.id, 0)
        return "on time" if hours <= 0 else "late" if hours <= 24 * MOST_DAYS else "too late"


PEOPLE = [
    Person("s00", "Ada", "Lovelace", "ng", mark=3),
    Person("s01", "Jörg", "Müßig", "ng", late=0, mark=2.5),
    Person("s02", "José", "Peña y García", "n", mark=1),
    Person("s03", "小龙", "李", "g", late=0.01, mark=3),
    Person("s04", "Ann", "Lee", "ng", late=47, mark=2),  # has 48 hours more
    Person("s05", "Ann", "Lee", "", late=23.5, mark=1.5),  # another Ann Lee
    Person("s06", "=cmd|' /C calc'!A0", "O'Brien-Smith", "ng", late=24, mark=3),
    Person("=07", "@sum", "+1", "n", late=24.5, mark=0.5),
    Person("s08", "<b>Bob</b>", "<script>alert(1)</script>", "ng", mark=3),
    Person("s09", 'Robert "Bobby"', "Tables, Jr.", "g", mark=1),
    Person("r&d 10", "Łukasz", "Żółć", "n", late=72, mark=2),
    Person("s11", "علي", "حسن", "ng", late=72.5, mark=3),  # too late
    Person("学生12", "花子", "山田", "ng", late=None, mark=2),
    Person("s13", "Zoë", "D’Arcy", CORRUPT),
    Person("s14", "Mary Jane", "van der Berg", "", mark=0),
    Person("s15", "Nul", "Null", BAD, mark=1),
    Person("s16", "Again", "Better", "", late=-30, mark=2, again=("ng", -2)),
    Person("s17", "Again", "Later", "ng", late=-30, mark=2, again=("n", 1)),
    Person("s18", "Dash", "Twice", "n", mark=3),  # Canvas numbered two uploads of one name
    Person("s19", "Over", "Ridden", "n", mark=1, override=1.0),
    Person("s20", "Over", "Corrupt", CORRUPT, late=5, override=1.0),
    Person("s21", "Un", "Marked", "ng", mark=None),
    Person("s22", "Long" * 12, "Name" * 12, "g", mark=2),
    Person("s23", "I", "J", "ng", mark=3, file="my answers (final) v2.ipynb"),
    Person("s24", "Penalty", "Eats All", "", late=30, mark=1),
    Person("s25", "Mis", "Sing", None),
    Person("s26", "Two", "Names", None),  # two notebooks, and nothing says which counts
    Person("s27", "Only", "Pdf", None),
    Person("s28", "Not", "Here", None),
    Person("o'neill", "Shaq", "O'Neill", "ng", mark=3),
]
TEXTS = {p.id: f"Answer number {7 * n % 31} about depth & <width>." for n, p in enumerate(PEOPLE)}
TEXTS["s14"] = ""
UNMATCHED, IGNORED = 6, 3  # files of the first export: see `first_export`


def notebook(person: Person, sent: str) -> bytes:
    """What a person hands in."""
    if sent == CORRUPT:
        return b'{"cells": [{"cell_type": "code", "source": "def gin_'
    answers = {NORMALIZED: notebooks.source_of(NORMALIZED), GIN: runs.RIGHT}
    if "n" not in sent:
        answers[NORMALIZED] = f"def {NORMALIZED}(adjacency):\n    raise NotImplementedError()"
    if sent == BAD:
        answers = {NORMALIZED: "def (", GIN: runs.RAISES}
    elif "g" not in sent:
        answers[GIN] = runs.WRONG
    whole = notebooks.master()
    kept = []
    for cell in whole["cells"]:
        name = notebooks.grade_id(cell)
        if "setup" in cell["metadata"].get("tags", []) or name in (*answers, ESSAY):
            own = {**answers, ESSAY: TEXTS[person.id]}
            kept.append({**cell, "source": own.get(name, cell["source"])})
    return json.dumps({**whole, "cells": kept}).encode()


def canvas_name(person: Person, upload: int, file: str = "", late: bool = False) -> str:
    """How Canvas calls a file."""
    letters = "".join(c for c in (person.last + person.first).lower() if c.isalnum())
    return f"{letters}{'_LATE' * late}_{person.lms_id}_{upload}_{file or person.file}"


def first_export() -> Iterator[tuple[str, bytes]]:
    """The files of the first export, in the order of the uploads; names in either form of Unicode."""
    for number, person in enumerate(PEOPLE):
        upload = 900_000 + 10 * number
        if person.sent is not None:
            late = person.late is not None and person.late > 0
            name = canvas_name(person, upload, late=late)
            form = "NFD" if number % 2 else "NFC"
            sent = "" if person.id == "s18" else person.sent
            yield unicodedata.normalize(form, name), notebook(person, sent)
    by_id = {person.id: person for person in PEOPLE}
    dash = f"{UNIT}-1.ipynb"
    yield canvas_name(by_id["s18"], 900_999, dash), notebook(by_id["s18"], "n")
    # unmatched
    two = by_id["s26"]
    yield canvas_name(two, 1, "a.ipynb"), notebook(two, "ng")
    yield canvas_name(two, 2, "b.ipynb"), notebook(two, "n")
    yield canvas_name(by_id["s27"], 3, "lab.pdf"), b"%PDF-1.7"
    yield f"strangereve_99999_4_{NOTEBOOK}", notebook(two, "ng")
    yield (
        f"leeann_{by_id['s00'].lms_id}_5_{NOTEBOOK}",
        notebook(two, ""),
    )  # Ada's number, Ann's name
    yield "notes.ipynb", notebook(two, "ng")
    # nobody's
    yield "__MACOSX/._notes.ipynb", b"\0"
    yield ".DS_Store", b"\0"


def second_export() -> Iterator[tuple[str, bytes]]:
    """A later export: who submitted again, and nobody else."""
    for number, person in enumerate(PEOPLE):
        if person.again:
            sent, late = person.again
            yield canvas_name(person, 990_000 + number, late=late > 0), notebook(person, sent)


def write_zip(path: Path, files: Iterator[tuple[str, bytes]]) -> int:
    """Write an export; how many files it holds."""
    listed = list(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in listed:
            archive.writestr(name, data)
    return len(listed)


def write_tables(folder: Path) -> None:
    """roster.csv, times-1.csv and times-2.csv for the two exports, deadlines.csv."""
    columns = ("student_id", "first_name", "last_name", "email", "lms_id")
    people = [(p.id, p.first, p.last, p.email, p.lms_id) for p in PEOPLE]
    _write(folder / "roster.csv", columns, people)
    for number in (1, 2):
        hours = [
            (p, p.late if number == 1 or not p.again else p.again[1])
            for p in PEOPLE
            if p.sent is not None
        ]
        rows = [
            (p.id, _text(DUE + timedelta(hours=h), n))
            for n, (p, h) in enumerate(hours)
            if h is not None
        ]
        _write(
            folder / f"times-{number}.csv",
            ("student_id", "submitted_at"),
            [*rows, ("s99", "2026-03-01")],
        )
    columns = (
        "unit",
        "due",
        "student_id",
        "extension_hours",
        "late_penalty_per_day",
        "max_late_days",
    )
    rows = [(UNIT, "2026-03-01T13:00+01:00", "", "", PENALTY, MOST_DAYS)]
    rows += [(UNIT, "", student, hours, "", "") for student, hours in EXTENDED.items()]
    _write(folder / "deadlines.csv", columns, rows)


def _text(moment: datetime, number: int) -> str:
    """A time as different LMSs write it."""
    forms = (
        moment.isoformat(),
        moment.replace(tzinfo=None).isoformat(" "),
        f"{moment.replace(tzinfo=None)} UTC",
        moment.isoformat().replace("+00:00", "Z"),
    )
    return forms[number % len(forms)]


def _write(path: Path, columns: tuple, rows: list[tuple]) -> None:
    with open(path, "w", encoding="utf-8-sig", newline="") as stream:
        csv.writer(stream).writerows([columns, *rows])
