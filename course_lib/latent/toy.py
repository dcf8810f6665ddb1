"""Two moons in the plane: data whose true density is known, and the yardsticks of a model of it.

    x = c(a) + noise eps,   a ~ U(0, pi),   eps ~ N(0, I),   either moon with probability 1/2

where c(a) = (cos a - 1/2, sin a - 1/4) is the upper half circle and -c(a) the lower one. As the
density is known, a likelihood can be set against the best there is, minus the entropy, and samples
against the truth even where the model has no density. In nats, one value a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Grid",
    "energy_distance",
    "plane_grid",
    "total_probability",
    "two_moons",
    "two_moons_entropy",
    "two_moons_log_prob",
]

NOISE = 0.1  # standard deviation of the moons
ANGLES = 128  # of the quadrature along a moon
PIECE = 2**12  # points of a grid that are asked at a time
REACH = 3.0  # half the side of the square that holds the moons, and the tails of a model


def two_moons(
    number: int, generator: torch.Generator | None = None, noise: float = NOISE
) -> Tensor:
    """`number` points of the two moons: float32 [number, 2], on the generator's device, mean zero.

    noise: the standard deviation of a point around its half circle. Raises ValueError unless it is
    positive and number at least 1.
    """
    if number < 1 or not noise > 0:
        raise ValueError(f"need number >= 1 and noise > 0, got {number} and {noise}")
    device = None if generator is None else generator.device
    angle = math.pi * torch.rand(number, generator=generator, device=device)
    sign = torch.randint(2, (number, 1), generator=generator, device=device) * 2 - 1
    eps = torch.randn(number, 2, generator=generator, device=device)
    return sign * _upper(angle) + noise * eps


def two_moons_log_prob(x: Tensor, noise: float = NOISE) -> Tensor:
    """The true log p(x): x [B, 2] -> [B], in nats.

    p(x) = 1/2 sum of both moons of the mean over a in (0, pi) of N(x; +-c(a), noise^2 I), the mean
    by the midpoint rule with 128 angles: at noise 0.1 off by 0.02 at most, past the ends of a moon.

    Raises ValueError unless x is [B, 2] and noise positive.
    """
    if x.dim() != 2 or x.size(1) != 2 or not noise > 0:
        raise ValueError(f"need x [B, 2] and noise > 0, got {list(x.shape)} and {noise}")
    steps = torch.arange(ANGLES, dtype=x.dtype, device=x.device) + 0.5
    centres = _upper(steps * (math.pi / ANGLES))
    centres = torch.cat([centres, -centres])  # [2 A, 2]
    # -||x - c||^2 / 2 = x . c - ||c||^2 / 2 - ||x||^2 / 2, the last the same for all c
    scores = torch.addmm(-centres.square().sum(1) / 2, x, centres.mT) / noise**2  # [B, 2 A]
    constant = math.log(2 * ANGLES) + math.log(2 * math.pi * noise**2)
    return scores.logsumexp(1) - x.square().sum(1) / (2 * noise**2) - constant


def two_moons_entropy(noise: float = NOISE) -> float:
    """-E[log p(x)] in nats, by a sum over a grid.

    No model's expected log-likelihood exceeds its negative; the mean over a sample may, by chance.
    """
    points, area = plane_grid()
    log_p = torch.cat([two_moons_log_prob(part, noise) for part in points.split(PIECE)])
    return -float((log_p.exp() * log_p).sum() * area)


def _upper(angle: Tensor) -> Tensor:
    """c(a): [...] -> [..., 2]."""
    return torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], -1)


class Grid(NamedTuple):
    """points [side^2, 2], the centres of square cells of one area, row by row from below."""

    points: Tensor
    area: float


def plane_grid(
    side: int = 200,
    reach: float = REACH,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> Grid:
    """side x side cells that fill the square -reach..reach in both directions.

    points[:, 0] is x and runs fastest, so that `values.view(side, side)` is an image whose first
    row has the lowest y. Raises ValueError unless side >= 1 and reach > 0.
    """
    if side < 1 or not reach > 0:
        raise ValueError(f"need side >= 1 and reach > 0, got {side} and {reach}")
    width = 2 * reach / side
    ticks = (torch.arange(side, dtype=dtype, device=device) + 0.5) * width - reach
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return Grid(torch.stack([x.flatten(), y.flatten()], -1), width**2)


def total_probability(log_prob: Callable[[Tensor], Tensor], grid: Grid | None = None) -> float:
    """The integral of exp(log_prob(x)) over a grid of the plane: 1 for a density that lies within.

    log_prob: points [N, 2] -> [N], asked in pieces and without gradients.
    """
    points, area = plane_grid() if grid is None else grid
    with torch.no_grad():
        mass = sum(log_prob(part).double().exp().sum() for part in points.split(PIECE))
    return float(mass) * area


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """2 E||a - b|| - E||a - a'|| - E||b - b'||: samples a [N, D], b [M, D] -> [], in units of x.

    Zero only where both come from one distribution, and it needs samples alone: a measure for
    models with a likelihood and without. This is the unbiased estimate (no point is paired with
    itself), so for one distribution it scatters around zero and may be slightly negative.

    Raises ValueError unless a and b hold at least 2 rows of one length.

    Source: Szekely and Rizzo, Journal of Statistical Planning and Inference 143, 2013.
    """
    if a.dim() != 2 or b.dim() != 2 or a.size(1) != b.size(1) or min(len(a), len(b)) < 2:
        raise ValueError(
            f"need samples a [N, D] and b [M, D] of at least 2 rows, got {list(a.shape)} and "
            f"{list(b.shape)}"
        )
    within = [torch.pdist(rows).mean() for rows in (a, b)]
    return 2 * torch.cdist(a, b).mean() - within[0] - within[1]
