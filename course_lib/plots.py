"""Figures of the course: one style, one palette, a text alternative for each.

    with plots.figure("Label spread", alt="Two curves; the upper one ...") as ax:
        ax.plot(...)

The figure shows itself when the block ends. Colours are Okabe and Ito's, told apart by colour-blind readers too
(Okabe & Ito, Color Universal Design, 2008).
"""

from __future__ import annotations

import base64
import html
import io
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW, GREY = PALETTE = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#F0E442",
    "#8A8A8A",
)


def new_figure(
    title: str, rows: int = 1, cols: int = 1, size: tuple[float, float] | None = None
) -> tuple[Figure, Any]:
    """A figure with a title and its axes: one Axes, or a flat list of rows * cols. `size` is in inches."""
    fig = Figure(figsize=size or (4.8 * cols, 3.4 * rows), dpi=100, layout="constrained")
    axes = list(fig.subplots(rows, cols, squeeze=False).flat)
    fig.suptitle(title, fontsize=12, x=0.01, ha="left", fontweight="bold")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_prop_cycle(color=PALETTE)
    return fig, axes[0] if len(axes) == 1 else axes


def to_png(fig: Figure) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png")
    return buffer.getvalue()


@contextmanager
def figure(
    title: str,
    rows: int = 1,
    cols: int = 1,
    *,
    alt: str,
    size: tuple[float, float] | None = None,
    built_on: Sequence[Any] = (),
) -> Iterator[Any]:
    """Draw inside the block; the figure is shown when the block ends without an error.

    Args:
        title: what the reader should see in it.
        rows, cols: with more than one panel the block gets a list of Axes.
        alt: a sentence or two for readers who cannot see it.
        size: inches.
        built_on: functions of the student's that it rests on; those replaced by the library's are named under it.

    Raises:
        ValueError: `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("a figure needs alt=..., a sentence that says what can be seen in it")
    fig, axes = new_figure(title, rows, cols, size)
    yield axes
    borrowed = [f.name for f in built_on if getattr(f, "substituted", False)]
    if borrowed:
        note = f"NOT YOURS: drawn with the library's {', '.join(borrowed)}"
        fig.supxlabel(
            textwrap.fill(note, int(13 * fig.get_figwidth())),
            fontsize=9,
            color=RED,
            x=0.01,
            ha="left",
        )
        alt = f"{alt} {note}."
    tag = image_tag(to_png(fig), alt)
    display({"text/html": tag, "text/plain": f"<figure: {alt}>"}, raw=True)


def image_tag(png: bytes, alt: str) -> str:
    """An HTML <img> that holds the PNG and its text alternative: notebooks' own PNG outputs drop the latter."""
    source = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{source}" style="max-width:100%">'


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def draw_graph(
    ax: Axes,
    positions: Any,
    edge_index: Any,
    values: Any = None,
    labels: Sequence[str] | None = None,
    ring: Any = None,
    arrows: bool = False,
    node_size: float = 260,
    limits: tuple[float, float] | None = None,
) -> None:
    """A graph on an axes without ticks.

    Args:
        positions: [N, 2].
        edge_index: [2, E].
        values: [N]; integers are classes (palette colours, -1 grey), reals a blue scale over `limits`.
        labels: text in each node.
        ring: bool [N], nodes drawn with a thick black outline.
        arrows: draw directed edges.
        node_size: area in points squared.
    """
    place, edges = _array(positions), _array(edge_index)
    if arrows:
        gap = node_size**0.5 / 2 + 1  # from a node's centre to its rim, in points
        for source, target in edges.T:
            bend = (
                "arc3,rad=0.12" if ((edges[0] == target) & (edges[1] == source)).any() else "arc3"
            )
            style = {
                "arrowstyle": "-|>",
                "color": GREY,
                "shrinkA": gap,
                "shrinkB": gap,
                "connectionstyle": bend,
            }
            ax.annotate("", place[target], place[source], arrowprops=style, zorder=1)
    else:
        kept = edges[:, edges[0] <= edges[1]]
        ax.add_collection(
            LineCollection(place[kept.T], colors=GREY, linewidths=0.7, alpha=0.7, zorder=1)
        )
    style: dict[str, Any] = {"c": [SKY] * len(place)}
    if values is not None:
        values = _array(values)
        if values.dtype.kind in "iub":
            style = {"c": [PALETTE[int(v) % 7] if v >= 0 else "#DDDDDD" for v in values]}
        else:
            low, high = limits or (float(values.min()), float(values.max()))
            style = {"c": values, "cmap": "Blues", "vmin": low, "vmax": high}
    thick = np.zeros(len(place), bool) if ring is None else _array(ring).astype(bool)
    ax.scatter(
        *place.T,
        s=node_size,
        edgecolors="black",
        linewidths=np.where(thick, 2.6, 0.7),
        zorder=2,
        **style,
    )
    for text, spot in zip(labels or (), place):
        ax.annotate(text, spot, ha="center", va="center", fontsize=9, zorder=3)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)
    ax.margins(0.12)


