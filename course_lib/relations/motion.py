"""What all simulators share: their result, the leapfrog integrator, a box with walls, fixed scales.

Axes: S simulations, N bodies, T saved frames, D features. Inside, positions and velocities are
[N, 2, S], simulations last, so that each operation runs over long rows and a difference between two
bodies is a difference of rows. All randomness is drawn on the CPU and then moved, so a seed gives
the same simulations on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.relations.graphs import edges_to_types

__all__ = [
    "Simulations",
    "from_unit_box",
    "incidence",
    "kinetic_energy",
    "leapfrog",
    "momentum",
    "reflect",
    "to_unit_box",
    "unordered_pairs",
]

Force = Callable[[Tensor], Tensor]  # positions [N, 2, S] -> accelerations [N, 2, S]


@dataclass(frozen=True)
class Simulations:
    """S trajectories of N bodies and the graph that made them.

    Fields:
        states: [S, N, T, D]; D = 4 is (x, y, v_x, v_y). Frame t is (t + 1) intervals after the
            initial state, which is not among the frames: there all bodies have the same speed.
        edges: int64 [S, N, N], the type of what body j (column) does to body i (row); diagonal 0.
        interval: time between two frames.
        scale: D constants that bring the states to about [-1, 1]; see `to_unit_box`.
        attributes: [S, N] properties of the bodies that the states do not show (masses, charges,
            natural frequencies), or None.
    """

    states: Tensor
    edges: Tensor
    interval: float
    scale: tuple[float, ...]
    attributes: Tensor | None = None

    def __len__(self) -> int:
        return self.states.size(0)

    @property
    def types(self) -> Tensor:
        """int64 [S, E], the edges in the order of `complete_graph(N)`."""
        return edges_to_types(self.edges)

    @property
    def unit_states(self) -> Tensor:
        """[S, N, T, D], the states divided by `scale`."""
        return to_unit_box(self.states, self.scale)


def to_unit_box(states: Tensor, scale: Sequence[float]) -> Tensor:
    """states / scale, feature by feature: [..., D] -> [..., D], about within [-1, 1].

    The constants belong to the system (`SPRINGS_SCALE`, ...), never to the sample: a minimum or
    maximum of the sample would change with its size, and would differ between training and test.

    Raises:
        ValueError: where `scale` has not one number a feature.
    """
    return states / _constants(states, scale)


def from_unit_box(states: Tensor, scale: Sequence[float]) -> Tensor:
    """The inverse of `to_unit_box`: states * scale."""
    return states * _constants(states, scale)


def _constants(states: Tensor, scale: Sequence[float]) -> Tensor:
    """The scale [D] as the states are; a ValueError where it has not one number a feature."""
    if states.size(-1) != len(scale):
        raise ValueError(f"scale needs {states.size(-1)} numbers, one a feature, got {len(scale)}")
    return states.new_tensor(scale)


def unordered_pairs(bodies: int, device: torch.device | str | None = None) -> Tensor:
    """int64 [2, P]: the P = N (N - 1) / 2 unordered pairs, i < j."""
    return torch.triu_indices(bodies, bodies, offset=1, device=device)


def incidence(joined: Tensor, bodies: int, like: Tensor) -> Tensor:
    """The incidence matrix D [P, N] of the pairs `joined` [2, P]: +1 at i and -1 at j.

    D x are the differences x_i - x_j, and D^T f gives body i the sum of +f, body j that of -f: what
    acts on a pair acts on both in opposite directions, so momentum is conserved. dtype and device
    are those of `like`.
    """
    i, j = joined
    matrix = like.new_zeros(i.numel(), bodies)
    rows = torch.arange(i.numel(), device=like.device)
    matrix[rows, i], matrix[rows, j] = 1.0, -1.0
    return matrix


def pair_differences(matrix: Tensor, positions: Tensor) -> Tensor:
    """x_i - x_j of every pair: [P, N] and [N, 2, S] -> [P, 2, S]."""
    return (matrix @ positions.flatten(1)).view(-1, *positions.shape[1:])


def pair_sum(matrix: Tensor, forces: Tensor) -> Tensor:
    """The sum of the pairs' forces on every body: [P, N] and [P, 2, S] -> [N, 2, S]."""
    return (matrix.T @ forces.flatten(1)).view(-1, *forces.shape[1:])


def reflect(positions: Tensor, velocities: Tensor, box: float | Tensor) -> tuple[Tensor, Tensor]:
    """Elastic walls at +-box: x -> +-2 box - x, and the velocity points inwards.

    Inside the box both are returned as they are, bit by bit.
    """
    beyond = positions - positions.clamp(-box, box)  # how far outside, 0 inside
    outwards = beyond * velocities > 0
    positions = torch.sub(positions, beyond, alpha=2)
    return positions, torch.where(outwards, -velocities, velocities)


