"""One exercise of one submission: its cases put to the student's program, and what that says."""

from __future__ import annotations

import builtins
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from course_lib.exercises.answer import Observation
from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.exercise import Check, Exercise
from course_lib.grading import result, secret, wire
from course_lib.grading.case import CaseEnded, CaseProcess
from course_lib.grading.remote import Talk
from course_lib.grading.reply import read_raised
from course_lib.grading.result import ExerciseResult
from course_lib.grading.sandbox import Sandbox

SCALE = 2  # sizes in grading go up to twice those of the public cases
HIDDEN_CASES = 2  # of each hidden check
BUILT_IN = {
    n for n, v in vars(builtins).items() if isinstance(v, type) and issubclass(v, BaseException)
}
TOLD = {
    result.TIMEOUT: "It did not come to an end in the time there is. Is there a loop that never stops?",
    result.OUT_OF_MEMORY: "It took more memory than there is.",
    result.CRASHED: "The process that ran it ended before it answered, or answered out of turn.",
    result.MISSING_ANSWER: "No cell of the notebook defines it. Was the cell deleted, or renamed?",
    result.GRADER_ERROR: "The grader failed, not you. It will be graded again.",
}


@dataclass
class Played:
    """The cases that were put to an answer, and how it came to an end: a status, or "" if all were."""

    cases: list[Case] = field(default_factory=list)
    status: str = ""
    error: Raised | None = None  # what the answer's own cell raised
    seconds: float = 0.0


def cases_of(exercise: Exercise, key: bytes, digest: str) -> list[tuple[Check, Case]]:
    """The cases of a grading: the public check with secret seeds, then every hidden check."""

    def case(check: Check, index: int) -> tuple[Check, Case]:
        name = f"{exercise.unit}/{exercise.name}/{check.__name__}/{index}"
        return check, Case(secret.seed(key, digest, name), index, SCALE)

    public = [case(exercise.check, i) for i in range(exercise.cases)]
    return public + [case(check, i) for check in exercise.hidden for i in range(HIDDEN_CASES)]


def _begin(process: CaseProcess, program: dict, name: str, seed: int, token: str) -> Raised | None:
    """Send the program; returns what its cell raised if the answer is not there. Raises CaseEnded."""
    sent = {"chunks": program["chunks"], "future": program.get("future", [])}
    process.send(wire.frame({**sent, "token": token, "answer": name, "seed": seed}, []))
    try:
        ready, _ = wire.read_frame(*process.receive(0))
        errors = ready.get("errors")
        if ready.get("token") != token or not isinstance(errors, list):
            raise wire.Violation("it did not say that it is ready")
        told = [read_raised(error) for error in errors]
    except wire.Violation as error:
        raise CaseEnded(result.CRASHED, str(error)) from None
    if ready.get("there") is True:
        return None
    return told[-1] if told else Raised("NameError", f"{name} is not defined", "", name)


def play(
    sandbox: Sandbox,
    exercise: Exercise,
    program: dict,
    cases: Sequence[tuple[Check, Case]],
    key: bytes,
    seconds: float,
) -> Played:
    """Put every case to the student's program, each in a fresh process, until one ends it."""
    played = Played()
    for check, case in cases:
        own = secret.seed(key, case.seed, "worker")
        order = secret.seed(key, case.seed, "order")  # never told: it says which call is the dummy
        token = f"{secret.seed(key, case.seed, 'token'):032x}"
        with sandbox.case(seconds) as process:
            try:
                error = _begin(process, program, exercise.name, own, token)
                if error is not None:
                    played.status, played.error = result.STUDENT_ERROR, error
                else:
                    talk = Talk(process, case, exercise.name, order)
                    exercise.run(None, [case], check, play=lambda *_, talk=talk: talk.root)
                    played.cases.append(case)
            except CaseEnded as ended:
                played.status = ended.status
            played.seconds += process.waited
        if played.status or _stub(case.observations):
            break
    return played


