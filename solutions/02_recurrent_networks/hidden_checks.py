"""Edge cases of unit 02 that only grading runs. The students' distribution does not contain this file."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.recurrent_networks import reference, unit


@unit.find("rnn_states").hidden_check
def one_unit_and_many_steps(answer, case: Case) -> None:
    """One unit, one input, sixty steps; and a batch without any input at all."""
    weights = case.normal(1, 1), case.normal(1, 1), case.normal(1), case.normal(1)
    x, h0 = case.normal(60, 1, 1), case.normal(1, 1)
    case.expect(answer(x, h0, *weights), reference.rnn_states(x, h0, *weights), label="60 steps")
    hidden = case.size(2, 4)
    weights = case.normal(hidden, 2), case.normal(hidden, hidden), *case.normal(2, hidden)
    x, h0 = torch.zeros(4, 3, 2), case.normal(3, hidden)
    case.expect(answer(x, h0, *weights), reference.rnn_states(x, h0, *weights), label="zero input")


@unit.find("backpropagate").hidden_check
def one_step_and_twelve(answer, case: Case) -> None:
    """T = 1 and T = 12, for one unit and for several."""
    for steps, batch, inputs, hidden in ((1, 1, 1, 1), (12, 2, 3, case.size(2, 5))):
        w_ih, w_hh = case.normal(hidden, inputs), case.normal(hidden, hidden) * hidden**-0.5
        x, h0 = case.normal(steps, batch, inputs), torch.tanh(case.normal(batch, hidden))
        bias = torch.zeros(hidden)
        states = torch.cat([h0[None], reference.rnn_states(x, h0, w_ih, w_hh, bias, bias)])
        given = (x, states, w_hh, case.normal(batch, hidden))
        case.expect(answer(*given), reference.backpropagate(*given), label=f"{steps} steps")


@unit.find("clip_gradients").hidden_check
def nothing_and_very_much(answer, case: Case) -> None:
    """Gradients that are all zero stay zero; a gradient of one number; one that has exploded."""
    zeros = [torch.zeros(3), torch.zeros(2, 2)]
    case.expect(answer(zeros, 1.0), zeros, label="zero gradients")
    sizes = case.normal(1), 1e6 * case.normal(case.size(2, 6), 2)
    for gradient, label in zip(sizes, ("one number", "an exploded gradient")):
        expected = reference.clip_gradients([gradient], 0.05)
        case.expect(answer([gradient], 0.05), expected, label=label)


@unit.find("lstm_step").hidden_check
def shut_and_open_gates(answer, case: Case) -> None:
    """Gates that are shut or open all the way, by large biases; and a single unit."""
    hidden = case.size(1, 4)
    x, h, c = case.normal(2, 3), case.normal(2, hidden), case.normal(2, hidden)
    w_ih, w_hh = case.normal(4 * hidden, 3), case.normal(4 * hidden, hidden)
    for i, f, o in ((-60.0, 60.0, 60.0), (60.0, -60.0, 60.0), (0.0, 60.0, -60.0)):
        gates = torch.tensor([i, f, 0.0, o]).repeat_interleave(hidden)
        given = (x, h, c, w_ih, w_hh, gates, case.normal(4 * hidden))
        expected = reference.lstm_step(*given)
        case.expect(answer(*given), expected, label=f"biases i {i:g}, f {f:g}, o {o:g}")


@unit.find("cell_gradients").hidden_check
def one_step_and_negative_bias(answer, case: Case) -> None:
    """T = 1, and a forget bias below zero that makes the cell forget faster."""
    hidden = case.size(1, 3)
    weights = case.normal(4 * hidden, 2), 0.5 * case.normal(4 * hidden, hidden)
    weights = *weights, *case.normal(2, 4 * hidden)
    for steps, bias in ((1, 3.0), (6, -1.5)):
        x = case.normal(steps, 2, 2)
        expected = reference.cell_gradients(x, *weights, bias)
        case.expect(answer(x, *weights, bias), expected, label=f"bias {bias:g}", rtol=1e-3)


@unit.find("forward_log").hidden_check
def one_symbol_and_the_impossible(answer, case: Case) -> None:
    """A sequence of one symbol; one state; and a symbol that no reachable state emits: -inf from there on."""
    states = case.size(2, 4)
    initial, transition = case.uniform(states).softmax(0), case.normal(states, states).softmax(1)
    emission = case.normal(states, 4).softmax(1)
    one = torch.tensor([2])
    expected = (initial * emission[:, 2]).log()[None]
    case.expect(answer(one, initial, transition, emission), expected, label="one symbol")
    seen = torch.randint(4, (9,), generator=case.random)
    alone = torch.ones(1), torch.ones(1, 1), emission[:1]
    expected = emission[0, seen].log().cumsum(0)[:, None]
    case.expect(answer(seen, *alone), expected, label="one state")
    never = emission.clone()
    never[:, 3] = 0.0
    seen = torch.tensor([0, 1, 3, 0, 2])
    model = initial, transition, never
    expected = reference.forward_log(seen, *model)
    case.expect(answer(seen, *model), expected, label="a symbol that is never emitted")


@unit.find("kalman_step").hidden_check
def one_number(answer, case: Case) -> None:
    """D = M = 1, by hand; and a sensor that is nearly blind, which leaves the prediction as it is."""
    m, y, a, c = (float(v) for v in case.normal(4))
    p, q, r = (float(v) for v in case.uniform(3, low=0.3, high=2.0))
    predicted = a * a * p + q
    gain = predicted * c / (c * c * predicted + r)
    mean, variance = a * m + gain * (y - c * a * m), (1 - gain * c) * predicted
    square = [torch.full((1, 1), v) for v in (p, a, c, q, r)]
    got = answer(torch.tensor([m]), square[0], torch.tensor([y]), *square[1:])
    case.expect(got, (torch.tensor([mean]), torch.tensor([[variance]])), label="numbers", rtol=1e-3)
    blind = torch.full((1, 1), 1e7)
    got = answer(torch.tensor([m]), square[0], torch.tensor([y]), *square[1:4], blind)
    expected = (torch.tensor([a * m]), torch.tensor([[predicted]]))
    case.expect(got, expected, label="a blind sensor", rtol=1e-3, atol=1e-4)


@unit.find("scale_spectrum").hidden_check
def rotation_and_one_entry(answer, case: Case) -> None:
    """A rotation, whose eigenvalues are all complex; one negative number; a large matrix."""
    turn = float(case.uniform(1, low=0.3, high=2.8))
    size = float(case.uniform(1, low=0.2, high=3.0))
    angle = torch.tensor(turn)
    rotation = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    case.expect(answer(size * rotation, 0.9), 0.9 * rotation, label="a rotation", rtol=1e-3)
    negative = torch.tensor([[-size]])
    case.expect(answer(negative, 1.1), torch.tensor([[-1.1]]), label="one negative number")
    large = case.normal(40, 40)
    expected = reference.scale_spectrum(large, 0.95)
    case.expect(answer(large, 0.95), expected, label="40 units", rtol=1e-3)
