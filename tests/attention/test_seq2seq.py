"""Encoder and decoder with attention: the equations step by step, both timings, decoding, training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_lib.attention.local import LocalMWeights, LocalPWeights
from course_lib.attention.scores import AdditiveScore, DotScore, GeneralScore
from course_lib.attention.seq2seq import (
    Seq2Seq,
    exact_match,
    seq2seq_loss,
    token_accuracy,
    train_seq2seq,
)
from course_lib.attention.tasks import END, PAD, START, Translation, digit_cipher
from tests.devices import devices

H, SOURCES, TARGETS = 5, 8, 7
MODELS = {
    "none": {},
    "none before": {"timing": "before"},
    "after": {"score": lambda: AdditiveScore(H, H, 4)},
    "before": {"score": lambda: AdditiveScore(H, H, 4), "timing": "before"},
    "fed": {"score": DotScore, "input_feeding": True},
    "bidirectional": {"score": lambda: GeneralScore(H, 2 * H), "bidirectional": True},
    "bidirectional before": {
        "score": lambda: GeneralScore(H, 2 * H),
        "bidirectional": True,
        "timing": "before",
        "embedding_size": 3,
    },
    "local-m": {"score": DotScore, "weighting": lambda: LocalMWeights(1)},
    "local-m before": {
        "score": DotScore,
        "weighting": lambda: LocalMWeights(1),
        "timing": "before",
    },
    "local-p": {"score": DotScore, "weighting": lambda: LocalPWeights(H, 4, 2)},
    "local-p before": {
        "score": DotScore,
        "weighting": lambda: LocalPWeights(H, 4, 2),
        "timing": "before",
    },
}


def model_of(name: str, seed: int = 0) -> Seq2Seq:
    torch.manual_seed(seed)
    options = {k: v() if callable(v) else v for k, v in MODELS[name].items()}
    model = Seq2Seq(SOURCES, TARGETS, H, **options).double()
    with torch.no_grad():  # small draws would leave everything near uniform
        for parameter in model.parameters():
            parameter.mul_(2.5)
    return model


def batch_of() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sources of lengths 4, 2 and 1, their mask, and 5 target tokens to read."""
    generator = torch.Generator().manual_seed(1)
    source = torch.randint(3, SOURCES, (3, 4), generator=generator)
    mask = torch.arange(4) < torch.tensor([[4], [2], [1]])
    tokens = torch.randint(3, TARGETS, (3, 5), generator=generator)
    tokens[:, 0] = START
    return source * mask, mask, tokens


def cell(gru: nn.GRU, suffix: str = "") -> nn.GRUCell:
    """torch's cell with the very parameters of a GRU."""
    one = nn.GRUCell(gru.input_size, gru.hidden_size, dtype=torch.float64)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        setattr(one, name, getattr(gru, f"{name}_l0{suffix}"))
    return one


def by_hand(model: Seq2Seq, source: torch.Tensor, tokens: torch.Tensor):
    """The equations for one unpadded source [S] and tokens [T], one vector at a time."""
    x = model.source_embedding(source)
    sweeps = []
    for suffix in ("", "_reverse")[: 1 + model.encoder.bidirectional]:
        h, states, step = x.new_zeros(H), [], cell(model.encoder, suffix)
        for word in x.flip(0) if suffix else x:
            h = step(word, h)
            states.append(h)
        sweeps.append(states)
    last = torch.cat([states[-1] for states in sweeps])
    ordered = [sweeps[0], *(states[::-1] for states in sweeps[1:])]
    keys = torch.stack([torch.cat(pair) for pair in zip(*ordered)])  # [S, K]
    s = torch.tanh(model.bridge[0](last)) if model.encoder.bidirectional else last
    fed, logits, alignments = torch.zeros_like(s), [], []
    everywhere = torch.ones(1, len(source), dtype=torch.bool)

    def attend(query, t):
        if model.score is None:
            return last
        scores = model.score(query.view(1, 1, -1), keys.unsqueeze(0))
        weights = model.weighting(scores, query.view(1, 1, -1), everywhere, t)[0, 0]
        alignments.append(weights)
        return sum(weight * key for weight, key in zip(weights, keys))

    step = cell(model.decoder)
    for t, y in enumerate(model.target_embedding(tokens)):
        if model.timing == "before":
            c = attend(s, t)  # asks with s_{t-1}
            s = step(torch.cat([y, c]), s)
        else:
            s = step(torch.cat([y, fed]) if model.input_feeding else y, s)
            c = attend(s, t)  # asks with s_t
        fed = torch.tanh(model.combine(torch.cat([c, s])))
        logits.append(model.read_out(fed))
    return torch.stack(logits), torch.stack(alignments) if alignments else None


