"""Unit 04, the optional exercise 9: a non-local block on images."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.decoding import unit


@unit.exercise(
    points=1,
    minutes=5,
    reference=reference.non_local,
    hints=[
        "x.flatten(2) is [B, C, N] with the N = height * width positions last; theta @ that is [B, C', N].",
        "weights [B, N, N] are the softmax over j (the last axis) of theta_i . phi_j: transpose the first of the two.",
        "y = g @ weights^T is [B, C', N]; out maps it back to C channels, .view_as(x), and x is added.",
    ],
)
def non_local(answer, case: Case) -> None:
    """x + W y [B, C, height, width]: y_i = sum_j softmax_j(theta x_i . phi x_j) g x_j; theta, phi, g [C', C]."""
    for height in (2, case.size(3, 4)):
        batch, channels, inner = case.size(2, 3), case.size(4, 5), case.size(2, 3)
        x = case.normal(batch, channels, height, height + case.size(1, 3))
        maps = case.normal(3, inner, channels) * channels**-0.5
        given = (x, *maps, case.normal(channels, inner))
        case.expect(answer(*given), reference.non_local(*given), label=f"height {height}")
    given = (x[:1], *maps, 0.1 * given[-1])
    case.expect_gradient(answer, reference.non_local, *given, wrt=1)


def _mapped(x, *maps):
    """Each map on each position: [B, C', N]."""
    flat = x.flatten(2)
    return [m @ flat for m in maps]


def _scores(asked, offered):
    """theta_i . phi_j [B, N, N]."""
    return asked.transpose(1, 2) @ offered


def _added(x, weights, told, out):
    """x + W y; weights [B, N, N], told [B, C', N]."""
    return x + (out @ told @ weights.transpose(1, 2)).view_as(x)


@non_local.mistake(
    "Your softmax runs over i, the positions that look. Each of them shares out its attention over j: the last axis."
)
def over_lookers(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(x, _scores(asked, offered).softmax(1), told, out)


@non_local.mistake(
    "The weights reach the values transposed: y_i is the sum over j of weights[i, j] g_j."
)
def weights_transposed(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(x, _scores(asked, offered).softmax(2).transpose(1, 2), told, out)


@non_local.mistake("theta and phi are exchanged: theta asks (i), phi answers (j).")
def exchanged(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, phi, theta, g)
    return _added(x, _scores(asked, offered).softmax(2), told, out)


@non_local.mistake("The residual is missing: the block adds W y to its input x.")
def no_residual(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(torch.zeros_like(x), _scores(asked, offered).softmax(2), told, out)


@non_local.mistake(
    "The scores were divided by a root, as in a transformer. The non-local block's embedded Gaussian does not scale."
)
def scaled(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(x, (_scores(asked, offered) / len(theta) ** 0.5).softmax(2), told, out)


@non_local.mistake(
    "The softmax is missing; you divided by the number of positions. That is the dot-product block, a cousin."
)
def dot_product(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(x, _scores(asked, offered) / told.shape[2], told, out)


@non_local.mistake(
    "Each position looks along its own row only. All positions of the image are keys: flatten height and width first."
)
def along_rows(x, theta, phi, g, out):
    asked, offered, told = (torch.einsum("kc,bchw->bhkw", m, x) for m in (theta, phi, g))
    weights = (asked.transpose(2, 3) @ offered).softmax(3)
    y = told @ weights.transpose(2, 3)  # [B, height, C', width]
    return x + torch.einsum("ck,bhkw->bchw", out, y)


@non_local.mistake(
    "The attention is among channels, not among positions: the weights must be [B, N, N]."
)
def among_channels(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    weights = (asked @ offered.transpose(1, 2)).softmax(2)
    return x + (out @ weights @ told).view_as(x)


@non_local.mistake(
    "You read [B, C, height, width] as [B, N, C] with view or reshape, which mixes channels with positions. Flatten "
    "the last two axes, then transpose."
)
def scrambled(x, theta, phi, g, out):
    flat = x.reshape(len(x), -1, x.shape[1])  # [B, N, C]
    weights = ((flat @ theta.T) @ (flat @ phi.T).transpose(1, 2)).softmax(2)
    return x + (weights @ (flat @ g.T) @ out.T).reshape(x.shape)


@non_local.mistake(
    "On the way back [B, N, C] was reshaped to the image at once. Transpose to [B, C, N] first."
)
def scrambled_on_the_way_back(x, theta, phi, g, out):
    flat = x.flatten(2).transpose(1, 2)  # [B, N, C]
    weights = ((flat @ theta.T) @ (flat @ phi.T).transpose(1, 2)).softmax(2)
    return x + (weights @ (flat @ g.T) @ out.T).reshape(x.shape)


@non_local.mistake(
    "The values are right, but no gradient flows: was there no_grad, .data, .detach() or numpy on the way?"
)
def without_gradient(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(x, _scores(asked, offered).softmax(2), told, out).detach()
