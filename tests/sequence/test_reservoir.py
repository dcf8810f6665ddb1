"""Echo state networks: radius, echoes and their loss, the read-out, a forecast that beats a baseline."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from course_lib.sequence.reservoir import (
    EchoStateNetwork,
    scale_spectral_radius,
    spectral_radius,
)
from course_lib.sequence.tasks import mackey_glass
from tests.devices import devices


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=_generator(seed), dtype=torch.float64)


def _net(inputs: int = 2, size: int = 30, outputs: int = 1, **options) -> EchoStateNetwork:
    options = {"generator": _generator(), "density": 0.5, **options}
    return EchoStateNetwork(inputs, size, outputs, **options).double()


def test_the_radius_of_known_matrices():
    rotation = torch.tensor([[0.0, -2.0], [2.0, 0.0]])  # eigenvalues ±2i
    triangle = torch.tensor([[-3.0, 100.0], [0.0, 1.0]])
    assert spectral_radius(rotation).item() == pytest.approx(2)
    assert spectral_radius(triangle).item() == pytest.approx(3)


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 20), radius=st.floats(0, 5), seed=st.integers(0, 99))
def test_scaling_gives_the_radius_and_keeps_the_direction(size, radius, seed):
    weight = _random(size, size, seed=seed)
    scaled = scale_spectral_radius(weight, radius)
    numpys = np.abs(np.linalg.eigvals(scaled.numpy())).max()
    assert numpys == pytest.approx(radius, rel=1e-8, abs=1e-12)
    torch.testing.assert_close(scaled * spectral_radius(weight), weight * radius)


def test_a_matrix_without_cycles_cannot_be_scaled():
    with pytest.raises(ValueError, match="no factor"):
        scale_spectral_radius(torch.ones(4, 4).triu(1), 0.9)


def test_weights_are_drawn_as_said():
    net = EchoStateNetwork(
        3, 200, radius=0.7, density=0.2, input_scale=2.0, bias_scale=0.5, generator=_generator()
    )
    assert spectral_radius(net.weight).item() == pytest.approx(0.7, rel=1e-4)
    assert (net.weight != 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert 1.9 < net.weight_in.abs().max() <= 2
    assert 0.48 < net.bias.abs().max() <= 0.5
    assert [*net.parameters()] == []
    again = EchoStateNetwork(3, 200, generator=_generator())
    torch.testing.assert_close(
        again.weight * 0.7 / 0.9,
        EchoStateNetwork(3, 200, radius=0.7, generator=_generator()).weight,
    )


@pytest.mark.parametrize("leak", [1.0, 0.3])
def test_states_are_the_equation_step_by_step(leak):
    net, x, h = _net(leak=leak), _random(6, 3, 2), _random(3, 30, seed=1)
    states = net.states(x, h)
    for t in range(6):
        new = torch.tanh(x[t] @ net.weight_in.t() + h @ net.weight.t() + net.bias)
        h = (1 - leak) * h + leak * new
        torch.testing.assert_close(states[t], h)
    torch.testing.assert_close(net.states(x)[0], net.states(x[:1], torch.zeros_like(h))[0])


@pytest.mark.parametrize("radius", [0.5, 0.9, 2.5])
def test_two_beginnings_meet_below_radius_1_and_stay_apart_far_above(radius):
    """The echo state property, and its loss."""
    net = _net(1, 100, radius=radius, input_scale=0.5)
    x = _random(300, 1, 1)
    one, other = (net.states(x, _random(1, 100, seed=seed)) for seed in (1, 2))
    apart = (one - other).norm(dim=2).flatten()
    if radius < 1:
        assert apart[-1] < 1e-6 * apart[0]
    else:
        assert apart[-50:].min() > 1


@settings(max_examples=15, deadline=None)
@given(
    batch=st.integers(1, 3),
    outputs=st.integers(1, 2),
    ridge=st.sampled_from([1e-4, 1e-2, 10.0]),
    washout=st.integers(0, 20),
)
def test_the_read_out_is_ridge_regression(batch, outputs, ridge, washout):
    net = _net(outputs=outputs, ridge=ridge, washout=washout)
    x, y = _random(60, batch, 2), _random(60, batch, outputs, seed=1)
    features = torch.cat([net.states(x), x, torch.ones_like(x[..., :1])], -1)
    oracle = Ridge(alpha=ridge, fit_intercept=False)
    oracle.fit(features[washout:].flatten(0, 1), y[washout:].flatten(0, 1))
    weights = torch.from_numpy(oracle.coef_).reshape(outputs, -1)
    assert net.fit(x, y) is net
    torch.testing.assert_close(net.read_out, weights, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(net(x)[0], features @ net.read_out.t())


def test_one_sequence_without_a_batch():
    net, alone = _net(washout=5), _net(washout=5)
    x, y = _random(40, 1, 2), _random(40, 1, 1, seed=1)
    net.fit(x, y)
    alone.fit(x[:, 0], y[:, 0])
    torch.testing.assert_close(alone.read_out, net.read_out)
    start = _random(1, 30, seed=2)
    wanted, wanted_state = net(x, start)
    got, state = alone(x[:, 0], start[0])
    torch.testing.assert_close(got, wanted[:, 0])
    torch.testing.assert_close(state, wanted_state[0])


def test_a_sequence_may_be_given_in_two_parts():
    net, x = _net(washout=5), _random(40, 2, 2)
    net.fit(x, x[..., :1])
    whole, state = net(x)
    first, between = net(x[:15])
    second, after = net(x[15:], between)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(after, state)


def test_a_fitted_network_survives_saving():
    net, x = _net(washout=5), _random(40, 1, 2)
    net.fit(x, x[..., :1])
    other = _net(generator=_generator(7))
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(x), net(x))


def _forecast(radius: float, seed: int) -> tuple[float, float]:
    """(the reservoir's error, that of 64 delay taps) on Mackey-Glass ten steps ahead, NRMSE."""
    series = mackey_glass(1, 3000, _generator(seed))[0].unsqueeze(1)  # [T, 1]
    x, y, cut = series[:-10], series[10:], 2000
    net = EchoStateNetwork(1, 300, radius=radius, generator=_generator(seed)).double()
    net.fit(x[:cut], y[:cut])
    said, _ = net(x[cut:])
    taps = torch.cat([x.unfold(0, 64, 1).squeeze(1), torch.ones(len(x) - 63, 1)], 1)
    linear = torch.linalg.lstsq(taps[: cut - 63], y[63:cut]).solution
    wanted = y[cut + 100 :]
    errors = (said[100:] - wanted, taps[cut + 37 :] @ linear - wanted)
    return tuple((e.square().mean().sqrt() / wanted.std()).item() for e in errors)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_reservoir_forecasts_better_than_delay_taps_unless_it_is_chaotic(seed):
    good, taps = _forecast(0.9, seed)
    chaotic, _ = _forecast(2.5, seed)
    assert good < taps / 3
    assert chaotic > taps


def test_free_running_feeds_each_output_back():
    net = _net(1, 100, washout=50, density=0.2)
    wave = torch.sin(torch.arange(500, dtype=torch.float64) * math.tau / 25)[:, None, None]
    net.fit(wave[:-1], wave[1:])
    said, state = net(wave[:300])
    future = net.generate(said[-1], state, 40)
    torch.testing.assert_close(future, wave[301:341], rtol=0, atol=0.05)
    again, _ = net(torch.cat([wave[:300], said[-1:], future[:-1]]))
    torch.testing.assert_close(again[-40:], future)


def test_gradients_flow_through_to_the_inputs():
    net, x = _net(washout=5), _random(20, 1, 2)
    net.fit(x, x[..., :1])
    leaf = x.clone().requires_grad_()
    net(leaf)[0][-1].sum().backward()
    assert (leaf.grad.abs().sum((1, 2)) > 0).all()


def test_wrong_settings_and_inputs_are_named():
    for name, value in (("leak", 0.0), ("leak", 1.5), ("density", 0.0)):
        with pytest.raises(ValueError, match=f"{name} must be above 0"):
            _net(**{name: value})
    with pytest.raises(ValueError, match="not negative"):
        _net(radius=-0.5)
    with pytest.raises(ValueError, match="ridge must be positive"):
        _net(ridge=0.0)
    net, x = _net(washout=10), _random(20, 1, 2)
    with pytest.raises(RuntimeError, match=r"call fit\(x, y\) first"):
        net(x)
    with pytest.raises(ValueError, match=r"\[T, B, 2\].*got \[20, 1, 3\]"):
        net.states(_random(20, 1, 3))
    with pytest.raises(ValueError, match="10 steps are all washed out"):
        net.fit(x[:10], x[:10, :, :1])
    with pytest.raises(ValueError, match=r"1 targets a step.*got \[20, 1, 2\]"):
        net.fit(x, x)


@pytest.mark.parametrize("device", devices())
def test_device_parity(device):
    net, x = _net(washout=5, ridge=0.1), _random(40, 2, 2)
    moved = _net(washout=5, ridge=0.1).to(device, torch.float32)
    net.fit(x, x[..., :1])
    near = x.to(device, torch.float32)
    moved.fit(near, near[..., :1])
    for got, wanted in zip(moved(near), net(x)):
        torch.testing.assert_close(got.double().cpu(), wanted, rtol=1e-3, atol=1e-3)
