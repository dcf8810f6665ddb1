"""Relative attention against its specification in three loops, over pairs of places."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.attention.positions import (
    RelativeMultiheadAttention,
    relative_index,
    relative_logits,
    relative_values,
)
from course_lib.attention.transformer import TransformerEncoderLayer
from course_lib.course_map import root
from tests.devices import devices

F64 = torch.float64
KEYS_AND_VALUES = [(True, True), (True, False), (False, True), (False, False)]


def clipped_row(table, i, j):
    """The table's vector for a query at i and a key at j, as the paper writes it."""
    k = (len(table) - 1) // 2
    return table[max(-k, min(k, j - i)) + k]


def specification(layer, query, key, value, allowed):
    """Relative attention in three loops, [B, T, d] and allowed [B, Tq, Tk] -> (output, weights)."""
    d, H = layer.embed_dim, layer.num_heads
    d_h = d // H
    W, b = layer.in_proj_weight, layer.in_proj_bias
    q = query @ W[:d].T + b[:d]
    k = key @ W[d : 2 * d].T + b[d : 2 * d]
    v = value @ W[2 * d :].T + b[2 * d :]
    rows, all_weights = [], []
    for n in range(len(query)):
        for h in range(H):
            part = slice(h * d_h, (h + 1) * d_h)
            for i in range(query.size(1)):
                open_keys = [j for j in range(key.size(1)) if allowed[n, i, j]]
                scores, values = [], []
                for j in open_keys:
                    k_j, v_j = k[n, j, part], v[n, j, part]
                    if layer.relative_keys is not None:
                        k_j = k_j + clipped_row(layer.relative_keys, i, j)
                    if layer.relative_values is not None:
                        v_j = v_j + clipped_row(layer.relative_values, i, j)
                    scores.append(q[n, i, part] @ k_j / math.sqrt(d_h))
                    values.append(v_j)
                weights = q.new_zeros(key.size(1))
                z = q.new_zeros(d_h)
                if open_keys:
                    alpha = torch.stack(scores).softmax(0)
                    z = alpha @ torch.stack(values)
                    weights = weights.index_put((torch.tensor(open_keys),), alpha)
                rows.append(z)
                all_weights.append(weights)
    shape = len(query), H, query.size(1)
    heads = torch.stack(rows).view(*shape, d_h).transpose(1, 2).flatten(2)
    return layer.out_proj(heads), torch.stack(all_weights).view(*shape, key.size(1))


def layer_of(k, use_keys=True, use_values=True, heads=2, **options):
    """A layer of float64 with every weight random, biases and long tables included."""
    torch.manual_seed(k)
    layer = RelativeMultiheadAttention(6, heads, k, use_keys, use_values, **options).double()
    for weight in layer.parameters():
        nn.init.normal_(weight)
    return layer


def gradients(output, layer, inputs):
    """Of one scalar in which each number of the output counts differently; zero where unused."""
    weigh = torch.linspace(-1, 2, output.numel(), dtype=F64).view_as(output)
    wanted = [*layer.parameters(), *inputs]
    return torch.autograd.grad((output * weigh).sum(), wanted, allow_unused=True)


# ---------------------------------------------------------------- relative attention


@pytest.mark.parametrize(("use_keys", "use_values"), KEYS_AND_VALUES)
@pytest.mark.parametrize("k", [0, 1, 2, 4, 16])
@pytest.mark.parametrize(("Tq", "Tk"), [(5, 5), (3, 6), (6, 3)])
def test_relative_attention_is_its_specification(Tq, Tk, k, use_keys, use_values):
    layer = layer_of(k, use_keys, use_values)
    query = torch.randn(2, Tq, 6, dtype=F64, requires_grad=True)
    key = query if Tq == Tk else torch.randn(2, Tk, 6, dtype=F64, requires_grad=True)
    value = key if Tq == Tk else torch.randn(2, Tk, 6, dtype=F64, requires_grad=True)
    three = query, key, value
    padding = torch.arange(Tk) >= torch.tensor([[Tk], [Tk - 2]])  # [B, Tk], True: padding
    inputs = [query] if Tq == Tk else [query, key, value]
    wanted, wanted_weights = specification(layer, *three, ~padding[:, None].expand(2, Tq, Tk))
    expected = gradients(wanted, layer, inputs)
    output, weights = layer(*three, padding, average_attn_weights=False)
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(weights, wanted_weights)
    torch.testing.assert_close(gradients(output, layer, inputs), expected)
    fast, none = layer(*three, padding, need_weights=False)
    assert none is None
    torch.testing.assert_close(fast, wanted)
    torch.testing.assert_close(gradients(fast, layer, inputs), expected)
    unmasked, averaged = layer(*(x[:1] for x in three))  # the first has no padding
    torch.testing.assert_close(unmasked, wanted[:1])
    torch.testing.assert_close(averaged, wanted_weights[:1].mean(1))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(("use_keys", "use_values"), KEYS_AND_VALUES)
