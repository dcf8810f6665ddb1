"""The Kalman family, against filterpy, joint Gaussians and numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.sequence.state_space import (
    LinearSystem,
    autoregress,
    fit_autoregression,
    kalman_filter,
    kalman_predict,
    kalman_update,
    noisy_rotation,
    rts_smoother,
    simulate,
)
from tests.devices import devices

F64 = torch.float64


def random_system(d: int, m: int, seed: int) -> LinearSystem:
    """A system with full covariances and a transition of spectral radius .95."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=g, dtype=F64)

    def covariance(n):
        root = draw(n, n)
        return root @ root.mT / n + 0.1 * torch.eye(n, dtype=F64)

    A = draw(d, d)
    A = 0.95 * A / torch.linalg.eigvals(A).abs().max()
    return LinearSystem(A, draw(m, d), covariance(d), covariance(m), draw(d), covariance(d))


def joint_gaussian(s: LinearSystem, steps: int):
    """Mean and covariance of (z_1..z_T, y_1..y_T), written out: the slow definition."""
    d, m = s.transition.size(0), s.observation.size(0)
    power = [torch.linalg.matrix_power(s.transition, k) for k in range(steps)]
    marginal = [s.initial_covariance]
    for _ in range(steps - 1):
        marginal.append(s.transition @ marginal[-1] @ s.transition.mT + s.process_noise)
    blocks = [
        [
            power[t - u] @ marginal[u] if t >= u else marginal[t] @ power[u - t].mT
            for u in range(steps)
        ]
        for t in range(steps)
    ]
    zz = torch.cat([torch.cat(row, dim=1) for row in blocks])
    C = torch.block_diag(*[s.observation] * steps)
    yy = C @ zz @ C.mT + torch.block_diag(*[s.observation_noise] * steps)
    mean_z = torch.cat([p @ s.initial_mean for p in power])
    return mean_z.view(steps, d), zz, (C @ mean_z).view(steps, m), yy, zz @ C.mT


def filterpy_filter(s: LinearSystem, y: torch.Tensor):
    """filterpy's filter over one sequence y [T, M], whose first step is an update only."""
    kf = KalmanFilter(dim_x=s.transition.size(0), dim_z=s.observation.size(0))
    kf.F, kf.H, kf.Q = (v.numpy() for v in (s.transition, s.observation, s.process_noise))
    kf.R, kf.P = s.observation_noise.numpy(), s.initial_covariance.numpy()
    kf.x = s.initial_mean.numpy()[:, None]
    means, covariances, total = [], [], 0.0
    for t, seen in enumerate(y.numpy()):
        if t > 0:
            kf.predict()
        kf.update(seen[:, None])
        total += kf.log_likelihood
        means.append(kf.x)
        covariances.append(kf.P)
    means, covariances = np.array(means), np.array(covariances)
    smooth, smooth_covariances, _, _ = kf.rts_smoother(means, covariances)
    return means[..., 0], covariances, total, smooth[..., 0], smooth_covariances


@pytest.mark.parametrize(("d", "m", "steps"), [(2, 1, 60), (3, 2, 25), (1, 1, 5), (2, 3, 1)])
def test_filter_likelihood_and_smoother_agree_with_filterpy(d, m, steps):
    system = random_system(d, m, seed=d + m)
    _, y = simulate(system, 3, steps, torch.Generator().manual_seed(1))
    filtered = kalman_filter(system, y)
    smoothed = rts_smoother(system, filtered)
    for b in range(3):
        peer = filterpy_filter(system, y[b])
        ours = (
            filtered.mean[b],
            filtered.covariance,
            filtered.log_likelihood[b],
            smoothed.mean[b],
            smoothed.covariance,
        )
        for own, other in zip(ours, peer):
            torch.testing.assert_close(own, torch.as_tensor(other, dtype=F64), rtol=1e-9, atol=1e-9)


