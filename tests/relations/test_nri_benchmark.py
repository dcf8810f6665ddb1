"""Both tables of neural relational inference, with a few simulations; their figures are not judged here."""

from __future__ import annotations

import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from benchmarks import report
from benchmarks.papers import nri as paper
from benchmarks.papers import nri_data, nri_runs
from course_lib.relations.encoders import CNNEncoder

TINY = {
    "simulations": dict.fromkeys(nri_data.SYSTEMS, 12),
    "tests": 6,
    "hidden": 4,
    "encoder_hidden": 4,
    "convolved": {},
    "batch_size": 6,
    "lstm": {"hidden_size": 3, "num_layers": 1},
    "epochs": dict.fromkeys(("NRI", "supervised", "graph given", "LSTM"), 1),
}


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    for size, setting in nri_data.SETTINGS.items():
        monkeypatch.setitem(nri_data.SETTINGS, size, setting | TINY)
    return tmp_path


def record(folder, size="small"):
    return json.loads((folder / f"nri-{size}-cpu.json").read_text())


def names(rows, key):
    return {row["model"] for row in rows if key in row}


def test_both_tables_stand_beside_the_published(results, capsys):
    assert paper.main(["--seeds", "2", "--systems", "springs", "--processes", "1"]) == 0
    printed = capsys.readouterr().out
    for published in ("99.9", "52.4", "52.7", "99.8", "3.3e-08", "8.9e-04", "2.8e-02"):
        assert published in printed
    rows = record(results)["rows"]
    assert names(rows, "accuracy") == {*paper.ACCURACY_ORDER}
    assert names(rows, "mse") == {*paper.MSE_ORDER}
    once = {"correlation (LSTM)", "LSTM (single)", "LSTM (joint)", "NRI (simulation decoder)"}
    for row in rows:
        given = row["model"] in once or "graph" in row["model"]
        assert row["runs"] == (1 if given else 2)
        if "accuracy" in row:
            assert 0 < row["accuracy"] <= 100
            mean = sum(row["accuracy_runs"]) / row["runs"]
            assert row["accuracy"] == pytest.approx(mean, abs=0.011)
        if "mse" in row:
            assert list(row["mse"]) == ["1", "10", "20"] and min(row["mse"].values()) > 0
    static = next(row for row in rows if row["model"] == "static")
    assert static["mse"]["1"] < static["mse"]["10"] < static["mse"]["20"]


def test_the_full_size_resumes_from_its_checkpoints(results, tmp_path):
    folder = tmp_path / "checkpoints"
    call = ["--size", "full", "--systems", "kuramoto", "--bodies", "3", "--resume", str(folder)]
    call += ["--patience", "1", "--processes", "1"]
    assert paper.main(call) == 0
    first = record(results, "full")["rows"]
    assert {file.name for file in folder.iterdir()} == {
        f"kuramoto-3-0-{name}.pt"
        for name in (
            "NRI",
            "supervised",
            "LSTM_(single)",
            "LSTM_(joint)",
            "NRI_(full_graph)",
            "NRI_(true_graph)",
        )
    }
    assert paper.main(call) == 0
    again = record(results, "full")["rows"]
    for one, other in zip(first, again, strict=True):
        assert other["seconds_per_run"] is None
        assert {**one, "seconds_per_run": None} == other


def springs_task(seed=0, system="springs"):
    setting = nri_data.setting_of("small", "springs")
    data = nri_data.load("springs", 3, setting, seed, torch.device("cpu"), False)
    return nri_data.Task(data._replace(system=system), setting, "small", seed, None, None)


def test_a_run_repeats_and_its_seed_matters(results):
    def found(seed):
        rows = [nri_runs.nri_row(springs_task(seed)), nri_runs.supervised_row(springs_task(seed))]
        return [{**row, "seconds": None} for row in rows]

    assert found(0) == found(0) != found(1)


