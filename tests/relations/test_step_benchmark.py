"""The benchmark of a training step runs and compares equal networks; its figures are not judged."""

from __future__ import annotations

import pytest
import torch

from benchmarks.speed import relations_step

CPU = torch.device("cpu")


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(relations_step, "SETTINGS", {"paper": (4, 8)})
    monkeypatch.setattr(relations_step, "ROUNDS", {"paper": 1})
    monkeypatch.setattr(relations_step, "EPOCH", relations_step.EPOCH | {"simulations": 8})


def test_the_table_and_the_bars(small, monkeypatch, capsys):
    monkeypatch.setattr(relations_step, "BARS", {"paper": 1e9})
    figures, missed = relations_step.run(CPU)
    assert figures["paper"]["ratio"] > 0
    assert len(missed) == 1 and "below" in missed[0]
    assert "batch 4, h 8" in capsys.readouterr().out


def test_networks_that_differ_are_not_compared(small):
    ours, peer = relations_step.models(8, CPU)
    states = relations_step.draw_states(4, CPU)
    relations_step.check_same(ours, peer, states)
    with torch.no_grad():
        peer.to_logits.bias += 0.1
    with pytest.raises(AssertionError):
        relations_step.check_same(ours, peer, states)


def test_an_epoch_is_measured(small):
    found = relations_step.measure_epoch(CPU, epochs=2)
    assert found["seconds"] >= 0 and found["epochs"] == 2
