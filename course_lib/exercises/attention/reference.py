"""The references of unit 03, by other means than the lab's.

Scores are einsums and a table of sums, the softmax is made of its parts, the GRU of its gates, the error rate of sets
of links, a beam step of a sorted list. Those of exercises 1 to 5 and 8 carry gradients, so that a lab can
train on them.

Letters: B batch, Tq queries, Tk keys, T outputs, S inputs, d sizes of vectors. A mask is True where a key may be
attended.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def multiplicative_scores(query: Tensor, keys: Tensor, weight: Tensor | None = None) -> Tensor:
    """q . k / sqrt(d), or with a weight [d_q, d_k] q^T W k, [B, Tq, Tk]; query [B, Tq, d_q], keys [B, Tk, d_k]."""
    if weight is None:
        return torch.einsum("bqd,bkd->bqk", query, keys * keys.shape[-1] ** -0.5)
    return torch.einsum("bqi,ij,bkj->bqk", query, weight, keys)


def additive_scores(
    query: Tensor, keys: Tensor, w_query: Tensor, w_key: Tensor, v: Tensor
) -> Tensor:
    """v^T tanh(W q + U k), [B, Tq, Tk]; w_query [a, d_q], w_key [a, d_k], v [a]."""
    projected = torch.nn.functional.linear(keys, w_key)  # [B, Tk, a]
    rows = [
        torch.tanh(torch.nn.functional.linear(q, w_query)[:, None] + projected)
        for q in query.unbind(1)  # [B, Tk, a] for each query
    ]
    return torch.einsum("bqka,a->bqk", torch.stack(rows, 1), v)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the keys that are allowed, 0 for the others; all 0 in a row without any; scores [B, Tq, Tk]."""
    mask = mask.expand_as(scores)
    zero = torch.zeros_like(scores)
    largest = scores.detach().masked_fill(~mask, -torch.inf).amax(-1, keepdim=True)
    safe = torch.where(mask, scores - largest, zero)
    powers = torch.where(mask, safe.exp(), zero)
    total = powers.sum(-1, keepdim=True)
    return powers / torch.where(total > 0, total, torch.ones_like(total))


def context(weights: Tensor, values: Tensor) -> Tensor:
    """The weighted sums of the values [B, Tq, d_v]; weights [B, Tq, Tk], values [B, Tk, d_v]."""
    return torch.einsum("bqk,bkv->bqv", weights, values)


def gru(x: Tensor, h: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """torch's GRU cell from its gates r, z, n; x [B, I], h [B, H]."""
    w_ih, w_hh, b_ih, b_hh = weights
    r_x, z_x, n_x = (x @ w_ih.T + b_ih).chunk(3, 1)
    r_h, z_h, n_h = (h @ w_hh.T + b_hh).chunk(3, 1)
    update = torch.sigmoid(z_x + z_h)
    new = torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h)
    return new + update * (h - new)


def decoder_step(
    previous: Tensor,
    state: Tensor,
    annotations: Tensor,
    mask: Tensor,
    score_weights: Sequence[Tensor],
    gru_weights: Sequence[Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """(s_t [B, d], c_t [B, m], alpha_t [B, S]) of Bahdanau's decoder, which scores with the state before the step."""
    scores = additive_scores(state[:, None], annotations, *score_weights)
    weights = masked_softmax(scores, mask[:, None])[:, 0]  # [B, 1, S] -> [B, S]
    found = torch.einsum("bs,bsk->bk", weights, annotations)
    return gru(torch.cat([previous, found], 1), state, gru_weights), found, weights


def alignment_error_rate(weights: Tensor, sure: Tensor, possible: Tensor) -> Tensor:
    """1 - (|A and sure| + |A and possible|) / (|A| + |sure|), A the strongest links of outputs with a possible one.

    weights and bool sure and possible are [B, T, S]; the links of all sequences are counted together.
    """
    sure_links = set(map(tuple, sure.nonzero().tolist()))
    possible_links = set(map(tuple, possible.nonzero().tolist())) | sure_links
    strongest = weights.argmax(-1)
    links = {(b, t, int(strongest[b, t])) for b, t, _ in possible_links}
    agreed = len(links & sure_links) + len(links & possible_links)
    return torch.tensor(1 - agreed / (len(links) + len(sure_links)))


def local_window(center: Tensor, length: int, half_width: float) -> Tensor:
    """bool [B, T, S], True where |j - p_t| <= D; center [B, T], positions 0 ... S - 1."""
    places = torch.arange(length, device=center.device)
    first, last = (center - half_width)[..., None], (center + half_width)[..., None]
    return (places >= first) & (places <= last)


def local_p_weights(scores: Tensor, center: Tensor, half_width: float, mask: Tensor) -> Tensor:
    """Softmax over the allowed keys of the window, times exp(-(j - p_t)^2 / (2 sigma^2)), sigma = D / 2; [B, T, S]."""
    weights = masked_softmax(scores, mask & local_window(center, scores.shape[-1], half_width))
    away = torch.arange(scores.shape[-1], device=scores.device) - center[..., None]
    return weights * torch.exp(-2 * (away / half_width) ** 2)


def beam_step(
    totals: Tensor, finished: Tensor, log_probs: Tensor, end: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The `width` best continuations, best first: totals, rows they continue, tokens; log_probs [K, V]."""
    candidates = []
    for row, (total, ended, following) in enumerate(
        zip(totals.tolist(), finished.tolist(), log_probs.double().tolist())
    ):
        if ended:
            candidates.append((total, row, end))
        else:
            candidates += [(total + p, row, token) for token, p in enumerate(following)]
    best = sorted(candidates, key=lambda candidate: -candidate[0])[:width]
    new_totals, rows, tokens = zip(*best)
    return (
        torch.tensor(new_totals, dtype=totals.dtype),
        torch.tensor(rows),
        torch.tensor(tokens),
    )
