"""The transformer's layers and stacks: against torch's with the same weights, and causality."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.attention.multihead import causal_mask, padding_mask
from course_lib.attention.transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from tests.attention.same_weights import assert_same_module, random, some_mask, twins
from tests.devices import devices

B, T, S, D, H, HIDDEN = 2, 5, 7, 12, 3, 10  # batch, target, source, features, heads, hidden units
CAUSAL = ~causal_mask(T)
TORCH_CAUSAL = nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64)
SOURCE_PADDING = ~padding_mask(torch.tensor([S, 4]), S)
TARGET_PADDING = ~padding_mask(torch.tensor([3, T]), T)

SETTINGS = {
    "post-norm": {},
    "pre-norm": {"norm_first": True},
    "batch first": {"batch_first": True, "activation": "gelu"},
    "all at once": {"batch_first": True, "norm_first": True, "bias": False, "layer_norm_eps": 0.1},
    "own activation": {"activation": torch.tanh},
}


def _tokens(length: int, setting: str) -> torch.Tensor:
    first = SETTINGS[setting].get("batch_first", False)
    return random(B, length, D) if first else random(length, B, D)


def _pair(kinds: tuple[type, type], setting: str, dropout: float = 0.0):
    return twins(*kinds, D, H, HIDDEN, dropout, **SETTINGS[setting])


ENCODERS = (TransformerEncoderLayer, nn.TransformerEncoderLayer)
DECODERS = (TransformerDecoderLayer, nn.TransformerDecoderLayer)

ENCODER_MASKS = {
    "none": {},
    "padding": {"src_key_padding_mask": TARGET_PADDING},
    "causal": {"src_mask": TORCH_CAUSAL, "is_causal": True},
    "causal and padding": {"src_mask": CAUSAL, "src_key_padding_mask": TARGET_PADDING},
}


@pytest.mark.parametrize("mask", ENCODER_MASKS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_encoder_layer_against_torch(setting, mask):
    ours, theirs = _pair(ENCODERS, setting)
    assert_same_module(ours, theirs, [_tokens(T, setting)], **ENCODER_MASKS[mask])


DECODER_MASKS = {
    "none": {},
    "causal": {"tgt_mask": TORCH_CAUSAL, "tgt_is_causal": True},
    "padding": {
        "tgt_key_padding_mask": TARGET_PADDING,
        "memory_key_padding_mask": SOURCE_PADDING,
    },
    "all": {
        "tgt_mask": CAUSAL,
        "memory_mask": ~some_mask(T, S),
        "tgt_key_padding_mask": TARGET_PADDING,
        "memory_key_padding_mask": ~padding_mask(torch.tensor([S, 6]), S),
    },
    "memory causal": {"memory_mask": ~causal_mask(T, S), "memory_is_causal": True},
}


@pytest.mark.parametrize("mask", DECODER_MASKS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_decoder_layer_against_torch(setting, mask):
    ours, theirs = _pair(DECODERS, setting)
    inputs = [_tokens(T, setting), _tokens(S, setting)]
    assert_same_module(ours, theirs, inputs, **DECODER_MASKS[mask])


@pytest.mark.parametrize("setting", SETTINGS)
def test_without_a_batch_against_torch(setting):
    ours, theirs = _pair(ENCODERS, setting)
    assert_same_module(ours, theirs, [random(T, D)], src_key_padding_mask=TARGET_PADDING[0])
    ours, theirs = _pair(DECODERS, setting)
    assert_same_module(ours, theirs, [random(T, D), random(S, D)], tgt_mask=CAUSAL)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kinds", [ENCODERS, DECODERS], ids=["encoder", "decoder"])
def test_dropout_drops_what_torchs_drops_and_only_in_training(kinds, setting):
    ours, theirs = _pair(kinds, setting, dropout=0.4)
    inputs = [_tokens(T, setting) for _ in range(1 + (kinds is DECODERS))]
    outputs = []
    for layer in (ours, theirs):
        torch.manual_seed(5)
        outputs.append(layer(*inputs))
    if not SETTINGS[setting].get("batch_first"):  # with it, torch draws in another order
        torch.testing.assert_close(*outputs)
    assert not torch.equal(ours(*inputs), outputs[0])
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(*inputs), theirs(*inputs))


BUILT = {
    "encoder layer": (ENCODERS, ()),
    "decoder layer": (DECODERS, ()),
    "whole": ((Transformer, nn.Transformer), (2, 3)),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("what", BUILT)
def test_same_names_and_from_the_same_seed_the_same_weights(what, setting):
    kinds, layers = BUILT[what]
    weights = []
    for kind in kinds:
        torch.manual_seed(3)
        weights.append(kind(D, H, *layers, HIDDEN, 0.1, **SETTINGS[setting]).state_dict())
    assert [*weights[0]] == [*weights[1]]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_positional_arguments_stand_where_torch_has_them():
    for ours, theirs in (ENCODERS, DECODERS):
        both = [kind(4, 2, 3, 0.5, "gelu", 0.1, True, True, False) for kind in (ours, theirs)]
        assert [*both[0].state_dict()] == [*both[1].state_dict()]
        for name in ("norm_first", "self_attn.batch_first", "norm1.eps", "dropout1.p"):
            values = []
            for value in both:
                for part in name.split("."):
                    value = getattr(value, part)
                values.append(value)
            assert values[0] == values[1], name


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("setting", SETTINGS)
def test_stacks_against_torch(setting):
    options = {"dtype": torch.float64, **SETTINGS[setting]}
    layers = [kind(D, H, HIDDEN, 0.0, **options) for kind in (*ENCODERS, *DECODERS)]
    norms = [nn.LayerNorm(D, dtype=torch.float64) for _ in range(2)]
    kinds = (TransformerEncoder, nn.TransformerEncoder, TransformerDecoder, nn.TransformerDecoder)
    stacks = [kind(layer, 2, norm) for kind, layer, norm in zip(kinds, layers, norms * 2)]
    for ours, theirs in (stacks[:2], stacks[2:]):
        for parameter in theirs.parameters():
            nn.init.normal_(parameter, std=0.5)
        ours.load_state_dict(theirs.state_dict())
    x, memory = _tokens(T, setting), _tokens(S, setting)
    assert_same_module(*stacks[:2], [x], mask=CAUSAL, src_key_padding_mask=TARGET_PADDING)
    assert_same_module(*stacks[2:], [x, memory], **DECODER_MASKS["all"])
    assert stacks[0].layers[0].linear1.weight is not stacks[0].layers[1].linear1.weight


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("setting", ["post-norm", "all at once"])
def test_the_whole_against_torch(setting):
    kinds = (Transformer, nn.Transformer)
    ours, theirs = twins(*kinds, D, H, 2, 1, HIDDEN, 0.0, **SETTINGS[setting])
    source, target = _tokens(S, setting), _tokens(T, setting)
    masks = {
        "tgt_mask": CAUSAL,
        "src_key_padding_mask": SOURCE_PADDING,
        "tgt_key_padding_mask": TARGET_PADDING,
        "memory_key_padding_mask": SOURCE_PADDING,
    }
    assert_same_module(ours, theirs, [source, target], **masks)
    masks["tgt_is_causal"] = True
    hinted = ours(source, target, **masks)
    del masks["tgt_mask"]
    torch.testing.assert_close(ours(source, target, **masks), hinted)


@settings(max_examples=20, deadline=None)
@given(
    place=st.integers(0, T - 1), norm_first=st.booleans(), padded=st.booleans(), told=st.booleans()
)
def test_the_decoder_is_causal_to_the_last_bit(place, norm_first, padded, told):
    """Whatever follows a place is replaced, and made large: nothing up to the place changes."""
    layer = TransformerDecoderLayer(
        D, H, HIDDEN, 0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64
    )
    memory, x = random(B, S, D), random(B, T, D)
    changed = x.clone()
    changed[:, place + 1 :] = 1e4 * random(B, T - place - 1, D)
    masks = {"tgt_is_causal": True} if told else {"tgt_mask": CAUSAL}
    if padded:
        masks["memory_key_padding_mask"] = SOURCE_PADDING
    before, after = (layer(y, memory, **masks)[:, : place + 1] for y in (x, changed))
    assert torch.equal(before, after)
    assert not torch.equal(layer(x, memory)[:, 0], layer(changed, memory)[:, 0]) or place == T - 1


@settings(max_examples=15, deadline=None)
@given(length=st.integers(1, 9), norm_first=st.booleans(), seed=st.integers(0, 99))
def test_without_positions_the_encoder_is_equivariant(length, norm_first, seed):
    layer = TransformerEncoderLayer(
        D, H, HIDDEN, 0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64
    )
    encoder = TransformerEncoder(layer, 2)
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    x = random(B, length, D)
    with torch.no_grad():
        assert (encoder(x[:, order]) - encoder(x)[:, order]).abs().max() < 1e-12


def test_padding_in_the_source_is_not_heard():
    model = Transformer(D, H, 1, 1, HIDDEN, 0.0, batch_first=True, dtype=torch.float64)
    source, target = random(B, S, D), random(B, T, D)
    masks = {
        "src_key_padding_mask": SOURCE_PADDING,
        "memory_key_padding_mask": SOURCE_PADDING,
        "tgt_is_causal": True,
    }
    output = model(source, target, **masks)
    loud = source.masked_fill(SOURCE_PADDING[..., None], 1e4)
    assert torch.equal(model(loud, target, **masks), output)
    short = model(source[1:, :4], target[1:], tgt_is_causal=True)
    torch.testing.assert_close(output[1:], short)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match='"relu", "gelu" or a function, got \'swish\''):
        TransformerEncoderLayer(4, 2, activation="swish")
    with pytest.raises(ValueError, match="num_layers must be at least 1"):
        TransformerEncoder(TransformerEncoderLayer(4, 2), 0)
    with pytest.raises(ValueError, match="num_heads must divide"):
        TransformerDecoderLayer(4, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("device", devices())
def test_device_parity(device, norm_first, dtype):
    """Forward and backward on each device agree with the CPU in float64."""
    options = {"batch_first": True, "norm_first": norm_first}
    oracle = Transformer(D, H, 1, 1, HIDDEN, 0.0, **options).double()
    moved = Transformer(D, H, 1, 1, HIDDEN, 0.0, **options)
    moved.load_state_dict(oracle.state_dict())
    moved.to(device, dtype)
    source, target = random(B, S, D), random(B, T, D)
    results = []
    for model in (oracle, moved):
        like = model.encoder.norm.weight
        inputs = [x.to(like, copy=True).requires_grad_() for x in (source, target)]
        padding = SOURCE_PADDING.to(like.device)
        output = model(
            *inputs,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        output.square().mean().backward()
        results.append([output, *(x.grad for x in inputs), *(p.grad for p in model.parameters())])
    for wanted, got in zip(*results):
        torch.testing.assert_close(got.double().cpu(), wanted, rtol=1e-4, atol=1e-5)
