"""A training step of neural relational inference: ours against one-hot matrices, in one run.

A step is encoder, draw, decoder over all 49 frames in windows of 10, loss, backward and Adam, on 5
bodies, with the same weights on both sides. On a GPU also: seconds an epoch of the paper's setting,
50,000 simulations, batch 128, 256 hidden units.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.report import print_table
from benchmarks.speed.one_hot_nri import with_weights_of
from course_lib.relations.decoders import MLPDecoder
from course_lib.relations.encoders import MLPEncoder
from course_lib.relations.nri import NRI, nri_loss, train_nri
from course_lib.relations.springs import springs

BODIES, FRAMES, STEPS = 5, 49, 10
SETTINGS = {"paper": (128, 256), "course": (64, 64)}  # batch and hidden size
ROUNDS = {"paper": 21, "course": 41}  # medians are over so many steps of each
BARS = {"paper": 1.2, "course": 1.2}  # on a CPU
EPOCH = {"simulations": 50_000, "aim": 3.0, "published": 46.0}  # seconds an epoch, on a GPU


def models(hidden_size: int, device: torch.device) -> tuple[NRI, nn.Module]:
    """Ours and the peer, with the same weights."""
    torch.manual_seed(0)
    encoder = MLPEncoder(FRAMES, hidden_size=hidden_size)
    ours = NRI(encoder, MLPDecoder(hidden_size=hidden_size)).to(device)
    return ours, with_weights_of(ours, BODIES)


def draw_states(number: int, device: torch.device) -> Tensor:
    """Springs in units of order 1: float32 [number, N, T, 4]."""
    drawn = springs(number, BODIES, FRAMES, generator=torch.Generator().manual_seed(0))
    return drawn.unit_states.float().to(device)


def stepper(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """A function that takes one optimiser step and waits for it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    return step


def check_same(ours: NRI, peer: nn.Module, states: Tensor) -> None:
    """The same logits, and the same predictions for given edges; else the ratio means nothing."""
    with torch.no_grad():
        logits = ours.encoder(states)
        torch.testing.assert_close(peer.encode(states), logits, rtol=1e-3, atol=1e-3)
        edges = logits.softmax(-1)
        expected = ours.decoder(states, edges, STEPS)
        torch.testing.assert_close(
            peer.decode(states, edges, STEPS), expected, rtol=1e-3, atol=1e-3
        )


def measure(name: str, device: torch.device) -> dict[str, Any]:
    """Median milliseconds a step of both ways, in turns, and the median ratio of a turn."""
    batch, hidden_size = SETTINGS[name]
    ours, peer = models(hidden_size, device)
    states = draw_states(batch, device)
    check_same(ours, peer, states)
    steps = {
        "one-hot": stepper(peer, lambda: peer.loss(states, STEPS)),
        "ours": stepper(ours, lambda: nri_loss(ours, states, STEPS)),
    }
    times: dict[str, list[float]] = {way: [] for way in steps}
    for round_number in range(ROUNDS[name] + 2):
        for way, step in steps.items():
            start = time.perf_counter()
            step()
            if round_number > 1:  # two to warm up
                times[way].append(1000 * (time.perf_counter() - start))
    medians = {way: statistics.median(values) for way, values in times.items()}
    turns = zip(times["one-hot"], times["ours"], strict=True)
    return {
        "batch": batch,
        "hidden_size": hidden_size,
        "milliseconds": {way: round(value, 2) for way, value in medians.items()},
        "fastest": {way: round(min(values), 2) for way, values in times.items()},
        "steps_per_second": {way: round(1000 / value, 2) for way, value in medians.items()},
        "ratio": round(statistics.median(plain / quick for plain, quick in turns), 2),
    }


def measure_epoch(device: torch.device, epochs: int = 3) -> dict[str, Any]:
    """Seconds an epoch of the paper's setting, the median of a few after one to warm up."""
    batch, hidden_size = SETTINGS["paper"]
    ours, _ = models(hidden_size, device)
    states, ends = draw_states(EPOCH["simulations"], device), [time.perf_counter()]
    train_nri(
        ours,
        states,
        epochs=epochs + 1,
        lr=5e-4,
        batch_size=batch,
        steps=STEPS,
        window=None,
        on_epoch=lambda *_: ends.append(time.perf_counter()),
    )
    seconds = [after - before for before, after in itertools.pairwise(ends[1:])]
    return {"seconds": round(statistics.median(seconds), 2), "epochs": epochs, **EPOCH}


def run(device: torch.device) -> tuple[dict[str, Any], list[str]]:
    """Measure, print the table; the figures and the bars that were missed."""
    figures: dict[str, Any] = {name: measure(name, device) for name in SETTINGS}
    rows, missed = [], []
    for name, found in figures.items():
        bar = BARS[name] if device.type == "cpu" else None
        if bar is not None and found["ratio"] < bar:
            missed.append(f"step, {name}: {found['ratio']} is below {bar}")
        rows.append(
            [
                f"{name}: batch {found['batch']}, h {found['hidden_size']}",
                *(f"{found['milliseconds'][way]:.1f}" for way in ("one-hot", "ours")),
                *(f"{found['steps_per_second'][way]:.1f}" for way in ("one-hot", "ours")),
                f"{found['ratio']:.2f}",
                "" if bar is None else f">= {bar}",
            ]
        )
    columns = ["setting", "one-hot ms", "ours ms", "one-hot /s", "ours /s", "ratio", "bar"]
    print_table(f"A training step on {device.type}, medians", columns, rows)
    if device.type == "cuda":
        figures["epoch"] = epoch = measure_epoch(device)
        print(
            f"an epoch of {epoch['simulations']:,} simulations: {epoch['seconds']} s "
            f"(aim {epoch['aim']} s, published log {epoch['published']} s)"
        )
        if epoch["seconds"] > epoch["aim"]:
            missed.append(f"an epoch: {epoch['seconds']} s is over {epoch['aim']} s")
    return figures, missed
