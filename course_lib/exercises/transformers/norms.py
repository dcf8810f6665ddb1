"""Unit 04, exercise 6: layer norm, by hand."""

from __future__ import annotations

import functools

from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.naming import keep_arguments, named
from course_lib.exercises.transformers.positions import unit


@unit.exercise(
    points=1,
    minutes=5,
    reference=reference.layer_norm,
    hints=[
        "Mean and variance are taken over the features of each position alone: over dim=-1, with keepdim=True.",
        "(x - mean) / (variance + eps).sqrt() first; then times weight, plus bias.",
        "The variance is the mean of the squared deviations: it divides by d. torch's .var() divides by d - 1.",
    ],
)
def layer_norm(answer, case: Case) -> None:
    """weight * (x - mean) / sqrt(variance + eps) + bias of x [..., d]; mean and variance over the last axis."""
    for shape, eps in (((case.size(2, 3), case.size(3, 4), case.size(5, 8)), 0.3), ((3, 4), 1e-5)):
        x = case.normal(*shape) * case.uniform(*shape[:-1], 1, low=0.3, high=2.0) + 2.0
        x[..., 0, :] = (
            x[..., 0, :1] if eps < 0.1 else x[..., 0, :]
        )  # a position whose features are alike
        given = (x, 1.0 + 0.5 * case.normal(shape[-1]), case.normal(shape[-1]), eps)
        label = f"eps {eps:g}" + (", equal features at position 0" if eps < 0.1 else "")
        case.expect(answer(*given), reference.layer_norm(*given), label=label, atol=1e-4)
        keep_arguments(case, *given)
        if eps > 0.1:
            for wrt in range(3):
                case.expect_gradient(
                    answer, reference.layer_norm, *given[:3], wrt=wrt, extra=(eps,)
                )


def _moments(x, dims=-1):
    """(x - mean, mean squared deviation)."""
    centred = x - x.mean(dims, keepdim=True)
    return centred, centred.square().mean(dims, keepdim=True)


@named(
    layer_norm,
    "Your variance divides by d - 1, torch's default for .var() and .std(). Layer norm divides by d: "
    "unbiased=False, or the mean of the squares.",
)
def unbiased(x, weight, bias, eps):
    centred, _ = _moments(x)
    return weight * centred / (x.var(-1, keepdim=True) + eps).sqrt() + bias


@named(
    layer_norm, "eps stands outside the root. It is added to the variance: sqrt(variance + eps)."
)
def eps_outside(x, weight, bias, eps):
    centred, variance = _moments(x)
    return weight * centred / (variance.sqrt() + eps) + bias


@named(layer_norm, "The root is missing: you divided by the variance.")
def no_root(x, weight, bias, eps):
    centred, variance = _moments(x)
    return weight * centred / (variance + eps) + bias


@named(layer_norm, "The bias was added before weight multiplies: it is weight * (...) + bias.")
def bias_first(x, weight, bias, eps):
    centred, variance = _moments(x)
    return weight * (centred / (variance + eps).sqrt() + bias)


@layer_norm.mistake(
    "The values are right, but mean or variance is detached: the gradient also goes through them."
)
def statistics_detached(x, weight, bias, eps):
    _, variance = _moments(x.detach())
    return weight * (x - x.detach().mean(-1, keepdim=True)) / (variance + eps).sqrt() + bias


def _std_without_eps(x, weight, bias, eps):
    return weight * _moments(x)[0] / x.std(-1, keepdim=True) + bias


@named(
    layer_norm,
    "Two things: .std() divides by d - 1 where layer norm divides by d, and eps belongs inside the root, added to the "
    "variance.",
    _std_without_eps,
)
def std_plus_eps(x, weight, bias, eps):
    centred, _ = _moments(x)
    return weight * centred / (x.std(-1, keepdim=True) + eps) + bias


def _eps_fixed(x, weight, bias, eps):
    centred, variance = _moments(x)
    return weight * centred / (variance + 1e-5).sqrt() + bias


@named(
    layer_norm,
    "The argument eps is not used: add it to the variance, whatever it is. (Where all features of a position are "
    "alike, the variance is 0, and 0 / 0 is NaN.)",
    _eps_fixed,
)
def no_eps(x, weight, bias, eps):
    centred, variance = _moments(x)
    return weight * centred / variance.sqrt() + bias


def _over(axes, x, weight, bias, eps):
    """Mean and variance over other axes than the last."""
    axes = axes[: x.dim() - 1] if axes == (0, 1) else axes
    centred, variance = _moments(x, axes if axes else tuple(range(x.dim())))
    return weight * centred / (variance + eps).sqrt() + bias


@named(
    layer_norm,
    "Mean and variance are those of one feature at several positions or texts: that is batch norm, or a cousin. Take "
    "them over the features of one position: dim=-1.",
    *(functools.partial(_over, axes) for axes in ((0,), (1,), (-2,))),
)
def batch_norm(x, weight, bias, eps):
    return _over((0, 1), x, weight, bias, eps)


@named(
    layer_norm,
    "One mean and one variance serve several positions. Each position has its own: take them over dim=-1 alone.",
    functools.partial(_over, (-2, -1)),
)
def over_everything(x, weight, bias, eps):
    return _over((), x, weight, bias, eps)


def _root_mean_square(x, weight, bias, eps):
    return weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt() + bias


@named(
    layer_norm,
    "The mean was not subtracted: x - mean stands above the line, and in the variance (without both it is RMS norm).",
    _root_mean_square,
)
def not_centred(x, weight, bias, eps):
    return weight * x / (_moments(x)[1] + eps).sqrt() + bias


def _without_weight(x, weight, bias, eps):
    centred, variance = _moments(x)
    return centred / (variance + eps).sqrt() + bias


def _without_bias(x, weight, bias, eps):
    return weight * _without_weight(x, weight, 0.0, eps)


@named(
    layer_norm,
    "weight or bias is missing: after the division comes weight * (...) + bias.",
    _without_weight,
    _without_bias,
)
def not_affine(x, weight, bias, eps):
    return _without_weight(x, weight, 0.0, eps)
