"""Interaction networks: what bodies do next, from what they are and a graph that is given.

G = (O, R, X): objects o_i, relations r_k = (sender, receiver, attributes a_k), external effects x_i.

    B = m(G)           marshal      b_k = [o_receiver, o_sender, a_k], one row a relation
    E = phi_R(B)       effects      e_k, what relation k does to its receiver
    C = a(G, X, E)     aggregate    c_i = [o_i, x_i, sum of e_k over the relations that i receives]
    P = phi_O(C)       predict      p_i: here the acceleration of i

One phi_R for every relation and one phi_O for every object: the network takes any number of bodies and
any graph, and relabelling the bodies relabels its predictions. The relations must be given; where they
are not known, `nri` infers them.

States are [..., N, 4]: x, y, v_x, v_y. A frame of time dt takes p as constant within it,

    v' = v + p dt,      r' = r + (v + v') dt / 2

Source: Battaglia, Pascanu, Lai, Rezende and Kavukcuoglu 2016, https://arxiv.org/abs/1612.00222, whose
P is the next velocity.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.graphs.message_passing import check_edge_index, sum_by_index
from course_lib.latent.descent import descend
from course_lib.training import History

__all__ = ["InteractionNetwork", "accelerations", "train_interaction_network"]


class InteractionNetwork(nn.Module):
    """phi_R and phi_O, multi-layer perceptrons with ReLU, and the two rearrangements around them.

    Args:
        node_attributes: constants of a body besides its state (a mass, say), 0 for none.
        relation_attributes: numbers a_k of a relation (a spring's stiffness, say), 0 for none.
        external: numbers x_i of an external effect (gravity, say), 0 for none.
        hidden_size: width of every layer. effect_size: length of e_k.
        relative: the marshalled row holds o_sender - o_receiver in place of both states, and c_i no
            position: the prediction is then the same wherever the whole system is. Walls cannot be
            seen so.
        dt: time of one frame.
    """

    def __init__(
        self,
        node_attributes: int = 0,
        relation_attributes: int = 0,
        external: int = 0,
        hidden_size: int = 64,
        effect_size: int = 32,
        relative: bool = True,
        dt: float = 0.1,
    ) -> None:
        super().__init__()
        sizes = (node_attributes, relation_attributes, external)
        if min(sizes) < 0 or min(hidden_size, effect_size) < 1 or not dt > 0:
            raise ValueError(
                "attributes must be at least 0, hidden_size and effect_size at least 1 and dt "
                f"positive, got {sizes}, {hidden_size}, {effect_size} and {dt}"
            )
        self.sizes, self.relative, self.dt = sizes, relative, dt
        state = 4 if relative else 8
        self.phi_r = _perceptron(
            state + 2 * node_attributes + relation_attributes, hidden_size, effect_size, 3
        )
        own = 2 if relative else 4
        self.phi_o = _perceptron(own + node_attributes + external + effect_size, hidden_size, 2, 2)

    def marshal(
        self,
        states: Tensor,
        edge_index: Tensor,
        attributes: Tensor | None = None,
        relation_attributes: Tensor | None = None,
    ) -> Tensor:
        """B = m(G): [..., N, 4] and edge_index [2, E] -> [..., E, F], a row for every relation.

        attributes [..., N, A], relation_attributes [..., E, R], where the network has such.
        """
        sender, receiver = edge_index
        sent, received = states.index_select(-2, sender), states.index_select(-2, receiver)
        parts = [sent - received] if self.relative else [received, sent]
        if attributes is not None:
            parts += [attributes.index_select(-2, receiver), attributes.index_select(-2, sender)]
        if relation_attributes is not None:
            parts.append(relation_attributes)
        return torch.cat(parts, -1)

    def aggregate(
        self,
        effects: Tensor,
        states: Tensor,
        edge_index: Tensor,
        attributes: Tensor | None = None,
        external: Tensor | None = None,
    ) -> Tensor:
        """C = a(G, X, E): effects [..., E, D_E] summed at their receivers, beside each body's own.

        external [..., N, X]. Returns [..., N, F']; a body without relations receives 0.
        """
        count = states.size(-2)
        total = sum_by_index(effects.movedim(-2, 0), edge_index[1], count).movedim(0, -2)
        own = states[..., 2:] if self.relative else states
        return torch.cat([own, *(x for x in (attributes, external) if x is not None), total], -1)

    def forward(
        self,
        states: Tensor,
        edge_index: Tensor,
        attributes: Tensor | None = None,
        relation_attributes: Tensor | None = None,
        external: Tensor | None = None,
    ) -> Tensor:
        """P, the accelerations: states [..., N, 4] -> [..., N, 2].

        Raises ValueError where a shape does not fit, with what was expected.
        """
        self._check(states, edge_index, attributes, relation_attributes, external)
        marshalled = self.marshal(states, edge_index, attributes, relation_attributes)  # B
        effects = self.phi_r(marshalled)  # E
        collected = self.aggregate(effects, states, edge_index, attributes, external)  # C
        return self.phi_o(collected)  # P

    def step(self, states: Tensor, edge_index: Tensor, *rest: Tensor | None) -> Tensor:
        """The states one frame later, [..., N, 4] -> [..., N, 4]. `rest` as in `forward`."""
        place, speed = states[..., :2], states[..., 2:]
        after = speed + self.dt * self(states, edge_index, *rest)
        return torch.cat([place + self.dt * (speed + after) / 2, after], -1)

    def rollout(
        self, states: Tensor, edge_index: Tensor, steps: int, *rest: Tensor | None
    ) -> Tensor:
        """`steps` frames on its own predictions, without gradient: [..., N, 4] -> [..., N, steps, 4]."""
        ahead = []
        with torch.no_grad():
            for _ in range(steps):
                states = self.step(states, edge_index, *rest)
                ahead.append(states)
        return torch.stack(ahead, -2)

    def _check(self, states: Tensor, edge_index: Tensor, *rest: Tensor | None) -> None:
        check_edge_index(edge_index, states.size(-2) if states.dim() > 1 else 0)
        if states.dim() < 2 or states.size(-1) != 4:
            raise ValueError(f"states must be [..., N, 4], got {list(states.shape)}")
        count, relations = states.size(-2), edge_index.size(1)
        names = (("attributes", count), ("relation_attributes", relations), ("external", count))
        for (name, rows), size, given in zip(names, self.sizes, rest):
            wanted = (*states.shape[:-2], rows, size) if size else None
            if (None if given is None else (*given.shape,)) != wanted:
                raise ValueError(
                    f"{name} must be {'None' if wanted is None else list(wanted)}, got "
                    f"{None if given is None else list(given.shape)}"
                )


def accelerations(states: Tensor, dt: float) -> Tensor:
    """(v^(t+1) - v^t) / dt, what the network is trained to give at frame t: [..., T, 4] -> [..., T - 1, 2]."""
    return states[..., 1:, 2:].sub(states[..., :-1, 2:]) / dt


def train_interaction_network(
    model: InteractionNetwork,
    states: Tensor,
    edge_index: Tensor,
    attributes: Tensor | None = None,
    relation_attributes: Tensor | None = None,
    external: Tensor | None = None,
    *,
    epochs: int = 20,
    lr: float = 2e-3,
    batch_size: int = 256,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> History:
    """Minimise the squared error of the accelerations, one frame ahead, over all frames, by `descend`.

    states [S, N, T, 4]; attributes [S, N, A], relation_attributes [S, E, R], external [S, N, X], the
    same in all frames of a simulation. The error is divided by the targets' mean square: a loss of 1
    is that of predicting no force at all, which is the constant-velocity baseline.
    """
    targets = accelerations(states, model.dt).transpose(1, 2).flatten(0, 1)  # [S (T - 1), N, 2]
    now = states[:, :, :-1].transpose(1, 2)  # [S, T - 1, N, 4]
    given = (attributes, relation_attributes, external)
    constant = [None if x is None else x.repeat_interleave(now.size(1), 0) for x in given]
    size = targets.square().mean()

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        rows, wanted, *some = batch
        rest = [None if x is None else some.pop(0) for x in constant]
        return F.mse_loss(model(rows, edge_index, *rest), wanted) / size

    return descend(
        model,
        loss,
        now.flatten(0, 1),
        targets,
        *(x for x in constant if x is not None),
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        generator=generator,
        progress=progress,
    )


def _perceptron(
    in_features: int, hidden_size: int, out_features: int, layers: int
) -> nn.Sequential:
    """Linear layers with ReLU between them, `layers` in all."""
    sizes = [in_features] + [hidden_size] * (layers - 1) + [out_features]
    parts: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(sizes):
        parts += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*parts[:-1])
