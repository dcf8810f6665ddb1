"""Graph: what it accepts, what it says about what it does not."""

import dataclasses

import pytest
import torch

from course_lib.data import Graph
from tests.devices import devices

EDGES = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


def mask(*nodes: int) -> torch.Tensor:
    return torch.isin(torch.arange(4), torch.tensor(nodes, dtype=torch.int64))


def path_graph(**changes) -> Graph:
    """Three nodes in a row and an isolated one without a label."""
    fields = {
        "x": torch.eye(4),
        "edge_index": EDGES,
        "y": torch.tensor([0, 1, 0, -1]),
        "train_mask": mask(0),
        "val_mask": mask(1),
        "test_mask": mask(2),
        "num_classes": 2,
        "name": "path",
        "source": "twin",
    }
    return Graph(**(fields | changes))


def test_sizes():
    graph = path_graph(x=torch.ones(4, 7))
    assert (graph.num_nodes, graph.num_edges, graph.num_features) == (4, 4, 7)
    assert "nodes=4, edges=4, features=7, classes=2" in repr(graph)


def test_a_graph_without_edges_or_nodes_is_one():
    assert path_graph(edge_index=torch.empty(2, 0, dtype=torch.int64)).num_edges == 0
    none = torch.empty(0, dtype=torch.bool)
    empty = path_graph(
        x=torch.empty(0, 3),
        edge_index=torch.empty(2, 0, dtype=torch.int64),
        y=torch.empty(0, dtype=torch.int64),
        train_mask=none,
        val_mask=none,
        test_mask=none,
    )
    assert empty.num_nodes == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x": torch.eye(4, dtype=torch.float64)},
            r"x must be float32 \[N, F\], got float64 \[4, 4\]",
        ),
        (
            {"edge_index": EDGES.t().float()},
            r"edge_index must be int64 \[2, E\], got float32 \[4, 2\]: transpose and cast it",
        ),
        ({"edge_index": EDGES + 2}, r"edge_index must hold node numbers in 0\.\.3, got 2\.\.4"),
        ({"edge_index": EDGES - 1}, r"in 0\.\.3, got -1\.\.1"),
        ({"y": torch.tensor([0, 1, 0])}, r"y must be int64 \[4\] as x has, got int64 \[3\]"),
        ({"y": torch.tensor([0, 1, 2, -1])}, r"y must lie in 0\.\.1, or be -1 .* got -1\.\.2"),
        ({"y": torch.tensor([0, 1, 0, -2])}, r"got -2\.\.1"),
        ({"test_mask": mask(2).long()}, r"test_mask must be bool \[4\]"),
        ({"test_mask": mask(0, 2)}, "overlap: a split must be disjoint"),
        ({"test_mask": mask(2, 3)}, r"test_mask selects nodes without a label"),
        ({"source": "fake"}, 'source must be "real" or "twin"'),
    ],
)
def test_wrong_fields_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        path_graph(**changes)


def test_a_field_that_is_no_tensor_is_named():
    with pytest.raises(TypeError, match=r"y must be a torch\.Tensor, got list"):
        path_graph(y=[0, 1, 0, 0])


def test_fields_cannot_be_exchanged():
    with pytest.raises(dataclasses.FrozenInstanceError):
        path_graph().y = torch.zeros(4, dtype=torch.int64)


@pytest.mark.parametrize("device", devices())
def test_to_moves_every_tensor_and_keeps_the_rest(device):
    moved = path_graph().to(device)
    for field in ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask"):
        assert getattr(moved, field).device.type == device.type
        assert torch.equal(getattr(moved, field).cpu(), getattr(path_graph(), field))
    assert (moved.name, moved.source, moved.num_classes) == ("path", "twin", 2)


def test_tensors_on_two_devices_are_refused():
    with pytest.raises(ValueError, match=r"must share one device, got \['cpu', 'meta'\]"):
        path_graph(y=torch.zeros(4, dtype=torch.int64, device="meta"))
