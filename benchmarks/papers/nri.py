"""Neural relational inference: which bodies are linked, and where they go, beside what was published.

    python -m benchmarks.papers.nri [--size small|full] [--device cpu] [--seeds 3]
        [--systems springs,charged,kuramoto] [--bodies 5,10] [--processes 2]
        [--resume FOLDER] [--epochs 500] [--patience 50]

Kipf, Fetaya, Wang, Welling & Zemel (2018), table 1 (accuracy of the edges) and table 2 (squared error of
predictions); for the second the figures are those of a replication. The full size is the paper's: 50,000
simulations, 256 units, 500 epochs. It keeps a checkpoint of every training in the folder that `--resume`
names (by default in the course's cache); called again, it goes on from there.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from benchmarks.papers.nri_data import AHEAD, SETTINGS, SYSTEMS, Task, load, setting_of
from benchmarks.papers.nri_runs import rows_of
from benchmarks.report import environment, print_table, write_json
from course_lib.data.fetch import cache_folder
from course_lib.training import pick_device

SOURCE = "Kipf, Fetaya, Wang, Welling & Zemel 2018, table 1"
REPLICATION = "a replication of table 2 with the authors' code, springs, 5 bodies, after 500 epochs"
PUBLISHED_ACCURACY = {  # per cent, by model: system, bodies
    "correlation (path)": {
        ("springs", 5): 52.4,
        ("springs", 10): 50.4,
        ("kuramoto", 5): 62.8,
        ("kuramoto", 10): 59.3,
    },
    "correlation (LSTM)": {
        ("springs", 5): 52.7,
        ("springs", 10): 54.9,
        ("kuramoto", 5): 54.4,
        ("kuramoto", 10): 56.2,
    },
    "NRI (simulation decoder)": {("springs", 5): 99.8, ("springs", 10): 98.2},
    "NRI": {
        ("springs", 5): 99.9,
        ("springs", 10): 98.4,
        ("kuramoto", 5): 96.0,
        ("kuramoto", 10): 75.7,
    },
    "supervised": {
        ("springs", 5): 99.9,
        ("springs", 10): 98.8,
        ("kuramoto", 5): 99.7,
        ("kuramoto", 10): 97.1,
    },
}
PUBLISHED_MSE = {  # springs, 5 bodies, at 1, 10 and 20 frames
    "static": (7.8e-5, 7.6e-3, 2.8e-2),
    "LSTM (joint)": (2.2e-8, 2.4e-5, 8.9e-4),
    "NRI": (3.3e-8, 3.0e-6, 1.8e-5),
}
ACCURACY_ORDER = [
    "correlation (path)",
    "correlation (motion)",
    "correlation (LSTM)",
    "NRI (simulation decoder)",
    "NRI",
    "supervised",
]
MSE_ORDER = ["static", "LSTM (single)", "LSTM (joint)", "NRI (full graph)", "NRI"]
MSE_ORDER += ["NRI (simulation decoder)", "NRI (true graph)"]
PROTOCOL = [
    "Both: bodies of the paper's physics, one frame each 100 steps (Kuramoto: 10), 49 frames to train on; "
    "states divided by fixed constants, about the paper's [-1, 1], which scales by the training set's "
    "smallest and largest value (small: stretched by 5, Kuramoto 2, charged 4, and variance and errors "
    "converted, so that the objective is the same and training shorter); Adam, batches shuffled, no "
    "dropout; the last weights unless --patience.",
    "Tests: the encoder or LSTM is shown 49 frames; frames 50, 59 and 69 are predicted from frame 49, with "
    "the most probable graph. The published code draws the graph, begins at the true frame 50 and keeps the "
    "weights of the best validation epoch.",
    'Accuracy: as it stands where type 0 is "no edge"; charged bodies attract or repel, and one '
    "relabelling is chosen for the whole test set. The step size falls as half a cosine (the LSTM's: "
    "linearly); published: halved every 200 epochs.",
    "Kuramoto: the features are the rate of the phase, its sine and its cosine. A public set of features "
    "also holds what the coupling adds to the rate, exactly 0 for an oscillator that receives nothing.",
    "correlation: a threshold fitted on the training graphs. Path: of all numbers of two paths; "
    "motion: after each feature's mean over time is taken off, a row of ours. LSTM: of the single LSTM's "
    "last states.",
]
SMALL = SETTINGS["small"]
SIZES = {
    "small": "small: 10,000 simulations (5,000 charged), 1,000 to test, 64 units (LSTM and CNN 32), MLP "
    "decoders, an MLP encoder for springs, a CNN for the others, a random window of 11 frames a step for "
    f"the decoder, {SMALL['epochs']['NRI']} epochs of NRI ({SMALL['convolved']['epochs']['NRI']} with a "
    "CNN), batches of 64; only correlation (path, motion), static, NRI and supervised are run for more "
    "than one seed.",
    "full": "full: 50,000 simulations, 10,000 to test, 256 units (LSTM: two layers), batches of 128, all "
    "frames in every step; MLPs for springs, a CNN encoder for the others, a GRU decoder for Kuramoto.",
}


def summarise(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each system, number of bodies and model: means, spreads and all figures of its runs."""
    groups: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["system"], row["bodies"], row["model"]), []).append(row)
    summary = []
    for (system, bodies, model), group in groups.items():
        line: dict[str, Any] = {"system": system, "bodies": bodies, "model": model}
        line["runs"] = len(group)
        if group[0]["accuracy"] is not None:
            values = [row["accuracy"] for row in group]
            line["accuracy"] = round(statistics.fmean(values), 2)
            line["spread"] = round(statistics.stdev(values), 2) if len(values) > 1 else None
            line["accuracy_runs"] = [round(value, 2) for value in values]
            line["published_accuracy"] = PUBLISHED_ACCURACY.get(model, {}).get((system, bodies))
        if group[0]["mse"] is not None:
            line["mse"] = {str(k): statistics.fmean(row["mse"][k] for row in group) for k in AHEAD}
            line["mse_runs"] = {str(k): [row["mse"][k] for row in group] for k in AHEAD}
            known = model in PUBLISHED_MSE and (system, bodies) == ("springs", 5)
            line["published_mse"] = PUBLISHED_MSE[model] if known else None
        seconds = [row["seconds"] for row in group if row["seconds"] is not None]
        line["seconds_per_run"] = round(statistics.fmean(seconds), 1) if seconds else None
        summary.append(line)
    return summary


