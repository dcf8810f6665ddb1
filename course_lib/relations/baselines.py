"""What relational inference has to beat: correlations for the graph, simple predictors for the paths.

For the graph: correlate two bodies' paths, or the states of a recurrent net that read them
(`lstm_baseline`), and call a pair linked where the correlation passes a threshold fitted on graphs that
are known. For the future: the last state repeated, the last velocity kept, an LSTM, and the decoder with
its graph given: the full graph, or the true one.

Axes: S simulations (B in a batch), N bodies, T frames, D features, E = N (N - 1) edges in the order of
`complete_graph(N)`, K types of edges.

Source: Kipf, Fetaya, Wang, Welling and Zemel, Neural relational inference for interacting systems,
2018, https://arxiv.org/abs/1802.04687, section 5.1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib.relations.graphs import complete_graph, edges_to_types

__all__ = [
    "Threshold",
    "constant_velocity",
    "fit_threshold",
    "full_graph",
    "path_correlation",
    "state_correlation",
    "static",
    "true_graph",
]


def path_correlation(states: Tensor, centred: bool = False) -> Tensor:
    """Pearson's correlation of two bodies' paths: [S, N, T, D] -> [S, E], from -1 to 1.

    A path is the vector of its T D numbers, and its mean over them is taken off: what correlates is
    where two bodies are as much as how they move. The same in both directions. A path of equal
    numbers has correlation 0 with any other.

    Args:
        states: features of like size, so that none decides alone (`Simulations.unit_states`).
        centred: take each feature's mean over time off instead, and the mean of the D correlations
            over time: only how the two move together counts.

    Raises:
        ValueError: for another number of axes, or fewer than two frames.
    """
    if states.dim() != 4 or states.size(2) < 2:
        raise ValueError(f"states must be [S, N, T, D] with T >= 2, got {list(states.shape)}")
    if not centred:
        return state_correlation(states.flatten(2))
    unit = _centred_unit(states, 2)  # length one over the frames
    return edges_to_types(torch.einsum("sitd,sjtd->sij", unit, unit) / states.size(3))  # [S, E]


def state_correlation(hidden: Tensor) -> Tensor:
    """Pearson's correlation of two bodies' vectors over their units: [S, N, H] -> [S, E].

    For what `LSTMBaseline.last_hidden` gives. A vector of equal numbers has correlation 0 with any
    other.

    Raises ValueError for another number of axes, or a single unit.
    """
    if hidden.dim() != 3 or hidden.size(2) < 2:
        raise ValueError(f"hidden must be [S, N, H] with H >= 2, got {list(hidden.shape)}")
    unit = _centred_unit(hidden, 2)
    return edges_to_types(unit @ unit.mT)


class Threshold(NamedTuple):
    """A pair is linked where sign * score > cut: what `fit_threshold` found."""

    cut: float
    sign: int

    def __call__(self, scores: Tensor) -> Tensor:
        """The types of any number of scores: int64 of the same shape, 1 where linked, else 0."""
        return (self.sign * scores > self.cut).long()


def fit_threshold(scores: Tensor, types: Tensor) -> Threshold:
    """The threshold, and the side of it, with the most pairs right among all there are.

    It needs the true graphs of some simulations, where neural relational inference needs none; fit
    it on others than those it is judged on. Of equally good cuts the widest gap wins.

    Args:
        scores: one a pair, of any shape. types: of the same shape, 1 linked, 0 not.

    Raises:
        ValueError: for other shapes or types, or scores that are NaN.
    """
    if scores.shape != types.shape or not scores.numel():
        raise ValueError(
            f"scores and types must be of one shape, one of each a pair, got {list(scores.shape)} "
            f"and {list(types.shape)}"
        )
    if scores.isnan().any() or bool(((types != 0) & (types != 1)).any()):
        raise ValueError("scores must not be NaN and types must be 0 or 1: two types of edges")
    values, order = scores.detach().flatten().double().sort()
    linked = types.flatten()[order].double()
    total = linked.sum()
    # cut number c stands below value c: with sign +1 the pairs from c on are called linked
    right = (1 - linked).cumsum(0) - (1 - linked) + total - linked.cumsum(0) + linked
    right = torch.cat([right, (len(linked) - total).view(1)])  # all below: none is linked
    edges = torch.cat([values[:1] - 1, values, values[-1:] + 1])
    gaps = edges.diff()  # a cut inside a run of equal scores would split it
    best, sign = None, 1
    for side, count in ((1, right), (-1, len(linked) - right)):
        count = count.masked_fill(gaps <= 0, -1)
        ties = gaps.masked_fill(count < count.max(), -1)
        if best is None or count.max() > best[0]:
            best, sign = (count.max(), int(ties.argmax())), side
    cut = float(edges[best[1]] + edges[best[1] + 1]) / 2
    return Threshold(sign * cut, sign)


def static(last: Tensor, steps: int) -> Tensor:
    """Nothing moves: the last state [S, N, D] at each of `steps` frames, [S, N, steps, D]."""
    return last.unsqueeze(2).expand(-1, -1, steps, -1)


def constant_velocity(last: Tensor, steps: int, dt: float) -> Tensor:
    """Nothing pulls: x_t = x_0 + t dt v_0, v_t = v_0. [S, N, D] -> [S, N, steps, D].

    Args:
        last: positions, then as many velocities, so that D is even.
        steps: frames to predict.
        dt: time between two frames, in the units in which velocity is position over time.

    Raises:
        ValueError: for an odd D, where half of it cannot be velocities.
    """
    if last.size(-1) % 2:
        raise ValueError(f"last must hold positions, then velocities, got D = {last.size(-1)}")
    position, velocity = last.unsqueeze(2).chunk(2, -1)  # [S, N, 1, D/2]
    time = dt * torch.arange(1, steps + 1, device=last.device, dtype=last.dtype).view(-1, 1)
    return torch.cat([position + time * velocity, velocity.expand(-1, -1, steps, -1)], -1)


def true_graph(types: Tensor, num_types: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    """The true types int64 [S, E] as the certain edges a decoder takes: one-hot [S, E, K]."""
    return F.one_hot(types, num_types).to(dtype)


def full_graph(
    states: Tensor, num_types: int = 2, edge_type: int = 1, dtype: torch.dtype | None = None
) -> Tensor:
    """Every pair linked by the same `edge_type`: one-hot [S, E, K] for states [S, N, T, D]."""
    count = complete_graph(states.size(1)).size(1)
    edges = states.new_zeros(len(states), count, num_types, dtype=dtype)
    edges[..., edge_type] = 1
    return edges


def _centred_unit(values: Tensor, dim: int) -> Tensor:
    """Less their mean along `dim`, then divided by their norm; zeros where they are all equal."""
    centred = values - values.mean(dim, keepdim=True)
    norm = centred.norm(dim=dim, keepdim=True)
    rounding = 8 * torch.finfo(values.dtype).eps * values.norm(dim=dim, keepdim=True)
    return centred / norm.masked_fill(norm <= rounding, torch.inf)
