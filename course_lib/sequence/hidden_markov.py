"""The hidden Markov model with finitely many states and symbols: what the past and all else say.

    p(z_1 = i) = initial[i],   p(z_t = j | z_{t-1} = i) = transition[i, j],   p(x_t = k | z_t = j) = emission[j, k]

All recursions run on logarithms of *normalised* beliefs, with the evidence log p(x_t | x_1, ..., x_{t-1})
kept beside them: nothing underflows, however long the sequence, and float32 stays exact.

A model may carry one more dimension in front, R models side by side ([R, N], [R, N, N], [R, N, K]):
restarts of a fit, for instance. Results then begin with R too. Below, (R) stands for "R, if given".

Source: Rabiner, A Tutorial on Hidden Markov Models, Proceedings of the IEEE 1989.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Beliefs",
    "HiddenMarkov",
    "backward",
    "belief_step",
    "check_possible",
    "check_symbols",
    "forward",
    "log_emitted",
    "log_likelihood",
    "posteriors",
    "sample",
    "viterbi",
]


@dataclass(frozen=True)
class HiddenMarkov:
    """A categorical hidden Markov model of N states and K symbols, or R of them.

    Args:
        initial: [(R), N], p(z_1).
        transition: [(R), N, N], row i is p(z_t | z_{t-1} = i).
        emission: [(R), N, K], row j is p(x_t | z_t = j).

    Raises:
        ValueError: shapes do not fit, an entry is negative, or a row does not sum to one.
    """

    initial: Tensor
    transition: Tensor
    emission: Tensor

    def __post_init__(self) -> None:
        lead, n = tuple(self.initial.shape[:-1]), self.initial.size(-1)
        fits = self.transition.shape == (*lead, n, n) and self.emission.shape[:-1] == (*lead, n)
        if not fits or len(lead) > 1:
            shapes = [list(v.shape) for v in (self.initial, self.transition, self.emission)]
            raise ValueError(
                "initial, transition and emission must be [N], [N, N], [N, K], or each with one "
                f"more dimension R in front, got {shapes[0]}, {shapes[1]}, {shapes[2]}"
            )
        for name in ("initial", "transition", "emission"):
            value = getattr(self, name).detach()
            off = (value.sum(-1) - 1).abs().max().item()
            if not off < 1e-4 or value.min() < 0:
                raise ValueError(
                    f"each row of {name} must be a distribution: entries at least 0, sum 1; the "
                    f"smallest entry is {value.min().item():.3g}, a sum is off by {off:.3g}: "
                    f"divide by {name}.sum(-1, keepdim=True)"
                )

    @property
    def num_states(self) -> int:
        """N."""
        return self.transition.size(-1)

    @property
    def num_symbols(self) -> int:
        """K."""
        return self.emission.size(-1)

    def to(self, *args: torch.device | torch.dtype | str) -> HiddenMarkov:
        """The same model on another device or with another dtype."""
        return HiddenMarkov(*(v.to(*args) for v in (self.initial, self.transition, self.emission)))

    def pick(self, index: int) -> HiddenMarkov:
        """Model number `index` of R."""
        if self.initial.dim() != 2:
            raise ValueError("pick chooses among R models, and this is a single one")
        return HiddenMarkov(self.initial[index], self.transition[index], self.emission[index])


class Beliefs(NamedTuple):
    """log_belief [(R), B, T, N]: log p(z_t | x_1..x_t). log_evidence [(R), B, T]: log p(x_t | x_1..x_{t-1})."""

    log_belief: Tensor
    log_evidence: Tensor


def belief_step(model: HiddenMarkov, belief: Tensor, x: Tensor) -> Tensor:
    """The forward recursion as a recurrent cell: b <- normalise((b T) * E[:, x]).

    Args:
        belief: p(z_{t-1} | x_1..x_{t-1}) [(R), B, N]: the cell's state. For t = 1, where no step
            has been made yet, use `normalise(initial * E[:, x])` or `forward`.
        x: the symbols x_t, int64 [B]: the cell's input.

    Returns:
        p(z_t | x_1..x_t) [(R), B, N]; nan where x_t was impossible.
    """
    joint = (belief @ model.transition) * model.emission[..., x].mT  # [(R), N, B] -> [(R), B, N]
    return joint / joint.sum(-1, keepdim=True)


def forward(model: HiddenMarkov, x: Tensor) -> Beliefs:
    """What the past says of each state, in log space.

        log a_t(j) = log sum_i exp(log b_{t-1}(i) + log T_ij) + log E_j(x_t)
        log c_t    = log sum_j a_t(j)                             the evidence
        log b_t    = log a_t - log c_t                            the belief

    The sum of log c_t is log p(x). After an impossible symbol all logs are -inf.

    Args:
        x: symbols, int64 [B, T].
    """
    log_transition, emitted = _logs(model, x)
    joint = model.initial.log().unsqueeze(-2) + emitted[0]  # [(R), B, N]
    beliefs, evidence = [], []
    for t in range(len(emitted)):
        if t > 0:
            arrived = beliefs[-1].unsqueeze(-1) + log_transition  # [(R), B, N from, N to]
            joint = torch.logsumexp(arrived, dim=-2) + emitted[t]
        log_c = torch.logsumexp(joint, dim=-1, keepdim=True)
        beliefs.append(joint - _finite(log_c))
        evidence.append(log_c)
    return Beliefs(torch.stack(beliefs, dim=-2), torch.cat(evidence, dim=-1))


def log_likelihood(model: HiddenMarkov, x: Tensor) -> Tensor:
    """log p(x_1, ..., x_T) in nats, [(R), B], of symbols x int64 [B, T]; -inf if impossible."""
    return forward(model, x).log_evidence.sum(-1)


def backward(model: HiddenMarkov, x: Tensor, log_evidence: Tensor) -> Tensor:
    """What the future adds to each belief: log p(x_{t+1}..x_T | z_t) - log p(x_{t+1}..x_T | x_1..x_t).

        log g_t(i) = log sum_j exp(log T_ij + log E_j(x_{t+1}) + log g_{t+1}(j)) - log c_{t+1},   log g_T = 0

    Args:
        x: int64 [B, T]. log_evidence: log c, [(R), B, T], from `forward`.

    Returns:
        log g [(R), B, T, N]. Belief times g is the posterior.
    """
    log_transition, emitted = _logs(model, x)
    log_gain = [torch.zeros_like(emitted[0])]
    for t in range(len(emitted) - 1, 0, -1):
        ahead = (emitted[t] + log_gain[-1]).unsqueeze(-2) + log_transition  # [(R), B, N, N]
        log_gain.append(torch.logsumexp(ahead, dim=-1) - _finite(log_evidence[..., t, None]))
    return torch.stack(log_gain[::-1], dim=-2)


def posteriors(model: HiddenMarkov, x: Tensor) -> Tensor:
    """p(z_t | x_1, ..., x_T) [(R), B, T, N], from past and future together (forward-backward).

    Raises ValueError where a sequence is impossible under the model.
    """
    log_belief, log_evidence = forward(model, x)
    check_possible(log_evidence)
    return (log_belief + backward(model, x, log_evidence)).exp()


@torch.no_grad()
def viterbi(model: HiddenMarkov, x: Tensor) -> tuple[Tensor, Tensor]:
    """The most probable path of states, all at once: argmax over z of p(z, x).

        log d_t(j) = max_i (log d_{t-1}(i) + log T_ij) + log E_j(x_t), then back along the argmaxes

    Of equally probable paths it takes the one with the lower state, last state first.

    Returns:
        The path, int64 [(R), B, T], and log p(path, x) [(R), B]; -inf if x is impossible.
    """
    log_transition, emitted = _logs(model, x)
    best = model.initial.log().unsqueeze(-2) + emitted[0]  # [(R), B, N]
    came_from = []
    for log_emitted in emitted[1:]:
        reached, source = (best.unsqueeze(-1) + log_transition).max(dim=-2)
        came_from.append(source)
        best = reached + log_emitted
    log_probability, state = best.max(dim=-1)
    path = [state]
    for source in reversed(came_from):
        path.append(source.gather(-1, path[-1].unsqueeze(-1)).squeeze(-1))
    return torch.stack(path[::-1], dim=-1), log_probability


@torch.no_grad()
def sample(
    model: HiddenMarkov, batch: int, steps: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw states and symbols from one model: two int64 tensors [B, T].

    Raises ValueError for R models, or batch or steps below 1.
    """
    if model.initial.dim() != 1 or batch < 1 or steps < 1:
        raise ValueError(
            f"sample draws batch >= 1 sequences of steps >= 1 from one model (see pick), got "
            f"batch={batch}, steps={steps}, initial {list(model.initial.shape)}"
        )
    place = model.initial.device if generator is None else generator.device
    uniform = torch.rand(2, steps, batch, 1, generator=generator, device=place, dtype=torch.float64)
    uniform = uniform.to(model.initial.device)
    start, move, show = (
        v.double().cumsum(-1)[..., :-1] for v in (model.initial, model.transition, model.emission)
    )  # a draw is the number of cumulated probabilities that lie at or below a uniform number
    states = [(uniform[0, 0] >= start).sum(-1)]
    for t in range(1, steps):
        states.append((uniform[0, t] >= move[states[-1]]).sum(-1))
    z = torch.stack(states)  # [T, B]
    return z.mT, (uniform[1] >= show[z]).sum(-1).mT


