"""The runs behind `benchmarks.papers.nri`: networks, trainings and rows of one system and seed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.papers.nri_data import AHEAD, SEEN, Task
from course_lib.relations.baselines import (
    fit_threshold,
    full_graph,
    path_correlation,
    state_correlation,
    static,
    true_graph,
)
from course_lib.relations.decoders import GRUDecoder, MLPDecoder, SpringsDecoder
from course_lib.relations.encoders import CNNEncoder, MLPEncoder
from course_lib.relations.lstm_baseline import LSTMBaseline, train_lstm
from course_lib.relations.nri import (
    NRI,
    edge_accuracy,
    nri_loss,
    rollout_mse,
    train_decoder,
    train_encoder,
    train_nri,
)
from course_lib.training import seed_everything

ROWS = 500  # test or validation simulations at a time


def networks(task: Task, simulated: bool = False) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder: MLPs, or a CNN as the setting says; in the full size a GRU for Kuramoto."""
    data, h, wide = task.data, task.setting["hidden"], task.setting["encoder_hidden"]
    features, convolve = data.states.size(3), task.setting["convolve"]
    encoder = CNNEncoder(features, wide) if convolve else MLPEncoder(SEEN, features, wide)
    if simulated:
        place, speed = data.scale[0] / data.stretch, data.scale[2] / data.stretch
        decoder: nn.Module = SpringsDecoder(position_scale=place, velocity_scale=speed)
    elif task.size == "full" and data.system == "kuramoto":
        decoder = GRUDecoder(features, h, burn_in=SEEN - 10)
    else:
        decoder = MLPDecoder(features, h, skip_first=data.system != "charged")
    return encoder.to(data.states.device), decoder.to(data.states.device)


def train(
    task: Task, name: str, kind: str, build: Callable[[], nn.Module], run: Callable[..., Any]
) -> tuple[nn.Module, float | None]:
    """Build and train one model; its seconds, None where it went on from a checkpoint.

    `run` takes the model and the options that all trainings share.
    """
    generator = seed_everything(task.seed)
    model = build()
    if task.data.states.is_cuda:  # noise drawn on the host would cost more than the network
        generator = torch.Generator(task.data.states.device).manual_seed(task.seed)
    options: dict[str, Any] = {
        "epochs": task.setting["epochs"][kind],
        "batch_size": task.setting["batch_size"],
        "lr": task.setting["lstm_lr" if kind == "LSTM" else "lr"],
        "generator": generator,
    }
    resumed = False
    if task.folder is not None:
        file = f"{task.data.system}-{task.data.states.size(1)}-{task.seed}-{name}.pt"
        options["checkpoint"] = task.folder / file.replace(" ", "_")
        resumed = options["checkpoint"].exists()
    start = time.perf_counter()
    run(model, **options)
    if task.data.states.is_cuda:
        torch.cuda.synchronize(task.data.states.device)
    return model, None if resumed else time.perf_counter() - start


def decoding(task: Task, decoder: nn.Module) -> dict[str, Any]:
    """How a decoder is trained: by windows with new starts, a GRU by one stretch after its burn-in."""
    steps = SEEN if isinstance(decoder, GRUDecoder) else 10
    return {"steps": steps, "window": task.setting["window"]}


def row(
    task: Task,
    model: str,
    seconds: float | None = None,
    accuracy: float | None = None,
    predictor: nn.Module | Callable[[Tensor, int], Tensor] | None = None,
) -> dict[str, Any]:
    """One line of a table: accuracy in per cent, MSE at 1, 10, 20 frames."""
    data = task.data
    mse = None
    if predictor is not None:
        stretched = rollout_mse(predictor, data.test_states, AHEAD, SEEN)
        mse = {step: error / data.stretch**2 for step, error in stretched.items()}
    return {
        "system": data.system,
        "bodies": data.states.size(1),
        "model": model,
        "accuracy": None if accuracy is None else 100 * accuracy,
        "mse": mse,
        "seconds": seconds,
    }


