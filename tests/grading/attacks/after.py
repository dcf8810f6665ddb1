"""What is looked at after every attack: that it left nothing, and that the student reads nothing that is not theirs."""

from __future__ import annotations

import builtins
import html
import json
import re
from pathlib import Path
from typing import Any

from course_lib.course_map import root
from course_lib.grading import exercise_job
from course_lib.grading import result as results
from course_lib.grading.grade import Grader, load_unit
from course_lib.grading.report import write_report
from course_lib.grading.result import ExerciseResult, SubmissionResult
from tests.grading.attacks.world import World, processes
from tests.grading.notebooks import UNIT

KEY = b"attack" * 5 + b"!!"
STUDENT = "mallory"
FIXED = {
    "It is right: all hidden checks passed.",
    "It is not right yet.",
    "Not attempted: `raise NotImplementedError()` is still in it.",
    *exercise_job.TOLD.values(),
}
RAISED = re.compile(r"It raised (an exception|[A-Z]\w+)( at line (\d{1,3}) of its cell)?\.")
SYNTAX = re.compile(r"The cell is no Python: see its line \d{1,3}\.")
LONG_NUMBER = re.compile(r"\d{8,}|\d\.\d{3,}|\d\.?\d*e-?\d")
TAGS = re.compile(r"<style>.*?</style>|<meta[^>]*>|<[^>]*>", re.DOTALL)


def some_result() -> SubmissionResult:
    """A result of somebody else."""
    unit = load_unit(UNIT.name)
    made = [
        ExerciseResult(e.name, results.GRADED, results.PASSED, e.points, e.points)
        for e in unit.exercises.values()
    ]
    return SubmissionResult(unit.name, results.GRADED, tuple(made), "bubblewrap")


def of_exercise(result: SubmissionResult, name: str) -> ExerciseResult:
    """The result of one exercise."""
    return next(e for e in result.exercises if e.exercise == name)


def line(grader: Grader, got: ExerciseResult, seconds: float, name: str) -> str:
    """What the summary of the test run says of one attack."""
    mode = "groups" if grader.sandbox.groups else "none  "
    return f"{mode} {got.earned:g} of {got.points:g} {got.status:14} {seconds:5.1f} s  {name}"


def _known(line: str, name: str) -> bool:
    """Whether a line of feedback is one that exists without any submission."""
    exercise = load_unit(UNIT.name).exercises[name]
    kind = RAISED.fullmatch(line)
    if kind:
        return kind[1] == "an exception" or hasattr(builtins, kind[1])
    fixed = {f"Hint: {hint}" for hint in exercise.hints}
    fixed |= {f"Mistake: {mistake.text}" for mistake in exercise.mistakes}
    return line in FIXED | fixed or SYNTAX.fullmatch(line) is not None


def hidden_lines() -> list[str]:
    """Lines of the hidden checks that say something."""
    text = (root() / "solutions" / UNIT.name / "hidden_checks.py").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if len(line.strip()) > 25]


def seeds(program: dict, name: str) -> list[int]:
    """The seeds of an exercise's cases."""
    exercise = load_unit(UNIT.name).exercises[name]
    return [case.seed for _, case in exercise_job.cases_of(exercise, KEY, program["digest"])]


def what_the_student_reads(folder: Path, result: SubmissionResult, name: str) -> dict[str, Any]:
    """The student's JSON file without the times; asserts that it and the page say nothing of what was asked."""
    page = write_report(folder, STUDENT, result).read_text(encoding="utf-8")
    data = json.loads((folder / STUDENT / f"{UNIT.name}.json").read_text(encoding="utf-8"))
    del data["times"]
    for exercise in data["exercises"]:
        unknown = [line for line in exercise["feedback"] if not _known(line, exercise["exercise"])]
        assert exercise["status"] == results.NEEDS_MANUAL or not unknown
    texts = {m.text for m in load_unit(UNIT.name).exercises[name].mistakes} | {""}
    assert of_exercise(result, name).mistake in texts
    shown = html.unescape(TAGS.sub(" ", page)) + json.dumps(data)
    assert not LONG_NUMBER.findall(shown)
    assert not [line for line in hidden_lines() if line in shown]
    assert KEY.decode() not in shown and KEY.hex() not in shown
    return data


class Watch:
    """For `with`: asserts that nothing outside has changed in between, and that no process is left."""

    def __init__(self, world: World, grader: Grader) -> None:
        self.world, self.grader = world, grader

    def __enter__(self) -> Watch:
        self.before = self.world.picture()
        self.running = processes(self.grader)
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            assert self.world.picture() == self.before
            assert processes(self.grader) == self.running
