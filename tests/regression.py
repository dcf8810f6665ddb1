"""A small regression to train in tests: it draws from every generator and keeps a buffer."""

import random

import numpy as np
import torch
from torch import nn

from course_lib.training import fit, seed_everything

X = torch.linspace(-1, 1, 24).view(12, 2)
BATCHES = [X[:4], X[4:8], X[8:]]


class Net(nn.Module):
    """Two layers with dropout, and a buffer that moves: the running mean of the inputs."""

    def __init__(self, hidden: int = 5) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(2))
        self.layers = nn.Sequential(nn.Linear(2, hidden), nn.Dropout(0.3), nn.Linear(hidden, 1))

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.mean(dim=0), 0.1)
        return self.layers(x - self.mean)


def error(model, x):
    return (model(x) - x.prod(dim=1, keepdim=True)).square().mean()


def noisy_error(model, x):
    """Draws from every global generator."""
    return error(model, x) * (1 + 0.1 * random.random()) + 0.01 * np.random.rand() * model(x).mean()  # noqa: NPY002


def build(seed: int = 0, kind=torch.optim.Adam, **sizes):
    generator = seed_everything(seed)
    model = Net(**sizes)
    return model, kind(model.parameters(), lr=0.05), generator


def run(epochs, *, seed=0, loss_fn=noisy_error, validate=False, shuffle=True, **options):
    """Train anew from `seed` (or from the checkpoint, if it exists)."""
    model, optimizer, generator = build(seed)
    batches = BATCHES
    if shuffle:
        batches = torch.utils.data.DataLoader(X, batch_size=5, shuffle=True, generator=generator)
        options.setdefault("generators", [generator])
    if validate:
        options["validate"] = lambda model: error(model, X)
    options.setdefault("progress", False)
    history = fit(model, loss_fn, batches, epochs=epochs, optimizer=optimizer, **options)
    return model, optimizer, history


def states_equal(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
