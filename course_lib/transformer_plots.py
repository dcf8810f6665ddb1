"""Pictures for transformers: positions as clocks, a layer's two orders, arrows in a video, text written."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from torch import Tensor

from course_lib import plots
from course_lib.attention.nonlocal_block import Arrows, grid_places

GAP = 2  # empty columns between two frames
DARK = 0.25  # black is drawn as this grey, and dim colours so much lighter


def draw_clocks(
    axes: Sequence[Axes], position: int, offset: int, d_model: int, base: float = 10000.0
) -> None:
    """One clock for each pair (sin, cos) of a sinusoidal position, the fastest to the left.

    A hand points to (sin(w t), cos(w t)), so that it starts at twelve and turns clockwise by w
    radians a step, w = base^(-2m / d_model) for clock m. The blue hand stands at `position`, the orange one
    at `position` + `offset`; the arc between them is the angle by which `shift_rotation` turns.

    Args:
        axes: as many as clocks are to be drawn, d_model / 2 at most.

    Raises ValueError for more axes than there are clocks.
    """
    if len(axes) > d_model // 2:
        raise ValueError(f"d_model {d_model} has {d_model // 2} clocks, got {len(axes)} axes")
    turn = torch.linspace(0, 2 * math.pi, 100)
    for m, ax in enumerate(axes):
        frequency = base ** (-2 * m / d_model)
        ax.plot(turn.sin(), turn.cos(), color=plots.GREY, linewidth=1)
        angles = [frequency * position, frequency * (position + offset)]
        swept = torch.linspace(angles[0], angles[1], 80)
        ax.plot(0.45 * swept.sin(), 0.45 * swept.cos(), color=plots.GREEN, linewidth=3)
        for angle, colour, width in zip(angles, (plots.BLUE, plots.ORANGE), (5, 2.5)):
            hand = [0, math.sin(angle)], [0, math.cos(angle)]
            ax.plot(*hand, color=colour, linewidth=width, solid_capstyle="round")
        ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), xticks=[], yticks=[], aspect="equal")
        ax.spines[:].set_visible(False)
        period = 2 * math.pi / frequency
        ax.set_title(f"clock {m}: {period:.3g} steps a round", fontsize=9)


def draw_layer(ax: Axes, norm_first: bool) -> None:
    """The order of parts in one encoder layer, read from bottom to top, and in red the way around them.

    The red way is the one that the residual connections leave: it goes around each part and up the
    trunk between them, in post-norm through the norms.

    norm_first: pre-norm, x + f(norm(x)), else post-norm, norm(x + f(x)).
    """
    sublayers = ("attention", "feed-forward")
    names = ["x"]
    for sublayer in sublayers:
        names += ["norm", sublayer, "+"] if norm_first else [sublayer, "+", "norm"]
    colours = {"norm": plots.YELLOW, "attention": plots.SKY, "feed-forward": plots.GREEN}
    heights = range(len(names))
    ax.plot([0, 0], [0, len(names) - 0.3], color="black", linewidth=1, zorder=0)
    for name, height in zip(names, heights):
        if name in colours:
            style = {"boxstyle": "round,pad=0.02", "facecolor": colours[name], "edgecolor": "black"}
            ax.add_patch(FancyBboxPatch((-0.9, height - 0.3), 1.8, 0.6, **style))
        elif name == "+":
            ax.plot(0, height, "o", markersize=16, color="white", markeredgecolor="black")
        face = {"ha": "center", "va": "center", "fontsize": 10}
        ax.text(0, height - (0.3 if name == "x" else 0), name, **face)
    sums = [height for name, height in zip(names, heights) if name == "+"]
    starts = [0.45, sums[0] + 0.45] if norm_first else [0.45, sums[0] + 1.45]
    red = {"color": plots.RED, "linewidth": 2, "zorder": 0}
    for below, start, end in zip([0, *sums], starts, sums):  # up the trunk, then around one part
        ax.plot([0, 0, 1.4, 1.4, 0], [below, start, start, end, end], **red)
        ax.scatter(0.4, end, marker="<", color=plots.RED, s=40)
    ax.plot([0, 0], [sums[-1], len(names) - 0.3], **red)
    ax.text(0, len(names) - 0.2, "to the next layer", ha="center", va="bottom", fontsize=9)
    ax.set(xlim=(-1.6, 1.9), ylim=(-0.8, len(names) + 0.4), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    ax.set_title("pre-norm" if norm_first else "post-norm", fontsize=11)


def draw_arrows(ax: Axes, video: Tensor, arrows: Arrows) -> None:
    """The frames of a video beside each other, and arrows from places that look to what they look at.

    Args:
        video: [3, T, H, W], in 0..1; 0 is drawn as dark grey, so that dim pixels are seen.
        arrows: places as `grid_places((T, H, W))` numbers them; the heavier, the thicker.

    Raises ValueError where an arrow leads out of the video.
    """
    _, frames, height, width = video.shape
    video = DARK + (1 - DARK) * video
    size = frames * height * width
    if len(arrows.query) and max(int(arrows.query.max()), int(arrows.key.max())) >= size:
        raise ValueError(f"the video has {size} places, the arrows lead beyond: same video?")
    strip = torch.ones(height, frames * (width + GAP) - GAP, 3)
    for t in range(frames):
        left = t * (width + GAP)
        strip[:, left : left + width] = video[:, t].permute(1, 2, 0).cpu()  # [3, H, W] -> [H, W, 3]
        ax.text(left + width / 2 - 0.5, -1, f"frame {t + 1}", ha="center", fontsize=10)
    ax.imshow(strip.numpy(), interpolation="nearest")
    places = grid_places((frames, height, width))
    largest = float(arrows.weight.max()) if len(arrows.weight) else 1.0
    for i, j, weight in zip(*(part.tolist() for part in arrows)):
        ends = [(t * (width + GAP) + x, y) for t, y, x in (places[i].tolist(), places[j].tolist())]
        style = {"arrowstyle": "-|>", "color": plots.ORANGE, "lw": 0.6 + 1.4 * weight / largest}
        style |= {"connectionstyle": "arc3,rad=0.15", "mutation_scale": 8}
        ax.annotate("", ends[1], ends[0], arrowprops=style)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def draw_sample(
    axes: Sequence[Axes], characters: Sequence[str], chances: Tensor, text: str, *, bars: int = 12
) -> None:
    """What may come next, to the left, and a text that was written, to the right.

    Args:
        axes: two.
        characters: the candidates, the likeliest first; blanks and ends of lines are made visible.
        chances: their probabilities [len(characters)].
        text: wrapped to 44 columns and cut to 12 lines.
        bars: how many candidates are drawn at most.

    Raises ValueError where the numbers of characters and of chances differ.
    """
    if len(characters) != len(chances):
        raise ValueError(f"{len(characters)} characters need as many chances, got {len(chances)}")
    left, right = axes
    names = [character.translate({10: "↵", 32: "␣"}) for character in characters[:bars]]
    left.bar(names, chances[:bars].tolist(), color=plots.BLUE)
    label = f"next character (of {len(characters)}, {bars} at most are shown)"
    left.set(ylim=(0, 1), xlim=(-0.7, bars - 0.3), ylabel="probability", xlabel=label)
    lines = [part for line in text.strip().split("\n") for part in textwrap.wrap(line, 44) or [""]]
    style = {"family": "monospace", "fontsize": 10, "va": "top", "transform": right.transAxes}
    right.text(0, 1, "\n".join(lines[:12]).replace("$", r"\$"), **style)
    right.set(xticks=[], yticks=[])
    right.spines[:].set_visible(False)
