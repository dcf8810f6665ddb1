"""The references of unit 04, by other means than the lab's.

Where torch has the thing ready-made, torch is asked; else the same quantity is computed along another road: a softmax
from its exponentials, sinusoids as powers of a rotation, relative keys by the table of all pairs that the lab avoids.
A mask is True where a query MAY look at a key. Letters: B batch, H heads, T queries, S keys, d model size, d_h = d / H.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attention_mask(lengths: Tensor, size: int) -> Tensor:
    """bool [B, 1, size, size]: entry [b, 0, i, j] says j <= i and j < lengths[b]."""
    i = torch.arange(size, device=lengths.device).view(size, 1)
    first = torch.minimum(i + 1, lengths.view(-1, 1, 1, 1))  # how many keys are open to query i
    return i.view(1, size) < first  # [B, 1, T, S]


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d_h)) v over the keys that `mask` leaves open, [..., T, d_v]; zeros where it leaves none.

    query [..., T, d_h], key [..., S, d_h], value [..., S, d_v]; mask bool, broadcast to [..., T, S].
    """
    scores = torch.einsum("...td,...sd->...ts", query, key) * query.shape[-1] ** -0.5
    open_scores = torch.where(mask, scores, -torch.inf)
    largest = open_scores.detach().amax(-1, keepdim=True).clamp(min=-torch.finfo(scores.dtype).max)
    share = torch.where(mask, scores - largest, 0.0).exp() * mask
    total = share.sum(-1, keepdim=True)
    return share / torch.where(total > 0, total, 1.0) @ value


def multi_head(
    x: Tensor,
    in_weight: Tensor,
    in_bias: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    num_heads: int,
    mask: Tensor,
) -> Tensor:
    """Multi-head self-attention of x [B, T, d], by torch's own; in_weight [3d, d], mask as in `attention`."""
    batch, size, _ = x.shape
    closed = ~mask.expand(batch, num_heads, size, size).reshape(-1, size, size)
    x = x.transpose(0, 1)
    out, _ = F.multi_head_attention_forward(
        *(x, x, x, x.shape[-1], num_heads, in_weight, in_bias, None, None, False, 0.0),
        *(out_weight, out_bias),
        attn_mask=closed,
        need_weights=False,
    )
    return out.transpose(0, 1)


def sinusoids(length: int, d_model: int) -> Tensor:
    """sin(t w_i) in column 2i and cos(t w_i) in 2i + 1, w_i = 10000^(-2i / d); as powers of e^(i w), in float64."""
    pairs = torch.arange(d_model // 2, dtype=torch.float64)
    turns = torch.polar(torch.ones_like(pairs), torch.exp(-2 * pairs / d_model * math.log(10000)))
    powers = turns ** torch.arange(length, dtype=torch.float64).unsqueeze(1)  # [T, d / 2]
    return torch.stack([powers.imag, powers.real], dim=-1).flatten(1).float()


def relative_scores(query: Tensor, key: Tensor, table: Tensor) -> Tensor:
    """(q_i . k_j + q_i . a_{j-i}) / sqrt(d_h) [B, H, T, T] of Shaw et al., with a row of the table for each pair.

    query, key [B, H, T, d_h]; table [2r + 1, d_h], row clip(j - i, -r, r) + r.
    """
    size, reach = query.shape[-2], len(table) // 2
    rows = [[min(max(j - i, -reach), reach) + reach for j in range(size)] for i in range(size)]
    pairs = table[torch.tensor(rows, device=table.device)]  # [T, T, d_h]
    return (
        torch.einsum("bhid,bhijd->bhij", query, key.unsqueeze(-3) + pairs) / query.shape[-1] ** 0.5
    )


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Layer norm over the last axis of x [..., d], by torch's own."""
    return F.layer_norm(x, x.shape[-1:], weight, bias, eps)


def _torch_layer(d_model: int, num_heads: int, hidden: int, norm_first: bool) -> nn.Module:
    """torch's layer without weights; in training mode, without dropout, so that it takes the plain path."""
    sizes = {"dim_feedforward": hidden, "dropout": 0.0, "activation": F.gelu, "device": "meta"}
    return nn.TransformerEncoderLayer(
        d_model, num_heads, batch_first=True, norm_first=norm_first, **sizes
    )


def encoder_block(
    x: Tensor, p: dict[str, Tensor], num_heads: int, mask: Tensor, norm_first: bool
) -> Tensor:
    """A transformer block of x [B, T, d] with GELU, by torch's TransformerEncoderLayer; `p` has its names."""
    batch, size, width = x.shape
    closed = ~mask.expand(batch, num_heads, size, size).reshape(-1, size, size)
    layer = _torch_layer(width, num_heads, len(p["linear1.weight"]), norm_first)
    return torch.func.functional_call(layer, p, (x,), {"src_mask": closed})


def cache_step(
    query: Tensor, key: Tensor, value: Tensor, cache: tuple[Tensor, Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """(context, cache) of one new position: query, key and value [B, H, 1, d_h], cache of S earlier keys and values."""
    keys, values = (
        F.pad(old, (0, 0, 0, 1)).index_copy(2, torch.tensor([old.shape[2]]), new)
        for old, new in zip(cache, (key, value))
    )
    weights = torch.softmax((keys * query).sum(-1) * query.shape[-1] ** -0.5, dim=-1)  # [B, H, S]
    return (weights.unsqueeze(-1) * values).sum(2, keepdim=True), (keys, values)


def non_local(x: Tensor, theta: Tensor, phi: Tensor, g: Tensor, out: Tensor) -> Tensor:
    """x + W y of a non-local block with the embedded Gaussian, by 1 x 1 convolutions; x [B, C, H, W], maps [C', C]."""
    asked, offered, told = (
        F.conv2d(x, weight[:, :, None, None]).flatten(2) for weight in (theta, phi, g)
    )
    scores = torch.einsum("bci,bcj->bij", asked, offered)
    weights = (scores - scores.detach().amax(2, keepdim=True)).exp()
    y = torch.einsum("bij,bcj->bci", weights, told) / weights.sum(2).unsqueeze(1)
    return x + F.conv2d(y.view(len(x), -1, *x.shape[2:]), out[:, :, None, None])
