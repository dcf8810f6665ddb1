"""A walking stick figure: the twin of motion capture, in the same format and with the same schema.

The skeleton is written as the text of an .asf file and read by `mocap.read_asf`, so it is a file like
any other. A walk turns the joints by a few periodic curves: the hips swing as cosines of the stride's
phase, half a stride apart, the knees bend when their leg swings forward, the arms swing against the
legs. The root then is put where the body stands on the ground: its height is such that the lowest joint
touches y = 0, and it moves forwards at the mean speed of the lower foot's backward sweep.

x is to the figure's left, y upwards, z forwards; metres, seconds, radians.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.relations.mocap import (
    INCH,
    TURNS,
    Skeleton,
    forward_kinematics,
    joint_states,
    read_asf,
)

__all__ = ["Walks", "stick_asf", "stick_figure", "walk_motions", "walks", "write_amc"]

SCALE = 0.45  # the length unit of the CMU files
# bone, parent, its direction on the left side (x to the left), its share of the body's height, tilt of
# its axes about z in degrees, and what its joint turns
BONES = (
    ("lowerback", "root", (0.0, 1.0, 0.0), 0.12, 0, "rx"),
    ("thorax", "lowerback", (0.0, 1.0, 0.0), 0.17, 0, "ry"),
    ("head", "thorax", (0.0, 1.0, 0.1), 0.15, 0, ""),
    ("hipjoint", "root", (0.8, -0.6, 0.0), 0.06, 0, ""),
    ("femur", "hipjoint", (0.05, -1.0, 0.0), 0.245, 3, "rx"),
    ("tibia", "femur", (0.0, -1.0, -0.02), 0.246, 0, "rx"),
    ("foot", "tibia", (0.1, -0.35, 0.9), 0.09, 0, "rx"),
    ("clavicle", "thorax", (1.0, -0.1, 0.0), 0.1, 0, ""),
    ("humerus", "clavicle", (0.15, -1.0, 0.0), 0.17, 10, "rx"),
    ("radius", "humerus", (0.05, -1.0, 0.1), 0.15, 5, "rx"),
)
MIDDLE = ("root", "lowerback", "thorax", "head")


class Walks(NamedTuple):
    """Walks of one figure: states [S, J, T, 6] (metres, metres per second) and the motions [S, T, P]."""

    states: Tensor
    motions: Tensor
    skeleton: Skeleton


def stick_asf(height: float = 1.75) -> str:
    """The text of an .asf file: a figure of 18 joints, `height` metres from sole to crown."""
    bones, tree = [], {}
    for name, parent, direction, share, tilt, dof in BONES:
        for sign, letter in ((0, ""),) if name in MIDDLE else ((1, "l"), (-1, "r")):
            x, y, z = direction
            norm = math.sqrt(x * x + y * y + z * z)
            x, y, z = (part / norm for part in (sign * x, y, z))
            own = letter + name
            tree.setdefault(parent if parent in MIDDLE else letter + parent, []).append(own)
            bones.append(
                f"  begin\n    id {len(bones) + 1}\n    name {own}\n"
                f"    direction {x:.6f} {y:.6f} {z:.6f}\n"
                f"    length {share * height * SCALE / INCH:.6f}\n"
                f"    axis 0 0 {sign * tilt} XYZ\n"
                + (f"    dof {dof}\n    limits (-160.0 160.0)\n" if dof else "")
                + "  end\n"
            )
    hierarchy = "".join(f"    {parent} {' '.join(own)}\n" for parent, own in tree.items())
    return (
        "# a stick figure\n:version 1.10\n:name stick\n"
        f":units\n  mass 1.0\n  length {SCALE}\n  angle deg\n"
        ":root\n  order TX TY TZ RX RY RZ\n  axis XYZ\n  position 0 0 0\n  orientation 0 0 0\n"
        f":bonedata\n{''.join(bones)}:hierarchy\n  begin\n{hierarchy}  end\n"
    )


def stick_figure(height: float = 1.75) -> Skeleton:
    """The skeleton of `stick_asf`."""
    return read_asf(stick_asf(height))


def walk_motions(
    skeleton: Skeleton,
    walks: int,
    frames: int,
    *,
    dt: float = 1 / 30,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Motions [S, T, P] of `stick_figure`, each with its own pace, swing, bend, start and heading.

    Args:
        dt: seconds between frames.
        generator: of all draws, on the CPU.

    Raises ValueError for a skeleton without the stick figure's joints.
    """
    place = {
        (name, kind): number
        for number, (name, kind) in enumerate(
            (name, kind) for name, kinds in zip(skeleton.names, skeleton.channels) for kind in kinds
        )
    }
    needed = {
        (side + part, "rx") for side in "lr" for part in ("femur", "tibia", "foot", "humerus")
    }
    if missing := sorted(needed - place.keys()):
        raise ValueError(f"not the stick figure's skeleton: it lacks {missing[0][0]} rx")

    def uniform(low: float, high: float) -> Tensor:  # [S, 1], to go with the frames
        draw = torch.rand(walks, 1, generator=generator, dtype=dtype)
        return low + (high - low) * draw

    pace, swing, bend = uniform(0.75, 1.1), uniform(18, 28), uniform(45, 65)
    arms, lean, start = uniform(12, 30), uniform(0, 6), uniform(0, 1)
    heading = uniform(-math.pi, math.pi)
    phase = start + pace * dt * torch.arange(frames, dtype=dtype)  # [S, T], in strides
    motion = torch.zeros(walks, frames, skeleton.width, dtype=dtype)

    def turn(joint: str, kind: str, degrees: Tensor) -> None:
        motion[..., place[joint, kind]] = degrees * (math.pi / 180)

    for side, own in (("l", phase), ("r", phase + 0.5)):
        wave = torch.cos(2 * math.pi * own)
        turn(f"{side}femur", "rx", -4 - swing * wave)  # minus is forwards
        turn(f"{side}tibia", "rx", 6 + 10 * _bump(own, 0.15) + bend * _bump(own, 0.72))
        turn(f"{side}foot", "rx", 8 * wave - 4)
        turn(f"{side}humerus", "rx", arms * wave)
        turn(f"{side}radius", "rx", -25 + 0.4 * arms * wave)
    turn("lowerback", "rx", lean.expand_as(phase))
    turn("thorax", "ry", 0.25 * arms * torch.cos(2 * math.pi * phase))
    return _stand(skeleton, motion, place, heading)


