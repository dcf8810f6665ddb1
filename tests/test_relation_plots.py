"""What the pictures of bodies and links show, read back from their axes."""

import base64
import io
import re

import pytest
import torch
from matplotlib.colors import same_color
from matplotlib.patches import Rectangle
from PIL import Image

from course_lib import plots
from course_lib import relation_plots as rp
from course_lib.relations.sports import BASKET, COURT

GENERATOR = torch.Generator().manual_seed(0)
STATES = torch.rand(3, 7, 4, generator=GENERATOR, dtype=torch.float64)


@pytest.fixture
def ax():
    return plots.new_figure("title")[1]


def lines_of(ax, wide):
    return [
        line for line in ax.lines if (line.get_linewidth() == 5.0) == wide and line.get_ls() == "-"
    ]


def test_paths_are_drawn_in_the_bodies_colours_up_to_the_last_frame(ax):
    rp.draw_paths(ax, STATES, "paths", names=["a", "b", "c"], reach=2.0)
    paths, dots = lines_of(ax, False), [line for line in ax.lines if line.get_marker() == "o"]
    assert len(paths) == len(dots) == 3
    for body in range(3):
        assert torch.equal(torch.tensor(paths[body].get_xydata()), STATES[body, :, :2])
        assert dots[body].get_xydata().tolist() == [STATES[body, -1, :2].tolist()]
        assert paths[body].get_color() == dots[body].get_color() == rp.body_colour(body)
    assert [text.get_text() for text in ax.texts] == ["a", "b", "c"]
    assert ax.get_xlim() == ax.get_ylim() == (-2.0, 2.0) and ax.get_title() == "paths"
    with pytest.raises(ValueError, match="take one simulation"):
        rp.draw_paths(ax, STATES[None])


def test_the_truth_is_wide_and_pale_and_the_prediction_solid(ax):
    predicted, given = STATES + 0.1, STATES - 0.1
    rp.draw_rollout(ax, STATES, predicted, given=given)
    true, solid = lines_of(ax, True), lines_of(ax, False)
    assert len(true) == len(solid) == 3
    for body in range(3):
        assert torch.equal(torch.tensor(true[body].get_xydata()), STATES[body, :, :2])
        assert torch.equal(torch.tensor(solid[body].get_xydata()), predicted[body, :, :2])
        assert true[body].get_alpha() < 0.5 and solid[body].get_alpha() is None
        assert true[body].get_color() == solid[body].get_color()
        assert true[body].zorder < solid[body].zorder
    dotted = [line for line in ax.lines if line.get_ls() == ":"]
    assert torch.equal(torch.tensor(dotted[1].get_xydata()), given[1, :, :2])
    with pytest.raises(ValueError, match=r"same bodies and frames.*\[3, 7, 4\] and \[3, 6, 4\]"):
        rp.draw_rollout(ax, STATES, STATES[:, 1:])


def test_a_pairs_line_is_as_opaque_as_its_link(ax):
    links = torch.tensor([[0, 0.2, 0], [0.6, 0, 0], [0, 0, 0]])
    truth = torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    rp.draw_links(ax, STATES[:, 0], links, truth=truth)
    band, line = ax.lines
    assert line.get_alpha() == pytest.approx(0.4) and line.get_color() == "black"
    ends = {tuple(end) for end in line.get_xydata().tolist()}
    assert ends == {tuple(STATES[i, 0, :2].tolist()) for i in (0, 1)}
    ends = {tuple(end) for end in band.get_xydata().tolist()}
    assert ends == {tuple(STATES[i, 0, :2].tolist()) for i in (1, 2)}
    assert band.get_linewidth() > 3 * line.get_linewidth() and band.get_alpha() < 0.5
    with pytest.raises(ValueError, match=r"truth must be \[3, 3\], got \[2, 2\]"):
        rp.draw_links(ax, STATES[:, 0], truth=truth[:2, :2])


def test_an_arrow_goes_from_the_sender_to_the_receiver(ax):
    links = torch.zeros(3, 3)
    links[0, 2] = 1.0  # body 2 acts on body 0
    rp.draw_links(ax, STATES[:, 0], links, arrows=True)
    (arrow,) = ax.texts
    assert not ax.lines
    assert list(arrow.xy) == STATES[0, 0, :2].tolist()
    assert list(arrow.xyann) == STATES[2, 0, :2].tolist()


def test_the_matrix_frames_what_is_true(ax):
    links = torch.rand(3, 3, generator=GENERATOR)
    truth = torch.eye(3)
    truth[2, 0] = 2.0
    rp.draw_link_matrix(ax, links, "found", truth=truth)
    assert torch.equal(torch.as_tensor(ax.images[0].get_array().data), links)
    assert ax.get_ylabel() == "to" and ax.get_xlabel() == "from"
    boxes = [p for p in ax.patches if isinstance(p, Rectangle)]
    frames = [p for p in boxes if not p.get_fill()]
    assert len(boxes) == 4 and len(frames) == 1  # the diagonal, and one frame
    assert frames[0].get_x() < 0 < frames[0].get_x() + frames[0].get_width() < 1
    assert 1.5 < frames[0].get_y() < 2 and same_color(frames[0].get_edgecolor(), plots.ORANGE)
    with pytest.raises(ValueError, match=r"links must be \[N, N\], got \[3, 2\]"):
        rp.draw_link_matrix(ax, links[:, :2])


def test_a_stick_figure_has_one_line_a_bone(ax):
    joints = torch.tensor([[0.0, 0], [0, 1], [1, 1]])
    rp.draw_stick_figure(ax, joints, [(0, 1), (1, 2)], truth=True)
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[0, 0], [0, 1]], [[0, 1], [1, 1]]]
    with pytest.raises(ValueError, match="two of the three axes"):
        rp.draw_stick_figure(ax, torch.zeros(3, 3), [(0, 1)])


def test_the_court_is_half_a_court_with_the_basket_at_its_end(ax):
    rp.draw_court(ax, "court")
    outline = ax.patches[0]
    assert (outline.get_width(), outline.get_height()) == COURT
    assert outline.get_xy() == (0, 0)
    basket = [p.center for p in ax.patches if same_color(p.get_edgecolor(), plots.RED)]
    assert basket == [BASKET]
    limits = ax.get_xlim()
    rp.draw_paths(ax, 100 * STATES)  # players do not move the court
    assert ax.get_xlim() == limits and ax.get_title() == "court" and ax.get_xlabel() == ""


def test_a_film_has_one_picture_a_frame_and_says_what_moves(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "display", lambda data, raw: shown.append(data))
    drawn = []

    def draw(ax, frame):
        drawn.append(frame)
        ax.plot([0, frame])

    rp.film(draw, range(1, 5), "Film", alt="A line <rises>.", size=(2, 2))
    assert drawn == [1, 2, 3, 4]
    tag = shown[0]["text/html"]
    assert (
        'alt="A line &lt;rises&gt;."' in tag and shown[0]["text/plain"] == "<film: A line <rises>.>"
    )
    picture = Image.open(
        io.BytesIO(base64.b64decode(re.search(r"image/gif;base64,([^\"]+)", tag)[1]))
    )
    assert picture.n_frames == 4
    with pytest.raises(ValueError, match="at least one frame"):
        rp.film(draw, [], "Film", alt="nothing")
    with pytest.raises(ValueError, match="alt="):
        rp.film(draw, [1], "Film", alt=" ")
