"""Attention and the transformer's layers: ours against torch's, in one run; generation with a cache.

    python -m benchmarks.speed.attention [--device cpu] [--threads 1]

Five things, at sequence lengths T from 256 to 4096, H = 4 heads of 32 features (d = 128), float32:

    attention   F.scaled_dot_product_attention against our fused_attention, which calls it, and
                against `naive`, our scaled_dot_product_attention, which builds the T x T weights
    causal      the same, causal
    multi-head  nn.MultiheadAttention against ours, both without returning the weights
    encoder     nn.TransformerEncoderLayer against ours: post-norm, 512 hidden units
    evaluation  the same layers in evaluation mode and without gradients, forward only

All but the last are a forward and a backward pass in training mode, with gradients to the inputs
and the weights, and without dropout: with gradients neither side has a shortcut. In evaluation
torch's layer takes a fused path of its own ("fast path"), ours the same as ever; that comparison
has no bar. The ways have the same weights and are interleaved pass by pass. `times` is a way's
median time by torch's: 1 is as fast, 2 takes twice as long.

Generation: a GPT of 4 layers (d = 128) writes N tokens after the first, one by one, with the
key-value cache and without. `times` is the median by that with the cache.

Peak memory on the CPU is that of a child process a way, on a GPU what torch allocated.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.memory import forget_peak, measure_apart, memory_mb, peak_memory_mb
from benchmarks.report import environment, print_table, write_json
from course_lib.attention.generate import GPT, generate
from course_lib.attention.multihead import (
    MultiheadAttention,
    fused_attention,
    scaled_dot_product_attention,
)
from course_lib.attention.transformer import TransformerEncoderLayer
from course_lib.training import pick_device

HEADS, HEAD_SIZE = 4, 32
# T: (batch, how many rounds the median is over)
SIZES = {256: (4, 31), 512: (4, 21), 1024: (4, 11), 2048: (2, 9), 4096: (1, 9)}
FUNCTIONS = {
    "torch": F.scaled_dot_product_attention,
    "ours": fused_attention,
    "naive": scaled_dot_product_attention,
}
ATTENTIONS = {"torch": nn.MultiheadAttention, "ours": MultiheadAttention}
LAYERS = {"torch": nn.TransformerEncoderLayer, "ours": TransformerEncoderLayer}
WAYS = {
    "attention": FUNCTIONS,
    "causal": FUNCTIONS,
    "multi-head": ATTENTIONS,
    "encoder": LAYERS,
    "evaluation": LAYERS,
}
BARS = {"attention": 1.1, "causal": 1.1, "encoder": 1.3}  # for ours, on the CPU
WRITTEN = {128: 5, 512: 5}  # tokens to write: rounds
Pass = Callable[[], Tensor]


def prepare(
    kind: str, batch: int, steps: int, way: str, device: torch.device
) -> tuple[Pass, list[Tensor]]:
    """A forward pass, and the leaves that its backward pass gives gradients to.

    Inputs and weights are the same for all ways of a kind.
    """
    d = HEADS * HEAD_SIZE
    torch.manual_seed(0)
    if kind in ("attention", "causal"):
        shape = (batch, HEADS, steps, HEAD_SIZE)
        inputs = [torch.randn(shape).to(device).requires_grad_() for _ in range(3)]
        return partial(WAYS[kind][way], *inputs, is_causal=kind == "causal"), inputs
    x = torch.randn(batch, steps, d).to(device).requires_grad_()
    if kind == "multi-head":
        module = WAYS[kind][way](d, HEADS, batch_first=True).to(device)
        return lambda: module(x, x, x, need_weights=False)[0], [x, *module.parameters()]
    module = WAYS[kind][way](d, HEADS, 4 * d, dropout=0.0, batch_first=True).to(device)
    module.train(kind == "encoder")
    return partial(module, x), [x, *module.parameters()]


def passes(kind: str, forward: Pass, leaves: list[Tensor]) -> tuple[float, float]:
    """Seconds of one forward and of one backward pass (0 in evaluation); gradients stay in leaves."""
    device = leaves[0].device
    for leaf in leaves:
        leaf.grad = None
    start = _now(device)
    with torch.set_grad_enabled(kind != "evaluation"):
        output = forward()
    middle = _now(device)
    if kind == "evaluation":
        return middle - start, 0.0
    output.backward(output.detach())
    return middle - start, _now(device) - middle


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def check_same(kind: str, steps: int, device: torch.device) -> None:
    """Every way computes the same output and input gradient, else ratios mean nothing."""
    results = []
    for way in WAYS[kind]:
        forward, leaves = prepare(kind, SIZES[steps][0], steps, way, device)
        passes(kind, forward, leaves)
        with torch.no_grad():
            output = forward()
        results.append((output, output if leaves[0].grad is None else leaves[0].grad))
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-3, atol=1e-4)


def measure_time(kind: str, steps: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Median milliseconds of a forward and a backward pass of every way, measured in turns."""
    prepared = {way: prepare(kind, SIZES[steps][0], steps, way, device) for way in WAYS[kind]}
    for _ in range(2):
        for forward, leaves in prepared.values():
            passes(kind, forward, leaves)  # warm up
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in prepared}
    for _ in range(SIZES[steps][1]):
        for way, (forward, leaves) in prepared.items():
            times[way].append(tuple(1000 * s for s in passes(kind, forward, leaves)))
    totals = {way: [sum(parts) for parts in values] for way, values in times.items()}
    reference = statistics.median(totals["torch"])
    return {
        way: {
            "forward_milliseconds": round(statistics.median(f for f, _ in values), 3),
            "backward_milliseconds": round(statistics.median(b for _, b in values), 3),
            "milliseconds": round(statistics.median(totals[way]), 3),
            "fastest": round(min(totals[way]), 3),
            "slowest": round(max(totals[way]), 3),
            "times": round(statistics.median(totals[way]) / reference, 3),
        }
        for way, values in times.items()
    }


