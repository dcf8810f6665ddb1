"""Hessian-free optimisation, small: Gauss-Newton products, conjugate gradient, a damped step.

(Martens 2010; Martens & Sutskever 2011 for recurrent nets.) With outputs z(w) and a loss L(z) that
is convex in z, the Gauss-Newton matrix G = J^T H_L J, where J = dz/dw and H_L = d^2 L/dz^2, is
positive semi-definite. A step solves (G + damping I) d = -dL/dw by conjugate gradient, which needs
only products G v: one forward-mode product J v, one product with H_L, one backward pass J^T. G is
never written down. A direction of small gradient and small curvature is followed far, which
steepest descent does not.

Parameters are dictionaries name -> tensor, as `dict(model.named_parameters())`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import grad, jvp, vjp

__all__ = ["Step", "conjugate_gradient", "gauss_newton_product", "hessian_free_step"]

Tensors = dict[str, Tensor]


class Step(NamedTuple):
    """What `hessian_free_step` did."""

    parameters: Tensors  # after the step, detached; the old ones where it was refused
    loss_before: float
    loss_after: float  # of `parameters`
    reduction_ratio: float  # the loss's decrease by what the quadratic model foretold
    damping: float  # for the next step
    iterations: int  # of conjugate gradient


def gauss_newton_product(
    outputs_of: Callable[[Tensors], Tensor],
    loss_of: Callable[[Tensor], Tensor],
    parameters: Tensors,
    vector: Tensors,
) -> Tensors:
    """G v = J^T H_L J v, with the names and shapes of the parameters.

    Args:
        outputs_of: parameters -> outputs z, of any shape; for a module,
            lambda parameters: torch.func.functional_call(module, parameters, (x,)).
        loss_of: outputs -> a number; G is positive semi-definite where it is convex.
        parameters: where J and H_L are taken.
        vector: v, with the names and shapes of the parameters.
    """
    _, _, product = _expand(outputs_of, loss_of, _detached(parameters))
    return product(vector)


def _expand(
    outputs_of: Callable[[Tensors], Tensor],
    loss_of: Callable[[Tensor], Tensor],
    parameters: Tensors,
) -> tuple[Tensor, Tensors, Callable[[Tensors], Tensors]]:
    """(the loss, its gradient, v -> G v); what the products share is computed once."""
    outputs, pull = vjp(outputs_of, parameters)  # u -> J^T u
    slope, curve = vjp(grad(loss_of), outputs)  # dL/dz, and u -> H_L u, H_L being symmetric

    def product(vector: Tensors) -> Tensors:
        _, pushed = jvp(outputs_of, (parameters,), (vector,))  # J v, in the shape of the outputs
        return pull(curve(pushed)[0])[0]

    return loss_of(outputs), pull(slope)[0], product


def conjugate_gradient(
    product: Callable[[Tensors], Tensors],
    right: Tensors,
    *,
    steps: int = 50,
    tolerance: float = 1e-6,
) -> tuple[Tensors, int]:
    """Solve A d = right for a symmetric positive definite A known by its products: (d, iterations).

    Hestenes & Stiefel 1952. Stops where |right - A d| <= tolerance |right|, after `steps` iterations,
    or at a direction without positive curvature.
    """
    solution = {name: torch.zeros_like(part) for name, part in right.items()}
    residual = direction = right
    squared = _dot(residual, residual)
    enough = tolerance**2 * squared
    for iteration in range(steps):
        if squared <= enough:
            return solution, iteration
        image = product(direction)
        curvature = _dot(direction, image)
        if not curvature > 0:
            return solution, iteration
        length = squared / curvature
        solution = _plus(solution, length, direction)
        residual = _plus(residual, -length, image)
        before, squared = squared, _dot(residual, residual)
        direction = _plus(residual, squared / before, direction)
    return solution, steps


def hessian_free_step(
    outputs_of: Callable[[Tensors], Tensor],
    loss_of: Callable[[Tensor], Tensor],
    parameters: Tensors,
    *,
    damping: float = 1.0,
    steps: int = 50,
    tolerance: float = 1e-4,
) -> Step:
    """One damped Gauss-Newton step: w + d with (G + damping I) d = -dL/dw.

    Args: outputs_of, loss_of, parameters as in `gauss_newton_product`; steps and tolerance as in
    `conjugate_gradient`.

    The damping follows Levenberg and Marquardt: times 2/3 where the loss fell by more than 3/4 of
    what the quadratic model foretold, times 3/2 where by less than 1/4 (0 stays 0). A step that
    does not lower the loss is refused.

    Raises ValueError for a damping below 0.
    """
    if damping < 0:
        raise ValueError(f"damping must not be negative, got {damping}")
    parameters = _detached(parameters)
    before, gradient, curvature = _expand(outputs_of, loss_of, parameters)
    downhill = {name: -part for name, part in gradient.items()}

    def product(vector: Tensors) -> Tensors:
        return _plus(curvature(vector), damping, vector)

    move, iterations = conjugate_gradient(product, downhill, steps=steps, tolerance=tolerance)
    foretold = _dot(downhill, move) - _dot(move, product(move)) / 2  # the model's decrease
    moved = _plus(parameters, 1.0, move)
    after = loss_of(outputs_of(moved))
    ratio = float((before - after) / foretold) if foretold > 0 else 0.0
    if not ratio > 0.25:  # a ratio that is no number counts as bad
        damping *= 3 / 2
    elif ratio > 0.75:
        damping *= 2 / 3
    if not after < before:
        return Step(parameters, float(before), float(before), ratio, damping, iterations)
    return Step(_detached(moved), float(before), float(after), ratio, damping, iterations)


def _detached(tensors: Tensors) -> Tensors:
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _dot(a: Tensors, b: Tensors) -> Tensor:
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()


def _plus(a: Tensors, scale: float | Tensor, b: Tensors) -> Tensors:
    """a + scale * b."""
    return {name: a[name] + scale * b[name] for name in a}
