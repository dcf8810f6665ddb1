"""Scores of attention: how well does a key fit a query? And what is done with the scores.

For a query q and keys k_1 ... k_S (S = Tk of them):

    e_s = score(q, k_s)                          a number a key
    alpha_s = exp(e_s) / sum_r exp(e_r)          the weights: positive, with sum one
    c = sum_s alpha_s v_s                        the context: a mean of the values

Here every query of a row is scored against every key at once: query [B, Tq, d_q] and keys
[B, Tk, d_k] give scores [B, Tq, Tk]. Other leading axes than one B do as well. Keys taken from an
encoder with queries from a decoder is *cross*-attention; `scaled_dot_score(x, x)` on one sequence is
self-attention.

A mask is bool and True where a key MAY be attended, as in F.scaled_dot_product_attention; it
broadcasts to the scores. Masked scores become -inf, so that no score can beat a mask; a query whose
keys are all masked has weights zero, and no gradient comes from it.

Windows about a position are in `local`; the gradient through a hard choice is in `log_derivative`.

Sources: Bahdanau, Cho and Bengio 2015, https://arxiv.org/abs/1409.0473 (additive); Luong, Pham and
Manning 2015, https://arxiv.org/abs/1508.04025 (dot, general, location); Vaswani et al. 2017,
https://arxiv.org/abs/1706.03762 (scaled dot); Xu et al. 2015, https://arxiv.org/abs/1502.03044
(hard).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "AdditiveScore",
    "DotScore",
    "GeneralScore",
    "LocationScore",
    "Score",
    "context",
    "dot_score",
    "hard_attention",
    "masked_softmax",
    "recall",
    "scaled_dot_score",
]


def masked_softmax(scores: Tensor, mask: Tensor | None = None, dim: int = -1) -> Tensor:
    """softmax of the scores along `dim` over the places where `mask` is True; 0 at the others.

    mask: bool, broadcasts to the scores. Where it is False all along `dim`, the weights are zero
    and so is their gradient. Raises ValueError for a mask that is not bool or does not broadcast.
    """
    if mask is None:
        return scores.softmax(dim)
    blocked = ~_expanded(mask, scores)
    empty = blocked.all(dim, keepdim=True)
    open_scores = scores.masked_fill(blocked, -torch.inf).masked_fill(empty, 0.0)
    return open_scores.softmax(dim).masked_fill(blocked, 0.0)


def context(weights: Tensor, values: Tensor) -> Tensor:
    """c_t = sum_s alpha_ts v_s: [..., Tq, Tk] and values [..., Tk, d_v] give [..., Tq, d_v]."""
    return weights @ values


def dot_score(query: Tensor, keys: Tensor) -> Tensor:
    """e = q^T k: query [B, Tq, d], keys [B, Tk, d] -> [B, Tq, Tk].

    Raises ValueError where queries and keys differ in size: `GeneralScore` compares such.
    """
    if query.size(-1) != keys.size(-1):
        raise ValueError(
            f"a dot product needs queries and keys of one size, got {query.size(-1)} and "
            f"{keys.size(-1)}: use GeneralScore or AdditiveScore"
        )
    return query @ keys.transpose(-1, -2)


def scaled_dot_score(query: Tensor, keys: Tensor) -> Tensor:
    """e = q^T k / sqrt(d): query [B, Tq, d], keys [B, Tk, d] -> [B, Tq, Tk].

    Where the 2 d numbers of q and k are independent with mean 0 and variance 1, q^T k has variance
    d; divided by sqrt(d) it has variance 1 for every d, and the softmax does not saturate.
    """
    return dot_score(query * query.size(-1) ** -0.5, keys)


class Score(nn.Module):
    """e = score(q, k) in two parts: what concerns the keys alone, once, and the comparison.

    A decoder asks at every step about the same keys; `project` is then called once, `compare` at
    every step. forward(query, keys) is both.
    """

    def project(self, keys: Tensor) -> Tensor:
        """What `compare` needs of keys [B, Tk, d_k]."""
        return keys

    def compare(self, query: Tensor, projected: Tensor) -> Tensor:
        """Scores [B, Tq, Tk] of query [B, Tq, d_q] and projected keys."""
        raise NotImplementedError

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores [B, Tq, Tk] of query [B, Tq, d_q] and keys [B, Tk, d_k]."""
        return self.compare(query, self.project(keys))


