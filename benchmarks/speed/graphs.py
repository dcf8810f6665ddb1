"""A training step of a two-layer GCN: ours against torch_geometric, both in one run, CPU.

    COURSE_DATA=/absolute/path python -m benchmarks.speed.graphs [--threads 1]

A step is forward, cross-entropy, backward and Adam. The ways, interleaved step by step:

    pyg        torch_geometric's GCNConv on edge_index, normalising anew each step (its default)
    edges      ours on edge_index, likewise
    csr        ours on a CSRMatrix: fixed coefficients, sorted once with the transpose
    csr+x      the same, with sparse features too (Cora)

Ratios are pyg's median time by ours: above 1 ours is faster. Setting up (sorting the edges) is
not in the step; its time is in the JSON file. Peak memory is that of a child process a way.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.memory import forget_peak, measure_apart, memory_mb, peak_memory_mb
from benchmarks.report import environment, print_table, write_json
from course_lib.data import citation_network
from course_lib.graphs.layers import GCNConv
from course_lib.graphs.message_passing import gcn_norm
from course_lib.graphs.sparse import CSRMatrix

try:
    import torch_geometric.nn as pyg
except ImportError:
    sys.exit("the peer is missing: install it with pip install -c constraints.txt -e '.[test]'")

HIDDEN = 16
ROUNDS = {"cora": 21, "random": 7}  # medians are over so many
STEPS = {"cora": 10, "random": 1}  # steps a measurement
WAYS = {"cora": ("pyg", "edges", "csr", "csr+x"), "random": ("pyg", "edges", "csr")}
BARS = {("cora", "edges"): 1.0, ("random", "edges"): 1.0, ("random", "csr"): 3.0}
Inputs = tuple[Tensor, Tensor, Tensor, int]


class TwoLayers(nn.Module):
    """conv, ReLU, conv: the same network for both libraries."""

    def __init__(self, conv: Callable[..., nn.Module], num_features: int, classes: int) -> None:
        super().__init__()
        self.first, self.second = conv(num_features, HIDDEN), conv(HIDDEN, classes)

    def forward(self, x: Any, edge_index: Any) -> Tensor:
        return self.second(F.relu(self.first(x, edge_index)), edge_index)


def load(name: str) -> tuple[Inputs, str]:
    """x, edge_index, y, classes of a graph, and a line that says which it is."""
    if name == "cora":
        graph = citation_network("cora")
        inputs = (graph.x, graph.edge_index, graph.y, graph.num_classes)
        return inputs, f"Cora ({graph.source}), {graph.num_features} features"
    generator = torch.Generator().manual_seed(0)
    num_nodes, num_edges, features, classes = 100_000, 1_000_000, 64, 8
    edge_index = torch.randint(num_nodes, (2, num_edges), generator=generator)
    x = torch.randn(num_nodes, features, generator=generator)
    y = torch.randint(classes, (num_nodes,), generator=generator)
    return (x, edge_index, y, classes), f"random, {num_nodes:,} nodes, {num_edges:,} edges"


def prepare(way: str, inputs: Inputs) -> tuple[nn.Module, Any, Any]:
    """The model and what it is called with: the work done once before training."""
    x, edge_index, _, classes = inputs
    torch.manual_seed(0)
    model = TwoLayers(pyg.GCNConv if way == "pyg" else GCNConv, x.size(1), classes)
    if way.startswith("csr"):
        num_nodes = x.size(0)
        matrix = CSRMatrix.from_edges(*gcn_norm(edge_index, num_nodes=num_nodes), num_nodes)
        _ = matrix.T
        edge_index = matrix
    if way.endswith("+x"):
        x = CSRMatrix.from_dense(x)
        _ = x.T
    return model, x, edge_index


def stepper(way: str, inputs: Inputs) -> tuple[Callable[[], None], nn.Module, float]:
    """A function that takes one training step, its model, and the seconds to prepare it."""
    start = time.perf_counter()
    model, x, edge_index = prepare(way, inputs)
    seconds = time.perf_counter() - start
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    y = inputs[2]

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x, edge_index), y).backward()
        optimizer.step()

    return step, model, seconds


def check_same(name: str, inputs: Inputs) -> None:
    """With the same weights every way computes the same logits, else ratios mean nothing."""
    oracle, x, edge_index = prepare("pyg", inputs)
    with torch.no_grad():
        expected = oracle(x, edge_index)
        for way in WAYS[name][1:]:
            model, x, edge_index = prepare(way, inputs)
            model.load_state_dict(oracle.state_dict())
            torch.testing.assert_close(model(x, edge_index), expected, rtol=1e-4, atol=1e-4)


def measure_time(name: str, inputs: Inputs) -> dict[str, dict[str, float]]:
    """Median milliseconds a step of every way, measured in turns."""
    steps = {way: stepper(way, inputs) for way in WAYS[name]}
    for step, _, _ in steps.values():
        step()  # warm up
        step()
    times: dict[str, list[float]] = {way: [] for way in steps}
    for _ in range(ROUNDS[name]):
        for way, (step, _, _) in steps.items():
            start = time.perf_counter()
            for _ in range(STEPS[name]):
                step()
            times[way].append(1000 * (time.perf_counter() - start) / STEPS[name])
    reference = statistics.median(times["pyg"])
    return {
        way: {
            "milliseconds": round(statistics.median(values), 3),
            "fastest": round(min(values), 3),
            "slowest": round(max(values), 3),
            "ratio": round(reference / statistics.median(values), 2),
            "set_up_milliseconds": round(1000 * steps[way][2], 1),
        }
        for way, values in times.items()
    }


def measure_memory_here(name: str, way: str) -> dict[str, float]:
    """Peak memory of this process over preparation and three steps, in MB, and above the data's."""
    inputs, _ = load(name)
    forget_peak()  # that of loading
    before = memory_mb()
    step, _, _ = stepper(way, inputs)
    for _ in range(3):
        step()
    peak = peak_memory_mb()
    return {"peak_mb": round(peak, 1), "peak_above_data_mb": round(peak - before, 1)}