def draw_matrix(
    ax: Axes,
    matrix: Any,
    title: str = "",
    numbers: bool = True,
    rows: str = "to node",
    cols: str = "from node",
    names: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
) -> None:
    """A matrix as a picture: row 0 on top, entries written in if `numbers`, `names` at rows and columns."""
    values = _array(matrix)
    low, high = limits or (0.0, float(max(values.max(), 1e-9)))
    ax.imshow(
        values, cmap="Blues" if low >= 0 else "RdBu_r", vmin=low, vmax=high, interpolation="nearest"
    )
    if numbers:
        for i, j in np.ndindex(*values.shape):
            dark = (
                (values[i, j] - low) / (high - low) > 0.6
                if low >= 0
                else abs(values[i, j]) > 0.6 * high
            )
            text = f"{values[i, j]:.2f}".rstrip("0").rstrip(".")
            ax.text(
                j, i, text, ha="center", va="center", fontsize=8, color="white" if dark else "black"
            )
        ax.set_xticks(range(values.shape[1]), names)
        ax.set_yticks(range(values.shape[0]), names)
    ax.set(xlabel=cols, ylabel=rows)
    ax.set_title(title, fontsize=10)
    ax.spines[:].set_visible(True)


def draw_curves(
    ax: Axes,
    x: Any,
    curves: dict[str, Any],
    xlabel: str,
    ylabel: str,
    ylim: tuple[float, float] | None = None,
    marker: str = "o",
) -> None:
    """Named curves over a shared x, each labelled at its right end rather than in a legend box.

    Set logarithmic scales before the call, and limits by `ylim`: labels are placed by them.
    """
    for i, y in enumerate(curves.values()):
        ax.plot(_array(x), _array(y), marker=marker, markersize=4, color=PALETTE[i % 7])
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if ylim is not None:
        ax.set_ylim(ylim)
    ax.get_ylim()  # settles the automatic limits
    to_share = ax.transScale + ax.transLimits
    ends = [
        (to_share.transform((1.0, float(_array(y)[-1])))[1], i)
        for i, y in enumerate(curves.values())
    ]
    names, lowest = list(curves), -np.inf
    for share, i in sorted(ends):
        lowest = max(share, lowest + 0.08)
        place = {"xycoords": "axes fraction", "va": "center", "annotation_clip": False}
        ax.annotate(names[i], (1.02, lowest), color=PALETTE[i % 7], fontsize=9, **place)


def spring_layout(edge_index: Tensor, num_nodes: int, seed: int = 0) -> np.ndarray:
    """Positions [N, 2] by networkx's spring layout, deterministic for a seed."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(num_nodes))
    graph.add_edges_from(torch.as_tensor(edge_index).T.tolist())
    placed = nx.spring_layout(graph, seed=seed)
    return np.array([placed[v] for v in range(num_nodes)])
