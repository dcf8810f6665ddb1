"""One attributed graph for node classification: the value that every graph dataset returns."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

SOURCES = ("real", "twin")


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph with N nodes, E directed edges and F features a node.

    Row 0 of `edge_index` holds the sources and row 1 the targets, as in torch_geometric. An
    undirected graph holds each of its edges in both directions, so E is twice the number that
    papers quote.

    Args:
        x: node features, float32 [N, F].
        edge_index: int64 [2, E], entries in 0..N-1.
        y: classes, int64 [N], in 0..num_classes-1; -1 marks a node without a label.
        train_mask, val_mask, test_mask: bool [N]; disjoint, and true only where y is known.
        num_classes: number of classes C.
        name: what to call it in a title or a message.
        source: "real" for measured data, "twin" for a procedural stand-in.

    Raises:
        TypeError: a field is not a tensor.
        ValueError: a field has the wrong shape, dtype, device or range.
    """

    x: Tensor
    edge_index: Tensor
    y: Tensor
    train_mask: Tensor
    val_mask: Tensor
    test_mask: Tensor
    num_classes: int
    name: str
    source: str

    def __post_init__(self) -> None:
        for field in ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask"):
            value = getattr(self, field)
            if not isinstance(value, Tensor):
                raise TypeError(f"{field} must be a torch.Tensor, got {type(value).__name__}")
        if self.source not in SOURCES:
            raise ValueError(f'source must be "real" or "twin", got {self.source!r}')
        if self.x.dim() != 2 or self.x.dtype != torch.float32:
            raise ValueError(f"x must be float32 [N, F], got {describe(self.x)}")
        index = self.edge_index
        if index.dim() != 2 or index.shape[0] != 2 or index.dtype != torch.int64:
            hint = "transpose and cast it" if index.shape[-1:] == (2,) else "cast or reshape it"
            raise ValueError(f"edge_index must be int64 [2, E], got {describe(index)}: {hint}")
        expected = {"y": torch.int64} | dict.fromkeys(
            ("train_mask", "val_mask", "test_mask"), torch.bool
        )
        for field, dtype in expected.items():
            value = getattr(self, field)
            if value.shape != (self.num_nodes,) or value.dtype != dtype:
                wanted = f"{str(dtype).removeprefix('torch.')} [{self.num_nodes}]"
                raise ValueError(f"{field} must be {wanted} as x has, got {describe(value)}")
        devices = {str(getattr(self, f.name).device) for f in fields(self)[:6]}
        if len(devices) > 1:
            raise ValueError(f"all tensors of a Graph must share one device, got {sorted(devices)}")
        self._check_ranges()

    def _check_ranges(self) -> None:
        if self.num_edges:
            low, high = (int(v) for v in self.edge_index.aminmax())
            if low < 0 or high >= self.num_nodes:
                raise ValueError(
                    f"edge_index must hold node numbers in 0..{self.num_nodes - 1}, "
                    f"got {low}..{high}"
                )
        if self.num_nodes:
            low, high = (int(v) for v in self.y.aminmax())
            if low < -1 or high >= self.num_classes:
                raise ValueError(
                    f"y must lie in 0..{self.num_classes - 1}, or be -1 for no label, "
                    f"got {low}..{high}"
                )
        masks = {f: getattr(self, f) for f in ("train_mask", "val_mask", "test_mask")}
        if bool((sum(mask.long() for mask in masks.values()) > 1).any()):
            raise ValueError("train_mask, val_mask and test_mask overlap: a split must be disjoint")
        for field, mask in masks.items():
            if bool((mask & (self.y < 0)).any()):
                raise ValueError(f"{field} selects nodes without a label (y = -1)")

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.x.shape[0]

    @property
    def num_edges(self) -> int:
        """E, the number of directed edges (columns of `edge_index`)."""
        return self.edge_index.shape[1]

    @property
    def num_features(self) -> int:
        """F."""
        return self.x.shape[1]

    def to(self, device: torch.device | str) -> Graph:
        """The same graph with all its tensors on `device`."""
        moved = {f.name: getattr(self, f.name) for f in fields(self)}
        return Graph(**{k: v.to(device) if isinstance(v, Tensor) else v for k, v in moved.items()})

    def __repr__(self) -> str:
        return (
            f"Graph({self.name!r}, {self.source}, nodes={self.num_nodes}, edges={self.num_edges}, "
            f"features={self.num_features}, classes={self.num_classes})"
        )


def describe(tensor: Tensor) -> str:
    """Dtype and shape for an error message, e.g. `float32 [3, 2]`."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
