"""Layer norm and batch norm: the same formula over different axes.

y = (x - mean) / sqrt(variance + eps) * weight + bias, with the biased variance (divided by the count).

Layer norm takes mean and variance over the features of each token: it needs no other token, works
alike in training and evaluation, and with a batch of one. Batch norm takes them over the batch (and
the positions), for each feature: training uses the batch's own, evaluation a running average.

`layer_norm` and `batch_norm` write the formula out, with torch's arguments; `LayerNorm` calls torch's
fused kernel of the same value, since a transformer's layer spends a good share of its time here.

Sources: Ioffe and Szegedy 2015 (batch), Ba, Kiros and Hinton 2016 (layer).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["BatchNorm1d", "LayerNorm", "batch_norm", "layer_norm"]


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 over the last axes, `normalized_shape`; then times weight, plus bias.

    input [..., *normalized_shape]; weight, bias: [*normalized_shape], 1 and 0 unless given.

    Raises ValueError where the input does not end in normalized_shape.
    """
    shape = list(normalized_shape)
    if not shape or list(input.shape[-len(shape) :]) != shape:
        raise ValueError(f"the input must end in the sizes {shape}, got {list(input.shape)}")
    axes = tuple(range(-len(shape), 0))
    centred = input - input.mean(axes, keepdim=True)
    variance = centred.square().mean(axes, keepdim=True)
    normal = centred * (variance + eps).rsqrt()
    normal = normal if weight is None else normal * weight
    return normal if bias is None else normal + bias


class LayerNorm(nn.Module):
    """`layer_norm` with learned weight and bias, by torch's fused kernel: as torch.nn.LayerNorm.

    Args:
        normalized_shape: the last axes' sizes, or the one size d.
        eps: added to the variance.
        elementwise_affine: learn a weight, at first 1, and
        bias: a bias, at first 0.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = (normalized_shape,) if isinstance(normalized_shape, int) else normalized_shape
        self.normalized_shape, self.eps = tuple(sizes), eps
        learned = {"weight": elementwise_affine, "bias": elementwise_affine and bias}
        for name, there in learned.items():
            empty = torch.empty(self.normalized_shape, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(empty) if there else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """[..., *normalized_shape] -> the same shape."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}"


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Mean 0 and variance 1 of each feature C over the batch and all other axes: [N, C, ...].

    In training the mean and variance are the batch's own. Where running ones [C] are given they
    move towards them, in place, running <- (1 - momentum) running + momentum own; the running
    variance takes the unbiased one, divided by count - 1. In evaluation the running ones are used.

    Raises ValueError for an input without features, for evaluation without running statistics, and
    for training on a single value a feature, whose variance is 0.
    """
    if input.dim() < 2:
        raise ValueError(f"input must be [N, C] or [N, C, ...], got {list(input.shape)}")
    shape = (1, -1) + (1,) * (input.dim() - 2)  # to lay a vector [C] beside [N, C, ...]
    axes = [axis for axis in range(input.dim()) if axis != 1]
    count = input.numel() // max(input.size(1), 1)
    if training:
        if count < 2:
            raise ValueError(
                "batch norm cannot train on one value a feature, got an input "
                f"{list(input.shape)}: its variance is 0. Use a larger batch, or layer norm"
            )
        mean = input.mean(axes)  # [N, C, ...] -> [C]
        variance = (input - mean.view(shape)).square().mean(axes)
        with torch.no_grad():
            if running_mean is not None:
                running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            if running_var is not None:
                unbiased = variance * (count / (count - 1))
                running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    elif running_mean is None or running_var is None:
        raise ValueError("evaluation needs running_mean and running_var: pass both, or train")
    else:
        mean, variance = running_mean, running_var
    normal = (input - mean.view(shape)) * (variance + eps).rsqrt().view(shape)
    normal = normal if weight is None else normal * weight.view(shape)
    return normal if bias is None else normal + bias.view(shape)


class BatchNorm1d(nn.Module):
    """`batch_norm` with learned weight and bias and running statistics: as torch.nn.BatchNorm1d.

    Input [N, C] or [N, C, T]. In evaluation it uses the running statistics, or the batch's own
    without track_running_stats.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: how far the running statistics move a batch; None averages all batches alike.
        affine: learn a weight, at first 1, and a bias, at first 0.
        track_running_stats: keep running_mean, at first 0, and running_var, at first 1.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        options = {"device": device, "dtype": dtype}
        ones, zeros = torch.ones(num_features, **options), torch.zeros(num_features, **options)
        self.register_parameter("weight", nn.Parameter(ones) if affine else None)
        self.register_parameter("bias", nn.Parameter(zeros) if affine else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros.clone() if tracked else None)
        self.register_buffer("running_var", ones.clone() if tracked else None)
        batches = torch.tensor(0, dtype=torch.long, device=device)
        self.register_buffer("num_batches_tracked", batches if tracked else None)

    def forward(self, input: Tensor) -> Tensor:
        """[N, C] or [N, C, T] -> the same shape. Raises ValueError for another number of features."""
        if input.dim() not in (2, 3) or input.size(1) != self.num_features:
            raise ValueError(
                f"input must be [N, {self.num_features}] or [N, {self.num_features}, T], "
                f"got {list(input.shape)}"
            )
        momentum = self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if momentum is None:
                momentum = 1 / self.num_batches_tracked.item()
        training = self.training or self.running_mean is None
        parts = (self.running_mean, self.running_var, self.weight, self.bias)
        return batch_norm(input, *parts, training, momentum or 0.0, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"
