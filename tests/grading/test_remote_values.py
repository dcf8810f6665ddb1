"""What travels between a check and an answer elsewhere: arguments, results, objects, generators, gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from course_lib.exercises.case import Case
from course_lib.grading.remote import Handle, Talk
from tests.grading.local import Local, failures, put

# values ------------------------------------------------------------------------------------------


def test_arguments_are_those_of_the_moment_of_the_call():
    def check(answer: Any, case: Case) -> None:
        x = torch.ones(3)
        got = answer(x)
        x.zero_()
        case.expect(got, torch.full((3,), 2.0))

    assert failures(put(lambda x: 2 * x, check)[0]) == []


def test_keyword_arguments_nested_values_and_several_results():
    def answer(pair: tuple, *, names: dict, flag: bool = False, scale: float = 0.0) -> tuple:
        assert isinstance(pair, tuple) and isinstance(names["a"][0], torch.Tensor) and flag is True
        return {"sum": pair[0] + pair[1] * scale}, [names["a"][0], None, "text", 3]

    def check(answer: Any, case: Case) -> None:
        got = answer(
            (torch.ones(2), torch.ones(2)), names={"a": [torch.eye(2)]}, flag=True, scale=1.5
        )
        case.expect(got, ({"sum": torch.full((2,), 2.5)}, [torch.eye(2), None, "text", 3]))

    assert failures(put(answer, check)[0]) == []


def test_a_generator_travels_by_its_state():
    def check(answer: Any, case: Case) -> None:
        same, other = case.generator(), case.generator()
        first, again, different = answer(same), answer(same), answer(other)
        case.expect_that(
            "the generator decides",
            lambda g: None if torch.equal(g[0], g[1]) and not torch.equal(g[0], g[2]) else "no",
            (first, again, different),
            kind="score",
        )
        torch.rand(1, generator=same)
        case.expect_that(
            "moved on", lambda g: "the same" if torch.equal(*g) else None, (first, answer(same))
        )

    for seed in range(5):
        case = put(lambda g: torch.rand(4, generator=g), check, seed)[0]
        assert failures(case) == []
    assert len(failures(put(lambda g: torch.ones(4), check)[0])) == 2


def test_the_result_of_one_call_may_be_the_argument_of_another():
    def check(answer: Any, case: Case) -> None:
        once = answer(torch.ones(2))
        case.expect(answer(once), torch.full((2,), 4.0))
        case.expect(answer(answer(once)), torch.full((2,), 8.0))
        case.expect(answer(torch.zeros(2)), torch.zeros(2))

    for seed in range(10):
        assert failures(put(lambda x: 2 * x, check, seed)[0]) == []


def test_an_object_of_the_students_may_be_an_argument():
    class Lever:
        def __init__(self, arm: float) -> None:
            self.arm = torch.tensor(arm)

        def against(self, other: Lever) -> torch.Tensor:
            return self.arm - other.arm

    def check(answer: Any, case: Case) -> None:
        case.expect(case.new(answer, 5.0).against(case.new(answer, 3.0)), torch.tensor(2.0))

    for seed in range(10):
        assert failures(put(Lever, check, seed)[0]) == []


class Layer(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.inner = nn.Linear(n, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)[:, 0]


def test_attributes_methods_and_gradients_of_a_module():
    weight = torch.tensor([[2.0, 3.0]])

    def check(answer: Any, case: Case) -> None:
        layer = case.new(answer, 2)
        case.expect_that("shape", lambda w: None if w.shape == (1, 2) else "no", layer.inner.weight)
        loaded = layer.load_state_dict({"inner.weight": weight})
        case.expect_that("loaded", lambda keys: None if keys == ([], []) else "no", loaded)
        case.expect(layer.inner.weight, weight)
        case.expect(layer.inner.forward(torch.eye(2)), weight.T)
        case.expect_gradient(layer, lambda x: x @ weight[0], torch.eye(2))
        parameters = {"weight": weight}
        case.expect_parameter_gradients(
            layer.inner, lambda own, x: x @ own["weight"].T, parameters, torch.eye(2)
        )

    for seed in range(5):
        assert failures(put(Layer, check, seed)[0]) == []


def test_a_result_of_several_tensors_has_its_gradient_probed_whole():
    def right(x: torch.Tensor) -> tuple:
        return x**2, x.sum()

    def check(answer: Any, case: Case) -> None:
        case.expect_gradient(answer, right, torch.tensor([1.0, -2.0, 3.0]))

    assert failures(put(right, check)[0]) == []
    cut = failures(put(lambda x: (x**2, x.sum().detach()), check)[0])
    assert "the gradient for `x` differs" in cut[0]


def test_a_change_in_place_that_spoils_the_gradient_is_no_cut_graph():
    def spoiled(x: torch.Tensor) -> torch.Tensor:
        y = x.exp()
        y[0] = 0.0
        return y

    def check(answer: Any, case: Case) -> None:
        case.expect_gradient(answer, torch.exp, torch.ones(3))

    assert "RuntimeError" in failures(put(spoiled, check)[0])[0]


def test_a_cut_graph_gives_no_gradient_and_that_is_said():
    def check(answer: Any, case: Case) -> None:
        case.expect_gradient(answer, lambda x: 2 * x, torch.ones(3))

    assert failures(put(lambda x: 2 * x, check)[0]) == []
    for cut in (lambda x: (2 * x).detach(), lambda x: 2 * x.detach() + 0 * x.sum().detach()):
        assert "no gradient reaches `x`" in failures(put(cut, check)[0])[0]
    assert "differs" in failures(put(lambda x: 2 * x.detach() + 0 * x, check)[0])[0]


LOOKS = {
    "bool": bool,
    "len": len,
    "list": list,
    "float": float,
    "equality": lambda h: h == 1,
    "inequality": lambda h: h != 1,
    "in": lambda h: 1 in h,
    "unpacking": lambda h: (lambda a, b: a)(*h),
    "and": lambda h: h and 1,
    "addition": lambda h: h + 1,
    "order": lambda h: h < 1,
    "index": lambda h: h[0],
    "int": int,
    "torch.equal": lambda h: torch.equal(h, torch.ones(1)),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_check_cannot_look_at_a_result(look):
    process = Local(lambda x: x)
    handle = Talk(process, Case(1, 0), "answer", 1).root(torch.ones(1))
    assert isinstance(handle, Handle) and hash(handle)
    with pytest.raises(TypeError):
        look(handle)
    assert process.asked == []
