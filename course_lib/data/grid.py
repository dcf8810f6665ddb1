"""An image as a graph: pixels are nodes, and every edge knows in which direction it runs."""

from __future__ import annotations

import torch
from torch import Tensor


def grid_graph(height: int, width: int, reach: int = 1) -> tuple[Tensor, Tensor]:
    """The edges between each pixel and those at most `reach` rows and columns away, itself included.

    Pixel (i, j) is node i * width + j. With k = 2 reach + 1, an edge of kind r * k + c brings to its target the pixel
    that is (r - reach) rows below and (c - reach) columns to the right: the place that entry [r, c] of a k x k kernel
    looks at in `torch.nn.functional.conv2d`. Edges that would leave the image do not exist (zero padding).

    Returns:
        edge_index int64 [2, E] and kind int64 [E] in 0..k*k-1.

    Raises:
        ValueError: an empty image or a negative reach.
    """
    if height < 1 or width < 1 or reach < 0:
        raise ValueError(f"need height, width >= 1 and reach >= 0, got {height}, {width}, {reach}")
    k = 2 * reach + 1
    rows, cols, down, right = torch.meshgrid(
        torch.arange(height), torch.arange(width), torch.arange(k), torch.arange(k), indexing="ij"
    )
    source_row, source_col = rows + down - reach, cols + right - reach
    inside = (source_row >= 0) & (source_row < height) & (source_col >= 0) & (source_col < width)
    source = (source_row * width + source_col)[inside]
    target = (rows * width + cols)[inside]
    return torch.stack([source, target]), (down * k + right)[inside]
