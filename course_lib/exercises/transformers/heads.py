"""Unit 04, exercise 3: heads split, attending side by side, and merged."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.attending import unit


@unit.exercise(
    points=3,
    minutes=11,
    reference=reference.multi_head,
    uses=("attention",),
    hints=[
        "One product gives all three: x @ in_weight.T + in_bias is [B, T, 3d], and .chunk(3, dim=-1) cuts it.",
        "Split the features, not the time: .view(B, T, num_heads, -1), then .transpose(1, 2) puts heads in front.",
        "Back on the same way: .transpose(1, 2) first, then .reshape(B, T, d), then the output map.",
    ],
)
def multi_head(answer, case: Case) -> None:
    """Self-attention [B, T, d] of x [B, T, d] with num_heads heads; in_weight [3d, d] stacks W_q, W_k, W_v."""
    for heads, each in ((case.size(2, 3), 4), (case.size(4, 5), 3)):
        size = case.size(5, 7)
        x, mask, weights = head_inputs(case, case.size(2, 3), size, heads * each)
        given = (x, *weights, heads, mask)
        case.expect(answer(*given), reference.multi_head(*given), label=f"{heads} heads")
    given, extra = (x[:1, :4], *weights), (heads, mask[:1, :, :4, :4])
    for wrt in (0, 1):
        case.expect_gradient(answer, reference.multi_head, *given, wrt=wrt, extra=extra)


def head_inputs(case: Case, batch: int, size: int, wide: int):
    """x [B, T, d], a causal mask [B, 1, T, T] with padding, and (in_weight, in_bias, out_weight, out_bias)."""
    lengths = torch.randint(1, size, (batch,), generator=case.random)
    weights = (
        case.normal(3 * wide, wide) * 1.5 * wide**-0.5,
        0.5 * case.normal(3 * wide),
        case.normal(wide, wide) * wide**-0.5,
        0.5 * case.normal(wide),
    )
    return case.normal(batch, size, wide), reference.attention_mask(lengths, size), weights


def _projected(x, in_weight, in_bias):
    """Queries, keys and values, [B, T, d] each."""
    return (x @ in_weight.T + in_bias).chunk(3, dim=-1)


def _split(x, heads):
    """[B, T, d] -> [B, H, T, d_h]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _interleaved(x, heads):
    """[B, T, d] -> [B, H, T, d_h] where head h owns the features h, h + H, h + 2H, ..."""
    return x.unflatten(-1, (-1, heads)).permute(0, 3, 1, 2)


def _merge(x):
    """[B, H, T, d_h] -> [B, T, d]."""
    return x.transpose(1, 2).flatten(2)


def _attend(parts, mask):
    query, key, value = parts
    weights = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    return weights.masked_fill(~mask, -torch.inf).softmax(-1) @ value


def _heads(x, in_weight, in_bias, heads, mask):
    """What the heads found, [B, H, T, d_h]."""
    return _attend([_split(part, heads) for part in _projected(x, in_weight, in_bias)], mask)