def correlation_row(task: Task, model: str, score: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """A threshold fitted on the training graphs, judged on the test ones."""
    data = task.data
    found = fit_threshold(score(data.states), data.types)(score(data.seen))
    return row(task, model, accuracy=edge_accuracy(found, data.test_types, relabel=False))


def nri_row(task: Task, simulated: bool = False) -> dict[str, Any]:
    """NRI, which never sees an edge; with `simulated`, its decoder knows Hooke's law."""
    data = task.data

    def run(model: NRI, **options: Any) -> None:
        options |= decoding(task, model.decoder)
        if data.held is not None:
            options |= {"validate": held_loss, "patience": task.patience}
        train_nri(model, data.states, **options)

    def held_loss(model: nn.Module) -> float:
        noise = torch.Generator(data.held.device).manual_seed(0)  # the same at every call
        parts = data.held.split(ROWS)
        steps = decoding(task, model.decoder)["steps"]
        losses = [len(part) * nri_loss(model, part, steps, generator=noise) for part in parts]
        return float(torch.stack(losses).sum() / len(data.held))

    name = "NRI (simulation decoder)" if simulated else "NRI"
    build = lambda: NRI(*networks(task, simulated), variance=task.variance)  # noqa: E731
    model, seconds = train(task, name, "NRI", build, run)
    accuracy = edge_accuracy(model.edge_types(data.seen, ROWS), data.test_types, task.relabel)
    return row(task, name, seconds, accuracy, lambda x, steps: model.rollout(x, steps, ROWS))


def supervised_row(task: Task) -> dict[str, Any]:
    """NRI's encoder, taught with the true edges."""
    data = task.data

    def run(model: nn.Module, **options: Any) -> None:
        train_encoder(model, data.states, data.types, **options)

    model, seconds = train(task, "supervised", "supervised", lambda: networks(task)[0], run)
    with torch.no_grad():
        logits = torch.cat([model(part) for part in data.seen.split(ROWS)])
    return row(task, "supervised", seconds, edge_accuracy(logits, data.test_types, relabel=False))


def graph_given_row(task: Task, full: bool) -> dict[str, Any]:
    """NRI's decoder with its graph given: every pair of one type, or the true types."""
    data = task.data

    def graph(states: Tensor, types: Tensor) -> Tensor:
        return full_graph(states) if full else true_graph(types)

    def run(model: nn.Module, **options: Any) -> None:
        options |= decoding(task, model) | {"variance": task.variance}
        train_decoder(model, data.states, graph(data.states, data.types), **options)

    def predict(states: Tensor, steps: int) -> Tensor:
        parts = zip(states.split(ROWS), data.test_types.split(ROWS), strict=True)
        return torch.cat([model.rollout(x, graph(x, types), steps) for x, types in parts])

    name = "NRI (full graph)" if full else "NRI (true graph)"
    model, seconds = train(task, name, "graph given", lambda: networks(task)[1], run)
    return row(task, name, seconds, predictor=predict)


def lstm_rows(task: Task, joint: bool) -> list[dict[str, Any]]:
    """An LSTM's predictions; of the single one also the correlation of its last states."""
    data = task.data
    features, bodies = data.states.size(3), data.states.size(1) if joint else None

    def build() -> nn.Module:
        model = LSTMBaseline(features, bodies=bodies, **task.setting["lstm"])
        return model.to(data.states.device)

    def run(model: LSTMBaseline, **options: Any) -> None:
        train_lstm(model, data.states, burn_in=SEEN - 10, **options)

    def predict(states: Tensor, steps: int) -> Tensor:
        return torch.cat([model.rollout(part, steps) for part in states.split(ROWS)])

    @torch.no_grad()
    def score(states: Tensor) -> Tensor:
        return state_correlation(torch.cat([model.last_hidden(p) for p in states.split(ROWS)]))

    name = "LSTM (joint)" if joint else "LSTM (single)"
    model, seconds = train(task, name, "LSTM", build, run)
    rows = [row(task, name, seconds, predictor=predict)]
    return rows if joint else [correlation_row(task, "correlation (LSTM)", score), *rows]


def rows_of(task: Task, all_rows: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The rows of one system and seed; without `all_rows` those of correlation, NRI and supervision."""
    rows = [
        correlation_row(task, "correlation (path)", path_correlation),
        correlation_row(task, "correlation (motion)", lambda x: path_correlation(x, centred=True)),
        row(task, "static", predictor=lambda x, steps: static(x[:, :, -1], steps)),
    ]
    runs = [lambda: [nri_row(task)], lambda: [supervised_row(task)]]
    if all_rows:
        runs += [
            lambda: lstm_rows(task, joint=False),
            lambda: lstm_rows(task, joint=True),
            lambda: [graph_given_row(task, full=True)],
            lambda: [graph_given_row(task, full=False)],
        ]
        if task.data.system == "springs":
            runs.append(lambda: [nri_row(task, simulated=True)])
    for run in runs:
        rows += run()
        taken = "resumed" if (s := rows[-1]["seconds"]) is None else f"{s:.0f} s"
        say(f"{task.data.system}, seed {task.seed}: {rows[-1]['model']}, {taken}")
    return rows
