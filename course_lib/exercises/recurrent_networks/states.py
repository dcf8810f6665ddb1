"""Unit 02, exercise 1: the states of a recurrent net."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.engine import Unit
from course_lib.exercises.recurrent_networks import reference

unit = Unit(
    "02_recurrent_networks",
    forbids=(
        "course_lib.sequence",
        "course_lib.exercises.recurrent_networks.reference",
        "hmmlearn",
        "filterpy",
        *(f"torch.nn.{kind}{part}" for kind in ("RNN", "LSTM", "GRU") for part in ("", "Cell")),
        "torch.nn.RNNBase",
        "torch.nn.RNNCellBase",
        "torch._VF",
        "torch.ops",
        "torch.ao",
        *(f"torch.{kind}{part}" for kind in ("lstm", "gru") for part in ("", "_cell")),
        *(f"torch.rnn_{f}{part}" for f in ("tanh", "relu") for part in ("", "_cell")),
    ),
)


# 1 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=9,
    reference=reference.rnn_states,
    hints=[
        "One step first: torch keeps W_ih as [H, I], so a batch x_t [B, I] is multiplied by its transpose.",
        "Carry the state: what one step returns is what the next step is given.",
        "Collect the T new states in a list, without h0, and torch.stack them.",
    ],
)
def rnn_states(answer, case: Case) -> None:
    """All states [T, B, H] of h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), from x [T, B, I] and h0 [B, H]."""
    steps, batch, inputs = case.size(1, 4), case.size(1, 3), case.size(1, 3)
    hidden = inputs + case.size(1, 3)
    weights = small_weights(case, inputs, hidden)
    x, h0 = case.normal(steps, batch, inputs), case.normal(batch, hidden)
    expected = reference.rnn_states(x, h0, *weights)
    case.expect(answer(x, h0, *weights), expected)
    more = case.normal(steps + 2, batch, inputs)
    case.expect(
        answer(more, expected[-1], *weights),
        reference.rnn_states(more, expected[-1], *weights),
        label="going on from the last state",
    )
    case.expect_gradient(answer, reference.rnn_states, more, h0, *weights, wrt=1)
    case.expect_gradient(answer, reference.rnn_states, more, h0, *weights, wrt=3)


def small_weights(case: Case, inputs: int, hidden: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """W_ih [H, I], W_hh [H, H], b_ih [H], b_hh [H], of a size that leaves tanh unsaturated."""
    w_hh = case.normal(hidden, hidden) * hidden**-0.5
    return case.normal(hidden, inputs) * 0.7, w_hh, *(case.normal(2, hidden) * 0.5)


def _unrolled(x, h0, step):
    """The states of a loop over `step(x_t, h)`."""
    states = [h0]
    for x_t in x:
        states.append(step(x_t, states[-1]))
    return torch.stack(states[1:])


@rnn_states.mistake(
    "You multiplied the state by W_hh without transposing it: a row h of the batch needs h @ w_hh.T."
)
def untransposed(x, h0, w_ih, w_hh, b_ih, b_hh):
    return _unrolled(x, h0, lambda x_t, h: torch.tanh(x_t @ w_ih.T + b_ih + h.matmul(w_hh) + b_hh))


@rnn_states.mistake(
    "There is no tanh: this is a linear net, whose states grow or fade without bound."
)
def linear(x, h0, w_ih, w_hh, b_ih, b_hh):
    return _unrolled(x, h0, lambda x_t, h: x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh)


@rnn_states.mistake(
    "tanh squashes the input's part only; it belongs around the whole sum, the state's part too."
)
def half_squashed(x, h0, w_ih, w_hh, b_ih, b_hh):
    return _unrolled(x, h0, lambda x_t, h: torch.tanh(x_t @ w_ih.T + b_ih) + h @ w_hh.T + b_hh)


@rnn_states.mistake("b_hh is missing: torch's RNN has two biases, and both are added.")
def one_bias(x, h0, w_ih, w_hh, b_ih, b_hh):
    return _unrolled(x, h0, lambda x_t, h: torch.tanh(x_t @ w_ih.T + b_ih + h @ w_hh.T))


@rnn_states.mistake("Every step starts from h0 again. Is the new state handed on to the next step?")
def not_carried(x, h0, w_ih, w_hh, b_ih, b_hh):
    return torch.tanh(x @ w_ih.T + b_ih + h0 @ w_hh.T + b_hh)


@rnn_states.mistake(
    "There is one state too many: h0 is given, so the result begins with the state after x[0]."
)
def with_h0(x, h0, w_ih, w_hh, b_ih, b_hh):
    step = _step(w_ih, w_hh, b_ih, b_hh)
    return torch.cat([h0.unsqueeze(0), _unrolled(x, h0, step)])


@rnn_states.mistake(
    "Your states are late by one: you noted each state before its step. Note it after."
)
def late(x, h0, w_ih, w_hh, b_ih, b_hh):
    step = _step(w_ih, w_hh, b_ih, b_hh)
    return torch.cat([h0.unsqueeze(0), _unrolled(x, h0, step)[:-1]])


@rnn_states.mistake("You returned the last state alone; the states of all T steps are wanted.")
def last_only(x, h0, w_ih, w_hh, b_ih, b_hh):
    return _unrolled(x, h0, _step(w_ih, w_hh, b_ih, b_hh))[-1]


@rnn_states.mistake(
    "The states are right, but no gradient flows: was there no_grad, .data, .detach() or numpy on the way?"
)
def without_gradient(x, h0, w_ih, w_hh, b_ih, b_hh):
    return _unrolled(x, h0, _step(w_ih, w_hh, b_ih, b_hh)).detach()


@rnn_states.mistake(
    "The states are right, but the gradient ends after one step: was the state detached before it was handed on?"
)
def handed_on_detached(x, h0, w_ih, w_hh, b_ih, b_hh):
    step, states, h = _step(w_ih, w_hh, b_ih, b_hh), [], h0
    for x_t in x:
        states.append(step(x_t, h))
        h = states[-1].detach()
    return torch.stack(states)


@rnn_states.mistake(
    "The states are right, but no gradient reaches W_hh: was it detached, or do you write into a tensor that later "
    "steps read from? Then collect the states in a list."
)
def written_in_place(x, h0, w_ih, w_hh, b_ih, b_hh):
    step, states = _step(w_ih, w_hh, b_ih, b_hh), x.new_zeros(len(x), *h0.shape)
    for t in range(len(x)):
        states[t] = step(x[t], states[t - 1] if t else h0)
    return states


@rnn_states.mistake(
    "The states are right, but no gradient reaches h0: was the state detached between the steps?"
)
def detached(x, h0, w_ih, w_hh, b_ih, b_hh):
    step = _step(w_ih, w_hh, b_ih, b_hh)
    return _unrolled(x, h0, lambda x_t, h: step(x_t, h.detach()))


def _step(w_ih, w_hh, b_ih, b_hh):
    return lambda x_t, h: torch.tanh(x_t @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
