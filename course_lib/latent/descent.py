"""Training for this package: Adam on shuffled minibatches, its step size falling to zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.training import History, fit

__all__ = ["Minibatches", "descend", "half_cosine", "straight_line"]


def straight_line(done: float) -> float:
    """1 - x at the share x = `done` of the epochs."""
    return 1 - done


def half_cosine(done: float) -> float:
    """(1 + cos(pi x)) / 2 at the share x = `done` of the epochs: slow at first and in the end."""
    return (1 + math.cos(math.pi * done)) / 2


class Minibatches:
    """Rows of some tensors [N, ...] in a new order at each pass: tuples of [batch_size, ...].

    Raises ValueError where the tensors differ in their number of rows, or have none.
    """

    def __init__(
        self, *tensors: Tensor, batch_size: int, generator: torch.Generator | None = None
    ) -> None:
        lengths = [len(tensor) for tensor in tensors]
        if not lengths or len(set(lengths)) > 1 or min(lengths) < 1 or batch_size < 1:
            raise ValueError(
                f"need tensors of one number of rows >= 1 and batch_size >= 1, got rows {lengths} "
                f"and batch_size {batch_size}"
            )
        self.tensors, self.batch_size, self.generator = tensors, batch_size, generator

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        device = "cpu" if self.generator is None else self.generator.device
        order = torch.randperm(len(self.tensors[0]), generator=self.generator, device=device)
        for rows in order.to(self.tensors[0].device).split(self.batch_size):
            yield tuple(tensor.index_select(0, rows) for tensor in self.tensors)


def descend(
    model: nn.Module,
    loss_fn: Callable[[nn.Module, Any], Tensor],
    *tensors: Tensor,
    epochs: int,
    lr: float,
    batch_size: int,
    generator: torch.Generator | None = None,
    fall: Callable[[float], float] = straight_line,
    clip: float | None = None,
    progress: bool = False,
    on_epoch: Callable[[int, History], None] | None = None,
    **fit_options: Any,
) -> History:
    """Minimise loss_fn(model, (rows of each tensor)) by Adam; the model ends in evaluation mode.

    The step size is lr fall(e / epochs) in epoch e: large at first, and so small in the end that
    the noise of the minibatches dies down. Called again, training goes on from the weights there are.

    Args:
        generator: draws the order of the rows, and whatever the loss draws from it.
        fall: share of lr that is left after a share of the epochs, 1 at 0 and 0 at 1.
        clip: bound of the gradient's norm at each step; None for none.
        on_epoch, fit_options: as in `course_lib.training.fit` (`validate`, `patience`, `checkpoint`).
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    if clip is not None:

        def bounded(*_: object) -> None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)

        optimizer.register_step_pre_hook(bounded)

    def lower(epoch: int, history: History) -> None:
        optimizer.param_groups[0]["lr"] = lr * fall((epoch + 1) / epochs)
        if on_epoch is not None:
            on_epoch(epoch, history)

    return fit(
        model,
        loss_fn,
        Minibatches(*tensors, batch_size=batch_size, generator=generator),
        epochs=epochs,
        optimizer=optimizer,
        on_epoch=lower,
        generators=[] if generator is None else [generator],
        progress=progress,
        **fit_options,
    )
