"""Non-local operations against loops over places; self-attention, convolution, recurrence among them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from course_lib.attention.multihead import scaled_dot_product_attention
from course_lib.attention.nonlocal_block import (
    PAIRWISE,
    NonLocalBlock,
    grid_places,
    restricted,
    strongest_arrows,
)
from course_lib.attention.positions import relative_index
from tests.devices import devices

F64 = torch.float64
SIZES = {1: (5,), 2: (2, 3), 3: (2, 2, 2)}


def block_of(pairwise, dimensions=2, channels=3, inner=2):
    """A block of float64 with every weight random, W_z included."""
    torch.manual_seed(0)
    block = NonLocalBlock(channels, inner, pairwise, dimensions).double()
    for weight in block.parameters():
        nn.init.normal_(weight)
    return block


def specification(block, x, allowed=None):
    """z and the weights f / C, place by place, from the definitions of the four functions."""
    B, N = len(x), math.prod(x.shape[2:])
    places = x.reshape(B, x.size(1), N)
    z, weights = torch.zeros_like(places), torch.zeros(B, N, N, dtype=x.dtype)
    for n in range(B):
        for i in range(N):
            x_i = places[n, :, i]
            seen = [j for j in range(N) if allowed is None or allowed[i, j]]
            f, g = [], []
            for j in seen:
                x_j = places[n, :, j]
                if block.pairwise == "gaussian":
                    f.append((x_i @ x_j).exp())
                else:
                    theta = block.theta.weight @ x_i + block.theta.bias
                    phi = block.phi.weight @ x_j + block.phi.bias
                    if block.pairwise == "embedded_gaussian":
                        f.append((theta @ phi).exp())
                    elif block.pairwise == "dot_product":
                        f.append(theta @ phi)
                    else:
                        f.append((block.w_f @ torch.cat([theta, phi])).relu())
                g.append(block.g.weight @ x_j + block.g.bias)
            y = torch.zeros(block.g.out_features, dtype=x.dtype)
            if seen:
                f = torch.stack(f)
                f = f / (f.sum() if block.pairwise.endswith("gaussian") else len(seen))
                y = f @ torch.stack(g)
                weights[n, i, seen] = f
            z[n, :, i] = block.w_z.weight @ y + block.w_z.bias + x_i
    return z.view_as(x), weights


def gradients(output, block, x):
    weigh = torch.linspace(-1, 2, output.numel(), dtype=F64).view_as(output)
    return torch.autograd.grad((output * weigh).sum(), [x, *block.parameters()])


# ---------------------------------------------------------------- the block


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_each_pairwise_function_is_its_specification(pairwise, dimensions):
    block = block_of(pairwise, dimensions)
    sizes = SIZES[dimensions]
    x = torch.randn(2, 3, *sizes, dtype=F64, requires_grad=True)
    window = restricted(sizes, "convolution")
    window[1] = False  # a place that may look at nothing
    window[2] = torch.arange(len(window)) == 3  # and one that may look at one place
    for allowed in (None, window):
        z, weights = specification(block, x, allowed)
        torch.testing.assert_close(block(x, allowed), z)
        torch.testing.assert_close(block.weights(x, allowed), weights)
        torch.testing.assert_close(gradients(block(x, allowed), block, x), gradients(z, block, x))


def test_the_embedded_gaussian_is_self_attention():
    block = block_of("embedded_gaussian", 3)
    x = torch.randn(2, 3, *SIZES[3], dtype=F64)
    places = x.flatten(2).mT
    parts = block.theta(places), block.phi(places), block.g(places)
    for attention in (scaled_dot_product_attention, F.scaled_dot_product_attention):
        y = attention(*parts, scale=1.0)
        wanted = x + block.w_z(y).mT.reshape(x.shape)
        assert (block(x) - wanted).abs().max() < 1e-12
    with torch.no_grad():  # the usual scale is a matter of theta's size
        block.theta.weight /= math.sqrt(2)
        block.theta.bias /= math.sqrt(2)
    y = F.scaled_dot_product_attention(*parts)
    torch.testing.assert_close(block(x), x + block.w_z(y).mT.reshape(x.shape))


@settings(max_examples=20, deadline=None)
@given(pairwise=st.sampled_from(PAIRWISE), N=st.integers(1, 8), seed=st.integers(0, 99))
def test_places_may_be_permuted(pairwise, N, seed):
    block = block_of(pairwise, 1)
    torch.manual_seed(seed)
    x, order = torch.randn(1, 3, N, dtype=F64), torch.randperm(N)
    assert (block(x[..., order]) - block(x)[..., order]).abs().max() < 1e-12


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_a_new_block_changes_nothing(pairwise):
    x = torch.randn(2, 5, 3, 4)
    block = NonLocalBlock(5, pairwise=pairwise)
    assert torch.equal(block(x), x)
    block(x).square().sum().backward()
    assert block.w_z.weight.grad.abs().max() > 0  # but it can learn
    assert block.g.out_features == 2


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_every_device_agrees_with_float64(pairwise, device):
    block = block_of(pairwise)
    x = torch.randn(2, 3, 4, 4, dtype=F64)
    wanted, weights = block(x), block.weights(x)
    window = restricted((4, 4), "convolution", device=device)
    restricted_wanted = block(x, window.cpu())
    block, y = block.float().to(device), x.float().to(device)
    options = {"rtol": 1e-3, "atol": 1e-3}
    torch.testing.assert_close(block(y).double().cpu(), wanted, **options)
    torch.testing.assert_close(block.weights(y).double().cpu(), weights, **options)
    torch.testing.assert_close(block(y, window).double().cpu(), restricted_wanted, **options)
    block(y).sum().backward()


# ---------------------------------------------------------------- restrictions on j


def test_restrictions_by_hand():
    line = restricted((4,), "convolution").int().tolist()
    assert line == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    steps = restricted((3,), "recurrence").int().tolist()
    assert steps == [[1, 0, 0], [1, 1, 0], [0, 1, 1]]
    assert restricted((2, 3), "all").all()
    assert torch.equal(restricted((2, 3), "convolution", 0), torch.eye(6, dtype=bool))
    image = restricted((3, 4), "convolution").view(3, 4, 3, 4)
    assert image[0, 0].int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert image[1, 2].int().tolist() == [[0, 1, 1, 1]] * 3
    video = restricted((3, 2, 2), "recurrence").view(3, 2, 2, 3, 2, 2)
    assert video[2, 0, 1].nonzero().tolist() == [[1, 0, 1], [2, 0, 1]]


def test_places_are_in_the_order_of_flatten():
    places = grid_places((2, 3))
    assert places.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert grid_places((3,)).tolist() == [[0], [1], [2]]
    x = torch.rand(2, 3, 4)
    assert torch.equal(x[tuple(grid_places((2, 3, 4)).T)], x.flatten())


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_a_convolution_is_the_sum_over_a_window_with_an_f_of_the_distance(radius):
    kernel = torch.randn(2 * radius + 1, dtype=F64)
    x = torch.randn(7, dtype=F64)
    f = kernel[relative_index(7, 7, radius)] * restricted((7,), "convolution", radius)
    wanted = F.conv1d(x[None, None], kernel[None, None], padding=radius)[0, 0]
    torch.testing.assert_close(f @ x, wanted)


def test_a_convolution_of_images_too():
    kernel, x = torch.randn(3, 3, dtype=F64), torch.randn(4, 5, dtype=F64)
    places = grid_places((4, 5))
    rows, columns = (places[None] - places[:, None] + 1).clamp(0, 2).unbind(2)
    f = kernel[rows, columns] * restricted((4, 5), "convolution")
    wanted = F.conv2d(x[None, None], kernel[None, None], padding=1)[0, 0]
    torch.testing.assert_close((f @ x.flatten()).view(4, 5), wanted)


def test_a_recurrence_is_the_sum_over_the_step_before_applied_at_each_step():
    """h_t = w h_{t-1} + x_t: T sweeps of a sum over j in {i - 1} settle on a linear RNN's states."""
    x, w = torch.randn(6, dtype=F64), 0.7
    before = restricted((6,), "recurrence") & ~torch.eye(6, dtype=bool)
    h, states = 0.0, []
    for x_t in x:
        h = w * h + x_t
        states.append(h)
    y = x
    for _ in range(5):
        y = x + w * before.double() @ y
    torch.testing.assert_close(y, torch.stack(states))


