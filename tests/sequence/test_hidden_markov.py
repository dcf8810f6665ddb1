"""Hidden Markov models against hmmlearn, against all paths written out, and over 20,000 steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hmmlearn.hmm import CategoricalHMM
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.sequence.baum_welch import random_hidden_markov
from course_lib.sequence.hidden_markov import (
    HiddenMarkov,
    backward,
    belief_step,
    forward,
    log_likelihood,
    posteriors,
    sample,
    viterbi,
)
from course_lib.sequence.predictive_information import all_sequences
from tests.devices import devices

F64 = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def peer_of(model: HiddenMarkov, **more) -> CategoricalHMM:
    """hmmlearn's model with the same weights."""
    peer = CategoricalHMM(n_components=model.num_states, implementation="log", **more)
    peer.n_features = model.num_symbols
    peer.startprob_, peer.transmat_ = model.initial.numpy(), model.transition.numpy()
    peer.emissionprob_ = model.emission.numpy()
    return peer


def all_paths(model: HiddenMarkov, x: torch.Tensor):
    """Every path of states and log p(path, x), for one sequence x [T]: the slow definition."""
    paths = all_sequences(model.num_states, len(x))  # [N^T, T]
    log_joint = model.initial.log()[paths[:, 0]] + model.emission.log()[paths, x].sum(1)
    return paths, log_joint + model.transition.log()[paths[:, :-1], paths[:, 1:]].sum(1)


def two_states(sticky: float = 0.8) -> HiddenMarkov:
    """Two states that prefer to stay, and a symbol that tells them apart nine times in ten."""
    stay = torch.tensor([[sticky, 1 - sticky], [1 - sticky, sticky]], dtype=F64)
    shows = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=F64)
    return HiddenMarkov(torch.tensor([0.5, 0.5], dtype=F64), stay, shows)


@pytest.mark.parametrize(("n", "k", "steps"), [(3, 4, 50), (5, 2, 200), (1, 3, 4), (4, 3, 1)])
def test_hmmlearn_agrees(n, k, steps):
    model = random_hidden_markov(n, k, generator=generator(n))
    _, x = sample(model, 3, steps, generator())
    peer = peer_of(model)
    ours, (path, log_probability) = posteriors(model, x), viterbi(model, x)
    likelihood = log_likelihood(model, x)
    for b in range(3):
        column = x[b, :, None].numpy()
        log_p, posterior = peer.score_samples(column)
        assert likelihood[b].item() == pytest.approx(log_p, rel=1e-12)
        np.testing.assert_allclose(ours[b], posterior, rtol=1e-9, atol=1e-12)
        log_best, best = peer.decode(column)
        assert log_probability[b].item() == pytest.approx(log_best, rel=1e-12)
        assert path[b].tolist() == best.tolist()


def test_twenty_thousand_steps_without_underflow():
    """Where p(x) is about e^-20000, float64 and float32 both; hmmlearn's log form agrees."""
    model = random_hidden_markov(4, 5, generator=generator(1))
    _, x = sample(model, 1, 20_000, generator())
    log_p, posterior = peer_of(model).score_samples(x[0, :, None].numpy())
    assert log_p < -20_000
    assert log_likelihood(model, x).item() == pytest.approx(log_p, rel=1e-11)
    ours = posteriors(model, x)[0]
    np.testing.assert_allclose(ours, posterior, atol=1e-9)
    single = posteriors(model.to(torch.float32), x)[0]
    assert (single.double() - ours).abs().max() < 1e-4
    assert torch.isfinite(viterbi(model, x)[1]).all()


def test_far_below_the_smallest_float():
    """A state of belief e^-1000 turns out to be the only one possible: scaling would have lost it."""
    tiny = 1e-10
    model = HiddenMarkov(
        torch.tensor([0.5, 0.5], dtype=F64),
        torch.eye(2, dtype=F64),
        torch.tensor([[1 - tiny, tiny, 0.0], [tiny, 1 - 2 * tiny, tiny]], dtype=F64),
    )
    x = torch.tensor([[0] * 50 + [2]])
    log_belief, log_evidence = forward(model, x)
    assert log_belief[0, 49, 1] < -1000 and log_belief[0, 50, 1] == 0
    expected = math.log(0.5) + 51 * math.log(tiny)
    assert log_evidence.sum().item() == pytest.approx(expected, rel=1e-9)
    assert posteriors(model, x)[0, :, 1].tolist() == pytest.approx([1] * 51)


