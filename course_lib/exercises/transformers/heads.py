"""Unit 04, exercise 3: heads split, attending side by side, and merged."""

from __future__ import annotations

import functools
import itertools

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.attending import unit
from course_lib.exercises.transformers.naming import keep_arguments, named


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
    for heads, each, causal in ((case.size(2, 3), 4, True), (case.size(4, 5), 3, False)):
        size = case.size(5, 7)
        x, mask, weights = head_inputs(case, case.size(2, 3), size, heads * each)
        if not causal:  # padding alone: a query may look at what comes after it
            mask = mask[:, :, -1:].expand_as(mask).clone()
        given = (x, *weights, heads, mask)
        label = f"{heads} heads, {'causal' if causal else 'padding alone'}"
        case.expect(answer(*given), reference.multi_head(*given), label=label)
        keep_arguments(case, *given)
    given, extra = (x[:1, :4], *weights), (heads, mask[:1, :, :4, :4])
    for wrt in (0, 1, 3):
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


@named(
    multi_head,
    "The heads were not moved back before they were merged: [B, H, T, d_h] reshaped at once mixes heads with times. "
    "Transpose first.",
)
def merged_at_once(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    found = _heads(x, in_weight, in_bias, num_heads, mask)
    return found.reshape(x.shape) @ out_weight.T + out_bias


@named(
    multi_head,
    "You split with view(B, H, T, d_h) at once, which cuts the time into heads. Make it [B, T, H, d_h] and transpose.",
)
def split_at_once(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    shape = (len(x), num_heads, x.shape[1], -1)
    parts = [part.reshape(shape) for part in _projected(x, in_weight, in_bias)]
    return _merge(_attend(parts, mask)) @ out_weight.T + out_bias


@named(
    multi_head,
    "Both reshapes are made at once, without transposing: each head then looks at other times and features. "
    "[B, T, d] -> [B, T, H, d_h] -> [B, H, T, d_h], and back on the same way.",
)
def both_at_once(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    shape = (len(x), num_heads, x.shape[1], -1)
    parts = [part.reshape(shape) for part in _projected(x, in_weight, in_bias)]
    return _attend(parts, mask).reshape(x.shape) @ out_weight.T + out_bias


@named(multi_head, "out_weight was not transposed: found @ out_weight.T + out_bias.")
def output_untransposed(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    return _merge(_heads(x, in_weight, in_bias, num_heads, mask)).matmul(out_weight) + out_bias


@named(
    multi_head,
    "The output map is missing: what the heads found goes through out_weight and out_bias.",
)
def no_output_map(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    return _merge(_heads(x, in_weight, in_bias, num_heads, mask))


@named(multi_head, "The mask has no effect: is it handed on to attention?")
def no_mask(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    found = _heads(x, in_weight, in_bias, num_heads, torch.ones_like(mask))
    return _merge(found) @ out_weight.T + out_bias


def _interleaved_and_merged_alike(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    parts = [_interleaved(part, num_heads) for part in _projected(x, in_weight, in_bias)]
    return _attend(parts, mask).permute(0, 2, 3, 1).flatten(2) @ out_weight.T + out_bias


@named(
    multi_head,
    "Your head h owns every H-th feature. It owns d_h neighbouring ones: split d into (H, d_h), not into (d_h, H).",
    _interleaved_and_merged_alike,
)
def interleaved(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    parts = [_interleaved(part, num_heads) for part in _projected(x, in_weight, in_bias)]
    return _merge(_attend(parts, mask)) @ out_weight.T + out_bias


def _in_order(order, x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    """The three parts of x W^T taken for queries, keys and values in another order."""
    parts = [_split(part, num_heads) for part in _projected(x, in_weight, in_bias)]
    return _merge(_attend([parts[i] for i in order], mask)) @ out_weight.T + out_bias


@named(
    multi_head,
    "The parts are taken in another order: in_weight holds W_q, then W_k, then W_v (and rows of the scores are "
    "queries).",
    *(
        functools.partial(_in_order, order)
        for order in itertools.permutations(range(3))
        if order[0]
    ),
    functools.partial(_in_order, (0, 2, 1)),
)
def other_order(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    query, key, value = (_split(p, num_heads) for p in _projected(x, in_weight, in_bias))
    return _merge(_attend((key, query, value), mask)) @ out_weight.T + out_bias


def _every_third(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    """view(B, T, d, 3).unbind(-1): every third number is a query's."""
    parts = (x @ in_weight.T + in_bias).unflatten(-1, (-1, 3)).unbind(-1)
    found = _attend([_split(part, num_heads) for part in parts], mask)
    return _merge(found) @ out_weight.T + out_bias


@named(
    multi_head,
    "Queries, keys and values are not cut from the 3d numbers as three neighbouring blocks: .chunk(3, dim=-1) first, "
    "then split each part into heads.",
    _every_third,
)
def heads_first(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    parts = _split(x @ in_weight.T + in_bias, num_heads).chunk(3, dim=-1)
    return _merge(_attend(parts, mask)) @ out_weight.T + out_bias


def _no_output_bias(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    return _merge(_heads(x, in_weight, in_bias, num_heads, mask)) @ out_weight.T


def _no_bias(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    return _no_output_bias(x, in_weight, 0 * in_bias, out_weight, out_bias, num_heads, mask)


@named(
    multi_head,
    "A bias is missing: in_bias is added to x @ in_weight.T, and out_bias at the very end.",
    _no_output_bias,
    _no_bias,
)
def no_input_bias(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    found = _heads(x, in_weight, torch.zeros_like(in_bias), num_heads, mask)
    return _merge(found) @ out_weight.T + out_bias


def _collides(observations) -> bool:
    return any(
        isinstance(o.got, Raised) and "must match the size" in o.got.text
        for o in observations
        if "args" in o.given
    )


@multi_head.symptom(
    _collides,
    "Did attention get [B, T, H, d_h]? Its mask then meets heads where it expects positions: bring the heads to the "
    "front, .transpose(1, 2) after the split.",
)
def not_moved_to_the_front(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    parts = [p.unflatten(-1, (num_heads, -1)) for p in _projected(x, in_weight, in_bias)]
    return _attend(parts, mask).flatten(2) @ out_weight.T + out_bias
