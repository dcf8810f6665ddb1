"""A sampler that learns whom to ask: node-wise sampling as a bandit problem.

Kept apart from `sampling.py` because it has memory: each estimate improves the next.
"""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.graphs.message_passing import aggregate, degree, segment_softmax
from course_lib.graphs.sampling import row_entries
from course_lib.graphs.sparse import CSRMatrix

__all__ = ["BanditSampler", "neighbor_variance", "optimal_neighbor_distribution"]


def _rows(matrix: CSRMatrix) -> Tensor:
    """The row of every stored entry: int64 [nnz]."""
    return row_entries(matrix, torch.arange(matrix.shape[0], device=matrix.device))[0]


def _entry_norms(matrix: CSRMatrix, h: Tensor) -> Tensor:
    """|A_hat[v, u]| ||H[u]|| of every stored entry: [nnz]."""
    return matrix.values.abs() * h.norm(dim=1)[matrix.col.long()]


def optimal_neighbor_distribution(matrix: CSRMatrix, h: Tensor) -> Tensor:
    """q_v(u) proportional to |A_hat[v, u]| ||H[u]||, for every stored entry: [nnz].

    The node-wise distribution of least variance. It needs every row of H: a yardstick.
    """
    rows, mass = _rows(matrix), _entry_norms(matrix, h)
    total = aggregate(mass, rows, matrix.shape[0])[rows]
    uniform = 1 / degree(rows, matrix.shape[0], h.dtype)[rows]
    return torch.where(total > 0, mass / total.masked_fill(total == 0, 1), uniform)


def neighbor_variance(matrix: CSRMatrix, h: Tensor, targets: Tensor, q: Tensor, k: int) -> float:
    """E ||estimate - A_hat H||^2 of k independent draws a target, summed over the targets.

    = 1/k sum_v ( sum_u A_hat[v, u]^2 ||H[u]||^2 / q_v(u)  -  ||(A_hat H)_v||^2 )

    Args:
        matrix: A_hat [N, N]. h: [N, F]. targets: int64 [T].
        q: [nnz], one probability a stored entry, summing to one over each row.
        k: draws a target.
    """
    _, position = row_entries(matrix, targets)
    mass = _entry_norms(matrix, h)[position].square()
    second_moment = (mass / q[position])[mass > 0].sum()
    exact = (matrix @ h)[targets]
    return float((second_moment - exact.square().sum()) / k)


class BanditSampler:
    """Node-wise sampling whose probabilities are learned from what was drawn (after EXP3).

    Each target is a bandit whose arms are its neighbours. A draw of u with probability q_v(u)
    contributes the squared length r = (A_hat[v, u] ||H[u]|| / q_v(u))^2 to the second moment of
    the estimate; its derivative says that drawing a long term more often lowers the variance. So
    r is the reward: arms whose terms come out long gain weight until all terms are equally long,
    which is the optimal q_v(u) proportional to |A_hat[v, u]| ||H[u]||. Only rows of H that were
    drawn are read.

        w(u) <- w(u) exp( learning_rate * reward / (n_v q_v(u)) )  for the arms drawn, n_v their number
        q_v  =  (1 - exploration) w / sum w  +  exploration / n_v

    The idea and the reward are those of GCN-BS (Liu et al. 2020, https://arxiv.org/abs/2006.05806);
    here each target's rewards are divided by their mean over its k draws, so that the rate has no
    unit, and clipped at 4 so that one lucky draw does not decide.

    Args:
        matrix: A_hat [N, N], fixed.
        exploration: share of uniform sampling that is kept, in (0, 1]; bounds the weights 1/q.
        learning_rate: step size of the log-weights.
    """

    def __init__(
        self, matrix: CSRMatrix, exploration: float = 0.4, learning_rate: float = 0.02
    ) -> None:
        if not 0 < exploration <= 1:
            raise ValueError(f"exploration must lie in (0, 1], got {exploration}")
        self.matrix, self.exploration, self.learning_rate = matrix, exploration, learning_rate
        self._row = _rows(matrix)
        self._size = degree(self._row, matrix.shape[0], matrix.dtype)
        self._log_weight = torch.zeros_like(matrix.values)

    @property
    def q(self) -> Tensor:
        """The probability of every stored entry within its row: [nnz]."""
        learned = segment_softmax(self._log_weight, self._row, self.matrix.shape[0])
        return (1 - self.exploration) * learned + self.exploration / self._size[self._row]

    def estimate(
        self,
        h: Tensor,
        targets: Tensor,
        k: int,
        generator: torch.Generator | None = None,
        learn: bool = True,
    ) -> Tensor:
        """An unbiased estimate of (A_hat H)[targets], [T, F], from k draws a target.

        The draws come from the probabilities as they were; then, with `learn`, their rewards
        change the probabilities of the next call.
        """
        if k < 1:
            raise ValueError(f"an estimate needs at least one draw a target, got k={k}")
        slot, position = row_entries(self.matrix, targets)
        q = self.q[position]
        drawn = _draw(q, slot, targets.numel(), k, generator)
        slot, position, q = slot[drawn], position[drawn], q[drawn]
        rows = h.index_select(0, self.matrix.col[position].long())  # [T k, F]
        terms = rows * (self.matrix.values[position] / q).unsqueeze(1)
        if learn:
            self._learn(terms.detach().square().sum(1), slot, position, q, targets.numel())
        return aggregate(terms / k, slot, targets.numel())

    def _learn(self, reward: Tensor, slot: Tensor, position: Tensor, q: Tensor, count: int) -> None:
        mean = aggregate(reward, slot, count, "mean")[slot]
        relative = (reward / mean.masked_fill(mean == 0, 1)).clamp(max=4.0)
        step = self.learning_rate * relative / (self._size[self._row[position]] * q)
        self._log_weight.index_add_(0, position, step)
        # Only differences within a row matter; keeping the largest at 0 keeps them bounded.
        largest = aggregate(self._log_weight, self._row, self.matrix.shape[0], "max")
        self._log_weight -= largest[self._row]


def _draw(
    q: Tensor, group: Tensor, num_groups: int, k: int, generator: torch.Generator | None
) -> Tensor:
    """k independent draws from each non-empty group: positions [<= num_groups k], by group.

    q: [M], summing to one over each group; group: int64 [M], in ascending order. Inverts the
    cumulative distribution of all groups at once.
    """
    cumulative = q.double().cumsum(0)
    size = torch.bincount(group, minlength=num_groups)
    last = size.cumsum(0) - 1
    filled = (size > 0).nonzero().view(-1)
    last, first = last[filled], (last - size + 1)[filled]
    low = cumulative[first] - q.double()[first]
    span = (cumulative[last] - low)[:, None]
    u = torch.rand(filled.numel(), k, dtype=torch.float64, device=q.device, generator=generator)
    found = torch.searchsorted(cumulative, low[:, None] + u * span, right=True)
    return torch.minimum(torch.maximum(found, first[:, None]), last[:, None]).view(-1)
