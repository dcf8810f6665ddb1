"""Graphs of moving windows: those the encoder gives each window by itself."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from course_lib.relations.decoders import GRUDecoder, MLPDecoder
from course_lib.relations.dynamic import dynamic_rollout, moving_edges
from course_lib.relations.encoders import MLPEncoder
from course_lib.relations.nri_model import NRI


def net(kind=MLPDecoder):
    torch.manual_seed(0)
    return NRI(MLPEncoder(6, 4, 8), kind(4, 8)).double().eval()


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


@pytest.mark.parametrize("kind", [MLPDecoder, GRUDecoder])
def test_a_rollout_asks_for_the_graph_before_each_step(kind):
    model, x = net(kind), states()
    found = dynamic_rollout(model, x, steps=4, window=6)
    assert found.shape == (2, 3, 4, 4) and not found.requires_grad
    path = torch.cat([x, found], 2)
    for step in range(4):
        last = path[:, :, 7 + step : 13 + step]
        edges = F.one_hot(model.edge_types(last), 2).double()
        torch.testing.assert_close(
            found[:, :, step : step + 1], model.decoder.rollout(last, edges, 1)
        )


def test_the_first_step_is_that_of_a_fixed_graph_and_the_mode_is_kept():
    model, x = net(), states()[:, :, :6]
    torch.testing.assert_close(
        dynamic_rollout(model, x, 3, 6)[:, :, 0], model.rollout(x, 3)[:, :, 0]
    )
    model.train()
    dynamic_rollout(model, x, 1, 6)
    assert model.training


def test_windows_must_fit():
    with pytest.raises(ValueError, match="got 14 and"):
        moving_edges(net(), states(), window=14)
    with pytest.raises(ValueError, match="every must be"):
        moving_edges(net(), states(), window=6, every=0)
    with pytest.raises(ValueError, match="got 0 and"):
        dynamic_rollout(net(), states(), 2, window=0)
    with pytest.raises(ValueError, match="steps must be"):
        dynamic_rollout(net(), states(), 0, window=6)
