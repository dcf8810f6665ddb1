"""Two parts of the recipe that transformers are trained with: smoothed labels and a warm-up.

Source: Vaswani et al. 2017, section 5; label smoothing: Szegedy et al. 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["label_smoothed_cross_entropy", "warmup_schedule"]


def label_smoothed_cross_entropy(
    logits: Tensor, target: Tensor, smoothing: float = 0.0, ignore_index: int = -100
) -> Tensor:
    """Mean cross entropy against targets that are softened: - sum_c q(c) log softmax(logits)(c).

    q = (1 - smoothing) one_hot(target) + smoothing / C: the true class keeps 1 - smoothing +
    smoothing / C, each other one gets smoothing / C. In nats.

    Args:
        logits: [..., C], the classes last (torch's cross_entropy has them in axis 1).
        target: int64 [...]; places that hold ignore_index, such as padding, do not count.
        smoothing: between 0 and 1.

    Where nothing counts the loss is 0, with zero gradient (torch's is nan).
    Raises ValueError for shapes that do not fit and for another smoothing.
    """
    if not 0 <= smoothing <= 1:
        raise ValueError(f"smoothing must lie between 0 and 1, got {smoothing}")
    if logits.shape[:-1] != target.shape:
        raise ValueError(
            "logits must be [..., C] and target [...], got "
            f"{list(logits.shape)} and {list(target.shape)}"
        )
    counts = target != ignore_index
    log_p = logits.log_softmax(-1)
    chosen = target.where(counts, 0).unsqueeze(-1)  # [...] -> [..., 1]
    true_class = log_p.gather(-1, chosen).squeeze(-1)  # [..., C] -> [...]
    loss = -(1 - smoothing) * true_class - smoothing * log_p.mean(-1)
    return loss.where(counts, 0).sum() / counts.sum().clamp_min(1)


def warmup_schedule(step: int | Tensor, d_model: int, warmup: int) -> float | Tensor:
    """d^-1/2 min(step^-1/2, step warmup^-3/2): a learning rate that rises for `warmup` steps, then falls.

    It rises in a straight line to (d warmup)^-1/2 at step = warmup, and then falls as step^-1/2.
    Steps count from 1 (for LambdaLR, which counts from 0: lambda i: warmup_schedule(i + 1, ...)).
    A tensor of steps gives a tensor.

    Raises ValueError for a step, a warmup or a d_model below 1.
    """
    if min(d_model, warmup) < 1 or bool((torch.as_tensor(step) < 1).any()):
        raise ValueError(
            f"step, d_model and warmup count from 1, got step {step}, d_model {d_model} and "
            f"warmup {warmup}"
        )
    if isinstance(step, Tensor):
        falling = step.to(torch.get_default_dtype()) if not step.is_floating_point() else step
        return d_model**-0.5 * torch.minimum(falling**-0.5, falling * warmup**-1.5)
    return d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
