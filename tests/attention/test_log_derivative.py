"""A place drawn from the weights, and the log-derivative trick: by hand, unbiased, its variance."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.attention import log_derivative
from course_lib.attention.scores import context, hard_attention, masked_softmax
from tests.attention.test_scores import DK, SEEDS, TK, TQ, B, random
from tests.devices import devices


def test_a_place_is_drawn_as_often_as_its_weight_says():
    scores = torch.tensor([0.0, 1, 2, -1], dtype=torch.float64)
    mask = torch.tensor([True, True, False, True])
    one_hot, log_prob = hard_attention(
        scores.expand(40_000, 4), torch.Generator().manual_seed(0), mask
    )
    alpha = masked_softmax(scores, mask)
    assert torch.equal(one_hot.sum(1), torch.ones(40_000, dtype=torch.float64))
    torch.testing.assert_close(one_hot.mean(0), alpha, atol=0.01, rtol=0)
    torch.testing.assert_close(log_prob.exp(), (one_hot * alpha).sum(1))


def test_a_drawn_place_attends_to_its_value_and_an_empty_row_to_nothing():
    scores = random(B, TQ, TK).requires_grad_()
    mask = torch.ones(B, TQ, TK, dtype=torch.bool)
    mask[1, 2] = False
    one_hot, log_prob = hard_attention(scores, torch.Generator().manual_seed(0), mask)
    values = random(B, TK, DK, seed=1)
    seen = context(one_hot, values)
    for b in range(B):
        for t in range(TQ):
            if (b, t) != (1, 2):
                assert torch.equal(seen[b, t], values[b, one_hot[b, t].argmax()])
    assert not one_hot[1, 2].any() and log_prob[1, 2] == 0 and not one_hot.requires_grad
    log_prob.sum().backward()
    expected = one_hot - masked_softmax(scores.detach(), mask)
    torch.testing.assert_close(scores.grad, expected * mask)


def test_the_same_generator_draws_the_same_places():
    scores = random(50, TK)
    draws = [hard_attention(scores, torch.Generator().manual_seed(seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


def test_the_log_derivative_trick_by_hand_on_two_places():
    scores = torch.tensor([0.0, math.log(3)], dtype=torch.float64)  # alpha = 1/4, 3/4
    losses = torch.tensor([8.0, 4.0], dtype=torch.float64)  # J = 5
    exact = log_derivative.exact_gradient(scores, losses)
    torch.testing.assert_close(exact, torch.tensor([0.75, -0.75], dtype=torch.float64))
    possible = log_derivative.possible_gradients(scores, losses)
    wanted = torch.tensor([[6.0, -6], [-1, 1]], dtype=torch.float64)
    torch.testing.assert_close(possible, wanted)
    # one best baseline for two places: both draws then estimate the same, without variance
    best = log_derivative.possible_gradients(scores, losses, 7.0)
    torch.testing.assert_close(best, exact.expand(2, 2))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.floats(-3, 3), SEEDS)
def test_the_estimate_is_unbiased_for_every_baseline(places, baseline, seed):
    scores, losses = random(2, places, seed=seed).requires_grad_(), random(2, places, seed=seed + 1)
    alpha = scores.softmax(-1)
    (alpha * losses).sum().backward()
    exact = log_derivative.exact_gradient(scores.detach(), losses)
    torch.testing.assert_close(exact, scores.grad)
    possible = log_derivative.possible_gradients(scores.detach(), losses, baseline)
    mean = (alpha.detach().unsqueeze(-1) * possible).sum(-2)
    torch.testing.assert_close(mean, exact)


def test_drawn_estimates_come_from_the_possible_ones_as_often_as_they_should():
    scores, losses, baseline = random(2, 3), random(2, 3, seed=1), random(2, seed=2)
    drawn = log_derivative.score_function_gradient(
        scores, losses, torch.Generator().manual_seed(0), samples=20_000, baseline=baseline
    )
    possible = log_derivative.possible_gradients(scores, losses, baseline)
    near = (drawn.unsqueeze(-2) - possible).abs().amax(-1) < 1e-12  # [samples, 2, 3]
    assert torch.equal(near.sum(-1), torch.ones(20_000, 2, dtype=torch.int64))
    torch.testing.assert_close(near.double().mean(0), scores.softmax(-1), atol=0.015, rtol=0)
    exact = log_derivative.exact_gradient(scores, losses)
    torch.testing.assert_close(drawn.mean(0), exact, atol=0.03, rtol=0)


def test_a_baseline_lowers_the_variance():
    scores, losses = random(4), 10 + random(4, seed=1)
    spread = []
    for baseline in (0.0, 10.0):
        drawn = log_derivative.score_function_gradient(
            scores, losses, torch.Generator().manual_seed(0), samples=500, baseline=baseline
        )
        spread.append(float(drawn.var(0).sum()))
    assert spread[1] < spread[0] / 10


def test_the_surrogate_loss_has_the_estimates_gradient():
    scores, losses = random(B, TK).requires_grad_(), random(B, TK, seed=1).requires_grad_()
    one_hot, log_prob = hard_attention(scores, torch.Generator().manual_seed(0))
    drawn = (one_hot * losses).sum(-1)
    log_derivative.score_function_loss(log_prob, drawn, 0.5).sum().backward()
    expected = log_derivative.score_function_gradient(
        scores, losses, torch.Generator().manual_seed(0), baseline=0.5
    )[0]
    torch.testing.assert_close(scores.grad, expected)
    assert losses.grad is None


@pytest.mark.parametrize("device", devices())
def test_a_cpu_generator_draws_for_every_device(device):
    scores = random(30, TK)
    cpu, log_prob = hard_attention(scores, torch.Generator().manual_seed(0))
    there, log_prob_there = hard_attention(scores.to(device), torch.Generator().manual_seed(0))
    assert torch.equal(cpu, there.cpu())
    torch.testing.assert_close(log_prob, log_prob_there.cpu())


def test_wrong_arguments_are_named():
    scores, generator = random(B, TK), torch.Generator()
    with pytest.raises(ValueError, match="mask must be bool"):
        hard_attention(scores, generator, scores)
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        log_derivative.score_function_gradient(scores, scores, generator, samples=0)