def leapfrog(
    positions: Tensor,
    velocities: Tensor,
    force: Force,
    *,
    dt: float,
    steps: int,
    first_kick: float = 0.5,
    box: float | None = None,
) -> tuple[Tensor, Tensor]:
    """`steps` steps of dv/dt = force(x), dx/dt = v: a kick, then drifts and whole kicks in turn.

        v += first_kick dt a(x);   x += dt v;   v += dt a(x);  ...;   v += (1 - first_kick) dt a(x)

    A first kick of half a step is the leapfrog method, of second order: halving dt quarters the
    error. A first kick of a whole step is symplectic Euler, of first order.

    Args:
        positions, velocities: [N, 2, S].
        force: accelerations [N, 2, S] at given positions.
        dt: step size.
        steps: number of drifts, at least 1.
        first_kick: share of a step that the first kick takes; the last one takes the rest.
        box: half-width of a box with elastic walls (`reflect`), or None.

    Returns:
        positions and velocities [N, 2, S] at time steps * dt; the arguments are left alone.
    """
    velocities = torch.add(velocities, force(positions), alpha=first_kick * dt)
    for step in range(1, steps + 1):
        positions = torch.add(positions, velocities, alpha=dt)
        if box is not None:
            positions, velocities = reflect(positions, velocities, box)
        kick = dt if step < steps else (1 - first_kick) * dt
        velocities = torch.add(velocities, force(positions), alpha=kick)
    return positions, velocities


def roll(
    positions: Tensor,
    velocities: Tensor,
    frames: int,
    advance: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> Tensor:
    """The T = `frames` frames that follow the given state, each `advance` of the one before.

    Args:
        positions, velocities: [N, 2, S].
        frames: T.
        advance: positions and velocities one frame later.

    Returns:
        [S, N, T, 4].
    """
    bodies, _, simulations = positions.shape
    states = positions.new_empty(simulations, bodies, frames, 4)
    for frame in range(frames):
        positions, velocities = advance(positions, velocities)
        states[:, :, frame, :2] = positions.permute(2, 0, 1)
        states[:, :, frame, 2:] = velocities.permute(2, 0, 1)
    return states


def simulate(
    positions: Tensor,
    velocities: Tensor,
    frames: int,
    force_of: Callable[[slice], Force],
    *,
    dt: float,
    every: int,
    first_kick: float = 0.5,
    box: float | None = None,
    size: int = 512,
) -> Tensor:
    """The frames that follow given initial states, by `leapfrog`, chunk by chunk: [S, N, T, 4].

    Args:
        positions, velocities: [S, N, 2].
        frames: T; the first is one interval, `every` steps of dt, after the initial state.
        force_of: the accelerations of the simulations of a slice.
        dt, first_kick, box: see `leapfrog`.
        size: simulations a chunk, on a CPU.
    """
    states = [positions.new_empty(0, positions.size(1), frames, 4)]
    for part in chunks(positions.size(0), positions.device, size):
        force = force_of(part)

        def advance(x: Tensor, v: Tensor, force: Force = force) -> tuple[Tensor, Tensor]:
            return leapfrog(x, v, force, dt=dt, steps=every, first_kick=first_kick, box=box)

        start = positions[part].permute(1, 2, 0), velocities[part].permute(1, 2, 0)
        states.append(roll(*start, frames, advance))
    return torch.cat(states)


def chunks(simulations: int, device: torch.device | str | None, size: int = 512) -> Iterator[slice]:
    """Slices of `size` simulations on a CPU, whose cache then holds them; all at once elsewhere."""
    cpu = device is None or torch.device(device).type == "cpu"
    size = size if cpu else max(simulations, 1)
    return (slice(start, start + size) for start in range(0, simulations, size))


def draw_start(
    simulations: int, bodies: int, spread: float, speed: float, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """Positions ~ N(0, spread^2) and velocities of length `speed` in random directions.

    Returns:
        float64 [N, 2, S] each, on the CPU.
    """
    check_generator(generator)
    draws = torch.randn(2, bodies, 2, simulations, generator=generator, dtype=torch.float64)
    positions, direction = draws
    return spread * positions, speed * direction / direction.norm(dim=1, keepdim=True)


def check_generator(generator: torch.Generator | None) -> None:
    """Raise a ValueError unless the generator is the CPU's."""
    if generator is not None and generator.device.type != "cpu":
        raise ValueError(
            f"generator must be a CPU generator, got one of {generator.device}: draws are made on "
            f"the CPU and moved, so that a seed means the same everywhere"
        )


def check_counts(simulations: int, bodies: int, frames: int, every: int) -> None:
    """Raise a ValueError unless there is something to simulate."""
    for name, count, least in (
        ("simulations", simulations, 0),
        ("bodies", bodies, 1),
        ("frames", frames, 1),
        ("every", every, 1),
    ):
        if count < least:
            raise ValueError(f"{name} must be at least {least}, got {count}")


def check_probability(name: str, value: float) -> None:
    """Raise a ValueError that names the argument unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in [0, 1], got {value}")


def kinetic_energy(states: Tensor, masses: Tensor | None = None) -> Tensor:
    """K = sum_i m_i |v_i|^2 / 2, [S, N, T, 4] -> [S, T]; masses [S, N], 1 where not given."""
    energy = states[..., 2:].square().sum(-1) / 2  # [S, N, T]
    return (energy if masses is None else energy * masses.unsqueeze(-1)).sum(1)


def momentum(states: Tensor, masses: Tensor | None = None) -> Tensor:
    """sum_i m_i v_i, [S, N, T, 4] -> [S, T, 2]; masses [S, N], 1 where not given."""
    velocities = states[..., 2:]  # [S, N, T, 2]
    return (velocities if masses is None else velocities * masses[..., None, None]).sum(1)