class DotScore(Score):
    """`dot_score`, or `scaled_dot_score` where `scaled`: no parameters."""

    def __init__(self, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled

    def compare(self, query: Tensor, projected: Tensor) -> Tensor:
        return (scaled_dot_score if self.scaled else dot_score)(query, projected)


class GeneralScore(Score):
    """e = q^T W k with W [d_q, d_k] (Luong's "general")."""

    def __init__(self, query_size: int, key_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(query_size, key_size))
        nn.init.xavier_uniform_(self.weight)

    def project(self, keys: Tensor) -> Tensor:
        """W k: [B, Tk, d_k] -> [B, Tk, d_q]."""
        return F.linear(keys, self.weight)

    def compare(self, query: Tensor, projected: Tensor) -> Tensor:
        return dot_score(query, projected)


class AdditiveScore(Score):
    """e = v^T tanh(W q + U k) with W [A, d_q], U [A, d_k], v [A]; A = hidden_size (Bahdanau)."""

    def __init__(self, query_size: int, key_size: int, hidden_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_size, hidden_size, bias=False)  # W
        self.key = nn.Linear(key_size, hidden_size, bias=False)  # U
        self.v = nn.Parameter(torch.empty(hidden_size))
        nn.init.uniform_(self.v, -(hidden_size**-0.5), hidden_size**-0.5)

    def project(self, keys: Tensor) -> Tensor:
        """U k: [B, Tk, d_k] -> [B, Tk, A]."""
        return self.key(keys)

    def compare(self, query: Tensor, projected: Tensor) -> Tensor:
        # [B, Tq, 1, A] + [B, 1, Tk, A] -> [B, Tq, Tk, A] -> [B, Tq, Tk]
        return torch.tanh(self.query(query).unsqueeze(-2) + projected.unsqueeze(-3)) @ self.v


class LocationScore(Score):
    """e = W q with W [max_length, d_q]: place s has its row of W, whatever key stands there (Luong)."""

    def __init__(self, query_size: int, max_length: int) -> None:
        super().__init__()
        self.place = nn.Linear(query_size, max_length, bias=False)  # W

    def compare(self, query: Tensor, projected: Tensor) -> Tensor:
        """Scores [B, Tq, Tk]; of the keys only their number Tk counts.

        Raises ValueError for more keys than `max_length`: there is no row of W for them.
        """
        length, most = projected.size(-2), self.place.out_features
        if length > most:
            raise ValueError(f"this LocationScore knows {most} places, got {length} keys")
        return F.linear(query, self.place.weight[:length])


def recall(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Attention as a memory addressed by content: softmax(q^T k / temperature) values.

    query [B, Tq, d], keys [B, Tk, d], values [B, Tk, d_v] (or all without B) give the recalled
    values [B, Tq, d_v] and the weights [B, Tq, Tk]. A low temperature recalls the value of the best
    key alone, a high one the mean of all. mask as in `masked_softmax`.

    Raises ValueError unless temperature > 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}: try 0.01")
    weights = masked_softmax(dot_score(query, keys) / temperature, mask)
    return context(weights, values), weights


def hard_attention(
    scores: Tensor, generator: torch.Generator, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """One place drawn from alpha = softmax(scores) (Xu et al.): (one_hot [..., Tk], log_prob [...]).

    one_hot is 1 at the place drawn and carries no gradient; log_prob = log alpha of that place
    does. Attending with it, context(one_hot, values) is that place's value itself. A row whose keys
    are all masked gives zeros in both.

    Drawn by the Gumbel-max trick: argmax_s of e_s - log(E_s) with E_s ~ Exp(1) has distribution
    softmax(e).
    """
    allowed = torch.ones_like(scores, dtype=torch.bool) if mask is None else _expanded(mask, scores)
    some = allowed.any(-1)
    closed = ~allowed & some.unsqueeze(-1)
    log_alpha = scores.masked_fill(closed, -torch.inf).log_softmax(-1)
    noise = torch.empty(scores.shape, dtype=scores.dtype, device=generator.device)
    noise.exponential_(generator=generator)
    place = (log_alpha.detach() - noise.to(scores.device).log()).argmax(-1, keepdim=True)
    one_hot = torch.zeros_like(log_alpha).scatter_(-1, place, 1.0) * some.unsqueeze(-1)
    log_prob = log_alpha.gather(-1, place).squeeze(-1)
    return one_hot.detach(), log_prob.masked_fill(~some, 0.0)


def _expanded(mask: Tensor, scores: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool, True where a key may be attended, got {mask.dtype}")
    try:
        return mask.expand_as(scores)
    except RuntimeError:
        raise ValueError(
            f"a mask {list(mask.shape)} does not broadcast to scores {list(scores.shape)}: "
            "a key mask [B, Tk] needs an axis for the queries, mask.unsqueeze(1)"
        ) from None
