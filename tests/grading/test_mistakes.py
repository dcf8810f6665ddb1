"""Every unit's lab graded: solved, unsolved, and each named mistake as a submission, through the sandbox."""

from __future__ import annotations

import pytest

from course_lib.course_map import load_map, root
from course_lib.grading import result
from course_lib.grading.grade import load_unit
from tests.grading.inlined import as_answer
from tests.grading.notebooks import grade_one

ROWS = load_map()
MISTAKES = [
    pytest.param(row, exercise, mistake, id=f"{exercise.name}-{mistake.example.__name__}")
    for row in ROWS
    for exercise in load_unit(row.name).exercises.values()
    for mistake in exercise.mistakes
]
by_unit = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@by_unit
def test_the_solved_lab_has_full_marks(graders, row):
    grader = graders(row)
    done = grader.grade(root() / row.master)
    assert grader.last_error == "" and done.status == result.GRADED and done.notes == ()
    answered = [e for e in done.exercises if e.status != result.NEEDS_MANUAL]
    assert [e.exercise for e in answered] == [*grader.unit.exercises]
    assert [(e.status, e.outcome, e.mistake, e.forbidden) for e in answered] == [
        (result.GRADED, result.PASSED, "", ())
    ] * len(answered)
    assert done.earned == sum(e.points for e in answered) > 0
    written = [e for e in done.exercises if e not in answered]
    assert all(e.earned is None and e.answer.strip() for e in written)


@by_unit
def test_the_lab_as_it_was_released_has_no_points(graders, row):
    grader = graders(row)
    done = grader.grade(root() / row.lab)
    assert grader.last_error == "" and done.status == result.GRADED and done.earned == 0
    for exercise in done.exercises:
        if exercise.status != result.NEEDS_MANUAL:
            assert (exercise.status, exercise.outcome) == (result.GRADED, result.NOT_ATTEMPTED)
            assert exercise.earned == 0 and "Not attempted" in exercise.feedback[0]


@pytest.mark.parametrize(("row", "exercise", "mistake"), MISTAKES)
def test_each_named_mistake_is_named_and_earns_nothing(graders, tmp_path, row, exercise, mistake):
    before, source = as_answer(mistake.example, exercise.name)
    done = grade_one(graders(row), tmp_path, exercise.name, source, before=(before,))
    assert done.status in (result.GRADED, result.STUDENT_ERROR) and done.earned == 0
    assert done.mistake == mistake.text
    assert f"Mistake: {mistake.text}" in done.feedback
