"""What students get: everything they need, no answer, no hidden check; and its own `make lab` works."""

import os
import sys
from pathlib import Path

import pytest

from course_lib.course_map import load_map, root
from course_lib.publish import student
from tests.sample import NAME, copy, course
from tests.server import get, serving


@pytest.fixture(scope="module")
def tree(sample_course, tmp_path_factory):
    """The students' distribution of the small course."""
    target = tmp_path_factory.mktemp("student") / "course"
    done = course(sample_course, "release", "--student", str(target))
    assert done.returncode == 0, done.stderr
    return target


def texts(folder: Path) -> dict[str, str]:
    """All text of a folder, by relative place."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".png"]
    return {p.relative_to(folder).as_posix(): p.read_text(encoding="utf-8") for p in files}


def leaks(found: dict[str, str]) -> list[str]:
    """The places of a distribution that hold what only instructors should have."""
    parts = ("solutions/", "tests/", "course_lib/grading", "course_lib/publish")
    marks = ("BEGIN " + "SOLUTION", "hidden_check(", "BEGIN " + "HIDDEN")
    return sorted(
        place
        for place, text in found.items()
        if place.startswith(parts)
        or "hidden_checks" in place
        or any(mark in text for mark in marks if not place.startswith("course_lib/"))
    )


def test_no_answer_and_no_hidden_check_is_in_it(tree, sample_course):
    assert leaks(texts(tree)) == []
    for line in ("for row in x[1:]:", "total = total + row", "The mean of a single row"):
        assert line in "".join(texts(sample_course).values())
        assert [place for place, text in texts(tree).items() if line in text] == []


def test_the_leak_rule_finds_leaks():
    for place, text in {
        "solutions/a.ipynb": "",
        "labs/hidden_checks.py": "",
        "labs/a.ipynb": "### BEGIN " + "SOLUTION",
        "course_lib/grading/grade.py": "",
    }.items():
        assert leaks({place: text}) == [place]


def test_all_that_make_lab_needs_is_in_it(tree):
    found = texts(tree)
    for place in (
        "README.md",
        "Makefile",
        "pyproject.toml",
        "constraints.txt",
        "course.toml",
        "LICENSE",
        ".gitignore",
        f"lectures/{NAME}.ipynb",
        f"labs/{NAME}/{NAME}.ipynb",
        "course_lib/cli.py",
        "course_lib/exercises/sample.py",
    ):
        assert place in found
    assert "**Sample**" in found["README.md"]
    assert "release" not in found["Makefile"]
    assert "pytest" not in found["pyproject.toml"]
    assert "nbgrader" not in found["pyproject.toml"]
    assert 'course = "course_lib.cli:app"' in found["pyproject.toml"]


def test_its_course_command_has_only_the_students_part(tree):
    done = course(tree, "--help")
    assert done.returncode == 0, done.stderr
    for name in ("lab", "check", "progress", "doctor"):
        assert f" {name} " in done.stdout
    for name in ("release", "new-unit", "bench"):
        assert f" {name} " not in done.stdout


def test_its_make_lab_serves_the_labs(tree, tmp_path):
    folder = copy(tree, tmp_path / "course")
    tools = folder / ".venv" / "bin"
    tools.mkdir(parents=True)  # an environment that is set up already: this test has no network
    for name in ("python", "course"):
        (tools / name).symlink_to(Path(sys.executable).parent / name)
    (folder / ".venv" / ".lab").touch()
    later = (folder / "pyproject.toml").stat().st_mtime + 10
    os.utime(folder / ".venv" / ".lab", (later, later))
    with serving(folder, tmp_path / "log.txt", start=["make", "lab"]) as address:
        status, text = get(f"{address}/api/contents/labs/{NAME}/{NAME}.ipynb")
    assert status == 200
    assert "row_mean" in text


def test_the_real_course_leaks_nothing(tmp_path):
    target = tmp_path / "course"
    files = student.write_student_tree(root(), load_map(), target)
    assert files
    assert leaks(texts(target)) == []


def test_sections_are_cut_from_toml():
    text = "[a]\nx = 1\n[a.b]\ny = [\n  2,\n]\n[ab]\nz = 3\n[[c]]\nw = 4\n"
    assert student.without_sections(text, ("a",)) == "[ab]\nz = 3\n[[c]]\nw = 4\n"


def test_benchmarks_come_with_what_they_import(tmp_path):
    for place, text in {
        "benchmarks/__init__.py": "",
        "benchmarks/papers/__init__.py": "",
        "benchmarks/papers/gcn.py": "from benchmarks import report\nimport benchmarks.tables",
        "benchmarks/report.py": "from benchmarks.deep.inner import f",
        "benchmarks/deep/inner.py": "",
        "benchmarks/tables.py": "",
        "benchmarks/speed/graphs.py": "import torch_geometric",
    }.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text)
    found = {path.as_posix() for path in student.benchmark_files(tmp_path)}
    assert found == {
        "benchmarks/__init__.py",
        "benchmarks/papers/__init__.py",
        "benchmarks/papers/gcn.py",
        "benchmarks/report.py",
        "benchmarks/deep/inner.py",
        "benchmarks/tables.py",
    }