def _stub(observations: Sequence[Observation]) -> bool:
    return any(isinstance(o.got, Raised) and o.got.not_attempted for o in observations)


def grade_exercise(
    sandbox: Sandbox,
    exercise: Exercise,
    program: dict,
    key: bytes,
    *,
    seconds: float,
    forbidden: str = "warn",
    attempt: int = 1,
) -> tuple[ExerciseResult, float]:
    """Grade one exercise.

    Args:
        program: what `reading.read_submission` found for it.
        key: the secret.
        seconds: for each case.
        forbidden: "warn" only says that a forbidden name is used, "zero" takes the points.
        attempt: decides which hint is given.

    Returns the result and the seconds that were spent waiting for the student's code.

    Raises SandboxError if a case cannot be started.
    """

    def ended(
        status: str, outcome: str, *lines: str, earned: float = 0.0, mistake: str = ""
    ) -> Any:
        uses = tuple(program.get("forbidden", ()))
        return ExerciseResult(
            exercise.name, status, outcome, earned, exercise.points, lines, mistake, uses
        )

    if program["status"] == "missing":
        text = TOLD[result.MISSING_ANSWER]
        return ended(result.MISSING_ANSWER, result.NOT_ATTEMPTED, text), 0.0
    if program["status"] == "syntax_error":
        text = f"The cell is no Python: see its line {program['line']}."
        return ended(result.STUDENT_ERROR, result.FAILED, text), 0.0
    cases = cases_of(exercise, key, program["digest"])
    played = play(sandbox, exercise, program, cases, key, seconds)
    waited = played.seconds
    if played.error is not None:
        return ended(played.status, result.FAILED, *_raised_lines(played.error, program)), waited
    if played.status:
        return ended(played.status, result.FAILED, TOLD[played.status]), waited
    observations = [o for case in played.cases for o in case.observations]
    if _stub(observations):
        text = "Not attempted: `raise NotImplementedError()` is still in it."
        return ended(result.GRADED, result.NOT_ATTEMPTED, text), waited
    wrong = next((o for o in observations if o.failure() is not None), None)
    if wrong is None and any(o.kind in ("value", "score") for o in observations):
        if forbidden == "zero" and program.get("forbidden"):
            text = "It is right, but uses what the exercise forbids: no points."
            return ended(result.GRADED, result.FAILED, text), waited
        passed = "It is right: all hidden checks passed."
        return ended(result.GRADED, result.PASSED, passed, earned=exercise.points), waited
    mistake = exercise.named_mistake(played.cases)
    status, lines = result.GRADED, ["It is not right yet."]
    if (raised := _raised_in(wrong)) is not None:
        status, lines = result.STUDENT_ERROR, _raised_lines(raised, program)
    if mistake:
        lines.append(f"Mistake: {mistake.text}")
    if exercise.hints:
        lines.append(f"Hint: {exercise.hints[min(attempt, len(exercise.hints)) - 1]}")
    named = mistake.text if mistake else ""
    return ended(status, result.FAILED, *lines, mistake=named), waited


def _raised_in(seen: Observation | None) -> Raised | None:
    """The exception that an observation holds, itself or as a part."""
    if seen is None:
        return None
    parts = seen.got if isinstance(seen.got, tuple) else (seen.got,)
    return next((part for part in parts if isinstance(part, Raised)), None)


def _raised_lines(raised: Raised, program: dict) -> list[str]:
    """The type of an exception and the line in the answer's own cell, and nothing else of it.

    A type of the student's own making, and a line that is not there, could carry hidden inputs out.
    """
    kind = raised.kind if raised.kind in BUILT_IN else "an exception"
    place = re.fullmatch(r"line (\d+) of (.*)", raised.where)
    if place and place[2] == program["cell"] and 1 <= int(place[1]) <= program["cell_lines"]:
        return [f"It raised {kind} at line {place[1]} of its cell."]
    return [f"It raised {kind}."]
