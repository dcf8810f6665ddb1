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

from torch import Tensor

__all__ = ["Step", "conjugate_gradient", "gauss_newton_product", "hessian_free_step"]

Tensors = dict[str, Tensor]


class Step(NamedTuple):
    """What `hessian_free_step` did."""

    parameters: Tensors  # after the step: detached, the old ones where the step was refused
    loss_before: float
    loss_after: float
    reduction_ratio: float  # the loss's decrease by what the quadratic model foretold
    damping: float  # for the next step
    iterations: int  # of conjugate gradient


def gauss_newton_product(
    outputs_of: Callable[[Tensors], Tensor],
    loss_of: Callable[[Tensor], Tensor],
    parameters: Tensors,
    vector: Tensors,
) -> Tensors:
    """G v = J^T H_L J v.

    Args:
        outputs_of: parameters -> outputs z, of any shape.
        loss_of: outputs -> a number, convex in the outputs.
        parameters: where J and H_L are taken.
        vector: v, with the names and shapes of the parameters.
    """
    raise NotImplementedError


def conjugate_gradient(
    product: Callable[[Tensors], Tensors],
    right: Tensors,
    *,
    steps: int = 50,
    tolerance: float = 1e-6,
) -> tuple[Tensors, int]:
    """Solve A d = right for a positive definite A, known by its products only: (d, iterations).

    Stops where |right - A d| <= tolerance |right|, after `steps` iterations, or where a direction has
    no positive curvature.
    """
    raise NotImplementedError


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

    The damping follows Levenberg and Marquardt: times 2/3 where the loss fell by more than 3/4 of
    what the quadratic model foretold, times 3/2 where by less than 1/4. A step that raises the loss
    (or makes it other than finite) is refused.
    """
    raise NotImplementedError
