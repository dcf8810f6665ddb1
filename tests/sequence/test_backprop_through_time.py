"""BPTT by hand: autograd's gradients, copies, linearity, clipping, what lag does to a gradient."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.sequence import backprop_through_time as bptt
from course_lib.sequence.recurrent import RNN
from tests.devices import devices

NONLINEARITIES = ["tanh", "relu", "linear"]
INPUT, HIDDEN, BATCH = 2, 4, 3


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def _problem(steps: int) -> dict[str, torch.Tensor]:
    """x, h0 and weights that take gradients."""
    shapes = {
        "x": (steps, BATCH, INPUT),
        "h0": (BATCH, HIDDEN),
        "weight_ih": (HIDDEN, INPUT),
        "weight_hh": (HIDDEN, HIDDEN),
        "bias": (HIDDEN,),
    }
    return {name: (_random(*shape) / 2).requires_grad_() for name, shape in shapes.items()}


def _by_hand(problem, grad_hidden, nonlinearity="tanh", tied=True) -> bptt.Gradients:
    values = {name: value.detach() for name, value in problem.items()}
    _, stack = bptt.forward(**values, nonlinearity=nonlinearity)
    weights = (values["weight_ih"], values["weight_hh"])
    return bptt.backward(stack, grad_hidden, *weights, nonlinearity, tied)


def _assert_close(got, wanted) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("last_only", [False, True], ids=["every step", "last step"])
@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("steps", [1, 2, 12])
def test_gradients_equal_autograds(steps, nonlinearity, last_only):
    problem = _problem(steps)
    hidden, _ = bptt.forward(**problem, nonlinearity=nonlinearity)
    upstream = torch.randn_like(hidden)
    if last_only:
        upstream[:-1] = 0
    hidden.backward(upstream)
    got = _by_hand(problem, upstream, nonlinearity)
    for name, leaf in problem.items():
        _assert_close(getattr(got, name), leaf.grad)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_forward_pass_is_the_layers(nonlinearity):
    problem = _problem(6)
    layer = RNN(INPUT, HIDDEN, nonlinearity=nonlinearity, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(problem["weight_ih"])
        layer.weight_hh_l0.copy_(problem["weight_hh"])
        layer.bias_ih_l0.copy_(problem["bias"] - 1)
        layer.bias_hh_l0.fill_(1)
    wanted, _ = layer(problem["x"], problem["h0"].unsqueeze(0))
    got, stack = bptt.forward(**problem, nonlinearity=nonlinearity)
    _assert_close(got, wanted)
    for t, activity in enumerate(stack):
        _assert_close(activity.x, problem["x"][t])
        _assert_close(activity.before, got[t - 1] if t else problem["h0"])
        _assert_close(activity.after, got[t])
    del problem["bias"]
    unbiased, _ = bptt.forward(**problem, nonlinearity=nonlinearity)
    _assert_close(
        unbiased, bptt.forward(**problem, bias=_random(4) * 0, nonlinearity=nonlinearity)[0]
    )


@pytest.mark.parametrize("nonlinearity", NONLINEARITIES)
@pytest.mark.parametrize("steps", [1, 5])
def test_a_tied_weights_gradient_is_the_sum_over_its_copies(steps, nonlinearity):
    """An unrolled net whose T copies are T parameters: each copy's gradient, then their sum."""
    problem = _problem(steps)
    copies = {
        name: [problem[name].detach().clone().requires_grad_() for _ in range(steps)]
        for name in ("weight_ih", "weight_hh", "bias")
    }
    h, hidden = problem["h0"], []
    for t in range(steps):
        own = {name: copies[name][t] for name in copies}
        h = bptt.forward(problem["x"][t : t + 1], h, **own, nonlinearity=nonlinearity)[0][0]
        hidden.append(h)
    upstream = _random(steps, BATCH, HIDDEN)
    torch.stack(hidden).backward(upstream)
    apart = _by_hand(problem, upstream, nonlinearity, tied=False)
    tied = _by_hand(problem, upstream, nonlinearity)
    for name, leaves in copies.items():
        _assert_close(getattr(apart, name), torch.stack([leaf.grad for leaf in leaves]))
        _assert_close(getattr(tied, name), getattr(apart, name).sum(0))
    for name in ("h0", "x", "hidden"):
        _assert_close(getattr(tied, name), getattr(apart, name))


def test_the_gradient_at_a_hidden_state_counts_every_way_to_the_loss():
    problem = _problem(7)
    hidden, stack = bptt.forward(**problem)
    upstream = torch.randn_like(hidden)
    wanted = torch.autograd.grad(hidden, [activity.after for activity in stack], upstream)
    _assert_close(_by_hand(problem, upstream).hidden, torch.stack(wanted))


@settings(max_examples=20, deadline=None)
@given(
    a=st.floats(-1e3, 1e3),
    b=st.floats(-1e3, 1e3),
    steps=st.integers(1, 8),
    nonlinearity=st.sampled_from(NONLINEARITIES),
    seed=st.integers(0, 99),
)
def test_the_backward_pass_is_linear(a, b, steps, nonlinearity, seed):
    """Twice the gradient in, twice the gradient out; the forward pass squashes, this does not."""
    torch.manual_seed(seed)
    problem = _problem(steps)
    one, other = _random(steps, BATCH, HIDDEN), _random(steps, BATCH, HIDDEN)
    combined = _by_hand(problem, a * one + b * other, nonlinearity)
    parts = [_by_hand(problem, gradient, nonlinearity) for gradient in (one, other)]
    for got, first, second in zip(combined, *parts):
        torch.testing.assert_close(got, a * first + b * second, rtol=1e-6, atol=1e-6)


