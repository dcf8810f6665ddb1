"""Submissions that leave something for the next one, or that call each other while both are graded."""

import json

import pytest

from course_lib.grading import wire
from tests.grading.attacks.after import Watch, line, of_exercise, what_the_student_reads
from tests.grading.attacks.attack import ENDED, GIN, GRADED
from tests.grading.attacks.leaving import CALLS, PAIRS
from tests.grading.notebooks import single, write


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_what_one_leaves_the_next_does_not_find(pair, grader, world, says, tmp_path):
    first, second = (
        write(folder, single(GIN, world.fill(attack.source)))
        for attack, folder in ((pair.first, tmp_path), (pair.second, tmp_path / "next"))
        if not folder.mkdir(exist_ok=True)
    )
    with Watch(world, grader):
        left, looked = grader.grade(first), grader.grade(second)
    assert grader.last_error == ""
    one, two = of_exercise(left, GIN), of_exercise(looked, GIN)
    says(line(grader, two, looked.seconds, f"left behind: {pair.name}"))
    assert (one.earned, one.status) == (0, *GRADED)
    assert (two.earned, two.status) == (0, *ENDED)
    what_the_student_reads(tmp_path, looked, GIN)


def begun(case, source, world):
    """Send a program to a case, which defines f; `ask()` then gives what f() gives or raises."""
    chunk = {"cell": "a", "line": 1, "source": world.fill(source)}
    program = {"chunks": [chunk], "future": [], "token": "t", "answer": "f", "seed": 1}
    case.send(wire.frame(program, []))
    ready = json.loads(case.receive(0)[0])
    assert ready["there"]

    def ask():
        request = {"token": "t", "op": "call", "on": 0, "name": None, "result": 1}
        request |= {"args": {"list": []}, "kwargs": {"dict": []}}
        case.send(wire.frame(request, []))
        return json.loads(case.receive(1 << 20)[0])

    return ask


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_two_that_are_graded_at_once_do_not_hear_each_other(call, both, world):
    one, other = (both[use].ready() for use in (True, False))
    with one.case(5) as first, other.case(5) as second:
        speaks, hears = begun(first, call.speaks, world), begun(second, call.hears, world)
        speaks()
        heard = hears()
    assert heard.get("value") is not True
