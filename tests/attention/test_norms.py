"""Layer norm and batch norm: against torch's, by hand, and what each is blind to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from course_lib.attention.norms import BatchNorm1d, LayerNorm, batch_norm, layer_norm
from tests.attention.same_weights import assert_same_function, assert_same_module, random, twins
from tests.devices import devices


@pytest.mark.parametrize("learned", ["weight and bias", "weight", "bias", "nothing"])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (1,)], ids=str)
def test_layer_norm_against_torch(shape, learned):
    weight = random(*shape) if "weight" in learned else None
    bias = random(*shape) if "bias" in learned else None
    parameters = [p for p in (weight, bias) if p is not None]

    def call(form, x, *given):
        rest = iter(given)
        own = [None if p is None else next(rest) for p in (weight, bias)]
        return form(x, shape, *own, 1e-3)

    assert_same_function(
        lambda *args: call(layer_norm, *args),
        lambda *args: call(F.layer_norm, *args),
        [3 * random(4, 2, *shape) + 1, *parameters],
    )


@pytest.mark.parametrize(
    "options", [{}, {"bias": False}, {"elementwise_affine": False}, {"eps": 0.1}], ids=str
)
@pytest.mark.parametrize("shape", [6, (3, 6)], ids=str)
def test_the_module_against_torch_and_the_formula(shape, options):
    ours, theirs = twins(LayerNorm, nn.LayerNorm, shape, **options)
    x = 3 * random(4, 3, 6) + 1
    assert_same_module(ours, theirs, [x])
    formula = layer_norm(x, ours.normalized_shape, ours.weight, ours.bias, ours.eps)
    torch.testing.assert_close(ours(x), formula)
    fresh = LayerNorm(shape, **options)
    torch.testing.assert_close(fresh.state_dict(), nn.LayerNorm(shape, **options).state_dict())


def test_the_row_0_1_5_by_hand():
    """Mean 2, deviations -2, -1, 3, variance 14/3."""
    row = torch.tensor([[0.0, 1.0, 5.0]])
    expected = torch.tensor([[-2.0, -1.0, 3.0]]) / (14 / 3) ** 0.5
    torch.testing.assert_close(layer_norm(row, [3], eps=0.0), expected)
    torch.testing.assert_close(
        batch_norm(row.t(), None, None, training=True, eps=0.0).t(), expected
    )


# name: (shape of the input, options of both)
BATCHES = {
    "rows": ((6, 4), {}),
    "sequences": ((3, 4, 5), {}),
    "images": ((2, 4, 3, 2), {"momentum": 0.3, "eps": 1e-2}),
    "plain": ((6, 4), {"learned": False}),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", BATCHES)
def test_batch_norm_against_torch(batch, training):
    shape, options = BATCHES[batch]
    options = dict(options)
    parameters = [random(4), random(4)] if options.pop("learned", True) else []
    x = 3 * random(*shape) + 1
    mean, variance = random(4), random(4).square() + 0.5
    running = [(mean.clone(), variance.clone()) for _ in range(2)]
    calls = [
        lambda x, *p, form=form, own=own: form(x, *own, *p, training=training, **options)
        for form, own in zip((batch_norm, F.batch_norm), running)
    ]
    assert_same_function(*calls, [x, *parameters])
    torch.testing.assert_close(*running)
    assert torch.equal(running[0][0], mean) != training  # they move in training only
    if training:
        without = batch_norm(x, None, None, *parameters, training=True, **options)
        torch.testing.assert_close(without, calls[0](x, *parameters))


@pytest.mark.parametrize(
    "options",
    [{}, {"momentum": None}, {"affine": False}, {"track_running_stats": False}, {"eps": 0.1}],
    ids=str,
)
def test_batches_through_the_module_against_torch(options):
    ours, theirs = twins(BatchNorm1d, nn.BatchNorm1d, 4, **options)
    for shape in ((6, 4), (3, 4, 5), (2, 4)):
        assert_same_module(ours, theirs, [2 * random(*shape) + 1])
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    ours.eval(), theirs.eval()
    assert_same_module(ours, theirs, [random(1, 4, 2)])
    assert [*ours.state_dict()] == [*theirs.state_dict()]
    fresh = [kind(4, **options).state_dict() for kind in (BatchNorm1d, nn.BatchNorm1d)]
    torch.testing.assert_close(*fresh)


@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(0.1, 10), shift=st.floats(-5, 5), tokens=st.integers(1, 5), d=st.integers(2, 6)
)
def test_layer_norm_hears_no_scale_no_shift_and_no_other_token(scale, shift, tokens, d):
    x = random(tokens, d)
    normal = layer_norm(x, [d], eps=0.0)
    torch.testing.assert_close(layer_norm(scale * x + shift, [d], eps=0.0), normal)
    torch.testing.assert_close(layer_norm(x[:1], [d], eps=0.0), normal[:1])
    torch.testing.assert_close(normal.mean(-1), torch.zeros_like(normal[:, 0]))
    torch.testing.assert_close(normal.var(-1, correction=0), torch.ones_like(normal[:, 0]))


def test_in_training_batch_norm_hears_the_other_rows_and_in_evaluation_not():
    norm = BatchNorm1d(3, dtype=torch.float64)
    x = random(4, 3)
    changed = x.clone()
    changed[1:] = random(3, 3)
    assert not torch.allclose(norm(x)[0], norm(changed)[0])
    norm.eval()
    assert torch.equal(norm(x)[0], norm(changed)[0])


def test_after_many_batches_evaluation_is_near_training():
    norm = BatchNorm1d(3, dtype=torch.float64)
    x = 2 * random(4000, 3) + 5
    for batch in x.split(40):
        norm(batch)
    normal = norm.eval()(x)
    assert normal.mean(0).abs().max() < 0.1
    assert (normal.var(0) - 1).abs().max() < 0.1


def test_wrong_inputs_are_named():
    with pytest.raises(ValueError, match=r"must end in the sizes \[3\], got \[2, 4\]"):
        layer_norm(torch.zeros(2, 4), [3])
    with pytest.raises(ValueError, match=r"must be \[N, C\]"):
        batch_norm(torch.zeros(3), None, None, training=True)
    with pytest.raises(ValueError, match="cannot train on one value a feature"):
        batch_norm(torch.zeros(1, 3), None, None, training=True)
    with pytest.raises(ValueError, match="evaluation needs running_mean and running_var"):
        batch_norm(torch.zeros(2, 3), torch.zeros(3), None)
    with pytest.raises(ValueError, match=r"\[N, 3\] or \[N, 3, T\], got \[2, 4\]"):
        BatchNorm1d(3)(torch.zeros(2, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("device", devices())
def test_device_parity(device, dtype):
    """Forward and backward on each device agree with the CPU in float64."""
    x = random(5, 4)
    for kind, theirs in ((LayerNorm, nn.LayerNorm), (BatchNorm1d, nn.BatchNorm1d)):
        oracle, _ = twins(kind, theirs, 4)
        moved = kind(4)
        moved.load_state_dict(oracle.state_dict())
        moved.to(device, dtype)
        results = []
        for module in (oracle, moved):
            inputs = x.to(module.weight, copy=True).requires_grad_()
            output = module(inputs)
            output.square().sum().backward()
            buffers = [b for b in module.buffers() if b.is_floating_point()]
            results.append([output, inputs.grad, module.weight.grad, module.bias.grad, *buffers])
        for wanted, got in zip(*results):
            torch.testing.assert_close(got.double().cpu(), wanted, rtol=1e-4, atol=1e-4)
