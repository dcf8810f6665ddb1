"""Three classifiers of small images that differ in one thing: what they take for granted.

All map images [B, 1, side, side] to logits [B, classes]. None of them is large, but their sizes differ: by default
34,186 numbers (fully connected), 41,386 (flatten) and 586 (pool), since what a bias forbids or ties need not be stored.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from course_lib.training import History, fit


def _convolution(channels: int) -> list[nn.Module]:
    """A circular 5 x 5 convolution and ReLU: [B, 1, s, s] -> [B, channels, s, s], exactly shift equivariant."""
    return [nn.Conv2d(1, channels, 5, padding=2, padding_mode="circular"), nn.ReLU()]


def fully_connected(side: int = 16, hidden: int = 128, classes: int = 10) -> nn.Sequential:
    """Pixels to hidden units to logits. It assumes nothing of how the pixels lie."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(side * side, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )


def conv_flatten(side: int = 16, channels: int = 16, classes: int = 10) -> nn.Sequential:
    """A convolution, then a weight for every feature at every place: the last layer gives the equivariance away."""
    return nn.Sequential(
        *_convolution(channels), nn.Flatten(), nn.Linear(channels * side * side, classes)
    )


def conv_pool(channels: int = 16, classes: int = 10) -> nn.Sequential:
    """A convolution, then the maximum over all places: the logits are invariant under cyclic shifts."""
    pool = [nn.AdaptiveMaxPool2d(1), nn.Flatten()]  # [B, channels, s, s] -> [B, channels]
    return nn.Sequential(*_convolution(channels), *pool, nn.Linear(channels, classes))


def train_classifier(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    epochs: int,
    batch_size: int = 32,
    lr: float = 5e-3,
    seed: int = 0,
    progress: bool = False,
) -> History:
    """Minimise the cross-entropy with Adam on shuffled batches; the model ends in evaluation mode.

    Args:
        images, labels: tensors [N, ...] and int64 [N].
        epochs, batch_size, lr: the usual.
        seed: of the shuffling. Seed the weights yourself, before the model is made.
        progress: show a bar of the epochs.
    """
    batches = DataLoader(
        TensorDataset(images, labels),
        batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(seed),
    )
    return fit(
        model,
        lambda net, batch: F.cross_entropy(net(batch[0]), batch[1]),
        batches,
        epochs=epochs,
        optimizer=torch.optim.Adam(model.parameters(), lr=lr),
        progress=progress,
    )
