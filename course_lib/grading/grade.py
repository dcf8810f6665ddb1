"""Grading one notebook: read it, put every exercise's cases to it in the sandbox, and collect the results.

`Grader` holds what stays the same from notebook to notebook of a unit: the exercises with their hidden checks, the
master's cells, and a warm sandbox.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import time
from pathlib import Path
from typing import Any

import torch

from course_lib.course_map import UnitRow, find_unit, root
from course_lib.exercises.engine import Unit
from course_lib.grading import exercise_job, reading, result
from course_lib.grading.plain import PlainSandbox
from course_lib.grading.policy import Policy
from course_lib.grading.result import ExerciseResult, SubmissionResult
from course_lib.grading.sandbox import Sandbox, SandboxError

TRIES = 2  # sandboxes for an exercise


@functools.cache
def load_unit(name: str) -> Unit:
    """The unit's exercises with the hidden checks of solutions/ registered, once a process."""
    row = find_unit(name)
    unit = importlib.import_module(row.module).unit
    path = root() / row.master.parent / "hidden_checks.py"
    if path.is_file():
        spec = importlib.util.spec_from_file_location(f"hidden_checks_{row.name}", path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return unit


class Grader:
    """Grades notebooks of one unit. Use it in a `with` block.

    Args:
        row: the unit.
        key: the secret.
        policy: limits and rules.
        slot: a number that no other grader alive has.
        groups: whether to use control groups where they can be had.
    """

    def __init__(
        self, row: UnitRow, key: bytes, policy: Policy, slot: int = 0, groups: bool = True
    ) -> None:
        self.row, self.key, self.policy = row, key, policy
        self.unit = load_unit(row.name)
        self.outline = reading.outline(self.unit, root() / row.master)
        kind = PlainSandbox if policy.unsandboxed else Sandbox
        self.sandbox = kind([row.slug], row.sandbox, policy.memory, slot, groups)
        self.started = False
        self.last_error = ""

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *_: object) -> None:
        self.sandbox.close()  # also where its start, or an earlier end, was broken off

    def ready(self) -> Any:
        """The sandbox, started."""
        if not self.started:
            self.sandbox.start()
            self.started = True
        return self.sandbox

    def grade(self, path: Path, attempt: int = 1) -> SubmissionResult:
        """Grade the notebook at `path`. Never raises for what the notebook holds."""
        began, self.last_error = time.monotonic(), ""
        try:
            found = reading.read_submission(path, self.outline)
        except Exception as error:  # reading is ours: what fails here is no fault of the student's
            self.last_error = f"reading: {type(error).__name__}: {error}"
            why = exercise_job.TOLD[result.GRADER_ERROR]
            return ungraded(
                self.unit, self.outline["written"], result.GRADER_ERROR, why, self.policy
            )
        if found["status"] == result.UNREADABLE:
            why, written = found["reason"], self.outline["written"]
            return ungraded(self.unit, written, result.UNREADABLE, why, self.policy)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            graded = [
                self._exercise(e, found["programs"][e.name], attempt)
                for e in self.unit.exercises.values()
            ]
        finally:
            torch.set_num_threads(threads)
        exercises = [e for e, _ in graded] + self._written(found["written"])
        failed = any(e.status == result.GRADER_ERROR for e in exercises)
        return SubmissionResult(
            self.row.name,
            result.GRADER_ERROR if failed else result.GRADED,
            tuple(exercises),
            self.policy.sandbox,
            tuple(found["notes"]),
            time.monotonic() - began,
            sum(seconds for _, seconds in graded),
        )

    def _exercise(self, exercise: Any, program: dict, attempt: int) -> tuple[ExerciseResult, float]:
        """Grade an exercise; with a new sandbox if the one there was is gone, which is no fault of the student's."""
        policy = self.policy
        how = {"seconds": policy.timeout, "forbidden": policy.forbidden, "attempt": attempt}
        for _ in range(TRIES):
            try:
                sandbox = self.ready()
                return exercise_job.grade_exercise(sandbox, exercise, program, self.key, **how)
            except SandboxError as error:
                self.started, why = False, str(error)
            except Exception as error:  # trusted code failed: no score, and never a zero
                why = f"{type(error).__name__}: {error}"
                break
        self.last_error = f"{exercise.name}: {why}"
        told = (exercise_job.TOLD[result.GRADER_ERROR],)
        failed = (exercise.name, result.GRADER_ERROR, "", None, exercise.points, told)
        return ExerciseResult(*failed), 0.0

    def _written(self, answers: dict[str, str]) -> list[ExerciseResult]:
        return [
            ExerciseResult(
                name, result.NEEDS_MANUAL, "", None, points, answer=answers.get(name, "")
            )
            for name, points in self.outline["written"].items()
        ]


def ungraded(
    unit: Unit, written: dict[str, float], status: str, why: str, policy: Policy
) -> SubmissionResult:
    """A result for a notebook of which nothing could be graded: 0 if it is unreadable, else no score at all."""
    unreadable = status == result.UNREADABLE
    points = {e.name: e.points for e in unit.exercises.values()} | written
    exercises = tuple(
        ExerciseResult(
            name,
            result.MISSING_ANSWER if unreadable else result.GRADER_ERROR,
            "",
            0.0 if unreadable else None,
            most,
        )
        for name, most in points.items()
    )
    return SubmissionResult(unit.name, status, exercises, policy.sandbox, (why,))


def grade_notebook(
    path: Path,
    unit_name: str,
    key: bytes,
    *,
    timeout: float = 20,
    memory: float = 2,
    forbidden: str = "warn",
    unsandboxed: bool = False,
) -> SubmissionResult:
    """Grade one notebook, with a sandbox of its own.

    Raises MapError if there is no such unit; SandboxError if the sandbox lacks something.
    """
    policy = Policy(timeout, memory, forbidden, unsandboxed)
    with Grader(find_unit(unit_name), key, policy) as grader:
        return grader.grade(path)
