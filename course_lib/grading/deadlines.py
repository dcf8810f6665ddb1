"""Deadlines, extensions and what lateness costs, from a CSV file.

Its columns are unit, due, student_id, extension_hours, late_penalty_per_day, max_late_days. A row without a student_id
sets the unit's deadline; a row with one gives that student more hours, and leaves the other cells empty:

    unit,due,student_id,extension_hours,late_penalty_per_day,max_late_days
    05_graph_networks,2026-03-01T23:59+01:00,,,0.1,3
    05_graph_networks,,s017,48,,
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from course_lib.grading.csv_safety import read_rows
from course_lib.grading.marks import near
from course_lib.grading.submitted_at import parse_time

COLUMNS = (
    "unit",
    "due",
    "student_id",
    "extension_hours",
    "late_penalty_per_day",
    "max_late_days",
)
DAY = timedelta(days=1)
ON_TIME, LATE, TOO_LATE = "on time", "late", "too late"
TIME_UNKNOWN, NO_DEADLINE = "time unknown", "no deadline"


class DeadlineError(ValueError):
    """A row of the file of deadlines is wrong; the message names file, line, and what to do."""


@dataclass(frozen=True)
class Deadline:
    """When a unit is due, the fraction of its points that a started day costs, and after how many nothing is left."""

    due: datetime
    penalty_per_day: float = 0.0
    max_late_days: float = math.inf


@dataclass(frozen=True)
class Lateness:
    """How late a submission is: a status, started days after `due` (extension included), and a line that says so."""

    status: str
    days: int = 0
    due: datetime | None = None
    reason: str = ""


@dataclass(frozen=True)
class Deadlines:
    """All deadlines by unit, and the hours of extension by unit and student."""

    units: dict[str, Deadline] = field(default_factory=dict)
    extensions: dict[tuple[str, str], float] = field(default_factory=dict)

    @classmethod
    def read(
        cls, path: Path, units: Collection[str] = (), students: Collection[str] = ()
    ) -> Deadlines:
        """The deadlines in the CSV file `path`.

        A time without a zone is in UTC. Where `units` or `students` are given, others are an error: a typing error
        would cost a student points. Raises CsvError if the file cannot be read, DeadlineError if a row is wrong.
        """
        made = cls()
        extensions = []
        for number, row in read_rows(path, COLUMNS):
            where = f"{path}, line {number}"
            if not row["unit"]:
                raise DeadlineError(f"{where}: the unit is empty: name it")
            if units and row["unit"] not in units:
                raise DeadlineError(f"{where}: no unit {row['unit']!r}{near(row['unit'], units)}")
            if row["student_id"]:
                extensions.append((where, row))
            elif row["unit"] in made.units:
                raise DeadlineError(f"{where}: {row['unit']} has a deadline already: remove one")
            else:
                made.units[row["unit"]] = _deadline(where, row)
        for where, row in extensions:
            key = (row["unit"], row["student_id"])
            if students and key[1] not in students:
                raise DeadlineError(f"{where}: no student {key[1]!r}{near(key[1], students)}")
            if key[0] not in made.units:
                raise DeadlineError(
                    f"{where}: {key[0]} has no deadline to extend: add a row without a student_id"
                )
            if key in made.extensions:
                raise DeadlineError(f"{where}: {key[1]} has an extension of {key[0]} already")
            made.extensions[key] = _extension(where, row)
        return made

    def lateness(self, unit: str, student: str, submitted_at: datetime | None) -> Lateness:
        """How late a submission is. One at the very moment of the deadline is on time; so is one of no known time,
        which has the status "time unknown".

        `submitted_at` without a zone is in UTC.
        """
        deadline = self.units.get(unit)
        if deadline is None:
            return Lateness(NO_DEADLINE)
        due = deadline.due + timedelta(hours=self.extensions.get((unit, student), 0.0))
        if submitted_at is None:
            return Lateness(TIME_UNKNOWN, 0, due, "the time of submission is not known: no penalty")
        late = submitted_at.replace(tzinfo=submitted_at.tzinfo or UTC) - due
        if late <= timedelta(0):
            return Lateness(ON_TIME, 0, due)
        days = -(-late // DAY)  # rounded up: a day counts when it starts
        said = f"{days} {'day' if days == 1 else 'days'} late (due {due:%Y-%m-%d %H:%M} UTC)"
        if days > deadline.max_late_days:
            most = f"{deadline.max_late_days:g}"
            return Lateness(TOO_LATE, days, due, f"{said}: more than {most}, no points")
        return Lateness(
            LATE, days, due, f"{said}: {deadline.penalty_per_day:.4g} of the points a day"
        )

    def penalty(
        self,
        unit: str,
        student: str,
        submitted_at: datetime | None,
        score: float,
        points: float,
    ) -> float:
        """The points that lateness takes from `score`, never more than it.

        Each started day costs `late_penalty_per_day` times `points`, the most that the unit gives (not times the
        score); after `max_late_days` the whole score is lost. Nothing is lost where the time is not known.
        """
        found = self.lateness(unit, student, submitted_at)
        if found.status == TOO_LATE:
            return score
        if found.status != LATE:
            return 0.0
        return min(score, self.units[unit].penalty_per_day * points * found.days)


def _deadline(where: str, row: dict[str, str]) -> Deadline:
    if row["extension_hours"]:
        raise DeadlineError(
            f"{where}: an extension needs a student_id: add it, or move the due time"
        )
    due = parse_time(row["due"]) if len(row["due"]) > len("2026-03-01") else None
    if due is None:
        raise DeadlineError(
            f"{where}: {row['due']!r} is no deadline: give date, time and zone, such as 2026-03-01T23:59+01:00"
        )
    penalty = _number(where, row, "late_penalty_per_day", 0.0)
    if penalty > 1:
        raise DeadlineError(
            f"{where}: late_penalty_per_day is a fraction of the points from 0 to 1, "
            f"got {penalty:g}: for {penalty:g} percent write {penalty / 100:g}"
        )
    days = _number(where, row, "max_late_days", math.inf)
    return Deadline(due, penalty, days)


def _extension(where: str, row: dict[str, str]) -> float:
    for column in ("due", "late_penalty_per_day", "max_late_days"):
        if row[column]:
            raise DeadlineError(
                f"{where}: {column} holds for the whole unit: leave it empty where a student_id stands"
            )
    if not row["extension_hours"]:
        raise DeadlineError(
            f"{where}: extension_hours is empty: say how many {row['student_id']} gets"
        )
    return _number(where, row, "extension_hours", 0.0)


def _number(where: str, row: dict[str, str], column: str, empty: float) -> float:
    """The number in a cell, from 0 on; `empty` where there is none."""
    if not row[column]:
        return empty
    try:
        number = float(row[column])
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or not 0 <= number <= 100_000:
        raise DeadlineError(
            f"{where}: {column} {row[column]!r} is no number from 0 on, such as 0.5 or 48"
        )
    return number
