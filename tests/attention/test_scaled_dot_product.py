"""Attention in parts: against torch's function, its masks, its heads, its properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from course_lib.attention.multihead import (
    MultiheadAttention,
    adjacency_mask,
    attention_weights,
    causal_mask,
    fused_attention,
    merge_heads,
    padding_mask,
    scaled_dot_product_attention,
    split_heads,
)
from tests.attention.same_weights import assert_same_function, random, some_mask, twins

FORMS = [scaled_dot_product_attention, fused_attention]


B, H, TQ, TK, D = 2, 3, 5, 7, 4  # batch, heads, queries, keys, features of a head


# name: (attn_mask, is_causal, scale), for scores [B, H, TQ, TK]
MASKS = {
    "none": lambda: (None, False, None),
    "scale": lambda: (None, False, 0.3),
    "causal": lambda: (None, True, None),
    "bool": lambda: (some_mask(TQ, TK), False, None),
    "bool a batch": lambda: (some_mask(B, 1, TQ, TK), False, None),
    "padding": lambda: (some_mask(B, 1, 1, TK), False, None),
    "float": lambda: (random(TQ, TK), False, 0.7),
    "float, far below": lambda: (random(TQ, TK) - 1e5, False, None),
    "float with -inf": lambda: (
        random(B, H, TQ, TK).masked_fill(~some_mask(B, H, TQ, TK), -torch.inf),
        False,
        None,
    ),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("form", FORMS)
def test_attention_against_torch(form, mask):
    attn_mask, causal, scale = MASKS[mask]()
    options = {"attn_mask": attn_mask, "is_causal": causal, "scale": scale}
    inputs = random(B, H, TQ, D), random(B, H, TK, D), random(B, H, TK, D + (form is FORMS[0]))
    assert_same_function(
        lambda *x: form(*x, **options),
        lambda *x: F.scaled_dot_product_attention(*x, **options),
        inputs,
    )


def test_attention_by_hand():
    """Two keys with scores 0 and ln 3, after the division by sqrt(4): weights 1/4 and 3/4."""
    query = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
    keys = torch.tensor([[0.0, 1.0, 0.0, 0.0], [torch.tensor(3.0).log(), 5.0, 0.0, 0.0]])
    values = torch.tensor([[4.0, 0.0], [0.0, 8.0]])
    torch.testing.assert_close(attention_weights(query, keys), torch.tensor([[0.25, 0.75]]))
    for form in FORMS:
        args = (x[None, None] for x in (query, keys, values))
        torch.testing.assert_close(form(*args)[0, 0], torch.tensor([[1.0, 6.0]]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_a_query_that_may_attend_nothing_gets_zero_and_no_gradient(form, kind):
    allowed = some_mask(TQ, TK)
    allowed[2] = False
    mask = allowed if kind == "bool" else random(TQ, TK).masked_fill(~allowed, -torch.inf)
    inputs = [random(1, 1, n, D).requires_grad_() for n in (TQ, TK, TK)]
    output = form(*inputs, mask)
    assert output[0, 0, 2].abs().max() == 0
    assert output[0, 0, [0, 1, 3, 4]].abs().min() > 0
    alone = torch.autograd.grad(output[0, 0, 2].sum(), inputs, retain_graph=True)
    assert all(gradient.abs().max() == 0 for gradient in alone)
    gradients = torch.autograd.grad(output.square().sum(), inputs)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert gradients[0][0, 0, 2].abs().max() == 0
    nothing = torch.zeros(TQ, TK, dtype=torch.bool)
    assert form(*inputs, nothing).abs().max() == 0


def _loud() -> tuple[torch.Tensor, ...]:
    """A mask that hides key 3 (among others), a query, and keys and values quiet and loud there."""
    mask = some_mask(TQ, TK)
    mask[:, 3] = False
    query = random(1, 1, TQ, D).abs() + 1
    key, value = random(1, 1, TK, D), random(1, 1, TK, D)
    loud_key, loud_value = key.clone(), value.clone()
    loud_key[0, 0, 3], loud_value[0, 0, 3] = 1e4, 1e4
    assert (query @ loud_key.mT / D**0.5)[0, 0, :, 3].min() > 1e4
    return mask, query, key, value, loud_key, loud_value


@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("form", FORMS)
def test_a_mask_cannot_be_beaten_by_large_logits(form, kind):
    """A masked key scores 1e4 and more; the output is, to the last bit, what it was."""
    mask, query, key, value, loud_key, loud_value = _loud()
    mask = mask if kind == "bool" else random(TQ, TK).masked_fill(~mask, -torch.inf)
    assert torch.equal(form(query, key, value, mask), form(query, loud_key, loud_value, mask))


@pytest.mark.parametrize("kind", ["attn_mask", "padding", "padding and float", "causal"])
@pytest.mark.parametrize("need_weights", [True, False])
def test_nor_can_the_layers_masks(need_weights, kind):
    layer, _ = twins(MultiheadAttention, nn.MultiheadAttention, D, 1, batch_first=True)
    with torch.no_grad():  # the projections pass queries, keys and values on
        layer.in_proj_weight.copy_(torch.eye(D).repeat(3, 1))
    mask, query, key, value, loud_key, loud_value = _loud()
    padding = (torch.arange(TK) == 3)[None]
    masks = {
        "attn_mask": {"attn_mask": ~mask},
        "padding": {"key_padding_mask": padding},
        "padding and float": {"key_padding_mask": padding, "attn_mask": random(TQ, TK)},
        "causal": {"is_causal": True},
    }[kind]
    last = 3 if kind == "causal" else TQ  # the queries before key 3
    outputs = [
        layer(query[0, :, :last], k[0], v[0], need_weights=need_weights, **masks)[0]
        for k, v in ((key, value), (loud_key, loud_value))
    ]
    assert torch.equal(*outputs)


@pytest.mark.parametrize("form", FORMS)
def test_causal_to_the_last_bit(form):
    inputs = [random(B, H, 70, D) for _ in range(3)]
    output = form(*inputs, is_causal=True)
    for x in inputs:
        x[:, :, 40:] = 100 * random(B, H, 30, D)
    changed = form(*inputs, is_causal=True)
    assert torch.equal(output[:, :, :40], changed[:, :, :40])
    assert not torch.equal(output[:, :, 40:], changed[:, :, 40:])


@pytest.mark.parametrize("form", FORMS)
def test_every_weight_row_is_a_distribution_over_what_may_be_attended(form):
    query, key = random(B, H, TQ, D), random(B, H, TK, D)
    mask = some_mask(B, 1, TQ, TK)
    weights = attention_weights(query, key, mask)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert (weights.masked_select(~mask) == 0).all()
    seen = form(query, key, torch.eye(TK, dtype=torch.float64).expand(B, H, TK, TK), mask)
    torch.testing.assert_close(seen, weights)


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4),
    more=st.integers(1, 3),
)
def test_padding_changes_nothing(lengths, more):
    """Attention over padded sequences is attention over each sequence alone."""
    T = max(lengths) + more
    x = random(len(lengths), 1, T, D)
    mask = padding_mask(torch.tensor(lengths), T)
    assert mask.sum(1).tolist() == lengths
    together = scaled_dot_product_attention(x, x, x, mask[:, None, None])
    for i, length in enumerate(lengths):
        own = x[i, :, :length]
        alone = scaled_dot_product_attention(own, own, own)
        torch.testing.assert_close(together[i, :, :length], alone)


def test_masks_by_hand():
    assert causal_mask(3).tolist() == [[True, False, False], [True, True, False], [True] * 3]
    assert causal_mask(2, 4).tolist() == [[True] + [False] * 3, [True] * 2 + [False] * 2]
    assert causal_mask(2, 4, from_end=True).tolist() == [[True] * 3 + [False], [True] * 4]
    assert torch.equal(causal_mask(3, from_end=True), causal_mask(3))
    assert padding_mask(torch.tensor([2, 0, 3]), 3).long().tolist() == [
        [1, 1, 0],
        [0, 0, 0],
        [1, 1, 1],
    ]
    adjacency = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    expected = [[1, 1, 0], [0, 1, 0], [1, 0, 1]]  # 0 hears 1, 2 hears 0, and each itself
    assert adjacency_mask(adjacency).long().tolist() == expected
    assert torch.equal(adjacency_mask(adjacency, loops=False), adjacency.bool())
    assert adjacency_mask(torch.stack([adjacency] * 2)).shape == (2, 3, 3)


def test_masked_by_an_adjacency_a_node_hears_its_neighbours_only():
    adjacency = (torch.rand(8, 8) < 0.3).double()
    x = random(1, 8, D).requires_grad_()
    for loops in (True, False):
        output = scaled_dot_product_attention(x, x, x, adjacency_mask(adjacency, loops=loops))
        for node in range(8):
            (heard,) = torch.autograd.grad(output[0, node].sum(), x, retain_graph=True)
            sources = adjacency[node].bool()
            assert not heard[0, ~sources & (torch.arange(8) != node)].any()
            assert heard[0, sources].any() or not sources.any()


def test_heads_are_split_by_features_and_merged_again():
    x = torch.arange(2 * 3 * 4.0).view(2, 3, 4)  # [B, T, d]
    heads = split_heads(x, 2)
    assert heads.shape == (2, 2, 3, 2)
    assert heads[0, 0].tolist() == [[0, 1], [4, 5], [8, 9]]
    assert heads[0, 1].tolist() == [[2, 3], [6, 7], [10, 11]]
    assert torch.equal(merge_heads(heads), x)
    assert torch.equal(merge_heads(split_heads(x[0], 4)), x[0])  # without a batch


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3))
def test_merging_undoes_splitting(batch, length, heads, size):
    x = random(batch, length, heads * size)
    assert split_heads(x, heads).shape == (batch, heads, length, size)
    assert torch.equal(merge_heads(split_heads(x, heads)), x)


def test_wrong_inputs_are_named():
    q, k = random(2, 5, 12), random(2, 7, 12)
    with pytest.raises(ValueError, match="last sizes differ"):
        attention_weights(q, k[..., :3])
    with pytest.raises(ValueError, match="is_causal is a mask already"):
        attention_weights(q, k, causal_mask(5, 7), is_causal=True)
    with pytest.raises(ValueError, match="num_heads must divide the model size 12, got 5"):
        split_heads(q, 5)
    with pytest.raises(ValueError, match=r"lengths must be int \[B\]"):
        padding_mask(torch.tensor([1.0]), 3)
    with pytest.raises(ValueError, match=r"dense \[..., N, N\], got \[2, 3\]"):
        adjacency_mask(torch.zeros(2, 3))
