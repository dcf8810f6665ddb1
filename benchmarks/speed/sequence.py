"""A forward and a backward pass of an LSTM: ours against torch.nn's, in one run.

    python -m benchmarks.speed.sequence [--device cpu] [--threads 1]

The ways, interleaved pass by pass, all with the same weights:

    torch      nn.LSTM: one call into C++ (or cuDNN)
    ours       course_lib.sequence.recurrent.LSTM: a Python loop, inputs projected before it
    cells      a Python loop over nn.LSTMCell, which projects each step's input in the loop

The backward pass gives gradients to the weights and to the inputs. `times` is a way's median time,
forward and backward together, by nn.LSTM's: 1 is as fast, 2 takes twice as long. The bar holds on
the CPU from batch 32 on: below that, and on a GPU, the loop's overhead a step is all there is to see.
Peak memory on the CPU is that of a child process a way, on a GPU what torch allocated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time

import torch
from torch import Tensor, nn

from benchmarks.memory import forget_peak, measure_apart, memory_mb, peak_memory_mb
from benchmarks.report import environment, print_table, write_json
from course_lib.sequence.recurrent import LSTM
from course_lib.training import pick_device

# name: steps T, batch B, features I, hidden units H
SIZES = {
    "narrow": (60, 8, 32, 64),
    "small": (60, 32, 32, 64),
    "middle": (100, 64, 64, 128),
    "large": (60, 128, 128, 256),
}
ROUNDS = {"narrow": 31, "small": 31, "middle": 11, "large": 7}  # medians are over so many
WAYS = ("torch", "ours", "cells")
BAR, BAR_FROM_BATCH = 2.6, 32


class CellLoop(nn.Module):
    """nn.LSTMCell in a loop: what one writes first."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(input_size, hidden_size)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """[T, B, I] -> [T, B, H], as nn.LSTM."""
        h = c = x.new_zeros(x.size(1), self.cell.hidden_size)
        hidden = []
        for step in x.unbind(0):
            h, c = self.cell(step, (h, c))
            hidden.append(h)
        return torch.stack(hidden), (h, c)


def prepare(way: str, size: str, device: torch.device) -> tuple[nn.Module, Tensor]:
    """The model of a way, with the weights that all ways have, and its input [T, B, I]."""
    steps, batch, features, hidden = SIZES[size]
    torch.manual_seed(0)
    weights = nn.LSTM(features, hidden).state_dict()
    x = torch.randn(steps, batch, features)
    if way == "cells":
        model: nn.Module = CellLoop(features, hidden)
        weights = {f"cell.{name.removesuffix('_l0')}": value for name, value in weights.items()}
    else:
        model = (LSTM if way == "ours" else nn.LSTM)(features, hidden)
    model.load_state_dict(weights)
    return model.to(device), x.to(device).requires_grad_()


def passes(model: nn.Module, x: Tensor) -> tuple[float, float]:
    """Seconds of one forward and of one backward pass; gradients are left in x and the model."""
    model.zero_grad()
    x.grad = None
    start = _now(x.device)
    output, _ = model(x)
    middle = _now(x.device)
    output.backward(output.detach())
    return middle - start, _now(x.device) - middle


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def check_same(size: str, device: torch.device) -> None:
    """Every way computes the same outputs and input gradients, else ratios mean nothing."""
    results = []
    for way in WAYS:
        model, x = prepare(way, size, device)
        passes(model, x)
        results.append((model(x)[0].detach(), x.grad))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-3, atol=1e-4)


def measure_time(size: str, device: torch.device) -> dict[str, dict[str, float]]:
    """Median milliseconds of a forward and a backward pass of every way, measured in turns."""
    prepared = {way: prepare(way, size, device) for way in WAYS}
    for model, x in prepared.values():
        passes(model, x)  # warm up
        passes(model, x)
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS[size]):
        for way, (model, x) in prepared.items():
            forward, backward = passes(model, x)
            times[way].append((1000 * forward, 1000 * backward))
    totals = {way: [sum(parts) for parts in values] for way, values in times.items()}
    reference = statistics.median(totals["torch"])
    return {
        way: {
            "forward_milliseconds": round(statistics.median(f for f, _ in values), 3),
            "backward_milliseconds": round(statistics.median(b for _, b in values), 3),
            "milliseconds": round(statistics.median(totals[way]), 3),
            "fastest": round(min(totals[way]), 3),
            "slowest": round(max(totals[way]), 3),
            "times": round(statistics.median(totals[way]) / reference, 2),
        }
        for way, values in times.items()
    }


def measure_memory_here(size: str, way: str, device: torch.device) -> dict[str, float]:
    """Peak memory of three passes, in MB: in all, and above what model and input took before."""
    model, x = prepare(way, size, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / 2**20
    else:
        forget_peak()
        before = memory_mb()
    for _ in range(3):
        passes(model, x)
    on_gpu = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else peak_memory_mb()
    return {"peak_mb": round(peak, 1), "peak_above_start_mb": round(peak - before, 1)}


def measure_memory(size: str, way: str, device: torch.device, threads: int) -> dict[str, float]:
    """`measure_memory_here` in a fresh process."""
    arguments = ["--threads", str(threads), "--device", str(device), "--memory", size, way]
    return measure_apart("benchmarks.speed.sequence", arguments, f"{way} at {size}")


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help='"cpu" (default), "cuda", ...')
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--memory", nargs=2, metavar=("SIZE", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    if options.memory:
        print(json.dumps(measure_memory_here(*options.memory, device)))
        return 0
    start, started = time.perf_counter(), environment(device)
    sizes, rows, missed = {}, [], []
    for size, (steps, batch, features, hidden) in SIZES.items():
        check_same(size, device)
        ways = measure_time(size, device)
        barred = device.type == "cpu" and batch >= BAR_FROM_BATCH
        for way, figures in ways.items():
            figures.update(measure_memory(size, way, device, options.threads))
            bar = BAR if barred and way == "ours" else None
            if bar is not None and figures["times"] > bar:
                missed.append(f"{way} at {size}: {figures['times']} is above {bar}")
            rows.append(
                [
                    f"T {steps}, B {batch}, I {features}, H {hidden}",
                    way,
                    f"{figures['forward_milliseconds']:.2f}",
                    f"{figures['backward_milliseconds']:.2f}",
                    f"{figures['times']:.2f}",
                    "" if bar is None else f"<= {bar}",
                    f"{figures['peak_above_start_mb']:.0f}",
                ]
            )
        shape = {"steps": steps, "batch": batch, "features": features, "hidden": hidden}
        sizes[size] = {**shape, "rounds": ROUNDS[size], "ways": ways}
    print_table(
        f"An LSTM, forward and backward, {device}, {options.threads} thread(s), medians",
        ["size", "way", "forward ms", "backward ms", "times", "bar", "peak MB above start"],
        rows,
        missed or ["all bars met" if device.type == "cpu" else "no bar on this device"],
    )
    content = {"sizes": sizes, "bars_missed": missed}
    content["seconds"] = round(time.perf_counter() - start, 1)
    print(f"wrote {write_json('sequence', 'small', started, content)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
