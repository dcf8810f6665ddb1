"""Answers that know nothing but might be believed, against every exercise of every unit, through the sandbox.

Each wraps the master's right answer, so that what it returns has the right shape, type and number.
"""

from __future__ import annotations

import inspect

import pytest

from course_lib.course_map import load_map
from course_lib.exercises.case import Case
from course_lib.exercises.exercise import Exercise
from course_lib.grading import result
from course_lib.grading.grade import load_unit
from tests.exercises import adversaries
from tests.grading.notebooks import grade, single, source_of

SOURCE = inspect.getsource(adversaries).replace("from __future__ import annotations\n", "")
EXERCISES = [
    pytest.param(row, exercise, id=f"{row.name}-{exercise.name}")
    for row in load_map()
    for exercise in load_unit(row.name).exercises.values()
]


def observed(exercise: Exercise) -> list[list[str]]:
    """The kinds of what is observed in the first case of each check, the hidden ones included."""
    checks = [exercise.check, *exercise.hidden]
    ran = [exercise.run(exercise.reference, [Case(1, index=1)], check)[0] for check in checks]
    return [[seen.kind for seen in case.observations] for case in ran]


def asks_once(exercise: Exercise) -> bool:
    """Whether no case makes more than one call. In a process of its own, a first result is then always right."""
    return all(len(kinds) == 1 for kinds in observed(exercise))


def earned(grader, folder, exercise: Exercise, wrapper: str) -> result.ExerciseResult:
    """What the right answer in a wrapper is given."""
    right = source_of(exercise.name, grader.row)
    source = f"{right}\n\n{exercise.name} = {wrapper}({exercise.name})\n"
    notebook = single(exercise.name, source, before=(SOURCE,), row=grader.row)
    done = grade(grader, folder, notebook)
    return next(e for e in done.exercises if e.exercise == exercise.name)


PAIRS = [
    pytest.param(*each.values, adversary.__name__, id=f"{each.id}-{adversary.__name__}")
    for each in EXERCISES
    for adversary in adversaries.EVERYWHERE
    if not (adversary is adversaries.cached and asks_once(each.values[1]))
]


@pytest.mark.parametrize(("row", "exercise", "wrapper"), PAIRS)
def test_no_adversary_has_a_point(graders, tmp_path, row, exercise, wrapper):
    done = earned(graders(row), tmp_path, exercise, wrapper)
    assert (done.outcome, done.earned) == (result.FAILED, 0)
    assert (
        done.status == result.GRADED
    )  # it was refused for what it returned, not for how it is written


DIFFERENTIABLE = [
    each for each in EXERCISES if any("gradient" in kinds for kinds in observed(each.values[1]))
]


@pytest.mark.parametrize(("row", "exercise"), DIFFERENTIABLE)
def test_right_values_without_a_gradient_have_no_point(graders, tmp_path, row, exercise):
    done = earned(graders(row), tmp_path, exercise, "zero_gradient")
    assert (done.status, done.outcome, done.earned) == (result.GRADED, result.FAILED, 0)


@pytest.mark.parametrize(("row", "exercise"), EXERCISES[:2])  # a function and a class
def test_the_same_wrapper_around_nothing_has_full_marks(graders, tmp_path, row, exercise):
    """Else the adversaries might be refused for being wrapped."""
    untouched = "(lambda right: _wrap(right, lambda out, args: out))"
    done = earned(graders(row), tmp_path, exercise, untouched)
    assert (done.outcome, done.earned) == (result.PASSED, exercise.points)


def test_few_exercises_are_asked_once():
    """Of a case that makes one call, the cached result is right by definition: it needs another check beside it."""
    once = [each.id for each in EXERCISES if asks_once(each.values[1])]
    assert len(once) <= len(EXERCISES) // 4, once
