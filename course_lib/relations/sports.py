"""A pick-and-roll: a synthetic play with known, changing relations, and a reader for tracked games.

The screener stands in the way of the ball-handler's defender (the pick), the handler drives past that
shoulder, the screener turns to the basket (the roll), and the ball goes on with the handler or to the
screener. Five bodies, in this order: the ball, the handler, the screener, the handler's defender and
the screener's defender. Who acts on whom depends on the roles and on the phase of the play:

    edge (sender -> receiver)      phases            type
    ball's owner -> ball           all               1, follows; the owner changes with a pass
    defender 1 -> screener         pick              1, walks up to that defender's side
    screener -> handler            drive             1, heads for the screen's shoulder
    handler -> defender 1          all               1, stays between handler and basket
    screener -> defender 1         drive, roll       2, is blocked
    screener -> defender 2         pick, roll        1, stays between screener and basket
    handler -> defender 2          drive             1, helps against the drive

Positions are in feet, velocities in feet per second, time in seconds. The court is half of a
professional one, x = 0 .. 47 from the baseline, y = 0 .. 50, the basket at (5.25, 25).

Source of the task: Kipf, Fetaya, Wang, Welling and Zemel, Neural relational inference for interacting
systems, 2018, https://arxiv.org/abs/1802.04687, whose plays are of the NBA; these are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ROLES", "PickAndRolls", "pick_and_rolls", "to_court_units"]

ROLES = ("ball", "handler", "screener", "defender 1", "defender 2")
BALL, HANDLER, SCREENER, DEFENDER, HELPER = range(5)
COURT = (47.0, 50.0)
BASKET = (5.25, 25.0)
DT = 0.16  # seconds between frames: 25 frames are 4 seconds, as in the paper
SUBSTEPS = 8
TOP_SPEED = {BALL: 45.0, HANDLER: 20.0, SCREENER: 18.0, DEFENDER: 19.0, HELPER: 18.0}  # feet/s
EAGERNESS = {BALL: 200.0, HANDLER: 7.0, SCREENER: 7.0, DEFENDER: 12.0, HELPER: 9.0}  # 1/s^2


@dataclass(frozen=True)
class PickAndRolls:
    """Plays and their relations.

    Args:
        states: [S, 5, T, 4], the bodies in the order of `ROLES`, features x, y, vx, vy in feet and
            feet per second.
        edges: int64 [S, T, 5, 5], row receives, column sends: 0 none, 1 follows, 2 is blocked. They
            are those that act from a frame to the next.
        phase: int64 [S, T]: 0 the pick is set, 1 the drive, 2 the roll.
        passed: bool [S], whether the screener gets the ball.
    """

    states: Tensor
    edges: Tensor
    phase: Tensor
    passed: Tensor


def to_court_units(states: Tensor) -> Tensor:
    """Positions [.., 4] from feet to -1 .. 1 across the longer side, velocities by the same factor.

    x = 23.5, y = 25 becomes 0, 0; one unit is 25 feet, so a foot per second is 1/25 a second. The
    constants are the court's, whatever the sample.
    """
    centre = states.new_tensor([COURT[0] / 2, COURT[1] / 2, 0.0, 0.0])
    return (states - centre) / (max(COURT) / 2)


def pick_and_rolls(
    plays: int,
    frames: int = 25,
    *,
    pass_probability: float = 0.5,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> PickAndRolls:
    """Plays of 4 seconds (25 frames), each with its own places, side, pace and timing.

    A body is pulled to the point its relations name, a_i = e_i (p_i - x_i) - 2 sqrt(e_i) v_i with an
    eagerness e_i of its own (critically damped: no overshoot), a blocked defender is pushed off the
    screener, and no one is faster than a player, or a pass, can be.

    Args:
        plays: S. frames: T, every 0.16 s.
        pass_probability: that the screener gets the ball in the roll.
        generator: of all draws, on the CPU or on `device`.

    Raises:
        ValueError: for fewer than 2 frames, no plays, or a probability out of range.
    """
    if plays < 1 or frames < 2 or not 0 <= pass_probability <= 1:
        raise ValueError(
            "need plays >= 1, frames >= 2 and 0 <= pass_probability <= 1, got "
            f"{plays}, {frames} and {pass_probability}"
        )
    where = torch.device("cpu") if generator is None else generator.device

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(plays, *shape, generator=generator, device=where, dtype=dtype)
        return (low + (high - low) * draw).to(device or where)

    side = uniform(-1, 1).sign()  # of the handler on which the screen is set
    length = frames * DT
    drive, roll = uniform(0.28, 0.42) * length, uniform(0.55, 0.68) * length
    passes = roll + uniform(0.0, 0.1) * length
    passed = uniform(0, 1) < pass_probability
    basket = side.new_tensor(BASKET)
    handler = torch.stack([uniform(27, 32), 25 - side * uniform(-2, 8)], 1)  # [S, 2]
    screener = torch.stack([uniform(14, 22), 25 + side * uniform(6, 14)], 1)
    guard = handler + 0.2 * (basket - handler) + uniform(-1, 1, 2)
    helper = screener + 0.25 * (basket - screener) + uniform(-1, 1, 2)
    position = torch.stack([handler + uniform(-1, 1, 2), handler, screener, guard, helper], 1)
    velocity = torch.zeros_like(position)
    finish = torch.stack([uniform(5, 9), 25 + side * uniform(1, 5)], 1)  # where the drive ends
    rolls_to = torch.stack([uniform(5, 9), 25 - side * uniform(1, 5)], 1)
    eager = position.new_tensor([EAGERNESS[body] for body in range(5)]) * uniform(0.7, 1.3, 5)
    speed = position.new_tensor([TOP_SPEED[body] for body in range(5)]).view(5, 1)
    states, edges, phases = [], [], []
    for frame in range(frames):
        clock = frame * DT
        phase = (clock >= drive).long() + (clock >= roll).long()  # [S]
        has_passed = passed & (clock >= passes)
        edges.append(_relations(phase, has_passed))
        phases.append(phase)
        states.append(torch.cat([position, velocity], 2))
        for _ in range(SUBSTEPS):
            goal = _goals(position, phase, has_passed, side, finish, rolls_to, basket)
            pull = eager.unsqueeze(2) * (goal - position)
            pull = pull - 2 * eager.sqrt().unsqueeze(2) * velocity + _block(position, phase)
            velocity = velocity + DT / SUBSTEPS * pull
            fast = velocity.norm(dim=2, keepdim=True)
            velocity = velocity * (speed / fast.clamp(min=1e-9)).clamp(max=1)
            position = position + DT / SUBSTEPS * velocity
    return PickAndRolls(
        torch.stack(states, 2), torch.stack(edges, 1), torch.stack(phases, 1), passed
    )


def _relations(phase: Tensor, has_passed: Tensor) -> Tensor:
    """The edges of the table above: phase [S] -> int64 [S, 5, 5], row receives, column sends."""
    edges = phase.new_zeros(len(phase), 5, 5)
    pick, drives, rolls = (phase == number for number in range(3))
    edges[:, BALL, HANDLER] = (~has_passed).long()
    edges[:, BALL, SCREENER] = has_passed.long()
    edges[:, SCREENER, DEFENDER] = pick.long()
    edges[:, HANDLER, SCREENER] = drives.long()
    edges[:, DEFENDER, HANDLER] = 1
    edges[:, DEFENDER, SCREENER] = 2 * (drives | rolls).long()
    edges[:, HELPER, SCREENER] = (pick | rolls).long()
    edges[:, HELPER, HANDLER] = drives.long()
    return edges


def _goals(
    position: Tensor,
    phase: Tensor,
    has_passed: Tensor,
    side: Tensor,
    finish: Tensor,
    rolls_to: Tensor,
    basket: Tensor,
) -> Tensor:
    """The point each body is drawn to: [S, 5, 2]. They use what `_relations` names, and no other."""
    _, handler, screener, guard, _ = position.unbind(1)
    pick, rolls = (phase == 0).unsqueeze(1), (phase == 2).unsqueeze(1)
    sideways = torch.stack([torch.zeros_like(side), side], 1)  # [S, 2]
    goes = torch.where(pick, handler, torch.where(rolls, finish, screener + 2 * sideways))
    sets = torch.where(pick, guard + 2.5 * sideways, torch.where(rolls, rolls_to, screener))
    marked = torch.where(phase.unsqueeze(1) == 1, handler, screener)
    return torch.stack(
        [
            torch.where(has_passed.unsqueeze(1), screener, handler),
            goes,
            sets,
            handler + 0.2 * (basket - handler),
            marked + 0.25 * (basket - marked),
        ],
        1,
    )


def _block(position: Tensor, phase: Tensor) -> Tensor:
    """The push that keeps defender 1 out of the screener's body, in feet/s^2: [S, 5, 2]."""
    gap = position[:, DEFENDER] - position[:, SCREENER]  # [S, 2]
    distance = gap.norm(dim=1, keepdim=True).clamp(min=0.3)
    push = torch.zeros_like(position)
    strength = 120 * torch.exp(-((distance / 3) ** 2)) * (phase >= 1).unsqueeze(1)
    push[:, DEFENDER] = strength * gap / distance
    return push