@given(n=st.integers(1, 3), k=st.integers(1, 3), steps=st.integers(1, 5), seed=st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_all_paths_written_out_agree(n, k, steps, seed):
    model = random_hidden_markov(n, k, generator=generator(seed))
    x = torch.randint(k, (steps,), generator=generator(seed))
    paths, log_joint = all_paths(model, x)
    total = torch.logsumexp(log_joint, dim=0)
    torch.testing.assert_close(log_likelihood(model, x[None])[0], total)
    weight = (log_joint - total).exp()
    held = torch.nn.functional.one_hot(paths, n).to(F64)  # [N^T, T, N]
    torch.testing.assert_close(posteriors(model, x[None])[0], (weight[:, None, None] * held).sum(0))
    path, log_probability = viterbi(model, x[None])
    torch.testing.assert_close(log_probability[0], log_joint.max())
    assert path[0].tolist() == paths[log_joint.argmax()].tolist()


@given(n=st.integers(1, 5), k=st.integers(1, 3), seed=st.integers(0, 999))
@settings(max_examples=20, deadline=None)
def test_probabilities_of_all_sequences_sum_to_one(n, k, seed):
    model = random_hidden_markov(n, k, generator=generator(seed))
    torch.testing.assert_close(
        log_likelihood(model, all_sequences(k, 5)).exp().sum(), torch.ones((), dtype=F64)
    )


def test_two_states_by_hand():
    """Symbols 0, 0, 1: beliefs 9/10, then .74 * .9 to .26 * .1, and so on."""
    x = torch.tensor([[0, 0, 1]])
    log_belief, log_evidence = forward(two_states(), x)
    joint = torch.tensor([0.74 * 0.9, 0.26 * 0.1], dtype=F64)
    torch.testing.assert_close(log_belief[0, 0].exp(), torch.tensor([0.9, 0.1], dtype=F64))
    torch.testing.assert_close(log_belief[0, 1].exp(), joint / joint.sum())
    assert log_evidence[0, :2].exp().tolist() == pytest.approx([0.5, 0.692])
    assert viterbi(two_states(0.95), x)[0].tolist() == [[0, 0, 0]]
    assert viterbi(two_states(0.8), x)[0].tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("restarts", [None, 3])
def test_the_forward_recursion_is_a_recurrent_cell(restarts):
    model = random_hidden_markov(4, 3, restarts, generator(2))
    x = torch.randint(3, (5, 40), generator=generator())
    log_belief = forward(model, x).log_belief
    b = log_belief[..., 0, :].exp()
    for t in range(1, 40):
        b = belief_step(model, b, x[:, t])
        assert (b - log_belief[..., t, :].exp()).abs().max() < 1e-12


def test_the_posterior_is_the_belief_times_what_the_future_adds():
    model = random_hidden_markov(3, 4, generator=generator(4))
    x = torch.randint(4, (6, 30), generator=generator())
    log_belief, log_evidence = forward(model, x)
    log_gain = backward(model, x, log_evidence)
    torch.testing.assert_close((log_belief + log_gain).exp(), posteriors(model, x))
    torch.testing.assert_close(log_belief.exp().sum(-1), torch.ones(6, 30, dtype=F64))
    torch.testing.assert_close(posteriors(model, x).sum(-1), torch.ones(6, 30, dtype=F64))
    assert torch.equal(log_gain[:, -1], torch.zeros(6, 3, dtype=F64))


def test_beliefs_are_causal_posteriors_are_not():
    model = random_hidden_markov(3, 4, generator=generator(4))
    x = torch.randint(4, (1, 20), generator=generator())
    changed = x.clone()
    changed[:, 12:] = (x[:, 12:] + 1) % 4
    before, after = forward(model, x), forward(model, changed)
    assert torch.equal(before.log_belief[:, :12], after.log_belief[:, :12])
    assert not torch.allclose(posteriors(model, x)[:, :12], posteriors(model, changed)[:, :12])


def test_models_side_by_side_are_models_alone():
    many = random_hidden_markov(3, 4, 5, generator())
    x = torch.randint(4, (2, 9), generator=generator())
    together = (log_likelihood(many, x), posteriors(many, x), *viterbi(many, x))
    assert [list(v.shape) for v in together] == [[5, 2], [5, 2, 9, 3], [5, 2, 9], [5, 2]]
    for r in range(5):
        one = many.pick(r)
        alone = (log_likelihood(one, x), posteriors(one, x), *viterbi(one, x))
        for own, other in zip(alone, together):
            torch.testing.assert_close(own, other[r])


def test_samples_follow_the_model():
    model = random_hidden_markov(3, 2, generator=generator(3))
    z, x = sample(model, 40_000, 3, generator())
    code = x @ torch.tensor([4, 2, 1])
    drawn = torch.bincount(code, minlength=8) / 40_000
    torch.testing.assert_close(
        drawn.double(), log_likelihood(model, all_sequences(2, 3)).exp(), rtol=0, atol=0.01
    )
    moves = torch.bincount(z[:, 1] * 3 + z[:, 2], minlength=9).view(3, 3).double()
    moves = moves / moves.sum(1, keepdim=True)
    torch.testing.assert_close(moves, model.transition, rtol=0, atol=0.02)
    assert all(torch.equal(a, b) for a, b in zip((z, x), sample(model, 40_000, 3, generator())))


def test_impossible_sequences_have_log_probability_minus_infinity():
    never = HiddenMarkov(*(torch.eye(2, dtype=F64)[i] for i in (0, slice(None), slice(None))))
    x = torch.tensor([[0, 0, 0], [0, 1, 0], [1, 1, 1]])
    assert log_likelihood(never, x).tolist() == [0, -math.inf, -math.inf]
    assert viterbi(never, x)[1].tolist() == [0, -math.inf, -math.inf]
    assert not forward(never, x).log_belief.isnan().any()
    with pytest.raises(ValueError, match="sequence 1 has probability zero"):
        posteriors(never, x)


@pytest.mark.parametrize("device", devices())
def test_devices_agree(device):
    model = random_hidden_markov(4, 3, 2, generator())
    x = torch.randint(3, (5, 20), generator=generator())
    results = []
    for place in (torch.device("cpu"), device):
        there = model.to(place)
        there.emission.requires_grad_()
        score = log_likelihood(there, x.to(place))
        score.sum().backward()
        path, best = viterbi(there, x.to(place))
        drawn = sample(model.to(place).pick(0), 3, 8, generator())
        with torch.no_grad():
            later = posteriors(there, x.to(place))
        results.append([score, later, path, best, there.emission.grad, *drawn])
    for own, other in zip(*results):
        torch.testing.assert_close(own, other.cpu())


def test_errors_say_what_to_do():
    model = two_states()
    with pytest.raises(ValueError, match=r"int64 \[B, T\].*x\[None\]"):
        forward(model, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"0\.\.1.*got 0\.\.2"):
        forward(model, torch.tensor([[0, 2]]))
    with pytest.raises(ValueError, match=r"\[N\], \[N, N\], \[N, K\].*\[3\]"):
        HiddenMarkov(torch.ones(3) / 3, model.transition, model.emission)
    with pytest.raises(ValueError, match=r"each row of transition.*divide by transition\.sum"):
        HiddenMarkov(model.initial, model.transition.T * 2, model.emission)
    with pytest.raises(ValueError, match="pick"):
        sample(random_hidden_markov(2, 2, 3, generator()), 1, 1)
    with pytest.raises(ValueError, match="single one"):
        model.pick(0)
