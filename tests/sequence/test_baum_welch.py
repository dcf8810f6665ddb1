"""Expectation maximisation: hmmlearn's step, counts as gradients, and a likelihood that never falls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.sequence.baum_welch import (
    baum_welch,
    expected_counts,
    maximise,
    random_hidden_markov,
)
from course_lib.sequence.hidden_markov import HiddenMarkov, forward, posteriors, sample
from tests.devices import devices
from tests.sequence.test_hidden_markov import F64, generator, peer_of


@pytest.mark.parametrize(("n", "k", "steps"), [(3, 4, 30), (2, 2, 100), (4, 3, 1)])
def test_one_step_is_hmmlearns(n, k, steps):
    model = random_hidden_markov(n, k, generator=generator(n))
    x = torch.randint(k, (5, steps), generator=generator())
    peer = peer_of(model, n_iter=1, tol=0, init_params="", params="ste")
    peer.fit(x.flatten()[:, None].numpy(), lengths=[steps] * 5)
    ours, history = baum_welch(model, x, 1)
    np.testing.assert_allclose(ours.initial, peer.startprob_, rtol=1e-9)
    np.testing.assert_allclose(ours.emission, peer.emissionprob_, rtol=1e-9)
    if steps > 1:
        np.testing.assert_allclose(ours.transition, peer.transmat_, rtol=1e-9)
    assert history[0].item() == pytest.approx(peer.monitor_.history[0], rel=1e-12)


def test_expected_counts_are_the_gradients_of_the_log_likelihood():
    """d log p / d log theta = the expected number of times that theta was used."""
    model = random_hidden_markov(3, 4, 2, generator())
    x = torch.randint(4, (5, 12), generator=generator())
    leaves = [v.clone().requires_grad_() for v in vars(model).values()]
    score = forward(HiddenMarkov(*leaves), x).log_evidence.sum()
    slopes = torch.autograd.grad(score, leaves)
    counts = expected_counts(model, x)
    for count, slope, value in zip(counts, slopes, vars(model).values()):
        torch.testing.assert_close(count, slope * value)


def test_counts_add_up():
    model = random_hidden_markov(3, 4, generator=generator())
    x = torch.randint(4, (5, 12), generator=generator())
    initial, transition, emission, _ = expected_counts(model, x)
    assert initial.sum().item() == pytest.approx(5)
    assert transition.sum().item() == pytest.approx(5 * 11)
    torch.testing.assert_close(emission.sum(0), torch.bincount(x.flatten(), minlength=4).to(F64))
    visits = posteriors(model, x)
    torch.testing.assert_close(transition.sum(1), visits[:, :-1].sum((0, 1)))
    torch.testing.assert_close(transition.sum(0), visits[:, 1:].sum((0, 1)))


@given(
    n=st.integers(1, 4),
    k=st.integers(1, 4),
    steps=st.integers(1, 12),
    batch=st.integers(1, 5),
    seed=st.integers(0, 999),
)
@settings(max_examples=25, deadline=None)
def test_the_likelihood_never_falls(n, k, steps, batch, seed):
    x = torch.randint(k, (batch, steps), generator=generator(seed))
    start = random_hidden_markov(n, k, 3, generator(seed))
    model, history = baum_welch(start, x, 15)
    assert history.shape == (16, 3)
    assert (history.diff(dim=0) > -1e-9 * (1 + history[1:].abs())).all()
    torch.testing.assert_close(history[-1], forward(model, x).log_evidence.sum((-1, -2)))


def test_restarts_and_batches_are_what_they_are_alone():
    x = torch.randint(3, (4, 10), generator=generator())
    many = random_hidden_markov(3, 3, 4, generator())
    together, history = baum_welch(many, x, 5)
    alone, own = baum_welch(many.pick(2), x, 5)
    torch.testing.assert_close(history[:, 2], own)
    torch.testing.assert_close(together.pick(2).transition, alone.transition)


def test_a_model_is_found_again_from_what_it_drew():
    """From a start nearby: with sharp emissions the states cannot swap."""
    true = HiddenMarkov(
        torch.tensor([0.6, 0.4], dtype=F64),
        torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=F64),
        torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]], dtype=F64),
    )
    _, x = sample(true, 400, 30, generator())
    start = HiddenMarkov(
        torch.full((2,), 0.5, dtype=F64),
        torch.full((2, 2), 0.5, dtype=F64),
        torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]], dtype=F64),
    )
    found, _ = baum_welch(start, x, 100)
    for own, other in zip(vars(found).values(), vars(true).values()):
        assert (own - other).abs().max() < 0.06


def test_zeros_stay_zeros_and_unvisited_rows_stay():
    """What a model rules out it never learns; a state that nothing reaches keeps its rows."""
    model = HiddenMarkov(
        torch.tensor([0.5, 0.5, 0.0], dtype=F64),
        torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]], dtype=F64),
        torch.tensor([[0.7, 0.3], [0.4, 0.6], [0.1, 0.9]], dtype=F64),
    )
    x = torch.randint(2, (6, 8), generator=generator())
    found, _ = baum_welch(model, x, 10)
    assert (found.transition[model.transition == 0] == 0).all() and found.initial[2] == 0
    assert torch.equal(found.transition[2], model.transition[2])
    assert torch.equal(found.emission[2], model.emission[2])


def test_no_step_returns_the_model_and_its_likelihood():
    model = random_hidden_markov(2, 2, generator=generator())
    x = torch.zeros(1, 4, dtype=torch.int64)
    same, history = baum_welch(model, x, 0)
    assert same is model and history.shape == (1,)
    with pytest.raises(ValueError, match="steps must be at least 0"):
        baum_welch(model, x, -1)
    with pytest.raises(ValueError, match="must be at least 1, got 2, 2, 0"):
        random_hidden_markov(2, 2, 0)
    silent = HiddenMarkov(model.initial, model.transition, torch.tensor([[0.0, 1]] * 2, dtype=F64))
    with pytest.raises(ValueError, match="probability zero"):
        baum_welch(silent, x, 1)


def test_random_rows_are_evenly_distributed():
    """Each entry of an even draw from 3 shares has mean 1/3 and variance 1/18."""
    rows = random_hidden_markov(1, 3, 20_000, generator()).emission[:, 0]
    assert (rows.mean(0) - 1 / 3).abs().max() < 0.01 and (rows.var(0) - 1 / 18).abs().max() < 0.003
    even, sharp = (random_hidden_markov(4, 5, 9, generator(), sharpness=s) for s in (1.0, 3.0))
    power = even.emission**3
    torch.testing.assert_close(sharp.emission, power / power.sum(-1, keepdim=True))
    with pytest.raises(ValueError, match="sharpness must be positive"):
        random_hidden_markov(2, 2, sharpness=0.0)


@pytest.mark.parametrize("device", devices())
def test_devices_agree(device):
    start = random_hidden_markov(4, 3, 2, generator())
    x = torch.randint(3, (5, 20), generator=generator())
    there, history = baum_welch(start.to(device), x.to(device), 4)
    here, expected = baum_welch(start, x, 4)
    torch.testing.assert_close(history.cpu(), expected)
    for own, other in zip(vars(there).values(), vars(here).values()):
        torch.testing.assert_close(own.cpu(), other)
    counts = expected_counts(start.to(device), x.to(device))
    torch.testing.assert_close(
        maximise(counts, start.to(device)).emission.cpu(),
        maximise(expected_counts(start, x), start).emission,
    )
