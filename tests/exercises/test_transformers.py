"""Unit 04's references against other computations, and right answers by other means."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.attention.generate import GPT
from course_lib.attention.positions import relative_logits, sinusoidal_positions
from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference, unit
from course_lib.exercises.transformers.blocks import parameters
from tests.exercises.failures import failures_by_other_means

DOUBLE = {"dtype": torch.float64}


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


# the references -----------------------------------------------------------------------------------


def test_the_reference_of_attention_is_torchs_fused_one():
    query, key, value = normal(2, 3, 4, 5), normal(2, 3, 6, 5, seed=1), normal(2, 3, 6, 2, seed=2)
    mask = torch.rand(2, 1, 4, 6, generator=torch.Generator().manual_seed(3)) < 0.6
    mask[..., 0] = True
    got = reference.attention(query, key, value, mask)
    wanted = F.scaled_dot_product_attention(query, key, value, mask)
    assert torch.allclose(got, wanted, atol=1e-12)


def test_a_row_without_keys_gives_zero_and_no_gradient():
    leaves = [normal(3, 4, seed=s).requires_grad_() for s in range(3)]
    mask = torch.eye(3, dtype=torch.bool) & torch.tensor([[True], [False], [True]])
    out = reference.attention(*leaves, mask)
    assert not out[1].any()
    for gradient in torch.autograd.grad(out.sum(), leaves):
        assert gradient.isfinite().all() and not gradient[1].any()


def test_masks_are_those_of_three_loops():
    lengths = torch.tensor([4, 0, 2, 5])
    mask = reference.attention_mask(lengths, 5)
    for b, n in enumerate(lengths.tolist()):
        for i in range(5):
            for j in range(5):
                assert bool(mask[b, 0, i, j]) == (j <= i and j < n)


@pytest.mark.parametrize("reach", [0, 1, 4])
def test_relative_scores_are_the_librarys_gather(reach):
    query, key = normal(2, 3, 6, 4), normal(2, 3, 6, 4, seed=1)
    table = normal(2 * reach + 1, 4, seed=2)
    wanted = (query @ key.transpose(-2, -1) + relative_logits(query, table)) / 2
    assert torch.allclose(reference.relative_scores(query, key, table), wanted, atol=1e-12)


def test_sinusoids_are_the_librarys():
    assert torch.allclose(reference.sinusoids(50, 12), sinusoidal_positions(50, 12), atol=1e-6)


def test_the_block_runs_a_gpt_of_the_librarys():
    torch.manual_seed(0)
    model = GPT(vocab_size=11, d_model=16, num_heads=4, num_layers=2, max_length=8)
    tokens = torch.randint(11, (3, 8))
    with torch.no_grad():
        x = model.embedding(tokens) + model.positions(8)
        mask = reference.attention_mask(torch.tensor([8, 8, 8]), 8)
        for layer in model.layers:
            x = reference.encoder_block(x, dict(layer.named_parameters()), 4, mask, True)
        logits = model.output(reference.layer_norm(x, model.norm.weight, model.norm.bias))
        assert torch.allclose(logits, model(tokens), atol=1e-5)


# right answers, written otherwise than the master's -----------------------------------------------


def attention_mask(lengths, size):
    """A square at a time."""
    mask = torch.zeros(len(lengths), 1, size, size, dtype=torch.bool)
    for b, n in enumerate(lengths):
        mask[b, 0, :, :n] = torch.ones(size, size).tril()[:, :n] == 1
    return mask


def attention(query, key, value, mask):
    """-inf is added; rows without keys are let look everywhere, then emptied."""
    closed = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))
    closed = closed.masked_fill(~mask.any(-1, keepdim=True), 0.0)
    scores = torch.matmul(query / math.sqrt(query.size(-1)), key.mT) + closed
    return torch.nn.functional.softmax(scores, -1) @ value * mask.any(-1, keepdim=True)


def multi_head(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    """One head after another, with slices of the weights; the output map too."""
    d = x.shape[-1]
    each, out = d // num_heads, out_bias
    for h in range(num_heads):
        parts = []
        for k in range(3):
            rows = slice(k * d + h * each, k * d + (h + 1) * each)
            parts.append(x @ in_weight[rows].T + in_bias[rows])
        columns = slice(h * each, (h + 1) * each)
        out = out + attention(*parts, mask[:, 0]) @ out_weight[:, columns].T
    return out


def sinusoids(length, d_model):
    """A number at a time."""
    table = torch.zeros(length, d_model)
    for t in range(length):
        for column in range(d_model):
            angle = t / 10000 ** (column // 2 * 2 / d_model)
            table[t, column] = math.cos(angle) if column % 2 else math.sin(angle)
    return table


def relative_scores(query, key, table):
    """Three loops, and a vector for each pair."""
    reach, size = (len(table) - 1) // 2, query.shape[2]
    scores = query.new_zeros(*query.shape[:3], size)
    for i in range(size):
        for j in range(size):
            a = table[max(-reach, min(reach, j - i)) + reach]
            scores[:, :, i, j] = (query[:, :, i] * (key[:, :, j] + a)).sum(-1)
    return scores / query.shape[-1] ** 0.5


def layer_norm(x, weight, bias, eps=1e-5):
    """The variance as the mean square less the squared mean, in float64."""
    exact = x.double()
    mean = exact.mean(-1, keepdim=True)
    variance = (exact**2).mean(-1, keepdim=True) - mean**2
    return ((exact - mean) * torch.rsqrt(variance + eps)).to(x.dtype) * weight + bias


def encoder_block(x, p, num_heads, mask, norm_first):
    """Written out, with var(unbiased=False) and the error function."""

    def norm(x, n):
        centred = (x - x.mean(-1, True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5) ** 0.5
        return centred * p[f"norm{n}.weight"] + p[f"norm{n}.bias"]

    attn = [p[name] for name in p if name.startswith("self_attn.")]
    h = norm(x, 1) if norm_first else x
    x = x + multi_head(h, *attn, num_heads, mask)
    x = x if norm_first else norm(x, 1)
    h = F.linear(norm(x, 2) if norm_first else x, p["linear1.weight"], p["linear1.bias"])
    h = 0.5 * h * (1 + torch.erf(h / 2**0.5))
    x = x + F.linear(h, p["linear2.weight"], p["linear2.bias"])
    return x if norm_first else norm(x, 2)


def cache_step(query, key, value, cache):
    """Scores of the old keys and of the new one apart; a list in place of the tuples."""
    root = query.shape[-1] ** 0.5
    old = (query @ cache[0].mT) / root
    new = (query * key).sum(-1, keepdim=True) / root
    weights = torch.cat([old, new], -1).softmax(-1)
    found = weights[..., :-1] @ cache[1] + weights[..., -1:] * value
    return [found, [torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)]]


def non_local(x, theta, phi, g, out):
    """Pixels first: [B, N, C]."""
    pixels = x.flatten(2).mT
    weights = (pixels @ theta.T @ (pixels @ phi.T).mT).softmax(-1)
    return x + (weights @ (pixels @ g.T) @ out.T).mT.reshape(x.shape)


OTHERS = (
    attention_mask,
    attention,
    multi_head,
    sinusoids,
    relative_scores,
    layer_norm,
    encoder_block,
    cache_step,
    non_local,
)


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.__name__)
def test_right_answers_by_other_means_pass(other):
    assert failures_by_other_means(unit.find(other.__name__), other) == []


def test_every_exercise_has_another_answer():
    assert {other.__name__ for other in OTHERS} == {*unit.exercises}


def test_the_blocks_names_are_torchs():
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    case = Case(0)
    weights = case.normal(24, 8), case.normal(24), case.normal(8, 8), case.normal(8)
    p = parameters(case, weights, 8, 16)
    assert {k: v.shape for k, v in p.items()} == {k: v.shape for k, v in layer.state_dict().items()}