@pytest.mark.parametrize("name", MODELS)
def test_each_form_is_its_equations_in_values_and_gradients(name):
    source, mask, tokens = batch_of()
    upstream = torch.randn(3, 5, TARGETS, dtype=torch.float64)
    model = model_of(name)
    logits, alignments = model(source, mask, tokens)
    logits.backward(upstream)
    got = {key: parameter.grad.clone() for key, parameter in model.named_parameters()}
    model.zero_grad()
    for b, length in enumerate(mask.sum(1).tolist()):
        expected, weights = by_hand(model, source[b, :length], tokens[b])
        torch.testing.assert_close(logits[b], expected)
        expected.backward(upstream[b])
        if weights is None:
            assert alignments is None
        else:
            torch.testing.assert_close(alignments[b, :, :length], weights)
            assert not alignments[b, :, length:].any()
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(got[key], parameter.grad)


@pytest.mark.parametrize("name", MODELS)
def test_more_padding_changes_nothing(name):
    source, mask, tokens = batch_of()
    model = model_of(name)
    wide = nn.functional.pad(source, (0, 3), value=PAD)
    logits, weights = model(source, mask, tokens)
    wide_logits, wide_weights = model(wide, wide != PAD, tokens)
    torch.testing.assert_close(logits, wide_logits)
    if weights is not None:
        torch.testing.assert_close(weights, wide_weights[..., :4])


@pytest.mark.parametrize("name", ["before", "after", "fed", "local-p", "local-p before"])
def test_bahdanau_asks_before_reading_the_token_and_luong_after(name):
    source, mask, tokens = batch_of()
    model, changed = model_of(name), tokens.clone()
    changed[:, 2] = 3 + (tokens[:, 2] - 2) % (TARGETS - 3)
    (logits, weights), (other_logits, other_weights) = (
        model(source, mask, read) for read in (tokens, changed)
    )
    assert torch.equal(logits[:, :2], other_logits[:, :2])  # nothing looks ahead
    assert not torch.equal(logits[:, 2], other_logits[:, 2])
    sees = 3 if model.timing == "before" else 2  # the first step whose query knows token 2
    assert torch.equal(weights[:2, :sees], other_weights[:2, :sees])
    assert (weights[0, sees] - other_weights[0, sees]).abs().max().item() > 1e-6


@pytest.mark.parametrize(("name", "calls"), [("after", 1), ("before", 5), ("fed", 5)])
def test_keys_are_projected_once_and_the_decoder_called_no_more_than_it_must(name, calls):
    model, counted = model_of(name), {"project": 0, "decoder": 0, "compare": 0}

    def counting(key, function):
        def call(*arguments):
            counted[key] += 1
            return function(*arguments)

        return call

    model.score.project = counting("project", model.score.project)
    model.score.compare = counting("compare", model.score.compare)
    model.decoder.register_forward_hook(counting("decoder", lambda *_: None))
    model(*batch_of())
    assert counted == {"project": 1, "decoder": calls, "compare": calls}


@pytest.mark.parametrize("name", MODELS)
def test_greedy_says_what_is_likeliest_after_what_it_said(name):
    source, mask, _ = batch_of()
    model = model_of(name)
    tokens, weights = model.greedy(source, mask, 6)
    start = torch.full((3, 1), START)
    logits, alignments = model(source, mask, torch.cat([start, tokens[:, :-1]], 1))
    for b, row in enumerate(tokens.tolist()):
        length = next((t + 1 for t, token in enumerate(row) if token in (END, PAD)), len(row))
        assert row[:length] == logits[b, :length].argmax(-1).tolist()
        assert set(row[length:]) <= {PAD}
        if weights is not None:
            torch.testing.assert_close(weights[b, :length], alignments[b, :length])
    assert (weights is None) == (alignments is None)


