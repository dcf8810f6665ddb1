"""What a student is told about gradients and about arguments changed in place."""

from __future__ import annotations

import pytest

from course_lib.exercises.engine import Unit


@pytest.fixture
def unit():
    unit = Unit("99_small")

    @unit.exercise(points=2, minutes=1, reference=lambda x: 2 * x, hints=["a hint"])
    def doubled(answer, case):
        """Twice x."""
        x = case.normal(case.size(2, 5), 3)
        case.expect(answer(x), 2 * x)
        case.expect_gradient(answer, lambda x: 2 * x, x)

    return unit


def test_right_values_with_the_graph_cut_fail(unit, capsys):
    unit.check("doubled", lambda x: (2 * x).detach())
    assert "no gradient reaches `x`" in capsys.readouterr().out


def test_a_gradient_of_zeros_in_an_example_names_one_that_does_not_arrive(unit):
    @unit.exercise(points=1, minutes=1, reference=lambda x, y: x * y)
    def product(answer, case):
        x, y = case.normal(3), case.normal(3)
        case.expect(answer(x, y), x * y)
        case.expect_gradient(answer, lambda x, y: x * y, x, y, wrt=1)

    @product.mistake("The second factor learns nothing.")
    def cut(x, y):
        return x * y.detach() + 0 * y

    said = unit.verdict("product", lambda x, y: x * y.detach()).lines
    assert any("The second factor learns nothing." in line for line in said)


def test_a_change_in_place_that_spoils_the_gradient_is_told_as_such(unit, capsys):
    def spoiled(x):
        size = (4 * x**2).sqrt()
        size *= 1.0
        return size * x.sign()

    unit.check("doubled", spoiled)
    out = capsys.readouterr().out
    assert "changed in place after" in " ".join(out.split()) and "detach" not in out


def test_a_change_in_place_passes_with_a_caution(unit, capsys):
    def in_place(x):
        return x.mul_(2)

    assert unit.check("doubled", in_place) is in_place
    out = capsys.readouterr().out
    assert "public checks passed" in out and "caution   `x` is changed in place" in out
    unit.check("doubled", lambda x: x * 2)
    assert "caution" not in capsys.readouterr().out
