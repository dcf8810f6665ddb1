"""Unit 02, the optional exercises 7 and 8: one step of a Kalman filter, and the spectrum of a recurrent matrix."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.recurrent_networks import reference
from course_lib.exercises.recurrent_networks.hidden_markov import unit

# 7 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=1,
    minutes=7,
    reference=reference.kalman_step,
    hints=[
        "Predict first: the mean moves by A, the covariance becomes A P A^T + Q.",
        "The gain is K = P C^T S^-1 with S = C P C^T + R, all with the predicted P.",
        "The surprise y - C m moves the mean by K; the covariance shrinks to (I - K C) P.",
    ],
)
def kalman_step(answer, case: Case) -> None:
    """(mean [D], covariance [D, D]) after predicting with A, Q and seeing y [M] = C z + noise of covariance R."""
    wide = case.size(2, 3)
    for seen in (wide, 1):
        model = (
            case.normal(wide, wide),
            case.normal(seen, wide),
            _covariance(case, wide),
            _covariance(case, seen),
        )
        given = (case.normal(wide), _covariance(case, wide), case.normal(seen), *model)
        label = f"{wide} states, {seen} seen"
        case.expect(
            answer(*given), reference.kalman_step(*given), label=label, rtol=1e-3, atol=1e-4
        )


def _covariance(case: Case, n: int):
    """A random symmetric matrix [n, n] with eigenvalues of at least 0.3."""
    root = case.normal(n, n)
    return 0.5 * root @ root.T + 0.3 * torch.eye(n)


def _seen(m, P, y, C, R):
    """The update alone, from the predicted m and P."""
    gain = P @ C.T @ torch.linalg.inv(C @ P @ C.T + R)
    return m + gain @ (y - C @ m), P - gain @ C @ P


@kalman_step.mistake(
    "There is no prediction: before y is looked at, the mean moves by A and the covariance by A P A^T + Q."
)
def not_predicted(mean, covariance, y, A, C, Q, R):
    return _seen(mean, covariance, y, C, R)


@kalman_step.mistake("This is the prediction alone: y has not been looked at yet.")
def not_updated(mean, covariance, y, A, C, Q, R):
    return A @ mean, A @ covariance @ A.T + Q


@kalman_step.mistake(
    "Q is missing: the state moves with noise, so predicting makes the covariance larger by Q."
)
def no_process_noise(mean, covariance, y, A, C, Q, R):
    return _seen(A @ mean, A @ covariance @ A.T, y, C, R)


@kalman_step.mistake("R is missing from S = C P C^T + R: you believe y as if it had no noise.")
def no_sensor_noise(mean, covariance, y, A, C, Q, R):
    return _seen(A @ mean, A @ covariance @ A.T + Q, y, C, torch.zeros_like(R))


@kalman_step.mistake(
    "The covariance was not updated: having seen y, you know more, and it shrinks to (I - K C) P."
)
def covariance_kept(mean, covariance, y, A, C, Q, R):
    P = A @ covariance @ A.T + Q
    return _seen(A @ mean, P, y, C, R)[0], P


@kalman_step.mistake(
    "The gain is transposed: K is [D, M], P C^T S^-1, and turns a surprise [M] into a change of the mean [D]."
)
def gain_transposed(mean, covariance, y, A, C, Q, R):
    m, P = A @ mean, A @ covariance @ A.T + Q
    gain = torch.linalg.inv(C @ P @ C.T + R) @ C @ P
    return m + gain @ (y - C @ m), P - gain @ C @ P


@kalman_step.mistake(
    "The surprise is measured against the old mean. It is y - C m with the predicted m = A mean."
)
def old_surprise(mean, covariance, y, A, C, Q, R):
    m, P = A @ mean, A @ covariance @ A.T + Q
    gain = P @ C.T @ torch.linalg.inv(C @ P @ C.T + R)
    return m + gain @ (y - C @ mean), P - gain @ C @ P


@kalman_step.mistake(
    "The covariance moves by A P A^T; yours is A^T P A, which belongs to a matrix that acts from the right."
)
def turned_move(mean, covariance, y, A, C, Q, R):
    return _seen(A @ mean, A.T @ covariance @ A + Q, y, C, R)


# 8 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=1,
    minutes=4,
    reference=reference.scale_spectrum,
    hints=[
        "torch.linalg.eigvals gives complex numbers; the absolute value of a + bi is the root of a^2 + b^2.",
        "Multiplying a matrix by a number multiplies every eigenvalue by it. Which number is needed?",
    ],
)
def scale_spectrum(answer, case: Case) -> None:
    """A multiple of a square matrix whose largest eigenvalue, in absolute value, is `radius`."""
    n, radius = case.size(2, 6), 0.5 + float(case.uniform(1))
    drawn = case.normal(n, n)
    turning = drawn + 2.0 * (drawn.tril() - drawn.tril().T)  # the largest eigenvalues are complex
    shrinking = 0.5 * case.normal(n, n) - 3.0 * torch.eye(n)  # the largest one is negative
    for matrix, label in ((turning, "a matrix that turns"), (shrinking, "a matrix that flips")):
        got = answer(matrix, radius)
        case.expect(got, reference.scale_spectrum(matrix, radius), label=label, rtol=1e-3)


@scale_spectrum.mistake(
    "You scaled by the largest singular value (the matrix norm). Eigenvalues decide what many steps do."
)
def singular(matrix, radius):
    return matrix * (radius / torch.linalg.matrix_norm(matrix, 2))


@scale_spectrum.mistake(
    "You scaled by the largest entry; the largest |eigenvalue| is another number."
)
def entry(matrix, radius):
    return matrix * (radius / matrix.abs().max())


@scale_spectrum.mistake(
    "Only the real parts were looked at. The absolute value of a complex eigenvalue counts its imaginary part too."
)
def real_parts(matrix, radius):
    return matrix * (radius / torch.linalg.eigvals(matrix).real.abs().max())


@scale_spectrum.mistake(
    "You took the largest real part, with its sign; a large negative eigenvalue counts as well. Take absolute values."
)
def signed(matrix, radius):
    return matrix * (radius / torch.linalg.eigvals(matrix).real.max())


@scale_spectrum.mistake(
    "eigvalsh reads one half of the matrix and takes it for symmetric. A recurrent matrix is not: use eigvals."
)
def as_if_symmetric(matrix, radius):
    return matrix * (radius / torch.linalg.eigvalsh(matrix).abs().max())


@scale_spectrum.mistake(
    "You multiplied by radius without dividing by the radius that the matrix has now."
)
def not_divided(matrix, radius):
    return matrix * radius


@scale_spectrum.mistake(
    "Your result is scaled the wrong way round: multiply by radius / current, not by current / radius."
)
def turned_round(matrix, radius):
    return matrix * (torch.linalg.eigvals(matrix).abs().max() / radius)
