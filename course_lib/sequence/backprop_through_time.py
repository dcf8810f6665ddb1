"""Backpropagation through time by hand, for a tanh, relu or linear RNN, and what it does to gradients.

The net h_t = f(W_ih x_t + W_hh h_{t-1} + b), unrolled over T steps, is a feed-forward net of T layers
whose weights are constrained to be equal. The forward pass pushes each step's activities on a stack;
the backward pass pops them. For one sequence, with column vectors (a batch adds up the sums):

    dL/dh_t = g_t + W_hh^T delta_{t+1}       g_t: the gradient that the loss sends to h_t directly
    delta_t = f'(a_t) * dL/dh_t               a_t: the input of f at step t
    dL/dW_hh = sum over t of delta_t h_{t-1}^T,  dL/dW_ih = sum of delta_t x_t^T,  dL/db = sum of delta_t
    dL/dx_t = W_ih^T delta_t,  dL/dh_0 = W_hh^T delta_1

The sums are the weight constraint: the gradient of a shared weight is the sum over its copies. With
the activities fixed, the whole pass is linear in the g_t: nothing squashes a gradient, as f squashes
an activity, so over many steps it shrinks or grows about geometrically. (Rumelhart, Hinton & Williams
1986; Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.sequence.cells import lstm_scan
from course_lib.sequence.recurrent import LSTM, set_forget_bias
from course_lib.sequence.reservoir import scale_spectral_radius

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


# f, and its slope written in terms of its value h = f(a): what the stack holds is then enough.
NONLINEARITIES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "tanh": (torch.tanh, lambda h: 1 - h * h),
    "relu": (torch.relu, lambda h: (h > 0).to(h.dtype)),
    "linear": (lambda a: a, torch.ones_like),
}


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


def _nonlinearity(name: str) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    if name not in NONLINEARITIES:
        raise ValueError(f"nonlinearity must be one of {[*NONLINEARITIES]}, got {name!r}")
    return NONLINEARITIES[name]


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

    Raises ValueError for another nonlinearity, shapes that do not fit, and a sequence of no steps.
    """
    activation = _nonlinearity(nonlinearity)[0]
    fits = x.dim() == 3 and weight_ih.shape == (h0.size(-1), x.size(-1))
    if not fits or weight_hh.shape != (h0.size(-1), h0.size(-1)) or h0.shape[:-1] != x.shape[1:2]:
        raise ValueError(
            "x must be [T, B, I], h0 [B, H], weight_ih [H, I] and weight_hh [H, H], got "
            f"{', '.join(str(list(part.shape)) for part in (x, h0, weight_ih, weight_hh))}"
        )
    if x.size(0) == 0:
        raise ValueError("the sequence has no steps: pass at least one")
    h, stack = h0, []
    for projected, x_t in zip(F.linear(x, weight_ih, bias), x):
        before, h = h, activation(projected + h @ weight_hh.t())
        stack.append(Activity(x_t, before, h))
    return torch.stack([activity.after for activity in stack]), stack


def backward(
    stack: list[Activity],
    grad_hidden: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    nonlinearity: str = "tanh",
    tied: bool = True,
) -> Gradients:
    """The gradients, from the stack that `forward` left and the g_t, grad_hidden [T, B, H].

    The stack is read from the top down and left as it is. tied=False keeps the gradients of
    the T copies of each weight apart; their sum over the copies is the gradient of the tied weight.
    A loss on the last step only has g_t = 0 for every other t.
    """
    slope = _nonlinearity(nonlinearity)[1]
    if len(stack) != grad_hidden.size(0):
        raise ValueError(
            f"grad_hidden must hold a gradient for each of the {len(stack)} steps on the stack, "
            f"got {list(grad_hidden.shape)}"
        )
    from_later = torch.zeros_like(stack[-1].after)  # W_hh^T delta_{t+1}: nothing comes after T
    deltas, hidden = [], []
    for activity, from_loss in zip(reversed(stack), reversed(grad_hidden.unbind(0))):
        hidden.append(from_loss + from_later)
        deltas.append(slope(activity.after) * hidden[-1])
        from_later = deltas[-1] @ weight_hh
    delta = torch.stack(deltas[::-1])  # [T, B, H]
    rows = delta.transpose(1, 2)  # [T, H, B]: a product with [T, B, I] sums over the batch
    copies = (
        rows @ torch.stack([activity.x for activity in stack]),  # [T, H, I]
        rows @ torch.stack([activity.before for activity in stack]),  # [T, H, H]
        delta.sum(1),  # [T, H]
    )
    of_weights = (copy.sum(0) for copy in copies) if tied else copies
    return Gradients(*of_weights, from_later, delta @ weight_ih, torch.stack(hidden[::-1]))


