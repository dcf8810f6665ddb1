"""What some tests need from the machine, and what happens where it is missing.

`require("chromium")` returns when the thing is there. Where it is not, the test is skipped with a
reason, or fails with that reason if the name stands in the comma list `$COURSE_REQUIRE` (as in
`.ci/run`), so that a machine which promises to have everything cannot pass by skipping.
"""

import os
import shutil
from pathlib import Path

import pytest

PROGRAMS = {
    "bwrap": ("bwrap",),
    "chromium": ("chromium", "chromium-browser", "google-chrome"),
    "node": ("node",),
    "postgres": ("pg_ctl",),
}
ADVICE = {
    "bwrap": "bubblewrap is not installed: apt-get install bubblewrap",
    "chromium": "Chromium is not installed: apt-get install chromium",
    "node": "Node is not installed: apt-get install nodejs",
    "postgres": "PostgreSQL is not installed: apt-get install postgresql",
    "data": "COURSE_DATA is not set to a folder of the real data sets",
}


def find(name: str) -> Path | None:
    """The program or folder that `name` stands for, or None where the machine lacks it.

    Raises ValueError for an unknown name, so that a typing error cannot turn into a skip.
    """
    if name not in ADVICE:
        raise ValueError(f"unknown requirement {name!r}: use one of {', '.join(sorted(ADVICE))}")
    if name == "data":
        folder = os.environ.get("COURSE_DATA", "")
        return Path(folder) if folder and Path(folder).is_dir() else None
    found = next(filter(None, map(shutil.which, PROGRAMS[name])), None)
    if found is None and name == "postgres":  # Debian keeps the server's programs off the PATH
        found = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))), None)
    return Path(found) if found else None


def promised() -> set[str]:
    """The names in the comma list `$COURSE_REQUIRE`: what this machine promises to have."""
    return {
        part.strip() for part in os.environ.get("COURSE_REQUIRE", "").split(",") if part.strip()
    }


def require(name: str) -> Path:
    """Return where `name` is; else skip the test, or fail it if `$COURSE_REQUIRE` names it."""
    found = find(name)
    if found is not None:
        return found
    if name in promised():
        pytest.fail(f"{ADVICE[name]} (COURSE_REQUIRE says this machine has it)", pytrace=False)
    pytest.skip(ADVICE[name])
