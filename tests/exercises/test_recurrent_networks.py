"""Unit 02's references against other computations; answers by other means; what its exercises forbid."""

from __future__ import annotations

import itertools

import pytest
import torch

from course_lib.exercises.forbidden import forbidden_names
from course_lib.exercises.recurrent_networks import reference, unit
from tests.exercises.failures import failures_by_other_means

DOUBLE = {"dtype": torch.float64}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_the_gradient_by_linearising_is_autograds(steps):
    x, h0, last = normal(steps, 3, 2), normal(3, 4, seed=1).tanh(), normal(3, 4, seed=2)
    w_ih, w_hh, bias = normal(4, 2, seed=3), normal(4, 4, seed=4), normal(4, seed=5)
    leaves = [value.requires_grad_() for value in (w_ih, w_hh, h0)]
    states = reference.rnn_states(x, h0, w_ih, w_hh, bias, bias)
    wanted = torch.autograd.grad((states[-1] * last).sum(), leaves)
    with torch.no_grad():
        got = reference.backpropagate(x, torch.cat([h0[None], states]), w_hh, last)
    for ours, autograds in zip(got, wanted, strict=True):
        assert (ours - autograds).abs().max() < 1e-8


def test_forward_variables_are_sums_over_all_paths():
    initial, transition = normal(3).softmax(0), normal(3, 3, seed=1).softmax(1)
    emission, seen = normal(3, 4, seed=2).softmax(1), torch.tensor([2, 0, 3, 3])
    alpha = torch.zeros(4, 3, **DOUBLE)
    for steps in range(1, 5):
        for path in itertools.product(range(3), repeat=steps):
            p = initial[path[0]]
            for before, after in itertools.pairwise(path):
                p = p * transition[before, after]
            alpha[steps - 1, path[-1]] += p * emission[list(path), seen[:steps]].prod()
    assert torch.allclose(reference.forward_log(seen, initial, transition, emission), alpha.log())


def test_the_kalman_step_conditions_a_gaussian():
    """Condition the joint Gaussian of (next state, observation) on the observation."""
    A, C, root = normal(3, 3), normal(2, 3, seed=1), normal(3, 3, seed=2)
    Q, R, P, m, y = torch.eye(3, **DOUBLE), torch.eye(2, **DOUBLE), root @ root.T, root[0], C[:, 0]
    moved = A @ P @ A.T + Q
    joint = torch.cat(
        [torch.cat([moved, moved @ C.T], 1), torch.cat([C @ moved, C @ moved @ C.T + R], 1)]
    )
    weight = joint[:3, 3:] @ joint[3:, 3:].inverse()
    mean, covariance = reference.kalman_step(m, P, y, A, C, Q, R)
    assert torch.allclose(mean, A @ m + weight @ (y - C @ A @ m))
    assert torch.allclose(covariance, moved - weight @ joint[3:, :3])


# right answers, written otherwise than the master's -----------------------------------------------


def rnn_states(x, h0, w_ih, w_hh, b_ih, b_hh):
    projected = x @ w_ih.T + b_ih + b_hh
    out = []
    for a in projected:
        h0 = torch.addmm(a, h0, w_hh.t()).tanh()
        out += [h0]
    return torch.stack(out, 0)


def backpropagate(x, states, w_hh, grad_last):
    """Three nested sums, a number at a time in the batch."""
    steps, batch, _ = x.shape
    ih, hh, start = torch.zeros(w_hh.shape[0], x.shape[2]), torch.zeros_like(w_hh), []
    for b in range(batch):
        g = grad_last[b]
        for t in reversed(range(steps)):
            delta = torch.diag(1 - states[t + 1, b].square()) @ g
            ih, hh = ih + torch.outer(delta, x[t, b]), hh + torch.outer(delta, states[t, b])
            g = w_hh.T @ delta
        start.append(g)
    return [ih, hh, torch.stack(start)]


def clip_gradients(gradients, max_norm):
    """In place, in float64, and as a tuple."""
    norm = torch.cat([g.double().reshape(-1) for g in gradients]).norm()
    for g in gradients:
        g *= (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return tuple(gradients)


def lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh):
    """One gate at a time, with slices of the weights."""
    n, blocks = h.shape[1], []
    for k in range(4):
        rows = slice(k * n, (k + 1) * n)
        blocks.append(x @ w_ih[rows].T + h @ w_hh[rows].T + b_ih[rows] + b_hh[rows])
    kept = c / (1 + torch.exp(-blocks[1])) + blocks[0].sigmoid() * blocks[2].tanh()
    return [blocks[3].sigmoid() * kept.tanh(), kept]


