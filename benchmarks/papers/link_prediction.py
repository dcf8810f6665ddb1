"""Link prediction on citation networks: the graph autoencoder and the variational one, as published.

    COURSE_DATA=/absolute/path python -m benchmarks.papers.link_prediction [--size small|full]

Kipf & Welling (2016), table 1, AUC / average precision in per cent: on Cora GAE 91.0 / 92.0 and
VGAE 91.4 / 92.6, on Citeseer 89.5 / 89.9 and 90.8 / 92.0, on PubMed 96.4 / 96.5 and 94.4 / 94.7.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.report import environment, print_table, write_json
from course_lib.data import DataUnavailable, Graph, load_planetoid
from course_lib.graphs.autoencoders import GAE, VGAE, score_links, train_link_predictor
from course_lib.graphs.link_split import link_split
from course_lib.graphs.models import fast_inputs
from course_lib.training import pick_device, seed_everything

PUBLISHED = {
    ("GAE", "cora"): (91.0, 92.0),
    ("VGAE", "cora"): (91.4, 92.6),
    ("GAE", "citeseer"): (89.5, 89.9),
    ("VGAE", "citeseer"): (90.8, 92.0),
    ("GAE", "pubmed"): (96.4, 96.5),
    ("VGAE", "pubmed"): (94.4, 94.7),
}
SOURCE = "Kipf & Welling 2016, table 1"
PROTOCOL = (
    "85/5/10 split of the edges with as many non-edges, features as they are, GCN 32 -> 16, 200 "
    "epochs of Adam 0.01, the last weights, VGAE scored by its means: as published. Different: "
    "each seed draws a split of its own, where the paper keeps one for its 10 runs; the layers "
    "have biases; the spread is a standard deviation, the paper's a standard error."
)
LOSSES = {
    "all pairs": "the published loss over all N^2 pairs, in blocks.",
    "sampled": "its unbiased estimate from as many non-edges as there are positives, drawn anew "
    "in each epoch, much as torch_geometric does.",
}
MODELS = {"GAE": GAE, "VGAE": VGAE}
EPOCHS = 200


def load(name: str, device: torch.device) -> Graph:
    """The real network, its features as they are, on `device`."""
    return load_planetoid(name).to(device)


def run(graph: Graph, model_class: type[nn.Module], seed: int, sampled: bool) -> dict[str, float]:
    """One split and one training run: test AUC and average precision in per cent, and seconds.

    The seconds are those of the training alone, its 200 validations included.
    """
    generator = seed_everything(seed)
    split = link_split(graph, generator=generator)
    x, a_hat = fast_inputs(split.graph)
    model = model_class(graph.num_features).to(graph.x.device)
    options = {"sampled": sampled, "epochs": EPOCHS, "generator": generator}
    cpu, wall = time.process_time(), time.perf_counter()
    train_link_predictor(model, split, x=x, edge_index=a_hat, **options)
    if graph.x.is_cuda:
        torch.cuda.synchronize(graph.x.device)
    seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    with torch.no_grad():
        z = model(x, a_hat)
    auc, precision = score_links(z, split.test_edges, split.test_non_edges)
    return {"auc": 100 * auc, "ap": 100 * precision, **seconds}


def summarise(runs: list[dict[str, float]]) -> dict[str, Any]:
    """All figures of a row's runs, their means and standard deviations, seconds a run."""
    summary: dict[str, Any] = {}
    for key in ("auc", "ap"):
        values = [run[key] for run in runs]
        summary[key] = round(statistics.fmean(values), 2)
        summary[f"{key}_spread"] = round(statistics.stdev(values), 2) if len(runs) > 1 else None
        summary[f"{key}_runs"] = [round(value, 2) for value in values]
    for key in ("cpu", "wall"):
        summary[f"{key}_seconds_per_run"] = round(statistics.fmean(r[key] for r in runs), 2)
    return summary


def compare(name: str, graph: Graph, seeds: int, say: Callable[[str], None]) -> list[dict]:
    """GAE and VGAE with both losses on one network, beside what was published."""
    rows = []
    for loss in LOSSES:
        for model, model_class in MODELS.items():
            say(f"{model} on {name}, {loss}: {seeds} runs")
            runs = [run(graph, model_class, seed, loss == "sampled") for seed in range(seeds)]
            auc, precision = PUBLISHED[model, name]
            published = {"auc": auc, "ap": precision, "source": SOURCE}
            rows.append(
                {"model": model, "data": name, "loss": loss}
                | summarise(runs)
                | {"published": published}
            )
    return rows


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    parser.add_argument("--seeds", type=int, help="runs a row (default: 5; 20 for full)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args(arguments)


def _measured(row: dict[str, Any], key: str) -> str:
    spread = row[f"{key}_spread"]
    return f"{row[key]:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def main(arguments: list[str] | None = None) -> int:
    """Run, print, write; 2 where the data cannot be had."""
    options = parse(arguments)
    seeds = options.seeds or (5 if options.size == "small" else 20)
    names = ["cora", "citeseer"] + (["pubmed"] if options.size == "full" else [])
    device = pick_device(options.device)
    torch.set_num_threads(options.threads)
    start, started = time.perf_counter(), environment(device)
    try:
        graphs = {name: load(name, device) for name in names}
    except DataUnavailable as error:
        print(f"{error}\nThis table is about the real networks, so no twin takes their place.")
        return 2

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rows = [row for name, graph in graphs.items() for row in compare(name, graph, seeds, say)]
    print_table(
        f"Link prediction, test AUC and average precision (AP) in per cent, {seeds} seeds, "
        f"{started['device']}, {started['threads']} thread(s)",
        ["model", "data", "loss", "AUC", "published", "AP", "published", "CPU s a run"],
        [
            [
                row["model"],
                row["data"],
                row["loss"],
                _measured(row, "auc"),
                f"{row['published']['auc']}",
                _measured(row, "ap"),
                f"{row['published']['ap']}",
                f"{row['cpu_seconds_per_run']:.2f}",
            ]
            for row in rows
        ],
        [
            f"Published: {SOURCE}.",
            PROTOCOL,
            *(f"{loss}: {text}" for loss, text in LOSSES.items()),
        ],
    )
    content = {"seeds": seeds, "rows": rows, "protocol": PROTOCOL, "losses": LOSSES}
    content["seconds"] = round(time.perf_counter() - start, 1)
    print(f"wrote {write_json('link_prediction', options.size, started, content)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
