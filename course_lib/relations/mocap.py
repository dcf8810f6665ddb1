"""Motion capture in the text format of the CMU database: a skeleton (.asf), a motion (.amc), positions.

A skeleton is a tree of bones. Bone b has a direction u_b (a unit vector in the world's axes, in the pose
it was measured in), a length l_b, and axes C_b of its own, in which its joint turns. A frame of a motion
gives each joint its angles; with M_b = R_z R_y R_x their rotation (about x first), p the parent of b,

    R_b = R_p C_b M_b C_b^{-1}         the bone's rotation, R_root = C_root M_root C_root^{-1}
    x_b = x_p + l_b R_b u_b            the place of its far end, x_root as the motion has it

Lengths in the files are in units of inches / scale, where `length` in the section :units is the scale
(0.45 in the database), so metres are value / scale * 0.0254. Angles are degrees or radians, as
:units says. y points upwards.

Source: the motion capture database of Carnegie Mellon University, http://mocap.cs.cmu.edu; the format
is Acclaim's. `walking` makes skeletons and motions of our own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.data.array_pickle import MalformedFile

__all__ = ["Skeleton", "forward_kinematics", "joint_states", "read_amc", "read_asf"]
__all__ += ["rotation", "skeleton_graph"]

INCH = 0.0254  # metres
TURNS, SHIFTS = ("rx", "ry", "rz"), ("tx", "ty", "tz")


@dataclass(frozen=True)
class Skeleton:
    """Joint 0 is the root, joint b > 0 the far end of bone b; a parent comes before its children.

    Args:
        names: J names, "root" first.
        parents: of each joint, -1 for the root.
        offsets: float64 [J, 3], l_b u_b in metres; of the root what is added to its place.
        axes: float64 [J, 3, 3], C_b.
        channels: of each joint, in the order of a motion's numbers: of the root "tx", "ty", "tz"
            and "rx", "ry", "rz", of a bone some of the last three, or none where it is rigid.
        scale: metres in a unit of length of the files.
        degrees: whether the files' angles are degrees, else radians.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: Tensor
    axes: Tensor
    channels: tuple[tuple[str, ...], ...]
    scale: float
    degrees: bool

    @property
    def width(self) -> int:
        """P, how many numbers a frame has."""
        return sum(map(len, self.channels))


