"""Encoders of neural relational inference: from what bodies did to what every pair of them is.

    h_j       = f_emb(x_j)                            a body's whole trajectory
    v -> e    h_(j,i)  = f_e1([h_j, h_i])
    e -> v    h_i'     = f_v1(mean over j of h_(j,i))
    v -> e    h_(j,i)' = f_e2([h_j', h_i', h_(j,i)])
    q(z_(j,i) = k | x) = softmax_k(logits_(j,i)),     logits_(j,i) = f_out(h_(j,i)')

The second round lets a pair know of the other bodies: a pull that a third body explains is none of
this pair's. Nothing depends on a body's number, so relabelling bodies relabels the logits.

Source: Kipf, Fetaya, Wang, Welling and Zemel 2018, https://arxiv.org/abs/1802.04687, section 3.1 and
appendix B (the skip connection, the CNN).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.relations.graphs import complete_graph
from course_lib.relations.pairs import MLP, PairLinear, check_sizes, edge_to_node, node_to_edge

__all__ = ["CNNEncoder", "MLPEncoder"]


class _WithSkip(nn.Module):
    """PairLinear of the bodies, plus a linear map of what the pairs hold already."""

    def __init__(self, node_size: int, edge_size: int, out_features: int) -> None:
        super().__init__()
        self.pair = PairLinear(node_size, out_features)
        self.skip = nn.Linear(edge_size, out_features, bias=False)

    def forward(self, nodes: Tensor, edges: Tensor, senders: Tensor) -> Tensor:
        return self.pair(nodes, senders) + self.skip(edges)


class _Rounds(nn.Module):
    """From the pairs' first features on: e -> v, f_v1, v -> e, f_e2, f_out; [E, B, h] -> [E, B, K]."""

    def __init__(self, hidden_size: int, edge_types: int, dropout: float) -> None:
        super().__init__()
        h = hidden_size
        self.node = MLP(nn.Linear(h, h), h, h, dropout)
        self.edge = MLP(_WithSkip(h, h, h), h, h, dropout)
        self.out = nn.Linear(h, edge_types)

    def forward(self, edges: Tensor, senders: Tensor, bodies: int) -> Tensor:
        nodes = self.node(edge_to_node(edges, bodies) / (bodies - 1))  # [E, B, h] -> [N, B, h]
        return self.out(self.edge(nodes, edges, senders))


class MLPEncoder(nn.Module):
    """A trajectory as one long vector: states [B, N, T, D] -> logits [B, E, K].

    Args:
        frames: T, fixed: another number of frames is an error.
        features: D, 4 for x, y and their velocities.
        hidden_size: h, the width of every layer (the paper's is 256).
        edge_types: K.
        dropout: between the two layers of every network, in training only.

    Works for any N >= 2. Raises ValueError for other shapes.
    """

    def __init__(
        self,
        frames: int = 49,
        features: int = 4,
        hidden_size: int = 256,
        edge_types: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(edge_types, hidden_size=hidden_size, frames=frames, features=features)
        self.frames, self.features, self.edge_types = frames, features, edge_types
        h = hidden_size
        self.embed = MLP(nn.Linear(frames * features, h), h, h, dropout)
        self.pair = MLP(PairLinear(h, h), h, h, dropout)
        self.rounds = _Rounds(h, edge_types, dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Logits of q(z | x) per ordered pair: [B, N, T, D] -> [B, E, K]."""
        _check_states(states, self.features, self.frames)
        bodies = states.size(1)
        senders = complete_graph(bodies, states.device)[0]
        nodes = self.embed(states.flatten(2).transpose(0, 1))  # [B, N, T D] -> [N, B, h]
        edges = self.pair(nodes, senders)  # [E, B, h]
        return self.rounds(edges, senders, bodies).transpose(0, 1)


class CNNEncoder(nn.Module):
    """Every pair's two trajectories through a convolution in time: [B, N, T, D] -> [B, E, K].

    conv (width 5), ReLU, max-pool 2, conv (width 5), ReLU, 1x1 conv to h features, each frame's
    weighted by a softmax over the frames (attention); then the rounds of `MLPEncoder`. T is free,
    at least 14: it is what the two convolutions and the pooling leave one frame of.

    The first convolution of a pair is the sum of one of its sender and one of its receiver, so it
    runs once per body. Arguments as in `MLPEncoder`; ValueError for other shapes or too few frames.
    """

    SHORTEST = 14

    def __init__(
        self,
        features: int = 4,
        hidden_size: int = 256,
        edge_types: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_sizes(edge_types, hidden_size=hidden_size, features=features)
        self.features, self.edge_types, h = features, edge_types, hidden_size
        self.first = nn.Conv1d(2 * features, h, 5)
        self.norm1, self.norm2 = nn.BatchNorm1d(h), nn.BatchNorm1d(h)
        self.second = nn.Conv1d(h, h, 5)
        self.value, self.attention = nn.Linear(h, h), nn.Conv1d(h, 1, 1)
        self.dropout = nn.Dropout(dropout)
        self.pair = MLP(nn.Linear(h, h), h, h, dropout)
        self.rounds = _Rounds(h, edge_types, dropout)

    def forward(self, states: Tensor) -> Tensor:
        """Logits of q(z | x) per ordered pair: [B, N, T, D] -> [B, E, K]."""
        _check_states(states, self.features)
        batch, bodies, frames, _ = states.shape
        if frames < self.SHORTEST:
            raise ValueError(
                f"the convolutions need at least {self.SHORTEST} frames, got {frames}: use MLPEncoder"
            )
        senders = complete_graph(bodies, states.device)[0]
        series = states.permute(1, 0, 3, 2).flatten(0, 1)  # [B, N, T, D] -> [N B, D, T]
        by_sender, by_receiver = self.first.weight.chunk(2, 1)
        sent, received = (
            F.conv1d(series, weight, bias).unflatten(0, (bodies, batch))
            for weight, bias in ((by_sender, self.first.bias), (by_receiver, None))
        )  # [N, B, h, T - 4] each
        h = F.relu_(node_to_edge(sent, received, senders)).flatten(0, 1)  # [E B, h, T - 4]
        h = self.dropout(F.max_pool1d(self.norm1(h), 2))
        h = self.norm2(F.relu_(self.second(h)))  # [E B, h, T']
        weights = self.attention(h).softmax(-1)  # [E B, 1, T']
        # the weights sum to 1, so the mean of the values is the value of the mean
        edges = self.value((h @ weights.mT).squeeze(-1)).unflatten(0, (-1, batch))  # [E, B, h]
        return self.rounds(self.pair(edges), senders, bodies).transpose(0, 1)


def _check_states(states: Tensor, features: int, frames: int | None = None) -> None:
    """[B, N, T, D] with the D (and T) of the network, N >= 2, floating."""
    right = states.dim() == 4 and states.size(1) > 1 and states.size(3) == features
    if right and frames in (None, states.size(2)) and torch.is_floating_point(states):
        return
    time = "T" if frames is None else str(frames)
    raise ValueError(
        f"states must be floating [B, N, {time}, {features}] with N >= 2 bodies (simulations, bodies, "
        f"frames, features), got {str(states.dtype).removeprefix('torch.')} {list(states.shape)}"
    )
