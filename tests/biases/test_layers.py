"""Layers written as one matrix, against torch with the same weights: values and gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from course_lib.biases import LocallyConnected1d, recurrent_weight, toeplitz_weight
from tests.biases.cases import randn
from tests.devices import devices

MODES = ("zeros", "circular")


def conv1d(x, kernel, padding, mode):
    """torch's: x [B, C, L]."""
    padded = F.pad(x, (padding, padding), mode="constant" if mode == "zeros" else "circular")
    return F.conv1d(padded, kernel)


@st.composite
def convolutions(draw):
    length, padding = draw(st.integers(1, 9)), draw(st.integers(0, 3))
    mode = draw(st.sampled_from(MODES))
    padding = min(padding, length) if mode == "circular" else padding
    k = draw(st.integers(1, length + 2 * padding))
    return draw(st.integers(1, 3)), draw(st.integers(1, 3)), k, length, padding, mode


@given(case=convolutions(), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_the_matrix_is_torchs_convolution_in_values_and_gradients(case, seed):
    out_channels, in_channels, k, length, padding, mode = case
    ours = randn(out_channels, in_channels, k, seed=seed).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    x = randn(2, in_channels, length, seed=seed + 1)
    weight = toeplitz_weight(ours, length, padding, mode)
    out = (x.flatten(1) @ weight.T).view(2, out_channels, -1)
    oracle = conv1d(x, theirs, padding, mode)
    torch.testing.assert_close(out, oracle)
    grad = randn(*oracle.shape, seed=seed + 2)
    out.backward(grad)
    oracle.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_matrix_by_hand():
    kernel = torch.tensor([1.0, 2.0, 3.0])
    assert toeplitz_weight(kernel, 4).tolist() == [[1, 2, 3, 0], [0, 1, 2, 3]]
    same = [[2, 3, 0, 0], [1, 2, 3, 0], [0, 1, 2, 3], [0, 0, 1, 2]]
    assert toeplitz_weight(kernel, 4, padding=1).tolist() == same
    same[0][3], same[3][0] = 1, 3
    assert toeplitz_weight(kernel, 4, 1, "circular").tolist() == same


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.ones(3), 2), "does not fit into length 2"),
        ((torch.ones(3), 4, -1), "does not fit"),
        ((torch.ones(3, 3), 4), r"must be \[k\] or"),
        ((torch.ones(3), 4, 1, "reflect"), "'zeros' or 'circular'"),
        ((torch.ones(3), 4, 5, "circular"), "twice"),
    ],
)
def test_kernels_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        toeplitz_weight(*arguments)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bias", [True, False])
def test_the_local_layer_with_equal_weights_is_a_convolution(mode, bias):
    local = LocallyConnected1d(2, 4, 3, 7, padding=1, padding_mode=mode, bias=bias).double()
    torch_layer = nn.Conv1d(2, 4, 3, padding=1, padding_mode=mode, bias=bias).double()
    with torch.no_grad():
        local.weight.copy_(torch_layer.weight.expand_as(local.weight))
        if bias:
            local.bias.copy_(torch_layer.bias.expand_as(local.bias))
    x = randn(3, 2, 7)
    ours, theirs = (x.clone().requires_grad_() for _ in range(2))
    out, oracle = local(ours), torch_layer(theirs)
    torch.testing.assert_close(out, oracle)
    grad = randn(*oracle.shape)
    out.backward(grad)
    oracle.backward(grad)
    torch.testing.assert_close(ours.grad, theirs.grad)
    torch.testing.assert_close(local.weight.grad.sum(0), torch_layer.weight.grad)
    if bias:
        torch.testing.assert_close(local.bias.grad.sum(0), torch_layer.bias.grad)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("k", "padding"), [(3, 1), (2, 0), (5, 2), (1, 0), (6, 1)])
