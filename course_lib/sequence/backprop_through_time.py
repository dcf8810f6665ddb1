"""Backpropagation through time by hand, for a tanh, relu or linear RNN, and what it does to gradients.

The net h_t = f(W_ih x_t + W_hh h_{t-1} + b), unrolled over T steps, is a feed-forward net of T layers
whose weights are constrained to be equal. The forward pass pushes each step's activities on a stack;
the backward pass pops them:

    dL/dh_t = g_t + W_hh^T delta_{t+1}       g_t: the gradient that the loss sends to h_t directly
    delta_t = f'(a_t) * dL/dh_t               a_t: the input of f at step t
    dL/dW_hh = sum over t of delta_t h_{t-1}^T,  dL/dW_ih = sum of delta_t x_t^T,  dL/db = sum of delta_t
    dL/dx_t = W_ih^T delta_t,  dL/dh_0 = W_hh^T delta_1

The sums are the weight constraint: the gradient of a shared weight is the sum over its copies. With
the activities fixed, the whole pass is linear in the g_t: nothing squashes a gradient, as f squashes
an activity, so it shrinks or grows geometrically with the lag. (Rumelhart, Hinton & Williams 1986;
Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Activity",
    "Gradients",
    "backward",
    "clip_gradients",
    "forward",
    "gradient_by_lag",
    "lstm_gradient_by_lag",
    "rnn_gradient_by_lag",
]


class Activity(NamedTuple):
    """What a step leaves on the stack for the backward pass."""

    x: Tensor  # x_t [B, I]
    before: Tensor  # h_{t-1} [B, H]
    after: Tensor  # h_t [B, H]


class Gradients(NamedTuple):
    """Gradients of the loss; untied, the three of the weights have a leading axis of T copies."""

    weight_ih: Tensor  # [H, I]
    weight_hh: Tensor  # [H, H]
    bias: Tensor  # [H]
    h0: Tensor  # [B, H]
    x: Tensor  # [T, B, I]
    hidden: Tensor  # dL/dh_t [T, B, H], in all: directly and through later steps


def forward(
    x: Tensor,
    h0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    nonlinearity: str = "tanh",
) -> tuple[Tensor, list[Activity]]:
    """h_t = f(W_ih x_t + W_hh h_{t-1} + b) over the steps: (h [T, B, H], the stack of activities).

    Args:
        x: inputs [T, B, I].
        h0: state before the first step [B, H].
        weight_ih, weight_hh, bias: [H, I], [H, H], [H].
        nonlinearity: f, "tanh", "relu" or "linear".

    Raises ValueError for another nonlinearity and for shapes that do not fit.
    """
    raise NotImplementedError


def backward(
    stack: list[Activity],
    grad_hidden: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    nonlinearity: str = "tanh",
    tied: bool = True,
) -> Gradients:
    """The gradients, from the stack that `forward` left and g_t = grad_hidden [T, B, H].

    The stack is read from its top to its bottom and left as it is. tied=False keeps the gradients of
    the T copies of each weight apart; their sum over the copies is the gradient of the tied weight.
    A loss on the last step only has g_t = 0 for every other t.
    """
    raise NotImplementedError


def clip_gradients(gradients: Sequence[Tensor], max_norm: float) -> tuple[list[Tensor], Tensor]:
    """Scale gradients together to a norm of at most max_norm: (scaled, norm before).

    scale = min(1, max_norm / (norm + 1e-6)), the norm over all numbers of all gradients: what
    torch.nn.utils.clip_grad_norm_ does, without changing its arguments. The direction stays.
    It cures gradients that explode; one that has vanished stays as it is.
    """
    raise NotImplementedError


def gradient_by_lag(gradient: Sequence[Tensor] | Tensor) -> Tensor:
    """Norms of dL/dh_t [T, B, H] by lag T - t, relative to lag 0: [T], beginning with 1."""
    raise NotImplementedError


def rnn_gradient_by_lag(
    radius: float,
    lags: int = 100,
    hidden_size: int = 64,
    nonlinearity: str = "tanh",
    input_scale: float = 1.0,
    batch: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`gradient_by_lag` of dL/dh for a random RNN whose recurrent matrix has that spectral radius.

    The loss is a random projection of the last state; inputs are normal, times input_scale. A linear
    RNN's gradient goes like radius^lag; tanh, whose slope is below 1, shrinks it further.
    """
    raise NotImplementedError


def lstm_gradient_by_lag(
    forget_bias: float,
    lags: int = 100,
    hidden_size: int = 64,
    input_scale: float = 1.0,
    batch: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`gradient_by_lag` of dL/dc, the memory cells, of an untrained LSTM with that forget bias.

    dL/dc_t counts every way from c_t to the loss, through c_{t+1} and through h_t.
    """
    raise NotImplementedError
