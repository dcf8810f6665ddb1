"""Smoothed labels against torch's cross_entropy; the warm-up by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from course_lib.attention.training_recipe import label_smoothed_cross_entropy, warmup_schedule
from tests.attention.same_weights import assert_same_function, random
from tests.devices import devices


@pytest.mark.parametrize("ignored", [-100, 0, 4])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_smoothing_against_torch(smoothing, ignored):
    logits, target = 3 * random(4, 6, 5), torch.randint(5, (4, 6))
    target[1, 2:] = ignored
    assert_same_function(
        lambda x: label_smoothed_cross_entropy(x, target, smoothing, ignored),
        lambda x: F.cross_entropy(
            x.flatten(0, 1), target.flatten(), ignore_index=ignored, label_smoothing=smoothing
        ),
        [logits],
    )
    single = label_smoothed_cross_entropy(logits[0, 0], torch.tensor(2), smoothing)
    wanted = F.cross_entropy(logits[0, 0], torch.tensor(2), label_smoothing=smoothing)
    torch.testing.assert_close(single, wanted)


def test_smoothing_by_hand():
    """Probabilities 1/2, 1/4, 1/4, the first is true, smoothing 0.3: targets .8, .1, .1."""
    logits = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()
    loss = label_smoothed_cross_entropy(logits, torch.tensor(0), 0.3)
    torch.testing.assert_close(loss / torch.tensor(2.0).double().log(), torch.tensor(1.2).double())


@settings(max_examples=25, deadline=None)
@given(smoothing=st.floats(0.01, 0.99), classes=st.integers(2, 6))
def test_the_loss_is_lowest_at_the_smoothed_targets(smoothing, classes):
    """Its gradient is zero where softmax(logits) = q: no logit grows without bound."""
    target = torch.tensor([classes - 1])
    q = torch.full((1, classes), smoothing / classes, dtype=torch.float64)
    q[0, -1] += 1 - smoothing
    logits = q.log().requires_grad_()
    loss = label_smoothed_cross_entropy(logits, target, smoothing)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.abs().max() < 1e-12
    assert loss > 0


def test_where_nothing_counts_the_loss_is_zero():
    logits = random(3, 5).requires_grad_()
    loss = label_smoothed_cross_entropy(logits, torch.full((3,), -100), 0.1)
    loss.backward()
    assert loss == 0
    assert logits.grad.abs().max() == 0


def test_the_warm_up_by_hand():
    d, warmup = 64, 100
    assert warmup_schedule(1, d, warmup) == pytest.approx(1 / 8 / 1000)
    assert warmup_schedule(100, d, warmup) == pytest.approx(1 / 8 / 10)
    assert warmup_schedule(400, d, warmup) == pytest.approx(1 / 8 / 20)
    steps = torch.arange(1, 401)
    rates = warmup_schedule(steps, d, warmup)
    assert rates.argmax() + 1 == warmup
    assert (rates.diff()[:99] > 0).all() and (rates.diff()[99:] < 0).all()
    torch.testing.assert_close(
        rates, torch.tensor([warmup_schedule(int(t), d, warmup) for t in steps])
    )
    half = warmup_schedule(steps.double(), d, warmup)
    assert half.dtype == torch.float64
    torch.testing.assert_close(half[:100].diff(), half[:1].expand(99))  # a straight line


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match=r"logits must be \[..., C\].*\[2, 3\] and \[3\]"):
        label_smoothed_cross_entropy(torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match="smoothing must lie between 0 and 1, got 2"):
        label_smoothed_cross_entropy(torch.zeros(3), torch.tensor(0), 2)
    for wrong in ((0, 4, 4), (1, 0, 4), (1, 4, 0), (torch.tensor([0, 1]), 4, 4)):
        with pytest.raises(ValueError, match="count from 1"):
            warmup_schedule(*wrong)


@pytest.mark.parametrize("device", devices())
def test_device_parity(device):
    logits, target = random(4, 5), torch.tensor([0, 4, -100, 2])
    wanted = label_smoothed_cross_entropy(logits, target, 0.1)
    got = label_smoothed_cross_entropy(logits.float().to(device), target.to(device), 0.1)
    torch.testing.assert_close(got.double().cpu(), wanted, rtol=1e-5, atol=1e-6)
    steps = torch.arange(1, 9)
    rates = warmup_schedule(steps.to(device), 8, 4)
    torch.testing.assert_close(rates.cpu(), warmup_schedule(steps, 8, 4))
