"""The variational autoencoder: bounds of log p(x) on small digits, and on MNIST where a mirror has it.

    COURSE_DATA=/absolute/path python -m benchmarks.papers.vae [--size small|full] [--device cpu]

Burda, Grosse & Salakhutdinov (2016), table 1: on MNIST a VAE of one stochastic layer has the test
negative log-likelihood 86.76 nats by L_5000. Here it stands as log p(x), so higher is better. None was
published for the digits of scikit-learn: there the baseline is a model of independent pixels.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.report import environment, print_table, write_json
from course_lib.data import DataUnavailable, mnist
from course_lib.latent.binary_digits import binary_digits
from course_lib.latent.descent import descend
from course_lib.latent.vae import (
    VAE,
    active_units,
    elbo,
    factorised_log_likelihood,
    importance_log_weights,
    iwae_curve,
    train_vae,
)
from course_lib.training import pick_device, seed_everything

SOURCE = "Burda, Grosse & Salakhutdinov 2016, table 1, VAE with K = 1 and one stochastic layer"
PUBLISHED = -86.76  # log p(x) by L_5000, MNIST
DRAWS = {"small": (1, 50), "full": (1, 50, 5000)}  # K of the importance-weighted bounds
ROWS = 500  # test rows at a time: K draws of each are held at once
BETAS = (1.0, 2.0, 4.0, 10.0)
EPOCHS = {"digits": {"small": 200, "full": 200}, "mnist": {"small": 20, "full": 400}}
PROTOCOL = [
    "ELBO: that of beta = 1, whatever beta was trained with; one draw of z a test image, the KL exact. "
    "L_K: the importance-weighted bound with K draws, L_1 included to compare. Nats, "
    "sums over pixels, means over the test images.",
    "digits: 8 x 8 pixels, 1 where the ink is >= 8 of 16; 1,297 to train, 500 to test, the cut drawn "
    "by the seed; VAE 64-128-8, 200 epochs of Adam 5e-3 falling to 0, batches of 64. The curve of "
    "beta goes on training one model, beta raised from one to the next.",
    "MNIST: 28 x 28, each pixel a coin with its ink as the probability, tossed anew for each batch in "
    "training and once for the test images; VAE 784-400-20, Adam 1e-3 falling to 0, batches of 100.",
    "Different from the paper: two hidden layers of 200 and 50 latents there, one of 400 and 20 here; "
    "3,280 epochs in stages there.",
]


class Split(NamedTuple):
    """Rows of pixels: train [N, D] may hold probabilities of ink, test [M, D] zeros and ones."""

    train: Tensor
    test: Tensor


def load_digits(seed: int, device: torch.device) -> Split:
    """scikit-learn's digits of zeros and ones."""
    digits = binary_digits(seed)
    return Split(digits.train.to(device), digits.test.to(device))


def load_mnist(device: torch.device) -> Split:
    """MNIST: train holds probabilities, test is tossed once, with a seed of its own."""
    digits = mnist()
    ink = [images.flatten(1) / 255 for images in (digits.train_images, digits.test_images)]
    test = torch.bernoulli(ink[1], generator=torch.Generator().manual_seed(0))
    return Split(ink[0].to(device), test.to(device))


def train_on_coins(model: VAE, ink: Tensor, epochs: int, generator: torch.Generator) -> None:
    """`train_vae` with the pixels of each batch tossed anew: ink [N, D], probabilities of a 1."""

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        chance = torch.rand(batch[0].shape, generator=generator, device=generator.device)
        pixels = (chance.to(batch[0].device) < batch[0]).to(batch[0].dtype)
        return -elbo(model, pixels, generator).elbo.mean()

    descend(model, loss, ink, epochs=epochs, lr=1e-3, batch_size=100, generator=generator)


@torch.no_grad()
def measure(
    model: VAE, split: Split, draws: tuple[int, ...], generator: torch.Generator
) -> dict[str, Any]:
    """Bounds of the test rows, the baseline, active units and the KL of one model."""
    parts = split.test.split(ROWS)
    bounds = [elbo(model, part, generator) for part in parts]
    curves = [
        iwae_curve(importance_log_weights(model, part, max(draws), generator), draws)
        for part in parts
    ]
    curve = torch.cat(curves, 1).mean(1).tolist()
    mean, _ = model.encode(split.test)
    return {
        "elbo": float(torch.cat([bound.elbo for bound in bounds]).mean()),
        "kl": float(torch.cat([bound.kl for bound in bounds]).mean()),
        "iwae": {str(k): value for k, value in zip(draws, curve, strict=True)},
        "baseline": float(factorised_log_likelihood(split.train, split.test).mean()),
        "active": int(active_units(mean).sum()),
    }


