"""Scores: by hand, against torch, by their gradients; masks; a memory."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from course_lib.attention.scores import (
    AdditiveScore,
    DotScore,
    GeneralScore,
    LocationScore,
    context,
    dot_score,
    masked_softmax,
    recall,
    scaled_dot_score,
)
from tests.devices import devices

B, TQ, TK, DQ, DK, A = 2, 3, 5, 4, 6, 7
SEEDS = st.integers(0, 2**31 - 1)
MODULES = {
    "additive": lambda: AdditiveScore(DQ, DK, A),
    "general": lambda: GeneralScore(DQ, DK),
    "location": lambda: LocationScore(DQ, TK + 2),
    "dot": lambda: nn.Sequential(DotScore()),
}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_each_score_is_its_formula_pair_by_pair():
    query, keys = random(B, TQ, DQ), random(B, TK, DK, seed=1)
    additive = AdditiveScore(DQ, DK, A).double()
    general, location = GeneralScore(DQ, DK).double(), LocationScore(DQ, TK + 2).double()
    w, u, v = additive.query.weight, additive.key.weight, additive.v
    got = {
        name: module(query, keys)
        for name, module in (("additive", additive), ("general", general), ("location", location))
    }
    got["dot"] = dot_score(query, keys[..., :DQ])
    got["scaled"] = scaled_dot_score(query, keys[..., :DQ])
    formulas = {
        "additive": lambda q, k, s: v @ torch.tanh(w @ q + u @ k),
        "general": lambda q, k, s: q @ general.weight @ k,
        "location": lambda q, k, s: location.place.weight[s] @ q,
        "dot": lambda q, k, s: q @ k[:DQ],
        "scaled": lambda q, k, s: q @ k[:DQ] / math.sqrt(DQ),
    }
    for name, formula in formulas.items():
        for b in range(B):
            pairs = [[formula(q, k, s) for s, k in enumerate(keys[b])] for q in query[b]]
            expected = torch.stack([torch.stack(row) for row in pairs])
            torch.testing.assert_close(got[name][b], expected)


def test_the_bilinear_and_dot_scores_agree_with_torchs():
    query, keys = random(B, TQ, DQ), random(B, TK, DK, seed=1)
    general = GeneralScore(DQ, DK).double()
    flat = [
        x.flatten(0, 2) for x in torch.broadcast_tensors(query[:, :, None], random(B, TQ, TK, DQ))
    ]
    pairs = keys[:, None].expand(B, TQ, TK, DK).flatten(0, 2)
    peer = F.bilinear(flat[0], pairs, general.weight.unsqueeze(0)).view(B, TQ, TK)
    torch.testing.assert_close(general(query, keys), peer)
    torch.testing.assert_close(DotScore(scaled=True)(query, query), scaled_dot_score(query, query))
    torch.testing.assert_close(DotScore()(query, query), 2.0 * scaled_dot_score(query, query))


def test_scaled_dot_attention_agrees_with_torchs_in_values_and_gradients():
    leaves = [random(B, TQ, DQ), random(B, TK, DQ, seed=1), random(B, TK, DK, seed=2)]
    mask = torch.rand(B, TQ, TK) < 0.6
    mask[..., 0] = True
    results = []
    for attend in (
        lambda q, k, v: context(masked_softmax(scaled_dot_score(q, k), mask), v),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
    ):
        inputs = [leaf.clone().requires_grad_() for leaf in leaves]
        output = attend(*inputs)
        output.backward(random(*output.shape, seed=3))
        results.append([output, *(part.grad for part in inputs)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", MODULES)
def test_gradients_of_every_score(name):
    module = MODULES[name]().double()
    size = DQ if name == "dot" else DK
    query, keys = random(B, TQ, DQ), random(B, TK, size, seed=1)
    if name == "dot":
        module = module[0]
    parameters = dict(module.named_parameters())

    def scores(query, keys, *values):
        return torch.func.functional_call(module, dict(zip(parameters, values)), (query, keys))

    inputs = (query, keys, *(value.detach() for value in parameters.values()))
    assert torch.autograd.gradcheck(scores, [value.requires_grad_() for value in inputs])


@pytest.mark.parametrize("name", ["additive", "general", "location"])
def test_keys_are_projected_once_and_queries_compared_later(name):
    module, query, keys = MODULES[name]().double(), random(B, TQ, DQ), random(B, TK, DK, seed=1)
    projected = module.project(keys)
    steps = [module.compare(query[:, t : t + 1], projected) for t in range(TQ)]
    torch.testing.assert_close(torch.cat(steps, 1), module(query, keys))


def test_the_variance_of_a_dot_score_grows_with_d_and_that_of_the_scaled_does_not():
    for d in (4, 64, 1024):
        query, keys = random(1, 200, d), random(1, 200, d, seed=d)
        assert float(dot_score(query, keys).var()) == pytest.approx(d, rel=0.15)
        assert float(scaled_dot_score(query, keys).var()) == pytest.approx(1, rel=0.15)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), SEEDS)
def test_masked_softmax_is_the_softmax_of_what_remains(rows, columns, seed):
    scores = 5 * random(rows, columns, seed=seed)
    mask = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) < 0.6
    weights = masked_softmax(scores, mask)
    for row, allowed, weight in zip(scores, mask, weights):
        torch.testing.assert_close(weight[allowed], row[allowed].softmax(0))
        assert not weight[~allowed].any()
    down = masked_softmax(scores, mask, dim=0)
    torch.testing.assert_close(down, masked_softmax(scores.T, mask.T).T)
    assert torch.equal(masked_softmax(scores), scores.softmax(-1))


def test_a_mask_cannot_be_beaten_and_an_empty_row_gives_zeros_without_gradient():
    scores = random(3, 4)
    scores[:, 1] = 1e4
    scores[0, 2] = torch.nan  # whatever stands at a masked place
    scores.requires_grad_()
    mask = torch.tensor([[True, False, False, True], [False] * 4, [True, False, True, True]])
    weights = masked_softmax(scores, mask)
    (weights * random(3, 4, seed=1)).sum().backward()
    assert torch.equal(weights[~mask], torch.zeros(7, dtype=torch.float64))
    torch.testing.assert_close(weights.sum(1), torch.tensor([1.0, 0, 1], dtype=torch.float64))
    assert not scores.grad[~mask].any() and scores.grad[mask].all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_low_precision_is_masked_as_well(dtype):
    weights = masked_softmax(
        torch.tensor([6e4, 0.0, 1.0], dtype=dtype), torch.tensor([0, 1, 1]) > 0
    )
    assert weights.dtype == dtype and weights[0] == 0 and weights.isfinite().all()


def test_context_is_a_mean_of_the_values():
    weights = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    values = torch.tensor([[4.0, 0, 8], [0, 4, 4]])
    assert torch.equal(context(weights, values), torch.tensor([[1.0, 3, 5], [4, 0, 8]]))


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_soft_attention_does_not_see_the_order_of_the_keys(seed):
    query, keys, values = random(TQ, DQ, seed=seed), random(TK, DQ, seed=1), random(TK, 2, seed=2)
    order = torch.randperm(TK, generator=torch.Generator().manual_seed(seed))
    one, _ = recall(query, keys, values)
    other, _ = recall(query, keys[order], values[order])
    torch.testing.assert_close(one, other)


def test_recall_from_a_corrupted_key_sharpens_as_it_cools():
    keys = random(20, 32).sign()
    values = random(20, 3, seed=1)
    query = keys * torch.where(random(20, 32, seed=2).abs() < 0.2, -1.0, 1.0)
    assert (query != keys).any()
    errors, entropies = [], []
    for temperature in (100.0, 8.0, 0.01):
        recalled, weights = recall(query, keys, values, temperature)
        errors.append(float((recalled - values).abs().max()))
        entropies.append(float(-(weights * (weights + 1e-300).log()).sum(1).mean()))
    assert errors[0] > errors[1] > errors[2] < 1e-12
    assert entropies[0] > entropies[1] > entropies[2]
    hot, _ = recall(query, keys, values, 1e9)
    torch.testing.assert_close(hot, values.mean(0).expand(20, 3), atol=1e-5, rtol=0)
    forgotten = torch.ones(20, dtype=torch.bool)
    forgotten[3] = False
    assert float(recall(query, keys, values, 0.01, forgotten)[1][:, 3].max()) == 0


def test_wrong_arguments_are_named():
    query, keys = random(B, TQ, DQ), random(B, TK, DK)
    for call, message in (
        (lambda: dot_score(query, keys), "one size, got 4 and 6: use GeneralScore"),
        (lambda: LocationScore(DQ, 3)(query.float(), keys.float()), "knows 3 places, got 5 keys"),
        (lambda: recall(query, query, query, 0.0), "temperature must be positive"),
        (lambda: masked_softmax(query, query), "mask must be bool"),
        (lambda: masked_softmax(query, torch.ones(B, DQ) > 0), "unsqueeze"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("name", ["additive", "general", "location"])
def test_every_device_agrees_with_the_cpu_in_float64(device, name):
    module, query, keys = MODULES[name]().double(), random(B, TQ, DQ), random(B, TK, DK, seed=1)
    mask = torch.arange(TK) < 4
    results = []
    for place, dtype in (("cpu", torch.float64), (device, torch.float32)):
        module = module.to(place, dtype)
        module.zero_grad()
        inputs = [x.detach().to(place, dtype).requires_grad_() for x in (query, keys)]
        weights = masked_softmax(module(*inputs), mask.to(place))
        output = context(weights, inputs[1])
        output.square().sum().backward()
        grads = [p.grad.clone() for p in (inputs[0], *module.parameters())]
        results.append([part.detach().cpu().double() for part in (output, *grads)])
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)
