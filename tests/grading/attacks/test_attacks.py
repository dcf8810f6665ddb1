"""Every attack, with control groups and without: no unearned point, no lost one, no leak, no survivor."""

import re

import pytest

from tests.grading.attacks import (
    endings,
    escaping,
    forging,
    memory,
    oddities,
    pretending,
    spying,
    tampering,
)
from tests.grading.attacks.after import STUDENT, Watch, line, of_exercise, what_the_student_reads
from tests.grading.notebooks import single, write

FILES = (endings, memory, spying, escaping, tampering, forging, oddities, pretending)
ATTACKS = [attack for file in FILES for attack in file.ATTACKS]
LINE = re.compile(r" at line \d+ of its cell")


def test_the_attacks_are_many_and_have_names_of_their_own():
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) > 60


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_attack(attack, grader, world, says, tmp_path):
    before = tuple(map(world.fill, attack.before))
    notebook = write(tmp_path, single(attack.exercise, world.fill(attack.source), before))
    with Watch(world, grader):
        result = grader.grade(notebook)
    assert grader.last_error == ""
    got = of_exercise(result, attack.exercise)
    says(line(grader, got, result.seconds, attack.name))
    assert got.earned == (got.points if attack.right else 0), got.feedback
    assert got.status in attack.statuses, got.feedback
    assert sum(e.earned or 0 for e in result.exercises) == got.earned

    assert world.record(STUDENT, result) == [(STUDENT, result)]
    seen = what_the_student_reads(tmp_path, result, attack.exercise)
    if attack.same_as:
        plain = grader.grade(write(tmp_path, single(attack.exercise, attack.same_as)))
        expected = what_the_student_reads(tmp_path, plain, attack.exercise)
        assert LINE.sub("", str(seen)) == LINE.sub("", str(expected))
