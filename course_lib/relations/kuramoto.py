"""Oscillators that pull each other's phase (Kuramoto 1975).

    dphi_i/dt = omega_i + k sum_j e_ij sin(phi_j - phi_i)

with natural frequencies omega_i ~ U(1, 10), phases phi_i(0) ~ U(0, 2 pi) and edges e_ij in {0, 1},
solved by Runge-Kutta of fourth order with step 0.01, every 10th step saved: the setting of the NRI
paper (Kipf et al. 2018).

A frame shows three features an oscillator: (dphi/dt, sin phi, cos phi). They determine the future
once the graph is known, and omega is not among them. Nor is the coupling dphi/dt - omega, which
would be exactly 0 for an oscillator without incoming edges, so that a single number would give its
whole row of the graph away. What remains is physics: such an oscillator turns at a constant rate,
anything between 1 and 10, and that is seen only by comparing frames.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.relations.motion import (
    Simulations,
    check_counts,
    check_generator,
    check_probability,
    chunks,
    unordered_pairs,
)

__all__ = ["KURAMOTO_SCALE", "kuramoto", "kuramoto_from", "kuramoto_rate"]

KURAMOTO_SCALE = (14.0, 1.0, 1.0)  # rates of five oscillators lie between -4 and 14


def kuramoto(
    simulations: int,
    bodies: int = 5,
    frames: int = 49,
    *,
    generator: torch.Generator | None = None,
    edge_probability: float = 0.5,
    directed: bool = False,
    coupling: float = 1.0,
    frequencies: tuple[float, float] = (1.0, 10.0),
    dt: float = 0.01,
    every: int = 10,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> Simulations:
    """S random systems of coupled oscillators.

    Args:
        simulations, bodies, frames: S, N, T.
        generator: a CPU generator; None draws from torch's own.
        edge_probability: of every pair, or of every ordered pair where `directed`.
        directed: draw both directions of a pair on their own.
        coupling: k, in radians / time.
        frequencies: bounds of the natural frequencies, in radians / time.
        dt, every: step size, and steps from frame to frame.
        dtype, device: of the states; the draws are made in float64 on the CPU.

    Returns:
        states [S, N, T, 3], edge types 0 (none) and 1, natural frequencies [S, N] as attributes.

    Raises:
        ValueError: where a count is too small or the probability lies outside [0, 1].
    """
    check_counts(simulations, bodies, frames, every)
    check_generator(generator)
    check_probability("edge_probability", edge_probability)
    draws = torch.rand(2, simulations, bodies, generator=generator, dtype=torch.float64)
    low, high = frequencies
    phases, omega = 2 * math.pi * draws[0], low + (high - low) * draws[1]  # [S, N]
    drawn = torch.rand(simulations, bodies, bodies, generator=generator, dtype=torch.float64)
    edges = (drawn < edge_probability).long()
    if not directed:
        i, j = unordered_pairs(bodies)
        edges[:, j, i] = edges[:, i, j]
    edges.diagonal(dim1=1, dim2=2).zero_()
    edges, omega = edges.to(device), omega.to(device, dtype)
    states = kuramoto_from(
        phases.to(device, dtype), omega, edges, frames, coupling=coupling, dt=dt, every=every
    )
    return Simulations(states, edges, every * dt, KURAMOTO_SCALE, omega)


def kuramoto_rate(phases: Tensor, omega: Tensor, weights: Tensor) -> Tensor:
    """dphi_i/dt = omega_i + sum_j w_ij sin(phi_j - phi_i), as

        omega_i + cos phi_i sum_j w_ij sin phi_j - sin phi_i sum_j w_ij cos phi_j.

    Args:
        phases, omega: [S, N].
        weights: k e_ij, [S, N, N].

    Returns:
        [S, N].
    """
    sine, cosine = phases.sin(), phases.cos()
    pulls = weights @ torch.stack([sine, cosine], -1)  # [S, N, 2]
    return omega + cosine * pulls[..., 0] - sine * pulls[..., 1]


def kuramoto_from(
    phases: Tensor,
    omega: Tensor,
    edges: Tensor,
    frames: int,
    *,
    coupling: float = 1.0,
    dt: float = 0.01,
    every: int = 10,
) -> Tensor:
    """The frames that follow given phases: [S, N, T, 3], features (dphi/dt, sin phi, cos phi).

    Args:
        phases, omega: [S, N].
        edges: [S, N, N], e_ij: does j pull i? Weights are allowed; the diagonal has no effect.
        frames: T; the first is one interval after the initial state.
        coupling, dt, every: see `kuramoto`.
    """
    states = phases.new_empty(*phases.shape, frames, 3)
    for part in chunks(phases.size(0), phases.device):
        phase, frequency, weights = phases[part], omega[part], coupling * edges[part].to(phases)
        for frame in range(frames):
            for _ in range(every):
                phase = _runge_kutta(phase, frequency, weights, dt)
            rate = kuramoto_rate(phase, frequency, weights)
            states[part, :, frame] = torch.stack([rate, phase.sin(), phase.cos()], -1)
    return states


def _runge_kutta(phases: Tensor, omega: Tensor, weights: Tensor, dt: float) -> Tensor:
    """The phases dt later, by the classical method of fourth order."""
    k1 = kuramoto_rate(phases, omega, weights)
    k2 = kuramoto_rate(phases + dt / 2 * k1, omega, weights)
    k3 = kuramoto_rate(phases + dt / 2 * k2, omega, weights)
    k4 = kuramoto_rate(phases + dt * k3, omega, weights)
    return phases + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