def rotation(angles: Tensor) -> Tensor:
    """R_z R_y R_x, about x first: radians [..., 3] -> [..., 3, 3]."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
        [-sy, cy * sx, cy * cx],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def forward_kinematics(skeleton: Skeleton, motion: Tensor) -> Tensor:
    """Places of all joints: a motion [..., P] -> [..., J, 3] in metres.

    Args:
        motion: in the order of `skeleton.channels`, joint by joint; metres and radians, as
            `read_amc` gives it. Gradients pass.

    Raises ValueError for another number of channels.
    """
    if motion.size(-1) != skeleton.width:
        raise ValueError(
            f"this skeleton has {skeleton.width} channels a frame, got {motion.size(-1)}"
        )
    offsets, axes = skeleton.offsets.to(motion), skeleton.axes.to(motion)
    zero = torch.zeros_like(motion[..., 0])
    turned: list[Tensor] = []
    places: list[Tensor] = []
    start = 0
    for joint, channels in enumerate(skeleton.channels):
        value = {name: motion[..., start + k] for k, name in enumerate(channels)}
        start += len(channels)
        turn = rotation(torch.stack([value.get(name, zero) for name in TURNS], -1))
        own = axes[joint] @ turn @ axes[joint].mT  # [..., 3, 3]
        if joint == 0:
            turned.append(own)
            places.append(torch.stack([value.get(name, zero) for name in SHIFTS], -1) + offsets[0])
        else:
            parent = skeleton.parents[joint]
            turned.append(turned[parent] @ own)
            places.append(places[parent] + turned[joint] @ offsets[joint])
    return torch.stack(places, -2)


def skeleton_graph(skeleton: Skeleton) -> Tensor:
    """int64 [J, J], 1 between a joint and its parent, in both directions: what NRI is compared with."""
    edges = torch.zeros(len(skeleton.names), len(skeleton.names), dtype=torch.int64)
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            edges[joint, parent] = edges[parent, joint] = 1
    return edges


def joint_states(places: Tensor, dt: float) -> Tensor:
    """Places [..., T, J, 3] -> states [..., J, T, 6]: metres, then metres per second.

    Velocities are central differences, one-sided at the ends; dt is the time between two frames, in
    seconds (1/120 for the database's files as they are).
    """
    velocity = torch.gradient(places, spacing=dt, dim=-3)[0]
    return torch.cat([places, velocity], -1).transpose(-3, -2)


def read_asf(text: str) -> Skeleton:
    """The skeleton that the text of an .asf file describes.

    Of the sections it reads :units, :root, :bonedata and :hierarchy; masses and joint limits are left
    out. Raises MalformedFile, naming the line, for anything it cannot place.
    """
    units = {"length": 1.0, "angle": "deg"}
    root = {"order": "TX TY TZ RX RY RZ", "orientation": "0 0 0", "position": "0 0 0"}
    bones: dict[str, dict[str, str]] = {}
    children: list[tuple[str, str]] = []
    section, bone = "", {}
    for number, line in _lines(text):
        word, _, rest = line.partition(" ")
        if word.startswith(":"):
            section = word
        elif section == ":units":
            units[word] = rest.strip()
        elif section == ":root":
            root[word] = rest.strip()
        elif section == ":bonedata":
            if word == "begin":
                bone = {}
            elif word == "end":
                if not {"name", "direction", "length"} <= bone.keys():
                    raise MalformedFile(f"line {number}: a bone lacks name, direction or length")
                bones[bone["name"]] = bone
            else:
                bone[word] = rest.strip()
        elif section == ":hierarchy" and word not in ("begin", "end"):
            children += [(child, word) for child in rest.split()]
    return _assemble(units, root, bones, children)


def read_amc(text: str, skeleton: Skeleton) -> Tensor:
    """The motion of an .amc file's text: float64 [T, P] in metres and radians, for this skeleton.

    Raises MalformedFile, naming the line, where a joint is unknown, missing or has too many numbers.
    """
    frames: list[dict[str, list[float]]] = []
    for number, line in _lines(text):
        words = line.split()
        if words[0].startswith(":"):
            continue
        if len(words) == 1 and words[0].isdigit():
            frames.append({})
            continue
        if not frames or words[0] not in skeleton.names:
            raise MalformedFile(f"line {number}: no frame is begun, or no joint is {words[0]!r}")
        expected = len(skeleton.channels[skeleton.names.index(words[0])])
        if len(words) != 1 + expected:
            raise MalformedFile(
                f"line {number}: {words[0]} has {expected} channels, got {len(words) - 1} numbers"
            )
        frames[-1][words[0]] = _numbers(" ".join(words[1:]), expected, f"line {number}")
    rows = []
    moving = [name for name, kinds in zip(skeleton.names, skeleton.channels) if kinds]
    for number, frame in enumerate(frames, 1):
        if missing := [name for name in moving if name not in frame]:
            raise MalformedFile(f"frame {number} lacks {', '.join(missing[:3])}")
        rows.append([value for name in moving for value in frame[name]])
    motion = torch.tensor(rows, dtype=torch.float64).reshape(len(rows), skeleton.width)
    kinds = [kind for kinds in skeleton.channels for kind in kinds]
    angle = math.pi / 180 if skeleton.degrees else 1.0
    factors = [angle if kind in TURNS else skeleton.scale for kind in kinds]
    return motion * motion.new_tensor(factors)


def _assemble(
    units: dict, root: dict[str, str], bones: dict[str, dict[str, str]], children: list
) -> Skeleton:
    degrees = str(units["angle"]).startswith("deg")
    scale = INCH / _numbers(str(units["length"]), 1, ":units length")[0]
    names, parents = ["root"], [-1]
    for child, parent in children:
        if parent not in names or child not in bones or child in names:
            raise MalformedFile(
                f":hierarchy: {child!r} under {parent!r}: each must be a bone, a parent placed before"
            )
        names.append(child)
        parents.append(names.index(parent))
    if left := sorted(bones.keys() - set(names)):
        raise MalformedFile(f":hierarchy names no parent for {', '.join(left[:3])}")
    offsets, angles = [_numbers(root["position"], 3, ":root position")], []
    angles.append(_numbers(root["orientation"], 3, ":root orientation"))
    channels = [tuple(root["order"].lower().split())]
    for name in names[1:]:
        bone = bones[name]
        length = _numbers(bone["length"], 1, name)[0]
        offsets.append([length * part for part in _numbers(bone["direction"], 3, name)])
        axis, _, order = (bone.get("axis") or "0 0 0 XYZ").rpartition(" ")
        if order.upper() != "XYZ":
            raise MalformedFile(f"bone {name}: only axes in the order XYZ are read, got {order!r}")
        angles.append(_numbers(axis, 3, name))
        channels.append(tuple(bone.get("dof", "").lower().split()))
    for name, kinds in zip(names, channels):
        if not set(kinds) <= {*TURNS, *(SHIFTS if name == "root" else ())}:
            raise MalformedFile(f"{name}: cannot read the channels {' '.join(kinds)}")
    radians = torch.tensor(angles, dtype=torch.float64) * (math.pi / 180 if degrees else 1.0)
    places = torch.tensor(offsets, dtype=torch.float64) * scale
    axes = rotation(radians)
    return Skeleton(tuple(names), tuple(parents), places, axes, tuple(channels), scale, degrees)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with something on them, single spaces between words, comments (#) left out, and numbers."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if words:
            yield number, " ".join(words)


def _numbers(text: str, count: int, place: str) -> list[float]:
    try:
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise MalformedFile(f"{place}: expected {count} number(s), got {text!r}")
    return numbers
