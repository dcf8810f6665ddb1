"""The copying task, its model, and that relative positions solve it beyond the trained lengths."""

from __future__ import annotations

import pytest
import torch

from course_lib.attention.multihead import MultiheadAttention
from course_lib.attention.positions import RelativeMultiheadAttention
from course_lib.attention.positions_task import (
    IGNORE,
    CopyModel,
    copy_accuracy,
    copy_back,
    train_copy,
)
from tests.devices import devices

KINDS = ("none", "sinusoidal", "learned", "relative")


def draws(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


def test_targets_are_the_tokens_before():
    inputs, targets = copy_back(50, 9, draws(), offset=2, symbols=7)
    assert inputs.shape == targets.shape == (50, 9)
    assert inputs.dtype == torch.int64
    assert torch.equal(targets[:, 2:], inputs[:, :-2])
    assert (targets[:, :2] == IGNORE).all()
    assert inputs.unique().tolist() == [*range(7)]
    assert torch.equal(inputs, copy_back(50, 9, draws(), offset=2, symbols=7)[0])
    assert not torch.equal(inputs, copy_back(50, 9, draws(1), offset=2, symbols=7)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_models_differ_in_their_positions_only(kind):
    torch.manual_seed(0)
    model = CopyModel(kind, symbols=7).double()
    tokens = torch.randint(7, (2, 9))
    scores = model(tokens)
    assert scores.shape == (2, 9, 7)
    order = torch.randperm(9, generator=draws(3))
    error = (model(tokens[:, order]) - scores[:, order]).abs().max().item()
    if kind == "none":  # a network that is told no positions cannot tell them
        assert error < 1e-12
    else:
        assert error > 1e-3
    layer = model.layers[0].self_attn
    assert type(layer) is (RelativeMultiheadAttention if kind == "relative" else MultiheadAttention)


def test_a_clipping_distance_of_zero_tells_no_positions():
    model = CopyModel(max_distance=0).double()
    tokens, order = torch.randint(20, (2, 9)), torch.randperm(9, generator=draws(3))
    assert (model(tokens[:, order]) - model(tokens)[:, order]).abs().max() < 1e-12


def test_tables_are_as_asked_for():
    for keys in (True, False):
        layer = CopyModel(max_distance=2, use_keys=keys, use_values=not keys).layers[1].self_attn
        assert (layer.relative_keys is not None) == keys
        assert (layer.relative_values is not None) != keys
        assert layer.max_distance == 2


def test_accuracy_counts_what_can_be_copied():
    def copies(tokens):
        return torch.nn.functional.one_hot(tokens.roll(3, 1), 20)

    def guesses(tokens):
        return torch.nn.functional.one_hot(torch.zeros_like(tokens), 20)

    assert copy_accuracy(copies, 12, draws()) == 1.0
    assert copy_accuracy(guesses, 100, draws()) == pytest.approx(1 / 20, abs=0.02)


def test_relative_positions_hold_at_six_times_the_trained_length():
    """With an offset of 1, few symbols and little training: what the experiment shows in large."""
    accuracies = []
    for k in (1, 2):
        torch.manual_seed(0)
        model = CopyModel(symbols=5, d_model=16, num_heads=2, num_layers=1, max_distance=k)
        losses = train_copy(
            model, draws(), steps=120, batch=32, lengths=(4, 10), offset=1, symbols=5, lr=1e-2
        )
        assert len(losses) == 120
        assert not model.training
        accuracies.append(copy_accuracy(model, 60, draws(1), offset=1, symbols=5))
    assert accuracies[0] < 0.5  # its row for -1 is that of all that stand further left, too
    assert accuracies[1] > 0.95


@pytest.mark.parametrize("device", devices())
def test_it_trains_on_every_device(device):
    model = CopyModel("sinusoidal", d_model=8, num_heads=2).to(device)
    losses = train_copy(model, draws(device=device), steps=2, batch=4)
    assert torch.tensor(losses).isfinite().all()
    assert 0 <= copy_accuracy(model, 9, draws(device=device), batch=4) <= 1


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="length 3 must exceed offset 3"):
        copy_back(2, 3, draws())
    with pytest.raises(ValueError, match="offset 0 must be at least 1"):
        copy_back(2, 3, draws(), 0)
    with pytest.raises(ValueError, match="positions must be"):
        CopyModel("rotary")
    with pytest.raises(ValueError, match="length 20 exceeds the 9 learned positions"):
        CopyModel("learned", max_length=9)(torch.zeros(1, 20, dtype=torch.int64))
