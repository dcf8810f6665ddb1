"""Granger scores against a loop of least-squares fits; the series they read; what a hidden cause does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.relations.causal import (
    delay_embedding,
    edge_auroc,
    granger_scores,
    link_scores,
    var_process,
)
from course_lib.relations.graphs import complete_graph, edges_to_types, types_to_edges
from tests.devices import devices


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def plain_granger(states, lags):
    """One simulation [N, T, D], two fits an edge, as the definition has it."""
    states = states.numpy()
    bodies, frames, features = states.shape

    def residual(target, sources):
        columns = [np.ones(frames - lags)]
        for j in sources:
            columns += [
                states[j, lags - lag : frames - lag, d]
                for lag in range(1, lags + 1)
                for d in range(features)
            ]
        design = np.stack(columns, 1)
        fitted = design @ np.linalg.lstsq(design, target, rcond=None)[0]
        return np.square(target - fitted).sum()

    scores = []
    for j, i in complete_graph(bodies).T.tolist():
        others = [k for k in range(bodies) if k != j]
        score = 0.0
        for d in range(features):
            target = states[i, lags:, d]
            score += np.log(residual(target, others) / residual(target, range(bodies)))
        scores.append(score)
    return torch.tensor(scores)


@pytest.mark.parametrize(("features", "lags"), [(1, 1), (1, 3), (2, 2)])
def test_scores_are_those_of_two_fits_an_edge(features, lags):
    states = torch.randn(2, 4, 40, features, dtype=torch.float64, generator=seeded()).cumsum(2)
    states[:, 1, 1:] += states[:, 0, :-1]
    found = granger_scores(states, lags, ridge=0.0)
    for s in range(2):
        torch.testing.assert_close(found[s], plain_granger(states[s], lags), rtol=1e-6, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), scale=st.floats(0.01, 100), shift=st.floats(-10, 10))
def test_scores_follow_the_bodies_and_ignore_units(seed, scale, shift):
    generator = seeded(seed)
    states = torch.randn(1, 4, 30, 2, generator=generator, dtype=torch.float64)
    order = torch.randperm(4, generator=generator)
    scores = granger_scores(states)
    assert (scores >= 0).all()
    torch.testing.assert_close(granger_scores(scale * states + shift), scores, rtol=1e-4, atol=1e-7)
    moved = edges_to_types(types_to_edges(scores)[:, order][:, :, order])
    torch.testing.assert_close(granger_scores(states[:, order]), moved, rtol=1e-5, atol=1e-8)


def test_copies_and_constants_give_numbers():
    states = torch.randn(1, 3, 30, 1, generator=seeded())
    states[:, 1] = states[:, 0]
    states[:, 2] = 3.0
    assert granger_scores(states).isfinite().all()


def test_scores_find_edges_and_lags():
    process = var_process(100, 5, 150, generator=seeded())
    types = edges_to_types(process.edges)
    assert edge_auroc(granger_scores(process.states, 2), types) > 0.9
    late = edges_to_types(process.lags) == 2
    short, long = (granger_scores(process.states, lags) for lags in (1, 2))
    assert long[late].mean() > 2.5 * short[late].mean()  # an effect that comes later is not seen


def test_too_few_frames_are_refused():
    with pytest.raises(ValueError, match="10 frames are too few to fit 8 coefficients"):
        granger_scores(torch.randn(1, 4, 10, 1), lags=2)
    with pytest.raises(ValueError, match="lags >= 1"):
        granger_scores(torch.randn(1, 4, 10, 1), lags=0)


def test_a_process_is_its_equation():
    process = var_process(4, 3, 60, noise=0.0, confounder=0.5, generator=seeded(3))
    assert process.states.abs().max() == 0  # nothing new, nothing at all
    process = var_process(400, 4, 60, memory=0.4, max_lag=3, confounder=0.7, generator=seeded(3))
    x, h = process.states[..., 0], process.hidden[:, 0, :, 0]
    expected = 0.4 * x[:, :, 2:-1]
    for lag in (1, 2, 3):
        past = x[:, :, 3 - lag : 60 - lag]
        expected = expected + (process.weights * (process.lags == lag)) @ past
    rows = torch.arange(400)
    first, second = process.misled.T
    expected[rows, first] += 0.7 * h[:, 2:-1]
    expected[rows, second] += 0.7 * h[:, 1:-2]
    new = x[:, :, 3:] - expected
    assert new.mean().abs() < 0.02 and (new.std() - 1).abs() < 0.02
    correlation = torch.corrcoef(new.transpose(0, 1).flatten(1))
    assert (correlation - torch.eye(4)).abs().max() < 0.03


def test_the_graph_of_a_process():
    process = var_process(300, 5, 1, edge_probability=0.3, confounder=1.0, generator=seeded())
    edges, rows = process.edges, torch.arange(300)
    assert edges.diagonal(dim1=1, dim2=2).sum() == 0
    first, second = process.misled.T
    assert (first != second).all()
    assert edges[rows, first, second].sum() == edges[rows, second, first].sum() == 0
    assert ((process.lags > 0) == (edges == 1)).all() and process.lags.max() == 2
    total = process.weights.abs().sum(2)
    torch.testing.assert_close(total, 0.45 * (edges.sum(2) > 0).double())
    free = var_process(300, 5, 1, edge_probability=0.3, generator=seeded())
    assert free.hidden is None and free.misled is None
    assert (edges_to_types(free.edges).double().mean() - 0.3).abs() < 0.02


def test_a_series_stays_bounded_and_repeats():
    one, again = (var_process(3, 6, 2000, edge_probability=1.0, generator=seeded(5)) for _ in "ab")
    assert torch.equal(one.states, again.states)
    assert one.states[:, :, 1000:].std() < 2 * one.states[:, :, :1000].std() < 10


@pytest.mark.parametrize(
    "options",
    [{"memory": 0.6}, {"coupling": 0.5}, {"bodies": 1}, {"edge_probability": 1.2}, {"max_lag": 0}],
)
def test_a_process_refuses_what_it_cannot_be(options):
    with pytest.raises(ValueError):
        var_process(2, **options)


def test_a_hidden_cause_draws_an_edge_that_is_not_there():
    process = var_process(200, 5, 200, confounder=0.8, generator=seeded())
    rows, (first, second) = torch.arange(200), process.misled.T
    seen = types_to_edges(granger_scores(process.states))
    spurious, backwards = seen[rows, second, first].mean(), seen[rows, first, second].mean()
    assert spurious > 8 * backwards  # from the body it reaches first to the other
    everything = torch.cat([process.states, process.hidden], 1)
    observed = types_to_edges(granger_scores(everything))[:, :5, :5]
    assert observed[rows, second, first].mean() < 2 * backwards
    types = edges_to_types(process.edges)
    scores = [edge_auroc(edges_to_types(matrix), types) for matrix in (seen, observed)]
    assert scores[0] < scores[1] - 0.02


def test_scores_of_an_encoder():
    logits = torch.tensor([[[0.0, 0.0, 0.0], [50.0, 0.0, 0.0], [-50.0, 0.0, 0.0]]]).double()
    found = link_scores(logits)
    torch.testing.assert_close(found[0, 0], torch.tensor(2 / 3).double())
    assert 0 < found[0, 1] < 1e-20 and found[0, 2] == 1  # not rounded to 0
    torch.testing.assert_close(link_scores(logits.roll(1, -1), no_edge=1), found)
    assert edge_auroc(found, torch.tensor([[1, 0, 2]])) == 1.0
    assert edge_auroc(-found, torch.tensor([[1, 0, 2]])) == 0.0


def test_delays_are_features():
    states = torch.arange(2 * 3 * 6 * 2.0).view(2, 3, 6, 2)
    found = delay_embedding(states, 3)
    assert found.shape == (2, 3, 4, 6)
    for t in range(4):
        expected = torch.cat([states[:, :, t + 2], states[:, :, t + 1], states[:, :, t]], -1)
        assert torch.equal(found[:, :, t], expected)
    assert torch.equal(delay_embedding(states, 1), states)
    with pytest.raises(ValueError, match=r"1 \.\. 6"):
        delay_embedding(states, 7)


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees_with_the_cpu(device):
    here = var_process(3, 4, 40, confounder=0.5, generator=seeded())
    there = var_process(3, 4, 40, confounder=0.5, generator=seeded(), device=device)
    assert there.states.device.type == there.misled.device.type == device.type
    torch.testing.assert_close(there.states.cpu(), here.states)
    torch.testing.assert_close(granger_scores(there.states).cpu(), granger_scores(here.states))
