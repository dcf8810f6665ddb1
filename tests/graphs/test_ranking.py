"""AUC and average precision: by hand, against scikit-learn with ties, and what must not be ranked."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from course_lib.graphs.ranking import auc, average_precision
from tests.devices import devices


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=2, max_size=40))
def test_they_are_scikit_learns_with_ties(pairs):
    scores = torch.tensor([score / 2 for score, _ in pairs])
    labels = torch.tensor([label for _, label in pairs])
    if labels.all() or not labels.any():
        return
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))
    assert average_precision(scores, labels) == pytest.approx(
        average_precision_score(labels, scores)
    )
    assert auc(-scores, labels) == pytest.approx(1 - auc(scores, labels))
    assert auc(scores, ~labels) == pytest.approx(1 - auc(scores, labels))


def test_by_hand():
    scores = torch.tensor([3.0, 1, 2, 2, -math.inf])
    labels = torch.tensor([1, 0, 1, 0, 0])
    # of the six pairs 3 > 1, 2, -inf and 2 > 1, -inf are right, and 2 = 2 is half right
    assert auc(scores, labels) == pytest.approx(5.5 / 6)
    # recall 1/2 at precision 1, then the other half at the tie's precision of 2/3
    assert average_precision(scores, labels) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)


def test_many_scores_of_small_range_stay_exact():
    scores = torch.rand(200_000, dtype=torch.float32)
    labels = torch.rand(200_000) < 0.3
    assert auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("measure", [auc, average_precision])
@pytest.mark.parametrize("device", devices())
def test_any_device_and_kind_of_label(measure, device):
    scores = torch.tensor([0.3, 0.9, 0.4, 0.8], device=device, requires_grad=True)
    results = {
        measure(scores, torch.tensor([0, 1, 1, 0], dtype=dtype, device=device))
        for dtype in (torch.bool, torch.int64, torch.float32)
    }
    assert len(results) == 1


@pytest.mark.parametrize("measure", [auc, average_precision])
def test_errors_say_what_to_do(measure):
    scores = torch.tensor([0.1, 0.2])
    for labels in ([1, 1], [0, 0], [0.5, 1], [2, 0], [-1, 1]):
        with pytest.raises(ValueError, match="both must occur"):
            measure(scores, torch.tensor(labels))
    with pytest.raises(ValueError, match="has the training diverged"):
        measure(torch.tensor([0.1, math.nan]), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"got \[2\] and \[3\]"):
        measure(scores, torch.tensor([0, 1, 1]))
