"""Unit 01, exercises 6 and 7: the most probable weights under a Gaussian prior, and what a prior knows in bits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.inductive_biases import reference
from course_lib.exercises.inductive_biases.symmetry import unit

# 6 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.ridge_map,
    forbids=("sklearn", "scipy"),
    hints=[
        "Take minus the logarithm of likelihood times prior: two sums of squares, each divided by twice its variance.",
        "Multiply by twice the noise variance: the weight of the second sum is noise_var / prior_var.",
        "torch.linalg.solve(A, b) solves A w = b; here A = X^T X + lambda I, with torch.eye for I.",
    ],
)
def ridge_map(answer, case: Case) -> None:
    """The most probable weights [d] for X [N, d], y [N], noise of variance noise_var, prior of variance prior_var."""
    wide = case.size(2, 5)
    for rows, label in ((wide + case.size(4, 6), "a few rows"), (3 * wide + 12, "more rows")):
        X, y = case.normal(rows, wide), case.normal(rows) + 1.0
        noise_var = float(case.uniform(1, low=0.2, high=0.8))
        prior_var = float(case.uniform(1, low=1.5, high=4.0))
        expected = reference.ridge_map(X, y, noise_var, prior_var)
        got = answer(X, y, noise_var, prior_var)
        case.expect(got, expected, label=label, rtol=1e-3, atol=1e-4)  # descent is welcome too


def _ridge(X: Tensor, y: Tensor, penalty: float) -> Tensor:
    return torch.linalg.solve(X.T @ X + penalty * torch.eye(X.shape[1]), X.T @ y)


@ridge_map.mistake(
    "The ratio is turned round. A weak prior (a large prior_var) must pull little: lambda = noise_var / prior_var."
)
def ratio_turned(X, y, noise_var, prior_var):
    return _ridge(X, y, prior_var / noise_var)


@ridge_map.mistake(
    "lambda is 1 / prior_var here; noisy data must count less, so noise_var is in it."
)
def without_noise(X, y, noise_var, prior_var):
    return _ridge(X, y, 1 / prior_var)


@ridge_map.mistake("lambda is noise_var alone here; how strongly the prior pulls is missing.")
def without_prior(X, y, noise_var, prior_var):
    return _ridge(X, y, noise_var)


@ridge_map.mistake(
    "You took the ratio of the standard deviations. In the exponents stand variances: no square root."
)
def ratio_of_deviations(X, y, noise_var, prior_var):
    return _ridge(X, y, math.sqrt(noise_var / prior_var))


@ridge_map.mistake(
    "You took the ratio of the squared variances. noise_var and prior_var are variances already: do not square them."
)
def squared_variances(X, y, noise_var, prior_var):
    return _ridge(X, y, (noise_var / prior_var) ** 2)


@ridge_map.mistake(
    "X.T @ X + lambda adds lambda to every entry. The prior pulls each weight by itself: add lambda times torch.eye."
)
def added_everywhere(X, y, noise_var, prior_var):
    return torch.linalg.solve(X.T @ X + noise_var / prior_var, X.T @ y)


@ridge_map.mistake(
    "Your lambda grows with the number of rows. The more rows there are, the less a prior should count."
)
def times_rows(X, y, noise_var, prior_var):
    return _ridge(X, y, len(X) * noise_var / prior_var)


@ridge_map.mistake(
    "This is least squares: the prior is missing. Where there are fewer rows than weights, it decides most."
)
def least_squares(X, y, noise_var, prior_var):
    return torch.linalg.pinv(X) @ y


# 7 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=7,
    reference=reference.prior_entropy,
    forbids=("torch.distributions", "scipy"),
    hints=[
        "Split the logarithm: (d / 2) log2(2 pi e) + (1 / 2) log2 det, with d = len(covariance).",
        "torch.logdet gives the natural logarithm of a determinant without ever writing the determinant down.",
        "Divide a natural logarithm by math.log(2) to have bits.",
    ],
)
def prior_entropy(answer, case: Case) -> None:
    """The differential entropy in bits of a Gaussian N(0, covariance) over d weights, covariance [d, d]."""
    small = _covariance(case, case.size(2, 5), 1.0)
    case.expect(answer(small), reference.prior_entropy(small))
    many = _covariance(case, 120 + case.size(0, 10), 1e-3)
    case.expect(answer(many), reference.prior_entropy(many), label="many weights, a strong prior")


def _covariance(case: Case, d: int, scale: float) -> Tensor:
    """A random covariance [d, d] with correlations, and with variances of the order of `scale`."""
    root = case.normal(d, d)
    spread = case.uniform(d, low=0.5, high=1.5)
    return scale * (root @ root.T / d + 0.3 * torch.eye(d)) * spread.unsqueeze(1) * spread


def _entropy(covariance: Tensor, logdet: Tensor, inside: float = 2 * math.pi * math.e) -> Tensor:
    """Bits, from the natural logarithm of the determinant."""
    return (len(covariance) * math.log(inside) + logdet) / (2 * math.log(2))


@prior_entropy.mistake("These are nats. Divide a natural logarithm by ln 2 to have bits.")
def in_nats(covariance):
    return reference.prior_entropy(covariance) * math.log(2)


@prior_entropy.mistake(
    "The half in front of log det is missing: a covariance holds variances, the squares of widths."
)
def without_the_half(covariance):
    return _entropy(covariance, 2 * torch.logdet(covariance))


@prior_entropy.mistake(
    "2 pi e stands once for every weight: its logarithm is to be multiplied by the dimension d."
)
def one_dimension(covariance):
    logdet = torch.logdet(covariance)
    return (math.log(2 * math.pi * math.e) + logdet) / (2 * math.log(2))


@prior_entropy.mistake(
    "You used the diagonal alone. Correlated weights leave less open: it takes the whole determinant."
)
def diagonal_only(covariance):
    return _entropy(covariance, covariance.diagonal().log().sum())


@prior_entropy.mistake(
    "The determinant of many small numbers is too small for a float: it became 0. Use torch.logdet."
)
def underflow(covariance):
    return _entropy(covariance, torch.det(covariance).log())


@prior_entropy.mistake(
    "These are nats, where bits are wanted; and with many weights the determinant became 0: use torch.logdet."
)
def underflow_in_nats(covariance):
    return _entropy(covariance, torch.det(covariance).log()) * math.log(2)


@prior_entropy.mistake(
    "The e is missing: log2(2 pi) is the normaliser alone, and the quadratic part adds half a nat a weight."
)
def without_e(covariance):
    return _entropy(covariance, torch.logdet(covariance), inside=2 * math.pi)


@prior_entropy.mistake(
    "The sign is turned round: the entropy is minus the mean of the logarithm of the density."
)
def negative(covariance):
    return -reference.prior_entropy(covariance)
