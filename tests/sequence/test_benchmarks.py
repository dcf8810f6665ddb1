"""The LSTM's benchmark runs, at sizes small enough for a test; its figures are not judged here."""

from __future__ import annotations

import json
import mmap
import runpy

import pytest
import torch

from benchmarks import memory, report
from benchmarks.speed import sequence

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    """Small sizes, one round, and a folder of its own for what is written."""
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(sequence, "SIZES", {"few": (3, 2, 4, 5), "many": (3, 32, 4, 5)})
    monkeypatch.setattr(sequence, "ROUNDS", {"few": 1, "many": 1})
    return tmp_path


def test_the_table_is_printed_and_recorded_and_missed_bars_count(results, monkeypatch, capsys):
    figures = {"peak_mb": 2.0, "peak_above_start_mb": 1.0}
    monkeypatch.setattr(sequence, "measure_memory", lambda *_: dict(figures))
    monkeypatch.setattr(sequence, "BAR", 1e9)
    assert sequence.main([]) == 0
    monkeypatch.setattr(sequence, "BAR", 0.0)
    assert sequence.main(["--device", "cpu", "--threads", "1"]) == 1
    printed = capsys.readouterr().out
    assert "ours at many" in printed
    assert "ours at few" not in printed  # below the batch from which the bar holds
    assert "cells at many" not in printed
    record = json.loads((results / "sequence-small-cpu.json").read_text())
    assert record["threads"] == 1
    assert record["versions"]["torch"] == torch.__version__
    assert len(record["bars_missed"]) == 1
    for size in ("few", "many"):
        ways = record["sizes"][size]["ways"]
        assert set(ways) == {"torch", "ours", "cells"}
        assert ways["torch"]["times"] == 1
        for way in ways.values():
            assert way["fastest"] <= way["milliseconds"] <= way["slowest"]
            assert min(way["forward_milliseconds"], way["backward_milliseconds"]) > 0
            assert way["peak_above_start_mb"] == 1.0


def test_ways_that_disagree_are_not_compared(monkeypatch):
    sequence.check_same("few", CPU)
    honest = sequence.prepare

    def other_weights(way, size, device):
        model, x = honest(way, size, device)
        if way == "ours":
            torch.nn.init.zeros_(model.weight_hh_l0)
        return model, x

    monkeypatch.setattr(sequence, "prepare", other_weights)
    with pytest.raises(AssertionError):
        sequence.check_same("few", CPU)


def test_a_pass_begins_without_the_gradients_of_the_last():
    model, x = sequence.prepare("ours", "few", CPU)
    sequence.passes(model, x)
    once = x.grad.clone(), model.weight_hh_l0.grad.clone()
    sequence.passes(model, x)
    torch.testing.assert_close((x.grad, model.weight_hh_l0.grad), once)


def test_the_published_table_is_over_four_sizes_and_enough_rounds():
    fresh = runpy.run_path(sequence.__file__)  # without this file's small sizes
    assert len(fresh["SIZES"]) == 4
    assert [*fresh["ROUNDS"]] == [*fresh["SIZES"]]
    assert min(fresh["ROUNDS"].values()) >= 5
    assert sum(batch >= fresh["BAR_FROM_BATCH"] for _, batch, _, _ in fresh["SIZES"].values()) == 3


def test_memory_in_a_process_of_its_own(monkeypatch):
    figures = sequence.measure_memory(
        "narrow", "ours", CPU, 1
    )  # the real sizes: it is a new process
    assert figures["peak_mb"] > figures["peak_above_start_mb"] >= 0
    monkeypatch.setattr(sequence.sys, "executable", "false")
    with pytest.raises(RuntimeError, match="measuring the memory of ours at nowhere failed"):
        sequence.measure_memory("nowhere", "ours", CPU, 1)


def test_the_peak_is_that_since_it_was_forgotten():
    memory.forget_peak()
    before = memory.memory_mb()
    with mmap.mmap(-1, 32 << 20) as block:  # new pages; an allocator may have old ones left
        block.write(bytes(32 << 20))
    assert memory.peak_memory_mb() > before + 25
    assert memory.peak_memory_mb() >= memory.memory_mb() > 0
