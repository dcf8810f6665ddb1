"""An exercise: its check, its reference, its points, and the mistakes it knows by name."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from course_lib.exercises.answer import Answer, Observation
from course_lib.exercises.case import Case
from course_lib.exercises.compare import difference

Check = Callable[[Any, Case], None]
Symptom = Callable[[list[Observation]], bool]
_AS_IT_IS = contextlib.nullcontext()


@dataclass(frozen=True)
class Mistake:
    """A wrong answer and the sentence that the student is told.

    Without a predicate it is recognised by giving exactly what `example` gives; with one, by what is observed of a case
    (for trained and random answers, whose values differ from one correct answer to the next).
    """

    text: str
    example: Any
    predicate: Symptom | None = None


@dataclass
class Exercise:
    """One exercise.

    Args:
        check: draws inputs from a case, calls the answer, records expectations.
        reference: a correct answer by other means than the lab's; also what the lab goes on with.
        minutes: what a student needs.
        cases: how many public cases.
        forbids: dotted names that an answer must not use (forbidden.py), the unit's among them.
        uses: other exercises of the unit that an answer may call; in grading they are the master's.
    """

    name: str
    unit: str
    check: Check
    reference: Any
    points: float
    minutes: int
    hints: Sequence[str] = ()
    cases: int = 5
    mistakes: list[Mistake] = field(default_factory=list)
    hidden: list[Check] = field(default_factory=list)
    forbids: Sequence[str] = ()
    uses: Sequence[str] = ()

    @property
    def text(self) -> str:
        """What the exercise asks for, in a sentence."""
        return (self.check.__doc__ or "").strip()

    def mistake(self, text: str) -> Callable[[Any], Any]:
        """Declare the decorated wrong answer, named by `text`."""
        return self._declare(text, None)

    def symptom(self, predicate: Symptom, text: str) -> Callable[[Any], Any]:
        """Declare the decorated wrong answer, recognised where `predicate(observations)` holds in every case."""
        return self._declare(text, predicate)

    def _declare(self, text: str, predicate: Symptom | None) -> Callable[[Any], Any]:
        def declare(example: Any) -> Any:
            self.mistakes.append(Mistake(text, example, predicate))
            return example

        return declare

    def hidden_check(self, check: Check) -> Check:
        """Add a check that only grading runs."""
        self.hidden.append(check)
        return check

    def public_cases(self) -> list[Case]:
        """Fresh public cases; the same at every call."""
        seed = zlib.crc32(f"{self.unit}/{self.name}".encode())
        return [Case(seed + i, index=i) for i in range(self.cases)]

    def run(
        self,
        answer: Any,
        cases: Sequence[Case],
        check: Check | None = None,
        play: Callable[[Any, Case, str], Any] = Answer,
    ) -> list[Case]:
        """Put every case to the answer; the cases then hold the observations.

        `play(answer, case, name)` makes what the check is given; an answer in another process has a
        class of its own for it.

        Runs on one thread (the inputs are small, and threads that spin slow a busy machine down), in
        float32, with gradients on. All of that and the random state are the caller's again
        afterwards. What the answer prints is shown for the first case alone.
        """
        threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
        torch.set_num_threads(1)
        torch.set_default_dtype(torch.float32)
        try:
            for case in cases:
                quiet = (
                    contextlib.redirect_stdout(io.StringIO()) if case is not cases[0] else _AS_IT_IS
                )
                with quiet, torch.random.fork_rng(devices=[]), torch.enable_grad():
                    torch.default_generator.manual_seed(case.seed)
                    case.check = check or self.check
                    player = play(answer, case, self.name)
                    case.check(player, case)
                    player.settle(case.observations)
        finally:
            torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
        return list(cases)

    def named_mistake(self, cases: Sequence[Case]) -> Mistake | None:
        """The first declared mistake that gives what was observed on *every* case and is not right on all.

        Symptoms are looked for in the cases of the exercise's own check alone: they know which of its
        observations is which.

        Args:
            cases: cases that were run with the student's answer, by one check or by several.
        """

        def gives(answer: Any, case: Case) -> bool:
            return _same(case, self.run(answer, [case.again()], case.check)[0])

        own = [case for case in cases if case.check is self.check]
        for mistake in self.mistakes:
            if mistake.predicate is not None:
                if own and all(_shows(mistake.predicate, case.observations) for case in own):
                    return mistake
            elif all(gives(mistake.example, case) for case in cases) and not all(
                gives(self.reference, case) for case in cases
            ):
                return mistake
        return None


def _same(one: Case, other: Case) -> bool:
    """Whether two answers gave the same values; a property (of fresh random weights, say) both have or both lack."""
    pairs = zip(one.observations, other.observations)
    return len(one.observations) == len(other.observations) and all(
        (a.failure() is None) == (b.failure() is None)
        if a.kind == "property"
        else difference(_filled(a.got, b.got), _filled(b.got, a.got)) is None
        for a, b in pairs
    )


def _filled(got: Any, other: Any) -> Any:
    """Zeros for a gradient that did not arrive: the slip is one, whether the graph was cut or multiplied by 0."""
    if not isinstance(got, list) or not isinstance(other, list) or len(got) != len(other):
        return got
    return [
        torch.zeros_like(o) if g is None and isinstance(o, torch.Tensor) else g
        for g, o in zip(got, other)
    ]


def _shows(predicate: Symptom, observations: list[Observation]) -> bool:
    try:
        return bool(predicate(observations))
    except Exception:
        return False