def walks(
    walks: int,
    frames: int = 50,
    *,
    height: float = 1.75,
    dt: float = 1 / 30,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
) -> Walks:
    """Walks of one stick figure as states of its 18 joints; arguments as in `walk_motions`.

    At each walk's first frame the root is above x = z = 0.
    """
    skeleton = stick_figure(height)
    motions = walk_motions(skeleton, walks, frames, dt=dt, generator=generator, dtype=dtype)
    return Walks(joint_states(forward_kinematics(skeleton, motions), dt), motions, skeleton)


def write_amc(motion: Tensor, skeleton: Skeleton) -> str:
    """The text of an .amc file for a motion [T, P] in metres and radians: `read_amc` undoes it."""
    angle = 180 / math.pi if skeleton.degrees else 1.0
    lines = [":FULLY-SPECIFIED", ":DEGREES" if skeleton.degrees else ":RADIANS"]
    for number, frame in enumerate(motion.tolist(), 1):
        lines.append(str(number))
        values = iter(frame)
        for name, kinds in zip(skeleton.names, skeleton.channels):
            factors = [angle if kind in TURNS else 1 / skeleton.scale for kind in kinds]
            if kinds:
                lines.append(" ".join([name, *(f"{f * next(values):.9f}" for f in factors)]))
    return "\n".join(lines) + "\n"


def _bump(phase: Tensor, centre: float, width: float = 0.09) -> Tensor:
    """A smooth periodic bump of height 1 at `centre`, in strides."""
    turns = torch.cos(2 * math.pi * (phase - centre))
    return torch.exp((turns - 1) / (2 * math.pi * width) ** 2)


def _stand(
    skeleton: Skeleton, motion: Tensor, place: dict[tuple[str, str], int], heading: Tensor
) -> Tensor:
    """Fill in the root: the lowest joint on the ground, a steady pace, turned to `heading`."""
    feet = [skeleton.names.index(name) for name in ("lfoot", "rfoot")]
    joints = forward_kinematics(skeleton, motion)  # [S, T, J, 3], with the root at 0
    motion[..., place["root", "ty"]] = -joints[..., 1].amin(2)
    ankle = joints[:, :, feet]  # [S, T, 2, 3]
    lower = ankle[:, :-1, :, 1].argmin(2, keepdim=True)  # [S, T - 1, 1]
    sweep = (ankle[:, 1:, :, 2] - ankle[:, :-1, :, 2]).gather(2, lower).squeeze(2)
    way = -sweep.mean(1, keepdim=True) * torch.arange(motion.size(1))  # [S, T], metres forwards
    motion[..., place["root", "tx"]] = heading.sin() * way
    motion[..., place["root", "tz"]] = heading.cos() * way
    motion[..., place["root", "ry"]] = heading
    return motion