def check_possible(log_evidence: Tensor) -> None:
    """Raise ValueError where the evidence [(R), B, T] says that a sequence cannot happen."""
    impossible = log_evidence.isneginf().any(-1)
    if impossible.any():
        where = tuple(impossible.nonzero()[0].tolist())
        raise ValueError(
            f"sequence {where[-1]} has probability zero under the model"
            f"{f' {where[0]}' if len(where) > 1 else ''}, so no state explains it: allow every "
            "symbol a small emission probability, or look for a symbol of another alphabet"
        )


def check_symbols(model: HiddenMarkov, x: Tensor) -> None:
    """Raise ValueError unless x is int64 [B, T] with symbols 0..K-1."""
    if x.dtype != torch.int64 or x.dim() != 2 or x.size(1) < 1:
        raise ValueError(
            f"x must be int64 [B, T], one sequence a row, got {x.dtype} {list(x.shape)}: "
            "for one sequence [T] use x[None]"
        )
    if x.numel() and (x.min() < 0 or x.max() >= model.num_symbols):
        raise ValueError(
            f"symbols must lie in 0..{model.num_symbols - 1}, as the emission's columns, got "
            f"{int(x.min())}..{int(x.max())}"
        )


def log_emitted(model: HiddenMarkov, x: Tensor) -> Tensor:
    """log E_j(x_t) for every state j: symbols int64 [B, T] -> [(R), B, T, N].

    Raises ValueError unless x is int64 [B, T] with symbols 0..K-1.
    """
    check_symbols(model, x)
    table = model.emission.log().mT  # [(R), K, N]
    return table.index_select(-2, x.flatten()).unflatten(-2, tuple(x.shape))


def _logs(model: HiddenMarkov, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """log T [(R), 1, N, N], and log E[:, x_t] [(R), B, N] for each t."""
    return model.transition.log().unsqueeze(-3), log_emitted(model, x).unbind(-2)


def _finite(log_c: Tensor) -> Tensor:
    """log c with 0 for -inf, so that subtracting it leaves -inf and not nan."""
    return log_c.masked_fill(log_c.isneginf(), 0.0)
