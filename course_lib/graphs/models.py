"""Node classifiers, and their semi-supervised training: some labels, all nodes and edges.

The models take what the layers take: x dense or a CSRMatrix, edge_index edges [2, E] or a
CSRMatrix. On a graph that does not change, `fast_inputs(graph)` makes both sparse once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.graphs.layers import GCNConv, SGConv
from course_lib.graphs.message_passing import gcn_norm
from course_lib.graphs.sparse import CSRMatrix
from course_lib.training import History, fit

__all__ = ["GCN", "MLP", "SGC", "accuracy", "fast_inputs", "propagate", "train_node_classifier"]


def _dropout(x: Tensor | CSRMatrix, p: float, training: bool) -> Tensor | CSRMatrix:
    if isinstance(x, CSRMatrix):
        return x.dropout(p, training)
    return F.dropout(x, p, training)


def _widths(in_channels: int, hidden: int, out_channels: int, num_layers: int) -> list[int]:
    if num_layers < 1:
        raise ValueError(f"a network needs at least one layer, got num_layers={num_layers}")
    return [in_channels, *[hidden] * (num_layers - 1), out_channels]


class MLP(nn.Module):
    """The baseline that sees no edges: dropout, linear, ReLU, repeated; the last layer is linear.

    Args:
        in_channels, hidden, out_channels: features a node before, between and after.
        num_layers: number of linear layers.
        dropout: probability, applied before each layer.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        widths = _widths(in_channels, hidden, out_channels, num_layers)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.dropout = dropout
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor | CSRMatrix, edge_index: Any = None) -> Tensor:
        """[N, in_channels] -> logits [N, out_channels]; edge_index is ignored."""
        h = x
        for depth, layer in enumerate(self.layers):
            h = _dropout(F.relu(h) if depth else h, self.dropout, self.training)
            h = h @ layer.weight.t() + layer.bias
        return h


