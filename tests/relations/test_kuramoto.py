"""Coupled oscillators: scipy's integrator, the order of ours, closed forms, no leak of the graph."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from benchmarks.speed import plain_simulations as plain
from course_lib.relations.simulate import kuramoto, kuramoto_from, kuramoto_rate
from tests.devices import devices


def _start(simulations, bodies=5, seed=0):
    """Phases, natural frequencies [S, N] and directed edges [S, N, N]."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(2, simulations, bodies, generator=generator, dtype=torch.float64)
    edges = torch.rand(simulations, bodies, bodies, generator=generator) < 0.5
    edges.diagonal(dim1=1, dim2=2).zero_()
    return 6.28 * draws[0], 1 + 9 * draws[1], edges.double()


def _scipy(phases, omega, edges, times):
    """The features at `times`, [N, T, 3], by an adaptive method of eighth order."""

    def rate(_, phi):
        return omega + (edges * np.sin(phi[None, :] - phi[:, None])).sum(1)

    options = {"method": "DOP853", "rtol": 1e-12, "atol": 1e-12}
    phi = solve_ivp(rate, (0, times[-1]), phases, t_eval=times, **options).y.T
    rates = np.stack([rate(0, p) for p in phi])
    return torch.from_numpy(np.stack([rates, np.sin(phi), np.cos(phi)], -1)).transpose(0, 1)


def _distance(start, **law):
    expected = [_scipy(*(a.numpy() for a in s), np.arange(1, 21) / 10) for s in zip(*start)]
    return (kuramoto_from(*start, 20, **law) - torch.stack(expected)).abs().max()


def test_scipy_agrees_and_halving_the_step_gives_a_sixteenth_of_the_error():
    start = _start(3)
    coarse, fine = _distance(start, dt=0.02, every=5), _distance(start)
    assert fine < 1e-6
    assert 12 < coarse / fine < 20


def test_the_plain_specification_agrees_over_ten_frames():
    start = _start(3)
    expected = [plain.kuramoto(*(a.numpy() for a in s), 10) for s in zip(*start)]
    expected = torch.from_numpy(np.stack(expected))
    torch.testing.assert_close(kuramoto_from(*start, 10), expected, rtol=0, atol=1e-12)


def test_the_rate_is_the_sum_of_sines():
    phases, omega, edges = _start(2, 4)
    for s in range(2):
        for i in range(4):
            pulls = sum(edges[s, i, j] * (phases[s, j] - phases[s, i]).sin() for j in range(4))
            rate = kuramoto_rate(phases, omega, 0.7 * edges)[s, i]
            torch.testing.assert_close(rate, omega[s, i] + 0.7 * pulls)


def test_an_oscillator_alone_turns_at_its_own_rate():
    phases, omega, edges = _start(2)
    states = kuramoto_from(phases, omega, torch.zeros_like(edges), 7)
    t = 0.1 * torch.arange(1, 8, dtype=torch.float64)
    phi = phases[..., None] + omega[..., None] * t
    expected = torch.stack([omega[..., None].expand_as(phi), phi.sin(), phi.cos()], -1)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-12)


def test_two_oscillators_lock_at_the_phase_their_frequencies_ask_for():
    """psi = phi_1 - phi_0 obeys psi' = omega_1 - omega_0 - 2 sin psi, and rests at sin psi = 0.5."""
    omega = torch.tensor([[4.0, 5.0]], dtype=torch.float64)
    edges = torch.tensor([[[0, 1], [1, 0]]])
    last = kuramoto_from(torch.zeros(1, 2).double(), omega, edges, 150)[0, :, -1]
    assert last[:, 0].tolist() == pytest.approx([4.5, 4.5])
    sine = last[1, 1] * last[0, 2] - last[1, 2] * last[0, 1]  # sin(phi_1 - phi_0)
    assert sine == pytest.approx(0.5)


def test_the_row_of_the_edges_receives():
    """Only body 1 is pulled, by body 0."""
    edges = torch.tensor([[[0, 0], [1, 0]]])
    phases = torch.tensor([[0.0, -1.0]], dtype=torch.float64)
    rate = kuramoto_from(phases, torch.ones(1, 2).double(), edges, 1)[0, :, 0, 0]
    assert rate[0] == 1.0
    assert rate[1] > 1.5


def test_one_frame_does_not_tell_who_is_pulled_by_nobody():
    made = kuramoto(3000, frames=2, generator=torch.Generator().manual_seed(0))
    alone = ~made.edges.any(2)  # [S, N] no incoming edge
    assert 500 < alone.sum() < 2000
    frame = made.states[:, :, 0]  # [S, N, 3]
    for feature in range(3):
        value = frame[..., feature].abs()
        ranks = value.flatten().argsort().argsort().view_as(value).double()
        ahead = (ranks[alone].mean() - ranks[~alone].mean()) / ranks.numel()
        assert ahead.abs() < 0.1  # the leaking feature, dphi/dt - omega, gives -0.5
    assert frame[alone][:, 0].min() >= 1  # no zero marks them: their rate is their omega, 1 to 10
    assert frame[alone][:, 0].std() > 2
    assert made.states.size(-1) == 3  # omega itself is not shown


def test_graphs_are_undirected_unless_asked_for():
    make = {"frames": 1, "generator": torch.Generator().manual_seed(0)}
    made = kuramoto(1000, **make)
    assert torch.equal(made.edges, made.edges.mT)
    assert made.types.double().mean() == pytest.approx(0.5, abs=0.02)
    directed = kuramoto(1000, directed=True, edge_probability=0.3, **make)
    assert not torch.equal(directed.edges, directed.edges.mT)
    assert directed.types.double().mean() == pytest.approx(0.3, abs=0.02)
    assert 1 <= made.attributes.min() < 1.1
    assert 9.9 < made.attributes.max() <= 10
    with pytest.raises(ValueError, match=r"edge_probability must lie in \[0, 1\], got 2"):
        kuramoto(2, edge_probability=2)


@pytest.mark.parametrize("device", devices())
def test_a_seed_means_the_same_on_every_device(device):
    there = kuramoto(20, frames=10, generator=torch.Generator().manual_seed(0), device=device)
    here = kuramoto(20, frames=10, generator=torch.Generator().manual_seed(0))
    assert there.states.device.type == there.edges.device.type == device.type
    assert torch.equal(there.edges.cpu(), here.edges)
    torch.testing.assert_close(there.states.cpu(), here.states, rtol=0, atol=1e-10)
