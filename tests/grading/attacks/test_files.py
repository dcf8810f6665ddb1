"""Hostile files: each has a result, and none has more points than its answer earns."""

import pytest

from course_lib.grading import result as results
from course_lib.grading.result import UNREADABLE
from tests.grading.attacks.after import Watch, line, of_exercise, what_the_student_reads
from tests.grading.attacks.attack import GIN, RIGHT, answer
from tests.grading.attacks.files import FILES, HOSTILE
from tests.grading.notebooks import UNIT, single, write

# What is not even a notebook does not get as far as a sandbox, so one of the two is enough for it.
PAIRS = [pytest.param(f, True, id=f"groups-{f.name}") for f in FILES]
PAIRS += [pytest.param(f, False, id=f"no-groups-{f.name}") for f in FILES if f.status != UNREADABLE]


@pytest.mark.parametrize(("file", "grader"), PAIRS, indirect=["grader"])
def test_a_file(file, grader, world, says, tmp_path):
    path = tmp_path / f"{UNIT.name}.ipynb"
    file.write(path)
    with Watch(world, grader):
        result = grader.grade(path)
    got = of_exercise(result, GIN)
    says(line(grader, got, result.seconds, f"a file: {file.name}"))
    assert grader.last_error == "" and result.status == file.status
    assert got.earned == (got.points if file.right else 0), got.feedback
    assert sum(e.earned or 0 for e in result.exercises) == got.earned
    assert all((e.earned is None) == (e.status == results.NEEDS_MANUAL) for e in result.exercises)
    world.record("mallory", result)
    what_the_student_reads(tmp_path, result, GIN)
    assert HOSTILE not in (tmp_path / "mallory" / f"{UNIT.name}.html").read_text()


DRAWS_LOTS = (
    "if h.abs().sum() * 1000 % 2 < 1: raise ValueError()\nif eps * 1000 % 2 < 1: raise KeyError()"
)


@pytest.mark.parametrize("more", [" ", "\n\n# a remark\n"], ids=["a space", "a remark"])
def test_one_space_more_meets_the_same_inputs(more, both, tmp_path):
    grader = both[True]
    source = answer(DRAWS_LOTS, gives=RIGHT)
    first = grader.grade(write(tmp_path, single(GIN, source)))
    again = grader.grade(write(tmp_path, single(GIN, source + more)))
    assert again.exercises == first.exercises
    other = [grader.grade(write(tmp_path, single(GIN, f"{source}\nx = {n}"))) for n in range(3)]
    assert any(o.exercises != first.exercises for o in other)
