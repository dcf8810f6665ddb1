"""Unit 02, exercises 4 and 5: an LSTM step from its gates, and how far its cell remembers."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.recurrent_networks import reference
from course_lib.exercises.recurrent_networks.through_time import unit

# 4 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.lstm_step,
    hints=[
        "All four blocks come from one sum: W_ih x + b_ih + W_hh h + b_hh, [B, 4H]; .chunk(4, dim=1) cuts it.",
        "torch's order of the blocks is i, f, g, o. Three are gates between 0 and 1; g is content between -1 and 1.",
        "c' = f * c + i * g: keep, plus write. h' = o * tanh(c'): read the new cell, not the old one.",
    ],
)
def lstm_step(answer, case: Case) -> None:
    """(h', c') of one LSTM step; x [B, I], h and c [B, H], w_ih [4H, I], w_hh [4H, H], biases [4H], order i f g o."""
    batch, inputs = case.size(2, 4), case.size(1, 3)
    hidden = inputs + case.size(1, 3)
    weights = _lstm_weights(case, inputs, hidden)
    state = torch.tanh(case.normal(batch, hidden)), 2 * case.normal(batch, hidden)
    for label in ("(h', c')", "(h', c') one step later"):
        x = case.normal(batch, inputs)
        got = answer(x, *state, *weights)
        state = reference.lstm_step(x, *state, *weights)
        case.expect(got, state, label=label)


def _lstm_weights(case: Case, inputs: int, hidden: int):
    """w_ih [4H, I], w_hh [4H, H], b_ih [4H], b_hh [4H]."""
    w_hh = case.normal(4 * hidden, hidden) * hidden**-0.5
    return case.normal(4 * hidden, inputs), w_hh, *case.normal(2, 4 * hidden)


def _blocks(x, h, w_ih, w_hh, b_ih, b_hh):
    """The four blocks [B, H] before their non-linearities, in torch's order i, f, g, o."""
    return torch.split(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh, w_hh.shape[1], dim=1)


def _cell(i, f, g, o, c):
    """(h', c') from the four blocks."""
    kept = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * kept.tanh(), kept


