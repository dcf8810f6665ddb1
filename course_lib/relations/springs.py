"""Bodies in a box, some pairs joined by springs of rest length 0.

    a_i = sum_j k w_ij (x_j - x_i),        walls at +-box reflect

A pair's spring is of one of K types with strengths w (0 is "no spring"), so the graph is
undirected. The defaults are the physics of the NRI paper (Kipf et al. 2018): k = 0.1, box 5, initial
positions N(0, 0.5^2), speed 0.5, step 0.001, every 100th step saved.

The force is linear in the positions, so away from the walls the 100 leapfrog steps between two
frames are one matrix M of size 2N by 2N, the 100th power of a step's, and all frames M x, M^2 x, ...
follow from products that double their number. Where a body may have touched a wall between two
frames, that simulation is moved frame by frame, and those two frames step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from course_lib.relations.motion import (
    Force,
    Simulations,
    check_counts,
    check_probability,
    chunks,
    draw_start,
    incidence,
    kinetic_energy,
    leapfrog,
    pair_differences,
    pair_sum,
    roll,
    simulate,
    unordered_pairs,
)

__all__ = ["SPRINGS_SCALE", "springs", "springs_energy", "springs_from"]

SPRINGS_SCALE = (4.5, 4.5, 1.7, 1.7)  # the largest of 50,000 simulations, rounded up


def springs(
    simulations: int,
    bodies: int = 5,
    frames: int = 49,
    *,
    generator: torch.Generator | None = None,
    spring_probability: float = 0.5,
    strengths: Sequence[float] = (0.0, 1.0),
    interaction: float = 0.1,
    box: float = 5.0,
    spread: float = 0.5,
    speed: float = 0.5,
    dt: float = 0.001,
    every: int = 100,
    first_kick: float = 0.5,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Simulations:
    """S random spring systems.

    Args:
        simulations, bodies, frames: S, N, T.
        generator: a CPU generator; None draws from torch's own.
        spring_probability: a pair has a spring (a type other than 0) with this probability, and
            then each of the types 1 .. K-1 is equally likely.
        strengths: w of each type; the first is that of "no edge", 0.
        interaction: k, in 1 / time^2.
        box: half-width of the box.
        spread, speed: standard deviation of the initial positions, length of the velocities.
        dt, every: step size, and steps from frame to frame.
        first_kick: see `leapfrog`; 1 records what the public generator of the paper records.
        dtype, device: of the states; the draws are made in float64 on the CPU.

    Returns:
        states [S, N, T, 4] and edge types 0 .. K-1.

    Raises:
        ValueError: where a count is too small, the probability lies outside [0, 1] or there are
            fewer than two strengths.
    """
    check_counts(simulations, bodies, frames, every)
    check_probability("spring_probability", spring_probability)
    if len(strengths) < 2:
        raise ValueError(f"strengths needs at least two types, got {tuple(strengths)}")
    positions, velocities = draw_start(simulations, bodies, spread, speed, generator)
    edges = _draw_edges(simulations, bodies, spring_probability, len(strengths), generator)
    edges = edges.to(device)
    states = springs_from(
        positions.permute(2, 0, 1).to(device, dtype),
        velocities.permute(2, 0, 1).to(device, dtype),
        torch.tensor(strengths, dtype=dtype, device=device)[edges],
        frames,
        interaction=interaction,
        box=box,
        dt=dt,
        every=every,
        first_kick=first_kick,
    )
    return Simulations(states, edges, every * dt, SPRINGS_SCALE)


def _draw_edges(
    simulations: int,
    bodies: int,
    probability: float,
    kinds: int,
    generator: torch.Generator | None,
) -> Tensor:
    """Symmetric types [S, N, N] in 0 .. kinds-1, on the CPU: 0 with 1 - probability."""
    i, j = unordered_pairs(bodies)
    shape = (simulations, i.numel())
    joined = torch.rand(shape, generator=generator, dtype=torch.float64) < probability
    kind = torch.randint(1, kinds, shape, generator=generator)
    edges = torch.zeros(simulations, bodies, bodies, dtype=torch.int64)
    edges[:, i, j] = edges[:, j, i] = joined * kind
    return edges


def springs_from(
    positions: Tensor,
    velocities: Tensor,
    weights: Tensor,
    frames: int,
    *,
    interaction: float = 0.1,
    box: float = 5.0,
    dt: float = 0.001,
    every: int = 100,
    first_kick: float = 0.5,
    stepped: bool = False,
) -> Tensor:
    """The frames that follow given initial states: [S, N, T, 4].

    Args:
        positions, velocities: [S, N, 2]. Positions must lie in the box.
        weights: [S, N, N], the symmetric strengths w; the diagonal is not read.
        frames: T; the first is one interval after the initial state.
        interaction, box, dt, every, first_kick: see `springs`.
        stepped: take every step instead of matrix powers.

    Raises:
        ValueError: where weights are not symmetric or a body starts outside the box.
    """
    if not torch.equal(weights, weights.mT):
        raise ValueError("weights must be symmetric: a spring pulls both of its ends")
    if positions.numel() and positions.abs().max() > box:
        raise ValueError(f"bodies must start inside the box [-{box}, {box}]: scale positions down")
    stiffness = interaction * weights
    if stepped:
        law = {"dt": dt, "every": every, "first_kick": first_kick, "box": box}
        return simulate(positions, velocities, frames, lambda p: _force(stiffness[p]), **law)
    states = [positions.new_empty(0, positions.size(1), frames, 4)]
    for part in chunks(positions.size(0), positions.device):
        mover = _Springs(stiffness[part], box, dt, every, first_kick)
        states.append(mover.frames(torch.cat([positions[part], velocities[part]], 1), frames))
    return torch.cat(states)


def _force(stiffness: Tensor) -> Force:
    """Accelerations [N, 2, S] at given positions [N, 2, S]; `stiffness` k w is [S, N, N]."""
    i, j = joined = unordered_pairs(stiffness.size(-1), stiffness.device)
    matrix = incidence(joined, stiffness.size(-1), stiffness)
    pull = -stiffness[:, i, j].T.unsqueeze(1)  # [P, 1, S]
    return lambda x: pair_sum(matrix, pair_differences(matrix, x) * pull)


class _Springs:
    """Moves the simulations of one chunk from frame to frame."""

    def __init__(
        self, stiffness: Tensor, box: float, dt: float, every: int, first_kick: float
    ) -> None:
        """`stiffness` k w [S, N, N], the diagonal not read."""
        self.box, self.dt, self.every, self.first_kick = box, dt, every, first_kick
        self.stiffness = stiffness - stiffness.diagonal(dim1=1, dim2=2).diag_embed()
        laplacian = self.stiffness.sum(2).diag_embed() - self.stiffness  # a = -L x
        self.leap_matrix = torch.linalg.matrix_power(self._one_step(laplacian), every)
        # With h between two frames, a path leaves the chord of its ends by at most h^2 / 8 times
        # its largest acceleration, and that is at most 2 max |x| times its stiffnesses' sum. So
        # max |x| is at most the ends' plus c max |x|, c = h^2 / 4 times the largest sum.
        most = self.stiffness.abs().sum(2).amax() if stiffness.numel() else 0.0
        self.safe = box * (1 - (every * dt) ** 2 / 4 * most)

    def _one_step(self, laplacian: Tensor) -> Tensor:
        """The matrix [S, 2N, 2N] of one kick, drift, kick on (x, v)."""
        simulations, bodies, _ = laplacian.shape
        eye = torch.eye(bodies, dtype=laplacian.dtype, device=laplacian.device)
        eye = eye.expand(simulations, -1, -1)
        first, last = self.first_kick * self.dt, (1 - self.first_kick) * self.dt
        # drift after the first kick: x' = x + dt (v - first L x); v' = v - first L x - last L x'
        position = torch.cat([eye - self.dt * first * laplacian, self.dt * eye], dim=2)
        kicked = torch.cat([-first * laplacian, eye], dim=2)
        return torch.cat([position, kicked - last * laplacian @ position], dim=1)

    def near_wall(self, positions: Tensor) -> Tensor:
        """Whether a body may touch a wall on the way to the next frame: [..., N, 2, T+1] -> [..., T]."""
        farthest = positions.abs().amax((-3, -2))  # [..., T+1]
        return torch.maximum(farthest[..., :-1], farthest[..., 1:]) > self.safe

    def frames(self, start: Tensor, frames: int) -> Tensor:
        """The states [S, N, T, 4] that follow `start` [S, 2N, 2], positions above velocities."""
        simulations, bodies = start.size(0), start.size(1) // 2
        orbit, power = start, self.leap_matrix
        wanted = 2 * (frames + 1)
        while (so_far := orbit.size(2)) < wanted:  # frames side by side, [S, 2N, 2 (t + 1)]
            orbit = torch.cat([orbit, power @ orbit[..., : wanted - so_far]], 2)
            power = power @ power
        orbit = orbit.view(simulations, 2, bodies, frames + 1, 2)
        states = torch.cat([orbit[:, 0, :, 1:], orbit[:, 1, :, 1:]], -1)  # [S, N, T, 4]
        near = self.near_wall(orbit[:, 0].mT).any(-1).nonzero().squeeze(1)
        if near.numel():
            states[near] = self.careful(start[near], near, frames)
        return states

    def careful(self, start: Tensor, chosen: Tensor, frames: int) -> Tensor:
        """`frames` for the simulations `chosen`, frame by frame, with walls."""
        bodies = start.size(1) // 2

        def advance(positions: Tensor, velocities: Tensor) -> tuple[Tensor, Tensor]:
            state = torch.cat([positions, velocities])  # [2N, 2, S]
            new = (leap_matrix @ state.permute(2, 0, 1)).permute(1, 2, 0).contiguous()
            ends = torch.stack([positions, new[:bodies]], -1).permute(2, 0, 1, 3)  # [S, N, 2, 2]
            near = self.near_wall(ends).squeeze(-1).nonzero().squeeze(1)
            if near.numel():
                new[..., near] = torch.cat(
                    leapfrog(
                        positions[..., near],
                        velocities[..., near],
                        _force(self.stiffness[chosen[near]]),
                        dt=self.dt,
                        steps=self.every,
                        first_kick=self.first_kick,
                        box=self.box,
                    )
                )
            return new[:bodies], new[bodies:]

        leap_matrix = self.leap_matrix[chosen]
        state = start.permute(1, 2, 0)
        return roll(state[:bodies], state[bodies:], frames, advance)


def springs_energy(states: Tensor, weights: Tensor, interaction: float = 0.1) -> Tensor:
    """sum_i |v_i|^2 / 2 + sum over pairs of k w_ij |x_i - x_j|^2 / 2, [S, N, T, 4] -> [S, T].

    Args:
        states: [S, N, T, 4], unit masses.
        weights: the strengths w [S, N, N], symmetric.
        interaction: k.
    """
    i, j = unordered_pairs(states.size(1), states.device)
    squares = (states[:, i, :, :2] - states[:, j, :, :2]).square().sum(-1)  # [S, P, T]
    potential = interaction / 2 * weights[:, i, j].to(squares).unsqueeze(-1) * squares
    return kinetic_energy(states) + potential.sum(1)