def test_one_step_worked_out():
    """h = tanh(2 * .5) and L = 3 h: delta = 3 (1 - h^2), dL/dw = delta * .5, dL/dh0 = 4 delta."""
    x, h0 = torch.tensor([[[0.5]]]), torch.zeros(1, 1)
    hidden, stack = bptt.forward(x, h0, torch.tensor([[2.0]]), torch.tensor([[4.0]]))
    h = math.tanh(1)
    assert hidden.item() == pytest.approx(h)
    back = bptt.backward(
        stack, torch.full((1, 1, 1), 3.0), torch.tensor([[2.0]]), torch.tensor([[4.0]])
    )
    delta = 3 * (1 - h * h)
    assert back.weight_ih.item() == pytest.approx(0.5 * delta)
    assert back.bias.item() == pytest.approx(delta)
    assert back.weight_hh.item() == 0  # the state before was 0
    assert back.h0.item() == pytest.approx(4 * delta)
    assert back.x.item() == pytest.approx(2 * delta)
    assert back.hidden.item() == 3


@settings(max_examples=40, deadline=None)
@given(
    scale=st.sampled_from([0.0, 1e-8, 1e-3, 1.0, 1e3, 1e10]),
    max_norm=st.sampled_from([1e-3, 0.5, 1.0, 50.0]),
    count=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_clipping_equals_torchs(scale, max_norm, count, seed):
    torch.manual_seed(seed)
    parameters = [torch.zeros(size + 1, 2, dtype=torch.float64) for size in range(count)]
    for parameter in parameters:
        parameter.grad = scale * torch.randn_like(parameter)
    before = [parameter.grad.clone() for parameter in parameters]
    clipped, norm = bptt.clip_gradients(before, max_norm)
    for gradient, parameter in zip(before, parameters):
        assert torch.equal(gradient, parameter.grad)  # the arguments stay as they are
    wanted = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
    torch.testing.assert_close(norm, wanted)
    torch.testing.assert_close(clipped, [parameter.grad for parameter in parameters])
    assert torch.cat([gradient.flatten() for gradient in clipped]).norm() <= max_norm * (1 + 1e-12)


@pytest.mark.parametrize("radius", [0.9, 1.0, 1.1])
def test_in_a_linear_net_the_gradient_goes_like_radius_to_the_lag(radius):
    generator = torch.Generator().manual_seed(0)
    norms = bptt.rnn_gradient_by_lag(radius, 200, nonlinearity="linear", generator=generator)
    assert norms.shape == (200,)
    assert norms[0] == 1
    slope = (norms[199] / norms[50]).log() / 149
    assert slope == pytest.approx(math.log(radius), abs=0.02)


def test_inputs_that_drive_tanh_units_make_gradients_vanish():
    norms = {
        scale: bptt.rnn_gradient_by_lag(
            1.1, input_scale=scale, generator=torch.Generator().manual_seed(0)
        )
        for scale in (0.0, 1.0)
    }
    assert norms[0.0][99] > 100
    assert norms[1.0][99] < 1e-10


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_forget_bias_decides_how_long_cells_remember(seed):
    """At lag 99 about 1e-20, 1e-7 and 3 for forget biases 0, 1, 3."""
    at_99 = {
        bias: bptt.lstm_gradient_by_lag(bias, generator=torch.Generator().manual_seed(seed))[99]
        for bias in (0, 1, 3)
    }
    assert 1e-23 < at_99[0] < 1e-17
    assert 1e-9 < at_99[1] < 1e-5
    assert 0.1 < at_99[3] < 100


def test_norms_by_lag_begin_with_the_last_step():
    gradient = torch.tensor([[[3.0, 4.0]], [[0.0, 1.0]], [[2.0, 0.0]]])  # norms 5, 1, 2
    torch.testing.assert_close(bptt.gradient_by_lag(gradient), torch.tensor([1.0, 0.5, 2.5]))


def test_wrong_inputs_are_named():
    problem = {name: value.detach() for name, value in _problem(3).items()}
    with pytest.raises(ValueError, match=r"one of \['tanh', 'relu', 'linear'\], got 'sigmoid'"):
        bptt.forward(**problem, nonlinearity="sigmoid")
    wrong = {"x": (3, 2), "h0": (2, 4), "weight_ih": (2, 4), "weight_hh": (4, 3)}
    for name, shape in wrong.items():
        with pytest.raises(ValueError, match=r"h0 \[B, H\].*got \["):
            bptt.forward(**{**problem, name: torch.zeros(shape, dtype=torch.float64)})
    with pytest.raises(ValueError, match="no steps"):
        bptt.forward(**{**problem, "x": problem["x"][:0]})
    _, stack = bptt.forward(**problem)
    with pytest.raises(ValueError, match="each of the 3 steps"):
        bptt.backward(stack, _random(2, BATCH, HIDDEN), problem["weight_ih"], problem["weight_hh"])


@pytest.mark.parametrize("device", devices())
def test_device_parity(device):
    problem, upstream = _problem(5), _random(5, BATCH, HIDDEN)
    moved = {name: value.to(device, torch.float32) for name, value in problem.items()}
    got = _by_hand(moved, upstream.to(device, torch.float32))
    for part, wanted in zip(got, _by_hand(problem, upstream)):
        torch.testing.assert_close(part.double().cpu(), wanted, rtol=1e-4, atol=1e-5)
