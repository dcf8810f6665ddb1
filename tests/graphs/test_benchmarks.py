"""The benchmarks run, on graphs small enough for a test; their figures are not judged here."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import report
from benchmarks.papers import gcn
from benchmarks.speed import graphs
from course_lib.data import DataUnavailable, citation_graph


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def _small(name, device=None):
    return citation_graph(num_nodes=150, num_classes=3, num_features=40, seed=0)


def test_the_papers_table_is_printed_and_recorded(results, monkeypatch, capsys):
    monkeypatch.setattr(gcn, "load", _small)
    monkeypatch.setattr(gcn, "DEPTHS", (1, 2))
    monkeypatch.setattr(gcn, "ROUNDS", (2,))
    monkeypatch.setattr(gcn, "SGC_DECAYS", (1e-5, 1e-4))
    monkeypatch.setattr(gcn, "SGC_EPOCHS", 30)
    assert gcn.main(["--seeds", "2", "--depth"]) == 0
    printed = capsys.readouterr().out
    assert "81.5" in printed
    assert "70.3" in printed
    record = json.loads((results / "gcn-small-cpu.json").read_text())
    assert record["seeds"] == 2
    assert record["threads"] == 1
    assert record["versions"]["torch"] == torch.__version__
    assert [(row["model"], row["data"]) for row in record["rows"]] == [
        ("GCN", "cora"),
        ("SGC K=2", "cora"),
        ("GCN", "citeseer"),
        ("SGC K=2", "citeseer"),
    ]
    for row in record["rows"]:
        assert row["mean"] == pytest.approx(sum(row["accuracies"]) / 2, abs=0.01)
        assert 33 < row["mean"] <= 100
    assert [point["depth"] for point in record["depth"]] == [1, 2, 1, 2, 2]


def test_without_the_data_it_says_so_and_exits_2(results, monkeypatch, capsys):
    def nothing(name):
        raise DataUnavailable("set COURSE_DATA")

    monkeypatch.setattr(gcn, "load_planetoid", nothing)
    assert gcn.main([]) == 2
    assert "set COURSE_DATA" in capsys.readouterr().out
    assert list(results.iterdir()) == []


def test_the_speed_table_compares_equal_results_and_counts_missed_bars(
    results, monkeypatch, capsys
):
    graph = _small("cora")
    inputs = (graph.x, graph.edge_index, graph.y, graph.num_classes)
    monkeypatch.setattr(graphs, "load", lambda name: (inputs, f"{name}, small"))
    monkeypatch.setattr(graphs, "ROUNDS", {"cora": 1, "random": 1})
    monkeypatch.setattr(
        graphs, "measure_memory", lambda *_: {"peak_mb": 1.0, "peak_above_data_mb": 1.0}
    )
    monkeypatch.setattr(graphs, "BARS", {("cora", "csr"): 0.0})
    assert graphs.main([]) == 0
    monkeypatch.setattr(graphs, "BARS", {("random", "csr"): 1e9})
    assert graphs.main([]) == 1
    assert "csr on random" in capsys.readouterr().out
    record = json.loads((results / "graphs-small-cpu.json").read_text())
    assert set(record["graphs"]["cora"]["ways"]) == {"pyg", "edges", "csr", "csr+x"}


def test_ways_that_disagree_are_not_compared(monkeypatch):
    graph = _small("cora")
    inputs = (graph.x, graph.edge_index, graph.y, graph.num_classes)
    monkeypatch.setattr(graphs, "gcn_norm", lambda e, num_nodes: (e, torch.ones(e.size(1))))
    with pytest.raises(AssertionError):
        graphs.check_same("cora", inputs)


def test_memory_above_the_data_is_part_of_the_peak(monkeypatch):
    graph = _small("cora")
    inputs = (graph.x, graph.edge_index, graph.y, graph.num_classes)
    monkeypatch.setattr(graphs, "load", lambda name: (inputs, name))
    here = graphs.measure_memory_here("cora", "csr")
    assert here["peak_mb"] > here["peak_above_data_mb"] >= 0
