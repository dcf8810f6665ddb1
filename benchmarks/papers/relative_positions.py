"""Relative positions in self-attention: the three ablations, on a task of seconds instead of translation.

    python -m benchmarks.papers.relative_positions [--size small|full] [--device cpu] [--seeds 3]

Shaw, Uszkoreit & Vaswani (2018): BLEU on WMT 2014 translation, tables 1 (absolute against relative),
2 (the clipping distance k) and 3 (a^V and a^K on and off). Ours is the share of tokens copied
right in "copy the token 3 back", trained at lengths 8 to 24. Figures of the two cannot be
compared; what can is which of two rows is better, and that is computed here, pair by pair.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.report import environment, print_table, write_json
from course_lib.attention.positions_task import CopyModel, copy_accuracy, train_copy
from course_lib.training import pick_device, seed_everything

SOURCE = "Shaw, Uszkoreit & Vaswani 2018"
LENGTHS = (24, 48, 96, 192)
STEPS = {"small": 400, "full": 2000}
TEST_ROWS = 128
K = 16  # the clipping distance of tables 1 and 3, as published for the base model
DISTANCES = (0, 1, 2, 4, 16, 64, 256)

ABSOLUTE = {
    "none": {"positions": "none"},
    "sinusoidal": {"positions": "sinusoidal"},
    "learned": {"positions": "learned"},
    "relative": {"max_distance": K},
}
CLIPPED = {f"k = {k}": {"max_distance": k} for k in DISTANCES}
TABLES_ON = {
    "a^V and a^K": {"max_distance": K},
    "a^K alone": {"max_distance": K, "use_values": False},
    "a^V alone": {"max_distance": K, "use_keys": False},
    "neither": {"positions": "none"},
}
TABLES = {
    "absolute against relative": ABSOLUTE,
    "clipping distance k": CLIPPED,
    "a^V and a^K": TABLES_ON,
}
# BLEU; table 1 has four columns, table 2 and 3 are for EN-DE, newstest2013, base model.
PUBLISHED: dict[str, dict[str, dict[str, float]]] = {
    "absolute against relative": {
        "EN-DE base": {"sinusoidal": 26.5, "relative": 26.8},
        "EN-DE big": {"sinusoidal": 27.9, "relative": 29.2},
        "EN-FR base": {"sinusoidal": 38.2, "relative": 38.7},
        "EN-FR big": {"sinusoidal": 41.2, "relative": 41.5},
    },
    "clipping distance k": {
        "EN-DE": dict(zip(CLIPPED, (12.5, 25.5, 25.8, 25.9, 25.8, 25.9, 25.8), strict=True))
    },
    "a^V and a^K": {"EN-DE": dict(zip(TABLES_ON, (25.8, 25.8, 25.3, 12.5), strict=True))},
}
SAME_BLEU = (
    0.2  # published figures no further apart count as equal: 0.3 is the least that is claimed
)
SAME_ACCURACY = 2.0  # ours, in per cent
PROTOCOL = [
    "The task differs: copying the token 3 back (20 symbols, so that a guess gives 5), not translating; "
    "per cent of tokens, not BLEU; an encoder of 2 layers, d 48, 4 heads, not the base and big "
    "transformers. The form of the attention is as published.",
    "Trained at T 8 to 24: T = 24 is a length it knows; 48, 96 and 192 are extrapolation, of which "
    "the published tables say nothing.",
    f"Orderings: two published figures within {SAME_BLEU} BLEU count as equal, two of ours within "
    f"{SAME_ACCURACY:g} points or within twice the standard error of their difference.",
]


def run(settings: dict[str, Any], seed: int, steps: int, device: torch.device) -> list[float]:
    """Train one model; its accuracy in per cent at each of LENGTHS."""
    seed_everything(seed)
    model = CopyModel(**settings).to(device)
    draws = torch.Generator(device).manual_seed(seed)
    train_copy(model, draws, steps=steps)
    return [100 * copy_accuracy(model, length, draws, batch=TEST_ROWS) for length in LENGTHS]


def measure(
    settings: dict[str, Any], seeds: int, steps: int, device: torch.device
) -> dict[str, Any]:
    """Accuracies [seeds][lengths] of one setting, their means and spreads, CPU seconds a run."""
    cpu = time.process_time()
    accuracies = [run(settings, seed, steps, device) for seed in range(seeds)]
    columns = list(zip(*accuracies, strict=True))
    return {
        "settings": settings,
        "accuracies": [[round(a, 2) for a in row] for row in accuracies],
        "mean": [round(statistics.fmean(c), 2) for c in columns],
        "spread": [round(statistics.stdev(c), 2) if seeds > 1 else None for c in columns],
        "cpu_seconds_per_run": round((time.process_time() - cpu) / seeds, 2),
    }


def sign(difference: float, same: float) -> str:
    """What stands between two figures: "<", "=" (no further apart than `same`) or ">"."""
    if abs(difference) <= same + 1e-9:
        return "="
    return ">" if difference > 0 else "<"


def compare(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The sign between the means of two settings' accuracies, one figure a seed."""
    means, errors = [statistics.fmean(x) for x in (ours, theirs)], 0.0
    if min(len(ours), len(theirs)) > 1:
        errors = sum(statistics.variance(x) / len(x) for x in (ours, theirs)) ** 0.5
    return sign(means[0] - means[1], max(SAME_ACCURACY, 2 * errors))