def _seconds(row: dict[str, Any]) -> str:
    return "" if row["seconds_per_run"] is None else f"{row['seconds_per_run']:.0f}"


def show(summary: list[dict[str, Any]], size: str, title: str) -> None:
    """Both tables, then how the protocols differ."""
    places = list(dict.fromkeys((row["system"], row["bodies"]) for row in summary))
    by_name = {(row["system"], row["bodies"], row["model"]): row for row in summary}

    def in_order(order: list[str], key: str) -> list[dict[str, Any]]:
        names = ((*place, model) for place in places for model in order)
        return [by_name[n] for n in names if n in by_name and key in by_name[n]]

    lines = []
    for row in in_order(ACCURACY_ORDER, "accuracy"):
        spread = "" if row["spread"] is None else f" ± {row['spread']:.1f}"
        published = row["published_accuracy"]
        known = "none quoted" if published is None else str(published)
        ours = f"{row['accuracy']:.1f}{spread}"
        name = f"{row['system']} {row['bodies']}"
        lines.append([row["model"], name, ours, known, str(row["runs"]), _seconds(row)])
    print_table(
        f"Edges, accuracy in per cent, {title}",
        ["model", "system, bodies", "ours", "published", "runs", "s a run"],
        lines,
        [f"Published: {SOURCE}; no spread is quoted."],
    )
    lines = []
    for row in in_order(MSE_ORDER, "mse"):
        published = row["published_mse"] or [None] * len(AHEAD)
        pairs = zip(row["mse"].values(), published, strict=True)
        shown = [(f"{ours:.1e}", "" if known is None else f"{known:.1e}") for ours, known in pairs]
        name = f"{row['system']} {row['bodies']}"
        lines.append([row["model"], name, *(cell for pair in shown for cell in pair)])
    columns = [text for k in AHEAD for text in (f"{k}", "published")]
    print_table(
        f"Squared error after 1, 10, 20 frames, units of about [-1, 1], {title}",
        ["model", "system, bodies", *columns],
        lines,
        [f"Published: {REPLICATION}.", SIZES[size], *PROTOCOL],
    )


