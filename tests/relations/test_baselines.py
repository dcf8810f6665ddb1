"""Baselines: against numpy, against all thresholds tried one by one, and on motions known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.relations.baselines import (
    constant_velocity,
    fit_threshold,
    full_graph,
    path_correlation,
    state_correlation,
    static,
    true_graph,
)
from course_lib.relations.graphs import complete_graph, edges_to_types
from course_lib.relations.lstm_baseline import LSTMBaseline, train_lstm
from tests.devices import devices


def paths(simulations=3, bodies=4, frames=7, features=4):
    return torch.randn(simulations, bodies, frames, features, dtype=torch.float64)


def test_path_correlations_are_numpys():
    states = paths()
    whole, motion = path_correlation(states), path_correlation(states, centred=True)
    senders, receivers = complete_graph(4)
    for s in range(3):
        matrix = np.corrcoef(states[s].flatten(1).numpy())
        for e, (j, i) in enumerate(zip(senders.tolist(), receivers.tolist(), strict=True)):
            assert whole[s, e].item() == pytest.approx(matrix[i, j])
            single = [np.corrcoef(states[s, i, :, d], states[s, j, :, d])[0, 1] for d in range(4)]
            assert motion[s, e].item() == pytest.approx(np.mean(single))


@settings(max_examples=20, deadline=None)
@given(
    bodies=st.integers(2, 5),
    frames=st.integers(2, 6),
    seed=st.integers(0, 99),
    centred=st.booleans(),
)
def test_correlations_follow_the_bodies_and_lie_between_minus_one_and_one(
    bodies, frames, seed, centred
):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(2, bodies, frames, 3, generator=generator, dtype=torch.float64)
    order = torch.randperm(bodies, generator=generator)
    scores = path_correlation(states, centred)
    assert scores.abs().max() <= 1 + 1e-12
    matrix = torch.zeros(2, bodies, bodies, dtype=torch.float64)
    senders, receivers = complete_graph(bodies)
    matrix[:, receivers, senders] = scores
    torch.testing.assert_close(
        path_correlation(states[:, order], centred), edges_to_types(matrix[:, order][:, :, order])
    )
    torch.testing.assert_close(matrix, matrix.mT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_body_that_stands_still_correlates_with_none(dtype):
    states = paths(1, 3).to(dtype)
    states[:, 1] = 0.1  # no binary fraction: its mean is off by rounding
    with_it = (complete_graph(3) == 1).any(0)
    for centred in (False, True):
        scores = path_correlation(states, centred)
        assert (scores[:, with_it] == 0).all() and (scores[:, ~with_it] != 0).all()
    assert (state_correlation(torch.full((1, 2, 5), 0.3, dtype=dtype)) == 0).all()


def test_correlations_refuse_other_shapes():
    with pytest.raises(ValueError, match=r"T >= 2, got \[3, 4, 1, 4\]"):
        path_correlation(paths(frames=1))
    with pytest.raises(ValueError, match=r"\[S, N, H\]"):
        state_correlation(paths())


@settings(max_examples=60, deadline=None)
@given(
    pairs=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=1, max_size=12),
    flip=st.booleans(),
)
def test_no_threshold_is_better_than_the_fitted_one(pairs, flip):
    scores = torch.tensor([score / 3 * (-1 if flip else 1) for score, _ in pairs])
    types = torch.tensor([kind for _, kind in pairs])
    right = (fit_threshold(scores, types)(scores) == types).sum()
    cuts = [-9.0, *(scores + 1e-3).tolist(), *(scores - 1e-3).tolist()]
    tried = [
        ((sign * scores > sign * cut).long() == types).sum() for cut in cuts for sign in (1, -1)
    ]
    assert right == max(tried)


def test_a_threshold_lies_in_the_widest_gap_and_keeps_shapes():
    scores = torch.tensor([[0.0, 0.1], [0.9, 1.0]])
    found = fit_threshold(scores, torch.tensor([[0, 0], [1, 1]]))
    assert found.cut == pytest.approx(0.5) and found.sign == 1
    assert found(torch.tensor([[[0.4, 0.6]]])).tolist() == [[[0, 1]]]
    turned = fit_threshold(scores, torch.tensor([[1, 1], [0, 0]]))
    assert turned.sign == -1 and turned(scores).tolist() == [[1, 1], [0, 0]]


def test_a_threshold_needs_two_types_of_edges():
    with pytest.raises(ValueError, match="two types"):
        fit_threshold(torch.zeros(2), torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="NaN"):
        fit_threshold(torch.tensor([0.0, torch.nan]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"\[3\] and \[2\]"):
        fit_threshold(torch.zeros(3), torch.zeros(2))


def test_nothing_moves_and_nothing_pulls():
    last = paths(2, 3)[:, :, 0]
    assert torch.equal(static(last, 4), torch.stack([last] * 4, 2))
    ahead = constant_velocity(last, 5, dt=0.2)
    for step in range(5):
        where = last[..., :2] + 0.2 * (step + 1) * last[..., 2:]
        torch.testing.assert_close(ahead[:, :, step], torch.cat([where, last[..., 2:]], -1))
    with pytest.raises(ValueError, match="D = 3"):
        constant_velocity(last[..., :3], 5, dt=0.2)


def test_graphs_as_certain_edges():
    types = torch.tensor([[0, 2, 1, 0, 0, 1]])
    assert torch.equal(true_graph(types, 3).argmax(-1), types)
    everyone = full_graph(paths(2, 3), 3, edge_type=2)
    assert everyone.shape == (2, 6, 3) and everyone.dtype == torch.float64
    assert (everyone.argmax(-1) == 2).all() and (everyone.sum(-1) == 1).all()


@pytest.mark.parametrize("bodies", [None, 3])
def test_predictions_use_the_past_only_and_read_as_told(bodies):
    model = LSTMBaseline(hidden_size=5, bodies=bodies).double()
    states = paths(2, 3, 9)
    told = model(states)  # one step ahead everywhere
    later = states.clone()
    later[:, :, 6:] += 1
    torch.testing.assert_close(model(later)[:, :, :6], told[:, :, :6])
    assert (model(later)[:, :, 6:] != told[:, :, 6:]).all()
    own = model(states, burn_in=4)
    torch.testing.assert_close(own[:, :, :4], told[:, :, :4])
    torch.testing.assert_close(own, model(torch.cat([states[:, :, :4], later[:, :, 4:]], 2), 4))
    torch.testing.assert_close(own[:, :, 3:], model.rollout(states[:, :, :4], 5))
    fed = torch.cat([states[:, :, :4], own[:, :, 3:7]], 2)  # its predictions, given as the truth
    torch.testing.assert_close(model(fed)[:, :, 3:], own[:, :, 3:7])


def test_a_single_net_sees_one_body_and_a_joint_one_all():
    states = paths(2, 3, 6)
    other = states.clone()
    other[:, 2] += 1
    single, joint = (LSTMBaseline(hidden_size=4, bodies=n).double() for n in (None, 3))
    assert torch.equal(single(states)[:, :2], single(other)[:, :2])
    assert (joint(states)[:, :2] != joint(other)[:, :2]).all()
    torch.testing.assert_close(single(states.flip(1)), single(states).flip(1))
    hidden = single.last_hidden(states)
    assert hidden.shape == (2, 3, 4)
    assert torch.equal(hidden[:, :2], single.last_hidden(other)[:, :2])
    with pytest.raises(ValueError, match="no states of single bodies"):
        joint.last_hidden(states)
    with pytest.raises(ValueError, match="for 3 bodies, got 2"):
        joint(states[:, :2])
    with pytest.raises(ValueError, match=r"1 \.\. 5 frames"):
        single(states, burn_in=6)


def swinging(count):
    """Bodies on circles: the next state is a fixed linear map of the last."""
    angle = torch.rand(count, 2, 1) * 6.3 + 0.3 * torch.arange(12)
    place = torch.stack([angle.cos(), angle.sin()], -1)
    return torch.cat([place, 0.3 * place.flip(-1) * torch.tensor([-1.0, 1.0])], -1)


@pytest.mark.parametrize("bodies", [None, 2])
def test_training_beats_standing_still_and_goes_on_from_a_checkpoint(bodies, tmp_path):
    states, tests = swinging(64), swinging(32)

    def trained(epochs, **options):
        torch.manual_seed(1)
        model = LSTMBaseline(hidden_size=16, bodies=bodies)
        generator = torch.Generator().manual_seed(1)
        options |= {"lr": 5e-3, "batch_size": 16, "generator": generator}
        history = train_lstm(model, states, epochs=epochs, burn_in=6, **options)
        return model, history

    model, history = trained(16)
    assert history.train_loss[-1] < history.train_loss[0] / 3
    with torch.no_grad():
        error = (model.rollout(tests[:, :, :8], 4) - tests[:, :, 8:]).square().mean()
    still = (static(tests[:, :, 7], 4) - tests[:, :, 8:]).square().mean()
    assert error < still / 2
    _, whole = trained(2, checkpoint=tmp_path / "run.pt")
    _, again = trained(2, checkpoint=tmp_path / "run.pt")
    assert again == whole


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees_with_the_cpu(device):
    states = paths()
    model = LSTMBaseline(hidden_size=6, bodies=4).double()
    expected = model(states, burn_in=3)
    expected.square().sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model.to(device)
    found = model(states.to(device), burn_in=3)
    found.square().sum().backward()
    torch.testing.assert_close(found.cpu(), expected)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad.cpu(), gradient, atol=1e-8, rtol=1e-6)
    for centred in (False, True):
        torch.testing.assert_close(
            path_correlation(states.to(device), centred).cpu(), path_correlation(states, centred)
        )
