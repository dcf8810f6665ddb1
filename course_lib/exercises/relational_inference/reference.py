"""The references of unit 09, by other means than the lab's.

The lab loops over time steps, edges and frames and picks rows by index; this takes powers of the matrix of a step,
multiplies by one-hot matrices as the paper does, decodes all windows at once, and asks torch.distributions. Bodies have
the mass 1; a state is [x, y, vx, vy]; edge_index [2, E] has the senders in row 0 and the receivers in row 1.
"""

from __future__ import annotations

import functools
from itertools import permutations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Categorical, kl_divergence

VARIANCE, RESTART, TAU = 0.1, 3, 0.5  # of the training exercise


def leapfrog(
    position: Tensor, velocity: Tensor, springs: Tensor, stiffness: float, dt: float, steps: int
) -> tuple[Tensor, Tensor]:
    """Position and velocity, each [S, N, 2], after `steps` times half a kick, a drift, half a kick."""
    pull = _pull(springs, stiffness)
    one, none = torch.eye(pull.shape[-1]).to(pull).expand_as(pull), torch.zeros_like(pull)
    kick = _blocks(one, none, dt / 2 * pull, one)
    drift = _blocks(one, dt * one, none, one)
    return _moved(torch.matrix_power(kick @ drift @ kick, steps), position, velocity)


def exact(
    position: Tensor, velocity: Tensor, springs: Tensor, stiffness: float, time: float
) -> tuple[Tensor, Tensor]:
    """Position and velocity after `time`, by the exponential of the matrix of the motion."""
    pull = _pull(springs, stiffness)
    one, none = torch.eye(pull.shape[-1]).to(pull).expand_as(pull), torch.zeros_like(pull)
    return _moved(torch.matrix_exp(time * _blocks(none, one, pull, none)), position, velocity)


def _pull(springs: Tensor, stiffness: float) -> Tensor:
    """The matrix [S, N, N] that makes accelerations of positions: minus the graph's Laplacian."""
    return stiffness * (springs - torch.diag_embed(springs.sum(-1)))