def orderings(title: str, rows: dict[str, dict[str, Any]], length: int) -> list[dict[str, Any]]:
    """Each pair of rows with a published figure: the sign published, ours at `length`, whether they agree."""
    column = LENGTHS.index(length)
    found = []
    for experiment, figures in PUBLISHED[title].items():
        for first, second in itertools.combinations(figures, 2):
            ours = compare(
                *([a[column] for a in rows[name]["accuracies"]] for name in (first, second))
            )
            published = sign(figures[first] - figures[second], SAME_BLEU)
            found.append(
                {
                    "experiment": experiment,
                    "pair": [first, second],
                    "published": published,
                    "ours": ours,
                    "agree": ours == published,
                }
            )
    return found


def describe(pairs: Sequence[dict[str, Any]], length: int) -> str:
    """How many orderings agree at `length`, and each one that does not, by name."""
    wrong: dict[str, list[str]] = {}
    for pair in pairs:
        if not pair["agree"]:
            first, second = pair["pair"]
            text = f"{first} {pair['published']} {second} published, {pair['ours']} here"
            wrong.setdefault(text, []).append(pair["experiment"])
    line = f"Orderings at T = {length}: {len(pairs) - sum(map(len, wrong.values()))} of {len(pairs)} agree"
    names = [f"{text} ({', '.join(experiments)})" for text, experiments in wrong.items()]
    return f"{line}. Not these: {'; '.join(names)}." if names else f"{line}."


def show(title: str, rows: dict[str, dict[str, Any]], seeds: int) -> None:
    """Print one ablation beside its published figures, and which orderings agree at each length."""
    experiments = PUBLISHED[title]
    lines = []
    for name, row in rows.items():
        ours = [
            f"{mean:.1f}" + (f" ± {spread:.1f}" if spread is not None else "")
            for mean, spread in zip(row["mean"], row["spread"], strict=True)
        ]
        bleu = [str(figures[name]) for figures in experiments.values() if name in figures]
        lines.append([name, *ours, " / ".join(bleu)])
    print_table(
        f"{title}: accuracy in per cent, mean ± standard deviation over {seeds} seeds, and BLEU",
        ["", *(f"T = {length}" for length in LENGTHS), "published BLEU"],
        lines,
        [
            f"BLEU: {' / '.join(experiments)}.",
            *(describe(orderings(title, rows, length), length) for length in LENGTHS),
        ],
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=tuple(STEPS), default="small")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    parser.add_argument("--seeds", type=int, help="runs a row (default: 3; 10 for full)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run each setting once a seed, print the three tables, write the JSON."""
    options = parse(arguments)
    seeds = options.seeds or (3 if options.size == "small" else 10)
    device, steps = pick_device(options.device), STEPS[options.size]
    torch.set_num_threads(options.threads)
    start, started = time.perf_counter(), environment(device)
    measured: dict[str, dict[str, Any]] = {}
    tables = {}
    for title, settings in TABLES.items():
        rows = {}
        for name, row in settings.items():
            key = str(sorted(row.items()))  # what stands in two tables is run once
            if key not in measured:
                measured[key] = measure(row, seeds, steps, device)
            rows[name] = measured[key]
        show(title, rows, seeds)
        tables[title] = {
            "rows": rows,
            "published": PUBLISHED[title],
            "orderings": {str(length): orderings(title, rows, length) for length in LENGTHS},
        }
    print("\n".join([f"Published: {SOURCE}.", *PROTOCOL]))
    content = {
        "seeds": seeds,
        "steps": steps,
        "lengths": LENGTHS,
        "tables": tables,
        "protocol": PROTOCOL,
        "source": SOURCE,
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(f"wrote {write_json('relative_positions', options.size, started, content)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