def cell_gradients(x, w_ih, w_hh, b_ih, b_hh, forget_bias):
    """With retain_grad and backward instead of torch.autograd.grad; the bias goes to b_hh."""
    n = w_hh.shape[1]
    b_hh[n : 2 * n] += forget_bias
    h, c = torch.zeros(2, x.shape[1], n)
    c, cells = c.clone().requires_grad_(), []
    for x_t in x:
        c.retain_grad()
        cells.append(c)
        h, c = lstm_step(x_t, h, c, w_ih, w_hh, b_ih, b_hh)
    c.retain_grad()
    h.sum().backward()
    return torch.tensor([float(c.grad.norm()) for c in [c, *cells[::-1]]])


def forward_log(observations, initial, transition, emission):
    """Scaled instead of logarithmic, with Rabiner's coefficients."""
    rows, total, b = [], 0.0, initial
    for n, symbol in enumerate(observations.tolist()):
        b = (b if n == 0 else b @ transition) * emission[:, symbol]
        total, b = total + b.sum().log(), b / b.sum().clamp(min=1e-30)
        rows.append(b.log() + total)
    return torch.stack(rows)


def kalman_step(mean, covariance, y, A, C, Q, R):
    """Joseph's form, and a solve in place of the inverse."""
    mean, P = A @ mean, A @ covariance @ A.T + Q
    gain = torch.linalg.solve(C @ P @ C.T + R, C @ P).T
    rest = torch.eye(len(mean)) - gain @ C
    return mean + gain @ (y - C @ mean), rest @ P @ rest.T + gain @ R @ gain.T


def scale_spectrum(matrix, radius):
    values = torch.linalg.eig(matrix.double())[0]
    return radius * matrix / (values.real**2 + values.imag**2).sqrt().max()


OTHERS = (
    rnn_states,
    backpropagate,
    clip_gradients,
    lstm_step,
    cell_gradients,
    forward_log,
    kalman_step,
    scale_spectrum,
)


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.__name__)
def test_right_answers_by_other_means_pass(other):
    assert failures_by_other_means(unit.find(other.__name__), other) == []


def test_every_exercise_has_another_answer():
    assert {other.__name__ for other in OTHERS} == {*unit.exercises}


# mistakes in other clothes ------------------------------------------------------------------------


def named(name, answer) -> str:
    return "\n".join(unit.verdict(name, answer).lines)


def test_underflow_is_named_in_float64_too():
    def multiplied(observations, initial, transition, emission):
        alpha = initial.double() * emission[:, observations[0]]
        rows = [alpha.log()]
        for symbol in observations[1:]:
            alpha = alpha @ transition.double() * emission[:, symbol]
            rows.append(alpha.log())
        return torch.stack(rows)

    assert "mistake   Underflow" in named("forward_log", multiplied)


@pytest.mark.parametrize("small", [1e-8, 1e-12, 1e-30])
def test_any_small_number_inside_the_log_is_named(small):
    def smuggled(observations, *tables):
        return reference.forward_log(observations, *(table + small for table in tables))

    assert "What is impossible has a finite value" in named("forward_log", smuggled)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("rnn_states", "from torch.nn import RNN\nnet = RNN(2, 3)"),
        ("rnn_states", "import torch\ntorch.nn.RNNCell(2, 3)"),
        ("lstm_step", "import torch\nh, c = torch.lstm_cell(x, (h, c), *weights)"),
        ("lstm_step", "from torch import nn\nnn.modules.rnn.LSTMCell(2, 3)"),
        ("lstm_step", "from course_lib.sequence.cells import lstm_step as step\nstep(a, h, c, w)"),
        ("backpropagate", "import torch\ntorch.autograd.grad(a, b)"),
        ("backpropagate", "from torch.func import vjp\nvjp(f, x)"),
        ("clip_gradients", "from torch.nn.utils import clip_grad_norm_ as c\nc(p, 1.0)"),
        ("backpropagate", "loss.backward()"),
        ("rnn_states", "import torch\ntorch.ops.aten.rnn_tanh.input(x, h, w)"),
        ("forward_log", "import torch as t\nt.logsumexp(a, 0)"),
        ("forward_log", "paths.logsumexp(0)"),
        ("forward_log", "import numpy as np\nnp.logaddexp.reduce(paths)"),
        ("kalman_step", "from filterpy.kalman import predict\npredict(x, P)"),
    ],
)
def test_what_is_ready_made_is_forbidden(name, source):
    assert forbidden_names(source, unit.find(name).forbids)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("cell_gradients", "import torch\ntorch.autograd.grad(h.sum(), cells)"),
        ("lstm_step", "import torch\nfrom torch import nn\ntorch.sigmoid(nn.Linear(2, 3)(x))"),
        ("forward_log", "import torch\ntorch.exp(paths - m).sum(0).log()"),
    ],
)
def test_what_an_answer_needs_is_allowed(name, source):
    assert forbidden_names(source, unit.find(name).forbids) == []
