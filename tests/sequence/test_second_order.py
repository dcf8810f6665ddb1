"""Gauss-Newton products, conjugate gradient, and the damped step that they make."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call, hessian, jacrev
from torch.nn import functional as F

from course_lib.sequence.recurrent import GRU, LSTM, RNN
from course_lib.sequence.second_order import (
    conjugate_gradient,
    gauss_newton_product,
    hessian_free_step,
)
from tests.devices import devices


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


class Reader(nn.Module):
    """A recurrent layer and a linear layer on its last state."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = kind(2, 4), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0][-1])


LOSSES = {
    "cross-entropy": lambda z: F.cross_entropy(z, torch.arange(5, device=z.device) % 3),
    "squared error": lambda z: F.mse_loss(z, torch.ones_like(z)),
}


def _problem(kind: type[nn.Module] = RNN):
    """(outputs_of, parameters) of a small net in float64."""
    model, x = Reader(kind).double(), _random(4, 5, 2)
    parameters = dict(model.named_parameters())
    return lambda given: functional_call(model, given, (x,)), parameters


def _flat(tensors) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors.values()])


def _dense_gauss_newton(outputs_of, loss_of, parameters) -> torch.Tensor:
    """J^T H_L J written down: [P, P]."""
    values = {name: value.detach() for name, value in parameters.items()}
    z = outputs_of(values)
    jacobian = torch.cat(
        [part.reshape(z.numel(), -1) for part in jacrev(outputs_of)(values).values()], 1
    )
    return jacobian.t() @ hessian(loss_of)(z).reshape(z.numel(), -1) @ jacobian


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_the_product_equals_that_with_the_matrix_written_down(kind, loss):
    outputs_of, parameters = _problem(kind)
    vector = {name: torch.randn_like(value) for name, value in parameters.items()}
    got = gauss_newton_product(outputs_of, LOSSES[loss], parameters, vector)
    matrix = _dense_gauss_newton(outputs_of, LOSSES[loss], parameters)
    torch.testing.assert_close(_flat(got), matrix @ _flat(vector))
    assert [*got] == [*parameters]
    assert all(got[name].shape == value.shape for name, value in parameters.items())


@pytest.mark.parametrize("loss", LOSSES)
def test_curvature_is_never_negative(loss):
    outputs_of, parameters = _problem()
    for seed in range(5):
        torch.manual_seed(seed)
        v = {name: torch.randn_like(value) for name, value in parameters.items()}
        product = gauss_newton_product(outputs_of, LOSSES[loss], parameters, v)
        assert _flat(v) @ _flat(product) >= 0


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 12), seed=st.integers(0, 99))
def test_conjugate_gradient_solves_in_as_many_steps_as_there_are_unknowns(size, seed):
    root = _random(size, size, seed=seed)
    matrix = root @ root.t() + torch.eye(size, dtype=torch.float64)
    right = _random(size, seed=seed + 1)
    solution, steps = conjugate_gradient(
        lambda d: {"w": matrix @ d["w"]}, {"w": right}, steps=3 * size
    )
    residual = right - matrix @ solution["w"]
    assert residual.norm() <= 1.1e-6 * right.norm()
    assert steps <= size + 2  # in exact arithmetic, size


def test_conjugate_gradient_needs_one_step_for_each_different_eigenvalue():
    scales = torch.tensor([2.0] * 5 + [7.0] * 4, dtype=torch.float64)
    _, steps = conjugate_gradient(lambda d: {"w": scales * d["w"]}, {"w": _random(9)})
    assert steps == 2


def test_conjugate_gradient_stops_where_it_must():
    right = {"w": _random(3)}
    scales = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    _, steps = conjugate_gradient(lambda d: {"w": scales * d["w"]}, right, steps=1)
    assert steps == 1
    solution, steps = conjugate_gradient(lambda d: {"w": -d["w"]}, right)
    assert steps == 0  # no positive curvature
    assert solution["w"].abs().max() == 0
    solution, steps = conjugate_gradient(lambda d: d, {"w": torch.zeros(3)})
    assert steps == 0


def test_an_undamped_step_solves_least_squares_at_once():
    """On a linear model with squared error the Gauss-Newton matrix is the Hessian: one step is all."""
    x, y = _random(20, 3), _random(20, 1, seed=1)
    step = hessian_free_step(
        lambda given: x @ given["w"],
        lambda z: F.mse_loss(z, y),
        {"w": _random(3, 1, seed=2)},
        damping=0.0,
        tolerance=1e-12,
    )
    torch.testing.assert_close(step.parameters["w"], torch.linalg.lstsq(x, y).solution)
    assert step.reduction_ratio == pytest.approx(1)  # the quadratic model is exact
    assert step.loss_after < step.loss_before


