"""What an exercise's checks say against an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from course_lib.exercises.case import Case
from course_lib.exercises.exercise import Exercise


def failures(exercise: Exercise, answer: Any, cases: Sequence[Case] | None = None) -> list[str]:
    """A line for each observation that is wrong, by default in the public cases; empty for a right answer."""
    ran = exercise.run(answer, cases or exercise.public_cases())
    return [text for case in ran for o in case.observations if (text := o.failure()) is not None]


def failures_by_other_means(exercise: Exercise, answer: Any) -> list[str]:
    """`failures` in the public cases and in four larger ones: what a right answer must not have, however it is made."""
    more = [Case(seed=500 + i, index=i, scale=2) for i in range(4)]
    return failures(exercise, answer, [*exercise.public_cases(), *more])