def _blocks(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    return torch.cat([torch.cat([a, b], -1), torch.cat([c, d], -1)], -2)


def _moved(matrix: Tensor, position: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    moved = matrix @ torch.cat([position, velocity], -2)  # [S, 2N, 2]
    bodies = position.shape[-2]
    return moved[..., :bodies, :], moved[..., bodies:, :]


def complete_graph(bodies: int) -> Tensor:
    """int64 [2, E], E = N (N - 1): senders in row 0, receivers in row 1, sorted by receiver, then by sender."""
    receivers, senders = (~torch.eye(bodies, dtype=torch.bool)).nonzero(as_tuple=True)
    return torch.stack([senders, receivers])


def _ends(edge_index: Tensor, nodes: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """One-hot matrices [E, N] of the senders and of the receivers."""
    send, receive = F.one_hot(edge_index, nodes).to(like.dtype)
    return send, receive


def node_to_edge(h: Tensor, edge_index: Tensor) -> Tensor:
    """[sender, receiver] of each edge: [B, N, F] -> [B, E, 2F]."""
    send, receive = _ends(edge_index, h.shape[1], h)
    return torch.cat([send @ h, receive @ h], -1)


def edge_to_node(messages: Tensor, edge_index: Tensor, nodes: int) -> Tensor:
    """The sum of what reaches each node: [B, E, F] -> [B, N, F]."""
    return _ends(edge_index, nodes, messages)[1].T @ messages


def decoder_step(
    x: Tensor, z: Tensor, edge_index: Tensor, message: Tensor, own: Tensor, skip_first: bool
) -> Tensor:
    """x + x own + sum over incoming edges and types k of z_k [sender, receiver] message_k: [B, N, D]."""
    first = int(skip_first)
    maps = torch.einsum("bek,kio->beio", z[..., first:], message[first:])  # a map for each edge
    sent = torch.einsum("bei,beio->beo", node_to_edge(x, edge_index), maps)
    return x + x @ own + edge_to_node(sent, edge_index, x.shape[1])


def rollout(
    states: Tensor, z: Tensor, edge_index: Tensor, message: Tensor, own: Tensor, restart: int
) -> Tensor:
    """Predictions of frames 1 ... T-1, begun anew from the truth every `restart` frames: [B, N, T-1, D].

    All windows are decoded at once, as further rows of the batch.
    """
    batch, nodes, frames, features = states.shape
    starts = states[:, :, : frames - 1 : restart]  # [B, N, W, D]
    windows = starts.shape[2]
    x = starts.transpose(1, 2).reshape(batch * windows, nodes, features)
    types = z.repeat_interleave(windows, 0)
    made = []
    for _ in range(min(restart, frames - 1)):
        x = decoder_step(x, types, edge_index, message, own, True)
        made.append(x)
    each = torch.stack(made, 1).view(batch, windows, len(made), nodes, features)
    return each.flatten(1, 2)[:, : frames - 1].transpose(1, 2)


def nri_loss(
    predicted: Tensor, target: Tensor, logits: Tensor, prior: Tensor, variance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(NLL + KL, NLL without its constant, KL summed over edges), each [B]."""
    nll = ((predicted - target) ** 2 / (2 * variance)).flatten(1).sum(1)
    given = {"validate_args": False}
    kl = kl_divergence(Categorical(logits=logits, **given), Categorical(probs=prior, **given))
    return nll + kl.sum(-1), nll, kl.sum(-1)


def edge_accuracy(predicted: Tensor, true: Tensor, types: int, relabel: bool) -> Tensor:
    """The share of right edges, with `relabel` under the best one renaming of the types: a number."""
    counts = torch.bincount((predicted * types + true).flatten(), minlength=types**2)
    counts = counts.view(types, types)
    orders = permutations(range(types)) if relabel else [range(types)]
    best = max(sum(int(counts[p, t]) for p, t in enumerate(order)) for order in orders)
    return torch.tensor(best / true.numel())


def infer_relations(states: Tensor, edge_index: Tensor, iterations: int) -> Tensor:
    """Logits [S, E, 2] of the edges, type 0 "no spring", learned from states [S, N, T, 4] alone.

    The same question is answered once, and remembered.
    """
    data = states.contiguous().numpy().tobytes(), tuple(states.shape)
    return _remembered(*data, tuple(map(tuple, edge_index.tolist())), iterations).clone()


@functools.lru_cache(maxsize=16)
def _remembered(data: bytes, shape: tuple[int, ...], edges: tuple, iterations: int) -> Tensor:
    states = torch.frombuffer(bytearray(data), dtype=torch.float32).view(shape)
    return fit_relations(states, torch.tensor(edges), iterations)


def fit_relations(
    states: Tensor,
    edge_index: Tensor,
    iterations: int,
    restart: int = RESTART,
    weight: float = 1.0,
    clear: bool = True,
) -> Tensor:
    """As `infer_relations`, each time anew; `weight` is that of the KL, `clear` says whether gradients are reset."""
    random = torch.Generator().manual_seed(0)
    simulations, _, _, features = states.shape
    logits = torch.zeros(simulations, edge_index.shape[1], 2, requires_grad=True)
    message = 0.05 * torch.randn(2, 2 * features, features, generator=random)
    weights = [message.requires_grad_(), torch.zeros(features, features, requires_grad=True)]
    optimizer = torch.optim.Adam([{"params": [logits], "lr": 0.1}, {"params": weights, "lr": 0.02}])
    prior, target = torch.tensor([0.5, 0.5]), states[:, :, 1:]
    for _ in range(iterations):
        noise = -torch.empty_like(logits).exponential_(generator=random).log()
        z = ((logits + noise) / TAU).softmax(-1)
        predicted = rollout(states, z, edge_index, *weights, restart)
        if clear:
            optimizer.zero_grad()
        _, nll, kl = nri_loss(predicted, target, logits, prior, VARIANCE)
        (nll + weight * kl).mean().backward()
        optimizer.step()
    return logits.detach()
