"""The references of unit 05, by other means than the lab's.

The lab writes dense matrices; every reference here goes through the library's edge lists, so the two agree only if both
are right. An adjacency is dense, float32 [N, N], with entry [i, j] = 1 where a message goes from node j to node i.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from course_lib.graphs.message_passing import aggregate, gcn_norm
from course_lib.graphs.smoothing import distance_to_limit, smoothing_limit
from course_lib.graphs.sparse import CSRMatrix


def to_edges(adjacency: Tensor) -> Tensor:
    """The edge_index [2, E] (sources, targets) of a dense adjacency [N, N] whose rows are the targets."""
    targets, sources = adjacency.nonzero(as_tuple=True)
    return torch.stack([sources, targets])


def propagate(matrix: Tensor, x: Tensor) -> Tensor:
    """`matrix @ x` for a dense [N, N] matrix, gathered and summed along its non-zero entries."""
    sources, targets = to_edges(matrix)
    weight = matrix[targets, sources].unsqueeze(-1)
    return aggregate(x.index_select(0, sources) * weight, targets, matrix.shape[0])


def normalized_adjacency(adjacency: Tensor) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 by way of the library's edge lists."""
    nodes = adjacency.shape[0]
    edge_index, weight = gcn_norm(to_edges(adjacency), num_nodes=nodes)
    dense = adjacency.new_zeros(nodes, nodes)
    return dense.index_put((edge_index[1], edge_index[0]), weight.to(dense.dtype), accumulate=True)


def gcn_layer(x: Tensor, matrix: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """One graph convolution M X W + b, summed over edges."""
    return propagate(matrix, x @ weight) + bias


class GCNLayer(nn.Module):
    """Graph convolution with given coefficients: M X W + b."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x: Tensor, matrix: Tensor) -> Tensor:
        """x [N, in], matrix [N, N] -> [N, out]."""
        return gcn_layer(x, matrix, self.weight, self.bias)


def neighbor_mean(x: Tensor, edge_index: Tensor) -> Tensor:
    """Mean over incoming neighbours by the library's `aggregate`."""
    return aggregate(x.index_select(0, edge_index[0]), edge_index[1], x.shape[0], reduce="mean")


def gin_aggregate(h: Tensor, adjacency: Tensor, eps: float) -> Tensor:
    """(1 + eps) h_v + sum over neighbours, over edges."""
    return (1 + eps) * h + propagate(adjacency, h)


def told_apart(left: Tensor, right: Tensor) -> Tensor:
    """Whether sum, mean and max of two multisets of rows differ: bool [3]."""
    return torch.stack(
        [
            ~torch.isclose(_reduced(left, r), _reduced(right, r), atol=1e-5).all()
            for r in ("sum", "mean", "max")
        ]
    )


def _reduced(rows: Tensor, reduce: str) -> Tensor:
    everything = torch.zeros(len(rows), dtype=torch.int64)
    return aggregate(rows, everything, 1, reduce=reduce)[0]


def smoothing_distance(h: Tensor, adjacency: Tensor) -> Tensor:
    """Relative distance of h to the limit of repeated propagation, by the library's `distance_to_limit`."""
    basis = smoothing_limit(to_edges(adjacency), adjacency.shape[0], norm="sym")
    return distance_to_limit(h, basis)


def node_classifier(
    x: Tensor, matrix: Tensor, labels: Tensor, train_mask: Tensor, num_classes: int
) -> Tensor:
    """Logits [N, C] of a two-layer GCN trained on the masked labels."""
    targets, sources = matrix.nonzero(as_tuple=True)
    propagation = CSRMatrix.from_edges(
        torch.stack([sources, targets]), matrix[targets, sources], len(x)
    )
    return fit_two_layers(lambda h: propagation @ h, x, labels, train_mask, num_classes)


def feature_classifier(x: Tensor, labels: Tensor, train_mask: Tensor, num_classes: int) -> Tensor:
    """Logits [N, C] of the same two layers without any edge: an MLP."""
    return fit_two_layers(lambda h: h, x, labels, train_mask, num_classes)


def one_round_classifier(
    x: Tensor, matrix: Tensor, labels: Tensor, train_mask: Tensor, num_classes: int
) -> Tensor:
    """Logits [N, C] of two layers of which only the first hears from neighbours."""
    return fit_two_layers(lambda h: h, propagate(matrix, x), labels, train_mask, num_classes)


@torch.no_grad()
def fit_two_layers(
    spread: Callable[[Tensor], Tensor],
    x: Tensor,
    labels: Tensor,
    train_mask: Tensor,
    num_classes: int,
) -> Tensor:
    """Train spread(W2 relu(spread(W1 x))) with Adam for 100 steps on the labelled nodes: logits [N, C].

    `spread` is linear, so spread(x W1 + b1) = spread(x) W1 + spread(1) b1, and that is done once; while it trains, the
    second `spread` is needed in the labelled rows alone. Gradients are by hand.
    """
    torch.default_generator.manual_seed(0)
    first, second = nn.Linear(x.shape[1], 16), nn.Linear(16, num_classes)
    parameters = w1, b1, w2, b2 = [p.detach() for p in (*first.parameters(), *second.parameters())]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    x, ones, rows = spread(x), spread(torch.ones(len(x), 1)), spread(torch.eye(len(x)))[train_mask]
    target = nn.functional.one_hot(labels[train_mask], num_classes) / len(rows)
    for step in range(1, 101):
        hidden = (x @ w1.T + ones * b1).relu()  # [N, 16]
        chances = (rows @ (hidden @ w2.T + b2)).softmax(1)  # of the labelled nodes
        out = rows.T @ (chances / len(rows) - target)  # gradient at what the second layer puts out
        back = out @ w2 * (hidden > 0)  # and at what the first does
        gradients = (back.T @ x, (ones * back).sum(0), out.T @ hidden, out.sum(0))
        adam_step(parameters, gradients, moments, step)
    return spread((x @ w1.T + ones * b1).relu() @ w2.T + b2)


def adam_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    moments: Sequence[tuple[Tensor, Tensor]],
    step: int,
    lr: float = 0.02,
    weight_decay: float = 5e-4,
) -> None:
    """What torch.optim.Adam does to `parameters` in its step number `step` = 1, 2, ..., in place.

    Checks train often and shortly, and the first use of torch.optim imports for more than a second.
    """
    for p, gradient, (mean, square) in zip(parameters, gradients, moments, strict=True):
        gradient = gradient + weight_decay * p
        mean.lerp_(gradient, 0.1)
        square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        scale = (square / (1 - 0.999**step)).sqrt_().add_(1e-8)
        p.addcdiv_(mean, scale, value=-lr / (1 - 0.9**step))


def sampled_sum(h: Tensor, q: Tensor, k: int, draws: int, generator: torch.Generator) -> Tensor:
    """`draws` unbiased estimates [draws, F] of the column sums of h, from k rows drawn with probabilities q."""
    drawn = torch.multinomial(q, draws * k, replacement=True, generator=generator).view(draws, k)
    return (h / q.unsqueeze(1))[drawn].mean(1)
