"""What the pictures of latent variables show, read back from their axes."""

import math

import pytest
import torch
from matplotlib.patches import Circle, Rectangle
from matplotlib.text import Annotation

from course_lib import plots
from course_lib.latent.toy import two_moons_log_prob
from course_lib.latent_plots import draw_density, draw_images, draw_jensen, draw_nodes, draw_points


def picture(ax):
    """The array that an axes shows."""
    return torch.as_tensor(ax.images[0].get_array().data)


def test_images_stand_row_by_row_with_gaps():
    _, ax = plots.new_figure("title")
    images = torch.rand(5, 9, generator=torch.Generator().manual_seed(0))
    draw_images(ax, images, columns=2, rows=["a", "b", "c"])
    shown = picture(ax)
    assert shown.shape == (3 * 4 + 1, 2 * 4 + 1)
    for place in range(5):
        top, left = place // 2 * 4 + 1, place % 2 * 4 + 1
        assert torch.equal(shown[top : top + 3, left : left + 3].flatten(), images[place])
    assert (shown[9:12, 5:8] == 0).all()  # the sixth place is empty
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    assert ax.get_yticks().tolist() == [2.0, 6.0, 10.0]


def test_images_that_are_not_square_are_named():
    _, ax = plots.new_figure("title")
    with pytest.raises(ValueError, match=r"D a square, got \[2, 8\]"):
        draw_images(ax, torch.zeros(2, 8), 2)


def test_jensens_gap_lies_between_chord_and_curve():
    _, ax = plots.new_figure("title")
    draw_jensen(ax, (0.1, 0.5))
    (gap,) = [line for line in ax.lines if line.get_color() == plots.GREEN]
    x, y = (list(values) for values in gap.get_data())
    assert x == [pytest.approx(0.3)] * 2
    assert y == pytest.approx([math.log(0.05) / 2, math.log(0.3)])
    assert f"{y[1] - y[0]:.3f} nats" in [text.get_text() for text in ax.texts]
    with pytest.raises(ValueError, match="the smaller first"):
        draw_jensen(ax, (0.5, 0.1))


@pytest.mark.parametrize("reparameterised", [False, True])
def test_only_what_is_drawn_by_chance_is_a_circle(reparameterised):
    _, ax = plots.new_figure("title")
    draw_nodes(ax, reparameterised)
    spots = {text.get_position(): text.get_text() for text in ax.texts}
    circles = [spots[tuple(p.center)] for p in ax.patches if isinstance(p, Circle)]
    assert circles == (["eps"] if reparameterised else ["z"])
    assert sum(isinstance(p, Rectangle) for p in ax.patches) == (3 if reparameterised else 2)
    notes = [text for text in ax.texts if isinstance(text, Annotation)]
    (back,) = [note for note in notes if note.arrowprops["color"] == plots.RED]
    assert back.xy[1] == (0.0 if reparameterised else 1.0)  # how far the gradient comes


def test_a_density_is_drawn_with_its_lowest_row_below():
    _, ax = plots.new_figure("title")
    draw_density(ax, two_moons_log_prob, side=40, reach=2.0)
    shown = picture(ax)
    assert shown.shape == (40, 40) and ax.images[0].origin == "lower"
    row, column = 17, 5  # at the left end of the upper moon, (-1.5, -0.25)
    cell = torch.tensor([[(column + 0.5) * 0.1 - 2, (row + 0.5) * 0.1 - 2]])
    expected = two_moons_log_prob(cell).exp()
    assert expected > 0.1
    torch.testing.assert_close(shown[row, column].view(1), expected, atol=1e-4, rtol=1e-3)


def test_points_are_drawn_where_they_are():
    _, ax = plots.new_figure("title")
    points = torch.tensor([[0.5, -1.0], [1.5, 0.0]])
    draw_points(ax, points)
    assert ax.lines[0].get_xydata().tolist() == points.tolist()
    assert ax.get_xlim() == ax.get_ylim() == (-2.0, 2.0)
