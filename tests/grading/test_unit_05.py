"""`course grade` over unit 05's lab: solved, as released, and each named mistake as a student's notebook."""

import html
import json

import pytest

from course_lib.course_map import root
from course_lib.grading.grade import load_unit
from tests.grading import notebooks, runs
from tests.grading.inlined import as_answer
from tests.requirements import require

ROW = notebooks.UNIT
EXERCISES = load_unit(ROW.name).exercises
MISTAKES = {
    f"{exercise.name}.{mistake.example.__name__}": (exercise, mistake)
    for exercise in EXERCISES.values()
    for mistake in exercise.mistakes
}
SOLVED, UNSOLVED = "a-solved", "a-unsolved"
WRITTEN = 3.0


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The reports of one run over all of them."""
    require("bwrap")
    folder = tmp_path_factory.mktemp("unit05")
    submissions = folder / "submissions"
    runs.submit(submissions, SOLVED, notebooks.solved())
    runs.submit(submissions, UNSOLVED, (root() / ROW.lab).read_bytes())
    for name, (exercise, mistake) in MISTAKES.items():
        needs, source = as_answer(mistake.example, exercise.name)
        notebook = notebooks.single(exercise.name, source, before=(needs,))
        runs.submit(submissions, name, notebook, when="2026-03-01T10:00:00+01:00")
    said = runs.course(
        folder, "grade", "submissions", "--out", "reports", "--workers", 2, "--timeout", 180
    )
    assert runs.table(said)["now graded"] == len(MISTAKES) + 2
    return folder / "reports"


def told(reports, student):
    """(JSON, HTML) for a student."""
    text = (reports / student / f"{ROW.name}.json").read_text(encoding="utf-8")
    return json.loads(text), (reports / student / f"{ROW.name}.html").read_text(encoding="utf-8")


def test_the_solved_lab_has_all_points_but_the_written_ones(reports):
    found, page = told(reports, SOLVED)
    points = sum(e.points for e in EXERCISES.values())
    assert (found["earned"], found["points"]) == (points, points + WRITTEN)
    automatic = [e for e in found["exercises"] if e["status"] != "needs_manual"]
    assert {(e["exercise"], e["earned"], e["outcome"]) for e in automatic} == {
        (e.name, e.points, "passed") for e in EXERCISES.values()
    }
    assert page.count('aria-hidden="true">✓</span>Passed') == len(EXERCISES)
    assert "3 of these points are still open" in page and "Waits for a person" in page
    assert "Mistake" not in page and "Hint" not in page and "submit the repaired" not in page


def test_the_lab_as_released_has_none_and_is_told_how_to_begin(reports):
    found, page = told(reports, UNSOLVED)
    assert found["earned"] == 0 and found["notes"] == []
    assert {e["outcome"] for e in found["exercises"] if e["status"] == "graded"} == {
        "not_attempted"
    }
    assert page.count("Not attempted</span>") == len(EXERCISES)
    assert "raise NotImplementedError" in page and "Mistake" not in page


@pytest.mark.parametrize("student", MISTAKES)
def test_a_named_mistake_has_no_points_and_is_named_to_the_student(reports, student):
    exercise, mistake = MISTAKES[student]
    found, page = told(reports, student)
    made = runs.exercise(found, exercise.name)
    assert (made["earned"], made["points"], made["outcome"]) == (0, exercise.points, "failed")
    assert made["mistake"] == mistake.text
    assert f"Mistake: {mistake.text}" in made["feedback"]
    assert any(line.startswith("Hint: ") for line in made["feedback"])
    shown = html.unescape(page).replace("<code>", "`").replace("</code>", "`")
    assert shown.count(mistake.text) == 1 and "<strong>Mistake:</strong>" in page
    others = [e for e in found["exercises"] if e["exercise"] != exercise.name]
    assert {e["status"] for e in others} == {"missing_answer", "needs_manual"}
    assert found["earned"] == 0 and found["times"]["submitted_at"] == "2026-03-01T09:00:00+00:00"


def test_feedback_holds_no_value_that_could_be_a_hidden_input(reports):
    for student in MISTAKES:
        found, _ = told(reports, student)
        for made in found["exercises"]:
            known = {f"Mistake: {made['mistake']}"} | {
                f"Hint: {hint}" for e in EXERCISES.values() for hint in e.hints
            }
            rest = " ".join(line for line in made["feedback"] if line not in known)
            assert not any(c.isdigit() for c in rest.replace("at line", "")) or "at line" in rest


def test_the_table_of_grades_has_nbgraders_columns(reports):
    first = (reports / "grades.csv").read_text(encoding="utf-8").splitlines()[0]
    assert first == runs.GRADES
    rows = {row["student_id"]: row for row in runs.read_csv(reports / "grades.csv")}
    assert set(rows) == {SOLVED, UNSOLVED, *MISTAKES}
    for student, row in rows.items():
        assert row["assignment"] == ROW.name and row["max_score"] == "18"
        assert row["score"] == row["raw_score"] == ""  # a written answer waits for a mark
        assert bool(row["timestamp"]) == (student in MISTAKES)


def test_the_table_of_exercises_says_what_the_pages_say(reports):
    rows = runs.read_csv(reports / "exercises.csv")
    assert len(rows) == (len(MISTAKES) + 2) * (len(EXERCISES) + 1)
    for student in (SOLVED, UNSOLVED, *MISTAKES):
        own = [row for row in rows if row["student_id"] == student]
        found, _ = told(reports, student)
        assert [row["exercise"] for row in own] == [e["exercise"] for e in found["exercises"]]
        for row, made in zip(own, found["exercises"], strict=True):
            earned = "" if made["earned"] is None else f"{made['earned']:g}"
            assert (row["earned"], row["status"]) == (earned, made["status"])
            assert row["mistake"].lstrip("'") == made["mistake"].lstrip("'")


def test_the_columns_are_those_of_the_nbgrader_that_is_installed():
    inspect = pytest.importorskip("inspect")
    export = pytest.importorskip("nbgrader.plugins.export")
    source = inspect.getsource(export.CsvExportPlugin)
    listed = source.partition("keys = [")[2].partition("]")[0]
    assert ",".join(listed.replace('"', "").replace(",", " ").split()) == runs.GRADES
