"""The engine on a unit of two small exercises: what is printed, recorded, substituted, recognised."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from course_lib.exercises import progress
from course_lib.exercises.engine import Unit


def double(x):
    return 2 * x


class Affine(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * self.weight


@pytest.fixture
def unit():
    unit = Unit("99_small")

    @unit.exercise(points=2, minutes=1, reference=double, hints=["first hint", "second hint"])
    def doubled(answer, case):
        """Twice x."""
        x = case.normal(case.size(2, 5), 3)
        case.expect(answer(x), double(x))
        case.expect_gradient(answer, double, x)
        case.expect_equivariant(answer, x, axes=((0,),), out_axes=(0,))

    @doubled.mistake("You squared it.")
    def squared(x):
        return x * x

    @doubled.mistake("You squared it, said again.")
    def squared_again(x):
        return x**2

    @doubled.mistake("You left it as it was.")
    def unchanged(x):
        return x

    @doubled.mistake("The type is wrong.")
    def raises(x):
        raise TypeError("no such thing")

    @unit.exercise(points=1, minutes=1, reference=Affine)
    def layer(answer, case):
        """x times a weight."""
        weight, x = case.normal(3), case.normal(2, 3)
        made = case.new(answer, 3)
        case.expect_that(
            "a parameter `weight`", lambda got: None, made.load_state_dict({"weight": weight})
        )
        case.expect(made(x), x * weight)

    return unit


def test_a_pass_returns_the_students_own_function_and_records_it(unit, capsys):
    def mine(x):
        return x + x

    assert unit.check("doubled", mine) is mine
    assert "public checks passed (2 points)" in capsys.readouterr().out
    entry = progress.load()["99_small"]["doubled"]
    assert (entry["status"], entry["earned"], entry["attempts"]) == ("passed", 2, 1)


def test_a_failure_names_the_first_declared_mistake_and_goes_on_with_the_library(unit, capsys):
    theirs = unit.check("doubled", lambda x: x * x)
    out = capsys.readouterr().out
    assert "You squared it.\n" in out and "said again" not in out
    assert "called    doubled(float32 [2, 3])" in out and "expected  float32 [2, 3]" in out
    assert (
        out.index("called")
        < out.index("expected")
        < out.index("got")
        < out.index("mistake")
        < out.index("hint")
    )
    assert len(out.strip().splitlines()) <= 12
    assert repr(theirs) == "<NOT YOURS: the library's doubled>" and theirs.substituted
    assert torch.equal(theirs(torch.ones(2)), 2 * torch.ones(2))


def test_hints_come_one_at_a_time(unit, capsys):
    for expected in ("first hint", "second hint", "second hint"):
        unit.check("doubled", lambda x: x * x * x)
        assert expected in capsys.readouterr().out


def test_substitute_false_keeps_the_students_function(unit):
    def wrong(x):
        return x

    assert unit.check("doubled", wrong, substitute=False) is wrong


def test_a_mistake_must_agree_on_every_case(unit, capsys):
    calls = []

    def squared_at_first(x):
        calls.append(1)
        return x * x if len(calls) <= 2 else x * x * x

    unit.check("doubled", squared_at_first)
    assert "mistake" not in capsys.readouterr().out


def test_the_stub_is_not_attempted_rather_than_wrong(unit, capsys):
    def stub(x):
        raise NotImplementedError()

    unit.check("doubled", stub)
    out = capsys.readouterr().out
    assert "not attempted yet" in out and "NOT YOURS" in out and "Traceback" not in out
    assert progress.load()["99_small"]["doubled"]["attempts"] == 0


def test_an_exception_is_named_with_its_line(unit, capsys):
    def broken(x):
        return x @ torch.ones(7)

    unit.check("doubled", broken)
    out = capsys.readouterr().out
    assert "your code raised an exception" in out and "RuntimeError" in out
    assert "of broken: return x @ torch.ones(7)" in out


def test_a_mistake_that_raises_is_recognised_by_its_type(unit, capsys):
    def broken(x):
        raise TypeError("something else")

    unit.check("doubled", broken)
    assert "The type is wrong." in capsys.readouterr().out


def test_classes_are_checked_with_given_parameters(unit, capsys):
    assert unit.check("layer", Affine) is Affine

    class Renamed(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.w = nn.Parameter(torch.ones(width))

        def forward(self, x):
            return x * self.w

    made = unit.check("layer", Renamed)(3)
    assert isinstance(made, Affine)
    assert "weight" in capsys.readouterr().out.split("✗")[1]


def test_a_value_instead_of_a_function(unit, capsys):
    unit.check("doubled", torch.ones(3))
    assert 'check("doubled", doubled)' in capsys.readouterr().out


def test_an_unknown_name_lists_those_there_are(unit):
    with pytest.raises(KeyError, match="doubled, layer"):
        unit.check("doubledd", double)


def test_the_callers_random_state_stays(unit, capsys):
    def doubled(x):
        return x * 2 + 0 * torch.rand(())

    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert unit.check("doubled", doubled) is doubled
    assert torch.equal(torch.rand(1), expected)


def test_report_and_nbgrader(unit, tmp_path, monkeypatch):
    report = tmp_path / "report.jsonl"
    monkeypatch.setenv("COURSE_REPORT", str(report))
    monkeypatch.setenv("COURSE_NO_PROGRESS", "1")
    unit.check("doubled", double)
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(AssertionError, match="not yet"):
        unit.check("doubled", lambda x: x)
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert [(r["status"], r["earned"], r["points"]) for r in rows] == [
        ("passed", 2, 2),
        ("failed", 0, 2),
    ]
    assert progress.load() == {}


def test_summary_says_whose(unit, capsys):
    unit.check("doubled", double)
    unit.summary()
    out = capsys.readouterr().out
    assert "2 of 3" in out and "the library's" in out and "not checked" in out


def test_a_check_run_twice_earns_nothing_for_the_librarys_version(
    unit, capsys, tmp_path, monkeypatch
):
    report = tmp_path / "report.jsonl"
    monkeypatch.setenv("COURSE_REPORT", str(report))
    theirs = unit.check("doubled", lambda x: x)
    assert unit.check("doubled", theirs) is theirs
    assert "Run the cell with your own doubled first" in capsys.readouterr().out
    assert (
        unit.results["doubled"] == "failed"
        and progress.load()["99_small"]["doubled"]["earned"] == 0
    )
    assert [json.loads(line)["earned"] for line in report.read_text().splitlines()] == [0]
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(AssertionError, match="library's version"):
        unit.check("doubled", theirs)


def test_a_wrapped_stand_in_earns_nothing(unit, capsys):
    theirs = unit.check("doubled", lambda x: x * x * x)
    assert unit.check("doubled", lambda x: theirs(x)).substituted
    assert "this calls the library's doubled" in capsys.readouterr().out
    assert torch.equal(theirs(torch.ones(2)), 2 * torch.ones(2))


def test_the_librarys_class_can_be_subclassed_and_says_whose_it_is(unit, capsys):
    theirs = unit.check("layer", lambda width: None)
    assert repr(theirs) == "<NOT YOURS: the library's layer>" and theirs.substituted

    class Mine(theirs):
        pass

    assert torch.equal(Mine(2)(torch.ones(2)), torch.ones(2))
    unit.check("layer", theirs)
    assert "library's version" in capsys.readouterr().out


def test_an_error_of_torchs_own_is_not_taken_for_the_stub(unit, capsys):
    class NoForward(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width))

    unit.check("layer", NoForward)
    out = capsys.readouterr().out
    assert "not attempted" not in out and 'required "forward" function' in out


def test_sparse_and_meta_results_never_crash_the_check(unit, capsys):
    unit.check("layer", lambda width: None)
    assert unit.verdict("doubled", lambda x: (2 * x).to_sparse()).status in ("passed", "failed")
    assert "meta tensor" in "".join(unit.verdict("doubled", lambda x: (2 * x).to("meta")).lines)


def test_global_settings_of_the_notebook_neither_harm_nor_change(unit):
    threads = torch.get_num_threads()
    torch.set_grad_enabled(False)
    torch.set_default_dtype(torch.float64)
    try:
        assert unit.verdict("doubled", double).status == "passed"
        assert unit.verdict("layer", Affine).status == "passed"
        assert not torch.is_grad_enabled() and torch.get_default_dtype() == torch.float64
    finally:
        torch.set_grad_enabled(True)
        torch.set_default_dtype(torch.float32)
    assert torch.get_num_threads() == threads


def test_an_answers_prints_are_shown_for_the_first_case_alone(unit, capsys):
    def chatty(x):
        print("shape", tuple(x.shape))
        return 2 * x

    unit.check("doubled", chatty)
    assert 1 <= capsys.readouterr().out.count("shape") <= 4


def test_numpy_where_gradients_must_flow_is_said(unit, capsys):
    unit.check("doubled", lambda x: 2 * x.detach().numpy())
    assert "a torch tensor is needed" in capsys.readouterr().out
