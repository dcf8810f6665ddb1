"""`course check`: every exercise has its row, whatever became of its cells."""

import json

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_lib.commands import check, notebooks
from course_lib.course_map import load_map
from course_lib.exercises.engine import Unit


@pytest.fixture
def unit():
    """A unit of three exercises that are never run here."""
    made = Unit("90_sample")
    for name in ("first", "second", "third"):

        def body(answer, case):
            raise AssertionError("the checks themselves are not under test")

        body.__name__ = name
        made.exercise(points=2, minutes=1, reference=abs, hints=[f"a hint for {name}"])(body)
    return made


def cells_of(name):
    """An exercise's answer cell and check cell."""
    meta = {"schema_version": 3, "task": False, "locked": False}
    answer = {**meta, "grade_id": name, "solution": True, "grade": False}
    graded = {**meta, "grade_id": f"check_{name}", "solution": False, "grade": True, "points": 2}
    return [
        new_code_cell(f"def {name}(x): return x", metadata={"nbgrader": answer}),
        new_code_cell(f'{name} = check("{name}", {name})', metadata={"nbgrader": graded}),
    ]


@pytest.fixture
def examine(unit, tmp_path, monkeypatch):
    """Check a notebook of `cells`, when its run reports `entries` and has the outcome `run`."""

    def examined(cells, entries=(), run=None):
        path = tmp_path / "lab.ipynb"
        path.write_text(json.dumps(new_notebook(cells=cells)))

        def execute(notebook, folder, environment, timeout):
            assert "NBGRADER_EXECUTION" not in environment
            with open(environment["COURSE_REPORT"], "a") as report:
                for entry in entries:
                    report.write((entry if isinstance(entry, str) else json.dumps(entry)) + "\n")
            return run or notebooks.Run()

        monkeypatch.setattr(check.notebooks, "execute", execute)
        monkeypatch.setattr(check, "unit_of", lambda *_: unit)
        return check.check_notebook(path, (), 5.0)

    return examined


def entry(exercise, status, **more):
    """One line as `check` reports it."""
    return {"unit": "90_sample", "exercise": exercise, "status": status, "message": "", **more}


ALL = [*cells_of("first"), *cells_of("second"), *cells_of("third")]


def test_points_come_from_the_unit_and_the_last_report_counts(examine):
    report = examine(
        ALL,
        [
            entry("first", "failed", earned=99),
            entry("first", "passed", earned=99),
            entry("second", "failed", earned=99),
            entry("third", "not_attempted"),
            entry("unknown", "passed", earned=99),
            {**entry("second", "passed"), "unit": "91_other"},
        ],
    )
    assert [(line.exercise, line.earned, line.status) for line in report.lines] == [
        ("first", 2, "passed"),
        ("second", 0, "failed"),
        ("third", 0, "not attempted"),
    ]
    assert (report.earned, report.points) == (2, 6)
    assert "a hint for third" in report.lines[2].message


def test_lines_that_are_no_report_are_passed_over(examine):
    report = examine(ALL, ["no json", "[1]", "[" * 100_000, entry("first", "passed")])
    assert [line.status for line in report.lines] == ["passed", "error", "error"]


def test_a_deleted_check_cell_is_missing(examine):
    report = examine(ALL[:4])
    assert report.lines[2].status == "missing"
    assert 'check("third", third)' in report.lines[2].message


def test_an_error_is_the_answer_cells_before_the_check_cells(examine):
    run = notebooks.Run(errors={2: "SyntaxError: invalid syntax", 3: "NameError: second"})
    line = examine(ALL, run=run).lines[1]
    assert (line.status, line.earned) == ("error", 0)
    assert "SyntaxError" in line.message


def test_time_out_and_dead_kernel_are_told_apart(examine):
    run = notebooks.Run(
        errors={1: "CellTimeoutError: over 5 s"}, timed_out=[1], stopped_at=3, reason="it died in"
    )
    report = examine(ALL, run=run)
    assert [line.status for line in report.lines] == ["timed out", "not reached", "not reached"]
    assert any("--timeout" in note for note in report.notes)
    assert any("it died in code cell 4" in note for note in report.notes)


def test_a_written_question_is_shown_but_not_counted(examine):
    meta = {"schema_version": 3, "grade_id": "essay", "grade": True, "solution": True, "points": 5}
    report = examine([*ALL, new_markdown_cell("Why?", metadata={"nbgrader": meta})])
    assert report.lines[-1] == check.Line("essay", 5, None, check.WRITTEN)
    assert report.points == 6


def test_a_lecture_holds_no_exercises_and_the_error_names_the_labs(tmp_path):
    lecture = new_notebook(cells=[new_code_cell("from course_lib.exercises import engine")])
    [row, *_] = rows = load_map()
    with pytest.raises(notebooks.NotebookError, match=row.lab.as_posix()):
        check.unit_of(lecture, tmp_path / f"{row.name}.ipynb", rows)


@pytest.mark.parametrize(
    "form", ["from {} import check, unit", "import {} as u", "from {} import ("]
)
def test_the_unit_is_known_by_what_the_notebook_imports(tmp_path, form):
    [row, *_] = rows = load_map()
    lab = new_notebook(cells=[new_code_cell(form.format(row.module))])
    assert check.unit_of(lab, tmp_path / "renamed.ipynb", rows).name == row.name
