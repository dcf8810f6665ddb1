"""What the gradebook takes and answers: plain rows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from course_lib.grading.result import SubmissionResult

MANUAL, OVERRIDE = "manual", "override"  # the kinds of marks
UNSANDBOXED = "unsandboxed"  # how a result names that it had no sandbox


@dataclass(frozen=True)
class Submission:
    """A file that a student submitted at a time (None: not known). `regrades` is how often a regrade was requested."""

    id: int
    student: str
    unit: str
    attempt: int
    file_sha256: str
    submitted_at: datetime | None
    path: str
    first_seen: datetime
    regrades: int = 0


@dataclass(frozen=True)
class KeyParts:
    """What a score depends on besides the submission: hashes of checks and policy, and the name of the secret."""

    checks_hash: str
    policy_hash: str
    secret_id: str

    def key(self, submission: Submission) -> str:
        """The job's key: equal keys are equal jobs, which need no second run."""
        who = (submission.student, submission.unit, submission.attempt, submission.file_sha256)
        parts = (self.checks_hash, self.policy_hash, self.secret_id)
        return hashlib.sha256(json.dumps([*who, *parts]).encode()).hexdigest()


@dataclass(frozen=True)
class Score:
    """A student's standing in one exercise, of the attempt that counts (None: nothing was submitted).

    `status` is the exercise's, or "missing" (no submission) or "not_graded". `earned` is None without a score;
    `source` says where it comes from: "automatic", "manual", "override", or "".
    """

    student: str
    unit: str
    attempt: int | None
    exercise: str
    position: int
    status: str
    outcome: str
    mistake: str
    points: float
    earned: float | None
    source: str
    comment: str


@dataclass(frozen=True)
class Total:
    """A student's standing in a unit. `score` is None until all exercises have one; `provisional` sums those that have.

    `state` is "graded", "needs_manual", "grader_error", "unreadable", "not_graded" or "missing"; `unscored` counts
    exercises without a score; `enrolled` says whether the roster has the student.
    """

    student: str
    unit: str
    enrolled: bool
    attempt: int | None
    submitted_at: datetime | None
    sandbox: str
    state: str
    score: float | None
    provisional: float
    points: float
    unscored: int


@dataclass(frozen=True)
class RosterChange:
    """What reading a roster changed: student ids that are new, have other details, or are no longer in it."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    withdrawn: tuple[str, ...]


@dataclass(frozen=True)
class Graded:
    """A result with whose it is; `current` says whether it belongs to the attempt that counts."""

    student: str
    attempt: int
    current: bool
    result: SubmissionResult
