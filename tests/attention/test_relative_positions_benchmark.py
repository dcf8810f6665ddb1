"""The three ablations run, a few steps each; which orderings agree is computed, and told as it is."""

from __future__ import annotations

import contextlib
import io
import json

import pytest
import torch

from benchmarks import report
from benchmarks.papers import relative_positions as paper


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """What a run of very small models prints, and what it writes."""
    folder, printed = tmp_path_factory.mktemp("results"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(report, "RESULTS", folder)
        patch.setattr(paper, "STEPS", {"small": 1})
        patch.setattr(paper, "LENGTHS", (6, 9))
        patch.setattr(paper, "TEST_ROWS", 4)
        assert paper.main(["--seeds", "2", "--device", "cpu"]) == 0
    written = json.loads((folder / "relative_positions-small-cpu.json").read_text())
    return printed.getvalue(), written


def test_three_tables_are_printed_and_recorded_beside_the_published_figures(record):
    printed, written = record
    for figure in ("26.5", "29.2", "38.7", "41.5", "12.5", "25.3", "25.9"):
        assert figure in printed
    assert "The task differs" in printed
    assert printed.count("Orderings at T = 6") == 3
    assert written["seeds"] == 2
    assert written["threads"] == 1
    assert written["versions"]["torch"] == torch.__version__
    sizes = {title: len(table["rows"]) for title, table in written["tables"].items()}
    assert [*sizes.values()] == [4, 7, 4]
    for table in written["tables"].values():
        for row in table["rows"].values():
            assert [len(a) for a in row["accuracies"]] == [2, 2]
            for column, mean in enumerate(row["mean"]):
                assert mean == pytest.approx(
                    sum(a[column] for a in row["accuracies"]) / 2, abs=0.01
                )
    pairs = {title: len(table["orderings"]["6"]) for title, table in written["tables"].items()}
    assert [*pairs.values()] == [4, 21, 6]


def test_what_stands_in_two_tables_is_run_once(record):
    tables = record[1]["tables"]
    clipped, switched = tables["clipping distance k"]["rows"], tables["a^V and a^K"]["rows"]
    assert clipped["k = 16"] == switched["a^V and a^K"]
    assert switched["neither"] == tables["absolute against relative"]["rows"]["none"]


def test_published_figures_are_those_of_the_paper():
    assert [*paper.PUBLISHED["clipping distance k"]["EN-DE"].values()] == [
        *(12.5, 25.5, 25.8, 25.9, 25.8, 25.9, 25.8)
    ]
    assert paper.PUBLISHED["a^V and a^K"]["EN-DE"] == {
        "a^V and a^K": 25.8,
        "a^K alone": 25.8,
        "a^V alone": 25.3,
        "neither": 12.5,
    }
    for figures in paper.PUBLISHED["absolute against relative"].values():
        assert figures["sinusoidal"] < figures["relative"]


def _rows(**figures):
    """Three seeds around each figure, at one length."""
    return {
        name: {"accuracies": [[figure - 0.1], [figure], [figure + 0.1]]}
        for name, figure in figures.items()
    }


def test_an_ordering_that_does_not_agree_is_named(monkeypatch):
    monkeypatch.setattr(paper, "LENGTHS", (24,))
    title = "absolute against relative"
    monkeypatch.setitem(paper.PUBLISHED, title, {"EN-DE": {"sinusoidal": 26.5, "relative": 26.8}})
    right = paper.orderings(title, _rows(sinusoidal=90.0, relative=99.0), 24)
    assert right[0]["agree"]
    assert paper.describe(right, 24) == "Orderings at T = 24: 1 of 1 agree."
    wrong = paper.orderings(title, _rows(sinusoidal=99.0, relative=90.0), 24)
    assert paper.describe(wrong, 24) == (
        "Orderings at T = 24: 0 of 1 agree. Not these: sinusoidal < relative published, > here (EN-DE)."
    )
    assert not paper.orderings(title, _rows(sinusoidal=98.5, relative=99.0), 24)[0]["agree"]


def test_signs():
    assert paper.sign(25.5 - 25.8, paper.SAME_BLEU) == "<"
    assert paper.sign(25.9 - 25.8, paper.SAME_BLEU) == "="
    assert paper.sign(25.8 - 25.3, paper.SAME_BLEU) == ">"
    assert paper.compare([50.0, 51.0, 52.0], [40.0, 41.0, 42.0]) == ">"
    assert paper.compare([50.0, 80.0, 20.0], [40.0, 10.0, 70.0]) == "="  # the seeds differ more
    assert paper.compare([98.5], [99.9]) == "="
    assert paper.compare([90.0], [99.9]) == "<"
