"""Neural relational inference as its equations read, with one-hot matrices: the peer of ours.

R_s and R_r are [E, N], with a one where body n is the sender, or the receiver, of edge e:

    v -> e    [R_s h, R_r h]      e -> v    R_r^T h

A product with such a matrix costs N multiplications for every number that is picked, and both halves
of the concatenation are then multiplied once an edge rather than once a body. The decoder has one
network for each edge type, gone through one after the other.

Source of the equations: Kipf et al. 2018, https://arxiv.org/abs/1802.04687.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.relations.decoders import MLPDecoder
from course_lib.relations.encoders import MLPEncoder
from course_lib.relations.graphs import complete_graph
from course_lib.relations.nri import NRI
from course_lib.relations.pairs import PairLinear


class Block(nn.Module):
    """Linear, ELU, Linear, ELU, batch normalisation over all rows."""

    def __init__(self, in_features: int, hidden_size: int) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, hidden_size)
        self.second = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.BatchNorm1d(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = F.elu(self.second(F.elu(self.first(x))))
        return self.norm(x.reshape(-1, x.size(-1))).view(x.shape)


class OneHotNRI(nn.Module):
    """The MLP encoder and the MLP decoder of `NRI`, in one module."""

    def __init__(
        self,
        bodies: int,
        frames: int,
        hidden_size: int,
        edge_types: int = 2,
        features: int = 4,
        skip_first: bool = True,
        tau: float = 0.5,
        variance: float = 5e-5,
    ) -> None:
        super().__init__()
        h, self.tau, self.variance, self.skipped = hidden_size, tau, variance, int(skip_first)
        senders, receivers = complete_graph(bodies)
        self.register_buffer("send", F.one_hot(senders, bodies).float())  # [E, N]
        self.register_buffer("receive", F.one_hot(receivers, bodies).float())  # [E, N]
        self.embed, self.pair = Block(frames * features, h), Block(2 * h, h)
        self.node, self.edge = Block(h, h), Block(3 * h, h)
        self.to_logits = nn.Linear(h, edge_types)
        active = edge_types - self.skipped
        self.message1 = nn.ModuleList(nn.Linear(2 * features, h) for _ in range(active))
        self.message2 = nn.ModuleList(nn.Linear(h, h) for _ in range(active))
        self.out1, self.out2 = nn.Linear(features + h, h), nn.Linear(h, h)
        self.out3 = nn.Linear(h, features)

    def node_to_edge(self, nodes: Tensor) -> Tensor:
        """[..., N, F] -> [..., E, 2 F]."""
        return torch.cat([self.send @ nodes, self.receive @ nodes], -1)

    def edge_to_node(self, edges: Tensor) -> Tensor:
        """[..., E, F] -> [..., N, F]."""
        return self.receive.T @ edges

    def encode(self, states: Tensor) -> Tensor:
        """[B, N, T, D] -> logits [B, E, K]."""
        nodes = self.embed(states.flatten(2))
        edges = self.pair(self.node_to_edge(nodes))
        nodes = self.node(self.edge_to_node(edges) / (nodes.size(1) - 1))
        return self.to_logits(self.edge(torch.cat([self.node_to_edge(nodes), edges], -1)))

    def step(self, x: Tensor, edges: Tensor) -> Tensor:
        """One frame on: x [B, W, N, D], edges [B, W, E, K] -> [B, W, N, D]."""
        pairs, messages = self.node_to_edge(x), 0.0
        for k, (first, second) in enumerate(zip(self.message1, self.message2)):
            weight = edges[..., k + self.skipped].unsqueeze(-1)
            messages = messages + weight * F.relu(second(F.relu(first(pairs))))
        h = torch.cat([x, self.edge_to_node(messages)], -1)
        return x + self.out3(F.relu(self.out2(F.relu(self.out1(h)))))

    def decode(self, states: Tensor, edges: Tensor, steps: int) -> Tensor:
        """Frames 1 .. T - 1, restarted from the truth every `steps` frames: [B, N, T - 1, D]."""
        x = states.transpose(1, 2)[:, :-1:steps]  # [B, N, T, D] -> [B, W, N, D]
        edges = edges.unsqueeze(1).expand(-1, x.size(1), -1, -1)
        ahead = []
        for _ in range(steps):
            x = self.step(x, edges)
            ahead.append(x)
        predicted = torch.stack(ahead, 2).flatten(1, 2)  # [B, W, steps, N, D] -> [B, W steps, N, D]
        return predicted[:, : states.size(2) - 1].transpose(1, 2)

    def loss(self, states: Tensor, steps: int = 10, edges: Tensor | None = None) -> Tensor:
        """Minus the ELBO, mean over the batch; edges [B, E, K] in place of a draw, for a comparison."""
        logits = self.encode(states)
        if edges is None:
            edges = F.gumbel_softmax(logits, self.tau)
        error = (self.decode(states, edges, steps) - states[:, :, 1:]).square().flatten(1)
        constant = error.size(1) / 2 * math.log(2 * math.pi * self.variance)
        q = logits.softmax(-1)
        kl = (q * (logits.log_softmax(-1) + math.log(q.size(-1)))).sum((1, 2))
        return (error.sum(1) / (2 * self.variance) + constant + kl).mean()


def with_weights_of(model: NRI, bodies: int) -> OneHotNRI:
    """The same function as `model`, which has an `MLPEncoder` and an `MLPDecoder`."""
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(encoder, MLPEncoder) and isinstance(decoder, MLPDecoder)
    hidden, types = encoder.rounds.out.in_features, encoder.edge_types
    peer = OneHotNRI(
        bodies,
        encoder.frames,
        hidden,
        types,
        encoder.features,
        decoder.skip_first,
        model.tau,
        model.variance,
    ).to(next(model.parameters()))
    with torch.no_grad():
        for block, ours in (
            (peer.embed, encoder.embed),
            (peer.pair, encoder.pair),
            (peer.node, encoder.rounds.node),
            (peer.edge, encoder.rounds.edge),
        ):
            block.second.load_state_dict(ours.second.state_dict())
            block.norm.load_state_dict(ours.norm.state_dict())
        for block, ours in ((peer.embed, encoder.embed), (peer.node, encoder.rounds.node)):
            block.first.load_state_dict(ours.first.state_dict())
        _load_pair(peer.pair.first, encoder.pair.first)
        last = encoder.rounds.edge.first
        _load_pair(peer.edge.first, last.pair, last.skip.weight)
        peer.to_logits.load_state_dict(encoder.rounds.out.state_dict())
        messages = decoder.messages
        joint = nn.Linear(2 * decoder.features, hidden * messages.active).to(messages.weight)
        _load_pair(joint, messages.pair)
        for k, (first, second) in enumerate(zip(peer.message1, peer.message2)):
            first.weight.copy_(joint.weight[k * hidden : (k + 1) * hidden])
            first.bias.copy_(joint.bias[k * hidden : (k + 1) * hidden])
            second.weight.copy_(messages.weight[k].T)
            second.bias.copy_(messages.bias[k, 0])
        layers = decoder.update.layers
        for linear, ours in (
            (peer.out1, layers[0]),
            (peer.out2, layers[2]),
            (peer.out3, layers[4]),
        ):
            linear.load_state_dict(ours.state_dict())
    return peer


def _load_pair(linear: nn.Linear, ours: PairLinear, *more: Tensor) -> None:
    """[W_s, W_r, ...] and b of ours into one layer on the concatenation."""
    linear.weight.copy_(torch.cat([ours.sender.weight, ours.receiver.weight, *more], 1))
    linear.bias.copy_(ours.sender.bias)
