"""Cora, Citeseer and PubMed with the split of Planetoid, and twins of them for where they are not."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse import issparse
from torch import Tensor

from course_lib.data.array_pickle import MalformedFile, read_array_pickle
from course_lib.data.citation_graph import citation_graph
from course_lib.data.fetch import DataUnavailable, fetch, registry
from course_lib.data.graph import Graph

PARTS = ("x", "y", "tx", "ty", "allx", "ally", "graph", "test.index")
NUM_VAL = 500
MAX_ENTRIES = 10**9  # of a dense matrix: a damaged shape must not fill the memory
TITLES = {"cora": "Cora", "citeseer": "Citeseer", "pubmed": "PubMed"}
TWINS: dict[str, dict[str, Any]] = {  # the sizes of the real ones
    "cora": {
        "num_nodes": 2708,
        "num_classes": 7,
        "num_features": 1433,
        "avg_degree": 2 * 5278 / 2708,
        "homophily": 0.81,
        "misfiled": 0.25,
        "words_per_node": 18.2,
    },
    "citeseer": {
        "num_nodes": 3327,
        "num_classes": 6,
        "num_features": 3703,
        "avg_degree": 2 * 4552 / 3327,
        "homophily": 0.735,
        "misfiled": 0.25,
        "words_per_node": 31.6,
        "topic": 0.38,
    },
    "pubmed": {
        "num_nodes": 19717,
        "num_classes": 3,
        "num_features": 500,
        "avg_degree": 2 * 44324 / 19717,
        "homophily": 0.802,
        "misfiled": 0.25,
        "words_per_node": 50.0,
        "topic": 0.2,
    },
}


def citation_network(name: str, *, seed: int = 0) -> Graph:
    """The citation network `name`: the real one, or its twin where the files cannot be had.

    Prints one line that begins with "real:" or "twin:". The twin (`citation_graph`) has the
    nodes, edges, features, classes, homophily and split sizes of the real one; `seed` selects it,
    and has no effect on real data. A quarter of its papers are misfiled, so that it is about as hard:
    on Cora's twin a two-layer MLP reaches about 53 % and a GCN about 84 % (means of six seeds).

    Raises ValueError for an unknown name or a wrong $COURSE_DATA, and what `load_planetoid` raises
    for files that are there but damaged: only missing files lead to the twin.
    """
    try:
        graph = load_planetoid(name)
    except DataUnavailable:
        title = TITLES[name]
        graph = citation_graph(**TWINS[name], seed=seed, name=title)
        pinned = registry()[f"planetoid/ind.{name}.x"].sha256 is not None
        remark = f"a procedural stand-in for {title}; for the real one set COURSE_DATA" + (
            " or connect" if pinned else ""
        )
    else:
        remark = f"{graph.name}, with the Planetoid split"
    print(
        f"{graph.source}: {remark} ({graph.num_nodes:,} nodes, {graph.num_edges // 2:,} edges, "
        f"{graph.num_features:,} features, {graph.num_classes} classes)"
    )
    return graph


def load_planetoid(name: str) -> Graph:
    """The real citation network "cora", "citeseer" or "pubmed".

    x holds the features as published (0/1 words, for PubMed TF-IDF). Citations count in both
    directions, once; loops are dropped, as torch_geometric does (Citeseer has 124). The split is
    Planetoid's: 20 training nodes a class, 500 for validation, 1,000 for testing. Citeseer's
    test.index leaves out 15 nodes that have neither words nor a label: their x is zero, their y is
    -1, and they are in no mask.

    Source: Sen et al. 2008; Yang, Cohen and Salakhutdinov 2016 (arXiv:1603.08861).

    Raises:
        ValueError: unknown name.
        DataUnavailable: the files cannot be had.
        ChecksumError: a file is not the one that the registry names.
        MalformedFile: a file cannot be read (`UnsafePickle`: it asks for more than arrays).
    """
    if name not in TITLES:
        raise ValueError(f"name must be one of {', '.join(TITLES)}, got {name!r}")
    files = {part: fetch(f"planetoid/ind.{name}.{part}") for part in PARTS}
    return read_planetoid(files, TITLES[name])


def normalize_features(x: Tensor) -> Tensor:
    """Divide each row of x [N, F] by its sum. Rows that sum to zero stay as they are."""
    total = x.sum(dim=1, keepdim=True)
    return x / torch.where(total == 0, torch.ones_like(total), total)


def read_planetoid(files: Mapping[str, Path], name: str) -> Graph:
    """The graph that the eight `files` (by part: x, y, tx, ty, allx, ally, graph, test.index) hold.

    Row i of tx and ty belongs to node test.index[i]; allx and ally are nodes 0, 1, ... and begin
    with the training nodes x and y. Raises MalformedFile where the parts do not fit together.
    """
    x, tx, allx = (_matrix(files[part]) for part in ("x", "tx", "allx"))
    y, ty, ally = (_matrix(files[part]) for part in ("y", "ty", "ally"))
    index = _test_index(files["test.index"])
    edge_index, num_nodes = _edges(files["graph"])
    _check(files, (x, y), (tx, ty), (allx, ally), index, num_nodes)
    features = np.zeros((num_nodes, allx.shape[1]), dtype=np.float32)
    labels = np.zeros((num_nodes, ally.shape[1]))  # one-hot, a zero row has no label
    features[: len(allx)], labels[: len(ally)] = allx, ally
    features[index], labels[index] = tx, ty
    classes = np.where(labels.any(axis=1), labels.argmax(axis=1), -1)
    masks = np.zeros((3, num_nodes), dtype=bool)
    masks[0, : len(y)] = True
    masks[1, len(y) : len(y) + NUM_VAL] = True
    masks[2, index] = True
    train_mask, val_mask, test_mask = torch.from_numpy(masks)
    return Graph(
        x=torch.from_numpy(features),
        edge_index=torch.from_numpy(edge_index),
        y=torch.from_numpy(classes),
        train_mask=train_mask,
        val_mask=val_mask,
        test_mask=test_mask,
        num_classes=labels.shape[1],
        name=name,
        source="real",
    )


def _check(
    files: Mapping[str, Path],
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    known: tuple[np.ndarray, np.ndarray],
    index: np.ndarray,
    num_nodes: int,
) -> None:
    for words, labels, part in ((*train, "y"), (*test, "ty"), (*known, "ally")):
        if len(words) != len(labels):
            raise MalformedFile(
                f"{files[part]} has {len(labels)} rows of labels for {len(words)} rows of features"
            )
        if words.shape[1] != known[0].shape[1] or labels.shape[1] != known[1].shape[1]:
            raise MalformedFile(
                f"{files[part]} and its features have other widths than allx and ally"
            )
    num_known = len(known[0])
    if len(index) != len(test[0]):
        raise MalformedFile(
            f"{files['test.index']} has {len(index)} nodes, but tx has {len(test[0])} rows: "
            "one of them is truncated"
        )
    if index.size and (index.min() < num_known or index.max() >= num_nodes):
        raise MalformedFile(
            f"{files['test.index']} must name nodes in {num_known}..{num_nodes - 1}, got "
            f"{index.min()}..{index.max()}"
        )
    if np.unique(index).size < index.size:
        raise MalformedFile(f"{files['test.index']} names a node twice")
    if len(train[0]) + NUM_VAL > num_known:
        raise MalformedFile(f"{files['allx']} is too short for a split of {NUM_VAL} to validate")


def _matrix(path: Path) -> np.ndarray:
    """A dense matrix of finite numbers [rows, columns]."""
    value = read_array_pickle(path)
    if not (isinstance(value, np.ndarray) or issparse(value)) or value.ndim != 2:
        raise MalformedFile(f"{path} must hold a matrix, got {type(value).__name__}")
    if value.shape[0] * value.shape[1] > MAX_ENTRIES:
        raise MalformedFile(f"{path} holds a matrix of shape {value.shape}: too large to be true")
    dense = value.toarray() if issparse(value) else value
    if not np.isfinite(dense).all():
        raise MalformedFile(f"{path} holds numbers that are not finite")
    return dense


def _test_index(path: Path) -> np.ndarray:
    """Node numbers int64 [1000], one a line."""
    try:
        return np.array([int(line) for line in path.read_text("ascii").split()], dtype=np.int64)
    except ValueError as error:
        raise MalformedFile(f"{path} must hold one node number a line: {error}") from None


def _edges(path: Path) -> tuple[np.ndarray, int]:
    """Both directions of each edge once, without loops, int64 [2, E] by target; and N."""
    neighbors = read_array_pickle(path)
    if not isinstance(neighbors, dict) or not all(
        isinstance(row, list) and all(type(node) is int for node in row)
        for row in neighbors.values()
    ):
        raise MalformedFile(f"{path} must map each node to the list of its neighbors")
    num_nodes = len(neighbors)
    if set(neighbors) != set(range(num_nodes)):
        raise MalformedFile(f"{path} must number its {num_nodes} nodes 0..{num_nodes - 1}")
    lengths = [len(row) for row in neighbors.values()]
    source = np.repeat(np.array(list(neighbors), dtype=np.int64), lengths)
    try:
        target = np.fromiter(chain.from_iterable(neighbors.values()), np.int64, sum(lengths))
    except OverflowError:
        target = np.array([-1])
    if target.size and not 0 <= target.min() <= target.max() < num_nodes:
        raise MalformedFile(f"{path} names a neighbor outside 0..{num_nodes - 1}")
    keep = source != target
    source, target = source[keep], target[keep]
    codes = np.concatenate([target * num_nodes + source, source * num_nodes + target])
    codes = np.unique(codes)
    return np.stack([codes % num_nodes, codes // num_nodes]), num_nodes