@lstm_step.mistake(
    "Your gates are in the order i, f, o, g. torch's order is i, f, g, o: the content comes before the output gate."
)
def output_third(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, o, g = _blocks(x, h, w_ih, w_hh, b_ih, b_hh)
    return _cell(i, f, g, o, c)


@lstm_step.mistake(
    "The forget gate multiplies the new content and the input gate the old cell: exchange the two."
)
def forgets_the_new(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, g, o = _blocks(x, h, w_ih, w_hh, b_ih, b_hh)
    return _cell(f, i, g, o, c)


@lstm_step.mistake(
    "The content g went through the sigmoid. It is no gate: tanh lets it be negative too."
)
def positive_content(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, g, o = _blocks(x, h, w_ih, w_hh, b_ih, b_hh)
    kept = f.sigmoid() * c + i.sigmoid() * g.sigmoid()
    return o.sigmoid() * kept.tanh(), kept


@lstm_step.mistake(
    "The gates went through tanh. A gate is a share between 0 and 1: i, f and o take the sigmoid."
)
def tanh_gates(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, g, o = (block.tanh() for block in _blocks(x, h, w_ih, w_hh, b_ih, b_hh))
    kept = f * c + i * g
    return o * kept.tanh(), kept


@lstm_step.mistake(
    "The output is not squashed: h' is the output gate times tanh(c'), not times c'."
)
def not_squashed(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, g, o = _blocks(x, h, w_ih, w_hh, b_ih, b_hh)
    kept = _cell(i, f, g, o, c)[1]
    return o.sigmoid() * kept, kept


@lstm_step.mistake("b_hh is missing: torch's cell has two biases, and both are added.")
def one_bias(x, h, c, w_ih, w_hh, b_ih, b_hh):
    return _cell(*_blocks(x, h, w_ih, w_hh, b_ih, torch.zeros_like(b_hh)), c)


@lstm_step.mistake("Both biases are missing from the sum that the gates are cut from.")
def no_bias(x, h, c, w_ih, w_hh, b_ih, b_hh):
    none = torch.zeros_like(b_hh)
    return _cell(*_blocks(x, h, w_ih, w_hh, none, none), c)


@lstm_step.mistake(
    "The input gate is missing: new content is written at full strength, c' = f * c + g."
)
def always_writes(x, h, c, w_ih, w_hh, b_ih, b_hh):
    _, f, g, o = _blocks(x, h, w_ih, w_hh, b_ih, b_hh)
    kept = f.sigmoid() * c + g.tanh()
    return o.sigmoid() * kept.tanh(), kept


@lstm_step.mistake("Nothing is kept: c' lacks f * c, the line through which an LSTM remembers.")
def keeps_nothing(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, _, g, o = _blocks(x, h, w_ih, w_hh, b_ih, b_hh)
    kept = i.sigmoid() * g.tanh()
    return o.sigmoid() * kept.tanh(), kept


@lstm_step.mistake("h' was read from the old cell c; the output gate reads the new one, c'.")
def reads_the_old(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, g, o = _blocks(x, h, w_ih, w_hh, b_ih, b_hh)
    return o.sigmoid() * c.tanh(), _cell(i, f, g, o, c)[1]


@lstm_step.mistake("You returned (c', h'); h' comes first, as in torch.")
def exchanged(x, h, c, w_ih, w_hh, b_ih, b_hh):
    return _cell(*_blocks(x, h, w_ih, w_hh, b_ih, b_hh), c)[::-1]


# 5 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=9,
    reference=reference.cell_gradients,
    uses=("lstm_step",),
    hints=[
        "The forget gate owns the second block of H rows: add forget_bias to b_ih[H : 2 * H] of a copy.",
        "Make c_0 with requires_grad=True, keep every c_t in a list, and ask torch.autograd.grad(h.sum(), cells).",
        "Entry k is the norm of the gradient for c_{T-k}: turn the list round, so that lag 0 comes first.",
    ],
)
def cell_gradients(answer, case: Case) -> None:
    """Norms [T + 1] of dL/dc at lags 0 ... T, L = the sum of h_T's entries, with forget_bias added; x [T, B, I]."""
    batch, inputs = case.size(1, 2), case.size(1, 2)
    hidden = inputs + case.size(1, 2)
    weights = _lstm_weights(case, inputs, hidden)
    for steps, bias in ((case.size(2, 4), 1.0), (9, 0.5 + 2.0 * float(case.uniform(1)))):
        x = case.normal(steps, batch, inputs)
        expected = reference.cell_gradients(x, *weights, bias)
        case.expect(answer(x, *weights, bias), expected, label=f"lags 0 to {steps}", rtol=1e-3)


def _biased(b, w_hh, forget_bias, block):
    """A copy of b [4H] with forget_bias added to one of its four blocks."""
    hidden = w_hh.shape[1]
    b = b.clone()
    b[block * hidden : (block + 1) * hidden] += forget_bias
    return b


def _run(x, w_ih, w_hh, b_ih, b_hh):
    """h_0 ... h_T and c_0 ... c_T from zero states, the first of which ask for gradients."""
    zeros = x.new_zeros(x.shape[1], w_hh.shape[1])
    hiddens, cells = [zeros.clone().requires_grad_()], [zeros.clone().requires_grad_()]
    for x_t in x:
        h, c = _cell(*_blocks(x_t, hiddens[-1], w_ih, w_hh, b_ih, b_hh), cells[-1])
        hiddens.append(h)
        cells.append(c)
    return hiddens, cells


def _norms(loss, values):
    """Norms of the gradients of the loss for the values, the last value first."""
    gradients = torch.autograd.grad(loss, values)
    return torch.stack([g.norm() for g in gradients[::-1]])


@cell_gradients.mistake(
    "The bias went to the input gate. The order is i, f, g, o: the forget gate has the second block."
)
def input_gate(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    hiddens, cells = _run(x, w_ih, w_hh, _biased(b_ih, w_hh, forget_bias, 0), b_hh)
    return _norms(hiddens[-1].sum(), cells)


@cell_gradients.mistake(
    "The bias went to all four blocks: every gate opens, and the content shifts. Add it to the forget gate's alone."
)
def all_gates(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    hiddens, cells = _run(x, w_ih, w_hh, b_ih + forget_bias, b_hh)
    return _norms(hiddens[-1].sum(), cells)


@cell_gradients.mistake(
    "The bias was added to b_ih and to b_hh, so the forget gate has it twice. One of the two is enough."
)
def twice(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    both = _biased(b_ih, w_hh, forget_bias, 1), _biased(b_hh, w_hh, forget_bias, 1)
    hiddens, cells = _run(x, w_ih, w_hh, *both)
    return _norms(hiddens[-1].sum(), cells)


@cell_gradients.mistake(
    "forget_bias has no effect: is it added to the bias that the cell is given?"
)
def without_bias(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    hiddens, cells = _run(x, w_ih, w_hh, b_ih, b_hh)
    return _norms(hiddens[-1].sum(), cells)


@cell_gradients.mistake(
    "The bias replaced the forget gate's own; add it to what stands there (+= instead of =)."
)
def replaced(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    hidden = w_hh.shape[1]
    b = b_ih.clone()
    b[hidden : 2 * hidden] = forget_bias
    hiddens, cells = _run(x, w_ih, w_hh, b, b_hh)
    return _norms(hiddens[-1].sum(), cells)


@cell_gradients.mistake(
    "Your norms run from c_0 to c_T. Entry 0 belongs to lag 0, which is c_T: turn them round."
)
def first_to_last(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    hiddens, cells = _run(x, w_ih, w_hh, _biased(b_ih, w_hh, forget_bias, 1), b_hh)
    return _norms(hiddens[-1].sum(), cells).flip(0)


@cell_gradients.mistake(
    "These are the gradients for the states h_t; the cells c_t are what the forget gate protects."
)
def of_states(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    hiddens, _ = _run(x, w_ih, w_hh, _biased(b_ih, w_hh, forget_bias, 1), b_hh)
    return _norms(hiddens[-1].sum(), hiddens)


@cell_gradients.mistake("L is the sum of the entries of h_T; yours is the sum of the last cell's.")
def of_last_cell(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    _, cells = _run(x, w_ih, w_hh, _biased(b_ih, w_hh, forget_bias, 1), b_hh)
    return _norms(cells[-1].sum(), cells)


@cell_gradients.mistake(
    "L is the sum of the entries of h_T, the last state; yours is the sum over the states of all steps."
)
def of_all_states(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    hiddens, cells = _run(x, w_ih, w_hh, _biased(b_ih, w_hh, forget_bias, 1), b_hh)
    return _norms(torch.stack(hiddens[1:]).sum(), cells)


@cell_gradients.mistake(
    "Only the way through the cells is counted. The states h_t lead back to earlier cells too: do not detach them."
)
def cells_alone(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    biased = _biased(b_ih, w_hh, forget_bias, 1)
    h = x.new_zeros(x.shape[1], w_hh.shape[1])
    cells = [h.clone().requires_grad_()]
    for x_t in x:
        h, c = _cell(*_blocks(x_t, h.detach(), w_ih, w_hh, biased, b_hh), cells[-1])
        cells.append(c)
    return _norms(h.sum(), cells)


@cell_gradients.mistake("The root is missing: these are squared norms.")
def squared(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    hiddens, cells = _run(x, w_ih, w_hh, _biased(b_ih, w_hh, forget_bias, 1), b_hh)
    return _norms(hiddens[-1].sum(), cells) ** 2
