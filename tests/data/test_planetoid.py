"""Planetoid: the facts of the real files, the oracle's reading of them, and small files by hand."""

import pickle
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from torch_geometric.io import read_planetoid_data

from course_lib.data import (
    ChecksumError,
    DataUnavailable,
    MalformedFile,
    UnsafePickle,
    citation_network,
    load_planetoid,
    normalize_features,
)
from course_lib.data.planetoid import PARTS, TWINS, read_planetoid
from tests.requirements import require

FACTS = {  # nodes, undirected edges, features, classes, split, isolated, unlabelled, homophily
    "cora": (2708, 5278, 1433, 7, (140, 500, 1000), 0, 0, 0.8100),
    "citeseer": (3327, 4552, 3703, 6, (120, 500, 1000), 48, 15, 0.7351),
}


def homophily(graph) -> float:
    source, target = graph.edge_index
    return float((graph.y[source] == graph.y[target]).double().mean())


@pytest.mark.parametrize("name", FACTS)
def test_the_facts_of_the_real_files(name):
    require("data")
    nodes, edges, features, classes, split, isolated, unlabelled, same = FACTS[name]
    graph = load_planetoid(name)
    assert (graph.num_nodes, graph.num_edges) == (nodes, 2 * edges)
    assert (graph.num_features, graph.num_classes) == (features, classes)
    masks = (graph.train_mask, graph.val_mask, graph.test_mask)
    assert tuple(int(mask.sum()) for mask in masks) == split
    assert torch.bincount(graph.y[graph.train_mask]).tolist() == [20] * classes
    degree = torch.bincount(graph.edge_index[1], minlength=nodes)
    assert int((degree == 0).sum()) == isolated
    assert int((graph.y == -1).sum()) == unlabelled
    assert not graph.x[graph.y == -1].any()
    assert homophily(graph) == pytest.approx(same, abs=1e-4)
    assert graph.source == "real"


@pytest.mark.parametrize("name", FACTS)
def test_the_real_files_are_read_as_torch_geometric_reads_them(name):
    folder = require("data") / "planetoid"
    graph, oracle = load_planetoid(name), read_planetoid_data(str(folder), name)
    assert torch.equal(graph.x, oracle.x)
    assert torch.equal(graph.edge_index, oracle.edge_index)
    for mask in ("train_mask", "val_mask", "test_mask"):
        assert torch.equal(getattr(graph, mask), oracle[mask])
    labelled = graph.y >= 0  # torch_geometric gives Citeseer's 15 others class 0
    assert torch.equal(graph.y[labelled], oracle.y[labelled])
    assert not oracle.y[~labelled].any()


def small_files(folder, **changes):
    """520 known nodes, test nodes 523, 521 and 520 in this order; node 522 is in no file."""
    one_hot = np.eye(2, dtype=np.int32)
    allx = csr_matrix(np.eye(520, 6))
    graph = defaultdict(list, {node: [] for node in range(524)})
    graph[0] = [1, 1, 0]  # an edge given twice, a loop
    graph[1] = [0]
    graph[2] = [523]  # given in one direction only
    values = {
        "x": allx[:4],
        "y": one_hot[[0, 1, 0, 1]],
        "tx": csr_matrix(np.array([[0, 0, 0, 0, 0, 3.0], [0, 0, 0, 0, 2.0, 0], [1.0] * 6])),
        "ty": one_hot[[1, 0, 0]],
        "allx": allx,
        "ally": one_hot[np.arange(520) % 2],
        "graph": graph,
        "test.index": "523\n521\n520\n",
    } | changes
    files = {}
    for part in PARTS:
        files[part] = folder / f"ind.small.{part}"
        value = values[part]
        if isinstance(value, str):
            files[part].write_text(value)
        else:
            files[part].write_bytes(pickle.dumps(value, protocol=3))
    return files


def test_test_nodes_go_where_test_index_says(tmp_path):
    graph = read_planetoid(small_files(tmp_path), "small")
    assert graph.num_nodes == 524
    assert graph.x[523].tolist() == [0, 0, 0, 0, 0, 3]
    assert graph.x[521].tolist() == [0, 0, 0, 0, 2, 0]
    assert graph.x[520].tolist() == [1] * 6
    assert graph.y[[523, 521, 520]].tolist() == [1, 0, 0]
    assert graph.test_mask.nonzero().view(-1).tolist() == [520, 521, 523]
    assert graph.train_mask.nonzero().view(-1).tolist() == [0, 1, 2, 3]
    assert graph.val_mask.nonzero().view(-1).tolist() == list(range(4, 504))


def test_a_gap_in_test_index_is_a_node_without_words_label_or_mask(tmp_path):
    graph = read_planetoid(small_files(tmp_path), "small")
    assert int(graph.y[522]) == -1
    assert not graph.x[522].any()
    assert not (graph.train_mask | graph.val_mask | graph.test_mask)[522]
    assert int((graph.y == -1).sum()) == 1


