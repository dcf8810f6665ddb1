"""Between bodies and pairs of bodies: v -> e, e -> v, and the layers made of them.

On the complete graph of N bodies, E = N (N - 1) ordered pairs in the order of `complete_graph(N)`,

    v -> e    h_(j,i) = f([h_j, h_i])                 j the sender, i the receiver
    e -> v    h_i = sum_(j != i) h_(j,i)

The body or the pair is the FIRST axis here, [N, ..., F] and [E, ..., F], with simulations and frames
behind it: picking senders then copies whole blocks, receivers need no index at all (their pairs lie
together), and e -> v is a sum over the middle axis of [N, N - 1, ..., F].

Source: Kipf, Fetaya, Wang, Welling and Zemel 2018, https://arxiv.org/abs/1802.04687, section 3.1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.relations.graphs import complete_graph

__all__ = ["MLP", "PairLinear", "by_receiver", "check_sizes", "edge_to_node", "node_to_edge"]


class _PairSum(torch.autograd.Function):
    """sent[senders] + received, by receiver, without a second [E, ..., F] for the sum or its gradient."""

    @staticmethod
    def forward(ctx, sent: Tensor, received: Tensor, senders: Tensor) -> Tensor:
        ctx.save_for_backward(senders)
        ctx.bodies = len(sent)
        edges = sent.index_select(0, senders)
        by_receiver(edges, len(sent)).add_(received.unsqueeze(1))
        return edges

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        senders, bodies = ctx.saved_tensors[0], ctx.bodies
        received = by_receiver(grad.contiguous(), bodies).sum(1)
        return torch.zeros_like(received).index_add_(0, senders, grad), received, None


def node_to_edge(sent: Tensor, received: Tensor, senders: Tensor | None = None) -> Tensor:
    """sent_j + received_i of every ordered pair (j, i): twice [N, ..., F] -> [E, ..., F].

    senders: `complete_graph(N)[0]`, int64 [E], for a caller that has it already.
    """
    if senders is None:
        senders = complete_graph(len(sent), sent.device)[0]
    return _PairSum.apply(sent, received, senders)


def edge_to_node(edges: Tensor, bodies: int) -> Tensor:
    """The sum over the N - 1 pairs that body i receives from: [E, ..., F] -> [N, ..., F].

    Raises ValueError unless E = N (N - 1).
    """
    if len(edges) != bodies * (bodies - 1):
        raise ValueError(
            f"{bodies} bodies have {bodies * (bodies - 1)} ordered pairs, got {list(edges.shape)}: "
            "the pairs are the first axis here"
        )
    return by_receiver(edges, bodies).sum(1)


def by_receiver(edges: Tensor, bodies: int) -> Tensor:
    """The N - 1 pairs of every receiver beside each other, a view: [E, ...] -> [N, N - 1, ...]."""
    return edges.view(bodies, bodies - 1, *edges.shape[1:])


class PairLinear(nn.Module):
    """W [h_j; h_i] + b of every ordered pair (j, i): [N, ..., F] -> [E, ..., F'].

    W = [W_s, W_r] by columns, so W [h_j; h_i] = W_s h_j + W_r h_i: a body is multiplied twice, not
    once in each of its 2 (N - 1) pairs. Drawn as the weights of `nn.Linear(2 F, F')` are.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.sender = nn.Linear(in_features, out_features)  # W_s and b
        self.receiver = nn.Linear(in_features, out_features, bias=False)  # W_r
        bound = 1 / math.sqrt(2 * in_features)
        for weights in self.parameters():
            nn.init.uniform_(weights, -bound, bound)

    def forward(self, nodes: Tensor, senders: Tensor | None = None) -> Tensor:
        """nodes [N, ..., F] -> [E, ..., F']."""
        return node_to_edge(self.sender(nodes), self.receiver(nodes), senders)


class MLP(nn.Module):
    """first, ELU, dropout, Linear, ELU, batch normalisation over all rows: [..., F] -> [..., F'].

    first: any module that gives [..., hidden_size]: `nn.Linear`, or `PairLinear` for v -> e.
    """

    def __init__(
        self, first: nn.Module, hidden_size: int, out_features: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.first, self.second = first, nn.Linear(hidden_size, out_features)
        self.dropout, self.norm = nn.Dropout(dropout), nn.BatchNorm1d(out_features)

    def forward(self, *inputs: Tensor) -> Tensor:
        """`first` of the inputs, then the rest of the layer."""
        h = self.dropout(F.elu(self.first(*inputs)))
        rows = F.elu(self.second(h.flatten(0, -2)), inplace=True)  # [..., h] -> [rows, F']
        return self.norm(rows).view(*h.shape[:-1], -1)  # every row alike


def check_sizes(edge_types: int, **sizes: int) -> None:
    """Raise a ValueError unless every size is at least 1 and there are two edge types or more."""
    if min(sizes.values()) < 1 or edge_types < 2:
        got = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(
            f"sizes must be at least 1 and edge_types at least 2, got {got}, edge_types {edge_types}"
        )
