"""Tasks that ask for memory: seeded generators of whole batches, on the generator's device.

Each returns (inputs, targets) with the batch first, [B, T, ...]. `Mackey-Glass` is one series a
row and returns it alone: its targets are its own later values.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Generator, Tensor

from course_lib.data.pen_digits import procedural_strokes


def copy_task(
    batch: int, length: int, delay: int, generator: Generator, *, symbols: int = 8
) -> tuple[Tensor, Tensor]:
    """Remember `length` symbols, wait `delay` steps, then say them.

    inputs int64 [B, T] with T = 2 length + delay: the symbols 0..symbols-1, then blanks (the
    number `symbols`), with the signal to speak (`symbols + 1`) at the last of the `delay` steps.
    targets int64 [B, T]: blanks up to the signal, then the symbols. One-hot inputs are
    symbols + 2 wide; without memory the best cross-entropy is length log(symbols) / T.

    Source: Hochreiter and Schmidhuber, Long short-term memory, 1997, in the form of Arjovsky, Shah
    and Bengio, Unitary evolution recurrent neural networks, 2016.

    Raises ValueError for a count below 1 (`symbols`: below 2).
    """
    _at_least(1, batch=batch, length=length, delay=delay)
    _at_least(2, symbols=symbols)
    device = generator.device
    said = torch.randint(symbols, (batch, length), generator=generator, device=device)
    blank = torch.full((batch, length + delay), symbols, device=device)
    signal = blank.clone()
    signal[:, delay - 1] = symbols + 1
    return torch.cat([said, signal], dim=1), torch.cat([blank, said], dim=1)


def adding_problem(
    batch: int, length: int, generator: Generator, *, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Add the two marked numbers of a long row.

    inputs [B, T, 2]: channel 0 holds numbers uniform in 0..1, channel 1 marks two of them with a
    one, one in each half (the first half is the shorter where T is odd). targets [B]: their sum.
    Who always answers 1 has a mean squared error of 2 / 12 = 0.167.

    Source: Hochreiter and Schmidhuber, Long short-term memory, 1997.

    Raises ValueError for a batch below 1 or a length below 2.
    """
    _at_least(1, batch=batch)
    _at_least(2, length=length)
    device, half = generator.device, length // 2
    numbers = torch.rand(batch, length, generator=generator, device=device, dtype=dtype)
    first = torch.randint(half, (batch,), generator=generator, device=device)
    second = torch.randint(half, length, (batch,), generator=generator, device=device)
    places = torch.stack([first, second], dim=1)  # [B, 2]
    marks = torch.zeros_like(numbers).scatter_(1, places, 1.0)
    return torch.stack([numbers, marks], dim=2), numbers.gather(1, places).sum(1)


