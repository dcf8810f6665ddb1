"""The table of bounds, with a few epochs and a few digits; its figures are not judged here."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import report
from benchmarks.papers import vae as paper
from course_lib.data import DataUnavailable


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(paper, "EPOCHS", {"digits": {"small": 1}, "mnist": {"small": 1}})
    monkeypatch.setattr(paper, "BETAS", (1.0, 4.0))
    full = paper.load_digits

    def few(seed, device):
        split = full(seed, device)
        return paper.Split(split.train[:200], split.test[:50])

    monkeypatch.setattr(paper, "load_digits", few)
    return tmp_path


def nothing(device):
    raise DataUnavailable("set COURSE_DATA to a folder that holds it")


def coins(device):
    return paper.Split(torch.rand(200, 784), (torch.rand(40, 784) < 0.5).float())


def test_without_mnist_the_digits_are_enough(results, monkeypatch, capsys):
    monkeypatch.setattr(paper, "load_mnist", nothing)
    assert paper.main(["--seeds", "2"]) == 0
    assert "MNIST is left out: set COURSE_DATA" in capsys.readouterr().out
    record = json.loads((results / "vae-small-cpu.json").read_text())
    assert record["without_mnist"].startswith("set COURSE_DATA") and record["threads"] == 1
    assert [(row["data"], row["beta"]) for row in record["rows"]] == [("digits", 1), ("digits", 4)]
    for row in record["rows"]:
        assert row["elbo"] == pytest.approx(sum(row["elbo_runs"]) / 2, abs=0.002)
        assert row["elbo_runs"][0] != row["elbo_runs"][1]
        assert row["iwae_50"] > row["iwae_1"] and "published" not in row
        assert -64 < row["baseline"] < 0 and 0 <= row["active"] <= 8
        assert row["seconds"] > 0


def test_with_mnist_it_stands_beside_the_published(results, monkeypatch, capsys):
    monkeypatch.setattr(paper, "load_mnist", coins)
    assert paper.main(["--seeds", "1"]) == 0
    assert str(paper.PUBLISHED) in capsys.readouterr().out
    record = json.loads((results / "vae-small-cpu.json").read_text())
    row = record["rows"][-1]
    assert row["data"] == "mnist" and row["published"]["log_likelihood"] == -86.76
    assert row["elbo_spread"] is None and record["without_mnist"] is None


def test_coins_are_tossed_anew_with_the_inks_probability(monkeypatch):
    seen, bound = [], paper.elbo

    def watched(model, pixels, *rest, **options):
        seen.append(pixels)
        return bound(model, pixels, *rest, **options)

    monkeypatch.setattr(paper, "elbo", watched)
    ink = torch.tensor([0.0, 0.2, 0.8, 1.0]).expand(100, 4)
    paper.train_on_coins(paper.VAE(4, 4, 2), ink, 60, torch.Generator().manual_seed(0))
    tossed = torch.stack(seen)
    assert set(tossed.unique().tolist()) == {0.0, 1.0}
    assert (tossed.mean((0, 1)) - ink[0]).abs().max() < 0.025
    assert (tossed[0] != tossed[1])[:, 1:3].any() and not (tossed[0] != tossed[1])[:, ::3].any()


def test_bounds_in_pieces_are_those_of_the_whole(monkeypatch):
    torch.manual_seed(0)
    split = paper.Split(torch.zeros(4, 6), (torch.rand(7, 6) < 0.5).float())
    model, found = paper.VAE(6, 8, 2), []
    with torch.no_grad():  # a posterior with hardly any spread: what is drawn does not matter
        model.encoder[-1].weight[2:] = 0
        model.encoder[-1].bias[2:] = -30
    for rows in (3, 500):
        monkeypatch.setattr(paper, "ROWS", rows)
        found.append(paper.measure(model, split, (1, 5), torch.Generator().manual_seed(0)))
    for key in ("elbo", "kl", "baseline"):
        assert found[0][key] == pytest.approx(found[1][key], abs=1e-3)
    assert found[0]["iwae"].keys() == {"1", "5"}
