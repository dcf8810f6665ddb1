"""A student's progress: one local file, written atomically.

The file is `$COURSE_HOME/progress.json` (by default `~/.course/progress.json`):
{unit: {exercise: {"status", "earned", "points", "attempts", "when"}}}.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path


def progress_file() -> Path:
    """Where progress is kept: `$COURSE_HOME/progress.json`, by default under `~/.course`."""
    return Path(os.environ.get("COURSE_HOME") or Path.home() / ".course") / "progress.json"


def load() -> dict[str, dict[str, dict]]:
    """All progress so far; an unreadable file is set aside (and that is said), never deleted."""
    path = progress_file()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict) and all(
            isinstance(unit, dict) and all(isinstance(e, dict) for e in unit.values())
            for unit in found.values()
        ):
            return found
    except FileNotFoundError:
        return {}
    except OSError as error:
        print(f"Progress cannot be read ({error}); this run goes on without it.")
        return {}
    except (ValueError, RecursionError):
        pass
    aside = path.with_name(
        f"progress.unreadable-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.json"
    )
    try:
        os.replace(path, aside)
        print(
            f"The progress file could not be understood. It is kept as {aside}; a new one is started."
        )
    except OSError as error:
        print(
            f"The progress file {path} cannot be understood nor moved aside ({error}); fix or remove it by hand."
        )
    return {}


def record(unit: str, exercise: str, status: str, earned: float, points: float) -> int:
    """Note one attempt and return how many there were; the best score is kept, the last status is shown.

    Failing to write (a read-only home, a full disk) is said once and never stops a lab.
    """
    everything = load()
    entry = everything.setdefault(unit, {}).setdefault(exercise, {})
    attempts = int(entry.get("attempts", 0)) + (status != "not_attempted")
    best = max(float(entry.get("earned", 0)), float(earned))
    entry.update(
        status="passed" if best >= points else status,
        earned=best,
        points=points,
        attempts=attempts,
        when=time.strftime("%Y-%m-%dT%H:%M:%S"),
    )
    try:
        _write(progress_file(), everything)
    except OSError as error:
        print(
            f"Progress could not be saved ({error}). Set COURSE_HOME to a folder you may write to."
        )
    return attempts


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".progress-", suffix=".json")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
