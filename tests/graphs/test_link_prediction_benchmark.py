"""The link prediction table, on graphs small enough for a test; its figures are not judged here."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import report
from benchmarks.papers import link_prediction
from course_lib.data import DataUnavailable, citation_graph


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    return tmp_path


def _small(name, device=None):
    return citation_graph(num_nodes=120, num_classes=3, num_features=40, seed=len(name))


def test_the_table_is_printed_and_recorded(results, monkeypatch, capsys):
    monkeypatch.setattr(link_prediction, "load", _small)
    monkeypatch.setattr(link_prediction, "EPOCHS", 10)
    assert link_prediction.main(["--seeds", "2"]) == 0
    printed = capsys.readouterr().out
    for published in ("91.0", "92.0", "91.4", "92.6"):
        assert published in printed
    record = json.loads((results / "link_prediction-small-cpu.json").read_text())
    assert record["seeds"] == 2
    assert record["threads"] == 1
    assert record["versions"]["torch"] == torch.__version__
    assert [(row["model"], row["data"], row["loss"]) for row in record["rows"]] == [
        (model, data, loss)
        for data in ("cora", "citeseer")
        for loss in ("all pairs", "sampled")
        for model in ("GAE", "VGAE")
    ]
    for row in record["rows"]:
        for key in ("auc", "ap"):
            assert row[key] == pytest.approx(sum(row[f"{key}_runs"]) / 2, abs=0.011)
            assert 30 < row[key] <= 100
        assert row["published"]["source"] == link_prediction.SOURCE
        assert row["cpu_seconds_per_run"] > 0


def test_a_run_repeats_and_its_seed_matters(monkeypatch):
    monkeypatch.setattr(link_prediction, "EPOCHS", 10)
    graph, keys = _small("cora"), ("auc", "ap")
    first, again, other = (
        [link_prediction.run(graph, link_prediction.VGAE, seed, True)[key] for key in keys]
        for seed in (0, 0, 1)
    )
    assert first == again != other


def test_without_the_data_it_says_so_and_exits_2(results, monkeypatch, capsys):
    def nothing(name):
        raise DataUnavailable("set COURSE_DATA")

    monkeypatch.setattr(link_prediction, "load_planetoid", nothing)
    assert link_prediction.main([]) == 2
    assert "set COURSE_DATA" in capsys.readouterr().out
    assert list(results.iterdir()) == []
