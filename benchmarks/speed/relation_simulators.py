"""Simulations a second by system, ours in batches against `plain_simulations`, one at a time.

Both make 49 frames from random initial states with the library's default physics: 100 steps of
0.001 a frame (oscillators 10 of 0.01, balls 10 of 0.005). Ours draws the initial states too.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.memory import forget_peak, measure_apart, memory_mb, peak_memory_mb
from benchmarks.report import print_table
from benchmarks.speed import plain_simulations as plain
from course_lib.relations import simulate
from course_lib.relations.simulate import Simulations

FRAMES = 49
ROUNDS = 5  # medians are over so many
BARS = {"springs": 300.0, "charged": 70.0}  # ours is so many times as fast, on one thread
# simulations a measurement: enough for the batch to pay, few enough for a minute in all
BATCH = {
    "springs": 4096,
    "charged": 2048,
    "kuramoto": 1024,
    "n_body": 512,
    "bouncing_balls": 1024,
    "string": 512,
}
STRING = {"stiffness": 20.0, "rest_length": 2 / 9, "gravity": 0.3}


def ours(system: str, simulations: int, frames: int, seed: int = 0) -> Simulations:
    """`simulations` of the library."""
    generator = torch.Generator().manual_seed(seed)
    return getattr(simulate, system)(simulations, frames=frames, generator=generator)


def plainly(system: str, made: Simulations, index: int, frames: int) -> np.ndarray:
    """The frames that follow frame 0 of simulation `index`, by the plain specification."""
    first = made.states[index, :, 0].numpy()
    edges = made.edges[index].numpy().astype(np.float64)
    hidden = None if made.attributes is None else made.attributes[index].numpy()
    if system == "kuramoto":
        return plain.kuramoto(np.arctan2(first[:, 1], first[:, 2]), hidden, edges, frames)
    x, v = first[:, :2], first[:, 2:]
    stepped = {"dt": 0.001, "every": 100}
    if system == "springs":
        return plain.springs(x, v, edges, frames, box=5.0, **stepped)
    if system == "charged":
        return plain.charged(x, v, hidden, frames, box=5.0, **stepped)
    if system == "n_body":
        return plain.n_body(x, v, hidden, frames, **stepped)
    if system == "string":
        return plain.string(x, v, frames, **STRING, **stepped)
    return plain.bouncing_balls(x, v, hidden, frames, radius=0.15, box=1.0, dt=0.005, every=10)


def check_same(system: str) -> float:
    """The median over five simulations of the largest difference in a frame.

    One frame, since charged bodies are chaotic: a long path would compare rounding errors.

    Raises:
        AssertionError: where it exceeds 1e-9; the two ways then follow different laws.
    """
    made = ours(system, 5, frames=2)
    apart = [
        float(np.abs(plainly(system, made, s, 1)[:, 0] - made.states[s, :, 1].numpy()).max())
        for s in range(5)
    ]
    difference = statistics.median(apart)
    assert difference < 1e-9, f"{system}: ours and the plain loop differ by {difference:.1e}"
    return difference


def _seconds(call: Callable[..., Any], *arguments: Any) -> float:
    start = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - start


def measure_time(system: str) -> dict[str, float]:
    """Milliseconds a simulation of both ways, measured in turns."""
    batch = BATCH[system]
    made = ours(system, ROUNDS, frames=1)
    ours(system, batch, frames=2)  # warm up
    batched, alone = [], []
    for turn in range(ROUNDS):
        batched.append(_seconds(ours, system, batch, FRAMES, turn) / batch)
        alone.append(_seconds(plainly, system, made, turn, FRAMES))
    mine, plain_loop = statistics.median(batched), statistics.median(alone)
    return {
        "batch": batch,
        "milliseconds": round(1000 * mine, 4),
        "fastest": round(1000 * min(batched), 4),
        "slowest": round(1000 * max(batched), 4),
        "plain_milliseconds": round(1000 * plain_loop, 2),
        "simulations_a_second": round(1 / mine, 1),
        "plain_simulations_a_second": round(1 / plain_loop, 2),
        "ratio": round(plain_loop / mine, 1),
    }


def measure_memory_here(system: str) -> dict[str, float]:
    """Peak memory of this process over one batch, above what it held before, in MB."""
    ours(system, 8, frames=1)  # what torch sets up once
    forget_peak()
    before = memory_mb()
    ours(system, BATCH[system], FRAMES)
    return {"peak_mb": round(peak_memory_mb() - before, 1)}


def measure_memory(system: str, threads: int) -> dict[str, float]:
    """`measure_memory_here` in a fresh process."""
    arguments = ["--threads", str(threads), "--memory", system]
    return measure_apart("benchmarks.speed.relations", arguments, system)


def run(threads: int) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Print the table; return the figures by system and the bars missed."""
    systems, rows, missed = {}, [], []
    for system in BATCH:
        difference = check_same(system)
        figures = measure_time(system) | measure_memory(system, threads)
        figures["difference"] = difference
        bar = BARS.get(system)
        if bar is not None and figures["ratio"] < bar:
            missed.append(f"{system}: {figures['ratio']} times the plain loop is below {bar:.0f}")
        systems[system] = figures
        rows.append(
            [
                system,
                f"{figures['plain_simulations_a_second']:.1f}",
                f"{figures['simulations_a_second']:,.0f}",
                f"{figures['milliseconds']:.3f}",
                f"{figures['ratio']:,.0f}",
                "" if bar is None else f">= {bar:.0f}",
                f"{figures['peak_mb']:.0f}",
            ]
        )
    print_table(
        f"Simulations a second, {FRAMES} frames, CPU, {threads} thread(s), medians of {ROUNDS}",
        ["system", "plain, 1/s", "ours, 1/s", "ours, ms", "ratio", "bar", "peak MB"],
        rows,
        missed or ["all bars of the simulators met"],
    )
    return systems, missed
