"""A prior is a bias: ridge regression is what a Gaussian prior makes of a linear model."""

from __future__ import annotations

import torch
from torch import Tensor


def ridge_map(
    x: Tensor, y: Tensor, *, noise_var: float = 1.0, prior_var: float | Tensor = 1.0
) -> Tensor:
    """The most probable weights of a linear model under a Gaussian prior: the MAP estimate.

        y = X w + noise,   noise ~ N(0, s^2 I),   w ~ N(0, C)
        w_MAP = argmin ||y - X w||^2 / s^2 + w^T C^-1 w  =  C X^T (X C X^T + s^2 I)^-1 y

    With C = t^2 I that is ridge regression, (X^T X + (s^2 / t^2) I)^-1 X^T y. The form on the right needs no
    inverse of C, so a prior may be infinitely strong: a variance of zero forbids a weight, and a covariance as
    large as the variances ties two weights for ever.

    Args:
        x: [n, d] inputs, one a row.  y: [n] targets, or [n, m] for m models with the same prior.
        noise_var: s^2 > 0.
        prior_var: t^2, or one variance a weight [d], or the whole covariance C [d, d] (symmetric, positive
            semidefinite).

    Returns:
        [d], or [d, m]. There is no intercept: centre the data, or add a column of ones.

    Raises:
        ValueError: shapes that do not match, a noise variance that is not positive, a negative variance, a covariance
            that is not symmetric or not positive semidefinite.

    Source: Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, section 3.4.1.
    """
    if x.dim() != 2 or y.dim() not in (1, 2) or len(y) != len(x):
        raise ValueError(
            f"need x [n, d] and y [n] or [n, m] with as many rows, got {list(x.shape)} and {list(y.shape)}"
        )
    if not noise_var > 0:
        raise ValueError(f"noise_var must be positive, got {noise_var}: without noise use lstsq")
    n, d = x.shape
    variance = torch.as_tensor(prior_var, dtype=x.dtype, device=x.device)
    if variance.shape not in ((), (d,), (d, d)):
        raise ValueError(
            f"prior_var must be a number, [{d}] or [{d}, {d}], got {list(variance.shape)}"
        )
    if ((variance.diagonal() if variance.dim() == 2 else variance) < 0).any():
        raise ValueError("prior_var has a negative variance")
    if variance.dim() == 2 and d:
        _check_covariance(variance)
    targets = y if y.dim() == 2 else y[:, None]
    if variance.dim() == 2:
        spread = x @ variance  # [n, d], X C
        gram = spread @ x.T + noise_var * torch.eye(n, dtype=x.dtype, device=x.device)
        weights = spread.T @ torch.linalg.solve(gram, targets)
    else:  # in units of each prior's standard deviation: X S, S = sqrt(C)
        std = variance.sqrt().expand(d)
        scaled = x * std
        precision = scaled.T @ scaled + noise_var * torch.eye(d, dtype=x.dtype, device=x.device)
        weights = std[:, None] * torch.linalg.solve(precision, scaled.T @ targets)
    return weights if y.dim() == 2 else weights[:, 0]


def _check_covariance(variance: Tensor) -> None:
    """Symmetric and positive semidefinite, up to rounding."""
    rounding = 10 * len(variance) * torch.finfo(variance.dtype).eps * float(variance.abs().max())
    if not float((variance - variance.T).abs().max()) <= rounding:
        raise ValueError("prior_var, a covariance, must be symmetric: C[i, j] = C[j, i]")
    least = float(torch.linalg.eigvalsh(variance.detach().cpu())[0])
    if not least >= -rounding:
        raise ValueError(
            "prior_var, a covariance, must be positive semidefinite: its least eigenvalue is "
            f"{least:.3g}, so some combination of weights would have a negative variance"
        )
