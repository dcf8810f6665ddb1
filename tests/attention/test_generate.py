"""The small GPT: causal, the same with a cache as without, trained below a bigram, sampled."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from course_lib.attention.generate import (
    GPT,
    KeyValueCache,
    RandomWindows,
    bits_per_token,
    generate,
    language_model_loss,
    sample_token,
    train_gpt,
)
from course_lib.data.text import generated_play
from tests.attention.same_weights import random
from tests.devices import devices

V, LENGTH = 11, 12  # tokens in the vocabulary, the most that the model looks at


def _gpt(dtype: torch.dtype = torch.float64) -> GPT:
    """A small model with weights large enough to have opinions."""
    model = GPT(V, 8, 2, 2, LENGTH).to(dtype)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def _tokens(*shape: int) -> torch.Tensor:
    return torch.randint(V, shape)


def _seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


@settings(max_examples=15, deadline=None)
@given(place=st.integers(0, LENGTH - 1))
def test_the_gpt_is_causal_to_the_last_bit(place):
    model, tokens = _gpt(), _tokens(3, LENGTH)
    changed = tokens.clone()
    changed[:, place + 1 :] = (tokens[:, place + 1 :] + 1) % V
    before, after = model(tokens), model(changed)
    assert torch.equal(before[:, : place + 1], after[:, : place + 1])
    assert not (before[:, place + 1 :] == after[:, place + 1 :]).any()


def test_the_gpt_against_torchs_layers():
    """The same weights in torch's pre-norm layers, given the causal mask."""
    model, tokens = _gpt(), _tokens(3, LENGTH)
    x = model.embedding(tokens) + model.positions.weight
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH, dtype=x.dtype)
    for layer in model.layers:
        theirs = nn.TransformerEncoderLayer(
            8, 2, 32, 0.0, "gelu", batch_first=True, norm_first=True, dtype=x.dtype
        )
        theirs.load_state_dict(layer.state_dict())
        x = theirs(x, src_mask=mask, is_causal=True)
    wanted = F.layer_norm(x, (8,), model.norm.weight, model.norm.bias) @ model.output.weight.t()
    torch.testing.assert_close(model(tokens), wanted)
    loss = language_model_loss(model, tokens)
    nats = -wanted[:, :-1].log_softmax(-1).gather(-1, _next(tokens)).mean()
    shorter = -model(tokens[:, :-1]).log_softmax(-1).gather(-1, _next(tokens)).mean()
    torch.testing.assert_close([loss, loss], [nats, shorter])


def _next(tokens: torch.Tensor) -> torch.Tensor:
    return tokens[:, 1:].unsqueeze(-1)


@settings(max_examples=20, deadline=None)
@given(cuts=st.sets(st.integers(1, LENGTH - 1)), batch=st.integers(1, 3))
def test_logits_with_the_cache_are_those_without(cuts, batch):
    """However a text is cut into pieces that are fed one after the other."""
    model, tokens = _gpt(), _tokens(batch, LENGTH)
    caches, logits = model.empty_cache(), []
    with torch.no_grad():
        for part in tokens.tensor_split(sorted(cuts), 1):
            logits.append(model(part, caches))
        assert (torch.cat(logits, 1) - model(tokens)).abs().max() < 1e-12
    assert all(cache.length == LENGTH for cache in caches)


@pytest.mark.parametrize("settings_", [{}, {"temperature": 0.0}, {"top_k": 3, "temperature": 0.5}])
@pytest.mark.parametrize("prompt", [1, 5, LENGTH, LENGTH + 3])
def test_generation_with_the_cache_writes_what_it_writes_without(prompt, settings_):
    """Also beyond max_length, where the earlier half is forgotten."""
    model, tokens = _gpt(), _tokens(2, prompt)
    texts = [
        generate(model, tokens, 2 * LENGTH, generator=_seed(), use_cache=cached, **settings_)
        for cached in (True, False)
    ]
    assert torch.equal(*texts)
    assert texts[0].shape == (2, prompt + 2 * LENGTH)
    assert torch.equal(texts[0][:, :prompt], tokens)
    assert torch.equal(generate(model, tokens, 0), tokens)