def test_greedy_stops_where_every_row_has_ended():
    source, mask, _ = batch_of()
    model = model_of("after")
    with torch.no_grad():
        model.read_out.bias[END] += 100
    tokens, weights = model.greedy(source, mask, 6)
    assert tokens.tolist() == [[END]] * 3 and weights.shape == (3, 1, 4)
    beams = model.beam_search(source, mask, 2, 6)
    assert beams.tokens.size(2) <= 3 and (beams.tokens[:, 0, 0] == END).all()


def test_loss_is_the_mean_over_tokens_and_padding_has_no_part():
    model = model_of("after").float()
    batch = digit_cipher(6, 5, torch.Generator().manual_seed(0), shortest=1)
    small = Translation(*batch)._replace(
        source=batch.source.clamp(max=SOURCES - 1),
        target_in=batch.target_in.clamp(max=TARGETS - 1),
        target=batch.target.clamp(max=TARGETS - 1),
    )
    logits, _ = model(small.source, small.source_mask, small.target_in)
    each = logits.log_softmax(-1).gather(-1, small.target.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(seq2seq_loss(model, small), -each[small.target_mask].mean())
    right = (logits.argmax(-1) == small.target)[small.target_mask]
    assert token_accuracy(model, small) == pytest.approx(float(right.double().mean()))


def test_exact_match_counts_whole_rows_with_their_end():
    batch = digit_cipher(4, 3, torch.Generator().manual_seed(0))

    class Reciter:
        def __init__(self, said):
            self.said = said

        def greedy(self, source, mask, length):
            return self.said[:, :length], None

    wrong = batch.target.clone()
    wrong[1, 0] = 3 + (wrong[1, 0] - 2) % 10  # another letter
    wrong[2, 3] = 5  # no END
    assert exact_match(Reciter(batch.target), batch) == 1
    assert exact_match(Reciter(wrong), batch) == 0.5
    assert exact_match(Reciter(batch.target[:, :3]), batch) == 0  # none said END


def test_training_learns_a_short_cipher_with_attention():
    torch.manual_seed(0)
    generator, test = torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)
    model = Seq2Seq(13, 13, 32, GeneralScore(32, 64), bidirectional=True)
    history = train_seq2seq(
        model, lambda: digit_cipher(32, 4, generator), 60, lr=1e-2, progress=False
    )
    assert len(history.train_loss) == 60 and not model.training
    assert history.train_loss[-1] < history.train_loss[0] / 5
    held_out = digit_cipher(100, 4, test)
    assert token_accuracy(model, held_out) > 0.9 and exact_match(model, held_out) > 0.5


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match='timing must be "before" or "after", got \'during\''):
        Seq2Seq(4, 4, 2, timing="during")
    with pytest.raises(ValueError, match='input_feeding belongs to timing="after"'):
        Seq2Seq(4, 4, 2, timing="before", input_feeding=True)
    source, mask, tokens = batch_of()
    for wrong in (~mask, mask.flip(1), mask & (torch.arange(4) != 1)):
        with pytest.raises(ValueError, match="mask must be True at a row's tokens"):
            model_of("after")(source, wrong, tokens)
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        model_of("after").beam_search(*batch_of()[:2], 0, 3)


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("name", ["before", "fed", "local-p", "bidirectional", "none"])
def test_every_device_agrees_with_the_cpu_in_float64(device, name):
    results = []
    for place, dtype in (("cpu", torch.float64), (device, torch.float32)):
        model = model_of(name).to(place, dtype)
        source, mask, tokens = (part.to(place) for part in batch_of())
        logits, _ = model(source, mask, tokens)
        logits.log_softmax(-1).square().mean().backward()
        grads = [parameter.grad for parameter in model.parameters()]
        said = [model.greedy(source, mask, 4)[0], model.beam_search(source, mask, 2, 4).log_probs]
        results.append([part.detach().cpu().double() for part in (logits, *said, *grads)])
    torch.testing.assert_close(*results, atol=1e-3, rtol=1e-3)