class GCN(nn.Module):
    """A stack of graph convolutions: H_{l+1} = ReLU(A_hat dropout(H_l) W_l + b_l), the last linear.

    Two layers of hidden 16 are the network of Kipf & Welling (2017).

    Args:
        in_channels, hidden, out_channels: features a node before, between and after.
        num_layers: number of convolutions.
        dropout: probability, applied before each layer.
        norm: "sym" or "row", see `gcn_norm`; a CSRMatrix given for edge_index replaces it.
        residual: add H_l to the output of each layer between hidden states (equal widths), which
            lets deep stacks train.
    """

    def __init__(
        self,
        in_channels: int,
        hidden: int,
        out_channels: int,
        num_layers: int = 2,
        dropout: float = 0.5,
        norm: str = "sym",
        residual: bool = False,
    ) -> None:
        super().__init__()
        widths = _widths(in_channels, hidden, out_channels, num_layers)
        self.layers = nn.ModuleList(GCNConv(a, b, norm=norm) for a, b in itertools.pairwise(widths))
        self.dropout, self.residual = dropout, residual

    def forward(
        self,
        x: Tensor | CSRMatrix,
        edge_index: Tensor | CSRMatrix,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """[N, in_channels] -> logits [N, out_channels]."""
        return self.states(x, edge_index, edge_weight)[-1]

    def states(
        self,
        x: Tensor | CSRMatrix,
        edge_index: Tensor | CSRMatrix,
        edge_weight: Tensor | None = None,
    ) -> list[Tensor]:
        """The output of every layer, hidden ones after the ReLU: [N, hidden] ..., [N, out]."""
        outputs: list[Tensor] = []
        h = x
        last = len(self.layers) - 1
        for depth, layer in enumerate(self.layers):
            out = layer(_dropout(h, self.dropout, self.training), edge_index, edge_weight)
            if depth < last:
                out = F.relu(out)
                if self.residual and depth > 0:
                    out = out + h
            outputs.append(out)
            h = out
        return outputs


class SGC(nn.Module):
    """Simplified graph convolution: one SGConv layer; a linear classifier on A_hat^K X.

    With x precomputed by `propagate`, K=0 gives the same model at the price of a linear layer.
    """

    def __init__(self, in_channels: int, out_channels: int, K: int = 2, norm: str = "sym") -> None:
        super().__init__()
        self.layers = nn.ModuleList([SGConv(in_channels, out_channels, K, norm=norm)])

    def forward(
        self,
        x: Tensor | CSRMatrix,
        edge_index: Tensor | CSRMatrix,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """[N, in_channels] -> logits [N, out_channels]."""
        return self.layers[0](x, edge_index, edge_weight)


def propagate(x: Tensor, matrix: CSRMatrix, k: int) -> Tensor:
    """k rounds of averaging, A_hat^k X: [N, F] -> [N, F]. Nothing to learn, so done once."""
    if k < 0:
        raise ValueError(f"k counts rounds of averaging and cannot be negative, got {k}")
    for _ in range(k):
        x = matrix @ x
    return x


def fast_inputs(graph: Any, norm: str = "sym") -> tuple[CSRMatrix, CSRMatrix]:
    """The graph's features and its normalised adjacency, both sparse, built once.

    The features stay as they are; Kipf & Welling divide each row by its sum first
    (`data.normalize_features`).

    Returns:
        x as a CSRMatrix [N, F] and A_hat as a CSRMatrix [N, N]: pass them to a model in place of
        graph.x and graph.edge_index. The result is the same, and Cora trains several times faster.
    """
    num_nodes = graph.x.size(0)
    edge_index, weight = gcn_norm(
        graph.edge_index, num_nodes=num_nodes, norm=norm, dtype=graph.x.dtype
    )
    return CSRMatrix.from_dense(graph.x), CSRMatrix.from_edges(edge_index, weight, num_nodes)


def accuracy(logits: Tensor, y: Tensor, mask: Tensor) -> float:
    """Share of the masked nodes whose largest logit is their label; NaN for an empty mask."""
    return (logits.argmax(-1)[mask] == y[mask]).double().mean().item()


def _first_layer(model: nn.Module) -> nn.Module:
    """`model.layers[0]`, or the model's first part that has parameters, or the model."""
    parts = list(getattr(model, "layers", model.children()))
    return next((part for part in parts if next(part.parameters(), None) is not None), model)


def train_node_classifier(
    model: nn.Module,
    graph: Any,
    *,
    x: Tensor | CSRMatrix | None = None,
    edge_index: Tensor | CSRMatrix | None = None,
    epochs: int = 200,
    lr: float = 0.01,
    weight_decay: float = 5e-4,
    seed: int | None = None,
    callback: Callable[[int, nn.Module], None] | None = None,
    progress: bool = False,
) -> dict[str, list[float]]:
    """Fit a classifier to the labelled nodes, all nodes and edges in view (full batch, Adam).

    The loss is the cross-entropy over train_mask; L2 decay (weight_decay / 2) ||W||^2 is put on
    the first layer only, as in Kipf & Welling (2017).

    Args:
        model: called as model(x, edge_index) -> logits [N, C]. Its first layer is
            `model.layers[0]`, or its first part with parameters.
        graph: has x, edge_index, y [N], train_mask, val_mask, test_mask [N].
        x, edge_index: what the model is given in place of the graph's, see `fast_inputs`.
        epochs: gradient steps.
        seed: of the dropout masks (torch.manual_seed); the model comes with its own weights.
        callback: called as callback(epoch, model) after each step, in evaluation mode; epochs
            are 0, 1, ... as in `fit`.
        progress: show a bar.

    Returns:
        A history: "loss" (with dropout, before the step), and the accuracies "train", "val",
        "test" in 0..1 (without dropout, after the step), one entry an epoch.

    Raises:
        ValueError: no node is labelled for training.
    """
    x = graph.x if x is None else x
    edge_index = graph.edge_index if edge_index is None else edge_index
    train = graph.train_mask.nonzero().view(-1)
    if train.numel() == 0:
        raise ValueError("train_mask is empty: mark at least one labelled node for training")
    if seed is not None:
        torch.manual_seed(seed)
    first = list(_first_layer(model).parameters())
    decayed = {id(parameter) for parameter in first}
    others = [p for p in model.parameters() if id(p) not in decayed]
    optimizer = torch.optim.Adam(
        [{"params": first, "weight_decay": weight_decay}, {"params": others}], lr=lr
    )
    masks = {"train": graph.train_mask, "val": graph.val_mask, "test": graph.test_mask}
    accuracies: dict[str, list[float]] = {name: [] for name in masks}

    def loss_fn(model: nn.Module, _: Any) -> Tensor:
        return F.cross_entropy(model(x, edge_index)[train], graph.y[train])

    def on_epoch(epoch: int, _: History) -> None:
        model.eval()
        with torch.no_grad():
            logits = model(x, edge_index)
        for name, mask in masks.items():
            accuracies[name].append(accuracy(logits, graph.y, mask))
        if callback is not None:
            callback(epoch, model)

    history = fit(
        model,
        loss_fn,
        [None],
        epochs=epochs,
        optimizer=optimizer,
        on_epoch=on_epoch,
        progress=progress,
    )
    return {"loss": history.train_loss, **accuracies}
