"""How unit 04 names a mistake by the values that it gives, whatever else is wrong with the answer.

A first attempt has often two errors, and an example of one of them then agrees with it on some observations only.
Calls that are kept with their arguments are therefore judged alone: a wrong formula is named where it gives what all
kept calls of a case gave. Several forms of one mistake share its sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from course_lib.exercises.answer import Observation
from course_lib.exercises.case import Case
from course_lib.exercises.compare import difference
from course_lib.exercises.exercise import Exercise, Symptom

FORMS: list[
    tuple[Exercise, str, Any]
] = []  # every form of every mistake declared here, for the tests


def keep_arguments(case: Case, *args: Any) -> None:
    """Note the arguments of the call that the case's last expectation looked at."""
    case.observations[-1].given["args"] = args


def gives(*forms: Any) -> Symptom:
    """Whether one of the wrong functions `forms` gives what every kept call gave."""

    def shown(observations: list[Observation]) -> bool:
        kept = [o for o in observations if "args" in o.given]
        return bool(kept) and any(all(_agrees(form, o) for o in kept) for form in forms)

    return shown


def _agrees(form: Any, seen: Observation) -> bool:
    try:
        wrong = form(*seen.given["args"])
    except Exception:
        return False
    return difference(seen.got, wrong) is None


def named(exercise: Exercise, text: str, *other_forms: Any) -> Callable[[Any], Any]:
    """Declare the decorated wrong answer, named `text` where it or one of `other_forms` gives what was seen."""

    def declare(example: Any) -> Any:
        forms = (example, *other_forms)
        FORMS.extend((exercise, text, form) for form in forms)
        return exercise.symptom(gives(*forms), text)(example)

    return declare