def test_types_are_relabelled_only_where_none_means_no_edge(results, monkeypatch):
    def wrong(model, states, batch_size):
        return 1 - task.data.test_types

    monkeypatch.setattr(nri_runs.NRI, "edge_types", wrong)
    task = springs_task()
    assert nri_runs.nri_row(task)["accuracy"] == 0
    task = springs_task(system="charged")
    assert nri_runs.nri_row(task)["accuracy"] == 100


def test_a_cnn_reads_all_systems_but_springs_and_has_a_setting_of_its_own():
    small = nri_data.SETTINGS["small"]
    for system in nri_data.SYSTEMS:
        setting, convolve = nri_data.setting_of("small", system), system != "springs"
        expected = small["convolved"] if convolve else small
        for key in ("encoder_hidden", "lr", "epochs"):
            assert setting[key] == expected[key]
        assert set(nri_data.setting_of("small", system, 7)["epochs"].values()) == {7}
        few = setting | {"simulations": {system: 2}, "tests": 2}
        data = nri_data.load(system, 3, few, 0, torch.device("cpu"), False)
        task = nri_data.Task(data, setting, "small", 0, None, None)
        assert isinstance(nri_runs.networks(task)[0], CNNEncoder) == convolve


def still(states, steps):
    return states[:, :, -1:].expand(-1, -1, steps, -1)


def test_stretched_states_mean_the_same_physics_and_the_same_errors(results):
    def found(stretch):
        setting = nri_data.setting_of("small", "springs") | {"stretch": {"springs": stretch}}
        data = nri_data.load("springs", 3, setting, 0, torch.device("cpu"), False)
        task = nri_data.Task(data, setting, "small", 0, None, None)
        assert task.variance == pytest.approx(stretch**2 * 5e-5)
        known = nri_runs.networks(task, simulated=True)[1]
        with torch.no_grad():
            known.strength.fill_(0.1)  # the simulator's own
        graph = nri_runs.true_graph(data.test_types)

        def predict(states, steps):
            return known.rollout(states, graph, steps)

        return [nri_runs.row(task, "", predictor=p)["mse"][20] for p in (predict, still)]

    plain, stretched = found(1.0), found(5.0)
    assert plain[1] == pytest.approx(stretched[1], rel=1e-4)
    assert plain[0] < 1e-4 * plain[1] and stretched[0] < 1e-4 * stretched[1]


def test_the_graph_reaches_the_decoder(results):
    task = springs_task()
    full, true = (nri_runs.graph_given_row(task, full=full)["mse"][20] for full in (True, False))
    ones = [torch.ones_like(types) for types in (task.data.types, task.data.test_types)]
    linked = task._replace(data=task.data._replace(types=ones[0], test_types=ones[1]))
    assert full != true
    assert nri_runs.graph_given_row(linked, full=False)["mse"][20] == pytest.approx(full, rel=1e-4)


def test_processes_get_what_they_need_and_rows_keep_their_order(results, monkeypatch):
    pools = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, processes, mp_context):
            super().__init__(processes)
            pools.append((processes, mp_context.get_start_method()))

        def map(self, function, *jobs):
            return super().map(function, *pickle.loads(pickle.dumps(jobs)))

    def row(place, options):
        time.sleep(0.05 * (place[2] == 0))
        return [(place, options.threads, options.epochs)]

    monkeypatch.setattr(paper, "ProcessPoolExecutor", Pool)
    assert pickle.loads(pickle.dumps(paper.run)) is paper.run
    monkeypatch.setattr(paper, "run", row)
    places = [("springs", 5, 0), ("springs", 5, 1), ("charged", 5, 0)]
    options = paper.parse(["--processes", "2", "--threads", "3", "--epochs", "7"])
    found = paper.run_all(places, options)
    assert found == [(place, 3, 7) for place in places] and pools == [(2, "spawn")]
    options.processes = 1
    assert paper.run_all(places, options) == found and len(pools) == 1


def test_an_unknown_system_is_an_error_of_the_call(results, capsys):
    with pytest.raises(SystemExit) as stopped:
        paper.main(["--systems", "springs,planets"])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "no system is called 'planets': choose from springs, charged, kuramoto" in said
    assert list(results.iterdir()) == []
