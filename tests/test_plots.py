"""Figures carry their text alternative and say when they rest on borrowed functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from course_lib import plots
from course_lib.exercises.engine import Substitute


@pytest.fixture
def shown(monkeypatch):
    """The HTML of the figures displayed."""
    seen = []
    monkeypatch.setattr(plots, "display", lambda data, raw: seen.append(data["text/html"]))
    return seen


def test_a_figure_shows_itself_with_its_alternative(shown):
    with plots.figure("Title", alt="A line.") as ax:
        ax.plot([1, 2])
    (tag,) = shown
    assert tag.startswith('<img alt="A line." src="data:image/png;base64,iVBORw0KGgo')


def test_several_panels_come_as_a_list(shown):
    with plots.figure("Title", rows=2, cols=2, alt="Four.") as axes:
        assert len(axes) == 4


@pytest.mark.parametrize("alt", ["", "  "])
def test_no_figure_without_an_alternative(alt):
    with pytest.raises(ValueError, match="alt="), plots.figure("Title", alt=alt):
        pass


def test_an_error_inside_shows_nothing(shown):
    with pytest.raises(ZeroDivisionError), plots.figure("Title", alt="x"):
        _ = 1 / 0
    assert shown == []


def test_borrowed_functions_are_named_under_the_figure(shown):
    def mine():
        return 1

    borrowed = Substitute("normalized_adjacency", mine)
    with plots.figure("Title", alt="A line.", built_on=[mine, borrowed]):
        pass
    with plots.figure("Title", alt="A line.", built_on=[mine]):
        pass
    with_note, without = shown
    assert (
        'alt="A line. NOT YOURS: drawn with the library&#x27;s normalized_adjacency."' in with_note
    )
    assert 'alt="A line."' in without and with_note.split("src=")[1] != without.split("src=")[1]


def test_matrix_row_zero_is_on_top_and_rows_are_targets():
    _, ax = plots.new_figure("t")
    plots.draw_matrix(ax, torch.tensor([[1.0, 2.0], [3.0, 4.0]]), names=["a", "b"])
    assert ax.yaxis_inverted()
    assert [t.get_text() for t in ax.texts] == ["1", "2", "3", "4"]
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("to node", "from node")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]


def test_arrows_run_from_source_to_target():
    _, ax = plots.new_figure("t")
    places = torch.tensor([[0.0, 0.0], [5.0, 1.0]])
    plots.draw_graph(ax, places, torch.tensor([[0], [1]]), arrows=True)
    (arrow,) = [t for t in ax.texts if t.arrow_patch]
    assert tuple(arrow.xy) == (5.0, 1.0) and arrow.xyann == pytest.approx((0.0, 0.0))
    assert arrow.arrow_patch.get_arrowstyle().__class__.__name__ == "CurveFilledB"


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_curve_labels_stand_at_the_ends_and_do_not_collide(scale):
    _, ax = plots.new_figure("t")
    ax.set_yscale(scale)
    plots.draw_curves(
        ax,
        [1, 2],
        {"high": [1, 100.0], "low": [1, 2.0], "low too": [1, 2.0]},
        "x",
        "y",
        ylim=(1, 100),
    )
    heights = {t.get_text(): t.xy[1] for t in ax.texts}
    assert heights["high"] == pytest.approx(1.0)
    assert heights["low"] == pytest.approx(np.log(2) / np.log(100) if scale == "log" else 1 / 99)
    assert heights["low too"] >= heights["low"] + 0.05


def test_layout_is_deterministic():
    ring = torch.tensor([[0, 1, 2], [1, 2, 0]])
    assert np.array_equal(
        plots.spring_layout(ring, 4, seed=1), plots.spring_layout(ring, 4, seed=1)
    )
