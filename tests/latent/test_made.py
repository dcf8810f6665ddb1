"""MADE: no output sees its own entry or a later one, and the density is one."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.distributions import Categorical, MixtureSameFamily, Normal

from course_lib.latent.families import train_by_likelihood
from course_lib.latent.made import MADE, MaskedLinear, made_masks
from course_lib.latent.toy import plane_grid, total_probability, two_moons, two_moons_log_prob
from tests.devices import devices

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def jacobian_of(model, x):
    """Whether output d of a row depends on input e: bool [D, D], over all outputs of d."""
    slopes = torch.autograd.functional.jacobian(lambda v: model.parameters_of(v[None])[0], x)
    return (slopes != 0).any(1)  # [D, outputs, D] -> [D, D]


@given(
    size=st.integers(1, 7),
    hidden=st.lists(st.integers(8, 20), min_size=1, max_size=3),
    components=st.integers(1, 3),
    seed=st.integers(0, 999),
)
@settings(max_examples=25, deadline=None)
def test_the_jacobian_is_strictly_lower_triangular_in_the_order(size, hidden, components, seed):
    torch.manual_seed(seed)
    order = torch.randperm(size)
    model = MADE(size, hidden, components=components, order=order).double()
    depends = jacobian_of(model, torch.randn(size, dtype=F64))
    assert not (depends & (order[None, :] >= order[:, None])).any()


def test_every_earlier_entry_is_seen():
    """Wide enough, the mask leaves each way from an earlier entry open."""
    for size in (2, 3, 6):
        ways = [mask.double() for mask in made_masks(size, (24, 24))]
        open_ways = ways[2] @ ways[1] @ ways[0] > 0
        assert torch.equal(open_ways, torch.ones(size, size).tril(-1).bool())


def test_masks_by_hand():
    first, last = made_masks(3, (4,), outputs=2)  # hidden degrees 1, 2, 1, 2
    assert first.int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0]]
    assert last.int().tolist() == [[0] * 4] * 2 + [[1, 0, 1, 0]] * 2 + [[1] * 4] * 2


def test_a_masked_weight_has_no_say_and_no_gradient():
    mask = torch.tensor([[True, False], [True, True]])
    layer, x = MaskedLinear(mask), torch.randn(3, 2)
    kept = layer.weight.detach().clone() * mask
    torch.testing.assert_close(layer(x), x @ kept.T + layer.bias)
    layer(x).sum().backward()
    assert layer.weight.grad[0, 1] == 0 and (layer.weight.grad[mask] != 0).all()


def test_pixels_probabilities_sum_to_one_over_all_pictures():
    model = MADE(6, (20,), "bernoulli", order=torch.tensor([3, 0, 5, 1, 4, 2])).double()
    pictures = torch.tensor(list(itertools.product((0.0, 1.0), repeat=6)), dtype=F64)
    assert model.log_prob(pictures).exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_pixels_are_drawn_as_their_probabilities_say():
    torch.manual_seed(1)
    model = MADE(3, (12,), "bernoulli", order=torch.tensor([2, 0, 1]))
    torch.nn.init.normal_(model.network[-1].weight, std=2.0)
    pictures = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3)))
    drawn = model.sample(20_000, seeded())
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    counts = torch.bincount((drawn @ torch.tensor([4.0, 2.0, 1.0])).long(), minlength=8)
    expected = model.log_prob(pictures).exp().detach().double()
    expected = expected / expected.sum() * len(drawn)
    assert chisquare(counts.numpy(), expected.numpy()).pvalue > 1e-3


def test_values_and_gradients_are_those_of_torchs_mixture():
    torch.manual_seed(2)
    model, x = MADE(3, (16,), components=4).double(), torch.randn(7, 3, dtype=F64)
    weights = list(model.parameters())
    logits, mean, log_var = model.parameters_of(x).chunk(3, -1)
    peer = MixtureSameFamily(Categorical(logits=logits), Normal(mean, (log_var / 2).exp()))
    results = [model.log_prob(x), peer.log_prob(x).sum(-1)]
    torch.testing.assert_close(*results)
    slopes = [torch.autograd.grad(result.sum(), weights) for result in results]
    for ours, theirs in zip(*slopes):
        torch.testing.assert_close(ours, theirs)


def test_trained_on_the_moons_it_is_a_density_near_the_best():
    torch.manual_seed(0)
    generator = seeded()
    x, held_out = two_moons(1000, generator), two_moons(1000, generator)
    model = MADE(2, (32, 32))
    train_by_likelihood(model, x, epochs=25, batch_size=100, generator=generator)
    gaussian = torch.distributions.MultivariateNormal(x.mean(0), x.T.cov())
    with torch.no_grad():
        mean = model.log_prob(held_out).mean()
    assert gaussian.log_prob(held_out).mean() < mean - 0.3
    assert mean < two_moons_log_prob(held_out).mean()
    assert total_probability(lambda p: model.log_prob(p.float())) == pytest.approx(1, abs=0.01)
    # samples are those of the density: their mean log p is minus its entropy, from a grid
    points, area = plane_grid()
    with torch.no_grad():
        log_p = model.log_prob(points.float())
        drawn = model.log_prob(model.sample(5000, generator))
    entropy = -(log_p.exp() * log_p).sum() * area
    assert abs(drawn.mean() + entropy) < 4 * drawn.std() / len(drawn) ** 0.5


def test_the_order_decides_what_is_drawn_first():
    order = torch.tensor([2, 0, 1])
    assert MADE(3, order=order).sequence.tolist() == [1, 2, 0]
    assert torch.equal(MADE(3).sequence, torch.arange(3))


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="bernoulli"):
        MADE(2, likelihood="poisson")
    with pytest.raises(ValueError, match="components must be at least 1"):
        MADE(2, components=0)
    with pytest.raises(ValueError, match="hidden layer"):
        made_masks(3, ())
    with pytest.raises(ValueError, match=r"permutation of 0\.\.2, got \[0, 0, 2\]"):
        made_masks(3, (4,), order=torch.tensor([0, 0, 2]))
    with pytest.raises(ValueError, match=r"takes \[B, 2\], got \[4, 3\]"):
        MADE(2).log_prob(torch.zeros(4, 3))


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees(device):
    model, x = MADE(3).double(), torch.randn(5, 3, dtype=F64)
    expected = model.log_prob(x)
    expected.sum().backward()
    slope = model.network[0].weight.grad.clone()
    model.zero_grad()
    there = model.float().to(device)
    found = there.log_prob(x.float().to(device))
    found.sum().backward()
    torch.testing.assert_close(found.cpu().double(), expected, atol=1e-4, rtol=1e-4)
    own = there.network[0].weight.grad.cpu().double()
    torch.testing.assert_close(own, slope, atol=1e-3, rtol=1e-3)
    assert there.sample(2, seeded()).device.type == device.type