def parity(
    batch: int, length: int, generator: Generator, *, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Is the number of ones so far odd? Two states suffice, and no step may be missed.

    inputs [B, T, 1]: random bits. targets [B, T]: 1.0 where the ones up to and including this
    step are odd in number, else 0.0.

    Raises ValueError for a count below 1.
    """
    _at_least(1, batch=batch, length=length)
    bits = torch.randint(2, (batch, length), generator=generator, device=generator.device)
    return bits[..., None].to(dtype), (bits.cumsum(1) % 2).to(dtype)


def binary_addition(
    batch: int, bits: int, generator: Generator, *, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Add two numbers of `bits` random bits, the lowest bit first, as on paper.

    inputs [B, T, 2] with T = bits + 1: a bit of either number at each step, and two zeros at the
    last, so that the last carry comes out. targets [B, T]: the bits of the sum.

    Raises ValueError for a count below 1.
    """
    _at_least(1, batch=batch, bits=bits)
    device = generator.device
    pairs = torch.randint(2, (batch, bits, 2), generator=generator, device=device)
    pairs = torch.nn.functional.pad(pairs, (0, 0, 0, 1))  # [B, bits, 2] -> [B, bits + 1, 2]
    return pairs.to(dtype), _sum_bits(pairs).to(dtype)


def _sum_bits(pairs: Tensor) -> Tensor:
    """The bits of the sum, lowest first, [B, T, 2] -> [B, T], without a loop over steps.

    A step with two ones makes a carry, one with two zeros ends it, any other passes on what the
    last such step decided: step `decided`, found by a running maximum.
    """
    steps = torch.arange(1, pairs.shape[1] + 1, device=pairs.device)
    ones = pairs.sum(2)  # [B, T] in 0..2
    decided = torch.where(ones != 1, steps, 0).cummax(1).values  # 0: none yet, so no carry
    makes = torch.nn.functional.pad((ones == 2).long(), (1, 0))  # [B, T + 1]
    carry_out = makes.gather(1, decided)
    carry_in = torch.nn.functional.pad(carry_out[:, :-1], (1, 0))
    return (ones + carry_in) % 2


def mackey_glass(
    batch: int,
    length: int,
    generator: Generator,
    *,
    tau: float = 17.0,
    washout: int = 1000,
    steps: int = 10,
    dtype: torch.dtype = torch.float64,
) -> Tensor:
    """Series [B, length] of the Mackey-Glass equation, one value a unit of time.

        dx/dt = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t)

    For tau = 17 it is mildly chaotic: two histories drift apart, by a factor of e in some 150
    units of time. Each row begins from a random history near 1.2 and drops its first `washout`
    values. Within one tau the delayed term is already known, so the equation is linear with a
    known drive: it is solved exactly for a drive that is straight between grid points, `steps` of
    them a unit of time, a whole tau at once.

    Source: Mackey and Glass, Oscillation and chaos in physiological control systems, 1977.

    Raises ValueError for a count below 1, or a tau that is not a positive multiple of 1 / steps.
    """
    _at_least(1, batch=batch, length=length, steps=steps)
    _at_least(0, washout=washout)
    lag = round(tau * steps)  # grid points in one tau
    if lag < 1 or not math.isclose(lag, tau * steps, abs_tol=1e-6):
        raise ValueError(f"tau must be a positive multiple of 1 / {steps}, got {tau}")
    decay, g = math.exp(-0.1 / steps), 0.1 / steps
    late = (1 - (1 - decay) / g) / 0.1  # weights of the drive at a step's two ends
    early = (1 - decay) / 0.1 - late
    fade = decay ** np.arange(1, lag + 1)  # what is left of x after so many steps
    noise = torch.rand(batch, 1, generator=generator, device=generator.device, dtype=torch.float64)
    past = (1.1 + 0.2 * noise).cpu().numpy().repeat(lag + 1, axis=1)  # x from -tau to 0
    chunks = [past[:, -1:]]
    for _ in range(math.ceil((washout + length) * steps / lag)):
        drive = 0.2 * past / (1 + past**10)  # [B, lag + 1]
        push = early * drive[:, :-1] + late * drive[:, 1:]
        ahead = fade * (past[:, -1:] + np.cumsum(push / fade, axis=1))
        chunks.append(ahead)
        past = np.concatenate([past[:, -1:], ahead], axis=1)
    series = np.concatenate(chunks, axis=1)[:, ::steps][:, washout : washout + length]
    return torch.from_numpy(series.copy()).to(generator.device, dtype)


def strokes(
    batch: int, generator: Generator, *, points: int = 8, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """Which digit does the pen write? Procedural digits, never twice the same.

    inputs [B, points, 2]: x and y of the pen, each in -1..1 (`as_strokes`). targets int64 [B].

    Raises ValueError for a batch below 1 or fewer than 2 points.
    """
    _at_least(1, batch=batch)
    labels = torch.randint(10, (batch,), generator=generator, device=generator.device)
    return as_strokes(procedural_strokes(labels, generator, points)).to(dtype), labels


def as_strokes(points: Tensor) -> Tensor:
    """Pen points in 0..100 as inputs of a network in -1..1, of the same shape [..., 2]."""
    return points / 50 - 1


def _at_least(least: int, **counts: int) -> None:
    for name, count in counts.items():
        if count < least:
            raise ValueError(f"{name} must be at least {least}, got {count}")
