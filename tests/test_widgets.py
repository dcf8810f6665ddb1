"""Live figures: a moved control draws a new picture, and an export has a plain one."""

from __future__ import annotations

import pytest

from course_lib import widgets


def draw_power(ax, power, kind="line"):
    ax.plot([x**power for x in range(5)], "-" if kind == "line" else "o")


@pytest.fixture
def shown(monkeypatch):
    seen = []
    monkeypatch.setattr(widgets, "display", lambda data, raw: seen.append(data))
    return seen


def test_moving_a_control_changes_the_picture():
    controls = {
        "power": widgets.slider(1, 3, label="power"),
        "kind": widgets.choice(["line", "dots"]),
    }
    made = widgets.Explorer(draw_power, "Powers", "A curve <x>.", None, 1, controls)
    pictures = {made.image.value}
    controls["power"].value = 3
    pictures.add(made.image.value)
    controls["kind"].value = "dots"
    pictures.add(made.image.value)
    assert len(pictures) == 3
    assert 'alt="A curve &lt;x&gt;."' in made.image.value


def test_explore_displays_the_widget_and_a_plain_picture_with_its_alternative(shown):
    widgets.explore(draw_power, "Powers", alt="A curve.", power=widgets.slider(1, 3))
    (data,) = shown
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/html"].startswith('<img alt="A curve." src="data:image/png;base64,')


def test_sliders_are_whole_where_they_can_be():
    assert type(widgets.slider(0, 4)).__name__ == "IntSlider"
    assert type(widgets.slider(0, 1, step=0.1)).__name__ == "FloatSlider"
    assert widgets.slider(2, 4).value == 2


@pytest.mark.parametrize("arguments", [{"alt": "x"}, {"alt": " ", "power": widgets.slider(0, 1)}])
def test_controls_and_an_alternative_are_needed(arguments):
    with pytest.raises(ValueError, match="at least one control"):
        widgets.explore(draw_power, "t", **arguments)
