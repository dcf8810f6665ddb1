"""Live figures: a drawing function and some controls.

    widgets.explore(draw, alt="...", epoch=widgets.slider(0, 60, value=0, label="epoch"))

draws `draw(ax, epoch)` again whenever a control moves. The picture is an <img> with its text alternative, and is stored
beside the widget as well, so that an export without a kernel still shows it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
from IPython.display import display

from course_lib import plots


def slider(
    low: float, high: float, value: float | None = None, step: float = 1, label: str = ""
) -> Any:
    """A slider from `low` to `high`; whole numbers where `low` and `step` are whole."""
    whole = all(float(v).is_integer() for v in (low, high, step))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    number = int if whole else float
    return kind(
        value=number(low if value is None else value),
        min=number(low),
        max=number(high),
        step=number(step),
        description=label,
        style={"description_width": "initial"},
        layout={"width": "420px"},
    )


def choice(options: list[str], label: str = "") -> ipywidgets.ToggleButtons:
    """A row of buttons, one of which is on."""
    return ipywidgets.ToggleButtons(options=options, description=label)


class Explorer(ipywidgets.VBox):
    """Controls above a figure; `refresh()` redraws it, `controls` maps names to ipywidgets."""

    def __init__(
        self,
        draw: Callable[..., None],
        title: str,
        alt: str,
        size: tuple[float, float] | None,
        cols: int,
        controls: dict[str, Any],
    ) -> None:
        self.controls = controls
        self._draw, self._title, self._alt, self._size, self._cols = draw, title, alt, size, cols
        self.image = ipywidgets.HTML()
        super().__init__([*controls.values(), self.image])
        self.refresh()
        for control in controls.values():
            control.observe(lambda _change: self.refresh(), names="value")

    def refresh(self) -> None:
        """Draw the figure for the controls' present values."""
        fig, axes = plots.new_figure(self._title, 1, self._cols, self._size)
        self._draw(axes, **{name: control.value for name, control in self.controls.items()})
        self.image.value = plots.image_tag(plots.to_png(fig), self._alt)


def explore(
    draw: Callable[..., None],
    title: str,
    *,
    alt: str,
    size: tuple[float, float] | None = None,
    cols: int = 1,
    **controls: Any,
) -> None:
    """Show `draw(ax, **values)` (a list of axes if `cols` > 1) under its controls.

    Raises:
        ValueError: no control, or an empty `alt`.
    """
    if not controls or not alt.strip():
        raise ValueError(
            "explore needs at least one control and alt=..., a sentence that says what can be seen"
        )
    made = Explorer(draw, title, alt, size, cols, controls)
    view = made._repr_mimebundle_()
    data = view[0] if isinstance(view, tuple) else view
    display({**data, "text/html": made.image.value}, raw=True)