@pytest.mark.parametrize("damping", [0.1, 5.0])
def test_a_step_solves_the_damped_system(damping):
    outputs_of, parameters = _problem()
    loss_of = LOSSES["cross-entropy"]
    options = {"damping": damping, "steps": 500, "tolerance": 1e-12}
    step = hessian_free_step(outputs_of, loss_of, parameters, **options)
    matrix = _dense_gauss_newton(outputs_of, loss_of, parameters)
    matrix += damping * torch.eye(len(matrix), dtype=torch.float64)
    loss = loss_of(outputs_of(parameters))
    names = [*parameters]
    gradients = torch.autograd.grad(loss, [parameters[name] for name in names])
    gradient = _flat(dict(zip(names, gradients)))
    move = -torch.linalg.solve(matrix, gradient)
    torch.testing.assert_close(_flat(step.parameters) - _flat(parameters), move)
    assert step.loss_before == pytest.approx(loss.item())
    assert step.loss_after == pytest.approx(loss_of(outputs_of(step.parameters)).item())
    foretold = -gradient @ move - move @ matrix @ move / 2
    ratio = (step.loss_before - step.loss_after) / foretold.item()
    assert step.reduction_ratio == pytest.approx(ratio, rel=1e-4)
    assert not any(value.requires_grad for value in step.parameters.values())


@pytest.mark.parametrize("kind", [RNN, LSTM])
def test_a_few_steps_lower_the_loss_far_more_than_as_many_of_steepest_descent(kind):
    outputs_of, parameters = _problem(kind)
    loss_of = LOSSES["cross-entropy"]
    descended = {
        name: value.detach().clone().requires_grad_() for name, value in parameters.items()
    }
    optimizer = torch.optim.SGD(descended.values(), lr=0.5)
    damping = 0.1
    for _ in range(12):
        step = hessian_free_step(outputs_of, loss_of, parameters, damping=damping)
        assert step.loss_after <= step.loss_before
        parameters, damping = step.parameters, step.damping
        optimizer.zero_grad()
        loss_of(outputs_of(descended)).backward()
        optimizer.step()
    assert step.loss_after < 0.5 * loss_of(outputs_of(descended)).item()


def _step_on(outputs_of, start: float, damping: float):
    """A step on L = z^2 / 2 with one parameter."""
    start = {"w": torch.tensor([start], dtype=torch.float64)}
    return hessian_free_step(
        lambda given: outputs_of(given["w"]), lambda z: z.square().sum() / 2, start, damping=damping
    )


def test_damping_falls_where_the_model_is_right_and_rises_where_it_is_wrong():
    right = _step_on(lambda w: 2 * w, 1.0, damping=0.9)
    assert right.damping == pytest.approx(0.6)
    between = _step_on(torch.sin, 1.5, damping=1e-3)
    assert 0.25 < between.reduction_ratio < 0.75
    assert between.damping == 1e-3
    wrong = _step_on(torch.sin, 1.4, damping=1e-3)  # nearly flat there: the step goes far too far
    assert 0 < wrong.reduction_ratio < 0.25
    assert wrong.loss_after < wrong.loss_before
    assert wrong.damping == pytest.approx(1.5e-3)


@pytest.mark.parametrize("outputs_of", [torch.atan, torch.sqrt])
def test_a_step_that_does_not_lower_the_loss_is_refused(outputs_of):
    step = _step_on(outputs_of, 3.0, damping=1e-3)  # too far; where there is no square root
    assert step.parameters["w"].item() == 3.0
    assert step.loss_after == step.loss_before
    assert step.damping == pytest.approx(1.5e-3)


def test_a_negative_damping_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        _step_on(torch.sin, 1.0, damping=-1.0)


@pytest.mark.parametrize("device", devices())
def test_device_parity(device):
    model, x = Reader(RNN).double(), _random(4, 5, 2)
    moved = Reader(RNN).to(device)
    moved.load_state_dict(model.state_dict())
    after = []
    for module, given_x in ((model, x), (moved, x.to(device, torch.float32))):
        step = hessian_free_step(
            lambda given, m=module, x=given_x: functional_call(m, given, (x,)),
            LOSSES["squared error"],
            dict(module.named_parameters()),
        )
        after.append(_flat(step.parameters).double().cpu())
    torch.testing.assert_close(after[1], after[0], rtol=1e-3, atol=1e-4)
