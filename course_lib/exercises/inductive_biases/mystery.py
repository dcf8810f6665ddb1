"""Data sets whose rule is known to nobody but the generator: four kinds, one for each family of models.

A row of x is 96 coin tosses, +1 or -1. The target is a function of the row plus noise; the four kinds differ in which
function. No kind can be predicted from what another family sees, beyond a few per cent of the variance, so a family's
error on rows that it was not fitted to tells which kind it is.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LENGTH = 96  # tosses a row
NOISE = 0.25  # standard deviation, where the rule's own is about 1
POSITIONS, PATTERN, SET, RECENT = range(4)
NAMES = ("positions", "pattern", "set", "recent")


def mystery_data(kind: int, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A data set of one kind with a rule drawn at random: x [rows, 96] of +1 and -1, y [rows].

    Args:
        kind: 0, a weight for each position; 1, how often three-letter words occur, wherever they stand;
            2, how many +1 there are, in any order; 3, the last three tosses.
        generator: decides the rule, the rows and the noise.

    Raises ValueError for another kind.
    """
    if kind not in range(len(NAMES)):
        raise ValueError(f"kind must be 0, 1, 2 or 3 ({', '.join(NAMES)}), got {kind!r}")
    x = 2.0 * torch.randint(0, 2, (rows, LENGTH), generator=generator) - 1.0
    rule = (_positions, _pattern, _set, _recent)[kind]
    return x, rule(x, generator) + NOISE * torch.randn(rows, generator=generator)


def _unit(size: int, generator: torch.Generator) -> Tensor:
    """A random direction [size] of length one."""
    drawn = torch.randn(size, generator=generator)
    return drawn / drawn.norm()


def _positions(x: Tensor, generator: torch.Generator) -> Tensor:
    return x @ _unit(LENGTH, generator)


def _pattern(x: Tensor, generator: torch.Generator) -> Tensor:
    """Sums of products of neighbours: what word counts hold beyond the number of +1."""
    pairs, apart = x[:, 1:] * x[:, :-1], x[:, 2:] * x[:, :-2]
    triples = pairs[:, 1:] * x[:, :-2]
    sums = torch.stack([each.sum(1) / LENGTH**0.5 for each in (pairs, apart, triples)], dim=1)
    return sums @ _unit(3, generator)  # [rows, 3] -> [rows]


def levels(x: Tensor) -> Tensor:
    """Which of eight bands the number of +1 in each row lies in: int64 [rows]; the order of a row is ignored."""
    return torch.bucketize(x.sum(1), torch.arange(-12.0, 13.0, 4.0))


def _set(x: Tensor, generator: torch.Generator) -> Tensor:
    """A wave over the eight bands, of two to four bands a period: no single position predicts it."""
    frequency, phase = torch.rand(2, generator=generator).tolist()
    return 2**0.5 * torch.sin((1.6 + 0.8 * frequency) * levels(x) + 2 * math.pi * phase)


def _recent(x: Tensor, generator: torch.Generator) -> Tensor:
    """Products of the last three tosses; no single toss predicts them."""
    a, b, c = x[:, -3:].T
    return torch.stack([a * b, b * c, a * c, a * b * c], dim=1) @ _unit(4, generator)
