"""Affine couplings: inverse, determinant by autograd, and a density that integrates to one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform

from course_lib.latent.families import train_by_likelihood
from course_lib.latent.flows import AffineCoupling, Flow
from course_lib.latent.toy import plane_grid, total_probability, two_moons, two_moons_log_prob
from tests.devices import devices

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def shaken(flow, size=0.3):
    """The flow in float64 with random weights: an untrained one is the identity."""
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=size)
    return flow.double()


def test_an_untrained_flow_is_the_identity():
    x = torch.randn(5, 4)
    z, log_det = Flow(4)(x)
    assert torch.equal(z, x) and torch.equal(log_det, torch.zeros(5))


@given(size=st.integers(2, 6), layers=st.integers(2, 5), seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_inverse_is_exact_and_the_determinant_autograds(size, layers, seed):
    torch.manual_seed(seed)
    flow = shaken(Flow(size, layers=layers, hidden_size=8))
    x = torch.randn(3, size, dtype=F64)
    z, log_det = flow(x)
    torch.testing.assert_close(flow.inverse(z), x, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(flow(flow.inverse(x))[0], x, atol=1e-9, rtol=1e-9)
    for row, own in zip(x, log_det):
        jacobian = torch.autograd.functional.jacobian(lambda v: flow(v[None])[0][0], row)
        torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, own)


def test_a_coupling_keeps_its_half_and_reads_nothing_else():
    kept = torch.tensor([True, False, True, False])
    coupling = shaken(AffineCoupling(kept, 8))
    x = torch.randn(4, dtype=F64)
    z, _ = coupling(x[None])
    assert torch.equal(z[0, kept], x[kept]) and (z[0, ~kept] != x[~kept]).all()
    jacobian = torch.autograd.functional.jacobian(lambda v: coupling(v[None])[0][0], x)
    among = jacobian[~kept][:, ~kept]  # of the changed by the changed: a diagonal
    assert torch.equal(among, among.diag().diag()) and (among.diag() > 0).all()
    assert (jacobian[~kept][:, kept] != 0).all()


def test_every_entry_is_changed():
    flow = shaken(Flow(3, layers=2))
    x = torch.randn(1, 3, dtype=F64)
    assert (flow(x)[0] != x).all()


def test_with_constant_scale_and_shift_it_is_torchs_affine_transform():
    """Two layers whose networks ignore x: log_prob and its gradient are those of a Gaussian."""
    flow = Flow(2, layers=2, hidden_size=3).double()
    raw, shift = torch.tensor([0.6, -0.9], dtype=F64), torch.tensor([0.3, 1.2], dtype=F64)
    with torch.no_grad():
        for coupling in flow.couplings:
            coupling.network[-1].bias.copy_(torch.cat([raw, shift]))
    s = 2 * torch.tanh(raw / 2)
    peer = TransformedDistribution(
        Independent(Normal(torch.zeros(2, dtype=F64), 1.0), 1),
        [AffineTransform(-shift * torch.exp(-s), torch.exp(-s), event_dim=1)],
    )
    x = torch.randn(6, 2, dtype=F64, requires_grad=True)
    slopes = []
    for log_prob in (flow.log_prob(x), peer.log_prob(x)):
        slopes.append(torch.autograd.grad(log_prob.sum(), x)[0])
    torch.testing.assert_close(flow.log_prob(x), peer.log_prob(x))
    torch.testing.assert_close(*slopes)


def test_a_random_flows_density_integrates_to_one():
    flow = shaken(Flow(2, layers=4, hidden_size=8), 0.2)
    assert total_probability(flow.log_prob, plane_grid(240, reach=12.0)) == pytest.approx(
        1, abs=0.01
    )


def test_a_trained_flow_is_a_density_nearer_to_the_moons_than_a_gaussian():
    torch.manual_seed(0)
    generator = seeded()
    x, held_out = two_moons(1000, generator), two_moons(1000, generator)
    flow = Flow(2, layers=4, hidden_size=32)
    before = flow.log_prob(held_out).mean()
    train_by_likelihood(flow, x, epochs=25, batch_size=100, generator=generator)
    after, best = flow.log_prob(held_out).mean(), two_moons_log_prob(held_out).mean()
    gaussian = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    assert before < gaussian.log_prob(held_out).mean() < after - 0.2 < best
    assert total_probability(lambda p: flow.log_prob(p.float())) == pytest.approx(1, abs=0.01)
    with torch.no_grad():
        back = flow.inverse(flow(held_out)[0])
    torch.testing.assert_close(back, held_out, atol=1e-4, rtol=1e-4)


def test_samples_are_those_of_the_density():
    """E[x] of 20,000 samples against the integral of x p(x) over a grid."""
    flow = shaken(Flow(2, layers=4, hidden_size=8), 0.2)
    drawn = flow.sample(20_000, seeded())
    points, area = plane_grid(240, reach=12.0)
    with torch.no_grad():
        mass = flow.log_prob(points).exp() * area
    for power in (1, 2):
        expected = (mass[:, None] * points**power).sum(0)
        found = drawn**power
        z_score = (found.mean(0) - expected) / found.std(0) * len(drawn) ** 0.5
        assert z_score.abs().max() < 4
    assert torch.equal(flow.sample(3, seeded(5)), flow.sample(3, seeded(5)))


def test_wrong_shapes_and_masks_are_refused():
    with pytest.raises(ValueError, match="must be at least 2, got 1 and 6"):
        Flow(1)
    with pytest.raises(ValueError, match="got 2 and 1"):
        Flow(2, layers=1)
    with pytest.raises(ValueError, match=r"takes \[B, 2\], got \[3\]"):
        Flow(2).log_prob(torch.zeros(3))
    for kept in ([True, True], [False, False]):
        with pytest.raises(ValueError, match="true and false"):
            AffineCoupling(torch.tensor(kept))
    with pytest.raises(ValueError, match=r"got torch\.float32"):
        AffineCoupling(torch.tensor([1.0, 0.0]))


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees(device):
    flow, x = shaken(Flow(3, layers=3, hidden_size=8)), torch.randn(5, 3, dtype=F64)
    expected = flow.log_prob(x)
    expected.sum().backward()
    slope = flow.couplings[0].network[0].weight.grad.clone()
    flow.zero_grad()
    there = flow.float().to(device)
    found = there.log_prob(x.float().to(device))
    found.sum().backward()
    torch.testing.assert_close(found.cpu().double(), expected, atol=1e-4, rtol=1e-4)
    own = there.couplings[0].network[0].weight.grad.cpu().double()
    torch.testing.assert_close(own, slope, atol=1e-3, rtol=1e-3)
    assert there.sample(2, seeded()).device.type == device.type
