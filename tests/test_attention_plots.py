"""The picture of attention, read back from its axes: above all, that rows are queries."""

import pytest
import torch

from course_lib import plots
from course_lib.attention_plots import draw_attention

WEIGHTS = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.1, 0.9]])  # [Tq, Tk]
QUERIES, KEYS = ["7", "May"], ["m", "a", " "]


def drawn(weights=WEIGHTS, queries=QUERIES, keys=KEYS, **more):
    _, ax = plots.new_figure("title")
    draw_attention(ax, weights, queries, keys, **more)
    return ax


def names(ticks):
    return [tick.get_text() for tick in ticks]


def test_rows_are_queries_and_columns_are_keys():
    ax = drawn(query_name="writer", key_name="reader")
    assert names(ax.get_yticklabels()) == ["7", "May"]
    assert names(ax.get_xticklabels()) == ["m", "a", "␣"]  # a blank can be seen
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("query: writer", "key: reader")
    picture = torch.as_tensor(ax.images[0].get_array().data)
    torch.testing.assert_close(picture, WEIGHTS.double())
    assert picture[1, 2] == WEIGHTS[1, 2].double()  # "May" looks at the blank


def test_query_0_is_on_top_and_key_0_to_the_left():
    ax = drawn()
    bottom, top = ax.get_ylim()
    left, right = ax.get_xlim()
    assert bottom > top and left < right  # rows count downwards
    assert list(ax.get_yticks()) == [0, 1] and list(ax.get_xticks()) == [0, 1, 2]
    assert ax.images[0].origin == "upper"


def test_numbers_stand_in_their_squares():
    ax = drawn(numbers=True)
    written = {text.get_position(): float(text.get_text()) for text in ax.texts}
    assert written[(2, 1)] == 0.9 and written[(0, 0)] == 0.7 and len(written) == 6


def test_gold_links_are_framed():
    ax = drawn(gold=WEIGHTS > 0.5)
    assert {frame.get_xy() for frame in ax.patches} == {(-0.5, -0.5), (1.5, 0.5)}


def test_the_scale_does_not_depend_on_the_weights():
    assert drawn().images[0].get_clim() == drawn(WEIGHTS / 10).images[0].get_clim() == (0, 1)
    assert drawn(limits=(-2, 2)).images[0].get_clim() == (-2, 2)


@pytest.mark.parametrize("more", [{"weights": WEIGHTS.t()}, {"gold": (WEIGHTS > 0.5).t()}])
def test_a_transposed_matrix_is_named(more):
    with pytest.raises(ValueError, match=r"need \w+ \[2, 3\], got \[3, 2\]: .*transpose it"):
        drawn(**more)


def test_tokens_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"2 query tokens and 2 key tokens need weights \[2, 2\]"):
        drawn(keys=["m", "a"])
