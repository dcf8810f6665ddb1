"""What a score depends on besides the notebook: the instructor's policy, and the code that grades."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from course_lib.course_map import UnitRow

SANDBOXED, UNSANDBOXED = "bubblewrap", "unsandboxed"  # the kinds of sandbox, as results name them
# Parts of the library that show, install or release things: no score depends on them.
SHOWING = {"cli.py", "commands", "publish", "plots.py", "widgets.py"}


@dataclass(frozen=True)
class Policy:
    """What the instructor decides for a run: seconds a case, gigabytes a case, forbidden names, sandbox or not."""

    timeout: float = 20.0
    memory: float = 2.0
    forbidden: str = "warn"
    unsandboxed: bool = False

    @property
    def sandbox(self) -> str:
        """The kind of sandbox, as results name it."""
        return UNSANDBOXED if self.unsandboxed else SANDBOXED

    def digest(self) -> str:
        """A hash of the policy: results under another policy are other results."""
        return _digest(json.dumps(asdict(self), sort_keys=True))


def _digest(*texts: str | bytes) -> str:
    made = hashlib.sha256()
    for text in texts:
        data = text.encode() if isinstance(text, str) else text
        made.update(len(data).to_bytes(8, "big") + data)
    return made.hexdigest()


def checks_digest(row: UnitRow, folder: Path) -> str:
    """A hash of all that decides a score but the answer: library, checks, hidden checks, master, torch."""
    library = folder / "course_lib"
    files = [
        p for p in sorted(library.rglob("*.py")) if p.relative_to(library).parts[0] not in SHOWING
    ]
    files += [folder / row.master, folder / row.master.parent / "hidden_checks.py"]
    parts = [version("torch")]
    for path in files:
        if path.is_file():
            parts += [path.relative_to(folder).as_posix(), path.read_bytes()]
    return _digest(*parts)