def test_a_query_without_keys_gets_zeros_and_sends_no_gradient(use_keys, use_values, need_weights):
    layer = layer_of(2, use_keys, use_values)
    x = torch.randn(1, 4, 6, dtype=F64, requires_grad=True)
    forbidden = torch.zeros(4, 4, dtype=bool)
    forbidden[1] = True
    output, _ = layer(x, x, x, attn_mask=forbidden, need_weights=need_weights)
    wanted = specification(layer, x, x, x, ~forbidden[None])[0]
    torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(output[0, 1], layer.out_proj.bias)
    given, expected = gradients(output, layer, [x]), gradients(wanted, layer, [x])
    assert all(g is None or g.isfinite().all() for g in given)
    torch.testing.assert_close(given, expected)


def test_masks_join_and_large_logits_do_not_beat_them():
    layer = layer_of(2)
    x = torch.randn(2, 5, 6, dtype=F64)
    padding = torch.tensor([[False] * 5, [False, False, False, True, True]])
    causal = torch.ones(5, 5, dtype=bool).triu(1)
    allowed = ~(causal | padding[:, None])
    wanted = specification(layer, x, x, x, allowed)[0]
    floats = torch.zeros(5, 5, dtype=F64).masked_fill(causal, -math.inf)
    torch.testing.assert_close(layer(x, x, x, padding, attn_mask=causal)[0], wanted)
    torch.testing.assert_close(layer(x, x, x, padding, is_causal=True)[0], wanted)
    torch.testing.assert_close(layer(x, x, x, padding, attn_mask=floats)[0], wanted)
    with torch.no_grad():
        layer.relative_keys *= 1e4
    changed = x.clone()
    changed[:, 3:] *= 1e4
    before, after = (layer(y, y, y, is_causal=True)[0] for y in (x, changed))
    assert torch.equal(before[:, :3], after[:, :3])


def test_without_tables_it_is_torchs_attention():
    layer = layer_of(3, False, False)
    torchs = nn.MultiheadAttention(6, 2, batch_first=True, dtype=F64)
    torchs.load_state_dict(layer.state_dict())
    query, memory = torch.randn(2, 4, 6, dtype=F64), torch.randn(2, 5, 6, dtype=F64)
    torch.testing.assert_close(layer(query, memory, memory), torchs(query, memory, memory))


def test_a_table_of_one_row_adds_the_same_everywhere():
    layer, plain = layer_of(0), layer_of(0, False, False)
    plain.load_state_dict(layer.state_dict(), strict=False)
    x = torch.randn(1, 5, 6, dtype=F64)
    moved = layer.relative_values.repeat(1, 2) @ layer.out_proj.weight.T  # the same for each head
    output, weights = layer(x, x, x)
    torch.testing.assert_close(weights, plain(x, x, x)[1])
    torch.testing.assert_close(output, plain(x, x, x)[0] + moved)


def test_sequence_first_and_as_a_layers_self_attention():
    layer, first = layer_of(2), layer_of(2, batch_first=False)
    x = torch.randn(3, 5, 6, dtype=F64)
    output, weights = layer(x, x, x)
    turned = x.transpose(0, 1)
    torch.testing.assert_close(first(turned, turned, turned), (output.transpose(0, 1), weights))
    block = TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True, dtype=F64)
    block.self_attn = layer
    padding = torch.arange(5) > torch.tensor([[4], [2], [0]])
    normed = block.norm1(x + layer(x, x, x, padding)[0])
    torch.testing.assert_close(
        block(x, src_key_padding_mask=padding), block.norm2(normed + block._feed_forward(normed))
    )


def test_dropout_drops_weights_in_training_only():
    layer = layer_of(2, dropout=0.5)
    x = torch.randn(1, 30, 6, dtype=F64)
    layer.eval()
    torch.testing.assert_close(layer(x, x, x)[1].sum(-1), torch.ones(1, 30, dtype=F64))
    layer.train()
    torch.manual_seed(0)
    output, weights = layer(x, x, x, average_attn_weights=False)
    assert 0.3 < (weights == 0).double().mean() < 0.7
    torch.manual_seed(0)  # keys alone: the values' table would need the same dropped weights
    heads = weights @ (x @ layer.in_proj_weight[12:].T + layer.in_proj_bias[12:]).unflatten(
        2, (2, 3)
    ).transpose(1, 2) + relative_values(weights, layer.relative_values)
    torch.testing.assert_close(output, layer.out_proj(heads.transpose(1, 2).flatten(2)))


