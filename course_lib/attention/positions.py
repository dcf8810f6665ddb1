"""Where a token stands: absolute positions added to the input, relative ones inside the attention.

Letters: B sequences, H heads, T (or Tq) queries, S (or Tk) keys, d the model's size, d_h = d / H.
Attention alone does not know the order of its inputs: permute them and the outputs are permuted
alike. Absolute positions add a vector of its own to each place. Relative positions (Shaw, Uszkoreit
and Vaswani, 2018) give each pair (i, j) a vector that depends on the clipped distance j - i only:

    e_ij = q_i . (k_j + a^K_ij) / sqrt(d_h),   alpha = softmax_j e,   z_i = sum_j alpha_ij (v_j + a^V_ij)
    a^K_ij = table^K[clip(j - i, -k, k) + k]   and a^V_ij likewise, tables [2k + 1, d_h], shared by the heads
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.attention.masks import causal_mask, join_masks
from course_lib.attention.multihead import (
    MultiheadAttention,
    attention_weights,
    fused_attention,
    merge_heads,
    split_heads,
)

if TYPE_CHECKING:
    from course_lib.attention.generate import KeyValueCache

__all__ = [
    "LearnedPositions",
    "RelativeMultiheadAttention",
    "relative_index",
    "relative_logits",
    "relative_values",
    "shift_rotation",
    "sinusoidal_positions",
]


def _frequencies(d_model: int, base: float, device: torch.device | str | None) -> Tensor:
    """omega_m = base^(-2m / d_model) for m = 0 .. d_model / 2 - 1, float64."""
    if d_model < 2 or d_model % 2:
        raise ValueError(f"d_model must be even, a sine and a cosine a frequency, got {d_model}")
    if base <= 0:
        raise ValueError(f"base must be positive, got {base}")
    pairs = torch.arange(d_model // 2, dtype=torch.float64, device=device)
    return torch.exp(-2.0 * math.log(base) / d_model * pairs)


def sinusoidal_positions(
    length: int,
    d_model: int,
    base: float = 10000.0,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The table [length, d_model] of sines (even columns) and cosines (odd columns).

        PE[t, 2m] = sin(t omega_m),   PE[t, 2m + 1] = cos(t omega_m),   omega_m = base^(-2m / d_model)

    Wavelengths grow from 2 pi to nearly 2 pi base. Computed in float64, then given as `dtype`
    (torch's default dtype without it).

    Source: Vaswani et al., Attention is all you need, 2017, section 3.5.

    Raises ValueError for an odd d_model, a negative length or a base that is not positive.
    """
    if length < 0:
        raise ValueError(f"length must be at least 0, got {length}")
    steps = torch.arange(length, dtype=torch.float64, device=device)
    angles = steps[:, None] * _frequencies(d_model, base, device)  # [T, d / 2]
    table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)  # [T, d / 2, 2] -> [T, d]
    return table.to(dtype or torch.get_default_dtype())


def shift_rotation(
    offset: int,
    d_model: int,
    base: float = 10000.0,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """The matrix R [d_model, d_model] with PE[t + offset] = R PE[t], the same for every t.

    It turns each pair (sin, cos) by the angle offset omega_m, clockwise:

        [sin(w(t + s))]   [ cos(ws)  sin(ws)] [sin(wt)]
        [cos(w(t + s))] = [-sin(ws)  cos(ws)] [cos(wt)]

    so R is orthogonal, and a linear map can look `offset` places back or ahead.

    Raises ValueError for an odd d_model or a base that is not positive.
    """
    angles = offset * _frequencies(d_model, base, device)  # [d / 2]
    sine, cosine = angles.sin(), angles.cos()
    blocks = torch.stack([cosine, sine, -sine, cosine], dim=1).view(-1, 2, 2)  # [d / 2, 2, 2]
    return torch.block_diag(*blocks).to(dtype or torch.get_default_dtype())


class LearnedPositions(nn.Module):
    """A learned vector a place, `weight` [max_length, d_model]: a row that was never trained stays noise.

    `positions(length)` gives the first `length` rows, as `sinusoidal_positions` does: [T, d].

    Raises ValueError where length exceeds max_length.
    """

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_length, d_model))
        nn.init.normal_(self.weight)  # as torch.nn.Embedding's

    def forward(self, length: int) -> Tensor:
        if not 0 <= length <= len(self.weight):
            raise ValueError(
                f"length {length} exceeds the {len(self.weight)} learned positions: make the table "
                "longer, or use positions that extend to any length"
            )
        return self.weight[:length]


