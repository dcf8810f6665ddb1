"""Interaction networks: the four steps by hand, symmetries, rollouts, training, devices."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.relations.graphs import complete_graph
from course_lib.relations.interaction_network import (
    InteractionNetwork,
    accelerations,
    train_interaction_network,
)
from course_lib.relations.simulate import n_body
from tests.devices import devices

F64 = torch.float64
EDGES = torch.tensor([[1, 2, 0, 0], [0, 0, 1, 3]])  # senders, receivers; body 2 receives nothing


def network(relative=True, **sizes):
    torch.manual_seed(0)
    return InteractionNetwork(**({"hidden_size": 8, "effect_size": 5} | sizes), relative=relative)


def states(*leading, seed=0):
    return torch.randn(*leading, 4, 4, dtype=F64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("relative", [False, True])
def test_the_four_steps_by_hand(relative):
    sizes = {"node_attributes": 1, "relation_attributes": 2, "external": 3}
    model, o = network(relative, **sizes).double(), states(6)
    mass, stiff, push = (torch.randn(6, 4, n, dtype=F64) for n in (1, 2, 3))
    acceleration = model(o, EDGES, mass, stiff, push)
    effects = torch.zeros(6, 4, 5, dtype=F64)
    for k, (j, i) in enumerate(EDGES.T.tolist()):
        both = [o[:, j] - o[:, i]] if relative else [o[:, i], o[:, j]]
        effects[:, i] += model.phi_r(torch.cat([*both, mass[:, i], mass[:, j], stiff[:, k]], -1))
    own = o[..., 2:] if relative else o
    expected = model.phi_o(torch.cat([own, mass, push, effects], -1))
    torch.testing.assert_close(acceleration, expected)
    marshalled = model.marshal(o, EDGES, mass, stiff)
    collected = model.aggregate(model.phi_r(marshalled), o, EDGES, mass, push)
    torch.testing.assert_close(model.phi_o(collected), expected)
    assert (collected[:, 2, -5:] == 0).all()


@pytest.mark.parametrize("relative", [False, True])
@given(order=st.permutations(range(4)), shift=st.sampled_from([-3.0, 0.5, 40.0]))
@settings(max_examples=10, deadline=None)
def test_it_follows_a_relabelling_and_a_shift(relative, order, shift):
    model, o = network(relative, node_attributes=1).double(), states(2)
    mass = torch.rand(2, 4, 1, dtype=F64, generator=torch.Generator().manual_seed(1))
    place = torch.tensor(order).argsort()  # body order[i] becomes body i
    moved = model(o[:, order], place[EDGES][:, [3, 1, 0, 2]], mass[:, order])
    torch.testing.assert_close(moved, model(o, EDGES, mass)[:, order])
    shifted = o.clone()
    shifted[..., :2] += shift
    same = torch.allclose(model(shifted, EDGES, mass), model(o, EDGES, mass))
    assert same == relative


def test_a_body_feels_only_those_that_act_on_it():
    model, o = network().double(), states().requires_grad_()
    slope = torch.autograd.grad(model(o, EDGES)[3].sum(), o)[0].abs().sum(1)
    assert ((slope > 0) == torch.tensor([True, False, False, True])).all()
    alone = model(o, torch.empty(2, 0, dtype=torch.int64))
    assert alone.shape == (4, 2) and alone.isfinite().all()


def test_a_step_is_exact_for_a_constant_force():
    model, o = network(dt=0.5).double(), states()
    with torch.no_grad():
        for parameter in model.phi_o.parameters():
            parameter.zero_()
        model.phi_o[-1].bias.copy_(torch.tensor([0.0, -10.0]))
    ahead = model.rollout(o, EDGES, 4)
    assert ahead.shape == (4, 4, 4)
    fall = torch.tensor([0.0, -10.0], dtype=F64)
    place = o[:, :2] + 2 * o[:, 2:] + fall * 2**2 / 2
    torch.testing.assert_close(ahead[:, 3], torch.cat([place, o[:, 2:] + 2 * fall], -1))
    torch.testing.assert_close(
        accelerations(ahead, 0.5), fall.expand(4, 3, 2), rtol=1e-9, atol=1e-9
    )


def test_it_learns_gravity_and_takes_it_to_more_bodies():
    generator = torch.Generator().manual_seed(0)
    train, few, many = (
        n_body(s, n, 25, generator=generator) for s, n in ((48, 3), (24, 3), (24, 5))
    )
    torch.manual_seed(0)
    model = InteractionNetwork(node_attributes=1, hidden_size=32, dt=train.interval)
    mass = train.attributes.float().unsqueeze(-1)
    graph = complete_graph(3)
    history = train_interaction_network(
        model,
        train.states.float(),
        graph,
        mass,
        epochs=15,
        batch_size=64,
        lr=4e-3,
        generator=generator,
    )
    assert history.train_loss[-1] < 0.6 < history.train_loss[0]
    for drawn in (few, many):
        x, mass = drawn.states.float(), drawn.attributes.float().unsqueeze(-1)
        ahead = model.rollout(x[:, :, 0], complete_graph(x.size(1)), 5, mass)[:, :, -1, :2]
        coasting = x[:, :, 0, :2] + 5 * drawn.interval * x[:, :, 0, 2:]
        errors = [(guess - x[:, :, 5, :2]).square().mean() for guess in (ahead, coasting)]
        assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("device", devices())
def test_forward_and_backward_agree_on_every_device(device):
    model, found = network(node_attributes=1).double(), []
    for place in ("cpu", device):
        own = copy.deepcopy(model).to(place)
        out = own(
            states(3).to(place), EDGES.to(place), torch.ones(3, 4, 1, dtype=F64, device=place)
        )
        out.square().sum().backward()
        found.append([out.detach().cpu(), *(p.grad.cpu() for p in own.parameters())])
    torch.testing.assert_close(found[1], found[0])
    single = network()(states(3).float(), EDGES)
    assert single.dtype == torch.float32


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"states must be \[..., N, 4\]"):
        network()(torch.randn(4, 3), EDGES)
    with pytest.raises(ValueError, match=r"attributes must be \[4, 1\], got None"):
        network(node_attributes=1)(torch.randn(4, 4), EDGES)
    with pytest.raises(ValueError, match=r"external must be None, got \[4, 1\]"):
        network()(torch.randn(4, 4), EDGES, None, None, torch.ones(4, 1))
    with pytest.raises(ValueError, match="names node 3"):
        network()(torch.randn(3, 4), EDGES)
    with pytest.raises(ValueError, match="dt positive"):
        InteractionNetwork(dt=0.0)
