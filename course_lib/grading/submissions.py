"""The folder of submissions: SUBMISSIONS/STUDENT/UNIT/UNIT.ipynb, beside it `timestamp.txt` where a time is known.

Two folders of it are no student's: `_unmatched` and `_earlier`. No student's id begins with `_`.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from course_lib.grading.exports import Entry
from course_lib.grading.places import harmless, student_folder, write_whole
from course_lib.grading.submitted_at import parse_time

UNMATCHED_FOLDER, EARLIER_FOLDER = "_unmatched", "_earlier"


class Submissions:
    """The folder of submissions for one unit."""

    def __init__(self, folder: Path, unit: str) -> None:
        self.folder, self.unit = folder, unit

    def current(self, student_id: str) -> tuple[Path, str, datetime | None] | None:
        """The student's submission as it lies there: its file, its sha256, its time if known."""
        folder = self.folder / student_folder(student_id) / self.unit
        path = folder / f"{self.unit}.ipynb"
        others = sorted(folder.glob("*.ipynb"))
        path = others[0] if not path.is_file() and len(others) == 1 else path
        if not path.is_file():
            return None
        stamp = folder / "timestamp.txt"
        when = parse_time(stamp.read_text(errors="replace")) if stamp.is_file() else None
        return path, hashlib.sha256(path.read_bytes()).hexdigest(), when

    def keep(self, student_id: str, content: Path, when: datetime | None) -> Path:
        """Copy a file that is not, or no longer, the submission to its place under `_earlier`."""
        data, time = content.read_bytes(), when.isoformat() if when else ""
        name = hashlib.sha256(data + time.encode()).hexdigest()[:12]
        place = self.folder / EARLIER_FOLDER / student_folder(student_id) / self.unit
        write_whole(place / f"{name}.ipynb", data)
        if when:
            write_whole(place / f"{name}.timestamp.txt", time + "\n")
        return place / f"{name}.ipynb"

    def put(self, student_id: str, entry: Entry, when: datetime | None) -> bool:
        """Make `entry` the student's submission, unless what is there is as new; returns whether anything changed."""
        before = self.current(student_id)
        if before and before[1] == entry.sha256 and (when is None or when == before[2]):
            return False
        if before and when and before[2] and when < before[2]:
            self.keep(student_id, entry.copy, when)
            return False
        folder = self.folder / student_folder(student_id) / self.unit
        if before:
            self.keep(student_id, before[0], before[2])
        if not before or before[1] != entry.sha256:  # a time belongs to one file only
            (folder / "timestamp.txt").unlink(missing_ok=True)
            write_whole(folder / f"{self.unit}.ipynb", entry.copy.read_bytes())
        if when:
            write_whole(folder / "timestamp.txt", when.isoformat() + "\n")
        return True

    def unmatched(self, entry: Entry) -> Path:
        """Where an unmatched file is kept."""
        stem, dot, end = entry.parts[-1].rpartition(".") if entry.parts else ("", "", "")
        end = f".{end.lower()}" if dot and end.isascii() and end.isalnum() and len(end) < 9 else ""
        mark = hashlib.sha256(f"{entry.name}\0{entry.sha256}".encode()).hexdigest()[:8]
        name = f"{self.unit}--{harmless(stem or '/'.join(entry.parts))}-{mark}{end}"
        return self.folder / UNMATCHED_FOLDER / name
