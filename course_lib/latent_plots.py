"""Pictures of latent variables: Jensen's chord, nodes that are drawn or computed, sheets of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle
from torch import Tensor

from course_lib import plots
from course_lib.latent.toy import plane_grid


def draw_images(
    ax: Axes,
    images: Tensor,
    columns: int,
    title: str = "",
    rows: Sequence[str] = (),
) -> None:
    """Square grey pictures on one sheet, row by row, 0 as white and 1 as black, with thin gaps.

    Args:
        images: [N, D], D a square number, values in 0..1.
        columns: pictures a row; where N is no multiple of it, the last places stay empty.
        rows: a name for each row, written at its left.

    Raises ValueError where D is no square number.
    """
    side = math.isqrt(images.size(-1))
    if images.dim() != 2 or side * side != images.size(1):
        raise ValueError(f"images must be [N, D] with D a square, got {list(images.shape)}")
    values = images.detach().cpu().float()
    lines, step = math.ceil(len(values) / columns), side + 1
    sheet = torch.full((lines * step + 1, columns * step + 1), 0.25)
    for place in range(lines * columns):
        top, left = place // columns * step + 1, place % columns * step + 1
        picture = values[place].view(side, side) if place < len(values) else 0.0
        sheet[top : top + side, left : left + side] = picture
    ax.imshow(sheet.numpy(), cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
    middles = [line * step + step / 2 for line in range(len(rows))]
    ax.set(xticks=[])
    ax.set_yticks(middles, rows)
    ax.tick_params(length=0)
    ax.set_title(title, fontsize=10)
    ax.spines[:].set_visible(False)


def draw_jensen(ax: Axes, values: Sequence[float]) -> None:
    """Two numbers with equal chances: the logarithm of their mean, and the mean of their logarithms.

    values: two positive numbers, the smaller first. The chord between their logarithms lies below
    the curve; at the mean the distance of the two, in green, is what Jensen's inequality loses.

    Raises ValueError for numbers that are not positive and increasing.
    """
    low, high = values
    if not 0 < low < high:
        raise ValueError(f"need two positive numbers, the smaller first, got {low} and {high}")
    middle = (low + high) / 2
    chord = (math.log(low) + math.log(high)) / 2
    x = torch.linspace(low * 0.6, high * 1.15, 300)
    ax.plot(x, x.log(), color=plots.BLUE)
    ax.plot([low, high], [math.log(low), math.log(high)], "o-", color=plots.ORANGE)
    ax.plot([middle, middle], [chord, math.log(middle)], color=plots.GREEN, linewidth=3)
    notes = {"fontsize": 9, "va": "center"}
    right = middle + 0.03 * (high - low)
    ax.text(
        middle, math.log(middle) + 0.3, "log of the mean", color=plots.BLUE, ha="right", **notes
    )
    ax.text(right, chord - 0.3, "mean of the logs", color=plots.ORANGE, **notes)
    gap = math.log(middle) - chord
    left = middle - 0.03 * (high - low)
    ax.text(left, chord + gap / 2, f"{gap:.3f} nats", color=plots.GREEN, ha="right", **notes)
    ax.set(xlabel="w", ylabel="log w")


def draw_nodes(ax: Axes, reparameterised: bool) -> None:
    """From mean and variance to f(z): circles are drawn by chance, squares are computed.

    reparameterised: the chance comes in from the side, as eps, and the way from the mean and the
    variance to f is squares only; in red the way that a gradient goes back. Else z itself is a
    circle, and the red way ends above it.
    """
    places = {"mean, log_var": (0.0, 0.0), "z": (0.0, 1.0), "f(z)": (0.0, 2.0)}
    if reparameterised:
        places["eps"] = (1.2, 0.4)
    drawn = {"eps"} if reparameterised else {"z"}
    arrow = {"arrowstyle": "-|>", "linewidth": 1.4, "color": plots.GREY, "shrinkA": 0, "shrinkB": 0}
    ways = [((0.0, 0.2), (0.0, 0.74)), ((0.0, 1.24), (0.0, 1.78))]
    if reparameterised:
        ways.append(((0.98, 0.5), (0.28, 0.87)))
    for start, end in ways:
        ax.annotate("", end, start, arrowprops=arrow)
    for name, (x, y) in places.items():
        if name in drawn:
            shape = Circle((x, y), 0.24, facecolor="#FFE3B3", edgecolor="black", zorder=3)
        else:
            width = 1.1 if name.startswith("mean") else 0.5
            box = {"facecolor": "white", "edgecolor": "black", "zorder": 3}
            shape = Rectangle((x - width / 2, y - 0.2), width, 0.4, **box)
        ax.add_patch(shape)
        ax.text(x, y, name, ha="center", va="center", fontsize=9, zorder=4)
    last = 0.0 if reparameterised else 1.0
    back = {"xy": (-0.75, last), "xytext": (-0.75, 2.0)}
    style = {"arrowstyle": "-|>", "color": plots.RED, "linewidth": 2.0}
    ax.annotate("", arrowprops=style, **back)
    if not reparameterised:
        ax.text(-0.75, 0.85, "x", color=plots.RED, ha="center", va="top", fontsize=14)
    title = "the chance comes in from the side" if reparameterised else "z is drawn"
    ax.set(xlim=(-1.2, 1.7), ylim=(-0.4, 2.4), xticks=[], yticks=[], aspect="equal", title=title)
    ax.spines[:].set_visible(False)


def draw_density(
    ax: Axes,
    log_prob: Callable[[Tensor], Tensor],
    title: str = "",
    side: int = 120,
    reach: float = 2.0,
) -> None:
    """p(x) over the square -reach..reach of the plane, the darker the denser.

    log_prob: points [N, 2] -> [N], in nats; asked without gradients.
    """
    points, _ = plane_grid(side, reach, dtype=torch.float32)
    with torch.no_grad():
        density = log_prob(points).exp().view(side, side)
    extent = (-reach, reach, -reach, reach)
    ax.imshow(density.numpy(), origin="lower", extent=extent, cmap="Blues", vmin=0)
    ax.set(xlabel="$x_1$", ylabel="$x_2$")
    ax.set_title(title, fontsize=10)


def draw_points(ax: Axes, points: Tensor, title: str = "", reach: float = 2.0) -> None:
    """Points [N, 2] of the plane, as small dots within the square -reach..reach."""
    x, y = points.detach().cpu().T.numpy()
    ax.plot(x, y, ".", markersize=2, color=plots.BLUE)
    square = {"xlim": (-reach, reach), "ylim": (-reach, reach), "aspect": "equal"}
    ax.set(xlabel="$x_1$", ylabel="$x_2$", **square)
    ax.set_title(title, fontsize=10)
