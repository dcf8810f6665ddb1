"""A small course in a folder of its own: the library, and one unit laid down by `course new-unit`."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from course_lib.course_map import root

NAME = "90_sample"
FILES = (
    ".gitignore",
    "LICENSE",
    "Makefile",
    "README.md",
    "constraints.txt",
    "environment.yml",
    "nbgrader_config.py",
    "pyproject.toml",
)


def course(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `course ARGUMENTS` with the library of the course in `folder`; output is text."""
    return subprocess.run(
        [sys.executable, "-m", "course_lib.cli", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "160", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def build(folder: Path) -> Path:
    """Write the small course into `folder`. Nothing of the real units' notebooks is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(root() / name, folder / name)
    without = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(root() / "course_lib", folder / "course_lib", ignore=without)
    (folder / "course.toml").write_text("# A small course.\n", encoding="utf-8")
    done = course(folder, "new-unit", NAME)
    if done.returncode:
        raise RuntimeError(f"course new-unit failed:\n{done.stdout}{done.stderr}")
    return folder


def copy(folder: Path, target: Path) -> Path:
    """A copy of a small course, for tests that change it."""
    return shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__"))