def test_the_local_layer_is_its_matrix(mode, k, padding):
    layer = LocallyConnected1d(2, 3, k, 5, padding, mode).double()
    x = randn(4, 2, 5)
    by_matrix = (x.flatten(1) @ layer.matrix().T).view(4, 3, -1) + layer.bias.T
    torch.testing.assert_close(layer(x), by_matrix)


def test_the_local_layer_does_not_share():
    layer = LocallyConnected1d(1, 1, 3, 6, padding=1, bias=False)
    assert layer.weight.numel() == 6 * 3
    assert len(layer.matrix().unique()) == 6 * 3 - 2 + 1  # two taps read padding; and the zeros
    with pytest.raises(ValueError, match=r"must be \[B, 1, 6\], got \[2, 1, 5\]"):
        layer(torch.ones(2, 1, 5))


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize(("hidden", "features"), [(1, 1), (3, 2), (2, 4)])
def test_the_unrolled_matrix_is_the_recursion(steps, hidden, features):
    w_in, w_hidden = (
        randn(hidden, features).requires_grad_(),
        randn(hidden, hidden).requires_grad_(),
    )
    x, state, states = randn(steps, features), torch.zeros(hidden, dtype=torch.float64), []
    for t in range(steps):
        state = w_hidden @ state + w_in @ x[t]
        states.append(state)
    unrolled = (recurrent_weight(w_in, w_hidden, steps) @ x.flatten()).view(steps, hidden)
    torch.testing.assert_close(unrolled, torch.stack(states))
    grad, parameters = randn(steps, hidden), (w_in, w_hidden)
    options = {"allow_unused": True, "materialize_grads": True}  # one step needs no w_hidden
    wanted = torch.autograd.grad(torch.stack(states), parameters, grad, **options)
    torch.testing.assert_close(torch.autograd.grad(unrolled, parameters, grad, **options), wanted)


def test_the_unrolled_matrix_by_hand():
    weight = recurrent_weight(torch.tensor([[3.0]]), torch.tensor([[2.0]]), 3)
    assert weight.tolist() == [[3, 0, 0], [6, 3, 0], [12, 6, 3]]
    with pytest.raises(ValueError, match=r"w_hidden \[H, H\] and steps >= 1"):
        recurrent_weight(torch.ones(2, 1), torch.ones(1, 1), 3)
    with pytest.raises(ValueError, match="steps >= 1"):
        recurrent_weight(torch.ones(1, 1), torch.ones(1, 1), 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_stays(dtype):
    assert toeplitz_weight(torch.ones(3, dtype=dtype), 5, 1).dtype == dtype
    assert recurrent_weight(*(torch.ones(1, 1, dtype=dtype),) * 2, 4).dtype == dtype
    local = LocallyConnected1d(1, 1, 3, 5).to(dtype)
    assert local(torch.ones(1, 1, 5, dtype=dtype)).dtype == local.matrix().dtype == dtype


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("mode", MODES)
def test_each_device_agrees_with_the_cpu(device, mode):
    kernel, x = randn(2, 2, 3), randn(4, 2, 6)
    w_in, w_hidden = randn(3, 2), randn(3, 3)
    local = LocallyConnected1d(2, 2, 3, 6, padding=1, padding_mode=mode).double()
    there = LocallyConnected1d(2, 2, 3, 6, padding=1, padding_mode=mode).double()
    there.load_state_dict(local.state_dict())
    there.to(device)
    for ours, other in (
        (toeplitz_weight(kernel, 6, 1, mode), toeplitz_weight(kernel.to(device), 6, 1, mode)),
        (
            recurrent_weight(w_in, w_hidden, 4),
            recurrent_weight(w_in.to(device), w_hidden.to(device), 4),
        ),
        (local.matrix(), there.matrix()),
        (local(x), there(x.to(device))),
    ):
        assert other.device.type == device.type
        torch.testing.assert_close(other.cpu(), ours)
    local(x).square().sum().backward()
    there(x.to(device)).square().sum().backward()
    torch.testing.assert_close(there.weight.grad.cpu(), local.weight.grad)
