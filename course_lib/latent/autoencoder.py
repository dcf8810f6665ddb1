"""Autoencoders: a code of k numbers for D, and the principal components that a linear one finds.

An autoencoder is trained to give its input back through a bottleneck of k < D numbers, the code.
With linear layers and squared error the best one spans the subspace of the first k principal
components (Baldi and Hornik 1989, https://doi.org/10.1016/0893-6080(89)90014-2); its weights are
not the components, only their span is: hence `principal_angles`. It is no density: nothing in it
says how probable an x is.

Errors are sums over pixels, means over the rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.latent.descent import descend
from course_lib.training import History

__all__ = [
    "PCA",
    "Autoencoder",
    "fit_linear_autoencoder",
    "pca",
    "principal_angles",
    "reconstruction_error",
    "train_autoencoder",
]


@dataclass(frozen=True)
class PCA:
    """The first k principal components of rows in R^D.

    mean: [D]. components: [k, D], orthonormal rows, the largest variance first; of each, the entry
    of largest size is positive. variances: [k], of the codes, dividing by N.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor

    def encode(self, x: Tensor) -> Tensor:
        """(x - mean) V^T: [..., D] -> [..., k]."""
        return (x - self.mean) @ self.components.mT

    def decode(self, code: Tensor) -> Tensor:
        """code V + mean: [..., k] -> [..., D]."""
        return code @ self.components + self.mean

    def __call__(self, x: Tensor) -> Tensor:
        """The reconstruction of x: [..., D] -> [..., D]."""
        return self.decode(self.encode(x))


def pca(x: Tensor, k: int) -> PCA:
    """The first k principal components of x [N, D], by the SVD of the centred rows.

    Of all k-dimensional affine subspaces theirs has the smallest squared distance to the rows.
    Raises ValueError unless x is [N, D] and 1 <= k <= min(N, D).
    """
    if x.dim() != 2 or not 1 <= k <= min(x.shape):
        raise ValueError(f"need x [N, D] and k in 1..min(N, D), got {list(x.shape)} and k = {k}")
    mean = x.mean(0)
    _, singular, rows = torch.linalg.svd(x - mean, full_matrices=False)
    components = rows[:k]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    return PCA(mean, components * largest.sign(), singular[:k].square() / len(x))


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """Cosines of the angles between the spans of the rows of a [k, D] and b [m, D]: [min(k, m)].

    Largest first; all are 1 where one span lies in the other, whatever rows describe it. They are
    the singular values of Q_a^T Q_b, Q an orthonormal basis of each span.

    Raises ValueError for rows of different lengths, and for rows that depend on each other.
    """
    if a.dim() != 2 or b.dim() != 2 or a.size(1) != b.size(1):
        raise ValueError(
            f"need a [k, D] and b [m, D], rows that span, got {list(a.shape)} and {list(b.shape)}"
        )
    for rows in (a, b):
        if torch.linalg.matrix_rank(rows) < len(rows):
            raise ValueError(f"the {len(rows)} rows depend on each other: give a basis of the span")
    bases = [torch.linalg.qr(rows.mT).Q for rows in (a, b)]  # [k, D] -> [D, k]
    return torch.linalg.svdvals(bases[0].mT @ bases[1]).clamp_max(1.0)


class Autoencoder(nn.Module):
    """Encoder sizes[0] -> ... -> sizes[-1] and its mirror image as decoder.

    Args:
        sizes: (D, hidden sizes ..., k).
        activation: the class of the nonlinearity between layers, such as nn.ReLU; None leaves
            them linear. Neither the code nor the output passes one.

    Raises ValueError for fewer than two sizes, or one below 1.
    """

    def __init__(
        self, sizes: Sequence[int], activation: Callable[[], nn.Module] | None = None
    ) -> None:
        super().__init__()
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes must be (D, ..., k), all at least 1, got {tuple(sizes)}")
        self.encoder = _layers(sizes, activation)
        self.decoder = _layers(sizes[::-1], activation)

    def encode(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., k]."""
        return self.encoder(x)

    def decode(self, code: Tensor) -> Tensor:
        """[..., k] -> [..., D]."""
        return self.decoder(code)

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction: [..., D] -> [..., D]."""
        return self.decode(self.encode(x))


def _layers(sizes: Sequence[int], activation: Callable[[], nn.Module] | None) -> nn.Sequential:
    layers: list[nn.Module] = []
    for place, (before, after) in enumerate(itertools.pairwise(sizes)):
        if place and activation is not None:
            layers.append(activation())
        layers.append(nn.Linear(before, after))
    return nn.Sequential(*layers)


def reconstruction_error(model: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Mean over the rows of ||x - model(x)||^2, a sum over the D pixels: x [N, D] -> []."""
    return (x - model(x)).square().sum(-1).mean()


def fit_linear_autoencoder(
    x: Tensor, k: int, *, steps: int = 150, generator: torch.Generator | None = None
) -> Autoencoder:
    """Autoencoder((D, k)) with the least squared error on x [N, D], by full-batch L-BFGS.

    For any weights the best biases are known, those that give the mean of x back exactly. So only
    the weights are searched, on centred rows, from a random k-dimensional orthonormal frame. Ends
    after `steps` iterations, or earlier where the gradient has vanished.

    Raises ValueError unless x is [N, D] and 1 <= k <= D.
    """
    if x.dim() != 2 or not 1 <= k <= x.size(1):
        raise ValueError(f"need x [N, D] and k in 1..D, got {list(x.shape)} and k = {k}")
    model = Autoencoder((x.size(1), k)).to(device=x.device, dtype=x.dtype)
    encoder, decoder = model.encoder[0], model.decoder[0]
    mean = x.mean(0)
    centred = x - mean
    frame = torch.empty(k, x.size(1), dtype=x.dtype)  # on the CPU, as the generator is
    nn.init.orthogonal_(frame, generator=generator)
    with torch.no_grad():
        encoder.weight.copy_(frame)
        decoder.weight.copy_(frame.mT)
        encoder.bias.zero_()
        decoder.bias.zero_()
    optimizer = torch.optim.LBFGS(
        [encoder.weight, decoder.weight],
        max_iter=steps,
        history_size=60,
        tolerance_grad=1e-7,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = reconstruction_error(model, centred)
        loss.backward()
        return loss

    optimizer.step(closure)
    with torch.no_grad():
        decoder.bias.copy_(mean)
        encoder.bias.copy_(-encoder.weight @ mean)
    model.zero_grad()
    return model


def train_autoencoder(
    model: nn.Module,
    x: Tensor,
    *,
    epochs: int = 100,
    lr: float = 3e-3,
    batch_size: int = 64,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> History:
    """Minimise `reconstruction_error` on x [N, D] by `descend`. Seed the weights before."""
    return descend(
        model,
        lambda model, batch: reconstruction_error(model, *batch),
        x,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        generator=generator,
        progress=progress,
    )