def run(place: tuple[str, int, int], options: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows of one system, number of bodies and seed. Runs in a process of its own, or in this one."""
    system, bodies, seed = place
    setting = setting_of(options.size, system, options.epochs)
    torch.set_num_threads(options.threads)
    start, device = time.perf_counter(), pick_device(options.device)

    def say(text: str) -> None:
        spent = time.perf_counter() - start
        print(f"{system} {bodies}, seed {seed}, {spent:.0f} s: {text}", file=sys.stderr, flush=True)

    data = load(system, bodies, setting, seed, device, options.patience is not None)
    say("simulated")
    task = Task(data, setting, options.size, seed, options.patience, options.resume)
    return rows_of(task, seed == 0 or options.size == "full", say)


def run_all(
    places: list[tuple[str, int, int]], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The rows of all places, in their order, whatever the number of processes."""
    jobs = [(place, options) for place in places]
    if options.processes == 1:
        found = [run(*job) for job in jobs]
    else:
        fresh = multiprocessing.get_context("spawn")  # a forked torch may hang
        with ProcessPoolExecutor(options.processes, mp_context=fresh) as pool:
            found = list(pool.map(run, *zip(*jobs, strict=True)))
    return [row for rows in found for row in rows]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=("small", "full"), default="small")
    parser.add_argument("--systems", default="springs,kuramoto,charged", help="a comma list")
    parser.add_argument("--bodies", help="a comma list (default: 5; 5,10 for full)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    parser.add_argument("--seeds", type=int, help="runs (default: springs 3, others 1; 1 for full)")
    parser.add_argument("--processes", type=int, help="at a time (default: 2 on a CPU, else 1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads a process (default: 1)")
    parser.add_argument("--epochs", type=int, help="of every training, instead of the size's")
    parser.add_argument("--patience", type=int, help="stop after so many epochs without progress")
    parser.add_argument("--resume", type=Path, help="folder of checkpoints to write and go on from")
    options = parser.parse_args(arguments)
    if unknown := set(options.systems.split(",")) - set(SYSTEMS):
        parser.error(f"no system is called {min(unknown)!r}: choose from {', '.join(SYSTEMS)}")
    if options.resume is None and options.size == "full":
        options.resume = cache_folder() / "nri"
    options.bodies = options.bodies or ("5" if options.size == "small" else "5,10")
    options.processes = options.processes or (2 if options.device == "cpu" else 1)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run all rows, print both tables, write the JSON."""
    options = parse(arguments)
    size = options.size
    torch.set_num_threads(options.threads)
    start, started = time.perf_counter(), environment(pick_device(options.device))
    if options.resume is not None:
        print(f"checkpoints in {options.resume}", file=sys.stderr)
    places = []
    for system in options.systems.split(","):
        seeds = options.seeds or (3 if size == "small" and system == "springs" else 1)
        places += [(system, int(n), k) for n in options.bodies.split(",") for k in range(seeds)]
    summary = summarise(run_all(places, options))
    title = (
        f"{started['device']}, {options.processes} process(es) of {started['threads']} thread(s)"
    )
    show(summary, size, title)
    content = {
        "rows": summary,
        "setting": {s: setting_of(size, s, options.epochs) for s in options.systems.split(",")},
        "processes": options.processes,
        "patience": options.patience,
        "protocol": [SIZES[size], *PROTOCOL],
        "sources": {"accuracy": SOURCE, "mse": REPLICATION},
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(f"wrote {write_json('nri', size, started, content)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
