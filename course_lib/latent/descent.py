"""Training for this package: Adam on shuffled minibatches, its step size falling to zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.training import History, fit

__all__ = ["Minibatches", "descend"]


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
    progress: bool = False,
) -> History:
    """Minimise loss_fn(model, (rows of each tensor)) by Adam; the model ends in evaluation mode.

    The step size is lr (1 - e / epochs) in epoch e: large at first, and so small in the end that
    the noise of the minibatches dies down. Called again, training goes on from the weights there are.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)

    def lower(epoch: int, _: History) -> None:
        optimizer.param_groups[0]["lr"] = lr * (1 - (epoch + 1) / epochs)

    batches = Minibatches(*tensors, batch_size=batch_size, generator=generator)
    return fit(
        model,
        loss_fn,
        batches,
        epochs=epochs,
        optimizer=optimizer,
        on_epoch=lower,
        progress=progress,
    )
