"""Attention with many heads: softmax(Q K^T / sqrt(d_h)) V, in parts, and as torch's layer.

Two forms of the same attention stand side by side. `scaled_dot_product_attention` is the equation:
it builds the weights [Tq, Tk] and can show them. `fused_attention` is torch's one call, which goes
through the keys block by block and never holds all weights at once; the layers use it wherever
nobody asks for the weights.

Two conventions for masks, both torch's, and opposite:
    attn_mask of the functions here: bool, True where a query MAY attend a key.
    attn_mask and key_padding_mask of `MultiheadAttention`: bool, True where it may NOT.
A float mask, in either place, is added to the scores: 0 may, -inf may not. A query that may attend
nothing gets zeros and passes no gradient on (torch.nn.MultiheadAttention gives it nan where it
returns the weights).

Letters: B batch, H heads, Tq queries, Tk keys, d model size, d_h = d / H.

Source: Vaswani et al., Attention is all you need, 2017.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.attention.masks import adjacency_mask, causal_mask, join_masks, padding_mask
from course_lib.attention.scores import masked_softmax

if TYPE_CHECKING:
    from course_lib.attention.generate import KeyValueCache

__all__ = [
    "MultiheadAttention",
    "adjacency_mask",
    "attention_weights",
    "causal_mask",
    "fused_attention",
    "merge_heads",
    "padding_mask",
    "scaled_dot_product_attention",
    "split_heads",
]


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """[B, T, d] -> [B, H, T, d/H]: head h holds the features h d/H to (h + 1) d/H - 1.

    Raises ValueError where num_heads does not divide d.
    """
    if num_heads < 1 or x.size(-1) % num_heads:
        raise ValueError(f"num_heads must divide the model size {x.size(-1)}, got {num_heads}")
    return x.unflatten(-1, (num_heads, -1)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """[B, H, T, d/H] -> [B, T, d]: the heads side by side again, the inverse of `split_heads`."""
    return x.transpose(-3, -2).flatten(-2)


def attention_weights(
    query: Tensor,
    key: Tensor,
    attn_mask: Tensor | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax over the keys of scale Q K^T + mask: [..., Tq, d_h], [..., Tk, d_h] -> [..., Tq, Tk].

    attn_mask: bool, True where a query may attend a key, or float, added; it broadcasts.
    is_causal: query i attends keys 0..i (counted from the start, as in torch, even if Tq != Tk).
    scale: 1/sqrt(d_h) unless given.

    Raises ValueError for two masks at once, and for queries and keys of different sizes.
    """
    if query.size(-1) != key.size(-1):
        raise ValueError(
            f"queries and keys are compared feature by feature: got {list(query.shape)} and "
            f"{list(key.shape)}, whose last sizes differ"
        )
    scores = query @ key.transpose(-2, -1) * (query.size(-1) ** -0.5 if scale is None else scale)
    if is_causal:
        if attn_mask is not None:
            raise ValueError("is_causal is a mask already: leave out attn_mask, or join the two")
        attn_mask = causal_mask(*scores.shape[-2:], device=scores.device)
    if attn_mask is not None and attn_mask.dtype != torch.bool:
        scores, attn_mask = scores + attn_mask, attn_mask > -math.inf
    return masked_softmax(scores, attn_mask)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """softmax(scale Q K^T + mask) V, as the equation says: [..., Tq, d_v].

    query [..., Tq, d_h], key [..., Tk, d_h], value [..., Tk, d_v]; the rest as `attention_weights`.
    dropout_p: share of the weights that is dropped, always (as in torch: pass 0 to evaluate).
    """
    weights = attention_weights(query, key, attn_mask, is_causal, scale)
    return F.dropout(weights, dropout_p) @ value


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    """`scaled_dot_product_attention` in one call of torch's: the same result, memory linear in T.

    The kernel keeps, for each query, the largest score so far, the sum of the exponentials below
    it, and the weighted sum of values, and corrects all three as it meets the next block of keys
    (Dao et al., FlashAttention, 2022). The weights are computed anew for the backward pass.
    """
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask, dropout_p, is_causal, scale=scale
    )


