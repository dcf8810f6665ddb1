"""Decoders of neural relational inference: from states and edges now to the states that follow.

For edge types k = 1 .. K (or 0 .. K: see `skip_first`), bodies i and frames t,

    message_(j,i) = sum_k z_(j,i),k f_k([x_j, x_i])            one network f_k for each type
    x_i^(t+1)     = x_i^t + f_v([x_i^t, sum_(j != i) message_(j,i)])

A decoder is asked to go several frames on its own predictions before it is shown the truth again. Over
a single frame the past of a body tells nearly everything, the edges hardly matter, and a decoder that
ignores z learns nothing about them.

States are [B, N, T, D], edges z [B, E, K] (probabilities, relaxed or one-hot draws, or a known graph,
in the order of `complete_graph(N)`), predictions [B, N, T - 1, D], those of frames 1 .. T - 1.

Source: Kipf, Fetaya, Wang, Welling and Zemel 2018, https://arxiv.org/abs/1802.04687, sections 3.2 to
3.5 and appendix B.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib.relations.decoder_parts import (
    MarkovDecoder,
    Messages,
    Update,
    check_states_and_edges,
)
from course_lib.relations.graphs import complete_graph
from course_lib.relations.pairs import check_sizes, edge_to_node, node_to_edge

__all__ = ["GRUDecoder", "MLPDecoder", "SpringsDecoder"]


class MLPDecoder(MarkovDecoder):
    """The two equations above, with f_k and f_v multi-layer perceptrons: a Markov model.

    Args:
        features: D.
        hidden_size: h, the width of every layer.
        edge_types: K.
        skip_first: type 0 is "no edge": it sends nothing, so it means the same in every run. False
            where every pair interacts, as charged particles do.
    """

    def __init__(
        self,
        features: int = 4,
        hidden_size: int = 256,
        edge_types: int = 2,
        skip_first: bool = True,
    ) -> None:
        super().__init__()
        check_sizes(edge_types, features=features, hidden_size=hidden_size)
        h, self.features, self.edge_types = hidden_size, features, edge_types
        self.skip_first = skip_first
        self.messages = Messages(features, h, h, edge_types, skip_first)
        self.width = h * self.messages.active
        self.update = Update(features + h, h, features)

    def step(self, x: Tensor, edges: Tensor, senders: Tensor) -> Tensor:
        """One frame on: x [N, M, D], edges [E, M, K], senders [E] -> [N, M, D]."""
        return x + self.update(torch.cat([x, self.messages(x, edges, senders)], -1))


class GRUDecoder(nn.Module):
    """A decoder with memory, for what one state does not tell: messages pass between hidden states.

        message_(j,i) = sum_k z_(j,i),k f_k([h_j, h_i])                      f_k with tanh
        h_i^(t+1)     = GRU([sum_j message_(j,i), x_i^t], h_i^t),  h^0 = 0
        x_i^(t+1)     = x_i^t + f_out(h_i^(t+1))

    burn_in: the true states of frames 0 .. burn_in - 1 are fed in (at least 1); then its own
        predictions, but for the truth at every `steps`-th frame. Other arguments as in `MLPDecoder`.
    """

    def __init__(
        self,
        features: int = 4,
        hidden_size: int = 256,
        edge_types: int = 2,
        skip_first: bool = True,
        burn_in: int = 1,
    ) -> None:
        super().__init__()
        check_sizes(edge_types, features=features, hidden_size=hidden_size)
        if burn_in < 1:
            raise ValueError(f"burn_in must be at least 1, the first frame, got {burn_in}")
        h, self.features, self.edge_types = hidden_size, features, edge_types
        self.skip_first, self.burn_in, self.hidden_size = skip_first, burn_in, hidden_size
        self.messages = Messages(h, h, h, edge_types, skip_first, "tanh")
        self.cell = nn.GRUCell(h + features, h)
        self.update = Update(h, h, features)

    def forward(self, states: Tensor, edges: Tensor, steps: int = 10) -> Tensor:
        """Predict frames 1 .. T - 1: [B, N, T, D], [B, E, K] -> [B, N, T - 1, D].

        Frame t is fed in as it was where t < burn_in or steps divides t, else as it was predicted.
        """
        check_states_and_edges(states, edges, self.features, self.edge_types, steps, 2)
        last = states.size(2) - 1
        return self._run(states, edges, [t < self.burn_in or t % steps == 0 for t in range(last)])

    def rollout(self, states: Tensor, edges: Tensor, steps: int) -> Tensor:
        """The `steps` frames after states [B, N, T, D], all of which are its burn-in."""
        check_states_and_edges(states, edges, self.features, self.edge_types, steps, 1)
        frames = states.size(2)
        shown = [True] * frames + [False] * (steps - 1)
        return self._run(states, edges, shown)[:, :, frames - 1 :]

    def _run(self, states: Tensor, edges: Tensor, shown: list[bool]) -> Tensor:
        """One frame on from each entry of `shown`; frame t is fed in as it was where shown[t]."""
        x, z = states.permute(2, 1, 0, 3), edges.transpose(0, 1)  # [T, N, B, D], [E, B, K]
        senders = complete_graph(states.size(1), states.device)[0]
        hidden, predicted = x.new_zeros(*x.shape[1:3], self.hidden_size), []
        for t, truth in enumerate(shown):
            now = x[t] if truth else predicted[-1]
            heard = torch.cat([self.messages(hidden, z, senders), now], -1)  # [N, B, h + D]
            hidden = self.cell(heard.flatten(0, 1), hidden.flatten(0, 1)).view_as(hidden)
            predicted.append(now + self.update(hidden))
        return torch.stack(predicted).permute(2, 1, 0, 3)  # [T', N, B, D] -> [B, N, T', D]


class SpringsDecoder(MarkovDecoder):
    """The simulator as decoder: Hooke's law, known but for the strength of each edge type.

        a_i = sum_j c_(j,i) (r_j - r_i),   c_(j,i) = sum_k z_(j,i),k strength_k

    integrated by leapfrog, `substeps` a frame, with elastic walls at +-box. In it z can be nothing but
    the springs: that is what it is for, a check of the encoder. Of K types the strengths are learned,
    without a sign; with skip_first that of type 0 is zero.

    Args:
        edge_types, skip_first: as in `MLPDecoder`.
        frame_time: time between two frames. substeps: leapfrog steps in it.
        box: where the walls are, in the units of the simulation; None for no walls.
        position_scale, velocity_scale: how many units of the simulation are one unit of the states.
        strength: where all learned strengths start (the simulator's own is .1).
    """

    features = 4

    def __init__(
        self,
        edge_types: int = 2,
        skip_first: bool = True,
        frame_time: float = 0.1,
        substeps: int = 4,
        box: float | None = 5.0,
        position_scale: float = 1.0,
        velocity_scale: float = 1.0,
        strength: float = 0.05,
    ) -> None:
        super().__init__()
        check_sizes(edge_types, substeps=substeps)
        self.edge_types, self.skip_first, self.substeps = edge_types, skip_first, substeps
        self.frame_time, self.box = frame_time, box
        self.position_scale, self.velocity_scale = position_scale, velocity_scale
        self.strength = nn.Parameter(torch.full((edge_types - int(skip_first),), strength))

    def step(self, x: Tensor, edges: Tensor, senders: Tensor) -> Tensor:
        """One frame on: x [N, M, 4], edges [E, M, K], senders [E] -> [N, M, 4]."""
        constants = edges[..., int(self.skip_first) :] @ self.strength  # [E, M, K] -> [E, M]
        time, bodies = self.frame_time / self.substeps, len(x)
        place = x[..., :2] * self.position_scale
        speed = x[..., 2:] * self.velocity_scale
        pull = _spring_force(place, constants, senders)
        for _ in range(self.substeps):
            speed = speed + time / 2 * pull
            place = place + time * speed
            if self.box is not None:
                place, speed = _reflect(place, speed, self.box)
            pull = _spring_force(place, constants, senders)
            speed = speed + time / 2 * pull
        parts = [place / self.position_scale, speed / self.velocity_scale]
        return torch.cat(parts, -1).view(bodies, -1, 4)


def _spring_force(place: Tensor, constants: Tensor, senders: Tensor) -> Tensor:
    """sum_j c_(j,i) (r_j - r_i): [N, M, 2], [E, M] -> [N, M, 2]."""
    apart = node_to_edge(place, -place, senders)  # [E, M, 2]
    return edge_to_node(constants.unsqueeze(-1) * apart, len(place))


def _reflect(place: Tensor, speed: Tensor, box: float) -> tuple[Tensor, Tensor]:
    """Elastic walls at +-box: mirror what left, and turn its velocity inwards."""
    above, below = place > box, place < -box
    place = torch.where(above, 2 * box - place, torch.where(below, -2 * box - place, place))
    return place, torch.where(above, -speed.abs(), torch.where(below, speed.abs(), speed))
