"""Calls that are written down and made later, in an order that nobody can foresee."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.grading import remote
from course_lib.grading.case import CaseEnded
from course_lib.grading.remote import Talk
from tests.grading.local import Local, failures, put


def double(answer: Any, case: Case) -> None:
    for n in range(1, 6):
        x = torch.full((n, 2), float(n))
        case.expect(answer(x), 2 * x)


# the order ---------------------------------------------------------------------------------------


def test_a_right_answer_passes_and_a_wrong_one_fails():
    assert failures(put(lambda x: 2 * x, double)[0]) == []
    assert len(failures(put(lambda x: 3 * x, double)[0])) == 5


def test_the_order_is_the_seeds_and_another_seed_gives_another():
    orders = [[r["first"][0] for r in put(lambda x: 2 * x, double, s)[1].asked] for s in range(20)]
    again = [r["first"][0] for r in put(lambda x: 2 * x, double, 0)[1].asked]
    assert again == orders[0]
    assert len({str(order) for order in orders}) > 15
    assert len({str(order[0]) for order in orders}) == 5  # any call may be the first one


def test_tokens_and_numbers_tell_nothing_of_the_order_in_the_check():
    process = put(lambda x: 2 * x, double)[1]
    tokens = {r["token"] for r in process.asked}
    numbers = [r["result"] for r in process.asked]
    assert len(tokens) == len(numbers) == len(set(numbers)) == 7  # five, a repetition and a dummy
    assert numbers != sorted(numbers)


class Counts:
    """A class with state: each call adds to it."""

    def __init__(self, start: float) -> None:
        self.total = start

    def add(self, x: torch.Tensor) -> torch.Tensor:
        self.total = self.total + x.sum()
        return self.total


def two_counters(answer: Any, case: Case) -> None:
    one, two = case.new(answer, 1.0), case.new(answer, 100.0)
    for n in range(1, 5):
        case.expect(one.add(torch.full((n,), 1.0)), torch.tensor(1.0 + n * (n + 1) / 2))
        case.expect(two.add(torch.full((n,), 10.0)), torch.tensor(100.0 + 5 * n * (n + 1)))
    case.expect(one.total, torch.tensor(11.0))


def test_calls_on_one_object_keep_their_order_and_those_on_two_are_mixed():
    mixed = 0
    for seed in range(20):
        case, process = put(Counts, two_counters, seed)
        assert failures(case) == []
        on = [r["on"] for r in process.asked]
        mixed += any(on[i] != on[i - 1] for i in range(5, len(on)))
    assert mixed > 15


# the repetition and the dummy --------------------------------------------------------------------


def test_one_call_is_repeated_and_another_like_it_is_made_with_other_numbers():
    def one(answer: Any, case: Case) -> None:
        case.expect(answer(torch.arange(3.0), torch.eye(2)), torch.tensor(1.0))

    process = put(lambda x, matrix: torch.tensor(1.0), one)[1]
    assert Counter(r["first"][0][0] for r in process.asked) == {0.0: 2, 2.0: 1}


@pytest.mark.parametrize("seed", range(12))
def test_an_answer_that_is_right_only_the_first_time_fails(seed):
    def fades() -> Callable:
        seen: set[str] = set()

        def answer(x: torch.Tensor) -> torch.Tensor:
            fresh = str(x.tolist()) not in seen
            seen.add(str(x.tolist()))
            return 2 * x if fresh else 5 * x

        return answer

    case = put(fades(), double, seed)[0]
    assert failures(case)
    assert sum(len(o.again) for o in case.observations) == 1


@pytest.mark.parametrize("seed", range(12))
def test_the_repetition_of_an_object_is_made_from_its_construction_on(seed):
    case = put(Counts, two_counters, seed)[0]
    again = [o for o in case.observations if o.again]
    assert len(again) in (4, 5) and failures(case) == []


@pytest.mark.parametrize("seed", range(12))
def test_what_a_dummy_gives_is_never_looked_at(seed):
    """The dummy turns its input round; all that this answer does wrong with it goes unseen."""

    def answer(x: torch.Tensor) -> torch.Tensor:
        if x[0] > x[-1]:
            raise ValueError("turned round")
        return 2 * x

    def ascending(answer: Any, case: Case) -> None:
        for n in range(2, 6):
            x = torch.arange(float(n))
            case.expect(answer(x), 2 * x)

    case, process = put(answer, ascending, seed)
    assert failures(case) == []
    assert sum(r["first"][0][0] > 0 for r in process.asked) == 1


def test_a_dummy_keeps_what_an_honest_loop_relies_on():
    matrix = torch.arange(9.0).view(3, 3)
    symmetric = matrix + matrix.T
    turned = remote._turned(symmetric)
    assert torch.equal(turned, turned.T) and not torch.equal(turned, symmetric)
    assert remote._turned(torch.tensor([1, 2])).tolist() == [2, 1]
    state = torch.Generator().get_state()
    assert torch.equal(remote._turned(state), state)
    assert remote._turned(torch.tensor(3.0)) == 3


@pytest.mark.parametrize(("index", "calls"), [(0, 2), (1, 1)])
def test_a_training_is_repeated_in_the_first_case_alone(index, calls):
    def trained(answer: Any, case: Case) -> None:
        case.expect_that("score", lambda got: None, answer(torch.ones(2)), kind="score")

    assert len(put(lambda x: x, trained, index=index)[1].asked) == calls


# what goes wrong ---------------------------------------------------------------------------------


def test_an_object_that_was_not_made_gives_the_same_exception_for_all_that_follows():
    class Broken:
        def __init__(self, n: int) -> None:
            raise KeyError("n")

    def check(answer: Any, case: Case) -> None:
        made = case.new(answer, 2)
        case.expect_that("weight", lambda w: None, made.weight)
        case.expect(made.forward(torch.ones(2)), torch.ones(2))
        case.expect(answer.unbound(made), torch.ones(2))

    case, process = put(Broken, check)
    assert {(o.got.kind, o.got.text) for o in case.observations[:3]} == {("KeyError", "'n'")}
    assert len(failures(case)) == 3
    assert {r["on"] for r in process.asked} == {0}  # nothing is asked of what is not there


def test_exceptions_stub_and_exit_are_results():
    def stub(x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError()

    def leaves(x: torch.Tensor) -> torch.Tensor:
        raise SystemExit(3)

    for answer, kind in (
        (stub, "NotImplementedError"),
        (leaves, "SystemExit"),
        (None, "TypeError"),
    ):
        got = [o.got for o in put(answer, double)[0].observations]
        assert all(isinstance(g, Raised) and g.kind == kind for g in got)
        assert all(g.not_attempted == (answer is stub) for g in got)


def test_a_reply_that_breaks_a_rule_or_is_too_large_ends_the_case():
    process = Local(lambda x: 2 * x)
    process.spoils = lambda control: control.replace(b'"token": "', b'"token": "0')
    talk = Talk(process, Case(1, 0), "answer", 1)
    double(talk.root, talk.case)
    with pytest.raises(CaseEnded, match="breaks the rules") as ended:
        talk.settle(talk.case.observations)
    assert ended.value.status == "crashed"
    with pytest.raises(CaseEnded, match="too large"):
        put(lambda x: torch.zeros(1 << 19), double)


def test_a_result_may_be_float64_and_as_large_as_was_expected():
    def large(answer: Any, case: Case) -> None:
        case.expect(answer(torch.ones(1)), torch.zeros(1 << 19))

    assert failures(put(lambda x: torch.zeros(1 << 19, dtype=torch.float64), large)[0]) == []
