"""Learning a hidden Markov model: Baum and Welch's expectation maximisation, many starts at once.

Sources: Baum, Petrie, Soules & Weiss, Annals of Mathematical Statistics 1970; Rabiner 1989.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from course_lib.sequence.hidden_markov import (
    HiddenMarkov,
    backward,
    check_possible,
    forward,
    log_emitted,
)

__all__ = ["ExpectedCounts", "baum_welch", "expected_counts", "maximise", "random_hidden_markov"]


class ExpectedCounts(NamedTuple):
    """How often, on average over the posterior of all sequences, a model does what.

    initial [(R), N]: starts in i. transition [(R), N, N]: goes from i to j.
    emission [(R), N, K]: shows k in j. log_likelihood [(R)]: log p of all sequences, in nats.
    """

    initial: Tensor
    transition: Tensor
    emission: Tensor
    log_likelihood: Tensor


def random_hidden_markov(
    num_states: int,
    num_symbols: int,
    restarts: int | None = None,
    generator: torch.Generator | None = None,
    *,
    sharpness: float = 1.0,
    dtype: torch.dtype = torch.float64,
) -> HiddenMarkov:
    """A model (or `restarts` of them) whose rows are drawn at random.

    Args:
        sharpness: at 1 rows are drawn evenly from all distributions; above, their entries are
            raised to this power (and normalised), so that each row has a few large ones. From even
            rows, where all states look alike, `baum_welch` can take hundreds of steps to get going.

    Raises ValueError unless all three numbers are at least 1 and sharpness is positive.
    """
    if min(num_states, num_symbols, 1 if restarts is None else restarts) < 1:
        raise ValueError(
            "num_states, num_symbols and restarts must be at least 1, got "
            f"{num_states}, {num_symbols}, {restarts}"
        )
    if sharpness <= 0:
        raise ValueError(f"sharpness must be positive, got {sharpness}")
    lead = () if restarts is None else (restarts,)
    place = "cpu" if generator is None else generator.device

    def rows(*shape: int) -> Tensor:
        uniform = torch.rand(*lead, *shape, generator=generator, device=place, dtype=dtype)
        lengths = -torch.log1p(-uniform)  # exponential, so that the shares are evenly distributed
        lengths = lengths**sharpness
        return lengths / lengths.sum(-1, keepdim=True)

    n, k = num_states, num_symbols
    return HiddenMarkov(rows(n), rows(n, n), rows(n, k))


@torch.no_grad()
def expected_counts(model: HiddenMarkov, x: Tensor) -> ExpectedCounts:
    """The E step: posterior counts of starts, transitions and emissions over sequences x [B, T].

        p(z_t = i, z_{t+1} = j | x) = b_t(i) T_ij E_j(x_{t+1}) g_{t+1}(j) / c_{t+1}

    with belief b, evidence c and gain g as in `forward` and `backward`; formed in log space, one
    step at a time, so that memory does not grow with T beyond the beliefs themselves.

    Raises ValueError where a sequence is impossible under the model.
    """
    log_belief, log_evidence = forward(model, x)
    check_possible(log_evidence)
    log_gain = backward(model, x, log_evidence)
    posterior = (log_belief + log_gain).exp()  # [(R), B, T, N]
    # what turns a prediction of z_t into its posterior: log E_j(x_t) g_t(j) / c_t, [(R), B, T, N]
    ahead = log_emitted(model, x) + log_gain - log_evidence.unsqueeze(-1)
    log_transition = model.transition.log().unsqueeze(-3)  # [(R), 1, N, N]
    moves = torch.zeros_like(model.transition)
    for t in range(1, x.size(1)):
        pair = log_belief[..., t - 1, :].unsqueeze(-1) + ahead[..., t, :].unsqueeze(-2)
        moves += (pair + log_transition).exp().sum(-3)  # [(R), B, N, N] -> [(R), N, N]
    flat = posterior.flatten(-3, -2)  # [(R), B T, N]
    shows = flat.new_zeros(*flat.shape[:-2], model.num_symbols, model.num_states)
    shows.index_add_(-2, x.flatten(), flat)  # [(R), K, N]
    return ExpectedCounts(posterior[..., 0, :].sum(-2), moves, shows.mT, log_evidence.sum((-1, -2)))


def maximise(counts: ExpectedCounts, model: HiddenMarkov) -> HiddenMarkov:
    """The M step: counts divided by their row's sum. A row never visited stays as in `model`."""

    def normalised(count: Tensor, old: Tensor) -> Tensor:
        total = count.sum(-1, keepdim=True)
        return torch.where(total > 0, count / total.masked_fill(total == 0, 1.0), old)

    return HiddenMarkov(
        normalised(counts.initial, model.initial),
        normalised(counts.transition, model.transition),
        normalised(counts.emission, model.emission),
    )


def baum_welch(model: HiddenMarkov, x: Tensor, steps: int) -> tuple[HiddenMarkov, Tensor]:
    """`steps` rounds of expectation maximisation on sequences x, int64 [B, T].

    Each round makes the model that explains the expected counts best; log p(x) never falls. It
    climbs to the nearest summit, so give it R random models and keep the best.

    Returns:
        The last model, and log p(x) before each round and after the last, [steps + 1, (R)].

    Raises:
        ValueError: steps is negative, or x is impossible under the model.
    """
    if steps < 0:
        raise ValueError(f"steps must be at least 0, got {steps}")
    history = []
    for _ in range(steps):
        counts = expected_counts(model, x)
        history.append(counts.log_likelihood)
        model = maximise(counts, model)
    with torch.no_grad():
        history.append(forward(model, x).log_evidence.sum((-1, -2)))
    return model, torch.stack(history)