@settings(max_examples=20, deadline=None)
@given(T=st.integers(1, 6), shift=st.integers(1, 5), k=st.integers(0, 4), seed=st.integers(0, 99))
def test_only_distances_count(T, shift, k, seed):
    """The same tokens further to the right, behind padding, are attended alike."""
    torch.manual_seed(seed)
    layer = layer_of(k)
    x = torch.randn(1, T, 6, dtype=F64)
    later = torch.cat([torch.randn(1, shift, 6, dtype=F64), x], dim=1)
    padding = torch.arange(T + shift)[None] < shift
    torch.testing.assert_close(layer(later, later, later, padding)[0][:, shift:], layer(x, x, x)[0])


# ---------------------------------------------------------------- the parts


def test_the_index_by_hand():
    assert relative_index(3, 5, 2).tolist() == [[2, 3, 4, 4, 4], [1, 2, 3, 4, 4], [0, 1, 2, 3, 4]]
    assert relative_index(2, 3, 0).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert relative_index(0, 3, 1).shape == (0, 3)
    assert relative_index(2, 2, 1).dtype == torch.int64


@pytest.mark.parametrize("k", [0, 1, 3])
def test_logits_and_values_are_sums_over_pairs(k):
    query = torch.randn(2, 3, 4, 5, dtype=F64)
    table = torch.randn(2 * k + 1, 5, dtype=F64)
    weights = torch.rand(2, 3, 4, 6, dtype=F64)
    pairs = torch.stack(
        [torch.stack([clipped_row(table, i, j) for j in range(6)]) for i in range(4)]
    )
    torch.testing.assert_close(
        relative_logits(query, table, 6), torch.einsum("bhid,ijd->bhij", query, pairs)
    )
    torch.testing.assert_close(
        relative_values(weights, table), torch.einsum("bhij,ijd->bhid", weights, pairs)
    )
    assert relative_logits(query, table).shape == (2, 3, 4, 4)
    assert relative_logits(query[0, 0], table).shape == (4, 4)


def test_memory_of_a_thousand_keys_stays_below_100_mb():
    """What attention with relative keys and values adds, forward and backward, to its process."""
    program = """
import json, torch
from benchmarks.memory import forget_peak, memory_mb, peak_memory_mb
from course_lib.attention.positions import RelativeMultiheadAttention

def passes(k, T):
    layer = RelativeMultiheadAttention(64, 1, k)
    x = torch.randn(1, T, 64, requires_grad=True)
    layer(x, x, x)[0].sum().backward()

torch.set_num_threads(1)
passes(2, 8)  # what is allocated once
forget_peak()
start = memory_mb()
passes(16, 1024)
print(json.dumps(peak_memory_mb() - start))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root())
    assert 0 < json.loads(done.stdout) < 100  # T x T x d_h alone would take 256


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees_with_float64(device):
    layer = layer_of(3)
    x = torch.randn(2, 9, 6, dtype=F64, requires_grad=True)
    wanted = layer(x, x, x)[0]
    expected = gradients(wanted, layer, [x])
    layer32 = layer_of(3).float().to(device)
    y = x.detach().float().to(device).requires_grad_()
    output = layer32(y, y, y)[0]
    given = gradients(output.double().cpu(), layer32, [y])
    torch.testing.assert_close(output.double().cpu(), wanted, rtol=1e-4, atol=1e-4)
    for g, e in zip(given, expected, strict=True):
        torch.testing.assert_close(g.double().cpu(), e, rtol=1e-3, atol=1e-3)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="max_distance must be at least 0"):
        relative_index(2, 2, -1)
    with pytest.raises(ValueError, match=r"table must be \[2k \+ 1, d_h = 5\].*got \[3, 4\]"):
        relative_logits(torch.zeros(2, 5), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"table must be \[2k \+ 1, d_h\].*got \[4, 4\]"):
        relative_values(torch.zeros(2, 2), torch.zeros(4, 4))
    with pytest.raises(ValueError, match="max_distance must be at least 0"):
        RelativeMultiheadAttention(4, 2, -1)
    with pytest.raises(ValueError, match="num_heads must divide embed_dim"):
        RelativeMultiheadAttention(5, 2, 1)
    x = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="takes batches"):
        RelativeMultiheadAttention(4, 2, 1)(x, x, x)
