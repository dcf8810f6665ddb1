"""What grading says of a submission and of each of its exercises. Plain data; nothing here runs anything."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

# Statuses of an exercise. The first six are the student's, and final.
GRADED = "graded"  # every case ran to its end; `outcome` says how the answer did
STUDENT_ERROR = "student_error"  # the answer, or a line it needs, raised
TIMEOUT = "timeout"
OUT_OF_MEMORY = "out_of_memory"
CRASHED = "crashed"  # the process of the answer ended, or broke the rules of the wire
MISSING_ANSWER = "missing_answer"
NEEDS_MANUAL = "needs_manual"  # a person has to read it: no mark yet
GRADER_ERROR = "grader_error"  # ours, not the student's: no score, tried again at the next run
EXERCISE_STATUSES = (
    GRADED,
    STUDENT_ERROR,
    TIMEOUT,
    OUT_OF_MEMORY,
    CRASHED,
    MISSING_ANSWER,
    NEEDS_MANUAL,
    GRADER_ERROR,
)

# Statuses of a submission: graded, grader_error (at least one exercise has it), or:
UNREADABLE = "unreadable"  # no notebook can be read from the file: every exercise has 0 points

# Outcomes of a graded exercise.
PASSED, FAILED, NOT_ATTEMPTED = "passed", "failed", "not_attempted"


@dataclass(frozen=True)
class ExerciseResult:
    """One exercise of one submission.

    `earned` is None exactly where there is no score: needs_manual and grader_error. `feedback` holds the lines that
    the student may read: outcome, named mistake, hint, the type of an exception and the student's own line number;
    never a value, a position, printed output or the text of an exception. `forbidden` are the names that the answer
    uses although its exercise forbids them. `answer` is the text of a written question.
    """

    exercise: str
    status: str
    outcome: str
    earned: float | None
    points: float
    feedback: tuple[str, ...] = ()
    mistake: str = ""
    forbidden: tuple[str, ...] = ()
    answer: str = ""


@dataclass(frozen=True)
class SubmissionResult:
    """All exercises of one submission, in the unit's order, written questions last.

    `sandbox` is "bubblewrap" or "unsandboxed". `seconds` is the whole grading, `student_seconds` what of it was
    spent waiting for the student's code; both are left out when two gradings are compared. `notes` are lines for
    the student about the notebook as a whole (a check cell that was edited, a cell that stands there twice).
    """

    unit: str
    status: str
    exercises: tuple[ExerciseResult, ...]
    sandbox: str
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    student_seconds: float = 0.0

    @property
    def earned(self) -> float:
        """The points there are so far; exercises without a score add nothing."""
        return sum(e.earned or 0.0 for e in self.exercises)

    @property
    def points(self) -> float:
        """The points there are to earn."""
        return sum(e.points for e in self.exercises)

    def to_json(self) -> dict[str, Any]:
        """The result as plain lists, dicts, strings and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SubmissionResult:
        """The inverse of `to_json`, also after a journey through JSON text."""
        exercises = tuple(
            ExerciseResult(**{k: tuple(v) if isinstance(v, list) else v for k, v in e.items()})
            for e in data["exercises"]
        )
        return cls(**{**data, "exercises": exercises, "notes": tuple(data["notes"])})
