"""Sprites: small pictures drawn by code from five known factors, to see what a latent has found.

One white shape on black. The factors are those of dSprites (Matthey et al. 2017), the pictures our
own: an ellipse, a square or a heart; its centre; its size; its angle. Each can be drawn at random or
moved alone, so that a latent's meaning can be measured, not guessed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["FACTORS", "SHAPES", "Sprites", "render_sprites", "sprites"]

SHAPES = ("ellipse", "square", "heart")
FACTORS = ("shape", "x", "y", "scale", "angle")
FINE = 4  # points per pixel and direction at which the shape is asked
AT_ONCE = 2**22  # points of one piece of a large batch
# The ranges that `sprites` draws from; x, y and scale in halves of the picture's side.
LEAST = {"x": -0.5, "y": -0.5, "scale": 0.25, "angle": 0.0}
MOST = {"x": 0.5, "y": 0.5, "scale": 0.5, "angle": 2 * math.pi}


class Sprites(NamedTuple):
    """images [N, 1, side, side] in 0..1, and factors [N, 5] in the order of FACTORS."""

    images: Tensor
    factors: Tensor


def sprites(number: int, generator: torch.Generator | None = None, side: int = 16) -> Sprites:
    """`number` sprites with independent factors, each uniform: float32, on the generator's device.

    shape 0, 1, 2; x and y in -0.5..0.5, scale in 0.25..0.5, angle in 0..2 pi: every sprite lies
    within its picture. Raises ValueError for number or side below 1.
    """
    if number < 1:
        raise ValueError(f"number must be at least 1, got {number}")
    device = None if generator is None else generator.device
    uniform = torch.rand(number, 4, generator=generator, device=device)
    low, high = (uniform.new_tensor([end[name] for name in FACTORS[1:]]) for end in (LEAST, MOST))
    shape = torch.randint(len(SHAPES), (number, 1), generator=generator, device=device)
    factors = torch.cat([shape.to(uniform.dtype), low + (high - low) * uniform], 1)
    return Sprites(render_sprites(factors, side), factors)


def render_sprites(factors: Tensor, side: int = 16) -> Tensor:
    """The pictures of some factors: [N, 5] -> [N, 1, side, side], in 0..1.

    Args:
        factors: a row (shape, x, y, scale, angle). shape: the place in SHAPES. x, y: the centre, x
            to the right and y upwards, the picture being -1..1 in both. scale: of the circle that the
            shape stays in, its radius: half an ellipse's length, 3/4 of a square's side. angle: in
            radians, counter-clockwise. A square looks the same after pi/2, an ellipse after pi.
        side: pixels in each direction.

    A pixel is the share of its 4 x 4 points that lie in the shape, so edges are grey: the picture
    moves smoothly with its factors, though no gradient leads back to them. Row 0 is the top.

    Raises ValueError unless factors are floating point [N, 5], shapes 0, 1 or 2, scales positive.
    """
    if factors.dim() != 2 or factors.size(1) != len(FACTORS) or not factors.is_floating_point():
        raise ValueError(
            f"factors must be floating point [N, 5], {FACTORS}, got {factors.dtype} "
            f"{list(factors.shape)}"
        )
    if side < 1:
        raise ValueError(f"side must be at least 1 pixel, got {side}")
    known = torch.arange(len(SHAPES), device=factors.device, dtype=factors.dtype)
    if not bool(torch.isin(factors[:, 0], known).all()):
        raise ValueError(f"a shape must be 0, 1 or 2, a place in {SHAPES}")
    if not bool((factors[:, 3] > 0).all()):
        raise ValueError(f"every scale must be positive, got {float(factors[:, 3].min())}")
    ticks = torch.arange(side * FINE, device=factors.device, dtype=factors.dtype)
    ticks = (2 * ticks + 1) / (side * FINE) - 1
    pieces = factors.split(max(1, AT_ONCE // len(ticks) ** 2))
    return torch.cat([_picture(piece, ticks, side) for piece in pieces])


def _picture(factors: Tensor, ticks: Tensor, side: int) -> Tensor:
    """render_sprites for few: factors [N, 5], ticks [side * FINE] -> [N, 1, side, side]."""
    shape, x, y, scale, angle = factors[:, :, None, None].unbind(1)  # [N, 1, 1] each
    right, up = ticks[None, None, :] - x, -ticks[None, :, None] - y
    cos, sin = angle.cos(), angle.sin()
    # into the shape's own frame: turned back and divided by its size
    u, v = (cos * right + sin * up) / scale, (cos * up - sin * right) / scale
    inside = torch.where(
        shape == 0, _ellipse(u, v), torch.where(shape == 1, _square(u, v), _heart(u, v))
    )
    points = inside.to(factors.dtype).view(len(factors), side, FINE, side, FINE)
    return points.mean((2, 4))[:, None]


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    """Half as high as wide."""
    return u.square() + (2 * v).square() <= 1


def _square(u: Tensor, v: Tensor) -> Tensor:
    """As wide as its size would have it, 2/3 of it: its corners stay within the circle."""
    return torch.maximum(u.abs(), v.abs()) <= 2 / 3


def _heart(u: Tensor, v: Tensor) -> Tensor:
    """(a^2 + b^2 - 1)^3 <= a^2 b^3, shrunk to the circle, its tip down."""
    a, b = 1.36 * u, 1.36 * v + 0.1
    return (a.square() + b.square() - 1) ** 3 <= a.square() * b**3
