"""Unit 02, exercise 6: the forward algorithm of a hidden Markov model, in log space."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.recurrent_networks import reference
from course_lib.exercises.recurrent_networks.gates import unit

# 6 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=13,
    reference=reference.forward_log,
    cases=3,
    forbids=(
        *(f"torch.{name}" for name in ("logsumexp", "logcumsumexp", "logaddexp", "logaddexp2")),
        "torch.special.logsumexp",
        "numpy.logaddexp",
        "numpy.logaddexp2",
        "scipy",
        *(f".{name}" for name in ("logsumexp", "logcumsumexp", "logaddexp", "logaddexp2")),
    ),
    hints=[
        "At the first step: log initial[j] + log emission[j, x_1]. Nothing has moved yet.",
        "Then add log transition[i, j] to row i's log alpha, log-sum-exp over i, and add log emission[j, x_t].",
        "log-sum-exp subtracts the largest entry first. Where that is -inf, nothing is possible: subtract 0 instead.",
    ],
)
def forward_log(answer, case: Case) -> None:
    """log p(x_1 ... x_t, z_t = j) [T, N] from observations [T], initial [N], transition [N, N], emission [N, M]."""
    states, symbols = case.size(2, 3), 5 + case.size(0, 1)
    model = tuple((1.5 * case.normal(n, m)).softmax(1) for n, m in ((1, states), (states, states)))
    model = (model[0][0], model[1], (0.7 * case.normal(states, symbols)).softmax(1))
    long = 2000 if case.index == 1 else 650  # long enough for float64 to underflow as well
    for steps, label in ((case.size(2, 6), "a few steps"), (long, f"{long} steps")):
        seen = _symbols(case, symbols, steps)
        case.expect(answer(seen, *model), reference.forward_log(seen, *model), label=label)
    chain = _chain(case, states + 2, symbols)
    seen = _symbols(case, symbols, 2 * states + 4)
    seen[-1] = 0  # which the last state of the chain never emits
    label = "a chain with impossible moves"
    case.expect(answer(seen, *chain), reference.forward_log(seen, *chain), label=label)


def _symbols(case: Case, symbols: int, steps: int) -> Tensor:
    return torch.randint(symbols, (steps,), generator=case.random)


def _chain(case: Case, states: int, symbols: int) -> tuple[Tensor, Tensor, Tensor]:
    """States in a row: the first is the start, each moves on or stays, and the last never emits symbol 0."""
    stays = torch.cat([case.uniform(states - 1, low=0.2, high=0.8), torch.ones(1)])
    transition = torch.diag(stays) + torch.diag(1 - stays[:-1], 1)
    emission = case.uniform(states, symbols, low=0.2)
    emission[-1, 0] = 0.0
    return torch.eye(states)[0], transition, emission / emission.sum(1, keepdim=True)


def _log_sum_exp(values):
    """log of the sum over rows of exp(values) [N, N], stably; -inf where all of a column is."""
    top = values.amax(0)
    top = torch.where(top.isinf(), torch.zeros_like(top), top)
    return top + (values - top).exp().sum(0).log()


def _recursion(observations, start, log_transition, log_emission, gather=_log_sum_exp):
    """Rows of log alpha, from the first one on."""
    rows = [start]
    for symbol in observations[1:]:
        rows.append(gather(rows[-1][:, None] + log_transition) + log_emission[:, symbol])
    return torch.stack(rows)


def _underflows(observations) -> bool:
    """The long sequence's result begins finite and is lost later on."""
    got, expected = observations[1].got, observations[1].expected
    if isinstance(got, Raised):
        return False
    lost = ~got.isfinite().any(1) & expected.isfinite().any(1)
    return bool(lost[-1]) and not bool(lost[:20].any())


@forward_log.symptom(
    _underflows,
    "Underflow: after some hundred steps the probabilities are rounded to 0, whose log is -inf. "
    "Stay in log space, and subtract the largest entry before any exp.",
)
def multiplied(observations, initial, transition, emission):
    alpha = initial * emission[:, observations[0]]
    rows = [alpha]
    for symbol in observations[1:]:
        alpha = alpha @ transition * emission[:, symbol]
        rows.append(alpha)
    return torch.stack(rows).log()


@forward_log.mistake(
    "The transition is transposed: row i holds the moves from state i, so the sum runs over rows."
)
def transposed(observations, initial, transition, emission):
    start = initial.log() + emission[:, observations[0]].log()
    return _recursion(observations, start, transition.T.log(), emission.log())


@forward_log.mistake(
    "The initial distribution is missing: the first row is log initial plus log emission."
)
def no_initial(observations, initial, transition, emission):
    start = emission[:, observations[0]].log()
    return _recursion(observations, start, transition.log(), emission.log())


@forward_log.mistake(
    "The first observation is not counted: the first step needs its log emission too."
)
def first_unseen(observations, initial, transition, emission):
    return _recursion(observations, initial.log(), transition.log(), emission.log())


@forward_log.mistake(
    "The first step has moved already: the initial distribution is that of z_1 itself, before any transition."
)
def moved_first(observations, initial, transition, emission):
    start = (initial @ transition).log() + emission[:, observations[0]].log()
    return _recursion(observations, start, transition.log(), emission.log())


@forward_log.mistake(
    "You kept the best predecessor only, as Viterbi does. The forward algorithm adds up all of them."
)
def best_only(observations, initial, transition, emission):
    start = initial.log() + emission[:, observations[0]].log()
    best = torch.Tensor.amax
    return _recursion(
        observations, start, transition.log(), emission.log(), lambda values: best(values, 0)
    )


@forward_log.mistake(
    "NaN: where nothing is possible the largest entry is -inf, and -inf - (-inf) is not a number. Subtract 0 there."
)
def not_a_number(observations, initial, transition, emission):
    start = initial.log() + emission[:, observations[0]].log()

    def gather(values):
        top = values.amax(0)
        return top + (values - top).exp().sum(0).log()

    return _recursion(observations, start, transition.log(), emission.log(), gather)


@forward_log.mistake(
    "The largest entry was subtracted, but not added again: log-sum-exp is m + log(sum(exp(a - m)))."
)
def largest_lost(observations, initial, transition, emission):
    start = initial.log() + emission[:, observations[0]].log()

    def gather(values):
        top = values.amax(0)
        top = torch.where(top.isinf(), torch.zeros_like(top), top)
        return (values - top).exp().sum(0).log()

    return _recursion(observations, start, transition.log(), emission.log(), gather)


def _smuggles(observations) -> bool:
    """Of the chain, what is impossible has a finite value; what is possible is nearly right."""
    seen = observations[2]
    impossible = ~seen.expected.isfinite()
    near = (seen.got - seen.expected)[~impossible].abs() < 0.1
    return bool(seen.got[impossible].isfinite().any() and near[: len(near) // 2].all())


@forward_log.symptom(
    _smuggles,
    "What is impossible has a finite value. -inf is right there: no small number inside the log, and no large "
    "negative one in place of -inf.",
)
def small_number_added(observations, initial, transition, emission):
    initial, moves, emits = (torch.log(p + 1e-10) for p in (initial, transition, emission))
    return _recursion(observations, initial + emits[:, observations[0]], moves, emits)


@forward_log.mistake(
    "Each row sums to one: that is the belief, p(z_t | x_1 ... x_t). Do not normalise, or the likelihood is lost."
)
def normalised(observations, initial, transition, emission):
    start = initial.log() + emission[:, observations[0]].log()
    return _recursion(observations, start, transition.log(), emission.log()).log_softmax(1)
