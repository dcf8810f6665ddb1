"""Unit 04, the optional exercise 9: a non-local block on images."""

from __future__ import annotations

import functools

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.decoding import unit
from course_lib.exercises.transformers.naming import keep_arguments, named


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
        keep_arguments(case, *given)
    given = (x[:1], *maps, 0.1 * given[-1])
    for wrt in (0, 1):
        case.expect_gradient(answer, reference.non_local, *given, wrt=wrt)


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


@named(
    non_local,
    "Your softmax runs over i, the positions that look. Each of them shares out its attention over j: the last axis.",
)
def over_lookers(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(x, _scores(asked, offered).softmax(1), told, out)


@named(
    non_local,
    "The weights reach the values transposed: y_i is the sum over j of weights[i, j] g_j.",
)
def weights_transposed(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(x, _scores(asked, offered).softmax(2).transpose(1, 2), told, out)


@named(non_local, "theta and phi are exchanged: theta asks (i), phi answers (j).")
def exchanged(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, phi, theta, g)
    return _added(x, _scores(asked, offered).softmax(2), told, out)


@named(non_local, "The residual is missing: the block adds W y to its input x.")
def no_residual(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(torch.zeros_like(x), _scores(asked, offered).softmax(2), told, out)


@named(
    non_local,
    "The scores were divided by a root, as in a transformer. The non-local block's embedded Gaussian does not scale.",
)
def scaled(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(x, (_scores(asked, offered) / len(theta) ** 0.5).softmax(2), told, out)


def _divided_by_the_number(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(x, _scores(asked, offered) / told.shape[2], told, out)


@named(
    non_local,
    "The softmax is missing: the weights of each position i are positive and sum to one over j. (Scores divided by "
    "their number are the dot-product block, a cousin.)",
    _divided_by_the_number,
)
def no_softmax(x, theta, phi, g, out):
    asked, offered, told = _mapped(x, theta, phi, g)
    return _added(x, _scores(asked, offered), told, out)


def _reshaped(way_in, way_back, inside, x, theta, phi, g, out):
    """[B, C, height, width] read as [B, N, C] at once on the way in, on the way back, or on both."""
    flat = x.reshape(len(x), -1, x.shape[1]) if way_in else x.flatten(2).transpose(1, 2)
    weights = ((flat @ theta.T) @ (flat @ phi.T).transpose(1, 2)).softmax(2)
    found = weights @ (flat @ g.T) @ out.T + (flat if inside else 0)  # [B, N, C]
    back = (found if way_back else found.transpose(1, 2)).reshape(x.shape)
    return back if inside else x + back


@named(
    non_local,
    "[B, C, height, width] and [B, N, C] were turned into each other by view or reshape alone, which mixes channels "
    "with positions. In: flatten the last two axes, then transpose. Back: transpose first.",
    *(functools.partial(_reshaped, *w, i) for w in ((1, 0), (0, 1)) for i in (True, False)),
)
def scrambled(x, theta, phi, g, out):
    return _reshaped(True, True, False, x, theta, phi, g, out)
