"""Bouncing balls: discs that collide elastically with each other and with the walls of a box.

Between collisions a ball moves straight on. When two balls touch while they approach each other,
they exchange an impulse along the line d = x_i - x_j of their centres,

    v_i -= 2 m_j / (m_i + m_j)  <v_i - v_j, d> / |d|^2  d,    v_j += 2 m_i / (m_i + m_j)  (...)  d,

which conserves momentum and energy exactly. The relation is there only for an instant, and every
pair of balls may collide: the graph is complete.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.relations.motion import (
    Simulations,
    check_counts,
    check_generator,
    chunks,
    reflect,
    roll,
    unordered_pairs,
)

__all__ = ["BALLS_SCALE", "bouncing_balls", "bouncing_balls_from"]

BALLS_SCALE = (1.0, 1.0, 3.0, 3.0)


def bouncing_balls(
    simulations: int,
    bodies: int = 5,
    frames: int = 49,
    *,
    generator: torch.Generator | None = None,
    radius: float = 0.15,
    masses: tuple[float, float] = (0.5, 2.0),
    speed: float = 1.0,
    box: float = 1.0,
    dt: float = 0.005,
    every: int = 10,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Simulations:
    """S boxes with N balls of equal radius and random masses, which do not overlap at the start.

    The balls start in random cells of a square grid, anywhere in their cell, with a velocity
    ~ N(0, speed^2 / 2) a component.

    Args:
        simulations, bodies, frames: S, N, T.
        generator: a CPU generator; None draws from torch's own.
        radius: of a ball.
        masses: bounds of the uniform draws.
        speed: root mean square of the initial speeds.
        box: half-width of the box.
        dt, every: step size, and steps from frame to frame. A ball should move a small part of its
            radius in a step.
        dtype, device: of the states; the draws are made in float64 on the CPU.

    Returns:
        states [S, N, T, 4], edges 1 between any two balls, masses [S, N] as attributes.

    Raises:
        ValueError: where a count is too small or the balls do not fit on the grid.
    """
    check_counts(simulations, bodies, frames, every)
    check_generator(generator)
    cells = math.ceil(math.sqrt(bodies))  # a side
    slack = box / cells - radius  # how far a ball may lie from the centre of its cell
    if slack < 0:
        raise ValueError(
            f"{bodies} balls of radius {radius} do not fit on a grid of {cells} x {cells} cells in "
            f"a box of half-width {box}: the radius must be at most {box / cells:.3g}"
        )
    draws = torch.rand(3, simulations, bodies, generator=generator, dtype=torch.float64)
    order = torch.rand(simulations, cells**2, generator=generator, dtype=torch.float64)
    cell = order.argsort(1)[:, :bodies]  # [S, N], distinct
    corner = torch.stack([cell % cells, cell // cells], -1)  # [S, N, 2]
    centres = box * ((2 * corner + 1) / cells - 1)
    positions = centres + slack * (2 * draws[:2].permute(1, 2, 0) - 1)
    normal = torch.randn(simulations, bodies, 2, generator=generator, dtype=torch.float64)
    velocities = speed / math.sqrt(2) * normal
    mass = (masses[0] + (masses[1] - masses[0]) * draws[2]).to(device, dtype)
    states = bouncing_balls_from(
        positions.to(device, dtype),
        velocities.to(device, dtype),
        mass,
        frames,
        radius=radius,
        box=box,
        dt=dt,
        every=every,
    )
    edges = 1 - torch.eye(bodies, dtype=torch.int64, device=device)
    edges = edges.expand(simulations, -1, -1).contiguous()
    return Simulations(states, edges, every * dt, BALLS_SCALE, mass)


def bouncing_balls_from(
    positions: Tensor,
    velocities: Tensor,
    masses: Tensor,
    frames: int,
    *,
    radius: float = 0.15,
    box: float = 1.0,
    dt: float = 0.005,
    every: int = 10,
) -> Tensor:
    """The frames that follow given initial states: [S, N, T, 4].

    Args:
        positions, velocities: [S, N, 2].
        masses: [S, N].
        frames: T; the first is one interval after the initial state.
        radius, box, dt, every: see `bouncing_balls`.
    """
    states = [positions.new_empty(0, positions.size(1), frames, 4)]
    for part in chunks(positions.size(0), positions.device):
        mass = masses[part].T  # [N, S]

        def advance(x: Tensor, v: Tensor, mass: Tensor = mass) -> tuple[Tensor, Tensor]:
            v = v.clone()
            for _ in range(every):
                x, v = reflect(x + dt * v, v, box - radius)
                _collide(x, v, mass, 2 * radius)
            return x, v

        start = positions[part].permute(1, 2, 0), velocities[part].permute(1, 2, 0)
        states.append(roll(*start, frames, advance))
    return torch.cat(states)


def _collide(positions: Tensor, velocities: Tensor, masses: Tensor, diameter: float) -> None:
    """Exchange the impulses of touching pairs, one pair after the other, in `velocities` [N, 2, S].

    One after the other, because the impulse of a ball's second collision depends on the first's
    outcome: summed at once they would not conserve energy. Pairs that touch nowhere are skipped.
    """
    i, j = unordered_pairs(positions.size(0), positions.device)
    apart = positions[i] - positions[j]  # [P, 2, S]
    squares = apart.square().sum(1)  # [P, S]
    touching = squares < diameter**2
    for pair in touching.any(1).nonzero().squeeze(1).tolist():
        a, b = int(i[pair]), int(j[pair])
        where = touching[pair].nonzero().squeeze(1)
        line = apart[pair][:, where]  # [2, s] of the s simulations where they touch
        approach = ((velocities[a][:, where] - velocities[b][:, where]) * line).sum(0)
        impulse = 2 * approach.clamp(max=0) / squares[pair, where] * line
        share = masses[b, where] / (masses[a, where] + masses[b, where])
        velocities[a][:, where] -= share * impulse
        velocities[b][:, where] += (1 - share) * impulse