def run_digits(seed: int, size: str, device: torch.device) -> list[dict[str, Any]]:
    """One training at beta = 1, measured, and going on from there the other betas."""
    split = load_digits(seed, device)
    generator = seed_everything(seed)
    model, rows = VAE(split.test.size(1), 128, 8).to(device), []
    for beta in BETAS:
        start = time.perf_counter()
        epochs = EPOCHS["digits"][size]
        train_vae(model, split.train, epochs=epochs, beta=beta, generator=generator)
        seconds = time.perf_counter() - start
        measured = measure(model, split, DRAWS[size], generator)
        rows.append({"data": "digits", "beta": beta, "seconds": seconds} | measured)
    return rows


def run_mnist(seed: int, size: str, split: Split, device: torch.device) -> list[dict[str, Any]]:
    """One training at beta = 1, measured."""
    generator = seed_everything(seed)
    model = VAE(split.test.size(1), 400, 20).to(device)
    # on a GPU the noise is drawn there: from the host it would cost more than the network
    draws = torch.Generator(device).manual_seed(seed) if device.type == "cuda" else generator
    start = time.perf_counter()
    train_on_coins(model, split.train, EPOCHS["mnist"][size], draws)
    seconds = time.perf_counter() - start
    measured = measure(model, split, DRAWS[size], draws)
    return [{"data": "mnist", "beta": 1.0, "seconds": seconds} | measured]


def summarise(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of the table from the runs of its seeds: each figure, its mean and its spread."""
    flat = [
        {**run, **{f"iwae_{k}": value for k, value in run["iwae"].items()}, "iwae": None}
        for run in runs
    ]
    summary: dict[str, Any] = {"data": runs[0]["data"], "beta": runs[0]["beta"]}
    for key in [k for k in flat[0] if k not in ("data", "beta", "iwae")]:
        values = [run[key] for run in flat]
        summary[key] = round(statistics.fmean(values), 3)
        summary[f"{key}_spread"] = round(statistics.stdev(values), 3) if len(runs) > 1 else None
        summary[f"{key}_runs"] = [round(value, 3) for value in values]
    if summary["data"] == "mnist":
        summary["published"] = {"log_likelihood": PUBLISHED, "source": SOURCE}
    return summary


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=tuple(DRAWS), default="small")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ... (default: cpu)")
    parser.add_argument("--seeds", type=int, help="runs a row (default: 2; 5 for full)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    return parser.parse_args(arguments)


def _measured(row: dict[str, Any], key: str) -> str:
    spread = row[f"{key}_spread"]
    return f"{row[key]:.2f}" + ("" if spread is None else f" ± {spread:.2f}")


def show(rows: list[dict[str, Any]], draws: tuple[int, ...], title: str) -> None:
    """Print the table and its notes."""
    lines = [
        [
            row["data"],
            f"{row['beta']:g}",
            _measured(row, "elbo"),
            *(_measured(row, f"iwae_{k}") for k in draws),
            _measured(row, "baseline"),
            f"{min(row['active_runs'])}..{max(row['active_runs'])}",
            str(row["published"]["log_likelihood"]) if "published" in row else "none",
            f"{row['seconds']:.1f}",
        ]
        for row in rows
    ]
    bounds = [f"L_{k}" for k in draws]
    columns = ["data", "beta", "ELBO", *bounds, "baseline", "active", "published", "s a run"]
    print_table(title, columns, lines, [f"Published: {SOURCE}.", *PROTOCOL])


def main(arguments: list[str] | None = None) -> int:
    """Run each row once a seed, print the table, write the JSON."""
    options = parse(arguments)
    size = options.size
    seeds = range(options.seeds or (2 if size == "small" else 5))
    device = pick_device(options.device)
    torch.set_num_threads(options.threads)
    start, started = time.perf_counter(), environment(device)
    missing = None
    print(f"digits: {len(seeds)} runs", file=sys.stderr, flush=True)
    groups = [*zip(*(run_digits(seed, size, device) for seed in seeds), strict=True)]
    try:
        split = load_mnist(device)
    except DataUnavailable as error:
        missing = str(error)
        print(f"MNIST is left out: {missing}")
    else:
        print(f"MNIST: {len(seeds)} runs", file=sys.stderr, flush=True)
        groups += zip(*(run_mnist(seed, size, split, device) for seed in seeds), strict=True)
    rows = [summarise(list(runs)) for runs in groups]
    title = (
        f"Variational autoencoders, bounds of log p(x) in nats, {len(seeds)} seeds, "
        f"{started['device']}, {started['threads']} thread(s)"
    )
    show(rows, DRAWS[size], title)
    content = {
        "seeds": len(seeds),
        "epochs": {name: counts[size] for name, counts in EPOCHS.items()},
        "rows": rows,
        "without_mnist": missing,
        "protocol": PROTOCOL,
        "source": SOURCE,
        "seconds": round(time.perf_counter() - start, 1),
    }
    print(f"wrote {write_json('vae', size, started, content)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
