"""What the pictures of transformers show, read back from their axes."""

import math

import pytest
import torch
from matplotlib.text import Annotation

from course_lib import plots
from course_lib.attention.nonlocal_block import Arrows
from course_lib.attention.positions import sinusoidal_positions
from course_lib.transformer_plots import (
    DARK,
    GAP,
    draw_arrows,
    draw_clocks,
    draw_layer,
    draw_sample,
)


def hands(ax, colour):
    """The tips of the hands of a colour."""
    return [
        (x[-1], y[-1])
        for line in ax.lines
        if line.get_color() == colour
        for x, y in [line.get_data()]
    ]


def test_the_hands_of_the_clocks_are_the_positions():
    _, axes = plots.new_figure("title", cols=3)
    draw_clocks(axes, 5, 4, 16)
    table = sinusoidal_positions(10, 16, dtype=torch.float64)
    for m, ax in enumerate(axes):
        assert hands(ax, plots.BLUE) == [pytest.approx(table[5, 2 * m : 2 * m + 2].tolist())]
        assert hands(ax, plots.ORANGE) == [pytest.approx(table[9, 2 * m : 2 * m + 2].tolist())]
    assert f"{2 * math.pi:.3g}" in axes[0].get_title()


def test_more_clocks_than_there_are_is_named():
    _, axes = plots.new_figure("title", cols=3)
    with pytest.raises(ValueError, match="d_model 4 has 2 clocks, got 3 axes"):
        draw_clocks(axes, 0, 1, 4)


@pytest.mark.parametrize(
    ("norm_first", "order"),
    [
        (True, ["x", "norm", "attention", "+", "norm", "feed-forward", "+"]),
        (False, ["x", "attention", "+", "norm", "feed-forward", "+", "norm"]),
    ],
)
def test_the_parts_of_a_layer_stand_in_their_order(norm_first, order):
    _, ax = plots.new_figure("title")
    draw_layer(ax, norm_first)
    texts = sorted(ax.texts, key=lambda text: text.get_position()[1])
    assert [text.get_text() for text in texts][:-1] == order
    ways = [line.get_ydata() for line in ax.lines if line.get_color() == plots.RED]
    sums = [i for i, name in enumerate(order) if name == "+"]
    assert [way[-1] for way in ways[:-1]] == sums == [way[0] for way in ways[1:]]  # one red way
    below = order[int(ways[1][1])]  # the second way around leaves the trunk above this part
    assert below == ("+" if norm_first else "norm")
    trunk = [(way[0], way[1]) for way in ways]
    passed = [order[i] for i in range(1, len(order)) if any(a < i < b for a, b in trunk)]
    assert passed == ([] if norm_first else ["norm", "norm"])


def test_arrows_lead_from_query_to_key_in_the_right_frames():
    _, ax = plots.new_figure("title")
    video = torch.zeros(3, 2, 4, 5)
    video[0, 1, 2, 3] = 1.0
    arrows = Arrows(torch.tensor([20 + 2 * 5 + 3]), torch.tensor([1]), torch.tensor([0.5]))
    draw_arrows(ax, video, arrows)
    [arrow] = [text for text in ax.texts if isinstance(text, Annotation)]
    assert (arrow.xyann, arrow.xy) == ((5 + GAP + 3, 2), (1, 0))
    shown = ax.images[0].get_array()
    assert tuple(shown[2, 5 + GAP + 3]) == (1, DARK, DARK) and shown[:, 5].min() == 1


def test_arrows_of_another_video_are_named():
    _, ax = plots.new_figure("title")
    arrows = Arrows(torch.tensor([40]), torch.tensor([1]), torch.tensor([0.5]))
    with pytest.raises(ValueError, match="has 40 places"):
        draw_arrows(ax, torch.zeros(3, 2, 4, 5), arrows)


def test_a_sample_shows_the_likeliest_and_a_wrapped_text():
    _, axes = plots.new_figure("title", cols=2)
    chances = torch.tensor([0.5, 0.3, 0.2])
    draw_sample(axes, ["a", " ", "\n"], chances, "\nword " * 3 + "x" * 60, bars=2)
    left, right = axes
    assert [bar.get_height() for bar in left.patches] == pytest.approx([0.5, 0.3])
    assert [label.get_text() for label in left.get_xticklabels()] == ["a", "␣"]
    lines = right.texts[0].get_text().split("\n")
    assert lines[:2] == ["word", "word"] and max(map(len, lines)) == 44
    assert sum(line.count("x") for line in lines) == 60


def test_a_sample_with_too_few_chances_is_named():
    _, axes = plots.new_figure("title", cols=2)
    with pytest.raises(ValueError, match="2 characters need as many chances, got 1"):
        draw_sample(axes, ["a", "b"], torch.ones(1), "text")
