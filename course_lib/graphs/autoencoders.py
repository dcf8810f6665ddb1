"""Autoencoders whose input is a graph: nodes become points, and near points are likely linked.

    encoder   a GCN of two layers: z_v depends on v, its neighbours and theirs
    decoder   p(u and v are linked | z) = sigmoid(z_u . z_v); it has nothing to learn

The published loss goes over all N^2 ordered pairs. The positives are the edges in both directions
and each node with itself (A + I), and they weigh as much as all other pairs together:

    L = 1/2 (mean over positives of softplus(-z_u . z_v) + mean over the others of softplus(z_u . z_v))
        + (sum over nodes of KL(q(z_v) || N(0, I))) / N^2         the variational one only

that is, minus the ELBO over N^2 but for the weights. A KL is a sum over the latents, one value a
node [N], in nats. `link_loss` computes L without an N x N array, or estimates it from sampled pairs.

Source: Kipf & Welling 2016, https://arxiv.org/abs/1611.07308, and the code that came with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from course_lib.graphs.link_split import LinkSplit, NonEdges
from course_lib.graphs.message_passing import add_remaining_self_loops
from course_lib.graphs.models import GCN
from course_lib.graphs.ranking import auc, average_precision
from course_lib.graphs.sparse import CSRMatrix
from course_lib.latent.vae import gaussian_kl, reparameterise
from course_lib.training import History, fit

__all__ = [
    "GAE",
    "VGAE",
    "auc",
    "average_precision",
    "inner_product",
    "link_loss",
    "score_links",
    "train_link_predictor",
]

Matrix = Tensor | CSRMatrix  # what a graph's layers take, see `course_lib.graphs.layers`
BLOCK = 256  # rows of Z Z^T at a time: a block of Cora's stays in the cache


class GAE(nn.Module):
    """Graph autoencoder: z = GCN(x, edges), one point a node.

    Args:
        in_channels: features a node.
        hidden: width of the hidden layer.
        latent_size: k, coordinates of a node's point.
    """

    def __init__(self, in_channels: int, hidden: int = 32, latent_size: int = 16) -> None:
        super().__init__()
        self.encoder = GCN(in_channels, hidden, latent_size, dropout=0.0)

    def encode(self, x: Matrix, edge_index: Matrix) -> Tensor:
        """x [N, in_channels] -> z [N, k]; edge_index [2, E], or A_hat as a CSRMatrix."""
        return self.encoder(x, edge_index)

    def forward(self, x: Matrix, edge_index: Matrix) -> Tensor:
        """The points to decode, z [N, k]: those of `encode`."""
        return self.encode(x, edge_index)

    def loss(
        self,
        x: Matrix,
        edge_index: Matrix,
        positives: Tensor,
        negatives: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`link_loss` of the points, a single number. Nothing is drawn: `generator` is not used."""
        return link_loss(self.encode(x, edge_index), positives, negatives)


