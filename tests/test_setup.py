"""The Makefile's set-up: done when it is needed, and only then. Nothing is installed here."""

import os
import shutil
import subprocess

import pytest

from course_lib.course_map import root


@pytest.fixture
def clone(tmp_path):
    """A folder with what the set-up reads, and stand-ins for its tools that write down their calls."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(root() / name, tmp_path)
    tool(
        tmp_path / "python3",
        'if [ "$2" = venv ]; then mkdir -p .venv/bin; cp inner .venv/bin/python; fi',
    )
    tool(tmp_path / "inner", "")
    tool(tmp_path / "course", "")
    return tmp_path


def tool(path, more):
    """A program that writes its name and arguments into `calls`, then does `more`."""
    path.write_text(f'#!/bin/sh\necho "{path.name} $*" >> "{path.parent / "calls"}"\n{more}\n')
    path.chmod(0o755)


def make(clone, *arguments, **variables):
    """Run make in the folder; its result, and the calls of the stand-ins since the last time."""
    (clone / "calls").write_text("")
    settings = {"PYTHON": "./python3", "COURSE": "./course", **variables}
    done = subprocess.run(
        ["make", *arguments, *(f"{key}={value}" for key, value in settings.items())],
        cwd=clone,
        env={k: v for k, v in os.environ.items() if not k.startswith("MAKE") and k != "ARGS"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done, (clone / "calls").read_text().splitlines()


INSTALL = "inner -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ."


def test_the_first_lab_sets_up_and_the_second_only_starts(clone):
    done, calls = make(clone, "lab", ARGS="5 --no-browser")
    assert done.returncode == 0, done.stderr
    assert "python3 -m venv --clear .venv" in calls
    assert INSTALL in calls
    assert calls[-1] == "course lab 5 --no-browser"
    assert make(clone, "lab")[1] == ["course lab"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_it_is_redone_when_what_to_install_changes(clone, name):
    make(clone, "lab")
    later = (clone / ".venv/.lab").stat().st_mtime + 10
    os.utime(clone / name, (later, later))
    calls = make(clone, "lab")[1]
    assert INSTALL in calls
    assert not any("venv" in call for call in calls)  # the environment itself still works


def test_a_failed_install_is_tried_again(clone):
    tool(clone / "inner", 'case "$*" in *install*) exit 1;; esac')
    assert make(clone, "lab")[0].returncode != 0
    tool(clone / "inner", "")
    shutil.copy(clone / "inner", clone / ".venv/bin/python")
    assert INSTALL in make(clone, "lab")[1]


def test_a_broken_environment_is_made_anew(clone):
    (clone / ".venv/bin").mkdir(parents=True)  # an interrupted set-up: no pip in it
    tool(clone / ".venv/bin/python", "exit 1")
    done, calls = make(clone, "lab")
    assert done.returncode == 0, done.stderr
    assert "python3 -m venv --clear .venv" in calls


@pytest.mark.parametrize("old", [True, False])
def test_an_old_or_absent_python_is_a_clear_error(clone, old):
    tool(clone / "python3", "[ $1 = --version ] && echo Python 3.9.2; exit 1")
    if not old:
        (clone / "python3").unlink()
    done, _ = make(clone, "lab")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stdout
    assert ("Python 3.9.2" in done.stdout) == old
    assert not (clone / ".venv").exists()


def test_the_test_command_runs_ruff_and_pytest_with_the_extras(clone):
    done, calls = make(clone, "-n", "test")
    assert done.returncode == 0
    assert calls == []
    wanted = ("-e '.[test,grade]'", "ruff check", "ruff format --check", "-m pytest")
    places = [done.stdout.index(part) for part in wanted]
    assert places == sorted(places)