def measure_memory(name: str, way: str, threads: int) -> dict[str, float]:
    """`measure_memory_here` in a fresh process."""
    arguments = ["--threads", str(threads), "--memory", name, way]
    return measure_apart("benchmarks.speed.graphs", arguments, f"{way} on {name}")


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--memory", nargs=2, metavar=("GRAPH", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.memory:
        print(json.dumps(measure_memory_here(*options.memory)))
        return 0
    start, started = time.perf_counter(), environment(torch.device("cpu"))
    graphs, rows, missed = {}, [], []
    for name in ("cora", "random"):
        inputs, title = load(name)
        check_same(name, inputs)
        ways = measure_time(name, inputs)
        for way, figures in ways.items():
            figures.update(measure_memory(name, way, options.threads))
            bar = BARS.get((name, way))
            if bar is not None and figures["ratio"] < bar:
                missed.append(f"{way} on {name}: {figures['ratio']} is below {bar}")
            rows.append(
                [
                    title,
                    way,
                    f"{figures['milliseconds']:.2f}",
                    f"{figures['ratio']:.2f}",
                    "" if bar is None else f">= {bar}",
                    f"{figures['peak_mb']:.0f}",
                    f"{figures['peak_above_data_mb']:.0f}",
                ]
            )
        graphs[name] = {"graph": title, "rounds": ROUNDS[name], "ways": ways}
    print_table(
        f"A training step, {options.threads} thread(s), medians",
        ["graph", "way", "ms", "ratio", "bar", "peak MB", "above data MB"],
        rows,
        missed or ["all bars met"],
    )
    content = {"graphs": graphs, "bars_missed": missed}
    content["seconds"] = round(time.perf_counter() - start, 1)
    print(f"wrote {write_json('graphs', 'small', started, content)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
