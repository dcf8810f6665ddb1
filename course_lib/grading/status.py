"""Where a unit stands: who submitted, what has a score, what waits for a person; and a page that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from course_lib.grading import deadlines as times
from course_lib.grading.deadlines import Deadlines, Lateness
from course_lib.grading.gradebook import Gradebook, Score, Total
from course_lib.grading.instructor_page import line, table, write_page
from course_lib.grading.result import GRADER_ERROR, NEEDS_MANUAL, UNREADABLE
from course_lib.grading.rows import UNSANDBOXED

MISSING, NOT_GRADED, FINAL = "missing", "not_graded", "graded"
# Every submission is in exactly one of these states, and has exactly one of these times.
STATES = {
    FINAL: "graded (final)",
    NEEDS_MANUAL: "needs a mark by hand",
    GRADER_ERROR: "grader error",
    UNREADABLE: "unreadable",
    NOT_GRADED: "not yet graded",
}
TIMES = (times.ON_TIME, times.LATE, times.TOO_LATE, times.TIME_UNKNOWN, times.NO_DEADLINE)


@dataclass(frozen=True)
class Standing:
    """One student. `penalty` is what lateness takes; `final` is the score less that, None until there is a score."""

    name: str
    total: Total
    lateness: Lateness
    penalty: float
    scores: tuple[Score, ...]

    @property
    def final(self) -> float | None:
        """The score less the penalty, None until every exercise has a score."""
        return None if self.total.score is None else self.total.score - self.penalty

    @property
    def said(self) -> str:
        """The final score, or what is known of it."""
        if self.final is not None:
            return f"{self.final:.4g}"
        if self.total.state == MISSING and not self.total.provisional:
            return "–"
        return f"{self.total.provisional - self.penalty:.4g} so far"


@dataclass(frozen=True)
class Status:
    """A unit: `students` is one row for each of the roster, `strangers` are those that submitted without being in it.

    The counts are of the roster: roster = submitted + missing; submitted = sum of `states` = sum of `times`.
    """

    unit: str
    points: float
    students: tuple[Standing, ...]
    strangers: tuple[Standing, ...]

    @property
    def submitted(self) -> list[Standing]:
        """Those of the roster that submitted."""
        return [s for s in self.students if s.total.state != MISSING]

    @property
    def missing(self) -> list[Standing]:
        """Those of the roster that did not."""
        return [s for s in self.students if s.total.state == MISSING]

    @property
    def states(self) -> dict[str, int]:
        """How many of the submitted are in each of STATES."""
        return {s: sum(one.total.state == s for one in self.submitted) for s in STATES}

    @property
    def times(self) -> dict[str, int]:
        """How many of the submitted came at each of TIMES."""
        return {t: sum(one.lateness.status == t for one in self.submitted) for t in TIMES}

    @property
    def unsandboxed(self) -> int:
        """How many of the submitted have a result that had no sandbox."""
        return sum(one.total.sandbox == UNSANDBOXED for one in self.submitted)

    def counts(self) -> list[tuple[str, int]]:
        """All numbers with their words, in the order in which they are read."""
        rows = [
            ("in the roster", len(self.students)),
            ("submitted", len(self.submitted)),
            ("missing", len(self.missing)),
            *((f"submitted: {words}", self.states[state]) for state, words in STATES.items()),
            *((f"submitted: {words}", n) for words, n in self.times.items() if n),
        ]
        if self.unsandboxed:
            rows.append(("submitted: graded without a sandbox", self.unsandboxed))
        return [*rows, ("submitted, but not in the roster", len(self.strangers))]


def status(gradebook: Gradebook, unit: str, deadlines: Deadlines | None = None) -> Status:
    """Where `unit` stands. Raises GradebookError if the gradebook cannot be read."""
    deadlines = deadlines or Deadlines()
    people = {s.student_id: s.name for s in gradebook.students()}
    totals = {total.student: total for total in gradebook.totals(unit)}
    scores: dict[str, list[Score]] = {}
    for score in gradebook.current(unit):
        scores.setdefault(score.student, []).append(score)
    points = sum(gradebook.exercises(unit).values())

    def standing(student: str) -> Standing:
        total = totals.get(student) or Total(
            student, unit, True, None, None, "", MISSING, None, 0.0, points, 0
        )
        late, penalty = Lateness(times.NO_DEADLINE), 0.0
        if total.state != MISSING:
            late = deadlines.lateness(unit, student, total.submitted_at)
            so_far = total.provisional if total.score is None else total.score
            penalty = deadlines.penalty(unit, student, total.submitted_at, so_far, total.points)
        own = tuple(scores.get(student, ()))
        return Standing(people.get(student, ""), total, late, penalty, own)

    strangers = [s for s in totals if s not in people and totals[s].state != MISSING]
    return Status(
        unit, points, tuple(map(standing, people)), tuple(map(standing, sorted(strangers)))
    )


def row(one: Standing) -> tuple[str, ...]:
    """A student's row: id, name, attempt, when, state, lateness, score, penalty, final."""
    total = one.total
    when = f"{total.submitted_at:%Y-%m-%d %H:%M}" if total.submitted_at else ""
    state = STATES.get(total.state, total.state)
    state += ", unsandboxed" if total.sandbox == UNSANDBOXED else ""
    late = one.lateness.status if total.state != MISSING else ""
    late += f", {one.lateness.days} d" if one.lateness.days else ""
    attempt = "" if total.attempt is None else str(total.attempt)
    score = "" if total.score is None else f"{total.score:.4g}"
    penalty = f"{one.penalty:.4g}" if one.penalty else ""
    return (total.student, one.name, attempt, when, state, late, score, penalty, one.said)


COLUMNS = (
    "student",
    "name",
    "attempt",
    "submitted (UTC)",
    "state",
    "time",
    "score",
    "penalty",
    "total",
)
NARROW = (0, 1, 3, 4, 5, 8)  # those of them that a terminal shows


def _cell(score: Score | None) -> str:
    if score is None:
        return ""
    if score.earned is None:
        return '<span aria-label="no score">–</span>'
    sign = {"override": "*", "manual": "†"}.get(score.source, "")
    return f"{score.earned:.4g}{sign}"


def _students(caption: str, rows: Sequence[Standing], exercises: Sequence[str]) -> str:
    made = []
    for one in rows:
        own = {score.exercise: score for score in one.scores}
        made.append([*map(line, row(one)), *(_cell(own.get(name)) for name in exercises)])
    numbers = (2, 6, 7, 8, *range(9, 9 + len(exercises)))
    return table(caption, (*COLUMNS, *exercises), made, numbers)


def write_status(path: Path, state: Status, remarks: Sequence[str] = ()) -> None:
    """Write the page of a unit: the counts, then a row for each student. Raises OSError."""
    exercises = {
        s.exercise: s.position for one in state.students + state.strangers for s in one.scores
    }
    order = sorted(exercises, key=lambda name: (exercises[name], name))
    counts = [(line(words), str(number)) for words, number in state.counts()]
    body = f'<p class="soft">{state.points:.4g} points</p>'
    body += "".join(f'<p class="bad">{line(remark)}</p>' for remark in remarks)
    body += table("Counts", ("which", "students"), counts, (1,), "narrow")
    body += _students("Students", state.students, order)
    if state.strangers:
        body += _students("Submitted, but not in the roster", state.strangers, order)
    body += (
        '<p class="soft">Of exercises: * override, † mark by hand, – no score yet. '
        "The penalty is what lateness takes from the score.</p>"
    )
    write_page(path, f"Status of {state.unit}", body)
