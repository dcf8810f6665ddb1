"""The references of unit 01, by other means than the lab's.

Where the lab fills a matrix, the reference sends unit vectors through torch's convolution; where the lab sums a
gradient by hand, the reference asks autograd; where the lab solves the normal equations, the reference appends the
prior to the data as further rows. The two agree only if both are right.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises.inductive_biases.mystery import levels


def conv_matrix(kernel: Tensor, n: int, circular: bool) -> Tensor:
    """The matrix [n, n] of a centred convolution: column j is the filter's answer to unit vector j."""
    reach = len(kernel) // 2
    signals = torch.eye(n, dtype=kernel.dtype).unsqueeze(1)  # [n, 1, n]: one unit vector a row
    padded = F.pad(signals, (reach, reach), mode="circular" if circular else "constant")
    return F.conv1d(padded, kernel.view(1, 1, -1)).squeeze(1).T


def tied_gradient(free_gradient: Tensor, sharing: Tensor, num_weights: int) -> Tensor:
    """The gradient [num_weights] of <free_gradient, W> where W holds weight sharing[i, j], by autograd."""
    weights = torch.zeros(num_weights, dtype=free_gradient.dtype, requires_grad=True)
    matrix = torch.where(sharing >= 0, weights[sharing.clamp(min=0)], 0.0)
    (gradient,) = torch.autograd.grad((matrix * free_gradient).sum(), weights)
    return gradient


def shift_error(weight: Tensor, x: Tensor, steps: int) -> Tensor:
    """||W S x - S W x|| / ||W x|| with the matrix S of a cyclic shift by `steps`."""
    matrix, signal = weight.double(), x.double()
    shift = torch.eye(len(signal), dtype=torch.float64).roll(steps, 0)
    commutator = matrix @ shift - shift @ matrix
    return ((commutator @ signal).norm() / (matrix @ signal).norm()).to(x.dtype)


def average_over_group(weight: Tensor, group: Tensor) -> Tensor:
    """The mean of P W P^T over the permutation matrices P of the rows of `group` [G, n]."""
    moves = torch.eye(len(weight), dtype=weight.dtype)[group]  # [G, n, n]
    return torch.einsum("gia,ab,gjb->ij", moves, weight, moves) / len(group)


def set_layer(x: Tensor, a: float, b: float) -> Tensor:
    """(a - b) X + b 1 1^T X for x [N, F]: a on the diagonal, b everywhere else."""
    matrix = torch.full((len(x), len(x)), b, dtype=x.dtype).fill_diagonal_(a)
    return matrix @ x


def ridge_map(X: Tensor, y: Tensor, noise_var: float, prior_var: float) -> Tensor:
    """The most probable weights [d]: least squares with the prior as d further rows of data."""
    inputs, width = X.double(), X.shape[1]
    prior = torch.eye(width, dtype=torch.float64) / math.sqrt(prior_var)
    rows = torch.cat([inputs / math.sqrt(noise_var), prior])  # [N + d, d]
    targets = torch.cat([y.double() / math.sqrt(noise_var), torch.zeros(width).double()])
    return torch.linalg.lstsq(rows, targets).solution.to(X.dtype)


def prior_entropy(covariance: Tensor) -> Tensor:
    """The differential entropy of N(0, covariance) in bits: (1/2) log2(2 pi e v) for each eigenvalue v."""
    variances = torch.linalg.eigvalsh(covariance.double())
    return (2 * math.pi * math.e * variances).log2().sum().div(2).to(covariance.dtype)


def views(x: Tensor) -> list[Tensor]:
    """What each of the four families sees of rows x [N, T] of +1 and -1: a list of features [N, d]."""
    words = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 3)  # [8, 3]
    is_word = x.unfold(1, 3, 1) @ words.T == 3  # [N, T - 2, 8]
    positions = torch.cat([torch.ones(len(x), 1), x], dim=1)
    level = F.one_hot(levels(x), 8)
    return [positions, is_word.sum(1).float(), level.float(), is_word[:, -1].float()]


def family_errors(x: Tensor, y: Tensor) -> Tensor:
    """Mean squared errors [2, 4] of the four families: row 0 on fitted rows, row 1 on rows left out, one by one.

    With the hat matrix H = X (X^T X + I)^-1 X^T, the residual of row i is (y - H y)_i in a fit of all rows, and that
    divided by 1 - H_ii in a fit of all rows but this one.
    """
    seen, left_out = [], []
    for features in views(x):
        gram = features.T @ features + torch.eye(features.shape[1])
        solved = torch.linalg.solve(gram, features.T)  # [d, N]; the hat matrix is features @ solved
        residual = y - features @ (solved @ y)
        leverage = (features * solved.T).sum(1)  # the diagonal H_ii
        seen.append(residual.square().mean())
        left_out.append((residual / (1 - leverage)).square().mean())
    return torch.stack([torch.stack(seen), torch.stack(left_out)])


def choose_bias(x: Tensor, y: Tensor) -> Tensor:
    """The number of the family that predicts rows best that were left out of its fit: int64 []."""
    return family_errors(x, y)[1].argmin()
