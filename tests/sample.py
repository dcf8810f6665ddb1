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
    "conftest.py",
    "constraints.txt",
    "environment.yml",
    "nbgrader_config.py",
    "pyproject.toml",
)
TESTS = (
    "__init__.py",
    "conftest.py",
    "requirements.py",
    "sample.py",
    "exercises/__init__.py",
    "exercises/adversaries.py",
    "exercises/failures.py",
    "exercises/test_units.py",
)


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This process's environment, with the library of the course in `folder` first."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    outer = {k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "ARGS"}
    return {**outer, "PATH": tools, "PYTHONPATH": str(folder), "COLUMNS": "160", **more}


def _run(folder: Path, command: list[str], **more: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment(folder, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def course(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess:
    """Run `course ARGUMENTS` in `folder`, with its library; output is text."""
    return _run(folder, ["course_lib.cli", *arguments], **more)


def nbgrader(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run `nbgrader ARGUMENTS` in `folder`, with its library; output is text."""
    return _run(folder, ["nbgrader", *arguments])


def build(folder: Path) -> Path:
    """Write the small course into `folder`. Nothing of the real units' notebooks is in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(root() / name, folder / name)
    without = shutil.ignore_patterns("__pycache__", ".*")
    shutil.copytree(root() / "course_lib", folder / "course_lib", ignore=without)
    for name in TESTS:  # those that every unit must pass
        (folder / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root() / "tests" / name, folder / "tests" / name)
    (folder / "course.toml").write_text("# A small course.\n", encoding="utf-8")
    done = course(folder, "new-unit", NAME)
    if done.returncode:
        raise RuntimeError(f"course new-unit failed:\n{done.stdout}{done.stderr}")
    return folder


def copy(folder: Path, target: Path) -> Path:
    """A copy of a small course, for tests that change it."""
    return shutil.copytree(folder, target, ignore=shutil.ignore_patterns("__pycache__"))
