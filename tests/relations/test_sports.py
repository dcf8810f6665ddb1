"""Plays: their forces use the edges they are labelled with and no others; tracked games are read."""

from __future__ import annotations

import json

import pytest
import torch

from course_lib.data.array_pickle import MalformedFile
from course_lib.relations import sports
from course_lib.relations.sports import ROLES, pick_and_rolls, to_court_units
from course_lib.relations.tracking import read_tracking
from tests.devices import devices


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("phase", [0, 1, 2])
@pytest.mark.parametrize("passed", [False, True])
def test_bodies_are_drawn_to_what_their_edges_name(phase, passed):
    """d(pull on i) / d(place of j) is not zero exactly where j -> i is an edge."""
    place = torch.rand(1, 5, 2, dtype=torch.float64) * 4 + 20
    phases, has = torch.tensor([phase]), torch.tensor([passed])
    two = torch.rand(1, 2, dtype=torch.float64)

    def pull(place):
        side, basket = torch.ones(1, dtype=torch.float64), two[0]
        goals = sports._goals(place, phases, has, side, two, two + 1, basket)
        return goals + sports._block(place, phases)

    slopes = torch.autograd.functional.jacobian(pull, place)[0, :, :, 0]  # [5, 2, 5, 2]
    acts = slopes.abs().sum((1, 3)) > 1e-9
    acts.fill_diagonal_(False)
    edges = sports._relations(phases, has)[0]
    assert torch.equal(acts, edges > 0)


def test_plays_are_told_by_their_phases():
    plays = pick_and_rolls(300, generator=seeded())
    assert plays.states.shape == (300, len(ROLES), 25, 4) and plays.edges.shape == (300, 25, 5, 5)
    assert (plays.phase.diff(dim=1) >= 0).all()
    for phase in range(3):
        assert (plays.phase == phase).any(1).all()
    owner = plays.edges[:, :, sports.BALL].argmax(-1)
    assert (owner[:, 0] == sports.HANDLER).all()
    assert torch.equal(owner[:, -1] == sports.SCREENER, plays.passed)
    assert 0.4 < plays.passed.double().mean() < 0.6
    place = plays.states[..., :2]
    rows = torch.arange(300)
    last = (place[:, sports.BALL, -1] - place[rows, owner[:, -1], -1]).norm(dim=1)
    assert last.max() < 2.5  # the ball is with its owner when the play ends
    basket = place.new_tensor(sports.BASKET)
    to_basket = (place - basket).norm(dim=-1)
    assert (to_basket[:, sports.SCREENER, -1] < to_basket[:, sports.SCREENER, 0]).all()
    assert (place >= 0).all() and (place <= place.new_tensor(sports.COURT)).all()
    for body in range(5):
        assert plays.states[:, body, :, 2:].norm(dim=-1).max() < sports.TOP_SPEED[body] + 1e-9


def test_the_screen_holds_the_defender_up(monkeypatch):
    def gaps():
        plays = pick_and_rolls(300, generator=seeded())
        place = plays.states[..., :2]
        gap = (place[:, sports.HANDLER] - place[:, sports.DEFENDER]).norm(dim=-1)  # [S, T]
        return gap[plays.phase > 0].mean(), gap[plays.phase == 0].mean()

    with_screen, before = gaps()
    monkeypatch.setattr(sports, "_block", lambda place, phase: torch.zeros_like(place))
    without, before_too = gaps()
    assert with_screen > without and before == before_too


def test_velocities_are_what_places_do():
    states = pick_and_rolls(50, generator=seeded()).states
    moved = states[:, :, 2:, :2] - states[:, :, :-2, :2]
    error = moved / (2 * sports.DT) - states[:, :, 1:-1, 2:]
    assert error.square().mean() < 0.1 * states[..., 2:].square().mean()


def test_plays_repeat_and_refuse_nonsense():
    assert torch.equal(
        pick_and_rolls(2, generator=seeded()).states, pick_and_rolls(2, generator=seeded()).states
    )
    for wrong in ({"plays": 0}, {"frames": 1}, {"pass_probability": 1.1}):
        with pytest.raises(ValueError, match="pass_probability <= 1, got"):
            pick_and_rolls(**{"plays": 2} | wrong)


def test_court_units_keep_velocities_those_of_places():
    states = torch.tensor([[23.5, 25.0, 0.0, 0.0], [48.5, 50.0, 25.0, -5.0]])
    expected = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, -0.2]])
    torch.testing.assert_close(to_court_units(states), expected)


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees_with_the_cpu(device):
    here, there = (pick_and_rolls(3, generator=seeded(), device=d) for d in (None, device))
    assert there.edges.device.type == device.type
    torch.testing.assert_close(there.states.cpu(), here.states)
    assert torch.equal(there.edges.cpu(), here.edges)


def game(moments, **more):
    return {"gameid": "1", "events": [{"eventId": 7, "moments": moments}], **more}


def moment(t, x=60.0, ids=(-1, 11, 12)):
    bodies = [[0, b, x + 2 * k + 0.5 * t, 10 + k, 4 if b == -1 else 0] for k, b in enumerate(ids)]
    return [1, 1000 + 40 * t, 700 - 0.04 * t, 12.0, None, bodies]


@pytest.fixture
def write(tmp_path):
    def written(content):
        path = tmp_path / "game.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return written


def test_a_tracked_event_is_read_turned_to_one_half(write):
    path = write(game([moment(t) for t in range(20)]))
    states, bodies, clock = read_tracking(path, every=4)
    assert bodies == (-1, 11, 12) and states.shape == (3, 5, 4)
    torch.testing.assert_close(clock, 700 - 0.16 * torch.arange(5, dtype=torch.float64))
    time = torch.arange(0, 20, 4, dtype=torch.float64)
    for body in range(3):
        torch.testing.assert_close(states[body, :, 0], 94 - (60 + 2 * body + 0.5 * time))
        assert (states[body, :, 1] == 50 - (10 + body)).all()
        torch.testing.assert_close(states[body, :, 2], torch.full((5,), -12.5).double())
        assert states[body, :, 3].abs().max() < 1e-9
    near = read_tracking(write(game([moment(t, x=5.0) for t in range(20)])), every=4).states
    assert near[0, 0, 0] == 5 and (near[:, :, 2] > 0).all()


def test_players_are_chosen_and_moments_without_them_left_out(write):
    moments = [moment(t) for t in range(6)]
    moments[2][5] = moments[2][5][:2]  # player 12 is not seen
    states, bodies, clock = read_tracking(write(game(moments)), players=(12,), every=1)
    assert bodies == (-1, 12) and states.shape == (2, 5, 4) and len(clock) == 5
    with pytest.raises(ValueError, match=r"no player \[99\], it has \[-1, 11, 12\]"):
        read_tracking(write(game(moments)), players=(99,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "JSON with a list of events"),
        ({"gameid": 1}, "JSON with a list of events"),
        ({"events": [{"eventId": 1}]}, "no list of moments"),
        (game([[1, 2, 3]]), r"a moment must be \[quarter"),
        (game([]), "0 frames have all of"),
        (game([moment(0)]), "1 frames have all of"),
    ],
)
def test_other_files_are_malformed(write, content, message):
    with pytest.raises(MalformedFile, match=message):
        read_tracking(write(content))


def test_an_event_that_is_not_there_is_named(write):
    with pytest.raises(ValueError, match="1 events, counted from 0: there is no event 3"):
        read_tracking(write(game([moment(0)])), event=3)
    with pytest.raises(ValueError, match="at least 1 moment a frame"):
        read_tracking(write(game([moment(0)])), every=0)
