"""What the decoders are made of: messages by edge type, an update, windows that start from the truth.

States are [B, N, T, D], edges [B, E, K] in the order of `complete_graph(N)`. Inside, the body or pair
is the first axis (see `pairs`): [N, M, D] and [E, M, K], where M counts simulations, or windows of them.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.relations.graphs import complete_graph
from course_lib.relations.pairs import PairLinear, by_receiver, edge_to_node

__all__ = ["MarkovDecoder", "Messages", "Update", "check_states_and_edges"]

IN_CACHE = 700_000  # numbers held at once, about 3 MB: what a processor keeps close by


class Messages(nn.Module):
    """sum over senders j and types k of z_(j,i),k f_k([h_j, h_i]): [N, M, F], [E, M, K] -> [N, M, F'].

    f_k has two layers, each with `activation`. The networks of all types are one: the first layers lie
    side by side in one `PairLinear`, the second ones are one batched product.

    skip_first: type 0 means "no edge" and sends nothing.
    """

    def __init__(
        self,
        in_features: int,
        hidden_size: int,
        out_features: int,
        edge_types: int,
        skip_first: bool,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.skipped = int(skip_first)
        self.active = edge_types - self.skipped
        self.act = {"relu": torch.relu_, "tanh": torch.tanh_}[activation]
        self.pair = PairLinear(in_features, self.active * hidden_size)
        bound = 1 / math.sqrt(hidden_size)  # as nn.Linear draws its weights
        shape = (self.active, hidden_size, out_features)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(self.active, 1, out_features).uniform_(-bound, bound))

    def forward(self, nodes: Tensor, edges: Tensor, senders: Tensor) -> Tensor:
        """nodes [N, M, F], edges [E, M, K] -> [N, M, F']."""
        bodies, z = len(nodes), edges[..., self.skipped :]
        h = self.act(self.pair(nodes, senders)).flatten(0, 1)  # [E, M, F] -> [E M, K h]
        if self.active == 1:
            h = self.act(F.linear(h, self.weight[0].T, self.bias[0, 0]))  # [E M, F']
            h = by_receiver(h.view(*z.shape[:2], -1), bodies) * by_receiver(z, bodies)
            return h.sum(1)
        h = h.unflatten(-1, (self.active, -1)).transpose(0, 1)  # [K, E M, h]
        h = self.act(torch.baddbmm(self.bias, h, self.weight))  # [K, E M, F']
        h = h * z.reshape(-1, self.active, 1).transpose(0, 1)
        return edge_to_node(h.sum(0).view(*z.shape[:2], -1), bodies)


class Update(nn.Module):
    """What a body does of itself and its messages: Linear, ReLU, Linear, ReLU, Linear."""

    def __init__(self, in_features: int, hidden_size: int, out_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden_size),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_size, out_features),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(0, -2)).view(
            *x.shape[:-1], -1
        )  # in place on rows, not on views


class MarkovDecoder(nn.Module):
    """What needs the present state only: `step` is the model, windows and rollouts are made of it."""

    features: int
    edge_types: int
    width = 4  # numbers a pair holds at once

    def step(self, x: Tensor, edges: Tensor, senders: Tensor) -> Tensor:
        """One frame on: x [N, M, D], edges [E, M, K], senders [E] -> [N, M, D]."""
        raise NotImplementedError

    def forward(self, states: Tensor, edges: Tensor, steps: int = 10) -> Tensor:
        """Predict frames 1 .. T - 1, from the truth at frames 0, steps, 2 steps, ...

        All windows of `steps` frames run side by side. [B, N, T, D], [B, E, K] -> [B, N, T - 1, D].
        Raises ValueError for shapes that do not fit, fewer than 2 frames or steps below 1.
        """
        check_states_and_edges(states, edges, self.features, self.edge_types, steps, 2)
        batch, last = states.size(0), states.size(2) - 1
        starts = states[:, :, :-1:steps].permute(1, 2, 0, 3)  # [N, W, B, D]
        windows, steps = starts.size(1), min(steps, last)
        short = last - (windows - 1) * steps  # what is left for the last window
        z = edges.transpose(0, 1).repeat(1, windows, 1)  # [E, W B, K]
        ahead = self._ahead(starts.flatten(1, 2), z, short)  # [short, N, W B, D]
        end = ahead[:, :, -batch:].permute(2, 1, 0, 3)  # [B, N, short, D], the last window
        if windows == 1:
            return end
        whole = (windows - 1) * batch
        ahead = ahead[:, :, :whole]
        if short < steps:  # the others go on without it
            more = self._ahead(ahead[-1], z[:, :whole], steps - short)
            ahead = torch.cat([ahead, more])
        ahead = ahead.unflatten(2, (-1, batch)).permute(3, 1, 2, 0, 4).flatten(2, 3)
        return torch.cat([ahead, end], 2)  # [B, N, (W - 1) steps, D] and [B, N, short, D]

    def rollout(self, states: Tensor, edges: Tensor, steps: int) -> Tensor:
        """The `steps` frames after the last one of states [B, N, T, D]: [B, N, steps, D]."""
        check_states_and_edges(states, edges, self.features, self.edge_types, steps, 1)
        ahead = self._ahead(states[:, :, -1].transpose(0, 1), edges.transpose(0, 1), steps)
        return ahead.permute(2, 1, 0, 3)

    def _ahead(self, x: Tensor, edges: Tensor, steps: int) -> Tensor:
        """[N, M, D], [E, M, K] -> [steps, N, M, D]; on a CPU in parts of M that fit its cache."""
        senders = complete_graph(len(x), x.device)[0]
        block = x.size(1)
        if x.device.type == "cpu":
            block = max(1, IN_CACHE // max(1, len(edges) * self.width))
        done = []
        for now, z in zip(x.split(block, 1), edges.split(block, 1), strict=True):
            ahead = []
            for _ in range(steps):
                now = self.step(now, z, senders)
                ahead.append(now)
            done.append(torch.stack(ahead))
        return done[0] if len(done) == 1 else torch.cat(done, 2)


def check_states_and_edges(
    states: Tensor, edges: Tensor, features: int, types: int, steps: int, frames: int
) -> None:
    """States [B, N, T, D] with T >= frames, edges [B, N (N - 1), K], steps >= 1."""
    right = states.dim() == 4 and states.size(3) == features and states.size(2) >= frames
    pairs = states.size(1) * (states.size(1) - 1) if right else 0
    if not right or edges.shape != (states.size(0), pairs, types):
        raise ValueError(
            f"need states [B, N, T, {features}] with T >= {frames} and edges [B, N (N - 1), {types}], "
            f"got {list(states.shape)} and {list(edges.shape)}: one-hot the types, or softmax the logits"
        )
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
