"""The attention benchmark runs, at sizes small enough for a test; its figures are not judged here."""

from __future__ import annotations

import json
import runpy

import pytest
import torch
from torch import nn

from benchmarks import report
from benchmarks.speed import attention

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """Small sizes, one round, and a folder of its own for what is written."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(attention, "SIZES", {6: (2, 1), 9: (1, 1)})
    monkeypatch.setattr(attention, "WRITTEN", {5: 1})
    return tmp_path


def test_the_tables_are_printed_and_recorded_and_missed_bars_count(results, monkeypatch, capsys):
    figures = {"peak_mb": 2.0, "peak_above_start_mb": 1.0}
    monkeypatch.setattr(attention, "measure_memory", lambda *_: dict(figures))
    monkeypatch.setattr(attention, "BARS", {"attention": 1e9, "encoder": 1e9})
    assert attention.main([]) == 0
    monkeypatch.setattr(attention, "BARS", {"encoder": 0.0})
    assert attention.main(["--device", "cpu", "--threads", "1"]) == 1
    printed = capsys.readouterr().out
    assert "encoder at T 6" in printed and "encoder at T 9" in printed
    assert "attention at T 6" not in printed
    record = json.loads((results / "attention-small-cpu.json").read_text())
    assert record["threads"] == 1
    assert record["versions"]["torch"] == torch.__version__
    assert len(record["bars_missed"]) == 2
    assert [*record["kinds"]] == ["attention", "causal", "multi-head", "encoder", "evaluation"]
    for kind, sizes in record["kinds"].items():
        assert [*sizes] == ["6", "9"]
        for size in sizes.values():
            assert [*size["ways"]] == [*attention.WAYS[kind]]
            assert size["ways"]["torch"]["times"] == 1
            for way in size["ways"].values():
                assert way["fastest"] <= way["milliseconds"] <= way["slowest"]
                assert way["forward_milliseconds"] > 0
                assert (way["backward_milliseconds"] > 0) == (kind != "evaluation")
                assert way["peak_above_start_mb"] == 1.0
    written = record["generation"]["5"]
    assert [*written] == ["cached", "uncached"]
    assert written["cached"]["times"] == 1


@pytest.mark.parametrize("kind", attention.WAYS)
def test_ways_that_disagree_are_not_compared(monkeypatch, kind):
    attention.check_same(kind, 6, CPU)
    honest = attention.prepare

    def other_weights(kind, batch, steps, way, device):
        forward, leaves = honest(kind, batch, steps, way, device)
        if way == "ours":
            with torch.no_grad():
                leaves[-1].add_(1)
        return forward, leaves

    monkeypatch.setattr(attention, "prepare", other_weights)
    with pytest.raises(AssertionError):
        attention.check_same(kind, 6, CPU)


def test_generation_that_disagrees_is_not_compared(monkeypatch):
    def forgetful(model, tokens, count, temperature, use_cache):
        return torch.full((1, count), int(use_cache))

    monkeypatch.setattr(attention, "generate", forgetful)
    with pytest.raises(AssertionError, match="changes what is written"):
        attention.measure_generation(5, CPU)


@pytest.mark.parametrize("kind", ["attention", "encoder"])
def test_a_pass_begins_without_the_gradients_of_the_last(kind):
    forward, leaves = attention.prepare(kind, 1, 6, "ours", CPU)
    attention.passes(kind, forward, leaves)
    once = [leaf.grad.clone() for leaf in leaves]
    attention.passes(kind, forward, leaves)
    torch.testing.assert_close([leaf.grad for leaf in leaves], once)


def test_training_mode_with_gradients_is_what_is_compared():
    """With gradients, torch's layer cannot take its fast path; in evaluation it does."""
    for kind, training in (("encoder", True), ("evaluation", False)):
        for way, layer in (("torch", nn.TransformerEncoderLayer), ("ours", None)):
            forward, leaves = attention.prepare(kind, 1, 6, way, CPU)
            assert forward.func.training == training
            assert forward.func.self_attn.dropout == forward.func.dropout.p == 0
            assert layer is None or type(forward.func) is layer
            attention.passes(kind, forward, leaves)
            assert all((leaf.grad is not None) == training for leaf in leaves)


def test_the_published_table_is_from_256_to_4096_and_over_enough_rounds():
    fresh = runpy.run_path(attention.__file__)  # without this file's small sizes
    assert [*fresh["SIZES"]] == [256, 512, 1024, 2048, 4096]
    assert min(rounds for _, rounds in fresh["SIZES"].values()) >= 5
    assert min(fresh["WRITTEN"].values()) >= 5
    assert fresh["BARS"] == {"attention": 1.1, "causal": 1.1, "encoder": 1.3}


def test_memory_in_a_process_of_its_own():
    figures = attention.measure_memory("attention", 256, "naive", CPU, 1)  # the real sizes there
    assert figures["peak_mb"] > figures["peak_above_start_mb"] >= 0