@multi_head.mistake(
    "The heads were not moved back before they were merged: [B, H, T, d_h] reshaped at once mixes heads with times. "
    "Transpose first."
)
def merged_at_once(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    found = _heads(x, in_weight, in_bias, num_heads, mask)
    return found.reshape(x.shape) @ out_weight.T + out_bias


@multi_head.mistake(
    "The heads are merged in the wrong order, feature by feature instead of head by head: flatten [B, T, H, d_h], not "
    "[B, T, d_h, H]."
)
def merged_interleaved(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    found = _heads(x, in_weight, in_bias, num_heads, mask)
    return found.permute(0, 2, 3, 1).flatten(2) @ out_weight.T + out_bias


@multi_head.mistake(
    "You split with view(B, H, T, d_h) at once, which cuts the time into heads. Make it [B, T, H, d_h], then transpose."
)
def split_at_once(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    shape = (len(x), num_heads, x.shape[1], -1)
    parts = [part.reshape(shape) for part in _projected(x, in_weight, in_bias)]
    return _merge(_attend(parts, mask)) @ out_weight.T + out_bias


@multi_head.mistake(
    "Both reshapes are made at once, without transposing: each head then looks at other times and features. "
    "[B, T, d] -> [B, T, H, d_h] -> [B, H, T, d_h], and back on the same way."
)
def both_at_once(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    shape = (len(x), num_heads, x.shape[1], -1)
    parts = [part.reshape(shape) for part in _projected(x, in_weight, in_bias)]
    return _attend(parts, mask).reshape(x.shape) @ out_weight.T + out_bias


@multi_head.mistake(
    "Your head h owns every H-th feature. It owns d_h neighbouring ones: split d into (H, d_h), not into (d_h, H)."
)
def split_interleaved(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    parts = [_interleaved(part, num_heads) for part in _projected(x, in_weight, in_bias)]
    return _merge(_attend(parts, mask)) @ out_weight.T + out_bias


@multi_head.mistake(
    "You split and merge as (d_h, H): your head h owns every H-th feature. It owns d_h neighbouring ones: (H, d_h)."
)
def all_interleaved(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    parts = [_interleaved(part, num_heads) for part in _projected(x, in_weight, in_bias)]
    return _attend(parts, mask).permute(0, 2, 3, 1).flatten(2) @ out_weight.T + out_bias


@multi_head.mistake("There is one head only: num_heads has no effect.")
def one_head(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    found = _heads(x, in_weight, in_bias, 1, mask)
    return _merge(found) @ out_weight.T + out_bias


@multi_head.mistake(
    "Queries and keys are exchanged. in_weight holds W_q, then W_k, then W_v; and rows of the scores are queries."
)
def exchanged(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    query, key, value = (_split(p, num_heads) for p in _projected(x, in_weight, in_bias))
    return _merge(_attend((key, query, value), mask)) @ out_weight.T + out_bias


@multi_head.mistake(
    "The weights are cut along the wrong way, or not transposed: W_q is in_weight[:d], a row for each of its outputs."
)
def untransposed(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    parts = zip(in_weight.chunk(3), in_bias.chunk(3))
    split = [_split(x.matmul(weight) + bias, num_heads) for weight, bias in parts]
    return _merge(_attend(split, mask)) @ out_weight.T + out_bias


@multi_head.mistake("out_weight was not transposed: found @ out_weight.T + out_bias.")
def output_untransposed(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    return _merge(_heads(x, in_weight, in_bias, num_heads, mask)).matmul(out_weight) + out_bias


@multi_head.mistake(
    "The output map is missing: what the heads found goes through out_weight and out_bias."
)
def no_output_map(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    return _merge(_heads(x, in_weight, in_bias, num_heads, mask))


@multi_head.mistake("in_bias is missing.")
def no_input_bias(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    found = _heads(x, in_weight, torch.zeros_like(in_bias), num_heads, mask)
    return _merge(found) @ out_weight.T + out_bias


@multi_head.mistake("out_bias is missing.")
def no_output_bias(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    return _merge(_heads(x, in_weight, in_bias, num_heads, mask)) @ out_weight.T


@multi_head.mistake("The mask has no effect: is it handed on to attention?")
def no_mask(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    found = _heads(x, in_weight, in_bias, num_heads, torch.ones_like(mask))
    return _merge(found) @ out_weight.T + out_bias


@multi_head.mistake(
    "The scores are divided by the root of d. A head's queries have d_h = d / H entries: divide by the root of d_h."
)
def scaled_by_all(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    query, key, value = (_split(p, num_heads) for p in _projected(x, in_weight, in_bias))
    found = _attend((query / num_heads**0.5, key, value), mask)
    return _merge(found) @ out_weight.T + out_bias


@multi_head.mistake(
    "The values are right, but no gradient flows: was there no_grad, .data, .detach() or numpy on the way?"
)
def without_gradient(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    found = _heads(x, in_weight, in_bias, num_heads, mask)
    return (_merge(found) @ out_weight.T + out_bias).detach()