def clip_gradients(gradients: Sequence[Tensor], max_norm: float) -> tuple[list[Tensor], Tensor]:
    """Scale gradients together to a norm of at most max_norm: (scaled, norm before).

    scale = min(1, max_norm / (norm + 1e-6)), the norm over all numbers of all gradients: what
    torch.nn.utils.clip_grad_norm_ does, without changing its arguments. The direction stays.
    It cures gradients that explode; one that has vanished stays as it is.
    """
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    scale = (max_norm / (norm + 1e-6)).clamp(max=1)
    return [gradient * scale for gradient in gradients], norm


def gradient_by_lag(gradient: Tensor) -> Tensor:
    """Norms of a gradient [T, B, H] by lag T - t, relative to lag 0: [T], beginning with 1."""
    norms = gradient.flatten(1).norm(dim=1).flip(0)
    return norms / norms[0]


def rnn_gradient_by_lag(
    radius: float,
    lags: int = 100,
    hidden_size: int = 64,
    nonlinearity: str = "tanh",
    input_scale: float = 1.0,
    batch: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`gradient_by_lag` of dL/dh in a random RNN of that spectral radius: [lags], float64.

    W_hh holds normal numbers, scaled to the radius; each unit has an input of its own, normal times
    input_scale; the loss is a random projection of the last state. In a linear net the norm goes
    like radius^lag. With tanh it does where the units stay near 0 (below radius 1, with small
    inputs); units that are driven hard have slopes near 0, and gradients vanish at radii above 1 too.
    """
    options = {"generator": generator, "dtype": torch.float64}
    weight_hh = scale_spectral_radius(torch.randn(hidden_size, hidden_size, **options), radius)
    weight_ih = torch.eye(hidden_size, dtype=torch.float64)
    x = input_scale * torch.randn(lags, batch, hidden_size, **options)
    h0 = x.new_zeros(batch, hidden_size)
    _, stack = forward(x, h0, weight_ih, weight_hh, nonlinearity=nonlinearity)
    from_loss = torch.zeros_like(x)
    from_loss[-1] = torch.randn(batch, hidden_size, **options)
    return gradient_by_lag(backward(stack, from_loss, weight_ih, weight_hh, nonlinearity).hidden)


def lstm_gradient_by_lag(
    forget_bias: float,
    lags: int = 100,
    hidden_size: int = 64,
    batch: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """`gradient_by_lag` of dL/dc, by the memory cells, in an untrained LSTM: [lags], float64.

    Inputs are one normal number a step, the loss the sum of the last hidden states, weights torch's
    uniform ±1/sqrt(H). The cells alone would carry sigmoid(forget_bias)^lag of the gradient: 2e-30,
    3e-14 and .008 at lag 99 for biases 0, 1 and 3. dL/dc_t counts the ways by h_t as well, which
    carry more: about 1e-20, 1e-7 and 3.
    """
    lstm = LSTM(1, hidden_size, dtype=torch.float64)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.uniform_(-(hidden_size**-0.5), hidden_size**-0.5, generator=generator)
    set_forget_bias(lstm, forget_bias)
    x = torch.randn(lags, batch, 1, generator=generator, dtype=torch.float64)
    projected = F.linear(x, lstm.weight_ih_l0, lstm.bias_ih_l0 + lstm.bias_hh_l0)
    start = x.new_zeros(batch, hidden_size)
    hidden, cells = lstm_scan(projected.unbind(0), start, start, lstm.weight_hh_l0.t())
    return gradient_by_lag(torch.stack(torch.autograd.grad(hidden[-1].sum(), cells)))