def test_a_restricted_block_sees_no_further():
    sizes = (3, 4)
    x = torch.randn(1, 3, *sizes, dtype=F64, requires_grad=True)
    for pairwise in PAIRWISE:
        block = block_of(pairwise)
        window = restricted(sizes, "convolution")
        near, far = (
            torch.autograd.grad(block(x, a)[0, :, 0, 0].sum(), x)[0][0].abs().sum(0) > 0
            for a in (window, None)
        )
        if pairwise == "concatenation":  # whose relu is shut for some pairs
            assert not (near & ~window[0].view(sizes)).any()
        else:
            assert torch.equal(near, window[0].view(sizes))
            assert far.all()


# ---------------------------------------------------------------- arrows, errors


def test_the_strongest_arrows():
    weights = torch.tensor([[9.0, 1.0, 5.0], [2.0, 9.0, 3.0], [8.0, 0.0, 9.0]])
    arrows = strongest_arrows(weights, 3)
    assert arrows.query.tolist() == [2, 0, 1]
    assert arrows.key.tolist() == [0, 2, 2]
    assert arrows.weight.tolist() == [8, 5, 3]
    one = strongest_arrows(weights, 20, query=1)
    assert (one.query.tolist(), one.key.tolist()) == ([1, 1], [2, 0])
    assert len(strongest_arrows(weights).key) == 6
    assert len(strongest_arrows(torch.rand(30, 30)).key) == 20


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="pairwise must be one of gaussian"):
        NonLocalBlock(4, pairwise="cosine")
    with pytest.raises(ValueError, match="dimensions must be 1, 2 or 3"):
        NonLocalBlock(4, dimensions=4)
    with pytest.raises(ValueError, match=r"x must be \[B, C = 4, T, H, W\], got \[1, 4, 2, 2\]"):
        NonLocalBlock(4, dimensions=3)(torch.zeros(1, 4, 2, 2))
    with pytest.raises(ValueError, match=r"x must be \[B, C = 4, H, W\], got \[1, 3, 2, 2\]"):
        NonLocalBlock(4)(torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match='kind must be "all"'):
        restricted((3,), "local")
    with pytest.raises(ValueError, match="radius must be at least 0"):
        restricted((3,), "convolution", -1)
    with pytest.raises(ValueError, match=r"weights must be \[N, N\] of one example"):
        strongest_arrows(torch.zeros(1, 3, 3))
    with pytest.raises(ValueError, match="count must be at least 1"):
        strongest_arrows(torch.zeros(3, 3), 0)
