"""A world to be attacked, a sandbox with control groups and one without, and a line for each attack in the summary."""

import os
from collections.abc import Iterator

import pytest

from course_lib.course_map import find_unit
from course_lib.grading.grade import Grader, Policy
from tests.grading.attacks import after
from tests.grading.attacks.world import World
from tests.requirements import require

POLICY = Policy(timeout=2, memory=0.25)
SUMMARY = pytest.StashKey[list]()


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """What the attacks could reach."""
    with pytest.MonkeyPatch.context() as patch, World() as made:
        patch.setenv("COURSE_SECRET_FILE", str(made.canary / "note"))
        made.record("neighbour", after.some_result())
        yield made


@pytest.fixture(scope="session")
def both(world) -> Iterator[dict[bool, Grader]]:
    """A grader with control groups (True) and one without (False)."""
    require("bwrap")
    slot = 1000 + 2 * (os.getpid() % 500)  # another run of the tests has another uid
    row = find_unit("05_graph_networks")
    made = {use: Grader(row, after.KEY, POLICY, slot + use, use) for use in (True, False)}
    try:
        yield made
    finally:
        for grader in made.values():
            grader.__exit__()


@pytest.fixture(params=[True, False], ids=["groups", "no-groups"])
def grader(both, request) -> Grader:
    """Each of the two in turn, started."""
    both[request.param].ready()
    return both[request.param]


@pytest.fixture
def says(request):
    """`says(line)` puts a line into the summary of the test run."""
    return request.config.stash.setdefault(SUMMARY, []).append


def pytest_terminal_summary(terminalreporter, config):
    """One line for each attack and mode: what it was, points, status, seconds."""
    if lines := config.stash.get(SUMMARY, []):
        terminalreporter.section("attacks on the grader")
        for line in sorted(lines):
            terminalreporter.write_line(line)
