"""Alignment error rate: by hand, its bounds; links from weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.attention.alignment import alignment_error_rate, best_alignment


def links(*rows: str) -> torch.Tensor:
    return torch.tensor([[mark == "x" for mark in row] for row in rows])


def test_by_hand():
    sure = links("x..", ".x.", "...")
    possible = links("x..", ".xx", "..x")
    found = links("x..", "..x", "x..")
    # |A and S| = 1, |A and P| = 2, |A| = 3, |S| = 2
    assert alignment_error_rate(found, sure, possible) == pytest.approx(1 - 3 / 5)
    assert alignment_error_rate(found, sure) == pytest.approx(1 - 2 / 5)
    assert alignment_error_rate(sure, sure, possible) == 0
    assert alignment_error_rate(possible, sure, possible) == 0
    assert alignment_error_rate(~possible, sure, possible) == 1


def test_a_batch_is_one_corpus_not_a_mean_of_rates():
    sure = torch.stack([links("x.", "..", ".."), links("x.", ".x", "x.")])
    found = torch.stack([links(".x", "..", ".."), links("x.", ".x", "x.")])
    rates = [alignment_error_rate(one, other) for one, other in zip(found, sure)]
    assert rates == [1, 0]
    assert alignment_error_rate(found, sure) == pytest.approx(1 - 6 / 8)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 10**6))
def test_it_lies_between_0_and_1_and_one_sure_link_more_helps(targets, sources, seed):
    generator = torch.Generator().manual_seed(seed)
    found, sure, more = (
        torch.rand(2, targets, sources, generator=generator) < share for share in (0.4, 0.3, 0.3)
    )
    possible = sure | more
    rate = alignment_error_rate(found, sure, possible)
    assert 0 <= rate <= 1
    missing = sure & ~found
    if missing.any():
        assert alignment_error_rate(found | missing, sure, possible) < max(rate, 1e-12)


def test_nothing_to_align_is_no_error():
    nothing = torch.zeros(2, 3, dtype=torch.bool)
    assert alignment_error_rate(nothing, nothing) == 0
    assert isinstance(alignment_error_rate(~nothing, nothing), float)


def test_each_target_is_linked_to_its_heaviest_source():
    weights = torch.tensor([[0.2, 0.5, 0.3], [0.0, 0.0, 0.0], [0.4, 0.2, 0.4], [0.1, 0.1, 0.8]])
    assert torch.equal(best_alignment(weights), links(".x.", "...", "x..", "..x"))
    rows = torch.tensor([True, True, True, False])
    assert torch.equal(best_alignment(weights, rows), links(".x.", "...", "x..", "..."))
    assert torch.equal(best_alignment(weights.expand(2, 4, 3))[1], best_alignment(weights))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.rand(2, 3), links("x..", "x..")), "alignment must be bool"),
        ((links("x.."), links("x..", "x..")), r"sure must be bool \[1, 3\]"),
        ((links("x.."), links("x.."), links("x.")), "possible must be bool"),
        ((links("x.."), links("x.."), links(".x.")), "every sure link is a possible one"),
    ],
)
def test_wrong_links_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        alignment_error_rate(*arguments)
