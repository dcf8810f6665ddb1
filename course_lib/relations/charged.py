"""Charged bodies in a box: equal charges repel, opposite charges attract.

    a_i = sum_j k q_i q_j (x_i - x_j) / |x_i - x_j|^3,   q in {-1, +1},   walls at +-box reflect

Every pair interacts, so neither of the two edge types means "no edge": type 0 repels (q_i q_j = 1),
type 1 attracts. The defaults are the physics of the NRI paper (Kipf et al. 2018): k = 1, box 5,
initial positions N(0, 1), speed 0.5, step 0.001, every 100th step saved, and each component of a
body's acceleration clamped to +-100, without which a close encounter would throw both bodies out of
the box. Where the clamp acts, momentum and energy are not conserved.

Trajectories are chaotic: a difference of 1e-15 in the arithmetic grows by orders of magnitude at
every close encounter. Two devices follow the same law, but not the same path for long.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.relations.motion import (
    Force,
    Simulations,
    check_counts,
    check_probability,
    draw_start,
    incidence,
    kinetic_energy,
    pair_differences,
    pair_sum,
    reflect,
    simulate,
    unordered_pairs,
)

__all__ = ["CHARGED_SCALE", "charged", "charged_energy", "charged_from"]

CHARGED_SCALE = (5.0, 5.0, 6.0, 6.0)  # the box; few speeds exceed 6


def charged(
    simulations: int,
    bodies: int = 5,
    frames: int = 49,
    *,
    generator: torch.Generator | None = None,
    charge_probability: float = 0.5,
    interaction: float = 1.0,
    box: float = 5.0,
    spread: float = 1.0,
    speed: float = 0.5,
    dt: float = 0.001,
    every: int = 100,
    first_kick: float = 0.5,
    clamp: float = 100.0,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Simulations:
    """S random systems of charged bodies.

    Args:
        simulations, bodies, frames: S, N, T.
        generator: a CPU generator; None draws from torch's own.
        charge_probability: of the charge +1; the others have -1.
        interaction: k, in length^3 / time^2.
        box: half-width of the box.
        spread, speed: standard deviation of the initial positions, length of the velocities.
        dt, every: step size, and steps from frame to frame.
        first_kick: see `leapfrog`; 1 records what the public generator of the paper records.
        clamp: bound of each component of an acceleration.
        dtype, device: of the states; the draws are made in float64 on the CPU.

    Returns:
        states [S, N, T, 4], edge types 0 (repel) and 1 (attract), charges [S, N] as attributes.

    Raises:
        ValueError: where a count is too small or the probability lies outside [0, 1].
    """
    check_counts(simulations, bodies, frames, every)
    check_probability("charge_probability", charge_probability)
    positions, velocities = draw_start(simulations, bodies, spread, speed, generator)
    positions, velocities = reflect(positions, velocities, box)
    drawn = torch.rand(simulations, bodies, generator=generator, dtype=torch.float64)
    charges = torch.where(drawn < charge_probability, 1.0, -1.0).to(device, dtype)  # [S, N]
    states = charged_from(
        positions.permute(2, 0, 1).to(device, dtype),
        velocities.permute(2, 0, 1).to(device, dtype),
        charges,
        frames,
        interaction=interaction,
        box=box,
        dt=dt,
        every=every,
        first_kick=first_kick,
        clamp=clamp,
    )
    edges = (charges.unsqueeze(1) * charges.unsqueeze(2) < 0).long()  # [S, N, N], diagonal 0
    return Simulations(states, edges, every * dt, CHARGED_SCALE, charges)


def charged_from(
    positions: Tensor,
    velocities: Tensor,
    charges: Tensor,
    frames: int,
    *,
    interaction: float = 1.0,
    box: float = 5.0,
    dt: float = 0.001,
    every: int = 100,
    first_kick: float = 0.5,
    clamp: float = 100.0,
) -> Tensor:
    """The frames that follow given initial states: [S, N, T, 4].

    Args:
        positions, velocities: [S, N, 2].
        charges: q [S, N], of any value.
        frames: T; the first is one interval after the initial state.
        interaction, box, dt, every, first_kick, clamp: see `charged`.
    """
    return simulate(
        positions,
        velocities,
        frames,
        lambda part: _force(charges[part], interaction, clamp),
        dt=dt,
        every=every,
        first_kick=first_kick,
        box=box,
        size=2048,
    )


def _force(charges: Tensor, interaction: float, clamp: float) -> Force:
    """Accelerations [N, 2, S] of bodies with `charges` [S, N] at given positions [N, 2, S]."""
    i, j = joined = unordered_pairs(charges.size(1), charges.device)
    matrix = incidence(joined, charges.size(1), charges)
    products = interaction * (charges[:, i] * charges[:, j]).T  # [P, S]

    def force(positions: Tensor) -> Tensor:
        apart = pair_differences(matrix, positions)  # [P, 2, S]
        sizes = products * apart.square().sum(1).rsqrt().pow(3)  # [P, S]
        return pair_sum(matrix, apart * sizes.unsqueeze(1)).clamp_(-clamp, clamp)

    return force


def charged_energy(states: Tensor, charges: Tensor, interaction: float = 1.0) -> Tensor:
    """sum_i |v_i|^2 / 2 + sum over pairs of k q_i q_j / |x_i - x_j|, [S, N, T, 4] -> [S, T].

    Args:
        states: [S, N, T, 4], unit masses.
        charges: q [S, N].
        interaction: k.
    """
    i, j = unordered_pairs(states.size(1), states.device)
    distances = (states[:, i, :, :2] - states[:, j, :, :2]).norm(dim=-1)  # [S, P, T]
    products = interaction * (charges[:, i] * charges[:, j]).unsqueeze(-1)
    return kinetic_energy(states) + (products / distances).sum(1)