class MultiheadAttention(nn.Module):
    """H attentions side by side, each on its own d/H features of queries, keys and values.

    head_h = attention(Q W_h^q, K W_h^k, V W_h^v);   output = [head_1 ... head_H] W^o + b^o.

    Names, shapes, masks and defaults are torch.nn.MultiheadAttention's: a state_dict loads in both
    directions, and the same seed gives the same weights. Torch's add_bias_kv and add_zero_attn are
    not offered; what follows them in torch is given by name.

    Args:
        embed_dim, num_heads: d and H, which must divide d.
        dropout: share of the weights that training drops.
        bias: learn biases of the four projections.
        kdim, vdim: features of keys and of values, d unless given.
        batch_first: [B, T, d] instead of [T, B, d].
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        *,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if num_heads < 1 or embed_dim < 1 or embed_dim % num_heads:
            raise ValueError(f"num_heads must divide embed_dim, got {num_heads} and {embed_dim}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout is a probability between 0 and 1, got {dropout}")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.batch_first = batch_first
        options = {"device": device, "dtype": dtype}
        d, together = embed_dim, self.kdim == self.vdim == embed_dim
        shapes = {
            "q_proj_weight": None if together else (d, d),
            "k_proj_weight": None if together else (d, self.kdim),
            "v_proj_weight": None if together else (d, self.vdim),
            "in_proj_weight": (3 * d, d) if together else None,  # rows: those of q, of k, of v
            "in_proj_bias": (3 * d,) if bias else None,
        }
        for name, shape in shapes.items():
            empty = None if shape is None else nn.Parameter(torch.empty(shape, **options))
            self.register_parameter(name, empty)
        self.out_proj = nn.Linear(d, d, bias=bias, **options)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot's uniform for the input projections, zero for all biases, as torch."""
        for name, parameter in self.named_parameters(recurse=False):
            if name != "in_proj_bias":
                nn.init.xavier_uniform_(parameter)
        if self.in_proj_bias is not None:
            nn.init.zeros_(self.in_proj_bias)
            nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """(output, weights or None).

        Args:
            query, key, value: [Tq, B, d], [Tk, B, kdim], [Tk, B, vdim], with batch_first [B, T, d];
                without a batch [T, d].
            key_padding_mask: bool [B, Tk] ([Tk] without a batch), True at padding; or float.
            need_weights: return the weights too, at the cost of building them.
            attn_mask: bool [Tq, Tk] or [B H, Tq, Tk], True where a query may NOT attend; or float.
            average_attn_weights: weights are [B, Tq, Tk], the heads' mean, else [B, H, Tq, Tk].
            is_causal: each query attends to no later key. An attn_mask beside it must say the same
                (torch asks for one; here it may be left out).
            cache: ours alone; keys and values of earlier positions, to which these are appended.

        Raises ValueError for inputs and masks of other shapes.
        """
        batched = query.dim() == 3
        self._check_shapes(query, key, value)
        q, k, v = self._project(query, key, value)
        if not batched:
            q, k, v = (x.unsqueeze(0) for x in (q, k, v))
        elif not self.batch_first:
            q, k, v = (x.transpose(0, 1) for x in (q, k, v))  # [T, B, d] -> [B, T, d]
        q, k, v = (split_heads(x, self.num_heads) for x in (q, k, v))  # -> [B, H, T, d/H]
        if cache is not None:
            k, v = cache.append(k, v)
        Tq, Tk = q.size(-2), k.size(-2)
        last = cache is not None  # the queries are the last positions; a single one sees all keys
        is_causal = is_causal and not (last and Tq == 1)
        told = (
            is_causal and not need_weights and key_padding_mask is None and (not last or Tq == Tk)
        )
        if is_causal:
            attn_mask = None if told else ~causal_mask(Tq, Tk, from_end=last, device=q.device)
        mask = join_masks(attn_mask, key_padding_mask, q.size(0), self.num_heads, Tq, Tk)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = F.dropout(attention_weights(q, k, mask), dropout)
            heads = weights @ v
        else:  # told of a causal mask, instead of shown one, the kernel skips what it forbids
            heads = fused_attention(q, k, v, mask, dropout, told)
        output = merge_heads(heads)  # [B, H, Tq, d/H] -> [B, Tq, d]
        if batched and not self.batch_first:
            output = output.transpose(0, 1)
        output = self.out_proj(output if batched else output.squeeze(0))
        if weights is not None:
            weights = weights.mean(1) if average_attn_weights else weights
            weights = weights if batched else weights.squeeze(0)
        return output, weights

    def _check_shapes(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        sizes = {"query": self.embed_dim, "key": self.kdim, "value": self.vdim}
        for (name, size), x in zip(sizes.items(), (query, key, value)):
            if x.dim() not in (2, 3) or x.dim() != query.dim() or x.size(-1) != size:
                layout = "[B, T, {0}]" if self.batch_first else "[T, B, {0}]"
                raise ValueError(
                    f"{name} must be {layout.format(size)}, or all three unbatched [T, {size}], "
                    f"got {list(x.shape)}"
                )
        if key.shape[:-1] != value.shape[:-1]:
            raise ValueError(
                f"every key has its value, got keys {list(key.shape)}, values {list(value.shape)}"
            )
        batch = 0 if self.batch_first else 1
        if query.dim() == 3 and query.size(batch) != key.size(batch):
            raise ValueError(
                f"queries and keys must come in batches of one size, got {list(query.shape)} and "
                f"{list(key.shape)} (batch_first={self.batch_first})"
            )

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of all heads, [..., d] each; one product where inputs are one."""
        d, weight, bias = self.embed_dim, self.in_proj_weight, self.in_proj_bias
        if weight is not None and query is key and key is value:
            return F.linear(query, weight, bias).chunk(3, -1)  # [..., d] -> 3 x [..., d]
        if weight is not None and key is value:
            biases = (None, None) if bias is None else bias.split((d, 2 * d))
            q_weight, kv_weight = weight.split((d, 2 * d))
            keys_and_values = F.linear(key, kv_weight, biases[1]).chunk(2, -1)
            return F.linear(query, q_weight, biases[0]), *keys_and_values
        names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
        weights = [getattr(self, n) for n in names] if weight is None else weight.chunk(3)
        biases = (None,) * 3 if bias is None else bias.chunk(3)
        return tuple(F.linear(*parts) for parts in zip((query, key, value), weights, biases))
