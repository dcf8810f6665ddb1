"""Exercises, their checks and their named mistakes.

A unit's module declares its exercises once:

    unit = Unit("05_graph_networks")

    @unit.exercise(points=2, minutes=8, reference=degrees_reference, hints=["..."])
    def degrees(answer, case):
        "Number of neighbours of each node of a dense adjacency [N, N]."
        adjacency = case.random_graph(case.size(3, 9))
        case.expect(answer(adjacency), degrees_reference(adjacency))

    @degrees.mistake("You counted outgoing edges.")
    def outgoing(adjacency): ...

and the lab calls `degrees = check("degrees", degrees)`.
"""

from __future__ import annotations

import functools
import json
import os
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.exercises import progress
from course_lib.exercises.answer import Observation
from course_lib.exercises.compare import Raised, describe
from course_lib.exercises.exercise import Check, Exercise, Mistake
from course_lib.exercises.forbidden import forbidden_in

MOST_LINES = 12  # of what a check prints


@dataclass(frozen=True)
class Verdict:
    """What a check found: "passed", "failed", "not_attempted" or "error", and the lines that say so."""

    status: str
    lines: tuple[str, ...]


class Substitute:
    """The library's version of a function that is not solved yet; `repr` says whose it is."""

    substituted = True
    checking: str | None = None  # the exercise whose check runs now

    def __init__(self, name: str, reference: Any) -> None:
        functools.update_wrapper(self, reference, updated=())
        self.name, self._reference = name, reference

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the library's version. Raises RuntimeError inside the check of the same exercise: it proves nothing."""
        if Substitute.checking == self.name:
            raise RuntimeError(f"this calls the library's {self.name}: it has to be yours")
        return self._reference(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<NOT YOURS: the library's {self.name}>"


class SubstituteClass(type):
    """The type of the library's version of a class, so that it can be subclassed and still says whose it is."""

    def __repr__(cls) -> str:
        return f"<NOT YOURS: the library's {cls.name}>"


def stand_in(name: str, reference: Any) -> Any:
    """What a lab goes on with where the answer is missing or wrong: the reference, marked as such."""
    if isinstance(reference, type):
        return SubstituteClass(name, (reference,), {"substituted": True, "name": name})
    return Substitute(name, reference)


class Unit:
    """The exercises of one unit, in the lab's order.

    Args:
        name: number and slug, e.g. "05_graph_networks".
        forbids: dotted names that no answer of the unit must use.
    """

    def __init__(self, name: str, forbids: Sequence[str] = ()) -> None:
        self.name, self.forbids = name, tuple(forbids)
        self.exercises: dict[str, Exercise] = {}
        self.results: dict[str, str] = {}

    def exercise(
        self,
        points: float,
        minutes: int,
        reference: Any,
        hints: Sequence[str] = (),
        cases: int = 5,
        forbids: Sequence[str] = (),
        uses: Sequence[str] = (),
    ) -> Callable[[Check], Exercise]:
        """Declare an exercise; the decorated function is its check and its name. The arguments are `Exercise`'s."""

        def declare(check: Check) -> Exercise:
            made = Exercise(
                check.__name__, self.name, check, reference, points, minutes, tuple(hints), cases
            )
            made.forbids, made.uses = (*self.forbids, *forbids), tuple(uses)
            self.exercises[made.name] = made
            return made

        return declare

    def find(self, name: str) -> Exercise:
        """The exercise of that name. Raises KeyError listing the names there are."""
        if name not in self.exercises:
            raise KeyError(
                f"no exercise {name!r} in {self.name}; there are: {', '.join(self.exercises)}"
            )
        return self.exercises[name]

    def verdict(self, name: str, answer: Any, attempt: int = 1) -> Verdict:
        """Run the public cases and say what was found, without printing or recording anything."""
        exercise = self.find(name)
        if not callable(answer):
            kind = type(answer).__name__
            return Verdict(
                "failed",
                (f'  give the function itself, check("{name}", {name}); this is a {kind}',),
            )
        Substitute.checking = name
        try:
            cases = exercise.run(answer, exercise.public_cases())
        finally:
            Substitute.checking = None
        for seen in (o.got for case in cases for o in case.observations):
            if isinstance(seen, Raised) and seen.not_attempted:
                return Verdict(
                    "not_attempted",
                    (f"  `raise NotImplementedError()` is still in {seen.function}",),
                )
        for number, case in enumerate(cases, start=1):
            for observation in case.observations:
                if (problem := observation.failure()) is not None:
                    mistake = exercise.named_mistake(cases)
                    raised = isinstance(observation.got, Raised)
                    lines = _explain(observation, problem, number, len(cases), mistake)
                    return Verdict(
                        "error" if raised else "failed", lines + _hint(exercise, attempt)
                    )
        return Verdict("passed", _caution(next((n for c in cases for n in c.changed), None)))

    def check(self, name: str, answer: Any, substitute: bool = True) -> Any:
        """Tell whether `answer` passes the public checks, and if not, which mistake it is.

        Prints at most twelve lines and records progress. Returns `answer` if it passes; else the library's version,
        marked as such, so that the rest of the lab can go on (`substitute=False` always returns `answer`).

        Raises:
            KeyError: the unit has no exercise of that name.
            AssertionError: only under nbgrader, where an exception is the only way to say "no points".
        """
        exercise = self.find(name)
        if getattr(answer, "substituted", False):
            return self._own_version_first(name, answer)
        attempt = self._attempts(name) + 1
        verdict = self.verdict(name, answer, attempt)
        passed = verdict.status == "passed"
        earned = exercise.points if passed else 0
        lines = [_headline(exercise, verdict), *verdict.lines]
        last = [f"NOT YOURS: going on with the library's {name}."] * (substitute and not passed)
        lines += [*_forbidden(exercise, answer, [*lines, *last]), *last]
        message = "\n".join(_wrap(line[:400]) for line in lines)
        print(message)
        self.results[name] = verdict.status
        if not os.environ.get("COURSE_NO_PROGRESS"):
            progress.record(self.name, name, verdict.status, earned, exercise.points)
        _report(exercise, verdict.status, earned, message)
        if not passed and os.environ.get("NBGRADER_EXECUTION"):
            raise AssertionError(message)
        return answer if passed or not substitute else stand_in(name, exercise.reference)

    def summary(self) -> None:
        """Print one line an exercise: points, whether it passed, and whose version the lab went on with."""
        earned = 0.0
        for name, exercise in self.exercises.items():
            status = self.results.get(name, "not checked").replace("_", " ")
            mine = status == "passed"
            earned += exercise.points * mine
            whose = "yours" if mine else "the library's"
            print(
                f"{name:24} {exercise.points * mine:g} of {exercise.points:g}  {status:14} {whose}"
            )
        total = sum(e.points for e in self.exercises.values())
        print(
            f"{'public checks':24} {earned:g} of {total:g}  (hidden checks and written answers are graded later)"
        )

    def _own_version_first(self, name: str, answer: Any) -> Any:
        """A check cell run twice is given the library's version by the first run: that proves nothing."""
        message = f"· {name}: this is the library's version. Run the cell with your own {name} first, then this one."
        print(message)
        if os.environ.get("NBGRADER_EXECUTION"):
            raise AssertionError(message)
        return answer

    def _attempts(self, name: str) -> int:
        return int(progress.load().get(self.name, {}).get(name, {}).get("attempts", 0))


def _wrap(line: str) -> str:
    """The line folded to what a notebook shows without a scroll bar."""
    return textwrap.fill(line, 96, subsequent_indent=" " * 12, replace_whitespace=False)


def _headline(exercise: Exercise, verdict: Verdict) -> str:
    said = {
        "passed": f"public checks passed ({exercise.points:g} point{'s' * (exercise.points != 1)})",
        "failed": "not yet",
        "error": "your code raised an exception",
        "not_attempted": "not attempted yet",
    }[verdict.status]
    sign = {"passed": "✓", "not_attempted": "·"}.get(verdict.status, "✗")
    return f"{sign} {exercise.name}: {said}"


def _explain(
    seen: Observation, problem: str, number: int, total: int, mistake: Mistake | None
) -> tuple[str, ...]:
    lines = [f"  called    {seen.call}   (case {number} of {total}, {seen.label})"]
    if seen.expected is not None and not isinstance(seen.got, Raised):
        lines.append(f"  expected  {describe(seen.expected)}")
    lines.append(f"  got       {problem}")
    if isinstance(seen.got, Raised) and seen.got.where:
        lines.append(f"  where     {seen.got.where}")
    if mistake:
        lines.append(f"  mistake   {mistake.text}")
    return tuple(lines)


def _caution(changed: str | None) -> tuple[str, ...]:
    """A line on an argument that was changed in place: right as an answer, but its caller may still need it."""
    if changed is None:
        return ()
    return (
        f"  caution   {changed} is changed in place, and a cell that calls this may still need it: "
        "work on a copy (.clone()) or use the form without the underscore",
    )


def _hint(exercise: Exercise, attempt: int) -> tuple[str, ...]:
    if not exercise.hints:
        return ()
    return (f"  hint      {exercise.hints[min(attempt, len(exercise.hints)) - 1]}",)


def _forbidden(exercise: Exercise, answer: Any, lines: Sequence[str]) -> list[str]:
    """A line on what the answer must not use, if it uses any such thing and there is room below the other lines."""
    if not (names := forbidden_in(answer, exercise.forbids)):
        return []
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    line = f"  forbidden {names[0]}{more}: this exercise wants it built by hand; grading may give it no points"
    printed = sum(_wrap(text[:400]).count("\n") + 1 for text in [*lines, line])
    return [line] if printed <= MOST_LINES else []


def _report(exercise: Exercise, status: str, earned: float, message: str) -> None:
    """Append one JSON line to $COURSE_REPORT, for `course check`."""
    if path := os.environ.get("COURSE_REPORT"):
        row = {
            "unit": exercise.unit,
            "exercise": exercise.name,
            "points": exercise.points,
            "earned": earned,
            "status": status,
            "message": message,
        }
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
