"""How much a hidden Markov model of N states can remember: at most log2 N bits.

Given the state z_t, past and future are independent; so all that the past says of the future has to
pass through one of N states, and I(past; future) <= I(past; z_t) <= H(z_t) <= log2 N bits.

Sources: Bialek, Nemenman & Tishby, Predictability, Complexity, and Learning, Neural Computation
2001; Hinton's lecture on HMMs and recurrent networks, in MIT 6.874, lecture 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from course_lib.sequence.hidden_markov import HiddenMarkov, forward, log_likelihood

__all__ = ["all_sequences", "cyclic_counter", "predictive_information", "repeated_bits"]

MOST_SEQUENCES = 2**12


def all_sequences(num_symbols: int, steps: int) -> Tensor:
    """Every sequence of `steps` symbols, in counting order: int64 [num_symbols^steps, steps].

    Raises ValueError for numbers below 1, and for more than 2^12 sequences.
    """
    if num_symbols < 1 or steps < 1 or num_symbols**steps > MOST_SEQUENCES:
        raise ValueError(
            f"{num_symbols}^{steps} sequences: give numbers of at least 1 and at most "
            f"{MOST_SEQUENCES} sequences, that is, look at fewer steps"
        )
    place = num_symbols ** torch.arange(steps - 1, -1, -1)
    return torch.arange(num_symbols**steps)[:, None] // place % num_symbols


def repeated_bits(k: int) -> Tensor:
    """k random bits, then the same again: all 2^k equally likely sequences, int64 [2^k, 2k].

    A model that says p for the second half, given the first, loses -log2 p bits on it. A hidden
    Markov model of N states loses at least k - log2 N on average: it picks a state with the first
    half, and what the states then say of all 2^k continuations sums to N at most.
    """
    bits = all_sequences(2, k)
    return torch.cat([bits, bits], dim=1)


def cyclic_counter(
    num_states: int, slip: float = 0.0, noise: float = 0.0, dtype: torch.dtype = torch.float64
) -> HiddenMarkov:
    """A clock: N states in a ring, one step on each time, symbol 1 (a tick) in state 0 and symbol 0 elsewhere.

    With probability `slip` it stays where it is, with probability `noise` the symbol is flipped.
    It starts anywhere. Without either the last N - 1 symbols tell its state, so that it attains
    log2 N bits of predictive information.

    Raises ValueError for no states, or a probability outside 0..1.
    """
    if num_states < 1 or not (0 <= slip <= 1 and 0 <= noise <= 1):
        raise ValueError(
            "a counter has num_states >= 1 and probabilities slip and noise in 0..1, got "
            f"{num_states}, {slip} and {noise}"
        )
    stay = torch.eye(num_states, dtype=dtype)
    tick = noise + (1 - 2 * noise) * stay[0]
    return HiddenMarkov(
        torch.full((num_states,), 1 / num_states, dtype=dtype),
        slip * stay + (1 - slip) * stay.roll(1, dims=1),
        torch.stack([1 - tick, tick], dim=1),
    )


@torch.no_grad()
def predictive_information(model: HiddenMarkov, past: int, future: int) -> float:
    """I(x_1..x_past; x_{past+1}..x_{past+future}) in bits, exactly, over all sequences.

        p(past, future) = sum_i p(past, z = i) p(future | z = i),

    a product [K^past, N] [N, K^future]: its rank is at most N.

    Raises ValueError where past or future has more than 2^12 sequences, and for R models.
    """
    if model.initial.dim() != 1:
        raise ValueError("predictive_information takes a single model: choose one with pick")
    n, device = model.num_states, model.initial.device
    pasts = all_sequences(model.num_symbols, past).to(device)
    futures = all_sequences(model.num_symbols, future).to(device)
    log_belief, log_evidence = forward(model, pasts)
    arrived = (log_belief[:, -1] + log_evidence.sum(1, keepdim=True)).exp()  # [K^past, N]
    ahead = HiddenMarkov(  # N models side by side: number i starts one step after state i
        model.transition,
        model.transition.expand(n, n, n),
        model.emission.expand(n, n, model.num_symbols),
    )
    joint = arrived @ log_likelihood(ahead, futures).exp()  # [K^past, K^future]
    apart = joint.sum(1, keepdim=True) * joint.sum(0)
    bits = torch.special.xlogy(joint, joint) - torch.special.xlogy(joint, apart)
    return float(bits.sum()) / math.log(2)
