"""Fixtures of grading: warm graders, one for each unit, started when first asked for; an empty gradebook."""

import os
from collections.abc import Callable, Iterator

import pytest

from course_lib.course_map import UnitRow, find_unit
from course_lib.grading.grade import Grader, Policy
from course_lib.grading.gradebook import Gradebook
from course_lib.grading.result import ExerciseResult
from tests.grading import notebooks
from tests.grading.postgres import new_database, url
from tests.requirements import require

__all__ = ["grader", "graders", "new_database", "url"]

KEY = b"k" * 32
POLICY = Policy(timeout=30, memory=0.5)  # seconds for a busy machine; tests of a timeout set less


@pytest.fixture(scope="session")
def graders() -> Iterator[Callable[[UnitRow], Grader]]:
    """`graders(row)` is the unit's grader with a sandbox; without bubblewrap the test is skipped, or fails."""
    require("bwrap")
    made: dict[str, Grader] = {}

    def grader(row: UnitRow) -> Grader:
        if row.name not in made:
            slot = 100 + os.getpid() % 700 + len(made)  # another run of the tests has another uid
            made[row.name] = Grader(row, KEY, POLICY, slot=slot)
        return made[row.name]

    yield grader
    for each in made.values():
        each.__exit__()


@pytest.fixture
def grader(graders) -> Grader:
    """The grader of unit 05."""
    return graders(find_unit("05_graph_networks"))


@pytest.fixture
def book(url) -> Iterator[Gradebook]:
    """An empty gradebook, on each engine in turn."""
    with Gradebook(url) as made:
        yield made


@pytest.fixture
def of_gin(grader, tmp_path) -> Callable[..., ExerciseResult]:
    """Grades one answer to the exercise gin_aggregate."""

    def graded(source: str, **more: object) -> ExerciseResult:
        return notebooks.grade_one(grader, tmp_path, "gin_aggregate", source, **more)

    return graded
