"""One gradient, two estimators: through the draw, or through its probability.

Wanted: the gradient of J = E[f(z)], z ~ N(mean, exp(log_var)), in mean and log_var, each [k].

    reparameterised   z = mean + sigma eps:   d f(z) / d(mean, log_var), through z
    score function    f(z) d log N(z; mean, exp(log_var)) / d(mean, log_var), z held fixed

Both are unbiased, each draw giving an estimate. The first needs f's gradient; the second needs f's
values only, serves discrete draws too, and is far noisier. A baseline b that does not depend on its
draw may be taken off f in the second: the mean of E[d log N] being zero, the bias stays zero.

Sources: Williams 1992, https://doi.org/10.1007/BF00992696; Kingma and Welling 2014,
https://arxiv.org/abs/1312.6114; Mohamed et al. 2020, https://arxiv.org/abs/1906.10652.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.attention.log_derivative import score_function_loss
from course_lib.latent.densities import gaussian_log_likelihood, reparameterise

__all__ = ["GradientEstimates", "reparameterised_gradient", "score_function_gradient"]

Objective = Callable[[Tensor], Tensor]


class GradientEstimates(NamedTuple):
    """S estimates of dJ/dmean and dJ/dlog_var, each [S, k], one from each draw."""

    mean: Tensor
    log_var: Tensor

    @property
    def average(self) -> Tensor:
        """The mean over the draws: [2, k], row 0 for mean and row 1 for log_var."""
        return torch.stack([part.mean(0) for part in self])

    @property
    def variance(self) -> Tensor:
        """The variance of ONE draw's estimate: [2, k]. That of the average is S times smaller."""
        return torch.stack([part.var(0) for part in self])


def reparameterised_gradient(
    f: Objective,
    mean: Tensor,
    log_var: Tensor,
    samples: int,
    generator: torch.Generator | None = None,
) -> GradientEstimates:
    """d f(mean + exp(log_var / 2) eps) for `samples` draws of eps. f maps [S, k] to [S], row by row.

    Raises ValueError where f does not give one number a row, or has no gradient in z.
    """
    leaves = _leaves(mean, log_var, samples)
    return _gradients(_values(f, reparameterise(*leaves, generator)), leaves)


def score_function_gradient(
    f: Objective,
    mean: Tensor,
    log_var: Tensor,
    samples: int,
    generator: torch.Generator | None = None,
    baseline: float | Tensor | str = 0.0,
) -> GradientEstimates:
    """(f(z) - b) d log N(z; mean, exp(log_var)) for `samples` draws of z. f maps [S, k] to [S].

    baseline: b, a number or a tensor that broadcasts to [S], chosen without regard to the draws; or
    "leave-one-out", for each draw the mean of f over the others. f needs no gradient.

    Raises ValueError for another string, and for "leave-one-out" with one sample.
    """
    leaves = _leaves(mean, log_var, samples)
    with torch.no_grad():
        z = reparameterise(*leaves, generator)
        loss = _values(f, z)
    if isinstance(baseline, str):
        if baseline != "leave-one-out" or samples < 2:
            raise ValueError(
                'baseline must be a number, a tensor or "leave-one-out" (with two samples or more), '
                f"got {baseline!r} with {samples}"
            )
        baseline = (loss.sum() - loss) / (samples - 1)
    log_prob = gaussian_log_likelihood(leaves[0], z, leaves[1])
    return _gradients(score_function_loss(log_prob, loss, baseline), leaves)


def _leaves(mean: Tensor, log_var: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """mean and log_var once for each draw, [k] -> [S, k]: each then gets its draw's own gradient."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if mean.dim() != 1:
        raise ValueError(f"mean and log_var must be [k], got {list(mean.shape)}")
    mean, log_var = (v.detach().repeat(samples, 1).requires_grad_() for v in (mean, log_var))
    return mean, log_var


def _values(f: Objective, z: Tensor) -> Tensor:
    values = f(z)
    if values.shape != z.shape[:1]:
        raise ValueError(
            f"f must give one number a draw, [{len(z)}], got {list(values.shape)} from z "
            f"{list(z.shape)}: sum over the last axis only"
        )
    return values


def _gradients(values: Tensor, leaves: tuple[Tensor, Tensor]) -> GradientEstimates:
    if not values.requires_grad:
        raise ValueError("f(z) has no gradient in z: only score_function_gradient can do without")
    return GradientEstimates(*torch.autograd.grad(values.sum(), leaves))
