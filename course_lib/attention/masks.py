"""Masks of attention: who may attend whom.

All masks made here are bool and True where a query MAY attend a key, as the attn_mask of
F.scaled_dot_product_attention. The two masks of torch's layers say the opposite (True: may NOT);
`join_masks` turns them into one of ours. A float mask is the same in both: it is added to the scores.

Letters: B batch, H heads, Tq queries, Tk keys.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["adjacency_mask", "causal_mask", "join_masks", "padding_mask"]


def causal_mask(
    Tq: int,
    Tk: int | None = None,
    *,
    from_end: bool = False,
    device: torch.device | str | None = None,
) -> Tensor:
    """bool [Tq, Tk], True where the key is no later than the query; Tk is Tq unless given.

    Query i stands at position i, counted from the first key (as torch's is_causal), or with
    `from_end` at position Tk - Tq + i: the queries are then the last Tq of the Tk positions, as in
    decoding with a cache of earlier keys.
    """
    Tk = Tq if Tk is None else Tk
    mask = torch.ones(Tq, Tk, dtype=torch.bool, device=device)
    return mask.tril(Tk - Tq if from_end else 0)


def padding_mask(lengths: Tensor, T: int) -> Tensor:
    """bool [B, T], True at the real tokens of sequences of `lengths` (int [B]), False at padding.

    As a mask of keys it is `padding_mask(...)[:, None, None]`, [B, 1, 1, T], to fit [B, H, Tq, T];
    the key_padding_mask of `MultiheadAttention` is its opposite, `~padding_mask(...)`.

    Raises ValueError for lengths that are not whole numbers [B].
    """
    if lengths.dim() != 1 or lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise ValueError(f"lengths must be int [B], got {lengths.dtype} {list(lengths.shape)}")
    return torch.arange(T, device=lengths.device) < lengths[:, None]  # [B, 1] -> [B, T]


def adjacency_mask(adjacency: Tensor, *, loops: bool = True) -> Tensor:
    """bool [..., N, N] for attention on a graph: node i may attend its neighbours, and itself.

    adjacency: dense [..., N, N]; entry (i, j) is not zero where an edge leads from j to i, so that
    i listens to j. loops: every node may attend itself too; without them an isolated node attends
    nothing and gets zeros.

    Raises ValueError for a matrix that is not square.
    """
    if adjacency.dim() < 2 or adjacency.size(-1) != adjacency.size(-2):
        raise ValueError(f"adjacency must be dense [..., N, N], got {list(adjacency.shape)}")
    mask = adjacency != 0
    if loops:
        mask = mask | torch.eye(mask.size(-1), dtype=torch.bool, device=mask.device)
    return mask


def join_masks(
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    batch: int,
    num_heads: int,
    Tq: int,
    Tk: int,
) -> Tensor | None:
    """The two masks of torch's layers as one mask that broadcasts to [B, H, Tq, Tk], or None.

    attn_mask: bool [Tq, Tk] or [B H, Tq, Tk], True where a query may NOT attend; or float, added.
    key_padding_mask: bool [B, Tk] or [Tk], True at padding; or float, added.
    Of two bool masks comes a bool one (True: may); as soon as one is float, so is the result.

    Raises ValueError for masks of other shapes.
    """
    masks = []
    if attn_mask is not None:
        if list(attn_mask.shape) not in ([Tq, Tk], [batch * num_heads, Tq, Tk]):
            raise ValueError(
                f"attn_mask must be [Tq, Tk] = {[Tq, Tk]} or [B H, Tq, Tk] = "
                f"{[batch * num_heads, Tq, Tk]}, got {list(attn_mask.shape)}"
            )
        heads = num_heads if attn_mask.dim() == 3 else 1
        masks.append(attn_mask.reshape(-1, heads, Tq, Tk))  # [B H, Tq, Tk] -> [B, H, Tq, Tk]
    if key_padding_mask is not None:
        if list(key_padding_mask.shape) not in ([batch, Tk], [Tk] if batch == 1 else []):
            raise ValueError(
                f"key_padding_mask must be [B, Tk] = {[batch, Tk]}, got "
                f"{list(key_padding_mask.shape)}"
            )
        masks.append(key_padding_mask.reshape(batch, 1, 1, Tk))
    if not masks:
        return None
    if all(mask.dtype == torch.bool for mask in masks):
        return ~(masks[0] | masks[-1])
    floats = [mask for mask in masks if mask.dtype != torch.bool]
    masks = [
        mask
        if mask.dtype != torch.bool
        else torch.zeros_like(mask, dtype=floats[0].dtype).masked_fill(mask, -math.inf)
        for mask in masks
    ]
    return sum(masks[1:], masks[0])