@given(d=st.integers(1, 3), m=st.integers(1, 3), steps=st.integers(1, 6), seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_filter_and_smoother_are_conditional_gaussians(d, m, steps, seed):
    """Conditioning the joint Gaussian of all states and observations, without any recursion."""
    system = random_system(d, m, seed)
    _, y = simulate(system, 2, steps, torch.Generator().manual_seed(seed))
    mean_z, zz, mean_y, yy, zy = joint_gaussian(system, steps)
    filtered = kalman_filter(system, y)
    smoothed = rts_smoother(system, filtered)
    for t in range(steps):
        here = slice(t * d, (t + 1) * d)
        for seen, mean, covariance in (
            ((t + 1) * m, filtered.mean, filtered.covariance),
            (steps * m, smoothed.mean, smoothed.covariance),
            (t * m, filtered.predicted_mean, filtered.predicted_covariance),
        ):
            gain = torch.linalg.solve(yy[:seen, :seen], zy[here, :seen].mT).mT
            expected = mean_z[t] + (y - mean_y).flatten(1)[:, :seen] @ gain.mT
            torch.testing.assert_close(mean[:, t], expected, rtol=1e-6, atol=1e-8)
            left = zz[here, here] - gain @ zy[here, :seen].mT
            torch.testing.assert_close(covariance[t], left, rtol=1e-6, atol=1e-8)


def test_likelihood_and_its_gradients_are_the_joint_gaussians():
    """With respect to each of the six parameters and the observations."""
    system = random_system(2, 2, seed=3)
    names = list(vars(system))
    _, y = simulate(system, 3, 6, torch.Generator().manual_seed(2))
    gradients, values = [], []
    for road in ("filter", "joint"):
        leaves = [v.clone().requires_grad_() for v in vars(system).values()]
        seen = y.clone().requires_grad_()
        s = LinearSystem(**dict(zip(names, leaves)))
        if road == "filter":
            value = kalman_filter(s, seen).log_likelihood
        else:
            _, _, mean, covariance, _ = joint_gaussian(s, 6)
            law = torch.distributions.MultivariateNormal(mean.flatten(), covariance)
            value = law.log_prob(seen.flatten(1))
        values.append(value)
        raw = torch.autograd.grad(value.sum(), [*leaves, seen])
        # a covariance is symmetric: only the symmetric part of its gradient has a meaning
        gradients.append(
            [
                (g + g.mT) / 2 if n.endswith(("noise", "ance")) else g
                for n, g in zip([*names, "y"], raw)
            ]
        )
    torch.testing.assert_close(values[0], values[1])
    for own, other in zip(*gradients):
        torch.testing.assert_close(own, other, rtol=1e-7, atol=1e-8)


def test_one_dimension_by_hand():
    """P- = 3 + 1 = 4 and R = 12: gain 1/4; from 10 and y = 18 to 12, variance 4 * 3/4 = 3."""

    def square(value):
        return torch.tensor([[value]], dtype=F64)

    system = LinearSystem(
        square(1.0), square(1.0), square(1.0), square(12.0), torch.zeros(1, dtype=F64), square(3.0)
    )
    mean, covariance = kalman_predict(system, square(10.0), square(3.0))
    assert (mean.item(), covariance.item()) == (10, 4)
    mean, covariance, log_density = kalman_update(system, mean, covariance, square(18.0))
    assert mean.item() == pytest.approx(12) and covariance.item() == pytest.approx(3)
    assert log_density.item() == pytest.approx(-0.5 * (math.log(2 * math.pi * 16) + 64 / 16))


@given(seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_knowing_more_never_widens_the_belief(seed):
    """P- >= P >= P* as matrices, and the last belief is already smooth."""
    system = random_system(3, 2, seed)
    _, y = simulate(system, 1, 8, torch.Generator().manual_seed(seed))
    filtered = kalman_filter(system, y)
    smoothed = rts_smoother(system, filtered)
    for wide, narrow in (
        (filtered.predicted_covariance, filtered.covariance),
        (filtered.covariance, smoothed.covariance),
    ):
        assert torch.linalg.eigvalsh(wide - narrow).min() > -1e-9
    torch.testing.assert_close(smoothed.mean[:, -1], filtered.mean[:, -1])


def test_the_filter_is_causal_and_treats_sequences_alone():
    system = random_system(2, 1, seed=0)
    _, y = simulate(system, 4, 12, torch.Generator().manual_seed(0))
    later = y.clone()
    later[:, 7:] += 5
    together, changed = kalman_filter(system, y), kalman_filter(system, later)
    assert torch.equal(together.mean[:, :7], changed.mean[:, :7])
    assert torch.equal(together.predicted_mean[:, :8], changed.predicted_mean[:, :8])
    alone = kalman_filter(system, y[2:3])
    torch.testing.assert_close(alone.mean[0], together.mean[2])


def test_a_state_known_exactly_stays_known():
    """No noise but the observation's: the smoother meets singular covariances."""
    zero = torch.zeros(2, 2, dtype=F64)
    s = noisy_rotation(0.5, process_std=0.0)
    start = torch.tensor([1.0, 0.0], dtype=F64)
    s = LinearSystem(s.transition, s.observation, zero, s.observation_noise, start, zero)
    z, y = simulate(s, 2, 20, torch.Generator().manual_seed(0))
    smoothed = rts_smoother(s, kalman_filter(s, y))
    torch.testing.assert_close(smoothed.mean, z)
    torch.testing.assert_close(z[0, :, 0], torch.cos(0.5 * torch.arange(20, dtype=F64)))


def test_long_sequences_in_float32_stay_symmetric_and_positive():
    system = noisy_rotation(0.3, 0.99, 0.1, 0.7)
    _, y = simulate(system, 2, 3000, torch.Generator().manual_seed(0))
    exact = kalman_filter(system, y)
    single = kalman_filter(system.to(torch.float32), y.float())
    covariance = single.covariance[-1]
    assert torch.linalg.eigvalsh(covariance).min() > 0
    torch.testing.assert_close(covariance, covariance.mT)
    torch.testing.assert_close(single.mean.double(), exact.mean, rtol=0, atol=1e-4)


def test_simulated_moments_are_the_systems():
    system = random_system(2, 1, seed=5)
    z, y = simulate(system, 40_000, 3, torch.Generator().manual_seed(0))
    _, zz, mean_y, yy, _ = joint_gaussian(system, 3)
    assert (y.flatten(1).mean(0) - mean_y.flatten()).abs().max() < 0.05 * yy.diagonal().max().sqrt()
    for drawn, law in ((z, zz), (y, yy)):
        assert (torch.cov(drawn.flatten(1).mT) - law).abs().max() < 0.05 * law.abs().max()
    again = simulate(system, 2, 3, torch.Generator().manual_seed(7))[1]
    assert torch.equal(again, simulate(system, 2, 3, torch.Generator().manual_seed(7))[1])


def test_the_rotation_starts_from_its_stationary_law():
    s = noisy_rotation(0.4, 0.9, 0.3)
    P = s.initial_covariance
    torch.testing.assert_close(s.transition @ P @ s.transition.mT + s.process_noise, P)
    assert torch.equal(noisy_rotation(0.4).initial_covariance, torch.eye(2, dtype=F64))


def test_the_kalman_filter_predicts_better_than_two_taps():
    """And many taps come near it: the state sums them up."""
    system = noisy_rotation(0.3, 0.99, 0.1, 0.7)
    _, y = simulate(system, 16, 500, torch.Generator().manual_seed(0))
    ahead = kalman_filter(system, y).predicted_mean @ system.observation.mT
    kalman = (ahead - y)[:, 32:].square().mean()
    error = {
        p: (autoregress(fit_autoregression(y, p), y) - y[:, p:]).square().mean() for p in (2, 32)
    }
    assert kalman < 0.85 * error[2] and error[32] < 1.03 * kalman


@pytest.mark.parametrize("device", devices())
def test_devices_agree(device):
    system = random_system(3, 2, seed=1)
    _, y = simulate(system, 4, 20, torch.Generator().manual_seed(0))
    results = []
    for place in (torch.device("cpu"), device):
        seen = y.to(place).requires_grad_()
        filtered = kalman_filter(system.to(place), seen)
        smoothed = rts_smoother(system.to(place), filtered)
        (filtered.log_likelihood.sum() + smoothed.mean.square().sum()).backward()
        model = fit_autoregression(y.to(place), 3)
        results.append([*filtered, *smoothed, *model, autoregress(model, y.to(place)), seen.grad])
    for own, other in zip(*results):
        torch.testing.assert_close(own, other.cpu(), rtol=1e-7, atol=1e-8)


def test_errors_say_what_to_do():
    system = noisy_rotation(0.3)
    with pytest.raises(ValueError, match=r"y must be .*float64 \[B, T, 1\].*y\[None, :, None\]"):
        kalman_filter(system, torch.zeros(5, dtype=F64))
    with pytest.raises(ValueError, match="float64"):
        kalman_filter(system, torch.zeros(1, 5, 1))
    with pytest.raises(ValueError, match="batch and steps"):
        simulate(system, 0, 5)
    parts = dict(vars(system))
    with pytest.raises(ValueError, match=r"initial_mean must be .*\[2\]"):
        LinearSystem(**parts | {"initial_mean": torch.zeros(3, dtype=F64)})
    skew = torch.tensor([[1.0, 0.5], [0.0, 1.0]], dtype=F64)
    with pytest.raises(ValueError, match="process_noise is a covariance and must be symmetric"):
        LinearSystem(**parts | {"process_noise": skew})