def test_edges_are_both_directions_once_without_loops(tmp_path):
    graph = read_planetoid(small_files(tmp_path), "small")
    assert graph.edge_index.tolist() == [[1, 0, 523, 2], [0, 1, 2, 523]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test.index": "523\n521\n"}, r"test.index has 2 nodes, but tx has 3 rows"),
        ({"test.index": "523\n521\n521\n"}, "names a node twice"),
        ({"test.index": "523\n521\n519\n"}, r"must name nodes in 520\.\.523, got 519\.\.523"),
        ({"test.index": "524\n521\n520\n"}, r"got 520\.\.524"),
        ({"test.index": "523\nx\n520\n"}, "must hold one node number a line"),
        ({"ty": np.eye(2)[[0, 1]]}, r"ind\.small\.ty has 2 rows of labels for 3 rows of features"),
        ({"tx": csr_matrix((3, 7))}, "other widths than allx and ally"),
        ({"ty": np.ones((3, 3))}, "other widths than allx and ally"),
        ({"allx": csr_matrix((503, 6)), "ally": np.zeros((503, 2))}, "too short for a split"),
        ({"x": np.ones(4)}, r"ind\.small\.x must hold a matrix"),
        ({"x": [[1.0]]}, r"ind\.small\.x must hold a matrix, got list"),
        ({"tx": np.full((3, 6), np.nan)}, r"ind\.small\.tx holds numbers that are not finite"),
        ({"allx": csr_matrix((520, 10**8))}, r"too large to be true"),
        ({"graph": [[1], [0]]}, "must map each node to the list of its neighbors"),
        ({"graph": {0: [1.0], 1: [0]}}, "must map each node to the list of its neighbors"),
        ({"graph": {0: [2], 2: [0]}}, r"must number its 2 nodes 0\.\.1"),
        ({"graph": {n: [524] for n in range(524)}}, r"a neighbor outside 0\.\.523"),
        ({"graph": {n: [-1] for n in range(524)}}, r"a neighbor outside 0\.\.523"),
        ({"graph": {n: [2**70] for n in range(524)}}, r"a neighbor outside 0\.\.523"),
    ],
)
def test_files_that_do_not_fit_together_are_named(tmp_path, changes, message):
    with pytest.raises(MalformedFile, match=message):
        read_planetoid(small_files(tmp_path, **changes), "small")


@pytest.mark.parametrize("part", PARTS)
def test_a_truncated_file_is_named(tmp_path, part):
    files = small_files(tmp_path)
    content = files[part].read_bytes()
    files[part].write_bytes(content[: len(content) // 2])
    with pytest.raises(MalformedFile, match=rf"ind\.small\.{part}"):
        read_planetoid(files, "small")


def test_a_pickle_that_would_run_code_is_named(tmp_path):
    files = small_files(tmp_path)
    files["ally"].write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(
        UnsafePickle, match=r"ind\.small\.ally was not read: it asks for os\.system"
    ):
        read_planetoid(files, "small")


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No mirror, an empty cache, and no network."""

    def refuse(*arguments, **options):
        raise ConnectionError("no network in tests")

    monkeypatch.delenv("COURSE_DATA", raising=False)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("pooch.retrieve", refuse)
    return tmp_path


def test_without_the_files_load_planetoid_says_what_to_do(offline):
    with pytest.raises(DataUnavailable, match=r"planetoid/ind\.cora\.x cannot be had"):
        load_planetoid("cora")


@pytest.mark.parametrize("name", FACTS)
def test_without_the_files_a_twin_of_the_same_size_says_so(offline, capsys, name):
    nodes, edges, features, classes, split, _, _, same = FACTS[name]
    graph = citation_network(name)
    output = capsys.readouterr().out
    assert output.startswith("twin: ")
    assert output.count("\n") == 1
    assert (graph.num_nodes, graph.num_edges) == (nodes, 2 * edges)
    assert (graph.num_features, graph.num_classes) == (features, classes)
    masks = (graph.train_mask, graph.val_mask, graph.test_mask)
    assert tuple(int(mask.sum()) for mask in masks) == split
    assert homophily(graph) == pytest.approx(same, abs=1e-3)
    assert graph.source == "twin"


def test_the_line_of_a_twin_says_what_would_help(offline, capsys):
    citation_network("cora")
    assert "for the real one set COURSE_DATA or connect (" in capsys.readouterr().out
    citation_network("pubmed")  # has no checksum, so it is never downloaded
    assert "for the real one set COURSE_DATA (" in capsys.readouterr().out


def test_the_twin_has_as_many_words_as_the_real_one():
    require("data")
    for name in FACTS:
        assert TWINS[name]["words_per_node"] == pytest.approx(
            float(load_planetoid(name).x.sum(dim=1).mean()), abs=0.1
        )


def test_with_the_files_the_real_one_says_so(capsys):
    require("data")
    graph = citation_network("cora")
    assert graph.source == "real"
    assert capsys.readouterr().out == (
        "real: Cora, with the Planetoid split "
        "(2,708 nodes, 5,278 edges, 1,433 features, 7 classes)\n"
    )


def test_a_damaged_or_mistyped_mirror_never_leads_to_the_twin(offline, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(offline / "nowhere"))
    with pytest.raises(ValueError, match="COURSE_DATA is not a folder"):
        citation_network("cora")
    mirror = offline / "mirror" / "planetoid"
    mirror.mkdir(parents=True)
    (mirror / "ind.cora.x").write_bytes(b"half a file")
    monkeypatch.setenv("COURSE_DATA", str(mirror.parent))
    with pytest.raises(ChecksumError, match=r"ind\.cora\.x is not the file"):
        citation_network("cora")


def test_an_unknown_network_is_refused(offline):
    for load in (load_planetoid, citation_network):
        with pytest.raises(ValueError, match="one of cora, citeseer, pubmed, got 'Cora'"):
            load("Cora")


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), max_size=6))
def test_normalized_rows_sum_to_one_and_zero_rows_stay(rows):
    x = torch.tensor(rows, dtype=torch.float64).view(-1, 3)
    normalized = normalize_features(x)
    total = x.sum(dim=1)
    torch.testing.assert_close(normalized.sum(dim=1), (total > 0).double())
    torch.testing.assert_close(normalized * total[:, None], x)
