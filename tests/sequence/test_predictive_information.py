"""What N states can carry from past to future: log2 N bits, and no more."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.sequence.baum_welch import baum_welch, random_hidden_markov
from course_lib.sequence.hidden_markov import HiddenMarkov, forward, log_likelihood
from course_lib.sequence.predictive_information import (
    all_sequences,
    cyclic_counter,
    predictive_information,
    repeated_bits,
)
from tests.devices import devices


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_the_cyclic_counter_attains_log2_n(n):
    window = max(n - 1, 1)
    assert predictive_information(cyclic_counter(n), window, window) == pytest.approx(math.log2(n))


@given(
    n=st.integers(1, 4),
    k=st.integers(1, 3),
    past=st.integers(1, 4),
    future=st.integers(1, 3),
    seed=st.integers(0, 999),
)
@settings(max_examples=25, deadline=None)
def test_information_is_that_of_the_joint_distribution_and_bounded(n, k, past, future, seed):
    model = random_hidden_markov(n, k, generator=generator(seed))
    joint = log_likelihood(model, all_sequences(k, past + future)).exp().view(k**past, k**future)

    def entropy(p):
        return -torch.special.xlogy(p, p).sum().item() / math.log(2)

    expected = entropy(joint.sum(0)) + entropy(joint.sum(1)) - entropy(joint)
    found = predictive_information(model, past, future)
    assert found == pytest.approx(expected, abs=1e-9)
    assert -1e-9 <= found <= math.log2(n) + 1e-9


def test_a_longer_look_tells_more_and_slips_tell_less():
    clock = [predictive_information(cyclic_counter(4), t, t) for t in (1, 2, 3, 5)]
    assert clock[0] < clock[1] < clock[2] == pytest.approx(2) and clock[3] == pytest.approx(2)
    slips = [predictive_information(cyclic_counter(4, slip), 6, 6) for slip in (0, 0.05, 0.2)]
    assert slips[0] > slips[1] > slips[2]
    noisy = [predictive_information(cyclic_counter(4, noise=p), 6, 6) for p in (0, 0.05, 0.2, 0.5)]
    assert noisy[0] > noisy[1] > noisy[2] > noisy[3] == pytest.approx(0)
    expected = torch.tensor([[0.1, 0.9], [0.9, 0.1]], dtype=torch.float64)
    torch.testing.assert_close(cyclic_counter(2, noise=0.1).emission, expected)


def test_repeated_bits_by_hand():
    assert repeated_bits(2).tolist() == [[0, 0, 0, 0], [0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 1]]
    assert all_sequences(3, 2)[5].tolist() == [1, 2]


@pytest.mark.parametrize(("k", "n"), [(3, 2), (3, 4), (2, 6)])
def test_a_copy_costs_a_trained_model_what_it_cannot_hold(k, n):
    x = repeated_bits(k)
    model, _ = baum_welch(random_hidden_markov(n, 2, 4, generator()), x, 60)
    lost = -forward(model, x).log_evidence[..., k:].sum(-1).mean(-1) / math.log(2)  # [restarts]
    assert (lost > k - math.log2(n) - 1e-9).all()


def test_enough_states_copy_without_loss():
    """One bit: remember 0 or 1, then say it. Four states, two of which stand for 'it was this'."""
    zero, one = [1.0, 0.0], [0.0, 1.0]
    model = HiddenMarkov(
        torch.tensor([0.5, 0.5, 0.0, 0.0]),
        torch.eye(4)[[2, 3, 2, 3]],
        torch.tensor([zero, one, zero, one]),
    )
    torch.testing.assert_close(log_likelihood(model, repeated_bits(1)).exp(), torch.full((2,), 0.5))
    assert predictive_information(model.to(torch.float64), 1, 1) == pytest.approx(1)


@pytest.mark.parametrize("device", devices())
def test_devices_agree(device):
    model = random_hidden_markov(3, 2, generator=generator())
    there = predictive_information(model.to(device), 4, 3)
    assert there == pytest.approx(predictive_information(model, 4, 3))


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="look at fewer steps"):
        all_sequences(2, 13)
    with pytest.raises(ValueError, match="slip"):
        cyclic_counter(3, 1.5)
    with pytest.raises(ValueError, match="pick"):
        predictive_information(random_hidden_markov(2, 2, 3, generator()), 1, 1)
