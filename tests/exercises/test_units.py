"""Every exercise: right answers pass, every named mistake is rejected and named, no adversary is believed."""

from __future__ import annotations

import importlib
import importlib.util

import pytest

from course_lib.course_map import load_map, root
from course_lib.exercises.case import Case
from tests.exercises import adversaries
from tests.exercises.failures import failures

UNITS = [importlib.import_module(f"course_lib.exercises.{row.slug}").unit for row in load_map()]
EXERCISES = [pytest.param(e, id=f"{u.name}-{e.name}") for u in UNITS for e in u.exercises.values()]
MISTAKES = [
    pytest.param(u, e, m, id=f"{e.name}-{m.example.__name__}")
    for u in UNITS
    for e in u.exercises.values()
    for m in e.mistakes
]
DIFFERENTIABLE = [
    p
    for p in EXERCISES
    if any(
        o.kind == "gradient"
        for c in p.values[0].run(p.values[0].reference, p.values[0].public_cases()[:1])
        for o in c.observations
    )
]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_reference_passes_public_and_other_cases(exercise):
    assert failures(exercise, exercise.reference) == []
    others = [Case(seed=10_000 + i, index=i, scale=2) for i in range(6)]
    assert failures(exercise, exercise.reference, others) == []


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_value_or_score_stands_beside_every_property(exercise):
    for case in exercise.run(exercise.reference, exercise.public_cases()):
        assert {"value", "score"} & {o.kind for o in case.observations}


@pytest.mark.parametrize("exercise", EXERCISES)
def test_at_least_three_mistakes_hints_points_and_minutes(exercise):
    assert len(exercise.mistakes) >= 3
    assert len({m.text for m in exercise.mistakes}) == len(exercise.mistakes)
    assert exercise.hints and exercise.points > 0 and exercise.minutes > 0 and exercise.text


@pytest.mark.parametrize(("unit", "exercise", "mistake"), MISTAKES)
def test_each_mistake_is_rejected_and_named(unit, exercise, mistake, capsys):
    verdict = unit.verdict(exercise.name, mistake.example)
    assert verdict.status in ("failed", "error")
    assert f"mistake   {mistake.text}" in "\n".join(verdict.lines)
    unit.check(exercise.name, mistake.example)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) <= 12 and max(map(len, printed)) <= 96


@pytest.mark.parametrize("adversary", adversaries.EVERYWHERE, ids=lambda a: a.__name__)
@pytest.mark.parametrize("exercise", EXERCISES)
def test_no_adversary_is_believed(exercise, adversary):
    assert failures(exercise, adversary(exercise.reference))


@pytest.mark.parametrize("exercise", DIFFERENTIABLE)
def test_right_values_without_gradient_are_not_enough(exercise):
    assert any(
        "gradient" in text
        for text in failures(exercise, adversaries.zero_gradient(exercise.reference))
    )


@pytest.mark.parametrize("unit", UNITS, ids=lambda u: u.name)
def test_hidden_checks_accept_the_reference_and_reject_some_mistake(unit):
    path = root() / "solutions" / unit.name / "hidden_checks.py"
    spec = importlib.util.spec_from_file_location(f"hidden_{unit.name}", path)
    before = {name: len(e.hidden) for name, e in unit.exercises.items()}
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    try:
        assert any(e.hidden for e in unit.exercises.values())
        for exercise in unit.exercises.values():
            for check in exercise.hidden[before[exercise.name] :]:
                cases = [Case(seed=77 + i, index=i, scale=2) for i in range(3)]
                ran = exercise.run(exercise.reference, cases, check)
                assert all(o.failure() is None for case in ran for o in case.observations), check
                rejected = 0
                for mistake in exercise.mistakes:
                    ran = exercise.run(
                        mistake.example, [Case(c.seed, c.index, c.scale) for c in cases], check
                    )
                    rejected += any(
                        o.failure() is not None for case in ran for o in case.observations
                    )
                assert rejected, f"{check.__name__} rejects none of the named mistakes"
    finally:
        for name, exercise in unit.exercises.items():
            del exercise.hidden[before[name] :]


def test_minutes_of_a_lab_stay_within_the_map():
    for unit, row in zip(UNITS, load_map()):
        assert sum(e.minutes for e in unit.exercises.values()) <= row.minutes["lab"] <= 75
