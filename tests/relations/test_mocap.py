"""Skeletons and motions: a file small enough to check by hand, scipy's rotations, a figure that walks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from course_lib.data.array_pickle import MalformedFile
from course_lib.relations.mocap import (
    forward_kinematics,
    joint_states,
    read_amc,
    read_asf,
    rotation,
    skeleton_graph,
)
from course_lib.relations.walking import (
    stick_asf,
    stick_figure,
    walk_motions,
    walks,
    write_amc,
)
from tests.devices import devices

ARM = """# two bones
:version 1.10
:name arm
:units
  mass 1.0
  length 0.0254
  angle deg
:documentation
   begin nothing here
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name upper
     direction 1 0 0
     length 2.0
     axis 0 0 90 XYZ
     dof rx rz
     limits (-160.0 20.0)
            (-70.0 70.0)
  end
  begin
     id 2
     name lower
     direction 0 1 0
     length 1.0
     axis 0 0 0 XYZ
  end
:hierarchy
  begin
    root upper
    upper lower
  end
"""
MOVE = """#!OML:ASF arm.ASF
:FULLY-SPECIFIED
:DEGREES
1
root 0 0 0 0 0 0
upper 0 0
2
root 1 2 3 0 0 90
upper 90 0
"""


def test_a_small_file_by_hand():
    arm = read_asf(ARM)
    assert arm.names == ("root", "upper", "lower") and arm.parents == (-1, 0, 1)
    assert arm.channels == (("tx", "ty", "tz", "rx", "ry", "rz"), ("rx", "rz"), ())
    assert arm.scale == pytest.approx(1.0) and arm.width == 8  # 0.0254: a unit is a metre
    motion = read_amc(MOVE, arm)
    assert motion.shape == (2, 8)
    places = forward_kinematics(arm, motion)
    rest = torch.tensor([[0.0, 0, 0], [2, 0, 0], [2, 1, 0]], dtype=torch.float64)
    torch.testing.assert_close(places[0], rest)
    # The upper arm's own x axis is the world's y: a quarter turn about it carries x to -z, the lower
    # arm, which lies along it, stays. Then all is turned a quarter about z, and moved by (1, 2, 3).
    turned = torch.tensor([[1.0, 2, 3], [1, 2, 1], [0, 2, 1]], dtype=torch.float64)
    torch.testing.assert_close(places[1], turned)
    assert skeleton_graph(arm).tolist() == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]


def test_rotations_are_scipys():
    angles = torch.randn(20, 3, dtype=torch.float64)
    expected = Rotation.from_euler("xyz", angles.numpy()).as_matrix()  # extrinsic, x first
    np.testing.assert_allclose(rotation(angles).numpy(), expected, atol=1e-12)


def test_units_are_inches_over_the_scale_and_degrees_or_radians():
    radians = ARM.replace("length 0.0254", "length 0.45").replace("angle deg", "angle rad")
    arm = read_asf(radians.replace("axis 0 0 90", f"axis 0 0 {math.pi / 2}"))
    assert arm.offsets[1, 0].item() == pytest.approx(2 / 0.45 * 0.0254)
    torch.testing.assert_close(arm.axes[1], read_asf(ARM).axes[1])
    motion = read_amc(MOVE.replace("90", str(math.pi / 2)), arm)
    assert motion[1, 2].item() == pytest.approx(3 / 0.45 * 0.0254)
    assert motion[1, 5].item() == pytest.approx(math.pi / 2)


def test_bones_keep_their_lengths_however_the_joints_turn():
    figure = stick_figure()
    motion = torch.randn(5, 7, figure.width, dtype=torch.float64)
    places = forward_kinematics(figure, motion)
    assert places.shape == (5, 7, len(figure.names), 3)
    parents = list(figure.parents[1:])
    lengths = (places[..., 1:, :] - places[..., parents, :]).norm(dim=-1)
    torch.testing.assert_close(lengths, figure.offsets[1:].norm(dim=1).expand_as(lengths))
    torch.testing.assert_close(places[..., 0, :], motion[..., :3])


def test_gradients_pass_through_the_kinematics():
    arm = read_asf(ARM)
    motion = torch.randn(2, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda m: forward_kinematics(arm, m), motion)
    with pytest.raises(ValueError, match="8 channels a frame, got 7"):
        forward_kinematics(arm, motion[:, :7])


def test_a_motion_is_written_and_read_again():
    figure = stick_figure(1.6)
    motion = walk_motions(figure, 1, 6)[0]
    torch.testing.assert_close(
        read_amc(write_amc(motion, figure), figure), motion, atol=1e-8, rtol=0
    )
    assert stick_asf(1.6).splitlines()[0].startswith("#")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("direction 1 0 0", "direction 1 0", r"upper: expected 3 number\(s\), got '1 0'"),
        ("length 2.0", "length two", "upper: expected 1 number"),
        ("     name lower\n", "", "line 31: a bone lacks name"),
        ("axis 0 0 90 XYZ", "axis 0 0 90 ZYX", "only axes in the order XYZ"),
        ("dof rx rz", "dof rx l", "upper: cannot read the channels rx l"),
        ("    upper lower\n", "", "no parent for lower"),
        ("    root upper\n", "", "'lower' under 'upper'"),
        ("upper lower", "upper hand", "'hand' under 'upper'"),
    ],
)
def test_a_wrong_skeleton_names_its_place(old, new, message):
    with pytest.raises(MalformedFile, match=message):
        read_asf(ARM.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("upper 90 0", "upper 90", "line 9: upper has 2 channels, got 1"),
        ("upper 90 0", "upper 90 x", "line 9: expected 2 number"),
        ("upper 90 0", "hand 90 0", "line 9: no frame is begun, or no joint is 'hand'"),
        ("upper 90 0\n", "", "frame 2 lacks upper"),
        ("1\nroot", "root", "line 4: no frame is begun"),
    ],
)
def test_a_wrong_motion_names_its_line(old, new, message):
    with pytest.raises(MalformedFile, match=message):
        read_amc(MOVE.replace(old, new), read_asf(ARM))


def test_states_are_places_and_their_central_differences():
    time = torch.arange(6, dtype=torch.float64) * 0.1
    places = torch.stack([time**2, 3 * time, 0 * time], -1)[None, :, None].repeat(2, 1, 4, 1)
    states = joint_states(places, dt=0.1)
    assert states.shape == (2, 4, 6, 6)
    torch.testing.assert_close(states[0, 0, 1:-1, 3], 2 * time[1:-1])
    torch.testing.assert_close(states[1, 2, :, 4], torch.full((6,), 3.0).double())
    torch.testing.assert_close(states[..., :3], places.transpose(1, 2))


def test_the_figure_is_as_tall_as_asked_and_the_same_on_both_sides():
    figure = stick_figure(1.8)
    at = {name: number for number, name in enumerate(figure.names)}
    places = forward_kinematics(figure, torch.zeros(figure.width, dtype=torch.float64))
    height = places[:, 1].max() - places[:, 1].min()
    assert 1.75 < height < 1.9
    for name in at:
        if name.startswith("l") and "r" + name[1:] in at:
            mirrored = places[at["r" + name[1:]]] * places.new_tensor([-1.0, 1.0, 1.0])
            torch.testing.assert_close(places[at[name]], mirrored)


def test_a_walk_stands_on_the_ground_and_goes_forwards():
    found = walks(20, 90, generator=torch.Generator().manual_seed(0))
    place, names = found.states[..., :3], list(found.skeleton.names)
    torch.testing.assert_close(place[..., 1].amin(1), torch.zeros(20, 90).double())
    assert place[:, 0, 0, 0].abs().max() == place[:, 0, 0, 2].abs().max() == 0
    way = place[:, 0, -1] - place[:, 0, 0]
    seconds = 89 / 30
    assert way.norm(dim=1).min() / seconds > 0.5 and way.norm(dim=1).max() / seconds < 2
    knees = [names.index(f"{side}tibia") for side in "lr"]
    toes = [names.index(f"{side}foot") for side in "lr"]
    ahead = way / way.norm(dim=1, keepdim=True)
    for ankle, toe in zip(knees, toes, strict=True):  # toes point where it goes
        assert torch.einsum("std,sd->st", place[:, toe] - place[:, ankle], ahead).mean(1).min() > 0
    swing = torch.einsum("sjtd,sd->sjt", place[:, toes] - place[:, :1], ahead)  # [S, 2, T]
    left, right = swing.unbind(1)
    assert all(torch.corrcoef(torch.stack([a, b]))[0, 1] < -0.3 for a, b in zip(left, right))


def test_walks_differ_and_repeat():
    one, again = (walks(2, 10, generator=torch.Generator().manual_seed(4)) for _ in "ab")
    assert torch.equal(one.states, again.states)
    assert (one.motions[0] - one.motions[1]).abs().max() > 0.1
    with pytest.raises(ValueError, match="not the stick figure's"):
        walk_motions(read_asf(ARM), 1, 2)


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_device_and_dtype_agrees_with_the_cpu(device, dtype):
    figure = stick_figure()
    motion = torch.randn(3, figure.width, dtype=torch.float64)
    found = forward_kinematics(figure, motion.to(device, dtype))
    assert found.dtype == dtype and found.device.type == device.type
    expected = forward_kinematics(figure, motion)
    torch.testing.assert_close(found.cpu().double(), expected, atol=1e-5, rtol=1e-5)
