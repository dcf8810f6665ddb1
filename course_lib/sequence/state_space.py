"""Autoregression, whose memory is a window, and the linear dynamical system, whose is a state.

A linear dynamical system draws a hidden state z_t in R^D and shows y_t in R^M:

    z_1 ~ N(m, P),    z_t = A z_{t-1} + N(0, Q),    y_t = C z_t + N(0, R).

All is Gaussian, so what the past says of the state is a mean and a covariance. The Kalman filter
carries them forward, the Rauch-Tung-Striebel smoother corrects them from the future. Neither
covariance depends on what was seen: one [D, D] matrix a step serves all sequences of a batch.

Sources: Kalman, Journal of Basic Engineering 1960; Rauch, Tung & Striebel, AIAA Journal 1965;
Särkkä, Bayesian Filtering and Smoothing, 2013, chapters 4 and 8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "AutoRegression",
    "Filtered",
    "LinearSystem",
    "Smoothed",
    "autoregress",
    "delay_taps",
    "fit_autoregression",
    "kalman_filter",
    "kalman_predict",
    "kalman_update",
    "noisy_rotation",
    "rts_smoother",
    "simulate",
]


def delay_taps(x: Tensor, order: int) -> Tensor:
    """The last `order` values before each time: [B, T, ...] -> [B, T - order, order, ...].

    Entry [b, i, k] is x[b, t - 1 - k] for t = order + i: tap 0 is the most recent value.

    Raises ValueError unless 1 <= order < T.
    """
    steps = x.size(1) if x.dim() > 1 else 0
    if not 1 <= order < steps:
        raise ValueError(
            f"order must lie in 1..{steps - 1} for sequences [B, T, ...] of {steps} steps, got "
            f"{order} with x {list(x.shape)}"
        )
    return torch.stack([x[:, order - 1 - k : steps - 1 - k] for k in range(order)], dim=2)


class AutoRegression(NamedTuple):
    """x_t = bias + sum_k x_{t-1-k} weight[k] + noise: weight [order, M, M], bias [M]."""

    weight: Tensor
    bias: Tensor


def fit_autoregression(x: Tensor, order: int) -> AutoRegression:
    """AR(order) by least squares over every window of every sequence of x [B, T, M].

    Raises ValueError unless x is [B, T, M] with 1 <= order < T.
    """
    _check_sequences(x, "x")
    taps = delay_taps(x, order).flatten(2).flatten(0, 1)  # [B, T - p, p, M] -> [B (T - p), p M]
    features = torch.cat([taps, torch.ones_like(taps[:, :1])], dim=1)
    solution = torch.linalg.lstsq(features, x[:, order:].flatten(0, 1)).solution  # [p M + 1, M]
    return AutoRegression(solution[:-1].view(order, x.size(2), x.size(2)), solution[-1])


def autoregress(model: AutoRegression, x: Tensor) -> Tensor:
    """One-step predictions of x[:, order:] from the values before: [B, T, M] -> [B, T - order, M]."""
    _check_sequences(x, "x", model.bias.numel())
    taps = delay_taps(x, model.weight.size(0)).flatten(2)  # [B, T - p, p M]
    return taps @ model.weight.flatten(0, 1) + model.bias


@dataclass(frozen=True)
class LinearSystem:
    """z_1 ~ N(initial_mean, initial_covariance), z_t = A z_{t-1} + N(0, Q), y_t = C z_t + N(0, R).

    Args:
        transition: A [D, D].
        observation: C [M, D].
        process_noise: Q [D, D], symmetric, positive semidefinite.
        observation_noise: R [M, M], symmetric, positive definite unless Q makes up for it.
        initial_mean: m [D].
        initial_covariance: P [D, D], symmetric, positive semidefinite.

    Raises:
        ValueError: a shape does not fit, a covariance is not symmetric, or dtypes differ.
    """

    transition: Tensor
    observation: Tensor
    process_noise: Tensor
    observation_noise: Tensor
    initial_mean: Tensor
    initial_covariance: Tensor

    def __post_init__(self) -> None:
        d, m = self.transition.size(-1), self.observation.size(0)
        shapes = {
            "transition": (d, d),
            "observation": (m, d),
            "process_noise": (d, d),
            "observation_noise": (m, m),
            "initial_mean": (d,),
            "initial_covariance": (d, d),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if tuple(value.shape) != shape or value.dtype != self.transition.dtype:
                raise ValueError(
                    f"{name} must be {self.transition.dtype} {list(shape)} for a state of {d} and "
                    f"an observation of {m} numbers, got {value.dtype} {list(value.shape)}"
                )
        for name in ("process_noise", "observation_noise", "initial_covariance"):
            value = getattr(self, name)
            if not torch.allclose(value, value.mT, rtol=1e-4, atol=1e-6):
                raise ValueError(f"{name} is a covariance and must be symmetric: got {value}")

    def to(self, *args: torch.device | torch.dtype | str) -> LinearSystem:
        """The same system on another device or with another dtype."""
        return LinearSystem(*(getattr(self, field.name).to(*args) for field in fields(self)))


class Filtered(NamedTuple):
    """What the observations up to t (predicted: up to t - 1) say of the state z_t.

    mean, predicted_mean [B, T, D]; covariance, predicted_covariance [T, D, D], the same for all
    sequences; log_likelihood [B], log p(y_1, ..., y_T) in nats.
    """

    mean: Tensor
    covariance: Tensor
    predicted_mean: Tensor
    predicted_covariance: Tensor
    log_likelihood: Tensor


class Smoothed(NamedTuple):
    """What all observations say of the state z_t: mean [B, T, D], covariance [T, D, D]."""

    mean: Tensor
    covariance: Tensor


def noisy_rotation(
    angle: float,
    radius: float = 1.0,
    process_std: float = 0.1,
    observation_std: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> LinearSystem:
    """A point that turns by `angle` radians a step, of which only the first coordinate is seen.

    A = radius * rotation(angle), C = [1, 0], Q = process_std^2 I, R = observation_std^2. It starts
    from its stationary law, process_std^2 / (1 - radius^2) I; for radius >= 1, which has none,
    from N(0, I).
    """
    cos, sin = math.cos(angle), math.sin(angle)
    eye = torch.eye(2, dtype=dtype)
    start = process_std**2 / (1 - radius**2) if radius < 1 else 1.0
    return LinearSystem(
        transition=radius * torch.tensor([[cos, -sin], [sin, cos]], dtype=dtype),
        observation=torch.tensor([[1.0, 0.0]], dtype=dtype),
        process_noise=process_std**2 * eye,
        observation_noise=torch.tensor([[observation_std**2]], dtype=dtype),
        initial_mean=torch.zeros(2, dtype=dtype),
        initial_covariance=start * eye,
    )


@torch.no_grad()
def simulate(
    system: LinearSystem, batch: int, steps: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw states [B, T, D] and what is seen of them [B, T, M].

    Raises ValueError unless batch and steps are at least 1.
    """
    if batch < 1 or steps < 1:
        raise ValueError(f"batch and steps must be at least 1, got {batch} and {steps}")
    like = system.transition
    d, m = like.size(0), system.observation.size(0)
    place = like.device if generator is None else generator.device
    noise = torch.randn(batch, steps, d + m, generator=generator, device=place, dtype=like.dtype)
    noise = noise.to(like.device)
    shocks = noise[..., :d] @ _factor(system.process_noise).mT
    states = [system.initial_mean + noise[:, 0, :d] @ _factor(system.initial_covariance).mT]
    for t in range(1, steps):
        states.append(states[-1] @ system.transition.mT + shocks[:, t])
    z = torch.stack(states, dim=1)  # [B, T, D]
    seen = z @ system.observation.mT + noise[..., d:] @ _factor(system.observation_noise).mT
    return z, seen


