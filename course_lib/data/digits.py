"""Handwritten digits on a larger canvas, each at a place drawn at random, which says nothing about the class."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

SIDE = 8  # of scikit-learn's digits, in pixels


class PlacedDigits(NamedTuple):
    """Digits on canvases.

    images: float32 [N, 1, canvas, canvas], ink from 0 to 1.
    labels: int64 [N], 0..9.
    corners: int64 [N, 2], row and column of each digit's upper left pixel.
    """

    images: Tensor
    labels: Tensor
    corners: Tensor


def place_on_canvas(digits: Tensor, corners: Tensor, canvas: int = 16) -> Tensor:
    """Put small images onto empty canvases.

    Args:
        digits: [N, h, w].
        corners: int64 [N, 2], row and column of the upper left pixel.
        canvas: rows and columns of the canvas.

    Returns:
        [N, 1, canvas, canvas].

    Raises ValueError where shapes do not match, corners are not whole numbers or a digit would not lie wholly on its
    canvas.
    """
    if corners.is_floating_point() or corners.dtype == torch.bool:
        raise ValueError(f"corners must be int64, rows and columns of pixels, got {corners.dtype}")
    if digits.dim() != 3 or corners.shape != (len(digits), 2):
        raise ValueError(
            f"need digits [N, h, w] and corners [N, 2], got {list(digits.shape)} and {list(corners.shape)}"
        )
    n, height, width = digits.shape
    most = torch.tensor([canvas - height, canvas - width], device=corners.device)
    if ((corners < 0) | (corners > most)).any():
        raise ValueError(
            f"a digit of {height} x {width} fits on a canvas of {canvas} x {canvas} with corners from (0, 0) to "
            f"{tuple(most.tolist())}, got corners up to {tuple(corners.amax(0).tolist())}"
        )
    rows = corners[:, :1] + torch.arange(height, device=digits.device)  # [N, h]
    cols = corners[:, 1:] + torch.arange(width, device=digits.device)  # [N, w]
    images = digits.new_zeros(n, canvas, canvas)
    example = torch.arange(n, device=digits.device)
    images[example[:, None, None], rows[:, :, None], cols[:, None, :]] = digits
    return images[:, None]


def placed_digits(shifted: bool = True, *, canvas: int = 16, seed: int = 0) -> PlacedDigits:
    """The 1,797 digits of 8 x 8 pixels that come with scikit-learn, in random order, on canvases.

    The seed draws the order first and the places then: with one seed, shifted and unshifted digits come in the
    same order, so that `images[:1297]` and `images[1297:]` hold the same digits either way.

    Args:
        shifted: each digit at a place drawn uniformly from all that fit (81 on a canvas of 16, so many digits
            share one); False puts all in the middle.
        canvas: rows and columns of the canvas, at least 8.
        seed: of the order and the places.

    Raises ValueError for a canvas that is too small.

    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI repository, 1998 (CC BY 4.0); scikit-learn
    carries the 1,797 images of its test part.
    """
    if canvas < SIDE:
        raise ValueError(
            f"digits of {SIDE} x {SIDE} pixels need a canvas of at least {SIDE}, got {canvas}"
        )
    table = torch.from_numpy(np.loadtxt(_file(), delimiter=",", dtype=np.float32))  # [1797, 65]
    ink, label = table[:, :-1], table[:, -1]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(ink), generator=generator)
    digits = ink.reshape(-1, SIDE, SIDE)[order] / 16
    corners = torch.randint(0, canvas - SIDE + 1, (len(digits), 2), generator=generator)
    if not shifted:
        corners = torch.full_like(corners, (canvas - SIDE) // 2)
    return PlacedDigits(place_on_canvas(digits, corners, canvas), label.long()[order], corners)


def _file() -> Path:
    """Where scikit-learn keeps the digits: its `load_digits` reads the same, after seconds of imports."""
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("the digits come with scikit-learn: pip install scikit-learn")
    return Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
