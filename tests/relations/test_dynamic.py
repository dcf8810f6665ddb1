"""Graphs of moving windows: those the encoder gives each window by itself."""

from __future__ import annotations

import pytest
import torch

from course_lib.relations.decoders import MLPDecoder
from course_lib.relations.dynamic import moving_edges
from course_lib.relations.encoders import MLPEncoder
from course_lib.relations.nri_model import NRI


def net():
    torch.manual_seed(0)
    return NRI(MLPEncoder(6, 4, 8), MLPDecoder(4, 8)).double().eval()


def states():
    return torch.randn(2, 3, 13, 4, dtype=torch.float64)


@pytest.mark.parametrize("every", [1, 3])
def test_each_window_is_read_by_itself(every):
    model, x = net(), states()
    found = moving_edges(model, x, window=6, every=every, batch_size=3)
    starts = range(0, 13 - 6 + 1, every)
    assert found.shape == (2, len(starts), 6, 2)
    for v, start in enumerate(starts):
        expected = model.edge_probabilities(x[:, :, start : start + 6])
        torch.testing.assert_close(found[:, v], expected)


def test_windows_must_fit():
    with pytest.raises(ValueError, match="got 14 and"):
        moving_edges(net(), states(), window=14)
    with pytest.raises(ValueError, match="every must be"):
        moving_edges(net(), states(), window=6, every=0)
    with pytest.raises(ValueError, match="got 0 and"):
        moving_edges(net(), states(), window=0)
