"""Pictures of nets that read step by step: units that light up, and a pen that is being read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from torch import Tensor

from course_lib import plots

LIT, DARK = plots.YELLOW, "#FFFFFF"


def draw_lit_units(ax: Axes, rows: Mapping[str, Tensor], units: Tensor, upto: int) -> None:
    """Bits as on paper, the lowest to the right, above the units that each step leaves lit.

    Args:
        rows: names and bits [T], the first the lowest; what is not yet known is left out by name:
            a row whose name begins with "=" is written up to step `upto` only.
        units: activities in 0..1, [T, H].
        upto: how many steps have been made, 0..T.

    Raises ValueError for an `upto` out of range.
    """
    steps, size = units.shape
    if not 0 <= upto <= steps:
        raise ValueError(f"upto must lie in 0..{steps}, got {upto}")
    for row, (name, bits) in enumerate(rows.items()):
        shown = upto if name.startswith("=") else steps
        ax.text(-1.4, -row, name, ha="right", va="center", fontsize=12)
        for step in range(shown):
            weight = "bold" if step == upto - 1 else "normal"
            place = (steps - 1 - step, -row)
            ax.text(
                *place, f"{bits[step]:.0f}", ha="center", va="center", fontsize=13, weight=weight
            )
    for unit in range(size):
        height = -len(rows) - 0.4 - unit
        ax.text(-1.4, height, f"unit {unit + 1}", ha="right", va="center", fontsize=11)
        for step in range(steps):
            lit = step < upto and float(units[step, unit]) > 0.5
            edge = "black" if step == upto - 1 else plots.GREY
            spot = (steps - 1 - step, height)
            ax.plot(*spot, "o", markersize=16, color=LIT if lit else DARK, markeredgecolor=edge)
    if upto:
        ax.axvspan(steps - upto - 0.5, steps - upto + 0.5, color=plots.SKY, alpha=0.2)
    ax.set(xlim=(-3.2, steps), ylim=(-len(rows) - size, 0.7), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def draw_reading(
    axes: Sequence[Axes], probabilities: Tensor, cells: Tensor, strokes: Tensor, gradient: Tensor
) -> None:
    """Four rows over the steps of a pen, after the demonstration of Graves (2013).

    Args:
        axes: four, from top to bottom: what is recognised, the memory cells, the writing, and the
            gradient of the answer with respect to where the pen was.
        probabilities: of the classes, [S, C].
        cells: memory cells, [S, H].
        strokes: K strokes one after another, [K, S / K, 2].
        gradient: [S, 2], for x and y.

    Raises ValueError where the numbers of steps do not fit together.
    """
    steps = len(probabilities)
    count, points, _ = strokes.shape
    if not steps == len(cells) == len(gradient) == count * points:
        raise ValueError(
            f"{count} strokes of {points} points need {count * points} rows of probabilities, cells "
            f"and gradient, got {steps}, {len(cells)} and {len(gradient)}"
        )
    recognised, memory, writing, blame = axes
    classes, limit = probabilities.shape[1], float(cells.abs().max())
    box = (0, steps, classes - 0.5, -0.5)
    picture = {"aspect": "auto", "interpolation": "nearest"}
    recognised.imshow(probabilities.t(), cmap="Blues", vmin=0, vmax=1, extent=box, **picture)
    recognised.set(ylabel="digit", yticks=range(0, classes, 3))
    box = (0, steps, cells.shape[1], 0)
    memory.imshow(cells.t(), cmap="RdBu_r", vmin=-limit, vmax=limit, extent=box, **picture)
    memory.set(ylabel="memory cell")
    low, high = strokes.amin(), strokes.amax()
    inside = (strokes - low) / (high - low)  # in 0..1
    for number, stroke in enumerate(inside):
        across = points * (number + 0.14 + 0.72 * stroke[:, 0])
        writing.plot(across, stroke[:, 1], "-o", markersize=3, color=plots.BLUE)
        writing.plot(across[0], stroke[0, 1], "o", markersize=6, color=plots.RED)
    writing.set(ylabel="the writing", yticks=[], ylim=(-0.12, 1.12))
    middles = torch.arange(steps) + 0.5
    for shift, channel, color in ((-0.2, 0, plots.BLUE), (0.2, 1, plots.ORANGE)):
        sizes = gradient[:, channel].abs()
        blame.bar(middles + shift, sizes, width=0.4, color=color, label="xy"[channel])
    blame.set(ylabel="|gradient|", xlabel="step of the pen")
    blame.legend(frameon=False, ncols=2, fontsize=9)
    for ax in axes:
        ax.set_xlim(0, steps)
        ax.set_xticks(range(0, steps + 1, points), range(0, steps + 1, points))
        for edge in range(points, steps, points):
            ax.axvline(edge, color="black", linewidth=0.8)
