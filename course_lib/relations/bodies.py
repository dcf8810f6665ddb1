"""Two systems whose relations are given: bodies that attract by gravity, and a string of beads.

With bouncing balls (`balls.py`) they are the examples of interaction networks (Battaglia et al.
2016). Edges are of type 1 between two bodies that act on each other; `attributes` holds the masses,
which the states do not show.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.relations.motion import (
    Force,
    Simulations,
    check_counts,
    check_generator,
    incidence,
    kinetic_energy,
    pair_differences,
    pair_sum,
    simulate,
    unordered_pairs,
)

__all__ = [
    "N_BODY_SCALE",
    "STRING_SCALE",
    "n_body",
    "n_body_energy",
    "n_body_from",
    "string",
    "string_energy",
    "string_from",
]

N_BODY_SCALE = (3.0, 3.0, 3.0, 3.0)
STRING_SCALE = (2.0, 2.0, 2.0, 2.0)


def n_body(
    simulations: int,
    bodies: int = 5,
    frames: int = 49,
    *,
    generator: torch.Generator | None = None,
    planet_masses: tuple[float, float] = (0.01, 0.1),
    radii: tuple[float, float] = (0.5, 2.0),
    gravity: float = 1.0,
    softening: float = 0.05,
    dt: float = 0.001,
    every: int = 100,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Simulations:
    """S stars of mass 1 with N - 1 planets on nearly circular orbits that disturb each other.

    Body 0 is the star, at the origin. A planet starts at a distance r ~ U(radii) in a random
    direction, with a speed of 0.9 to 1.1 times sqrt(G / r), that of a circular orbit,
    anticlockwise. The star's velocity makes the total momentum 0. With G = 1 an orbit at r = 1
    takes 2 pi.

    Args:
        simulations, bodies, frames: S, N, T.
        generator: a CPU generator; None draws from torch's own.
        planet_masses, radii: bounds of the uniform draws, in star masses and lengths.
        gravity: G.
        softening: the length below which gravity levels off, see `n_body_from`; 0 for Newton's law.
        dt, every: step size, and steps from frame to frame.
        dtype, device: of the states; the draws are made in float64 on the CPU.

    Returns:
        states [S, N, T, 4], edges 1 between any two bodies, masses [S, N] as attributes.
    """
    check_counts(simulations, bodies, frames, every)
    check_generator(generator)
    draws = torch.rand(4, simulations, bodies, generator=generator, dtype=torch.float64)
    masses = _between(planet_masses, draws[0])
    radius, angle = _between(radii, draws[1]), 2 * math.pi * draws[2]
    speed = _between((0.9, 1.1), draws[3]) * (gravity / radius).sqrt()
    masses[:, 0], radius[:, 0], speed[:, 0] = 1.0, 0.0, 0.0
    positions = radius.unsqueeze(-1) * torch.stack([angle.cos(), angle.sin()], -1)  # [S, N, 2]
    velocities = speed.unsqueeze(-1) * torch.stack([-angle.sin(), angle.cos()], -1)
    velocities[:, 0] = -(masses.unsqueeze(-1) * velocities).sum(1)
    masses = masses.to(device, dtype)
    states = n_body_from(
        positions.to(device, dtype),
        velocities.to(device, dtype),
        masses,
        frames,
        gravity=gravity,
        softening=softening,
        dt=dt,
        every=every,
    )
    edges = 1 - torch.eye(bodies, dtype=torch.int64, device=device)
    edges = edges.expand(simulations, -1, -1).contiguous()
    return Simulations(states, edges, every * dt, N_BODY_SCALE, masses)


def _between(bounds: tuple[float, float], uniform: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * uniform


def n_body_from(
    positions: Tensor,
    velocities: Tensor,
    masses: Tensor,
    frames: int,
    *,
    gravity: float = 1.0,
    softening: float = 0.05,
    dt: float = 0.001,
    every: int = 100,
) -> Tensor:
    """The frames that follow given initial states: [S, N, T, 4], under gravity, with d = x_j - x_i

        m_i a_i = sum_j G m_i m_j d / |d|^3

    and sqrt(|d|^2 + softening^2) in the place of |d| where a softening is given. Two point masses
    that come very close need ever smaller steps: with a fixed one they would be thrown apart by an
    error, not by gravity. Softening bounds the force.

    Args:
        positions, velocities: [S, N, 2].
        masses: [S, N].
        frames: T; the first is one interval after the initial state.
        gravity, softening, dt, every: see `n_body`.
    """
    i, j = joined = unordered_pairs(masses.size(1), masses.device)
    matrix = incidence(joined, masses.size(1), positions)

    def force_of(part: slice) -> Force:
        mass = masses[part].T  # [N, S]
        products = -gravity * mass[i] * mass[j]  # [P, S], negative: they attract

        def force(x: Tensor) -> Tensor:
            apart = pair_differences(matrix, x)  # [P, 2, S]
            sizes = products * (apart.square().sum(1) + softening**2).rsqrt().pow(3)  # [P, S]
            return pair_sum(matrix, apart * sizes.unsqueeze(1)) / mass.unsqueeze(1)

        return force

    return simulate(positions, velocities, frames, force_of, dt=dt, every=every)


def n_body_energy(
    states: Tensor, masses: Tensor, gravity: float = 1.0, softening: float = 0.05
) -> Tensor:
    """Energy [S, T] of states [S, N, T, 4] and masses [S, N], d = x_i - x_j, eps the softening:

    sum_i m_i |v_i|^2 / 2 - sum over pairs of G m_i m_j / sqrt(|d|^2 + eps^2).
    """
    i, j = unordered_pairs(masses.size(1), masses.device)
    squares = (states[:, i, :, :2] - states[:, j, :, :2]).square().sum(-1)  # [S, P, T]
    products = gravity * (masses[:, i] * masses[:, j]).unsqueeze(-1)
    return kinetic_energy(states, masses) - (products * (squares + softening**2).rsqrt()).sum(1)


def string(
    simulations: int,
    bodies: int = 10,
    frames: int = 49,
    *,
    generator: torch.Generator | None = None,
    stiffness: float = 20.0,
    gravity: float = 0.3,
    dt: float = 0.001,
    every: int = 100,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Simulations:
    """S strings of N beads of mass 1 between two pegs at (-1, 0) and (1, 0), let go from a curve.

    The first and the last bead are the pegs and never move. Springs of rest length
    L = 2 / (N - 1) join neighbours, and the others are under gravity, an external effect. The
    beads start at rest, evenly spaced along x, at heights sum_k a_k sin(k pi (x + 1) / 2) of
    k = 1, 2, 3 waves with a_k ~ N(0, (0.4 / k)^2).

    Args:
        simulations, bodies, frames: S, N (at least 3), T.
        generator: a CPU generator; None draws from torch's own.
        stiffness: C, in mass / time^2.
        gravity: downward acceleration.
        dt, every: step size, and steps from frame to frame.
        dtype, device: of the states; the draws are made in float64 on the CPU.

    Returns:
        states [S, N, T, 4], edges 1 between neighbours, masses [S, N] (all 1) as attributes.

    Raises:
        ValueError: where a count is too small.
    """
    check_counts(simulations, bodies, frames, every)
    check_generator(generator)
    if bodies < 3:
        raise ValueError(f"a string needs two pegs and a bead, at least 3 bodies, got {bodies}")
    along = torch.linspace(-1, 1, bodies, dtype=torch.float64)
    waves = torch.arange(1, 4, dtype=torch.float64)
    sizes = torch.randn(simulations, 3, generator=generator, dtype=torch.float64) * 0.4 / waves
    height = sizes @ torch.sin(waves[:, None] * math.pi * (along + 1) / 2)  # [S, N]
    height[:, [0, -1]] = 0.0
    positions = torch.stack([along.expand_as(height), height], -1).to(device, dtype)
    states = string_from(
        positions,
        torch.zeros_like(positions),
        frames,
        stiffness=stiffness,
        rest_length=2 / (bodies - 1),
        gravity=gravity,
        dt=dt,
        every=every,
    )
    place = torch.arange(bodies, device=device)
    edges = ((place[:, None] - place).abs() == 1).long().expand(simulations, -1, -1).contiguous()
    return Simulations(states, edges, every * dt, STRING_SCALE, torch.ones_like(states[:, :, 0, 0]))


def string_from(
    positions: Tensor,
    velocities: Tensor,
    frames: int,
    *,
    stiffness: float,
    rest_length: float,
    gravity: float = 0.0,
    dt: float = 0.001,
    every: int = 100,
    pegs: bool = True,
) -> Tensor:
    """The frames that follow given initial states: [S, N, T, 4]. A spring pulls its two ends by

        C (1 - L / |d|) d,   d from one end to the other: together where |d| > L, apart where < L.

    Args:
        positions, velocities: [S, N, 2] of beads of mass 1; neighbours in the order are joined.
        frames: T; the first is one interval after the initial state.
        stiffness, rest_length, gravity: C, L and the downward acceleration.
        dt, every: step size, and steps from frame to frame.
        pegs: hold the first and the last bead (their velocities must be 0).
    """
    bodies = positions.size(1)
    place = torch.arange(bodies - 1, device=positions.device)
    matrix = incidence(torch.stack([place, place + 1]), bodies, positions)
    free = positions.new_ones(bodies, 1, 1)
    if pegs:
        free[[0, -1]] = 0.0
    down = positions.new_tensor([0.0, -gravity]).unsqueeze(-1)  # [2, 1]

    def force(x: Tensor) -> Tensor:
        apart = pair_differences(matrix, x)  # [P, 2, S]
        inverse = apart.square().sum(1, keepdim=True).rsqrt()
        pull = pair_sum(matrix, -stiffness * (1 - rest_length * inverse) * apart)
        return (pull + down) * free

    return simulate(positions, velocities, frames, lambda part: force, dt=dt, every=every)


def string_energy(
    states: Tensor, *, stiffness: float, rest_length: float, gravity: float = 0.0
) -> Tensor:
    """sum_i (|v_i|^2 / 2 + g y_i) + sum over neighbours of C (|d| - L)^2 / 2, [S, N, T, 4] -> [S, T]."""
    lengths = states[..., :2].diff(dim=1).norm(dim=-1)  # [S, N - 1, T]
    springs = stiffness / 2 * (lengths - rest_length).square().sum(1)
    return kinetic_energy(states) + springs + gravity * states[..., 1].sum(1)
