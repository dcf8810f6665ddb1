"""What the pictures of sequences show, read back from their axes."""

import pytest
import torch

from course_lib import plots
from course_lib.sequence_plots import LIT, draw_lit_units, draw_reading

UNITS = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.6]])  # [T, H]
ROWS = {"x": torch.tensor([1.0, 0, 1]), "= sum": torch.tensor([0.0, 1, 1])}


def lit_circles(upto: int) -> set[tuple[float, float]]:
    _, ax = plots.new_figure("title")
    draw_lit_units(ax, ROWS, UNITS, upto)
    lit = [line for line in ax.lines if line.get_markerfacecolor() == LIT]
    return {(float(line.get_xdata()[0]), round(float(line.get_ydata()[0]), 1)) for line in lit}


def test_units_light_up_step_by_step_from_the_right():
    assert lit_circles(0) == set()
    assert lit_circles(1) == {(2, -2.4)}
    assert lit_circles(3) == {(2, -2.4), (1, -3.4), (0, -2.4), (0, -3.4)}


@pytest.mark.parametrize(("upto", "digits"), [(0, 3), (2, 5), (3, 6)])
def test_the_sum_is_written_up_to_the_step(upto, digits):
    _, ax = plots.new_figure("title")
    draw_lit_units(ax, ROWS, UNITS, upto)
    assert sum(text.get_text() in "01" for text in ax.texts) == digits


@pytest.mark.parametrize("upto", [-1, 4])
def test_a_step_out_of_range_is_named(upto):
    _, ax = plots.new_figure("title")
    with pytest.raises(ValueError, match=rf"upto must lie in 0\.\.3, got {upto}"):
        draw_lit_units(ax, ROWS, UNITS, upto)


def test_the_four_rows_show_what_they_are_given():
    _, axes = plots.new_figure("title", rows=4)
    strokes = torch.rand(3, 8, 2, generator=torch.Generator().manual_seed(0)) * 100
    probabilities, cells, gradient = torch.rand(24, 10), torch.randn(24, 5), torch.randn(24, 2)
    draw_reading(axes, probabilities, cells, strokes, gradient)
    recognised, memory, writing, blame = axes
    assert torch.equal(torch.as_tensor(recognised.images[0].get_array()), probabilities.t())
    assert torch.equal(torch.as_tensor(memory.images[0].get_array()), cells.t())
    starts = [float(line.get_xdata()[0]) for line in writing.lines if line.get_marker() == "o"]
    assert all(8 * (k // 2) < start < 8 * (k // 2 + 1) for k, start in enumerate(starts))
    heights = [bar.get_height() for bar in blame.patches]
    torch.testing.assert_close(
        torch.tensor(heights, dtype=torch.float32), gradient.abs().t().flatten()
    )
    assert {ax.get_xlim() for ax in axes} == {(0.0, 24.0)}


def test_steps_that_do_not_fit_are_named():
    _, axes = plots.new_figure("title", rows=4)
    with pytest.raises(ValueError, match="need 16 rows of probabilities, cells and gradient"):
        draw_reading(
            axes, torch.rand(16, 10), torch.rand(15, 4), torch.rand(2, 8, 2), torch.rand(16, 2)
        )