def measure_memory_here(kind: str, steps: int, way: str, device: torch.device) -> dict[str, float]:
    """Peak memory of three passes, in MB: in all, and above what inputs and weights took before.

    A pass over a few tokens goes before, so that what torch sets up at first use does not count.
    """
    passes(kind, *prepare(kind, 1, 8, way, device))
    forward, leaves = prepare(kind, SIZES[steps][0], steps, way, device)
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / 2**20
    else:
        forget_peak()
        before = memory_mb()
    for _ in range(3):
        passes(kind, forward, leaves)
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if on_gpu else peak_memory_mb()
    return {"peak_mb": round(peak, 1), "peak_above_start_mb": round(peak - before, 1)}


def measure_memory(
    kind: str, steps: int, way: str, device: torch.device, threads: int
) -> dict[str, float]:
    """`measure_memory_here` in a fresh process."""
    arguments = ["--threads", str(threads), "--device", str(device)]
    arguments += ["--memory", kind, str(steps), way]
    return measure_apart("benchmarks.speed.attention", arguments, f"{way} of {kind} at {steps}")


def measure_generation(count: int, device: torch.device) -> dict[str, dict[str, float]]:
    """Median seconds to write `count` tokens after one, with the cache and without, in turns.

    Raises AssertionError where the two write different tokens.
    """
    torch.manual_seed(0)
    model = GPT(65, HEADS * HEAD_SIZE, HEADS, 4, max_length=count + 1).to(device)
    prompt = torch.zeros(1, 1, dtype=torch.int64, device=device)
    times: dict[str, list[float]] = {"cached": [], "uncached": []}
    for _ in range(WRITTEN[count]):
        texts = []
        for way, seconds in times.items():
            start = _now(device)
            texts.append(generate(model, prompt, count, 0.0, use_cache=way == "cached"))
            seconds.append(_now(device) - start)
        assert torch.equal(*texts), "the cache changes what is written"
    reference = statistics.median(times["cached"])
    return {
        way: {
            "seconds": round(statistics.median(seconds), 3),
            "fastest": round(min(seconds), 3),
            "slowest": round(max(seconds), 3),
            "tokens_per_second": round(count / statistics.median(seconds), 1),
            "times": round(statistics.median(seconds) / reference, 2),
        }
        for way, seconds in times.items()
    }


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", help='"cpu" (default), "cuda", ...')
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--memory", nargs=3, metavar=("KIND", "T", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    if options.memory:
        kind, steps, way = options.memory
        print(json.dumps(measure_memory_here(kind, int(steps), way, device)))
        return 0
    start, started = time.perf_counter(), environment(device)
    kinds, rows, missed = {}, [], []
    for kind in WAYS:
        kinds[kind] = {}
        for steps, (batch, rounds) in SIZES.items():
            check_same(kind, steps, device)
            ways = measure_time(kind, steps, device)
            for way, figures in ways.items():
                figures.update(measure_memory(kind, steps, way, device, options.threads))
                bar = BARS.get(kind) if device.type == "cpu" and way == "ours" else None
                if bar is not None and figures["times"] > bar:
                    missed.append(f"{kind} at T {steps}: {figures['times']} is above {bar}")
                rows.append(_row(kind, steps, batch, way, figures, bar))
            kinds[kind][str(steps)] = {"batch": batch, "rounds": rounds, "ways": ways}
    print_table(
        f"Attention, H {HEADS}, d_h {HEAD_SIZE}, {device}, {options.threads} thread(s), medians",
        ["what", "way", "forward ms", "backward ms", "times", "bar", "peak MB above start"],
        rows,
        missed or ["all bars met" if device.type == "cpu" else "no bar on this device"],
    )
    written = {str(count): measure_generation(count, device) for count in WRITTEN}
    print_table(
        f"A GPT of 4 layers writes, {device}, {options.threads} thread(s), medians",
        ["tokens", "way", "seconds", "tokens a second", "times"],
        [
            [
                count,
                way,
                f"{f['seconds']:.2f}",
                f"{f['tokens_per_second']:.0f}",
                f"{f['times']:.1f}",
            ]
            for count, ways in written.items()
            for way, f in ways.items()
        ],
    )
    content = {"kinds": kinds, "generation": written, "bars_missed": missed}
    content["seconds"] = round(time.perf_counter() - start, 1)
    print(f"wrote {write_json('attention', 'small', started, content)}")
    return 1 if missed else 0


def _row(
    kind: str, steps: int, batch: int, way: str, figures: dict[str, float], bar: float | None
) -> list[str]:
    """A line of the table."""
    return [
        f"{kind}, T {steps}, B {batch}",
        way,
        f"{figures['forward_milliseconds']:.1f}",
        f"{figures['backward_milliseconds']:.1f}",
        f"{figures['times']:.2f}",
        "" if bar is None else f"<= {bar}",
        f"{figures['peak_above_start_mb']:.0f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
