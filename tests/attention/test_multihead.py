"""The layer of many heads: against torch's with the same weights, and its properties."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.attention.multihead import (
    MultiheadAttention,
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
)
from tests.attention.same_weights import assert_same_module, random, some_mask, twins
from tests.devices import devices

B, H, TQ, TK = 2, 3, 5, 7  # batch, heads, queries, keys
E = 12  # embed_dim


LAYERS = {
    "plain": {},
    "batch first": {"batch_first": True},
    "without bias": {"bias": False},
    "other sizes": {"kdim": 5, "vdim": 7},
    "other sizes without bias": {"kdim": 5, "vdim": E, "bias": False, "batch_first": True},
}


# keys and values of other sizes than queries are other tensors
KINDS = {
    name: ["apart"] if "kdim" in LAYERS[name] else ["self", "cross", "apart"] for name in LAYERS
}
PAIRS = [(name, kind) for name, kinds in KINDS.items() for kind in kinds]


def _inputs(layer: nn.Module, kind: str) -> list[torch.Tensor]:
    """query, key, value; the same tensor three times, or two of them one, or all apart."""
    shapes = [(TQ if kind != "self" else TK, E), (TK, layer.kdim), (TK, layer.vdim)]
    q, k, v = (random(B, t, d) if layer.batch_first else random(t, B, d) for t, d in shapes)
    return {"self": [q, q, q], "cross": [q, k, k], "apart": [q, k, v]}[kind]


LAYER_MASKS = {
    "none": lambda T: {},
    "padding": lambda T: {"key_padding_mask": ~some_mask(B, TK)},
    "float padding": lambda T: {"key_padding_mask": random(B, TK)},
    "bool": lambda T: {"attn_mask": ~some_mask(T, TK)},
    "float": lambda T: {"attn_mask": random(T, TK).masked_fill(~some_mask(T, TK), -torch.inf)},
    "bool a head": lambda T: {"attn_mask": ~some_mask(B * H, T, TK)},
    "float a head": lambda T: {"attn_mask": random(B * H, T, TK)},
    "both": lambda T: {
        "attn_mask": ~causal_mask(T, TK),
        "key_padding_mask": ~padding_mask(torch.tensor([TK, 3]), TK),
    },
    "both float": lambda T: {"attn_mask": random(T, TK), "key_padding_mask": random(B, TK)},
    "float and bool": lambda T: {
        "attn_mask": random(T, TK),
        "key_padding_mask": ~padding_mask(torch.tensor([TK, 3]), TK),
    },
    "bool and float": lambda T: {
        "attn_mask": ~some_mask(T, TK),
        "key_padding_mask": random(B, TK),
    },
    "causal": lambda T: {"attn_mask": ~causal_mask(T, TK), "is_causal": True},
    "causal and padding": lambda T: {
        "attn_mask": ~causal_mask(T, TK),
        "is_causal": True,
        "key_padding_mask": ~padding_mask(torch.tensor([TK, 3]), TK),
    },
}


@pytest.mark.filterwarnings("ignore:Support for mismatched")
@pytest.mark.parametrize("weights", ["averaged", "a head", "none"])
@pytest.mark.parametrize("mask", LAYER_MASKS)
@pytest.mark.parametrize(("setting", "kind"), PAIRS, ids=map(" ".join, PAIRS))
def test_the_layer_against_torch(setting, kind, mask, weights):
    options = LAYERS[setting]
    ours, theirs = twins(MultiheadAttention, nn.MultiheadAttention, E, H, **options)
    inputs = _inputs(ours, kind)
    masks = LAYER_MASKS[mask](TK if kind == "self" else TQ)
    asked = {"need_weights": weights != "none", "average_attn_weights": weights == "averaged"}
    assert_same_module(ours, theirs, inputs, **asked, **masks)


@pytest.mark.parametrize("padding", [False, True])
def test_the_layer_without_a_batch_against_torch(padding):
    ours, theirs = twins(MultiheadAttention, nn.MultiheadAttention, E, H)
    x, memory = random(TQ, E), random(TK, E)
    options = {"key_padding_mask": ~some_mask(TK)} if padding else {}
    for need_weights in (True, False):
        options["need_weights"] = need_weights
        assert_same_module(ours, theirs, [x, memory, memory], **options)
    assert ours(x, memory, memory, average_attn_weights=False)[1].shape == (H, TQ, TK)


@pytest.mark.parametrize("setting", LAYERS)
def test_same_names_and_from_the_same_seed_the_same_weights(setting):
    weights = []
    for module in (MultiheadAttention, nn.MultiheadAttention):
        torch.manual_seed(3)
        weights.append(module(E, H, **LAYERS[setting]).state_dict())
    assert [*weights[0]] == [*weights[1]]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_the_causal_hint_alone_is_the_causal_mask():
    layer, _ = twins(MultiheadAttention, nn.MultiheadAttention, E, H, batch_first=True)
    x, memory = random(B, TQ, E), random(B, TK, E)
    for keys in (x, memory):
        wanted = layer(x, keys, keys, attn_mask=~causal_mask(TQ, keys.size(1)))
        for need_weights in (True, False):
            got = layer(x, keys, keys, is_causal=True, need_weights=need_weights)
            torch.testing.assert_close(got[0], wanted[0])
        torch.testing.assert_close(layer(x, keys, keys, is_causal=True)[1], wanted[1])


def test_dropout_drops_weights_and_only_in_training():
    for need_weights in (True, False):
        ours, theirs = twins(MultiheadAttention, nn.MultiheadAttention, E, H, dropout=0.5)
        x = random(TQ, B, E)
        outputs = []
        for layer in (ours, theirs):
            torch.manual_seed(1)
            outputs.append(layer(x, x, x, need_weights=need_weights)[0])
        torch.testing.assert_close(*outputs)
        outputs = [m.eval()(x, x, x, need_weights=need_weights)[0] for m in (ours, theirs)]
        torch.testing.assert_close(*outputs)
    dropped = scaled_dot_product_attention(x, x, x, dropout_p=1.0)
    assert dropped.abs().max() == 0


@pytest.mark.parametrize("need_weights", [True, False])
def test_a_sequence_of_padding_alone_gives_the_output_bias(need_weights):
    layer, _ = twins(MultiheadAttention, nn.MultiheadAttention, E, H, batch_first=True)
    x = random(B, TK, E).requires_grad_()
    padding = torch.tensor([[False] * TK, [True] * TK])
    output, weights = layer(x, x, x, padding, need_weights=need_weights)
    torch.testing.assert_close(output[1], layer.out_proj.bias.expand(TK, E))
    assert weights is None or weights[1].abs().max() == 0
    output.square().sum().backward()
    assert x.grad[1].abs().max() == 0
    gradients = [x.grad[0], *(p.grad for p in layer.parameters())]
    assert all(g.isfinite().all() and g.abs().max() > 0 for g in gradients)


@settings(max_examples=20, deadline=None)
@given(length=st.integers(1, 9), seed=st.integers(0, 99), need_weights=st.booleans())
def test_without_positions_a_permuted_input_gives_the_permuted_output(length, seed, need_weights):
    layer, _ = twins(MultiheadAttention, nn.MultiheadAttention, E, H, batch_first=True)
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    x = random(B, length, E)
    output, weights = layer(x, x, x, need_weights=need_weights)
    y = x[:, order]
    permuted, permuted_weights = layer(y, y, y, need_weights=need_weights)
    assert (permuted - output[:, order]).abs().max() < 1e-12
    if need_weights:
        assert (permuted_weights - weights[:, order][:, :, order]).abs().max() < 1e-12


def test_wrong_inputs_are_named():
    q, k = random(2, 5, E), random(2, 7, E)
    with pytest.raises(ValueError, match="num_heads must divide embed_dim, got 5 and 12"):
        MultiheadAttention(12, 5)
    with pytest.raises(ValueError, match="dropout is a probability"):
        MultiheadAttention(12, 3, dropout=2)
    layer = MultiheadAttention(E, H, batch_first=True, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"key must be \[B, T, 12\].*got \[2, 7, 3\]"):
        layer(q, k[..., :3], k)
    with pytest.raises(ValueError, match="every key has its value"):
        layer(q, k, k[:, :4])
    with pytest.raises(ValueError, match=r"one size.*batch_first=True"):
        layer(q, k[:1], k[:1])
    with pytest.raises(
        ValueError, match=r"attn_mask must be .*\[5, 7\].*\[6, 5, 7\], got \[7, 5\]"
    ):
        layer(q, k, k, attn_mask=torch.zeros(7, 5))
    with pytest.raises(ValueError, match=r"key_padding_mask must be .*\[2, 7\], got \[2, 5\]"):
        layer(q, k, k, torch.zeros(2, 5, dtype=torch.bool))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("device", devices())
def test_device_parity(device, need_weights, dtype):
    """Forward and backward on each device agree with the CPU in float64."""
    oracle, _ = twins(MultiheadAttention, nn.MultiheadAttention, E, H, batch_first=True)
    moved = MultiheadAttention(E, H, batch_first=True)
    moved.load_state_dict(oracle.state_dict())
    moved.to(device, dtype)
    x = random(B, TK, E)
    padding = ~padding_mask(torch.tensor([TK, 0]), TK)
    results = []
    for layer in (oracle, moved):
        inputs = x.to(layer.in_proj_weight, copy=True).requires_grad_()
        options = {"need_weights": need_weights, "is_causal": True}
        output, _ = layer(inputs, inputs, inputs, padding.to(inputs.device), **options)
        output.square().sum().backward()
        results.append([output, inputs.grad, *(p.grad for p in layer.parameters())])
    for wanted, got in zip(*results):
        torch.testing.assert_close(got.double().cpu(), wanted, rtol=1e-4, atol=1e-4)