def kalman_predict(system: LinearSystem, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """One step into the future: m- = A m, P- = A P A^T + Q. Means [B, D], covariances [D, D]."""
    A = system.transition
    return mean @ A.mT, A @ covariance @ A.mT + system.process_noise


def kalman_update(
    system: LinearSystem, mean: Tensor, covariance: Tensor, y: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One observation, by Bayes' rule. From the prediction m- [B, D], P- [D, D] and y [B, M]:

        S = C P- C^T + R            how far y was expected to lie from C m-
        K = P- C^T S^-1             the gain: how much of that distance to believe
        m = m- + K (y - C m-)
        P = (I - K C) P- (I - K C)^T + K R K^T      (Joseph's form: stays symmetric, positive)

    Returns:
        m [B, D], P [D, D] and log N(y; C m-, S) [B].
    """
    C, R = system.observation, system.observation_noise
    cross = C @ covariance  # [M, D]
    factor = torch.linalg.cholesky(cross @ C.mT + R)
    gain = torch.cholesky_solve(cross, factor).mT  # [D, M]
    surprise = y - mean @ C.mT  # [B, M]
    white = torch.linalg.solve_triangular(factor, surprise.mT, upper=False)  # [M, B]
    log_density = -0.5 * white.square().sum(0) - factor.diagonal().log().sum()
    log_density = log_density - 0.5 * y.size(1) * math.log(2 * math.pi)
    left = torch.eye(C.size(1), dtype=C.dtype, device=C.device) - gain @ C
    corrected = left @ covariance @ left.mT + gain @ R @ gain.mT
    return mean + surprise @ gain.mT, corrected, log_density


def kalman_filter(system: LinearSystem, y: Tensor) -> Filtered:
    """p(z_t | y_1, ..., y_t) for every t, and log p(y_1, ..., y_T). Differentiable.

    Args:
        y: observations [B, T, M].

    Raises:
        ValueError: y is not [B, T, M] of the system's dtype.
    """
    _check_sequences(y, "y", system.observation.size(0), system.transition.dtype)
    mean = system.initial_mean.expand(y.size(0), -1)
    covariance = system.initial_covariance
    rows = []
    for t in range(y.size(1)):
        if t > 0:
            mean, covariance = kalman_predict(system, mean, covariance)
        predicted, predicted_covariance = mean, covariance
        mean, covariance, log_density = kalman_update(system, mean, covariance, y[:, t])
        rows.append((mean, covariance, predicted, predicted_covariance, log_density))
    means, covariances, predictions, predicted_covariances, log_densities = zip(*rows)
    return Filtered(
        torch.stack(means, dim=1),
        torch.stack(covariances),
        torch.stack(predictions, dim=1),
        torch.stack(predicted_covariances),
        torch.stack(log_densities).sum(0),
    )


def rts_smoother(system: LinearSystem, filtered: Filtered) -> Smoothed:
    """p(z_t | y_1, ..., y_T) for every t, from the filter's results, backwards in time.

        G_t = P_t A^T (P-_{t+1})^-1
        m*_t = m_t + G_t (m*_{t+1} - m-_{t+1}),    P*_t = P_t + G_t (P*_{t+1} - P-_{t+1}) G_t^T

    An inverse that is not there (states known exactly) is replaced by the pseudo-inverse.
    """
    inverse = torch.linalg.pinv(filtered.predicted_covariance[1:], hermitian=True)
    gains = filtered.covariance[:-1] @ system.transition.mT @ inverse  # [T - 1, D, D]
    means, covariances = [filtered.mean[:, -1]], [filtered.covariance[-1]]
    for t in range(gains.size(0) - 1, -1, -1):
        gain = gains[t]
        correction = means[-1] - filtered.predicted_mean[:, t + 1]
        means.append(filtered.mean[:, t] + correction @ gain.mT)
        spread = covariances[-1] - filtered.predicted_covariance[t + 1]
        covariances.append(filtered.covariance[t] + gain @ spread @ gain.mT)
    return Smoothed(torch.stack(means[::-1], dim=1), torch.stack(covariances[::-1]))


def _factor(covariance: Tensor) -> Tensor:
    """F with F F^T = covariance, which may be singular (Cholesky's must not be)."""
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt()


def _check_sequences(
    y: Tensor, name: str, width: int | None = None, dtype: torch.dtype | None = None
) -> None:
    wanted = "M" if width is None else width
    if y.dim() != 3 or width not in (None, y.size(-1)) or dtype not in (None, y.dtype):
        raise ValueError(
            f"{name} must be {dtype or 'real'} [B, T, {wanted}], got {y.dtype} {list(y.shape)}: "
            "for one sequence [T] use y[None, :, None]"
        )