def relative_index(
    query_length: int,
    key_length: int,
    max_distance: int,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """The table's row for each pair, clip(j - i, -k, k) + k: int64 [Tq, Tk] in 0..2k.

    j is the key's place and i the query's, so that row 0 is "k or more to the left", row k is "here"
    and row 2k "k or more to the right". With max_distance k = 0 there is a single row.

    Raises ValueError for a negative max_distance.
    """
    if max_distance < 0:
        raise ValueError(f"max_distance must be at least 0, got {max_distance}")
    i = torch.arange(query_length, device=device)[:, None]
    j = torch.arange(key_length, device=device)
    return (j - i).clamp_(-max_distance, max_distance).add_(max_distance)


def _rows(table: Tensor, size: int) -> int:
    """The k of a table [2k + 1, size]; an error that says what is wrong with any other shape."""
    if table.dim() != 2 or table.size(0) % 2 == 0 or (size and table.size(1) != size):
        raise ValueError(
            f"table must be [2k + 1, d_h{f' = {size}' if size else ''}], a row a distance from -k "
            f"to k, got {list(table.shape)}"
        )
    return table.size(0) // 2


def relative_logits(query: Tensor, table: Tensor, key_length: int | None = None) -> Tensor:
    """q_i . a^K_ij for all pairs: query [..., T, d_h], table [2k + 1, d_h] -> [..., T, S], not scaled.

    There are only 2k + 1 different vectors, so all products q table^T [..., T, 2k + 1] are made once
    and each pair picks its own: nothing of size T S d_h is built. S is `key_length`, T without it.

    Source: the equation is Shaw, Uszkoreit and Vaswani's, 2018 (equation 4).

    Raises ValueError for a table with an even number of rows or of another d_h.
    """
    k = _rows(table, query.size(-1))
    products = query @ table.mT  # [..., T, 2k + 1]
    length = query.size(-2)
    index = relative_index(
        length, length if key_length is None else key_length, k, device=query.device
    )
    return products.gather(-1, index.expand(*query.shape[:-2], *index.shape))


def relative_values(weights: Tensor, table: Tensor) -> Tensor:
    """sum_j alpha_ij a^V_ij: weights [..., T, S], table [2k + 1, d_h] -> [..., T, d_h].

    The weights of all keys at one clipped distance are added up first, [..., T, 2k + 1], and the
    table is multiplied once: nothing of size T S d_h is built.

    Source: the equation is Shaw, Uszkoreit and Vaswani's, 2018 (equation 3).

    Raises ValueError for a table with an even number of rows.
    """
    index = relative_index(*weights.shape[-2:], _rows(table, 0), device=weights.device)
    sums = weights.new_zeros(*weights.shape[:-1], table.size(0))
    return sums.scatter_add(-1, index.expand_as(weights), weights) @ table


class RelativeMultiheadAttention(MultiheadAttention):
    """Multi-head attention with relative positions (Shaw et al. 2018), batch first unless told.

        e_ij = q_i . (k_j + a^K_ij) / sqrt(d_h),   z_i = sum_j alpha_ij (v_j + a^V_ij)

    Its arguments and masks are those of `MultiheadAttention` (bool: True may NOT be attended), so it
    can take the place of a transformer layer's `self_attn`. Query number i and key number j stand at
    places i and j, both counted from the first.

    Args:
        embed_dim, num_heads: d and H; H divides d.
        max_distance: k; distances beyond are taken for k. With k = 0 the tables have one row, which
            says nothing of positions.
        use_keys, use_values: whether there is a table a^K, a^V. With neither it is plain attention.
        dropout, bias, batch_first: as in `MultiheadAttention`.

    The tables `relative_keys` and `relative_values` [2k + 1, d_h] are shared by the heads; all other
    weights have torch's names.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        max_distance: int,
        use_keys: bool = True,
        use_values: bool = True,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        options = {"device": device, "dtype": dtype}
        super().__init__(embed_dim, num_heads, dropout, bias, batch_first=batch_first, **options)
        if max_distance < 0:
            raise ValueError(f"max_distance must be at least 0, got {max_distance}")
        self.max_distance = max_distance
        shape = 2 * max_distance + 1, embed_dim // num_heads
        for name, used in (("relative_keys", use_keys), ("relative_values", use_values)):
            table = nn.Parameter(torch.empty(shape, **options)) if used else None
            self.register_parameter(name, table)
            if table is not None:
                nn.init.xavier_uniform_(table)

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
        """(output, weights or None): [B, Tq, d] and [B, Tk, d] -> [B, Tq, d]; see `MultiheadAttention`.

        Raises ValueError for inputs and masks of other shapes, without a batch, or with a cache.
        """
        self._check_shapes(query, key, value)
        if query.dim() != 3 or cache is not None:
            raise ValueError(
                "relative attention takes batches, and no cache: use x[None] for one x"
            )
        projected = self._project(query, key, value)
        if not self.batch_first:
            projected = (x.transpose(0, 1) for x in projected)  # [T, B, d] -> [B, T, d]
        q, k, v = (split_heads(x, self.num_heads) for x in projected)  # -> [B, H, T, d_h]
        Tq, Tk = q.size(2), k.size(2)
        if is_causal:
            attn_mask = ~causal_mask(Tq, Tk, device=q.device)
        mask = join_masks(attn_mask, key_padding_mask, q.size(0), self.num_heads, Tq, Tk)
        if self.relative_keys is not None:  # a^K adds to the scores, as a mask of floats does
            bias = relative_logits(q, self.relative_keys, Tk) / math.sqrt(q.size(3))
            if mask is None:
                mask = bias
            elif mask.dtype == torch.bool:
                mask = bias.masked_fill(~mask, -math.inf)
            else:
                mask = bias + mask
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights or self.relative_values is not None:
            weights = F.dropout(attention_weights(q, k, mask), dropout)  # [B, H, Tq, Tk]
            heads = weights @ v
        else:
            heads = fused_attention(q, k, v, mask, dropout)
        if self.relative_values is not None:
            heads = heads + relative_values(weights, self.relative_values)
        output = self.out_proj(merge_heads(heads))  # [B, H, Tq, d_h] -> [B, Tq, d]
        if not need_weights:
            weights = None
        elif average_attn_weights:
            weights = weights.mean(1)
        return output if self.batch_first else output.transpose(0, 1), weights
