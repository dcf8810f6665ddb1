"""When something was submitted: the times that LMSs and nbgrader write, read as moments in UTC."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

from course_lib.grading.csv_safety import read_rows


class TimesError(ValueError):
    """A row of a file of submission times is wrong; the message says which and why."""


def parse_time(text: str) -> datetime | None:
    """The moment that `text` names, in UTC; None if it names none.

    Read are ISO 8601 and nbgrader's `2026-01-30 15:30:10.123 ZONE`, where ZONE is `UTC`, a name such as
    `Europe/Berlin`, or an offset such as `+0100`. Without a zone it is UTC.
    """
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        found = re.fullmatch(r"(\S+ \S+) (\S+)", text)
        zone = _zone(found[2]) if found else None
        if zone is None:
            return None
        try:
            moment = datetime.fromisoformat(found[1]).replace(tzinfo=zone)
        except ValueError:
            return None
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        return None


def _zone(name: str) -> timezone | ZoneInfo | None:
    offset = re.fullmatch(r"([+-])([01]\d|2[0-3]):?([0-5]\d)", name)
    if offset:
        minutes = int(offset[2]) * 60 + int(offset[3])
        return timezone(timedelta(minutes=minutes if offset[1] == "+" else -minutes))
    if name in ("UTC", "GMT", "Z"):
        return UTC
    try:
        return ZoneInfo(name) if "/" in name else None  # abbreviations name several zones
    except (ValueError, OSError, KeyError):
        return None


def read_times(path: Path, student_ids: Iterable[str]) -> tuple[dict[str, datetime], list[str]]:
    """Submission times by student_id from a CSV with the columns student_id and submitted_at.

    Returns the times, and the ids of the file that are not among `student_ids`. Empty times are passed over.

    Raises CsvError if the file cannot be read or lacks a column, TimesError at what is no time or a second one.
    """
    known, times, strangers = set(student_ids), {}, []
    for number, row in read_rows(path, ("student_id", "submitted_at")):
        student, text = row["student_id"], row["submitted_at"]
        if not text:
            continue
        when = parse_time(text)
        if when is None:
            raise TimesError(
                f"{path}, line {number}: {text[:40]!r} is no time; write 2026-01-30T15:30:00+01:00"
            )
        if times.setdefault(student, when) != when:
            raise TimesError(f"{path}, line {number}: a second time for {student[:60]!r}")
        if student not in known and student not in strangers:
            strangers.append(student)
    return {student: when for student, when in times.items() if student in known}, strangers
