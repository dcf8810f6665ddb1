"""Local attention: windows and their edges, the Gaussian, what is not renormalised, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.attention.local import (
    GlobalWeights,
    LocalMWeights,
    LocalPWeights,
    PredictivePosition,
    gaussian_bias,
    local_m_mask,
    local_p_weights,
    local_window,
)
from course_lib.attention.scores import masked_softmax
from tests.devices import devices

B, T, S, H, A = 2, 4, 7, 5, 3


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def windows(*rows: str) -> torch.Tensor:
    return torch.tensor([[mark == "x" for mark in row] for row in rows])


def test_windows_by_hand_with_both_edges_cut():
    assert torch.equal(local_m_mask(5, 4, 1), windows("xx..", "xxx.", ".xxx", "..xx", "...x"))
    assert torch.equal(local_m_mask(4, 2, 1), windows("xx", "xx", ".x", ".."))
    center = torch.tensor([[0.4, 2.5, 9.0, -3.0]])
    got = local_window(center, 4, 1.5)
    assert torch.equal(got[0], windows("xx..", ".xxx", "....", "...."))
    mask = torch.tensor([[True, True, True, False]])
    assert torch.equal(local_window(center, mask, 1.5)[0], windows("xx..", ".xx.", "....", "...."))
    assert torch.equal(local_m_mask(3, 3, 0), torch.eye(3, dtype=torch.bool))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 9))
def test_local_m_place_by_place(queries, keys, half_width):
    mask = local_m_mask(queries, keys, half_width)
    assert mask.tolist() == [
        [t - half_width <= s <= t + half_width for s in range(keys)] for t in range(queries)
    ]
    if half_width >= max(queries, keys):
        scores = random(1, queries, keys)
        whole = torch.ones(1, keys, dtype=torch.bool)
        local = LocalMWeights(half_width)(scores, scores, whole)
        torch.testing.assert_close(local, scores.softmax(-1))


def test_the_gaussian_by_hand():
    bias = gaussian_bias(torch.tensor([[2.0, 0.5]], dtype=torch.float64), 5, 2.0)
    sigma = 1.0  # D / 2
    expected = [[math.exp(-((s - p) ** 2) / (2 * sigma**2)) for s in range(5)] for p in (2.0, 0.5)]
    torch.testing.assert_close(bias[0], torch.tensor(expected, dtype=torch.float64))
    assert bias[0, 0, 2] == 1 and float(bias[0, 0, 0]) == pytest.approx(math.exp(-2))


def test_the_gaussian_is_a_normal_density_without_its_factor():
    center = S * torch.rand(B, T, dtype=torch.float64)
    density = torch.distributions.Normal(center.unsqueeze(-1), 3 / 2).log_prob(torch.arange(S))
    peak = torch.distributions.Normal(0.0, 3 / 2).log_prob(torch.tensor(0.0)).double()
    torch.testing.assert_close(
        gaussian_bias(center, S, 3), (density - peak).exp(), rtol=1e-6, atol=0
    )


def test_local_p_multiplies_and_does_not_renormalise():
    scores, center = random(B, T, S), S * torch.rand(B, T, dtype=torch.float64)
    mask = torch.arange(S).expand(B, S) < torch.tensor([[S], [4]])
    weights = local_p_weights(scores, center, 2.0, mask)
    for b in range(B):
        for t in range(T):
            p = float(center[b, t])
            inside = [s for s in range(S) if abs(s - p) <= 2 and mask[b, s]]
            total = sum(math.exp(scores[b, t, s]) for s in inside)
            for s in range(S):
                expected = 0.0
                if s in inside:
                    gauss = math.exp(-((s - p) ** 2) / (2 * 1.0**2))
                    expected = math.exp(scores[b, t, s]) / total * gauss
                assert float(weights[b, t, s]) == pytest.approx(expected, abs=1e-12)
    assert (weights.sum(-1) <= 1).all() and float(weights.sum(-1).max()) < 1 - 1e-3
    everywhere = local_p_weights(scores, center, 2.0, torch.ones(B, S, dtype=torch.bool))
    torch.testing.assert_close(local_p_weights(scores, center, 2.0), everywhere)


def test_a_wide_window_is_global_attention():
    scores, center = random(B, T, S), S * torch.rand(B, T, dtype=torch.float64)
    torch.testing.assert_close(local_p_weights(scores, center, 1e6), scores.softmax(-1))


def test_an_empty_window_gives_zeros_and_no_gradient():
    scores = random(1, 1, 4).requires_grad_()
    center = torch.tensor([[30.0]], dtype=torch.float64, requires_grad=True)
    weights = local_p_weights(scores, center, 2.0)
    weights.sum().backward()
    assert not weights.any() and not scores.grad.any() and not center.grad.any()


def test_local_attention_is_differentiable_in_scores_and_positions():
    scores = random(B, T, S).requires_grad_()
    center = (S * torch.rand(B, T, dtype=torch.float64) + 1e-3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda scores, center: local_p_weights(scores, center, 2.3), (scores, center)
    )


def test_the_predicted_position_is_its_formula_and_lies_within_the_source():
    position, h = PredictivePosition(H, A).double(), 20 * random(B, T, H)
    lengths = torch.tensor([S, 3])
    p = position(h, lengths)
    for b in range(B):
        for t in range(T):
            z = position.v @ torch.tanh(position.hidden.weight @ h[b, t])
            assert p[b, t].item() == pytest.approx(lengths[b].item() / (1 + math.exp(-z.item())))
    assert (p > 0).all() and (p < lengths.unsqueeze(1)).all()
    torch.testing.assert_close(position(h, S)[0], p[0])


@pytest.mark.parametrize("kind", ["global", "local-m", "local-p"])
def test_weights_step_by_step_are_those_of_one_call_and_never_on_padding(kind):
    torch.manual_seed(0)
    weighting = {
        "global": GlobalWeights,
        "local-m": lambda: LocalMWeights(1),
        "local-p": lambda: LocalPWeights(H, A, 2),
    }[kind]().double()
    scores, query = random(B, T, S), random(B, T, H, seed=1)
    mask = torch.arange(S).expand(B, S) < torch.tensor([[S], [3]])
    whole = weighting(scores, query, mask)
    steps = [weighting(scores[:, t : t + 1], query[:, t : t + 1], mask, first=t) for t in range(T)]
    torch.testing.assert_close(torch.cat(steps, 1), whole)
    assert not whole.masked_select(~mask.unsqueeze(1)).any()
    if kind == "local-p":
        center = weighting.position(query, torch.tensor([S, 3]))
        torch.testing.assert_close(whole, local_p_weights(scores, center, 2, mask))
    elif kind == "local-m":
        window = local_m_mask(T, S, 1) & mask.unsqueeze(1)
        torch.testing.assert_close(whole, masked_softmax(scores, window))
    else:
        torch.testing.assert_close(whole.sum(-1), torch.ones(B, T, dtype=torch.float64))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: local_m_mask(2, 2, -1), "half_width must not be negative, got -1"),
        (lambda: local_window(torch.zeros(1, 1), 2, -0.5), "half_width must not be negative"),
        (lambda: gaussian_bias(torch.zeros(1, 1), 2, 0), "must be positive for a Gaussian, got 0"),
        (lambda: LocalMWeights(-1), "half_width must not be negative"),
        (lambda: LocalPWeights(2, 2, 0), "half_width must be positive for a"),
    ],
)
def test_wrong_widths_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees_with_the_cpu_in_float64(device):
    torch.manual_seed(0)
    weighting = LocalPWeights(H, A, 2).double()
    results = []
    for place, dtype in (("cpu", torch.float64), (device, torch.float32)):
        weighting = weighting.to(place, dtype)
        weighting.zero_grad()
        scores = random(B, T, S).to(place, dtype).requires_grad_()
        mask = (torch.arange(S).expand(B, S) < torch.tensor([[S], [3]])).to(place)
        weights = weighting(scores, random(B, T, H, seed=1).to(place, dtype), mask)
        weights.square().sum().backward()
        assert LocalMWeights(1)(scores, scores, mask).device.type == torch.device(place).type
        parts = [weights, scores.grad, *(p.grad.clone() for p in weighting.parameters())]
        results.append([part.detach().cpu().double() for part in parts])
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)
    assert local_m_mask(2, 3, 1, device=device).device.type == device.type
