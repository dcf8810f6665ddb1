"""The references of unit 02, by other means than the lab's.

Where torch has the thing ready-made, torch is asked; else the same quantity is computed along another road: gradients
by linearising the forward pass, the forward variables of a hidden Markov model as a filtered belief, the Kalman filter
in terms of inverse covariances. Weights have torch's shapes and, for the LSTM, torch's gate order i, f, g, o.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def rnn_states(
    x: Tensor, h0: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> Tensor:
    """All states [T, B, H] of a tanh RNN, by torch's own; x [T, B, I], h0 [B, H]."""
    weights = [w_ih, w_hh, b_ih, b_hh]
    return torch.rnn_tanh(x, h0.unsqueeze(0), weights, True, 1, 0.0, False, False, False)[0]


def backpropagate(
    x: Tensor, states: Tensor, w_hh: Tensor, grad_last: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for W_ih [H, I], W_hh [H, H] and h0 [B, H], from a tanh RNN's states h_0 ... h_T [T + 1, B, H].

    The states answer a small change of the weights and of h0 by u_t = slope_t (x_t dW_ih^T + h_{t-1} dW_hh^T +
    u_{t-1} W_hh^T), which is linear in the change; the gradients are those of <grad_last, u_T>.
    """
    hidden = w_hh.shape[0]
    with torch.enable_grad():
        changes = (
            w_hh.new_zeros(hidden, x.shape[2]).requires_grad_(),
            w_hh.new_zeros(hidden, hidden).requires_grad_(),
            torch.zeros_like(states[0]).requires_grad_(),
        )
        slopes, u = 1 - states[1:].detach() ** 2, changes[2]
        for x_t, before, slope in zip(x, states, slopes):
            u = slope * (x_t @ changes[0].T + before @ changes[1].T + u @ w_hh.T)
        return torch.autograd.grad((grad_last * u).sum(), changes)


def clip_gradients(gradients: Sequence[Tensor], max_norm: float) -> list[Tensor]:
    """The gradients scaled together to a global norm of at most max_norm, by torch's clip_grad_norm_."""
    holders = [torch.zeros_like(g).requires_grad_() for g in gradients]
    for holder, gradient in zip(holders, gradients):
        holder.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(holders, max_norm)
    return [holder.grad for holder in holders]


def lstm_step(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
) -> tuple[Tensor, Tensor]:
    """(h', c') of an LSTM cell, by torch's own; x [B, I], h and c [B, H], w_ih [4H, I], w_hh [4H, H]."""
    return torch.lstm_cell(x, (h, c), w_ih, w_hh, b_ih, b_hh)


def cell_gradients(
    x: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, forget_bias: float
) -> Tensor:
    """Norms [T + 1] of dL/dc_{T-k}, k = 0 ... T, for L = the sum of all entries of h_T, with torch's cell."""
    hidden = w_hh.shape[1]
    blocks = torch.arange(4 * hidden, device=x.device) // hidden  # 0 0 .. 1 1 .. 2 2 .. 3 3 ..
    b_hh = b_hh + forget_bias * (blocks == 1)
    with torch.enable_grad():
        h = x.new_zeros(x.shape[1], hidden)
        cells = [h.clone().requires_grad_()]
        for x_t in x:
            h, c = torch.lstm_cell(x_t, (h, cells[-1]), w_ih, w_hh, b_ih, b_hh)
            cells.append(c)
        gradients = torch.autograd.grad(h.sum(), cells)
    return torch.stack([g.norm() for g in reversed(gradients)])


def forward_log(
    observations: Tensor, initial: Tensor, transition: Tensor, emission: Tensor
) -> Tensor:
    """log p(x_1 ... x_t, z_t = j) [T, N] of a hidden Markov model, as log of the belief plus log-likelihood so far."""
    predicted, moves, emits = initial.double(), transition.double(), emission.double()
    beliefs, totals = [], []
    for symbol in observations.tolist():
        joint = predicted * emits[:, symbol]
        totals.append(joint.sum())  # p(x_t | x_1 ... x_{t-1})
        beliefs.append(joint / totals[-1].clamp(min=1e-300))  # all 0 from what is impossible on
        predicted = beliefs[-1] @ moves
    log_likelihood = torch.stack(totals).log().cumsum(0)
    return (torch.stack(beliefs).log() + log_likelihood[:, None]).to(initial.dtype)


def kalman_step(
    mean: Tensor,
    covariance: Tensor,
    y: Tensor,
    A: Tensor,
    C: Tensor,
    Q: Tensor,
    R: Tensor,
) -> tuple[Tensor, Tensor]:
    """Predict and update in terms of precisions (inverse covariances), in float64: (mean [D], covariance [D, D])."""
    given = (mean, covariance, y, A, C, Q, R)
    m, P, seen, move, see, noise, error = (value.double() for value in given)
    prior = torch.linalg.inv(move @ P @ move.T + noise)
    gained = see.T @ torch.linalg.inv(error)  # [D, M]
    P = torch.linalg.inv(prior + gained @ see)
    m = P @ (prior @ (move @ m) + gained @ seen)
    return m.to(mean.dtype), P.to(mean.dtype)


def scale_spectrum(matrix: Tensor, radius: float) -> Tensor:
    """The matrix times a number, so that its largest |eigenvalue| is `radius`; eigenvalues by numpy, in float64."""
    largest = np.abs(np.linalg.eigvals(matrix.detach().cpu().double().numpy())).max()
    return matrix * (radius / float(largest))
