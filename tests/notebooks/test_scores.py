"""Solved masters score full marks, released labs zero, with `course check` and with nbgrader alike."""

import importlib
import re
import shutil

import nbformat
import pytest
from nbgrader.api import Gradebook

from course_lib.commands.check import check_notebook
from course_lib.course_map import load_map, root
from tests import sample

UNITS = load_map()
by_unit = pytest.mark.parametrize("row", UNITS, ids=lambda row: row.name)


@by_unit
def test_the_solved_master_scores_full_marks(row, course_home):
    before = (root() / row.master).read_bytes()
    report = check_notebook(root() / row.master, UNITS, timeout=300)
    assert {line.status for line in report.lines if line.earned is not None} == {"passed"}
    assert report.earned == report.points > 0
    assert report.notes == ()
    assert (root() / row.master).read_bytes() == before
    assert not (course_home / "progress.json").exists()  # a check is no second attempt


@by_unit
def test_the_released_lab_scores_zero_and_runs_through(row):
    report = check_notebook(root() / row.lab, UNITS, timeout=300)
    assert {line.status for line in report.lines if line.earned is not None} == {"not attempted"}
    assert report.earned == 0 < report.points
    assert report.notes == ()  # no cell raises anything, though nothing is solved
    hints = [line for line in report.lines if line.earned is not None]
    assert all("hint" in line.message for line in hints)


@by_unit
def test_nbgrader_gives_the_lab_nothing_and_the_master_everything(row, tmp_path):
    shutil.copy(root() / "nbgrader_config.py", tmp_path)
    shutil.copytree((root() / row.master).parent, (tmp_path / row.master).parent)
    for student, source in {"empty": row.lab, "solved": row.master}.items():
        target = tmp_path / "submitted" / student / row.name / f"{row.name}.ipynb"
        target.parent.mkdir(parents=True)
        shutil.copy(root() / source, target)
    for step in ("generate_assignment", "autograde"):
        done = sample.nbgrader(tmp_path, step, row.name)
        assert done.returncode == 0, done.stdout + done.stderr
    unit = importlib.import_module(row.module).unit
    wanted = {f"check_{name}": exercise.points for name, exercise in unit.exercises.items()}
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as book:
        for student, share in {"empty": 0, "solved": 1}.items():
            submission = book.find_submission_notebook(row.name, row.name, student)
            given = {grade.name: grade.auto_score for grade in submission.grades}
            assert {name: given[name] for name in wanted} == {
                name: share * points for name, points in wanted.items()
            }
            assert submission.score == share * sum(wanted.values())


def solution_lines(path) -> set[str]:
    """The distinctive lines of all solution regions of a master: of 20 characters or more."""
    found = set()
    for cell in nbformat.read(path, as_version=4).cells:
        for region in re.findall(r"BEGIN SOLUTION(.*?)### END SOLUTION", cell.source, re.DOTALL):
            lines = {re.sub(r"\s+", "", line.split("  #")[0]) for line in region.splitlines()}
            found |= {line for line in lines if len(line) >= 20}
    return found


@by_unit
def test_the_lab_holds_no_line_of_an_answer(row):
    answers = solution_lines(root() / row.master)
    assert answers, "the master's solutions have no line long enough to look for"
    lab = re.sub(
        r"[^\S\n]+", "", "\n".join(c.source for c in nbformat.read(root() / row.lab, 4).cells)
    )
    assert sorted(line for line in answers if line in lab) == []
