"""Granger causality: does the past of j help to predict i, once the past of all others is known?

The classical reading fits, for each simulation and each receiver i, one linear regression of x_t^i on
the last L frames of all bodies, and one that leaves out those of j. The score of the edge j -> i is

    G_ij = sum_d log( RSS without j / RSS with j )  >= 0,

the sum over the features d of the receiver, RSS the residual sum of squares. *Amortised* causal
discovery trains one network on many simulations that share their dynamics and differ in their graphs,
here the encoder of neural relational inference, and reads the graph of a new simulation in one forward
pass: `link_scores`, the posterior probability that there is any edge.

Both see only what was observed: a hidden cause that reaches i early and j late makes the past of i
help to predict j, and both report an edge i -> j (`var_process(confounder=...)`).

Axes: S simulations, N bodies, T frames, D features, E = N (N - 1) edges in the order of
`complete_graph(N)`; matrices [S, N, N] have the receiver as row, the sender as column.

Sources: Granger, Investigating causal relations by econometric models and cross-spectral methods, 1969;
Löwe, Madras, Zemel and Welling, Amortized causal discovery: learning to infer causal graphs from
time-series data, 2022, https://arxiv.org/abs/2006.10833.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from course_lib.graphs.ranking import auc
from course_lib.relations.graphs import edges_to_types

__all__ = ["VarProcess", "delay_embedding", "edge_auroc", "granger_scores", "link_scores"]
__all__ += ["var_process"]

SETTLE = 50  # frames before the first that is kept: the start at zero is forgotten


@dataclass(frozen=True)
class VarProcess:
    """Series of a vector autoregression, and what made them.

    Args:
        states: [S, N, T, 1].
        edges: int64 [S, N, N], 1 where the column drives the row; no self-edges.
        lags: int64 [S, N, N], after how many frames; 0 where there is no edge.
        weights: [S, N, N], how strongly, with its sign; 0 where there is no edge.
        hidden: [S, 1, T, 1], the unobserved cause; None without one.
        misled: int64 [S, 2], the body that the hidden cause reaches first and the one that it
            reaches a frame later; no edge runs between the two. None without a hidden cause.
    """

    states: Tensor
    edges: Tensor
    lags: Tensor
    weights: Tensor
    hidden: Tensor | None
    misled: Tensor | None


def var_process(
    simulations: int,
    bodies: int = 5,
    frames: int = 100,
    *,
    edge_probability: float = 0.3,
    max_lag: int = 2,
    memory: float = 0.5,
    coupling: float = 0.45,
    noise: float = 1.0,
    confounder: float = 0.0,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str | None = None,
) -> VarProcess:
    """x_t^i = a x_{t-1}^i + sum_j w_ij x_{t - l_ij}^j + noise e_t^i, with e standard normal.

    The lag l_ij of each edge is drawn from 1 .. `max_lag`, the sign of w_ij is a coin, and the
    magnitudes of a body's incoming edges are equal and sum to `coupling`: with a + coupling < 1 no
    series grows without bound, whatever the graph.

    Args:
        edge_probability: of each ordered pair of bodies.
        memory: a, how much of itself a body keeps.
        coupling: what all incoming edges of a body weigh together.
        noise: standard deviation of what is new in each frame.
        confounder: strength of a hidden series h_t = a h_{t-1} + noise e_t that adds
            confounder h_{t-1} to one body of each simulation and confounder h_{t-2} to another.
        generator: of all draws; a CPU generator gives the same process on every device.

    Raises:
        ValueError: for a + coupling >= 1, fewer than 2 bodies, or probabilities out of range.
    """
    if not (memory >= 0 and coupling >= 0 and memory + coupling < 1):
        raise ValueError(
            f"memory + coupling must be below 1, else the series may grow without bound, got "
            f"{memory} + {coupling}"
        )
    if bodies < 2 or frames < 1 or max_lag < 1 or not 0 <= edge_probability <= 1:
        raise ValueError(
            "need bodies >= 2, frames >= 1, max_lag >= 1 and 0 <= edge_probability <= 1, got "
            f"{bodies}, {frames}, {max_lag} and {edge_probability}"
        )
    where = torch.device("cpu") if generator is None else generator.device
    draws = {"generator": generator, "device": where}
    pairs = (simulations, bodies, bodies)
    edges = (torch.rand(pairs, **draws) < edge_probability).long()
    edges.diagonal(dim1=1, dim2=2).zero_()
    misled = None
    if confounder:
        misled = torch.rand(simulations, bodies, **draws).argsort(1)[:, :2]  # two distinct bodies
        rows, (first, second) = torch.arange(simulations, device=where), misled.unbind(1)
        edges[rows, first, second] = edges[rows, second, first] = 0
    lags = edges * torch.randint(1, max_lag + 1, pairs, **draws)
    sign = 1.0 - 2.0 * torch.randint(0, 2, pairs, **draws)
    weights = (coupling * sign * edges / edges.sum(2, keepdim=True).clamp(min=1)).to(dtype)
    total = SETTLE + frames
    shocks = noise * torch.randn(total, simulations, bodies + 1, dtype=dtype, **draws)
    tensors = (edges, lags, weights, shocks)
    edges, lags, weights, shocks = (value.to(device or where) for value in tensors)
    # the hidden series is one more body, whose weights are 0 where there is none
    by_lag = weights.new_zeros(max(max_lag, 2), simulations, bodies + 1, bodies + 1)
    for lag in range(1, max_lag + 1):
        by_lag[lag - 1, :, :bodies, :bodies] = weights * (lags == lag)
    by_lag[0].diagonal(dim1=1, dim2=2).fill_(memory)
    if misled is not None:
        misled = misled.to(edges.device)
        rows = torch.arange(simulations, device=edges.device)
        for lag in (1, 2):
            by_lag[lag - 1, rows, misled[:, lag - 1], bodies] = confounder
    matrix = torch.cat(by_lag.unbind(0), 2)  # [S, N + 1, L (N + 1)], lag 1 first
    past = [shocks.new_zeros(simulations, bodies + 1) for _ in range(len(by_lag))]
    series = []
    for shock in shocks:
        new = torch.einsum("sip,sp->si", matrix, torch.cat(past, 1)) + shock
        past = [new, *past[:-1]]
        series.append(new)
    states = torch.stack(series[SETTLE:], 2).unsqueeze(3)  # [S, N + 1, T, 1]
    hidden = None if misled is None else states[:, bodies:]
    return VarProcess(states[:, :bodies].contiguous(), edges, lags, weights, hidden, misled)


def granger_scores(states: Tensor, lags: int = 2, ridge: float = 1e-8) -> Tensor:
    """G_ij of every edge of every simulation, each on its own: [S, N, T, D] -> [S, E].

    With all bodies in the regression, b_j the coefficients of j's past and M_jj the block of the
    inverse Gram matrix that belongs to them, leaving j out adds b_j^T M_jj^{-1} b_j to the residual
    sum of squares: one inverse a simulation serves all its edges.

    Args:
        states: of any units; features are centred and scaled to unit variance first.
        lags: L, frames of the past that predict the next one.
        ridge: added to the Gram matrix's diagonal in units of T, so that series that are copies of
            each other, or do not move, give numbers.

    Raises:
        ValueError: where there are not more frames than coefficients, T - L > N D L: then a
            regression fits anything.
    """
    if states.dim() != 4 or lags < 1:
        raise ValueError(f"states must be [S, N, T, D] and lags >= 1, got {list(states.shape)}")
    simulations, bodies, frames, features = states.shape
    block = features * lags
    if frames - lags <= bodies * block:
        raise ValueError(
            f"{frames} frames are too few to fit {bodies * block} coefficients (N D L) on: use "
            "longer series or fewer lags"
        )
    rows = states.double().transpose(1, 2)  # [S, T, N, D]
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows / rows.std(1, keepdim=True).clamp(min=1e-12)
    past = [rows[:, lags - lag : frames - lag] for lag in range(1, lags + 1)]
    design = torch.cat(past, 3).flatten(2)  # [S, T - L, N D L], body by body
    design = design - design.mean(1, keepdim=True)
    target = rows[:, lags:].flatten(2)  # [S, T - L, N D]
    target = target - target.mean(1, keepdim=True)
    gram = design.mT @ design
    gram.diagonal(dim1=1, dim2=2).add_(ridge * frames)
    inverse = torch.linalg.inv(gram)
    cross = design.mT @ target
    coefficients = inverse @ cross  # [S, N D L, N D]
    rss = (target.square().sum(1) - (cross * coefficients).sum(1)).clamp(min=1e-12)  # [S, N D]
    blocks = inverse.view(simulations, bodies, block, bodies, block)
    own = torch.stack([blocks[:, j, :, j] for j in range(bodies)], 1)  # [S, N, DL, DL], M_jj
    b = coefficients.view(simulations, bodies, block, bodies * features)
    added = (b * torch.linalg.solve(own, b)).sum(2)  # [S, N senders, N D]
    ratio = (1 + added / rss.unsqueeze(1)).log()
    scores = ratio.view(simulations, bodies, bodies, features).sum(3)  # [S, sender, receiver]
    return edges_to_types(scores.mT).to(states.dtype)


def link_scores(logits: Tensor, no_edge: int = 0) -> Tensor:
    """q(any edge) = sum of q over the other types: an encoder's logits [S, E, K] -> [S, E]."""
    q = logits.softmax(-1)
    return q[..., :no_edge].sum(-1) + q[..., no_edge + 1 :].sum(-1)  # 1 - q(no edge) would round


def edge_auroc(scores: Tensor, types: Tensor) -> float:
    """The probability that a linked pair scores higher than one without an edge; a tie is 1/2.

    Args:
        scores: [S, E], higher for more likely.
        types: [S, E]; 0 is "no edge", any other type is an edge.

    Raises ValueError where all pairs are linked, or none, or a score is NaN.
    """
    return auc(scores.flatten(), (types != 0).long().flatten())


def delay_embedding(states: Tensor, lags: int) -> Tensor:
    """The last `lags` frames as the features of one: [S, N, T, D] -> [S, N, T - L + 1, L D].

    The newest first. So a decoder that looks at one frame sees effects that come L frames late.

    Raises ValueError for fewer than `lags` frames.
    """
    frames = states.size(2)
    if not 1 <= lags <= frames:
        raise ValueError(f"lags must be 1 .. {frames}, the frames there are, got {lags}")
    return torch.cat([states[:, :, lags - 1 - k : frames - k] for k in range(lags)], 3)
