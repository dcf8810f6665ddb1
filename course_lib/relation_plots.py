"""Pictures of bodies that move and of what acts between them: paths, links, court, stick figure, films.

What is true is drawn wide and half transparent, what a model says narrow and solid, in the same colours, so that a
prediction that is right lies inside the band of the truth.

    links [N, N]: entry [i, j] is the strength, or the probability, with which j acts on i.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.animation
from matplotlib.axes import Axes
from matplotlib.patches import Arc, Circle, Rectangle
from torch import Tensor

from course_lib import plots

BODIES = (
    plots.BLUE,
    plots.ORANGE,
    plots.GREEN,
    plots.PINK,
    plots.RED,
    plots.SKY,
    plots.YELLOW,
    plots.GREY,
)
TRUTH = {"alpha": 0.3, "linewidth": 5.0, "solid_capstyle": "round"}


def body_colour(number: int) -> str:
    """The colour of body `number`, the same in all pictures; it repeats after eight."""
    return BODIES[number % len(BODIES)]


def _paths(states: Tensor, name: str) -> Tensor:
    if states.dim() != 3 or states.size(2) < 2:
        raise ValueError(
            f"{name} must be [N, T, D] with x and y first, got {list(states.shape)}: take one "
            "simulation"
        )
    return states[..., :2].detach().cpu()


def draw_paths(
    ax: Axes,
    states: Tensor,
    title: str = "",
    *,
    truth: bool = False,
    dots: bool = True,
    names: Sequence[str] = (),
    reach: float | None = None,
) -> None:
    """One line a body, in its colour, with a dot where it is in the last frame.

    Args:
        states: [N, T, D], x and y first.
        truth: draw wide and half transparent, as what is true.
        names: written beside the dots, one a body.
        reach: the square shown is -reach..reach; None fits the paths.

    Raises ValueError for states of another shape.
    """
    line = TRUTH if truth else {"linewidth": 1.6}
    for body, path in enumerate(_paths(states, "states")):
        colour = body_colour(body)
        ax.plot(*path.T.numpy(), color=colour, zorder=1 if truth else 2, **line)
        if dots:
            ax.plot(*path[-1:].T.numpy(), "o", color=colour, markersize=8, alpha=line.get("alpha"))
    for name, spot in zip(names, _paths(states, "states")[:, -1].tolist()):
        ax.annotate(name, spot, xytext=(7, 5), textcoords="offset points", fontsize=9)
    _plane(ax, title, reach)


def draw_rollout(
    ax: Axes,
    truth: Tensor,
    predicted: Tensor,
    title: str = "",
    *,
    given: Tensor | None = None,
    reach: float | None = None,
) -> None:
    """What happened, wide and half transparent, and what was predicted, solid, over the same frames.

    Args:
        truth: [N, T, D], x and y first. predicted: [N, T, D].
        given: [N, T0, D], frames before, which the model was shown; dotted.

    Raises ValueError where the shapes differ.
    """
    if truth.shape[:2] != predicted.shape[:2]:
        raise ValueError(
            "truth and predicted must have the same bodies and frames, got "
            f"{list(truth.shape)} and {list(predicted.shape)}"
        )
    if given is not None:
        for body, path in enumerate(_paths(given, "given")):
            colour = body_colour(body)
            ax.plot(*path.T.numpy(), ":", color=colour, linewidth=1.2, alpha=0.8)
    draw_paths(ax, truth, truth=True)
    draw_paths(ax, predicted, dots=False)
    for body, path in enumerate(_paths(predicted, "predicted")):
        ax.plot(*path[-1:].T.numpy(), "o", color=body_colour(body), markersize=5, zorder=4)
    _plane(ax, title, reach)


def _plane(ax: Axes, title: str, reach: float | None) -> None:
    """Equal units on both axes, unless somebody has set the limits before (a court, say)."""
    if title:
        ax.set_title(title, fontsize=10)
    if reach is None and not ax.get_autoscale_on():
        return
    ax.set(xlabel="x", ylabel="y")
    ax.set_aspect("equal", adjustable="datalim" if reach is None else "box")
    if reach is not None:
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach))


def _square(links: Tensor, name: str, bodies: int | None = None) -> Tensor:
    if links.dim() != 2 or links.size(0) != links.size(1) or len(links) != (bodies or len(links)):
        wanted = "N" if bodies is None else bodies
        raise ValueError(f"{name} must be [{wanted}, {wanted}], got {list(links.shape)}")
    return links.detach().cpu().float()


def draw_links(
    ax: Axes,
    places: Tensor,
    links: Tensor | None = None,
    title: str = "",
    *,
    truth: Tensor | None = None,
    arrows: bool = False,
    names: Sequence[str] = (),
    reach: float | None = None,
) -> None:
    """Bodies as dots, with the links between them: true ones as pale bands, a model's as solid lines.

    Args:
        places: [N, D], x and y first.
        links: [N, N], in 0..1; the line's opacity. truth: [N, N], the band's.
        arrows: draw each direction by itself, as an arrow from the sender to the receiver. Without, a
            pair has one line, for the mean of its two directions.
        names: written into the dots.

    Raises ValueError for links that are not [N, N].
    """
    spots = places[:, :2].detach().cpu()
    for matrix, name, wide in ((truth, "truth", True), (links, "links", False)):
        if matrix is None:
            continue
        strength = _square(matrix, name, len(spots)).clamp(0, 1)
        if not arrows:
            strength = (strength + strength.T) / 2
        for i in range(len(spots)):
            for j in range(len(spots)):
                if i == j or (not arrows and j > i) or strength[i, j] < 0.02:
                    continue
                style = _line_style(float(strength[i, j]), wide)
                if arrows:
                    _arrow(ax, spots[j].tolist(), spots[i].tolist(), style)
                else:
                    ax.plot(*spots[[i, j]].T.numpy(), solid_capstyle="round", **style)
    colours = [body_colour(i) for i in range(len(spots))]
    size = 200 if names else 70
    ax.scatter(*spots.T.numpy(), s=size, c=colours, edgecolors="black", linewidths=0.7, zorder=3)
    for name, spot in zip(names, spots.tolist()):
        ax.annotate(name, spot, ha="center", va="center", fontsize=9, zorder=4)
    _plane(ax, title, reach)


def _line_style(strength: float, wide: bool) -> dict[str, Any]:
    if wide:
        return {"color": plots.GREY, "linewidth": 9.0, "alpha": 0.35 * strength, "zorder": 1}
    return {"color": "black", "linewidth": 1.8, "alpha": strength, "zorder": 2}


def _arrow(ax: Axes, start: list[float], end: list[float], style: dict[str, Any]) -> None:
    shape = {"arrowstyle": "-|>", "shrinkA": 9, "shrinkB": 9, "connectionstyle": "arc3,rad=0.15"}
    style = {**style, "linewidth": 5.0} if style["linewidth"] > 5 else style  # a head must show
    ax.annotate("", end, start, arrowprops={**shape, **style}, zorder=style["zorder"])


def draw_link_matrix(
    ax: Axes,
    links: Tensor,
    title: str = "",
    *,
    truth: Tensor | None = None,
    names: Sequence[str] | None = None,
    numbers: bool = True,
) -> None:
    """links [N, N] in 0..1 as a table, receivers in rows; the true ones framed, the diagonal crossed out.

    truth: [N, N]; entries above 0 are framed.

    Raises ValueError for links that are not [N, N].
    """
    shown = _square(links, "links")
    labels = list(names) if names else [str(i + 1) for i in range(len(shown))]
    plots.draw_matrix(
        ax, shown, title, numbers=numbers, rows="to", cols="from", names=labels, limits=(0.0, 1.0)
    )
    ax.set_xticks(range(len(shown)), labels)
    ax.set_yticks(range(len(shown)), labels)
    frames = None if truth is None else _square(truth, "truth", len(shown))
    for i in range(len(shown)):
        ax.add_patch(Rectangle((i - 0.5, i - 0.5), 1, 1, color="#DDDDDD", zorder=3))
        for j in range(len(shown)):
            if frames is not None and i != j and frames[i, j] > 0:
                edge = {"fill": False, "edgecolor": plots.ORANGE, "linewidth": 2.5, "zorder": 4}
                ax.add_patch(Rectangle((j - 0.46, i - 0.46), 0.92, 0.92, **edge))


def draw_stick_figure(
    ax: Axes,
    joints: Tensor,
    bones: Sequence[tuple[int, int]],
    title: str = "",
    *,
    truth: bool = False,
    colour: str = plots.BLUE,
) -> None:
    """Joints [J, 2], height last, and the bones between them; `truth` draws them wide and pale."""
    places = joints.detach().cpu()
    if places.dim() != 2 or places.size(1) != 2:
        raise ValueError(
            f"joints must be [J, 2], got {list(joints.shape)}: choose two of the three axes"
        )
    line = TRUTH if truth else {"linewidth": 1.6}
    for a, b in bones:
        ax.plot(*places[[a, b]].T.numpy(), color=colour, zorder=1 if truth else 2, **line)
    if not truth:
        ax.plot(*places.T.numpy(), "o", color=colour, markersize=3, zorder=3)
    ax.set_aspect("equal")
    ax.set_title(title, fontsize=10)


def draw_court(ax: Axes, title: str = "") -> None:
    """Half a professional basketball court in feet, as in `relations.sports`: the end line at x = 0.

    x = 0 .. 47 from the end line to the middle, y = 0 .. 50 across, the basket at (5.25, 25).
    """
    style = {"fill": False, "edgecolor": plots.GREY, "linewidth": 1.0, "zorder": 0}
    ax.add_patch(Rectangle((0, 0), 47, 50, **style))
    ax.add_patch(Rectangle((0, 17), 19, 16, **style))  # the key
    ax.add_patch(Circle((19, 25), 6, **style))
    ax.add_patch(Circle((5.25, 25), 0.75, **{**style, "edgecolor": plots.RED, "linewidth": 1.6}))
    arc = {"edgecolor": plots.GREY, "linewidth": 1.0, "zorder": 0}
    ax.add_patch(Arc((5.25, 25), 47.5, 47.5, theta1=-67.9, theta2=67.9, **arc))  # three points
    for side in (3.0, 47.0):
        ax.plot([0, 14.2], [side, side], color=plots.GREY, linewidth=1.0, zorder=0)
    ax.set(xlim=(-1, 48), ylim=(-1, 51), xticks=[], yticks=[])
    ax.set_aspect("equal")
    ax.spines[:].set_visible(False)
    ax.set_title(title, fontsize=10)


def film(
    draw: Callable[[Axes, int], None],
    frames: Sequence[int],
    title: str,
    *,
    alt: str,
    size: tuple[float, float] = (4.6, 4.2),
    milliseconds: int = 120,
) -> None:
    """Show `draw(ax, frame)` for each of `frames` in turn, as a moving picture that begins anew.

    It is an animated GIF in an <img> with its text alternative, so it moves in exports as well.

    Raises ValueError without frames, or with an empty `alt`.
    """
    if not len(frames) or not alt.strip():
        raise ValueError(
            "film needs at least one frame and alt=..., a sentence on what moves in it"
        )
    fig, ax = plots.new_figure(title, size=size)
    writer = matplotlib.animation.PillowWriter(fps=1000 / milliseconds)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.gif"
        with writer.saving(fig, str(path), dpi=80):
            for frame in frames:
                ax.clear()
                ax.spines[["top", "right"]].set_visible(False)
                draw(ax, frame)
                writer.grab_frame()
                fig.set_layout_engine("none")  # as the first frame is laid out, so stay the others
        moving = path.read_bytes()
    tag = plots.image_tag(moving, alt).replace("data:image/png", "data:image/gif", 1)
    plots.display({"text/html": tag, "text/plain": f"<film: {alt}>"}, raw=True)