def test_the_greedy_text_is_the_argmax_of_what_the_model_says():
    model, tokens = _gpt(), _tokens(2, 4)
    text = generate(model, tokens, LENGTH - 4, temperature=0.0)
    assert torch.equal(text[:, 4:], model(text)[:, 3:-1].argmax(-1))


@pytest.mark.parametrize("use_cache", [True, False])
def test_a_full_window_keeps_its_later_half_and_a_cache_reads_each_token_once(use_cache):
    model, read = _gpt(), []
    model.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    text = generate(model, _tokens(2, 1), LENGTH + 8, generator=_seed(), use_cache=use_cache)
    lengths = [x.size(1) for x in read]
    if use_cache:
        assert lengths == [1] * LENGTH + [LENGTH // 2] + [1] * 6 + [LENGTH // 2]
    else:
        assert lengths == [*range(1, LENGTH + 1), *range(LENGTH // 2, LENGTH + 1), LENGTH // 2]
    assert torch.equal(read[LENGTH], text[:, LENGTH // 2 + 1 : LENGTH + 1])


def test_generation_leaves_the_model_as_it_was():
    model = _gpt()
    model.layers[0].dropout.p = 0.5
    assert torch.equal(*(generate(model, _tokens(1, 2) * 0, 5, temperature=0.0) for _ in "ab"))
    assert model.training
    generate(model.eval(), _tokens(1, 2), 1)
    assert not model.training


def test_samples_follow_the_probabilities():
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()
    many = logits.expand(20_000, 4)

    def shares(**options):
        drawn = sample_token(many, generator=_seed(), **options)
        return drawn.bincount(minlength=4) / len(drawn)

    expected = {
        (1.0, None): [0.1, 0.2, 0.3, 0.4],
        (1.0, 9): [0.1, 0.2, 0.3, 0.4],
        (1.0, 2): [0, 0, 3 / 7, 4 / 7],
        (0.5, None): [1 / 30, 4 / 30, 9 / 30, 16 / 30],
        (0.5, 2): [0, 0, 9 / 25, 16 / 25],
        (1.0, 1): [0, 0, 0, 1],
        (0.0, None): [0, 0, 0, 1],
    }
    for (temperature, top_k), wanted in expected.items():
        got = shares(temperature=temperature, top_k=top_k)
        assert (got - torch.tensor(wanted)).abs().max() < 0.02
        assert (got[torch.tensor(wanted) == 0] == 0).all()


def test_a_hot_sampler_nears_chance_and_a_cold_one_the_argmax():
    logits = random(5, V)
    hot = sample_token(logits.repeat_interleave(4000, 0), temperature=1e6, generator=_seed())
    assert (hot.bincount(minlength=V) / len(hot) - 1 / V).abs().max() < 0.01
    for seed in range(20):
        cold = sample_token(logits, temperature=1e-6, generator=_seed(seed))
        assert torch.equal(cold, logits.argmax(-1))


def test_the_cache_holds_what_it_was_given():
    cache = KeyValueCache(5)
    parts = [(random(2, 3, t, 4), random(2, 3, t, 4)) for t in (2, 1, 2)]
    for count, (keys, values) in enumerate(parts, 1):
        got = cache.append(keys, values)
        for kind in (0, 1):
            assert torch.equal(got[kind], torch.cat([part[kind] for part in parts[:count]], 2))
    with pytest.raises(ValueError, match="holds 5, got 1 more"):
        cache.append(random(2, 3, 1, 4), random(2, 3, 1, 4))
    with pytest.raises(ValueError, match=r"got 1 more of \[4, 3\]"):
        fresh = KeyValueCache(5)
        fresh.append(*parts[0])
        fresh.append(random(4, 3, 1, 4), random(4, 3, 1, 4))


def test_windows_are_pieces_of_the_text_drawn_anew():
    text = torch.arange(40)
    windows = RandomWindows(text, 30, 4, 7, _seed())
    first, second = torch.stack([*windows]), torch.stack([*windows])
    assert first.shape == (30, 4, 8)
    assert (first.diff() == 1).all()
    assert not torch.equal(first, second)
    assert first.min() == 0 and first.max() == 39  # the first and the last window are among them
    assert next(iter(RandomWindows(text, 1, 1, 39, _seed()))).tolist() == [[*range(40)]]
    with pytest.raises(ValueError, match="has 7 tokens, a window needs 8"):
        RandomWindows(text[:7], 1, 1, 7, _seed())


def test_bits_are_counted_over_the_whole_text():
    model, text = _gpt(), _tokens(5 * 4 + 3)
    pieces = torch.stack([text[i : i + 5] for i in range(0, 20, 4)])
    wanted = language_model_loss(model, pieces).item() / math.log(2)
    assert bits_per_token(model, text, 4, batch=2) == pytest.approx(wanted, abs=1e-12)
    assert bits_per_token(model, text[:21], 4) == pytest.approx(wanted, abs=1e-12)
    assert model.training
    nn.init.zeros_(model.output.weight)
    assert bits_per_token(model, text, 4) == pytest.approx(math.log2(V))


def test_a_trained_gpt_beats_the_bigram():
    """A text of period 6 in which the letter before does not tell the next one, the two before do."""
    text = torch.tensor([0, 1, 0, 2, 1, 2]).repeat(100)
    torch.manual_seed(0)
    model = GPT(3, 16, 2, 1, 8)
    history = train_gpt(
        model, text, steps=120, generator=_seed(), batch=8, lr=2e-2, warmup=10, progress=False
    )
    assert history.epochs == 10
    assert history.train_loss[-1] < history.train_loss[0]
    pairs = torch.zeros(3, 3).index_put_((text[:-1], text[1:]), torch.ones(1), accumulate=True)
    p = pairs / pairs.sum(1, keepdim=True)
    bigram = -p[text[:-1], text[1:]].log2().mean().item()
    assert bigram == pytest.approx(1, abs=0.01)
    assert bits_per_token(model, text, 8) < 0.5 * bigram
    written = generate(model, text[None, :7], 12, temperature=0.0)
    assert torch.equal(written[0], text[:19])


def test_training_is_the_same_from_the_same_seed():
    text = torch.tensor([ord(c) % V for c in generated_play(length=500)])
    losses = []
    for _ in range(2):
        torch.manual_seed(2)
        model = GPT(V, 8, 2, 1, 8)
        history = train_gpt(model, text, steps=6, generator=_seed(2), epochs=2, progress=False)
        losses.append(history.train_loss)
    assert losses[0] == losses[1]


def test_wrong_inputs_are_named():
    model = _gpt()
    with pytest.raises(ValueError, match=r"max_length 12, got \[1, 13\] after 0"):
        model(_tokens(1, 13))
    with pytest.raises(ValueError, match=r"got \[5\]"):
        model(_tokens(5))
    caches = model.empty_cache()
    model(_tokens(1, 10), caches)
    with pytest.raises(ValueError, match=r"got \[1, 3\] after 10"):
        model(_tokens(1, 3), caches)
    for options in ({"temperature": -1}, {"top_k": 0}):
        with pytest.raises(ValueError, match="temperature is at least 0 and top_k 1"):
            sample_token(random(1, 3), **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("device", devices())
def test_device_parity(device, dtype):
    """Loss, gradients, and a cached greedy text agree with the CPU in float64."""
    oracle = _gpt()
    moved = GPT(V, 8, 2, 2, LENGTH)
    moved.load_state_dict(oracle.state_dict())
    moved.to(device, dtype)
    tokens, results, texts = _tokens(3, LENGTH), [], []
    for model in (oracle, moved):
        own = tokens.to(model.output.weight.device)
        loss = language_model_loss(model, own)
        loss.backward()
        results.append([loss, *(p.grad for p in model.parameters())])
        texts.append(generate(model, own[:, :2], 2 * LENGTH, temperature=0.0).cpu())
    for wanted, got in zip(*results):
        torch.testing.assert_close(got.double().cpu(), wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(*texts)
