"""Output-to-hidden recurrence: free running, teacher forced, and where the two agree."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.sequence.recurrent import OutputRNN
from tests.devices import devices


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def _net(inputs: int = 3, **options) -> OutputRNN:
    torch.manual_seed(0)
    return OutputRNN(inputs, 5, 2, **options).double()


@settings(max_examples=20, deadline=None)
@given(
    steps=st.integers(1, 12),
    batch=st.integers(1, 3),
    inputs=st.sampled_from([0, 3]),
    nonlinearity=st.sampled_from(["tanh", "relu"]),
    learned=st.booleans(),
    batch_first=st.booleans(),
)
def test_a_teacher_who_says_what_the_net_says_changes_nothing(
    steps, batch, inputs, nonlinearity, learned, batch_first
):
    options = {"nonlinearity": nonlinearity, "learned_y0": learned, "batch_first": batch_first}
    net = _net(inputs, **options)
    if learned:
        nn.init.normal_(net.y0)
    x = _random(*((batch, steps) if batch_first else (steps, batch)), inputs)
    for y0 in (None, _random(batch, 2)):
        said, hidden = net(x, y0)
        forced, forced_hidden = net(x, y0, teacher=said)
        torch.testing.assert_close(forced, said)
        torch.testing.assert_close(forced_hidden, hidden)


def test_free_running_is_the_equation_step_by_step():
    net, x, y = _net(), _random(4, 2, 3), _random(2, 2)
    said, hidden = net(x, y)
    for t in range(4):
        h = torch.tanh(x[t] @ net.weight_in.t() + y @ net.weight_back.t() + net.bias)
        y = h @ net.output.weight.t() + net.output.bias
        torch.testing.assert_close(hidden[t], h)
        torch.testing.assert_close(said[t], y)


def test_forced_steps_do_not_wait_for_each_other():
    """Under a teacher a step depends on the teacher's word before it and on no other step's input."""
    net, x, teacher = _net(), _random(5, 1, 3).requires_grad_(), _random(5, 1, 2).requires_grad_()
    y, _ = net(x, teacher=teacher)
    of_x, of_teacher = torch.autograd.grad(y[3].sum(), (x, teacher))
    assert (of_x.abs().sum((1, 2)) > 0).tolist() == [False, False, False, True, False]
    assert (of_teacher.abs().sum((1, 2)) > 0).tolist() == [False, False, True, False, False]


def test_a_free_step_depends_on_all_inputs_before_it():
    net, x = _net(learned_y0=True), _random(5, 1, 3).requires_grad_()
    of_x, of_y0 = torch.autograd.grad(net(x)[0][3].sum(), (x, net.y0))
    assert (of_x.abs().sum((1, 2)) > 0).tolist() == [True, True, True, True, False]
    assert of_y0.abs().min() > 0


def test_without_bias_nothing_in_gives_nothing_out():
    y, h = _net(bias=False)(torch.zeros(3, 1, 3, dtype=torch.float64))
    assert y.abs().max() == h.abs().max() == 0


def test_weights_start_as_the_other_layers_do():
    net = OutputRNN(30, 100, 20, learned_y0=True)
    for weight in (net.weight_in, net.weight_back, net.bias):
        assert 0.08 < weight.abs().max() <= 0.1
    assert net.y0.abs().max() == 0


def test_wrong_shapes_are_named():
    net = OutputRNN(3, 5, 2)
    with pytest.raises(ValueError, match=r"\[T, B, 3\].*got \[4, 3\]"):
        net(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="no steps"):
        net(torch.zeros(0, 1, 3))
    with pytest.raises(ValueError, match=r"one output a step, \[4, 1, 2\], got \[3, 1, 2\]"):
        net(torch.zeros(4, 1, 3), teacher=torch.zeros(3, 1, 2))
    with pytest.raises(ValueError, match=r"y0 must be \[1, 2\], got \[2\]"):
        net(torch.zeros(4, 1, 3), torch.zeros(2))


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("forced", [False, True])
def test_device_parity(device, forced):
    net, x, teacher = _net(learned_y0=True), _random(4, 2, 3), _random(4, 2, 2)
    moved = _net(learned_y0=True)
    moved.load_state_dict(net.state_dict())
    moved.to(device, torch.float32)
    results = []
    for module in (net, moved):
        like = module.weight_in
        y, _ = module(x.to(like), teacher=teacher.to(like) if forced else None)
        y.square().sum().backward()
        results.append([y, *(parameter.grad for parameter in module.parameters())])
    for wanted, got in zip(*results):
        torch.testing.assert_close(got.double().cpu(), wanted, rtol=1e-4, atol=1e-5)
