"""Convolutional, locally connected and recurrent layers as what they are: one matrix with a pattern."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _reading(
    length: int,
    kernel_size: int,
    padding: int,
    padding_mode: str,
    device: torch.device | None = None,
) -> Tensor:
    """The place [L_out, k] that each tap of each output reads; -1 where it reads the padding's zero."""
    if padding_mode not in ("zeros", "circular"):
        raise ValueError(f"padding_mode must be 'zeros' or 'circular', got {padding_mode!r}")
    out_length = length + 2 * padding - kernel_size + 1
    if kernel_size < 1 or padding < 0 or out_length < 1:
        raise ValueError(
            f"a kernel of {kernel_size} does not fit into length {length} with padding {padding}: "
            "need kernel_size >= 1, padding >= 0 and length + 2 padding >= kernel_size"
        )
    if padding_mode == "circular" and padding > length:
        raise ValueError(f"circular padding {padding} would wrap around length {length} twice")
    places = torch.arange(out_length, device=device)[:, None] - padding
    places = places + torch.arange(kernel_size, device=device)  # [L_out, k]
    if padding_mode == "circular":
        return places % length
    return torch.where((places >= 0) & (places < length), places, -1)


def toeplitz_weight(
    kernel: Tensor, length: int, padding: int = 0, padding_mode: str = "zeros"
) -> Tensor:
    """The matrix W of a 1-D convolution, so that W x = conv1d(x, kernel).

        y_i = sum_r kernel_r x_{i + r - padding}      W_{ij} = kernel_{j - i + padding}

    With zero padding, x and the kernel are zero beyond their ends. With circular padding the places of x count modulo
    L, and W_{ij} is the sum of all kernel_r with r = j - i + padding modulo L.
    One diagonal, one weight: a Toeplitz matrix; with circular padding and as many outputs as inputs, a circulant one.
    Gradients flow to `kernel`, summed along each diagonal.

    Args:
        kernel: [k], or [C_out, C_in, k] as in `torch.nn.Conv1d`.
        length: L, the number of places of the input.
        padding: places added at both ends; (k - 1) / 2 keeps the length.
        padding_mode: what is added, "zeros" or "circular" (the other end of the input).

    Returns:
        [L_out, L] with L_out = L + 2 padding - k + 1; with channels [C_out L_out, C_in L], rows and columns ordered as
        `x.flatten()` orders an x of [C, L].

    Raises:
        ValueError: a kernel of another shape or too long, a negative padding, an unknown mode, a circular padding
            greater than L.
    """
    if kernel.dim() not in (1, 3):
        raise ValueError(f"kernel must be [k] or [C_out, C_in, k], got {list(kernel.shape)}")
    bank = kernel if kernel.dim() == 3 else kernel[None, None]
    out_channels, in_channels, k = bank.shape
    columns = _reading(length, k, padding, padding_mode, kernel.device)  # [L_out, k]
    out_length = len(columns)
    rows, taps = torch.meshgrid(
        *(torch.arange(n, device=kernel.device) for n in (out_length, k)), indexing="ij"
    )
    inside = columns >= 0
    entry = (rows * length + columns)[inside]
    weight = bank.new_zeros(out_channels, in_channels, out_length * length)
    weight = weight.index_add(2, entry, bank.index_select(2, taps[inside]))
    weight = weight.view(out_channels, in_channels, out_length, length).transpose(1, 2)
    return weight.reshape(out_channels * out_length, in_channels * length)  # [O, L_out, C, L] ->


def recurrent_weight(w_in: Tensor, w_hidden: Tensor, steps: int) -> Tensor:
    """The matrix of a linear recurrent layer, unrolled over `steps` from h_0 = 0.

        h_t = W_hidden h_{t-1} + W_in x_t,  t = 1..T      h_t = sum_{s <= t} W_hidden^(t-s) W_in x_s

    So block (t, s) is W_hidden^(t-s) W_in for s <= t and zero after: the same block along each diagonal.

    Args:
        w_in: [H, F].  w_hidden: [H, H].  steps: T.

    Returns:
        [T H, T F], rows and columns ordered by step, then by unit.

    Raises ValueError for other shapes, or steps < 1.
    """
    if w_in.dim() != 2 or w_hidden.shape != (len(w_in), len(w_in)) or steps < 1:
        raise ValueError(
            f"need w_in [H, F], w_hidden [H, H] and steps >= 1, got {list(w_in.shape)}, "
            f"{list(w_hidden.shape)} and {steps}"
        )
    hidden, features = w_in.shape
    blocks = [w_in]
    for _ in range(steps - 1):
        blocks.append(w_hidden @ blocks[-1])
    step = torch.arange(steps, device=w_in.device)
    lag = step[:, None] - step  # [T, T]
    past = (lag >= 0).to(w_in.dtype)[..., None, None]
    weight = torch.stack(blocks)[lag.clamp(min=0)] * past  # [T, T, H, F]
    return weight.transpose(1, 2).reshape(steps * hidden, steps * features)


class LocallyConnected1d(nn.Module):
    """A convolution that does not share: each output place reads its k neighbours with weights of its own.

        y_{o,i} = b_{i,o} + sum_{c,r} W_{i,o,c,r} x_{c, i + r - padding}

    Locality is a bias (weights from far away are forbidden); sharing is another, and is missing here. With all
    W_i equal and all b_i equal it is `torch.nn.Conv1d`.

    Args:
        in_channels, out_channels, kernel_size, bias: as in `torch.nn.Conv1d`.
        length: L, the number of places of the input, which has to be known.
        padding: places added at both ends.
        padding_mode: what is added, "zeros" or "circular".

    Raises:
        ValueError: a kernel that does not fit into L + 2 padding places, a negative padding, an unknown mode, a
            circular padding greater than L.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        length: int,
        padding: int = 0,
        padding_mode: str = "zeros",
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.padding, self.padding_mode, self.length = padding, padding_mode, length
        out_length = len(_reading(length, kernel_size, padding, padding_mode))
        self.weight = nn.Parameter(torch.empty(out_length, out_channels, in_channels, kernel_size))
        self.bias = nn.Parameter(torch.empty(out_length, out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform within 1 / sqrt(C_in k), as `torch.nn.Conv1d`."""
        bound = 1 / math.sqrt(self.weight[0, 0].numel())
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, L] -> [B, C_out, L_out].

        Raises ValueError for another shape.
        """
        if x.dim() != 3 or x.shape[1:] != (self.weight.size(2), self.length):
            raise ValueError(
                f"x must be [B, {self.weight.size(2)}, {self.length}], got {list(x.shape)}"
            )
        mode = "constant" if self.padding_mode == "zeros" else "circular"
        x = F.pad(x, (self.padding, self.padding), mode=mode)
        windows = x.unfold(2, self.weight.size(3), 1)  # [B, C, L + 2p] -> [B, C, L_out, k]
        out = torch.einsum("bclk,lock->bol", windows, self.weight)
        return out if self.bias is None else out + self.bias.T

    def matrix(self) -> Tensor:
        """The layer's matrix [C_out L_out, C_in L], as `toeplitz_weight` writes a convolution's."""
        out_length, out_channels, in_channels, k = self.weight.shape
        columns = _reading(self.length, k, self.padding, self.padding_mode, self.weight.device)
        reads = F.one_hot(columns + 1, self.length + 1)[
            ..., 1:
        ]  # [L_out, k, L]; the padding drops out
        dense = torch.einsum("lock,lkj->olcj", self.weight, reads.to(self.weight.dtype))
        return dense.reshape(out_channels * out_length, in_channels * self.length)
