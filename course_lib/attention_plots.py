"""Pictures of attention: who looks where. Rows are queries, columns are keys, everywhere in the course."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from course_lib import plots


def draw_attention(
    ax: Axes,
    weights: Tensor,
    queries: Sequence[str],
    keys: Sequence[str],
    title: str = "",
    *,
    query_name: str = "the one who looks",
    key_name: str = "where it looks",
    gold: Tensor | None = None,
    numbers: bool = False,
    limits: tuple[float, float] = (0.0, 1.0),
) -> None:
    """Attention weights as a picture: row i is query i (i = 0 on top), column j is key j (j = 0 to the left).

    Args:
        weights: [Tq, Tk]; the darker, the larger. Scores of both signs are drawn too, red and blue,
            if the lower of `limits` is negative.
        queries: Tq tokens, written beside their rows; a blank is shown as ␣.
        keys: Tk tokens, written under their columns.
        query_name, key_name: who they are; the axes are called "query: ..." and "key: ...".
        gold: bool [Tq, Tk], true links, drawn as orange frames.
        numbers: write each weight into its square, with two decimals.
        limits: the weights of the lightest and the darkest colour.

    Raises ValueError where the numbers of tokens do not fit the weights.
    """
    values = weights.detach().cpu()
    _require_fit("weights", values, queries, keys)
    low, high = limits
    colours = "Blues" if low >= 0 else "RdBu_r"
    picture = {"aspect": "auto", "interpolation": "nearest"}
    ax.imshow(values.double().numpy(), cmap=colours, vmin=low, vmax=high, **picture)
    if numbers:
        for i, j in np.ndindex(*values.shape):
            share = (float(values[i, j]) - low) / (high - low)
            dark = share > 0.6 if low >= 0 else abs(2 * share - 1) > 0.6
            place = {"ha": "center", "va": "center", "fontsize": 8}
            ax.text(j, i, f"{values[i, j]:.2f}", color="white" if dark else "black", **place)
    if gold is not None:
        _require_fit("gold", gold, queries, keys)
        for i, j in gold.nonzero().tolist():
            frame = Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, edgecolor=plots.ORANGE, lw=1.6)
            ax.add_patch(frame)
    ax.set_xticks(range(len(keys)), [_visible(token) for token in keys])
    ax.set_yticks(range(len(queries)), [_visible(token) for token in queries])
    ax.tick_params(length=0, labelsize=9)
    ax.set(xlabel=f"key: {key_name}", ylabel=f"query: {query_name}")
    ax.set_title(title, fontsize=10)
    ax.spines[:].set_visible(True)


def _visible(token: str) -> str:
    return token.replace(" ", "␣").replace("\n", "↵")


def _require_fit(name: str, values: Tensor, queries: Sequence[str], keys: Sequence[str]) -> None:
    wanted = (len(queries), len(keys))
    if tuple(values.shape) == wanted:
        return
    swapped = tuple(values.shape) == wanted[::-1]
    advice = "rows are queries: transpose it" if swapped else "rows are queries, columns keys"
    raise ValueError(
        f"{wanted[0]} query tokens and {wanted[1]} key tokens need {name} {list(wanted)}, "
        f"got {list(torch.as_tensor(values).shape)}: {advice}"
    )
