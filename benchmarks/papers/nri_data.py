"""What `benchmarks.papers.nri` computes on: the sizes' settings, simulated data, what runs share."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib.relations.charged import charged
from course_lib.relations.kuramoto import kuramoto
from course_lib.relations.motion import Simulations
from course_lib.relations.nri_model import VARIANCE
from course_lib.relations.springs import springs

SYSTEMS = {"springs": springs, "charged": charged, "kuramoto": kuramoto}
SEEN, AHEAD = 49, (1, 10, 20)  # frames shown; frames after the last of them
SETTINGS: dict[str, dict[str, Any]] = {  # "convolved": what differs with a CNN encoder
    "small": {
        "simulations": {"springs": 10_000, "charged": 5_000, "kuramoto": 10_000},
        "stretch": {"springs": 5.0, "charged": 4.0, "kuramoto": 2.0},
        "tests": 1_000,
        "hidden": 64,
        "encoder_hidden": 64,
        "batch_size": 64,
        "lr": 4e-3,
        "window": 11,
        "epochs": {"NRI": 20, "supervised": 20, "graph given": 8, "LSTM": 6},
        "lstm": {"hidden_size": 32, "num_layers": 1},
        "lstm_lr": 2e-3,
        "convolved": {
            "encoder_hidden": 32,
            "lr": 6e-3,
            "epochs": {"NRI": 16, "supervised": 8, "graph given": 8, "LSTM": 6},
        },
    },
    "full": {
        "simulations": dict.fromkeys(SYSTEMS, 50_000),
        "stretch": dict.fromkeys(SYSTEMS, 1.0),
        "tests": 10_000,
        "hidden": 256,
        "encoder_hidden": 256,
        "batch_size": 128,
        "lr": 5e-4,
        "window": None,
        "epochs": dict.fromkeys(("NRI", "supervised", "graph given", "LSTM"), 500),
        "lstm": {"hidden_size": 256, "num_layers": 2},
        "lstm_lr": 5e-4,
        "convolved": {},
    },
}


def setting_of(size: str, system: str, epochs: int | None = None) -> dict[str, Any]:
    """How one system's models are trained; `epochs` in place of the size's, for every training.

    "convolve" says whether a CNN encodes: it does for all systems but springs.
    """
    setting = dict(SETTINGS[size])
    convolved = setting.pop("convolved")
    setting["convolve"] = system != "springs"
    if setting["convolve"]:
        setting |= convolved
    if epochs:
        setting["epochs"] = dict.fromkeys(setting["epochs"], epochs)
    return setting


class Data(NamedTuple):
    """Simulations of one system, float32: states [S, N, T, D], types [S, E].

    The training ones have 49 frames, the test ones 20 more; `held` is for early stopping, None without.
    States are those of about [-1, 1] times `stretch`: networks learn faster from numbers whose
    standard deviation is near 1. Variances and errors are converted, so the objective is the same.
    """

    system: str
    states: Tensor
    types: Tensor
    test_states: Tensor
    test_types: Tensor
    held: Tensor | None
    scale: tuple[float, ...]
    stretch: float

    @property
    def seen(self) -> Tensor:
        """The frames of the test simulations that encoders see, [S, N, 49, D]."""
        return self.test_states[:, :, :SEEN]


class Task(NamedTuple):
    """What the rows of one system and seed share."""

    data: Data
    setting: dict[str, Any]
    size: str
    seed: int
    patience: int | None
    folder: Path | None  # of checkpoints

    @property
    def variance(self) -> float:
        """That of the Gaussian likelihood, the paper's, in the states' units squared."""
        return VARIANCE * self.data.stretch**2

    @property
    def relabel(self) -> bool:
        """Charged bodies have no "no edge": which of the two types is which, NRI cannot know."""
        return self.data.system == "charged"


def load(
    system: str, bodies: int, setting: dict[str, Any], seed: int, device: torch.device, hold: bool
) -> Data:
    """Simulate: all draws of a seed come from one stream."""
    generator, make = torch.Generator().manual_seed(seed), SYSTEMS[system]
    stretch, tests = setting["stretch"][system], setting["tests"]

    def draw(count: int, frames: int) -> tuple[Tensor, Simulations]:
        made = make(count, bodies, frames, generator=generator, device=device)
        return stretch * made.unit_states.float(), made

    states, shown = draw(setting["simulations"][system], SEEN)
    test_states, test = draw(tests, SEEN + max(AHEAD))
    held = draw(tests, SEEN)[0] if hold else None
    types = shown.types, test.types
    return Data(system, states, types[0], test_states, types[1], held, shown.scale, stretch)
