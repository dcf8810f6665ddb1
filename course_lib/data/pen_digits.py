"""Digits as a pen writes them: eight points in order, and a procedural twin of the same shape."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from course_lib.data.array_pickle import MalformedFile
from course_lib.data.fetch import DataUnavailable, fetch

POINTS = 8  # a digit
SIZES = 7494, 3498  # digits to train, to test
FINE = 64  # points of a template before it is bent and read off at fewer
WAVES = 3  # of the smooth bending along a stroke
BENDING, SLANT, PACE = 0.085, 0.22, 0.05  # how much hands differ, in units of a digit's box

# Ways to write each digit: corners in the order of the pen, x to the right and y upwards, 0..100.
WAYS: dict[int, tuple[tuple[tuple[int, int], ...], ...]] = {
    0: (
        ((50, 100), (10, 80), (0, 40), (25, 5), (60, 0), (95, 30), (100, 70), (75, 95), (45, 98)),
        ((0, 60), (10, 12), (50, 0), (90, 25), (100, 65), (70, 98), (25, 95), (3, 62)),
    ),
    1: (
        ((0, 60), (40, 85), (80, 100), (65, 60), (50, 30), (35, 0)),
        ((25, 70), (60, 100), (58, 50), (55, 5), (0, 0), (100, 0)),
    ),
    2: (
        ((5, 80), (40, 100), (80, 85), (70, 55), (30, 20), (0, 0), (50, 4), (100, 0)),
        ((0, 75), (45, 100), (85, 80), (50, 35), (5, 5), (15, 20), (45, 8), (100, 0)),
    ),
    3: (
        ((5, 85), (50, 100), (90, 80), (40, 55), (95, 35), (80, 5), (40, 0), (0, 12)),
        ((0, 95), (95, 100), (45, 60), (90, 45), (95, 15), (50, 0), (5, 5)),
    ),
    4: (
        ((40, 100), (5, 45), (50, 40), (100, 45), (80, 80), (70, 40), (60, 0)),
        ((0, 100), (5, 55), (60, 45), (100, 60), (95, 98), (85, 50), (75, 0)),
    ),
    5: (
        ((95, 100), (20, 98), (10, 60), (60, 60), (95, 35), (70, 5), (0, 5)),
        ((15, 90), (10, 55), (60, 55), (75, 25), (40, 0), (0, 10), (10, 85), (100, 100)),
    ),
    6: (
        ((70, 100), (25, 70), (0, 30), (30, 0), (85, 5), (95, 35), (50, 45), (10, 25)),
        ((100, 100), (55, 85), (10, 45), (5, 10), (50, 0), (90, 20), (60, 42), (15, 30)),
    ),
    7: (
        ((0, 95), (50, 100), (95, 95), (65, 50), (45, 0)),
        ((0, 92), (45, 100), (90, 92), (65, 45), (45, 0), (15, 40), (60, 50), (100, 50)),
    ),
    8: (
        ((85, 85), (45, 100), (15, 75), (55, 50), (90, 20), (45, 0), (5, 20), (50, 50), (90, 90)),
        ((45, 52), (10, 78), (50, 100), (90, 78), (50, 50), (5, 20), (50, 0), (95, 25), (50, 54)),
    ),
    9: (
        ((90, 80), (45, 100), (5, 70), (45, 50), (90, 80), (85, 40), (60, 0)),
        ((90, 85), (40, 100), (5, 72), (50, 55), (95, 85), (90, 35), (50, 0), (5, 8)),
    ),
}


@dataclass(frozen=True)
class PenDigits:
    """Digits as the points of a pen, to train on and to test on.

    Args:
        train_points, test_points: float32 [N, 8, 2], x to the right and y upwards, whole numbers
            in 0..100, spaced evenly along the stroke. Lifted pens are not marked.
        train_labels, test_labels: int64 [N], the digit.
        source: "real" or "twin".
    """

    train_points: Tensor
    train_labels: Tensor
    test_points: Tensor
    test_labels: Tensor
    source: str


def pen_digits(*, seed: int = 0) -> PenDigits:
    """The pen digits of UCI, or their twin where the files cannot be had.

    Prints one line that begins with "real:" or "twin:". The twin has the same sizes and the same
    form (`procedural_strokes`); `seed` selects it, and has no effect on real data.

    Raises ValueError for a wrong $COURSE_DATA, and ChecksumError or MalformedFile for files that
    are there but damaged: only missing files lead to the twin.

    Source: Alpaydin and Alimoglu, Pen-Based Recognition of Handwritten Digits, UCI, 1996.
    """
    try:
        digits = load_pen_digits()
    except DataUnavailable:
        digits = twin_digits(seed)
        remark = "procedural strokes; for people's digits set COURSE_DATA or connect"
    else:
        remark = "pen digits of 44 writers"
    print(
        f"{digits.source}: {remark} ({len(digits.train_labels):,} to train, "
        f"{len(digits.test_labels):,} to test, {POINTS} points each)"
    )
    return digits


def load_pen_digits() -> PenDigits:
    """The real pen digits: 7,494 of 30 writers to train, 3,498 of 14 others to test.

    Raises what `fetch` raises, and MalformedFile for a file that is not 17 whole numbers a line.
    """
    train = read_pen_digits(fetch("pendigits/pendigits.tra"))
    test = read_pen_digits(fetch("pendigits/pendigits.tes"))
    return PenDigits(*train, *test, source="real")


def read_pen_digits(path: Path) -> tuple[Tensor, Tensor]:
    """Points float32 [N, 8, 2] and labels int64 [N] of a file with lines x1, y1, ..., y8, digit.

    Raises MalformedFile where it is anything else.
    """
    try:
        rows = np.loadtxt(path, delimiter=",", dtype=np.int64, ndmin=2)
    except ValueError as error:
        raise MalformedFile(f"{path} must hold whole numbers, with commas: {error}") from None
    if rows.shape[0] == 0 or rows.shape[1] != 2 * POINTS + 1:
        raise MalformedFile(f"{path} must hold {2 * POINTS + 1} numbers a line, got {rows.shape}")
    points, labels = rows[:, :-1], rows[:, -1]
    if points.min() < 0 or points.max() > 100 or labels.min() < 0 or labels.max() > 9:
        raise MalformedFile(f"{path} must hold coordinates in 0..100 and digits in 0..9")
    shaped = torch.from_numpy(points.astype(np.float32)).view(-1, POINTS, 2)
    return shaped, torch.from_numpy(labels.copy())


def twin_digits(seed: int = 0, sizes: tuple[int, int] = SIZES) -> PenDigits:
    """Procedural digits in the form of the real ones: rounded to whole numbers, `sizes` of them."""
    generator = Generator().manual_seed(seed)
    parts = []
    for size in sizes:
        labels = torch.arange(size) % 10
        labels = labels[torch.randperm(size, generator=generator)]
        parts += [procedural_strokes(labels, generator).round(), labels]
    return PenDigits(*parts, source="twin")


def procedural_strokes(labels: Tensor, generator: Generator, points: int = POINTS) -> Tensor:
    """Strokes of the digits `labels` [B]: float32 [B, points, 2], evenly spaced, in 0..100.

    For each digit one of its ways to be written is drawn, bent by a few slow random waves along
    the stroke, slanted, read off at `points` places of equal distance along it (the ends
    included, the places slightly off, as hands are), and stretched to its box: x and y each run
    from 0 to 100.

    Raises ValueError for labels other than int64 digits [B], or fewer than 2 points.
    """
    if labels.dtype != torch.int64 or labels.dim() != 1:
        raise ValueError(
            f"labels must be int64 [B], got {labels.dtype} {list(labels.shape)}: cast and flatten"
        )
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) <= 9:
        raise ValueError(f"labels must be digits 0..9, got {labels.min()}..{labels.max()}")
    if points < 2:
        raise ValueError(f"a stroke needs at least 2 points, got {points}")
    device, batch = generator.device, len(labels)
    labels = labels.to(device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    ways = torch.randint(2, (batch,), generator=generator, device=device)
    stroke = _templates().to(device)[labels, ways]  # [B, FINE, 2], in 0..1
    place = torch.linspace(0, 1, FINE, device=device)
    number = torch.arange(1, WAVES + 1, device=device)
    waves = torch.sin(torch.pi * number * place[:, None] + 2 * torch.pi * number / WAVES)
    bend = (normal(batch, WAVES, 2) * BENDING).transpose(1, 2) @ waves.t()  # [B, 2, FINE]
    stroke = stroke + bend.transpose(1, 2)
    slant = SLANT * normal(batch, 1) * (stroke[..., 1] - 0.5)
    stroke = torch.stack([stroke[..., 0] + slant, stroke[..., 1]], dim=-1)
    pace = PACE / (points - 1) * normal(batch, points)
    return 100 * _boxed(_along(stroke, points, pace))


def _templates() -> Tensor:
    """The ways to write the digits, each at FINE evenly spaced points: [10, 2, FINE, 2] in 0..1."""
    fine = [
        [_along(torch.tensor(way)[None] / 100, FINE)[0] for way in WAYS[digit]]
        for digit in range(10)
    ]
    return torch.stack([torch.stack(ways) for ways in fine])


def _along(stroke: Tensor, points: int, pace: Tensor | float = 0.0) -> Tensor:
    """The polygon `stroke` [B, K, 2] at `points` places even along it (+ `pace`, of its length)."""
    lengths = (stroke[:, 1:] - stroke[:, :-1]).norm(dim=-1)
    upto = torch.nn.functional.pad(lengths.cumsum(1), (1, 0))  # [B, K], length from the start
    even = torch.linspace(0, 1, points, device=stroke.device)
    wanted = (even + pace).clamp(0, 1) * upto[:, -1:]
    wanted = wanted.sort(dim=1).values
    after = torch.searchsorted(upto, wanted.contiguous()).clamp(1, stroke.shape[1] - 1)
    start, end = upto.gather(1, after - 1), upto.gather(1, after)
    share = ((wanted - start) / (end - start).clamp_min(1e-9)).clamp(0, 1)[..., None]
    index = after[..., None].expand(-1, -1, 2)
    return stroke.gather(1, index - 1) * (1 - share) + stroke.gather(1, index) * share


def _boxed(stroke: Tensor) -> Tensor:
    """Stretched so that x and y each run from 0 to 1."""
    low, high = stroke.amin(1, keepdim=True), stroke.amax(1, keepdim=True)
    return (stroke - low) / (high - low).clamp_min(1e-9)
