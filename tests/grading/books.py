"""Gradebooks that tests fill: results of two exercises and a written question, and a plain model of what follows."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from course_lib.grading import marks
from course_lib.grading.gradebook import Gradebook, KeyParts
from course_lib.grading.result import ExerciseResult, SubmissionResult
from course_lib.grading.roster import Roster, Student

UNIT, OTHER = "05_graph_networks", "06_other"
NOW = datetime.now(UTC).replace(microsecond=0)
PARTS = KeyParts("checks", "policy", "secret")
POINTS = {"gcn": 2.0, "gin": 3.0, "essay": 4.0}


def student(name):
    return Student(name, name.title(), "Doe", f"{name}@example.org")


def roster(*names):
    return Roster(tuple(map(student, names)))


def exercise(name, earned, status="graded", **more):
    outcome = {None: "", POINTS[name]: "passed"}.get(earned, "failed")
    return ExerciseResult(name, status, outcome, earned, POINTS[name], **more)


def result(gcn=2.0, gin=0.0, essay=None, text="An essay.", unit=UNIT, sandbox="bubblewrap"):
    """A result; gcn=None is an exercise at which the grader failed, essay=None one that waits for a person."""
    made = (
        exercise("gcn", gcn, "grader_error" if gcn is None else "graded"),
        exercise("gin", gin),
        exercise("essay", essay, "needs_manual" if essay is None else "graded", answer=text),
    )
    status = "grader_error" if gcn is None else "graded"
    return SubmissionResult(unit, status, made, sandbox, ("a note",), 1.5, 0.5)


def unreadable():
    made = tuple(exercise(name, 0.0, "missing_answer") for name in POINTS)
    return SubmissionResult(UNIT, "unreadable", made, "bubblewrap")


def broken():
    made = tuple(exercise(name, None, "grader_error") for name in POINTS)
    return SubmissionResult(UNIT, "grader_error", made, "bubblewrap")


def submit(book, who, hour=0, file="file", unit=UNIT):
    """Submit `file`, `hour` hours after a fixed moment (None: at no known time)."""
    when = None if hour is None else NOW + timedelta(hours=hour)
    return book.submit(who, unit, file, when, Path(who) / f"{file}.ipynb")


def graded(book, who, made=None, **more):
    """Submit and record; the submission."""
    submission = submit(book, who, **more)
    assert book.record(PARTS, submission, made or result())
    return submission


def override(book, who, name, points, attempt=None, **more):
    more = {"by": "prof", "comment": "why", **more}
    return marks.mark(book, who, UNIT, name, points, kind="override", attempt=attempt, **more)


def by_hand(book, who, name, points, attempt=None, **more):
    more = {"by": "ta", "comment": "good", **more}
    return marks.mark(book, who, UNIT, name, points, kind="manual", attempt=attempt, **more)


def scores(book, who):
    return {s.exercise: s.earned for s in book.current(UNIT) if s.student == who}


def total(book, who):
    return next(t for t in book.totals(UNIT) if t.student == who)


def rows(book, table):
    with book.database.reading() as db:
        return db.execute(sa.text(f"SELECT COUNT(*) FROM {table}")).scalar()


class Model:
    """What a gradebook should say, computed the slow and obvious way from a random history."""

    def __init__(self, random, book: Gradebook) -> None:
        self.random, self.book = random, book
        self.people = [f"s{n}" for n in range(4)]
        self.enrolled = self.random.sample(self.people, random.randint(0, 4))
        self.submissions, self.results, self.given = defaultdict(list), defaultdict(list), []
        self.known = {}
        if self.enrolled:
            book.add_students(roster(*self.enrolled))
        for _ in range(random.randint(0, 25)):
            random.choice([self.submit, self.grade, self.grade, self.mark])()

    def submit(self):
        who, hour = self.random.choice(self.people), self.random.choice([None, -2, -1, 1, 1])
        made = submit(self.book, who, hour, self.random.choice("abc"))
        if all(made.attempt != old.attempt for old in self.submissions[who]):
            self.submissions[who].append(made)

    def grade(self):
        everything = [s for own in self.submissions.values() for s in own]
        if not everything:
            return
        submission = self.random.choice(everything)
        choice = self.random.random()
        made = result(gcn=self.random.choice([0.0, 2.0, None]), gin=self.random.choice([0.0, 3.0]))
        made = unreadable() if choice < 0.1 else broken() if choice < 0.2 else made
        sandbox = self.random.choice(["bubblewrap", "unsandboxed"])
        made = SubmissionResult(**{**vars(made), "sandbox": sandbox})
        parts = KeyParts("checks", sandbox, str(self.random.randint(0, 2)))
        own = self.results[submission.student, submission.attempt]
        key = (parts, made.status == "grader_error")
        done = any(k == key for k, _ in own) and made.status != "grader_error"
        assert self.book.record(parts, submission, made) == (not done)
        if not done:
            own.append((key, made))
            self.known = {e.exercise: e.points for e in made.exercises}

    def mark(self):
        who, name = self.random.choice(self.people), self.random.choice(list(POINTS))
        attempts = [s.attempt for s in self.submissions[who]]
        if not self.known or (who not in self.enrolled and not attempts):
            return
        attempt = self.random.choice([None, *attempts])
        points = self.random.choice([None, 0.5, 1.0, 2.0])
        kind = self.random.choice(["manual", "override"])
        given = override if kind == "override" else by_hand
        given(self.book, who, name, points, attempt)
        self.given.append((who, name, attempt, kind, points))

    def counting(self, who):
        """The attempt that counts, or None."""
        own = self.submissions[who]
        timed = {s.file_sha256 for s in own if s.submitted_at}
        own = [s for s in own if s.submitted_at or s.file_sha256 not in timed]
        return max(own, key=lambda s: (s.submitted_at or s.first_seen, s.attempt), default=None)

    def standing(self, who):
        """(attempt, state, {exercise: earned}) as it should be."""
        submission = self.counting(who)
        made = [m for _, m in self.results[who, submission.attempt]] if submission else []
        sound = [m for m in made if m.status != "grader_error"]
        shown = (sound or made or [None])[-1]
        earned = dict.fromkeys(self.known)
        if shown:
            earned = {e.exercise: e.earned for e in shown.exercises}
        attempt = submission and submission.attempt
        broken = (
            {e.exercise for e in shown.exercises if e.status == "grader_error"} if shown else {}
        )
        for kind in ("manual", "override"):
            newest = {
                name: points
                for w, name, a, k, points in self.given
                if w == who and k == kind and (a is None or a == attempt)
            }
            earned |= {n: p for n, p in newest.items() if p is not None and n in earned}
        open_ = {name for name, points in earned.items() if points is None}
        if shown is None:
            return attempt, "not_graded" if submission else "missing", earned
        if shown.status == "unreadable":
            return attempt, "unreadable", earned
        if open_ & set(broken):
            return attempt, "grader_error", earned
        return attempt, "needs_manual" if open_ else "graded", earned

    def everybody(self):
        """Those that the gradebook should have a row for."""
        there = {w for w, own in self.submissions.items() if own} | {w for w, *_ in self.given}
        return sorted(there | set(self.enrolled if any(self.submissions.values()) else ()))