class VGAE(nn.Module):
    """Variational graph autoencoder: q(z_v | graph) = N(mean_v, diag exp(log_var_v)).

    mean and log_var share the hidden layer; they are the two halves of one last layer of width 2k,
    which averages over neighbours once for both. Arguments as in `GAE`.
    """

    def __init__(self, in_channels: int, hidden: int = 32, latent_size: int = 16) -> None:
        super().__init__()
        self.encoder = GCN(in_channels, hidden, 2 * latent_size, dropout=0.0)
        for half in self.encoder.layers[-1].lin.weight.detach().chunk(2):
            nn.init.xavier_uniform_(half)  # as two layers of width k would start

    def encode(self, x: Matrix, edge_index: Matrix) -> tuple[Tensor, Tensor]:
        """[N, in_channels] -> mean and log_var, each [N, k]."""
        mean, log_var = self.encoder(x, edge_index).chunk(2, dim=-1)  # [N, 2k] -> 2 x [N, k]
        return mean, log_var

    def forward(self, x: Matrix, edge_index: Matrix) -> Tensor:
        """The points to decode where nothing is to be drawn: the means [N, k]."""
        return self.encode(x, edge_index)[0]

    def loss(
        self,
        x: Matrix,
        edge_index: Matrix,
        positives: Tensor,
        negatives: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """`link_loss` of points drawn from q, plus the sum of the KLs over N^2: a single number."""
        mean, log_var = self.encode(x, edge_index)
        z = reparameterise(mean, log_var, generator)
        kl = gaussian_kl(mean, log_var).sum()  # [N] -> []
        return link_loss(z, positives, negatives) + kl / mean.size(0) ** 2


def inner_product(z: Tensor, pairs: Tensor) -> Tensor:
    """The logit z_u . z_v that u and v are linked, a number a pair: z [N, k], [2, M] -> [M]."""
    return (z.index_select(0, pairs[0]) * z.index_select(0, pairs[1])).sum(1)  # [M, k] -> [M]


def link_loss(z: Tensor, positives: Tensor, negatives: Tensor | None = None) -> Tensor:
    """1/2 (mean over positives of softplus(-logit) + mean over negatives of softplus(logit)), [].

    Both are cross-entropies in nats: softplus(-l) = -log sigmoid(l). torch_geometric's
    `GAE.recon_loss` is twice this number.

    Without `negatives` all ordered pairs that are no positives are meant, each node with itself
    included unless it is a positive: as published. Their sum is the sum over all N^2 pairs less the
    positives'; it is taken block by block, with its gradient, in O(N^2 k) time and O(N) memory.

    With `negatives` drawn afresh from `NonEdges` it is an unbiased estimate of that in O(M k) time.

    Args:
        z: points [N, k].
        positives: int64 [2, P]; where negatives are left out, each ordered pair at most once.
        negatives: int64 [2, M].

    Raises ValueError where `negatives` are left out and every pair is a positive.
    """
    logits = inner_product(z, positives)
    if negatives is not None:
        others = F.softplus(inner_product(z, negatives)).mean()
    else:
        num_others = z.size(0) ** 2 - positives.size(1)
        if num_others <= 0:
            raise ValueError(
                f"{positives.size(1)} positives leave no other pair of {z.size(0)} nodes: the loss "
                "needs pairs of both kinds, and each ordered pair at most once"
            )
        others = (_AllPairs.apply(z) - F.softplus(logits).sum()) / num_others
    return (F.softplus(-logits).mean() + others) / 2


class _AllPairs(torch.autograd.Function):
    """S = sum over u, v of softplus(z_u . z_v), and dS/dz_u = 2 sum over v of sigmoid(z_u . z_v) z_v.

    Z Z^T is symmetric, so only its blocks on and above the diagonal are computed; the gradient
    comes from the same logits, so that none need be kept.
    """

    @staticmethod
    def forward(ctx, z: Tensor) -> Tensor:
        total, half_grad = z.new_zeros(()), torch.zeros_like(z)
        for start in range(0, z.size(0), BLOCK):
            rows, right = z[start : start + BLOCK], z[start:]  # [B, k], [N - start, k]
            size = rows.size(0)
            logits = rows @ right.t()  # [B, N - start]
            total += _both_sides(F.relu(logits), size)
            link = logits.sigmoid_()
            half_grad[start : start + BLOCK] += link @ right
            half_grad[start + BLOCK :] += link[:, size:].t() @ rows  # the blocks below
            # softplus(l) = relu(l) - log sigmoid(|l|), and sigmoid(|l|) = |sigmoid(l) - 1/2| + 1/2
            total -= _both_sides(link.sub_(0.5).abs_().add_(0.5).log_(), size)
        ctx.save_for_backward(half_grad)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        return 2 * grad * ctx.saved_tensors[0]


def _both_sides(block: Tensor, size: int) -> Tensor:
    """The sum of a block row [size, M] that starts at the diagonal, and of its mirror image."""
    return 2 * block.sum() - block[:, :size].sum()


@torch.no_grad()
def score_links(z: Tensor, edges: Tensor, non_edges: Tensor) -> tuple[float, float]:
    """(AUC, average precision) of the decoder on edges [2, P] against non_edges [2, Q]."""
    scores = inner_product(z, torch.cat([edges, non_edges], dim=1))
    labels = torch.arange(scores.numel(), device=scores.device) < edges.size(1)
    return auc(scores, labels), average_precision(scores, labels)


def train_link_predictor(
    model: nn.Module,
    split: LinkSplit,
    *,
    x: Matrix | None = None,
    edge_index: Matrix | None = None,
    epochs: int = 200,
    lr: float = 0.01,
    sampled: bool = False,
    generator: torch.Generator | None = None,
    callback: Callable[[int, nn.Module], None] | None = None,
    progress: bool = False,
) -> dict[str, list[float]]:
    """Fit a GAE or VGAE to the edges that the split leaves (full batch, Adam).

    Args:
        model: has `loss` and `forward` as `GAE` has them.
        split: the positives are split.graph's edges and each node with itself.
        x, edge_index: what the model is given in place of split.graph's, see `models.fast_inputs`.
        epochs: gradient steps.
        sampled: False computes the published loss over all pairs; True estimates it with as many
            non-edges as there are positives, drawn anew in each epoch.
        generator: of the noise and of the sampled pairs; the model comes with its own weights.
        callback: called as callback(epoch, model) after each step, in evaluation mode.
        progress: show a bar.

    Returns:
        A history: "loss" (before the step), "val_auc" and "val_ap" (after it, of `forward`'s
        points; NaN where the split holds nothing out for validation), one entry an epoch.
    """
    graph = split.graph
    x = graph.x if x is None else x
    edge_index = graph.edge_index if edge_index is None else edge_index
    positives, _ = add_remaining_self_loops(graph.edge_index, num_nodes=graph.num_nodes)
    non_edges = NonEdges(graph.edge_index, graph.num_nodes) if sampled else None
    scores: list[tuple[float, float]] = []

    def loss_fn(model: nn.Module, _: Any) -> Tensor:
        drawn = None if non_edges is None else non_edges.draw(positives.size(1), generator)
        return model.loss(x, edge_index, positives, drawn, generator)

    def on_epoch(epoch: int, _: History) -> None:
        model.eval()
        if split.val_edges.numel():
            with torch.no_grad():
                z = model(x, edge_index)
            scores.append(score_links(z, split.val_edges, split.val_non_edges))
        else:
            scores.append((math.nan, math.nan))
        if callback is not None:
            callback(epoch, model)

    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    history = fit(
        model,
        loss_fn,
        [None],
        epochs=epochs,
        optimizer=optimizer,
        on_epoch=on_epoch,
        progress=progress,
    )
    val_auc, val_ap = map(list, zip(*scores)) if scores else ([], [])
    return {"loss": history.train_loss, "val_auc": val_auc, "val_ap": val_ap}
