"""One step of a recurrent network, and the loop over steps: tanh RNN, LSTM, GRU.

A step takes its input already projected, a_t = W_ih x_t + b [B, G H], with G blocks of H rows. That
part of the work does not wait for the previous step, so a layer does it for all steps in one
matrix product, and the loop is left with what has to be sequential: the product with h_{t-1}.

Shapes and names:
    projected: a_t [B, G H]; G = 1 for the RNN, 4 for the LSTM (i, f, g, o), 3 for the GRU (r, z, n).
    h, c: the hidden state and the memory cells [B, H].
    recurrent: the transpose of torch's weight_hh, [H, G H].
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["gru_scan", "gru_step", "lstm_scan", "lstm_step", "rnn_scan", "rnn_step"]

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


def rnn_step(projected: Tensor, h: Tensor, recurrent: Tensor, nonlinearity: str = "tanh") -> Tensor:
    """h_t = f(a_t + W_hh h_{t-1}), f = tanh or relu (Elman 1990): [B, H] -> [B, H]."""
    return ACTIVATIONS[nonlinearity](torch.addmm(projected, h, recurrent))


def lstm_step(projected: Tensor, h: Tensor, c: Tensor, recurrent: Tensor) -> tuple[Tensor, Tensor]:
    """One LSTM step (Hochreiter & Schmidhuber 1997; forget gate Gers et al. 2000): (h_t, c_t).

    [i f g o] = a_t + W_hh h_{t-1}, four blocks of H;
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)     keep what is there, write what is new
    h_t = sigmoid(o) * tanh(c_t)                          read it
    """
    i, f, g, o = torch.addmm(projected, h, recurrent).chunk(4, 1)  # [B, 4H] -> 4 x [B, H]
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(projected: Tensor, h: Tensor, recurrent: Tensor, bias_hh: Tensor | None) -> Tensor:
    """One GRU step (Cho et al. 2014) in torch's form: [B, H] -> [B, H].

    [r z n] = a_t, [r' z' n'] = W_hh h_{t-1} + b_hh, three blocks of H each;
    h_t = (1 - u) * tanh(n + sigmoid(r + r') * n') + u * h_{t-1},  u = sigmoid(z + z')

    bias_hh [3H] cannot be folded into a_t: its third block is inside the reset gate's product.
    """
    size = h.size(1)
    heard = h @ recurrent if bias_hh is None else torch.addmm(bias_hh, h, recurrent)  # [B, 3H]
    gates, new = projected.split((2 * size, size), 1)
    own_gates, own_new = heard.split((2 * size, size), 1)
    reset, update = (gates + own_gates).sigmoid().chunk(2, 1)
    return torch.lerp(torch.addcmul(new, reset, own_new).tanh(), h, update)


def rnn_scan(
    projected: Iterable[Tensor], h: Tensor, recurrent: Tensor, nonlinearity: str = "tanh"
) -> list[Tensor]:
    """`rnn_step` over the steps from state h: the list of h_1 ... h_T."""
    hidden = []
    for step in projected:
        h = rnn_step(step, h, recurrent, nonlinearity)
        hidden.append(h)
    return hidden


def lstm_scan(
    projected: Iterable[Tensor], h: Tensor, c: Tensor, recurrent: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """`lstm_step` over the steps from (h, c): the lists of h_1 ... h_T and c_1 ... c_T."""
    hidden, cells = [], []
    for step in projected:
        h, c = lstm_step(step, h, c, recurrent)
        hidden.append(h)
        cells.append(c)
    return hidden, cells


def gru_scan(
    projected: Iterable[Tensor], h: Tensor, recurrent: Tensor, bias_hh: Tensor | None
) -> list[Tensor]:
    """`gru_step` over the steps from state h: the list of h_1 ... h_T."""
    hidden = []
    for step in projected:
        h = gru_step(step, h, recurrent, bias_hh)
        hidden.append(h)
    return hidden
