"""The speed benchmark of the simulators runs and compares equal laws; its figures are not judged."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import report
from benchmarks.speed import relation_simulators, relations, relations_step


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(relation_simulators, "FRAMES", 2)
    monkeypatch.setattr(relation_simulators, "ROUNDS", 1)
    monkeypatch.setattr(relation_simulators, "BATCH", dict.fromkeys(relation_simulators.BATCH, 4))
    monkeypatch.setattr(relation_simulators, "measure_memory", lambda *_: {"peak_mb": 1.0})
    return tmp_path


def test_the_table_is_printed_recorded_and_missed_bars_count(small, monkeypatch, capsys):
    monkeypatch.setattr(relation_simulators, "BARS", {"springs": 0.0})
    figures, missed = relation_simulators.run(1)
    assert missed == []
    assert set(figures) == set(relation_simulators.BATCH)
    for row in figures.values():
        assert row["difference"] < 1e-9
        assert row["ratio"] > 0
    monkeypatch.setattr(relation_simulators, "BARS", {"charged": 1e9})
    monkeypatch.setattr(relation_simulators, "BATCH", {"charged": 2})
    assert relation_simulators.run(1)[1]
    assert "charged" in capsys.readouterr().out


def test_the_record_names_what_was_missed(small, monkeypatch, capsys):
    answer = ({"springs": {"ratio": 1.0}}, ["springs: 1.0 is below 300"])
    monkeypatch.setattr(relation_simulators, "run", lambda threads: answer)
    steps = ({"paper": {"ratio": 1.3}}, ["step: slow"])
    monkeypatch.setattr(relations_step, "run", lambda device: steps)
    assert relations.main([]) == 1
    record = json.loads((small / "relations-small-cpu.json").read_text())
    assert record["simulators"] == answer[0]
    assert record["training_steps"] == steps[0]
    assert record["bars_missed"] == ["springs: 1.0 is below 300", "step: slow"]
    assert record["threads"] == 1
    assert record["versions"]["torch"] == torch.__version__


def test_laws_that_differ_are_not_compared(monkeypatch):
    made = relation_simulators.ours("springs", 5, frames=2)
    made.states[:, :, 1] += 1e-3
    monkeypatch.setattr(relation_simulators, "ours", lambda *_, **__: made)
    with pytest.raises(
        AssertionError, match=r"springs: ours and the plain loop differ by 1\.0e-03"
    ):
        relation_simulators.check_same("springs")


def test_memory_of_a_batch_is_measured(small):
    assert relation_simulators.measure_memory_here("springs")["peak_mb"] >= 0
