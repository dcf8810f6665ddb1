"""Cases: seeded, small first, and honest about what they observe."""

from __future__ import annotations

import pytest
import torch

from course_lib.exercises.answer import Answer
from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised


def failures(case):
    return [text for o in case.observations if (text := o.failure()) is not None]


def test_the_same_seed_draws_the_same_inputs():
    one, two, other = Case(3, 2), Case(3, 2), Case(4, 2)
    draws = [
        (c.size(1, 9), c.flag(), c.normal(3).tolist(), c.random_graph(5).tolist())
        for c in (one, two, other)
    ]
    assert draws[0] == draws[1] != draws[2]


def test_case_zero_is_smallest_case_one_has_every_flag_and_scale_grows():
    assert Case(1, 0).size(3, 9) == 3 and not Case(1, 0).flag() and Case(1, 1).flag()
    assert max(Case(s, 2, scale=4).size(3, 9) for s in range(60)) > 9


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("nodes", [1, 2, 3, 8])
def test_random_graphs_are_what_they_say(nodes, isolated, directed):
    for seed in range(8):
        adjacency = Case(seed).random_graph(nodes, isolated, directed)
        assert adjacency.diagonal().sum() == 0 and set(adjacency.unique().tolist()) <= {0.0, 1.0}
        assert directed or torch.equal(adjacency, adjacency.T)
        if nodes > 2:
            degrees = adjacency.sum(1) + adjacency.sum(0)
            assert bool((degrees[:-1] > 0).all()) and (degrees[-1] == 0) == isolated


def test_equivariance_is_seen_and_missed():
    case = Case(1)
    adjacency = case.random_graph(5)
    case.expect_equivariant(Answer(lambda a: a @ a, case, "f"), adjacency)
    assert failures(case) == []
    case.expect_equivariant(Answer(lambda a: a * torch.arange(5.0), case, "g"), adjacency)
    assert "relabelling" in failures(case)[0]
    case.expect_equivariant(Answer(lambda a: a[:2], case, "h"), adjacency)
    assert "5 nodes" in failures(case)[1]
    with pytest.raises(ValueError, match="permutation"):
        case.expect_equivariant(Answer(lambda a: a, case, "f"), adjacency, group="shift")


def test_gradients_are_compared_with_the_references():
    case = Case(1)
    x = case.normal(3)
    for answer in (lambda v: v**2, lambda v: v * v.detach() * 1.0, lambda v: (v**2).detach()):
        case.expect_gradient(Answer(answer, case, "f"), lambda v: v**2, x)
    assert case.observations[0].failure() is None
    assert "gradient for `v` differs" in case.observations[1].failure()
    assert "no gradient reaches" in case.observations[2].failure()


def test_a_judge_that_cannot_cope_is_a_failure_not_a_crash():
    case = Case(1)
    case.expect_that("shape", lambda got: None if got.shape == (2,) else "no", "a string")
    assert "cannot be judged" in failures(case)[0]


def test_what_was_observed_does_not_change_afterwards():
    case = Case(1)
    value = torch.zeros(2)
    case.expect(value, torch.zeros(2))
    value += 1
    assert failures(case) == []


def test_exceptions_in_constructor_and_method_are_caught():
    class Broken:
        def __init__(self):
            raise ValueError("no")

    class Half:
        def step(self):
            raise KeyError("x")

    case = Case(1)
    assert isinstance(Answer(Broken, case, "Broken")().anything(3), Raised)
    raised = Answer(Half, case, "Half")().step()
    assert raised.kind == "KeyError"
    assert Answer(Half, case, "Half")().missing.kind == "AttributeError"


def test_a_parameter_that_cannot_learn_is_seen():
    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))
            self.register_buffer("bias", torch.zeros(3))

        def forward(self, x):
            return x * self.weight + self.bias

    def reference(own, x):
        return x * own["weight"] + own["bias"]

    case = Case(1)
    values = {"weight": torch.ones(3), "bias": torch.zeros(3)}
    case.expect_parameter_gradients(
        Answer(Fixed(), case, "Fixed"), reference, values, case.normal(2, 3)
    )
    assert "no gradient reaches bias" in failures(case)[0]


def test_a_result_of_several_tensors_has_its_gradient_probed_whole():
    case, x = Case(1), torch.tensor([0.5, -1.0, 2.0])

    def right(x):
        return x**2, x.sum()

    for answer in (right, lambda x: (x**2, x.sum().detach()), lambda x: (x.detach(), x.detach())):
        case.expect_gradient(Answer(answer, case, "f"), right, x)
    second, third = failures(case)
    assert "the gradient for `x` differs" in second
    assert "no gradient reaches `x`" in third


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.add_(1.0),
        lambda x: x.unsqueeze_(0),
        lambda x: x.__setitem__(0, 7.0),
        lambda x: x.numpy().fill(3.0),
    ],
)
def test_an_argument_that_was_changed_in_place_is_noted(change):
    case, x = Case(1), torch.tensor([float("nan"), -1.0, 2.0])

    def answer(ready, scores):
        result = scores * 2
        change(scores)
        return result

    case.expect(Answer(answer, case, "f")(1, x), x * 2)
    case.expect(Answer(answer, case, "f")(1, scores=x), x * 2)
    assert failures(case) == []
    assert case.changed == ["`scores`", "`scores`"]


def test_arguments_that_stay_what_they_were_are_no_change():
    case, x = Case(1), torch.tensor([float("nan"), float("inf"), 2.0])

    def answer(x, many, named):
        return x.clone().add_(1.0)

    case.expect(Answer(answer, case, "f")(x, [x, (x, 2)], {"a": x}), x + 1)
    assert failures(case) == [] and case.changed == []


def test_a_list_that_grew_is_a_change():
    case, x = Case(1), torch.ones(2)
    case.expect(Answer(lambda many: many.append(x), case, "f")([x]), None)
    assert case.changed == ["`many`"]
