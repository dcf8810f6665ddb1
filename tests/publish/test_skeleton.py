"""`course new-unit`: a unit that passes the tests; nothing that is there is touched."""

import subprocess
import sys

import pytest

from course_lib.course_map import load_map
from course_lib.publish import skeleton
from tests.sample import NAME, environment


@pytest.mark.parametrize(
    "name", ["sample", "1_sample", "12-sample", "12_Sample", "12_", "12_a__b", "../12_a"]
)
def test_a_wrong_name_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="two digits and a slug"):
        skeleton.lay_down(tmp_path, (), name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["90_other", "91_sample"])
def test_a_taken_number_or_slug_is_refused(sample_course, tmp_path, name):
    with pytest.raises(ValueError, match=NAME):
        skeleton.lay_down(tmp_path, load_map(sample_course), name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_left_and_nothing_is_written(tmp_path):
    (tmp_path / "lectures").mkdir()
    (tmp_path / "lectures/12_a.ipynb").write_text("mine")
    with pytest.raises(FileExistsError, match="12_a"):
        skeleton.lay_down(tmp_path, (), "12_a")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "lectures/12_a.ipynb"]


def test_the_map_has_the_new_row(sample_course):
    [row] = load_map(sample_course)
    assert (row.name, row.title) == (NAME, "Sample")
    for path in (row.lecture, row.master, row.lab, row.master.with_name("hidden_checks.py")):
        assert (sample_course / path).is_file()


def test_the_skeleton_is_clean_for_ruff(sample_course):
    places = ["lectures", "solutions"]
    places += ["tests/exercises/test_sample.py", "course_lib/exercises/sample.py"]
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", *places],
            cwd=sample_course,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_the_skeletons_tests_and_notebooks_pass(sample_course):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"],
        cwd=sample_course,
        env=environment(sample_course),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    notebooks = (
        f"lectures/{NAME}.ipynb",
        *(f"{top}/{NAME}/{NAME}.ipynb" for top in ("labs", "solutions")),
    )
    for part in ("tests/exercises/test_units.py", "tests/exercises/test_sample.py", *notebooks):
        assert f"{part}::" in done.stdout.replace("::ipynb::", ".ipynb::")
