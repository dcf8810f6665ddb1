"""Simulators written from their equations for one simulation: a specification, and a peer in speed.

Each takes the initial state of N bodies as numpy arrays, steps through it one step at a time, and
returns the frames [N, T, 4] or [N, T, 3] as `course_lib.relations.simulate` defines them. Arrays
over the N bodies are used within a step, as in public generators of such data; nothing is batched
over simulations.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def walls(x: Array, v: Array, box: float) -> None:
    """Mirror at +-box what has left the box, in place."""
    over, under = x > box, x < -box
    x[over] = 2 * box - x[over]
    x[under] = -2 * box - x[under]
    v[over] = -np.abs(v[over])
    v[under] = np.abs(v[under])


def leapfrog(
    x: Array,
    v: Array,
    acceleration: Callable[[Array], Array],
    frames: int,
    *,
    dt: float,
    every: int,
    first_kick: float = 0.5,
    box: float | None = None,
) -> Array:
    """Frames [N, T, 4]: a first kick, then drifts and whole kicks; a frame has part of its kick."""
    x, v, saved = x.copy(), v.copy(), []
    v += first_kick * dt * acceleration(x)
    for step in range(1, frames * every + 1):
        x += dt * v
        if box is not None:
            walls(x, v, box)
        kick = dt * acceleration(x)
        if step % every == 0:
            saved.append(np.concatenate([x, v + (1 - first_kick) * kick], axis=1))
        v += kick
    return np.stack(saved, axis=1)


def springs(
    x: Array, v: Array, weights: Array, frames: int, *, interaction: float = 0.1, **law: float
) -> Array:
    """a_i = sum_j k w_ij (x_j - x_i); `law` is dt, every, box and first_kick."""
    strengths = interaction * weights
    np.fill_diagonal(strengths, 0.0)

    def acceleration(x: Array) -> Array:
        towards = x[None, :, :] - x[:, None, :]  # [i, j, axis]
        return (strengths[:, :, None] * towards).sum(axis=1)

    return leapfrog(x, v, acceleration, frames, **law)


def charged(
    x: Array, v: Array, charges: Array, frames: int, *, clamp: float = 100.0, **law: float
) -> Array:
    """a_i = sum_j q_i q_j (x_i - x_j) / |x_i - x_j|^3, each component clamped."""
    products = np.outer(charges, charges)

    def acceleration(x: Array) -> Array:
        away = x[:, None, :] - x[None, :, :]
        cubes = np.power((away**2).sum(axis=2), 1.5)
        np.fill_diagonal(cubes, np.inf)
        return ((products / cubes)[:, :, None] * away).sum(axis=1).clip(-clamp, clamp)

    return leapfrog(x, v, acceleration, frames, **law)


def n_body(
    x: Array, v: Array, masses: Array, frames: int, *, softening: float = 0.05, **law: float
) -> Array:
    """a_i = sum_j m_j (x_j - x_i) / sqrt(|x_j - x_i|^2 + softening^2)^3, G = 1."""

    def acceleration(x: Array) -> Array:
        towards = x[None, :, :] - x[:, None, :]
        cubes = np.power((towards**2).sum(axis=2) + softening**2, 1.5)
        np.fill_diagonal(cubes, np.inf)
        return ((masses / cubes)[:, :, None] * towards).sum(axis=1)

    return leapfrog(x, v, acceleration, frames, **law)


def string(
    x: Array,
    v: Array,
    frames: int,
    *,
    stiffness: float,
    rest_length: float,
    gravity: float,
    **law: float,
) -> Array:
    """Neighbours pulled by C (1 - L / |d|) d, all but the two ends also by gravity; the ends held."""

    def acceleration(x: Array) -> Array:
        d = x[1:] - x[:-1]
        length = np.sqrt((d**2).sum(axis=1, keepdims=True))
        pull = stiffness * (1 - rest_length / length) * d
        total = np.zeros_like(x)
        total[:-1] += pull
        total[1:] -= pull
        total[:, 1] -= gravity
        total[[0, -1]] = 0.0
        return total

    return leapfrog(x, v, acceleration, frames, **law)


def bouncing_balls(
    x: Array,
    v: Array,
    masses: Array,
    frames: int,
    *,
    radius: float,
    box: float,
    dt: float,
    every: int,
) -> Array:
    """Straight on, then walls, then one touching and approaching pair after the other."""
    x, v, saved = x.copy(), v.copy(), []
    for step in range(1, frames * every + 1):
        x += dt * v
        walls(x, v, box - radius)
        for i in range(len(x)):
            for j in range(i + 1, len(x)):
                d = x[i] - x[j]
                if d @ d < (2 * radius) ** 2 and (v[i] - v[j]) @ d < 0:
                    change = 2 * ((v[i] - v[j]) @ d) / (d @ d) * d
                    total = masses[i] + masses[j]
                    v[i] -= masses[j] / total * change
                    v[j] += masses[i] / total * change
        if step % every == 0:
            saved.append(np.concatenate([x, v], axis=1))
    return np.stack(saved, axis=1)


def kuramoto(
    phases: Array, omega: Array, edges: Array, frames: int, *, dt: float = 0.01, every: int = 10
) -> Array:
    """dphi_i/dt = omega_i + sum_j e_ij sin(phi_j - phi_i), Runge-Kutta of fourth order."""

    def rate(phi: Array) -> Array:
        return omega + (edges * np.sin(phi[None, :] - phi[:, None])).sum(axis=1)

    phi, saved = phases.copy(), []
    for step in range(1, frames * every + 1):
        k1 = rate(phi)
        k2 = rate(phi + dt / 2 * k1)
        k3 = rate(phi + dt / 2 * k2)
        k4 = rate(phi + dt * k3)
        phi = phi + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        if step % every == 0:
            saved.append(np.stack([rate(phi), np.sin(phi), np.cos(phi)], axis=1))
    return np.stack(saved, axis=1)
