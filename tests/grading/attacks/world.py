"""The world around the sandbox: what an attack could reach, and what it looks like before and after.

A folder and a gradebook that everybody may write to, servers that everybody may call, and a name for whatever an attack
leaves behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import sqlite3
import tempfile
import threading
from pathlib import Path

from course_lib.course_map import root
from course_lib.grading import cgroups
from course_lib.grading.grade import Grader
from course_lib.grading.gradebook import Gradebook, KeyParts
from course_lib.grading.result import SubmissionResult
from course_lib.grading.sandbox import FIRST_UID
from tests.grading.notebooks import UNIT

PARTS = KeyParts("checks", "policy", "secret")
LOOKED_AT = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), Path("/"), Path.home(), root())


class World:
    """Use it in a `with` block."""

    def __init__(self) -> None:
        self.marker = f"attack-{secrets.token_hex(8)}"
        self.canary = Path(tempfile.mkdtemp(prefix="course-canary-"))
        self.canary.chmod(0o777)
        (self.canary / "note").write_text("for the instructor only")
        self.book_file = self.canary / "gradebook.db"
        self.book = Gradebook(f"sqlite:///{self.book_file}")
        for path in self.canary.iterdir():
            path.chmod(0o666)
        self.calls: list[str] = []
        self.recorded = 0
        self.lines = [
            self._serve(socket.AF_INET, ("127.0.0.1", 0)),
            self._serve(socket.AF_UNIX, str(self.canary / "socket")),
            self._serve(socket.AF_UNIX, f"\0{self.marker}"),
        ]
        (self.canary / "socket").chmod(0o666)
        self.port = self.lines[0].getsockname()[1]

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        for line in self.lines:
            line.close()
        self.book.close()
        for path in self.left():
            path.unlink()
        shutil.rmtree(self.canary)

    def _serve(self, family: int, address: object) -> socket.socket:
        line = socket.socket(family)
        line.bind(address)
        line.listen()

        def accept() -> None:
            while True:
                try:
                    line.accept()[0].close()
                except OSError:
                    return
                self.calls.append(str(address))

        threading.Thread(target=accept, daemon=True).start()
        return line

    def fill(self, source: str) -> str:
        """`source` with the places of this world."""
        places = {"ROOT": root(), "CANARY": self.canary, "BOOK": self.book_file}
        for name, value in {**places, "PORT": self.port, "MARKER": self.marker}.items():
            source = source.replace(f"@{name}@", str(value))
        return source

    def left(self) -> list[Path]:
        """Files with the attacks' name, in the places where they may be expected."""
        return [p for place in LOOKED_AT if place.is_dir() for p in place.glob(f"*{self.marker}*")]

    def picture(self) -> dict[str, object]:
        """What must be the same before and after an attack."""
        files = [*self.canary.iterdir(), *(root() / "solutions").rglob("*")]
        return {
            "files": {p: (s.st_mode, s.st_size, s.st_mtime_ns) for p in files for s in [p.lstat()]},
            "gradebook": self.book_file.read_bytes(),
            "calls": list(self.calls),
            "left": self.left(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "environment": dict(os.environ),
        }

    def record(self, student: str, result: SubmissionResult) -> list[tuple[str, SubmissionResult]]:
        """Keep a result in the gradebook; which results were added to it by that, and whose they are."""
        self.recorded += 1
        before = self._rows()
        submission = self.book.submit(student, UNIT.name, f"{self.recorded:064d}", None, Path())
        self.book.record(PARTS, submission, result)
        after = self._rows()
        assert after[: len(before)] == before
        return [
            (who, SubmissionResult.from_json(json.loads(text)))
            for *_, who, text in after[len(before) :]
        ]

    def _rows(self) -> list[tuple]:
        """All results in the gradebook's file, in the order in which they came, with the students' names."""
        query = "select r.*, s.student, r.result from results r join submissions s on s.id = r.submission order by r.id"
        with contextlib.closing(sqlite3.connect(self.book_file)) as book:
            return book.execute(query).fetchall()


def processes(grader: Grader) -> list[list[str]]:
    """The command lines of the sandbox's processes: of its own user, and of all that bubblewrap has started."""
    pids = set(cgroups.descendants(grader.sandbox.process.pid))
    if os.geteuid() == 0:
        user = str(FIRST_UID + grader.sandbox.slot)
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = status.read_text().splitlines()
            except OSError:
                continue
            if any(line.split()[:2] == ["Uid:", user] for line in lines):
                pids.add(int(status.parent.name))
    return sorted(Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:1] for pid in pids)
