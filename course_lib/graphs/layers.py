"""Graph convolutions: each node hears from its neighbours, then applies the same small network.

Every layer computes h'_v = update(h_v, sum over edges (u, v) of coefficient * h_u). It knows nothing of
the order in which nodes are numbered: permuting the nodes permutes the result.

Parameters carry the names they have in torch_geometric, so a state_dict loads in both directions.

Inputs shared by the layers:
    x: node features [N, F], dense; GCNConv and SGConv also take a CSRMatrix (sparse features).
    edge_index: int64 [2, E], row 0 the sources, row 1 the targets; or a CSRMatrix [N, N] of fixed
        coefficients, rows the targets, which the layer uses as it is, without normalising.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.graphs.message_passing import (
    aggregate,
    check_edge_index,
    degree,
    gcn_norm,
    sum_by_index,
)
from course_lib.graphs.sparse import CSRMatrix

__all__ = ["GCNConv", "GINConv", "SAGEConv", "SGConv"]


def _check_inputs(
    x: Tensor | CSRMatrix, edge_index: Tensor | CSRMatrix, edge_weight: Tensor | None = None
) -> None:
    if len(x.shape) != 2:
        raise ValueError(f"x must be [N, F], one row of features a node, got {list(x.shape)}")
    if isinstance(edge_index, CSRMatrix):
        if edge_weight is not None:
            raise ValueError(
                "edge_index is a CSRMatrix, which holds its own coefficients: "
                "leave edge_weight out, or pass edges [2, E]"
            )
        if edge_index.shape[1] != x.shape[0]:
            raise ValueError(
                f"x has {x.shape[0]} rows but the matrix has {edge_index.shape[1]} columns: "
                "both must be the number of nodes"
            )
    else:
        check_edge_index(edge_index, x.shape[0])


def _require_dense(x: Tensor | CSRMatrix, layer: str) -> None:
    if isinstance(x, CSRMatrix):
        raise ValueError(f"{layer} needs dense node features [N, F]: pass x.to_dense()")


def _spread(h: Tensor, edge_index: Tensor | CSRMatrix, weight: Tensor | None = None) -> Tensor:
    """out_v = sum over edges (u, v) of weight_uv h_u: the product A h, from edges or a matrix."""
    if isinstance(edge_index, CSRMatrix):
        return edge_index @ h
    messages = h.index_select(0, edge_index[0])  # [N, F] -> [E, F]
    if weight is not None:
        column = weight.unsqueeze(1)
        # In place where autograd does not need the unscaled messages: one [E, F] array less.
        messages = messages * column if weight.requires_grad else messages.mul_(column)
    return sum_by_index(messages, edge_index[1], h.size(0))  # [E, F] -> [N, F]


def _spread_normalized(h: Tensor, edge_index: Tensor, norm: str) -> Tensor:
    """A_hat h of a graph without edge weights: [N, F] -> [N, F].

    What `_spread` gives with `gcn_norm`'s coefficients. But without weights the scales can be
    taken out of the sum, D^-1/2 (A + I) (D^-1/2 h), so that N rows are scaled and not E messages.
    """
    is_loop = edge_index[0] == edge_index[1]
    if is_loop.any():  # a loop that is there takes the place of I
        edge_index = edge_index[:, ~is_loop]
    total = degree(edge_index[1], h.size(0), h.dtype).unsqueeze(1) + 1
    if norm == "row":
        return (_spread(h, edge_index) + h) / total
    scale = total.rsqrt()
    scaled = h * scale
    return (_spread(scaled, edge_index) + scaled) * scale


class GCNConv(nn.Module):
    """Graph convolution (Kipf & Welling 2017, https://arxiv.org/abs/1609.02907).

    Matrix form:  H' = A_hat H W + b,  with A_hat = D^-1/2 (A + I) D^-1/2
    Node form:    h'_v = b + W^T sum over u in N(v) and v itself of h_u / sqrt(d_u d_v),
                  d the degree counted with the self-loop.
    With norm="row", A_hat = D^-1 (A + I): the mean over v and its neighbours.

    The product is taken in the cheaper order: A_hat (H W) where the layer narrows, (A_hat H) W
    otherwise.

    Args:
        in_channels, out_channels: features a node before and after.
        norm: "sym" or "row", see `gcn_norm`.
        improved, add_self_loops: see `gcn_norm`.
        normalize: False uses the edge weights as they are (then add_self_loops is not used).
        bias: learn b.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        norm: str = "sym",
        improved: bool = False,
        add_self_loops: bool = True,
        normalize: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if norm not in ("sym", "row"):
            raise ValueError(f'norm must be "sym" or "row", got {norm!r}')
        self.norm, self.improved = norm, improved
        self.add_self_loops, self.normalize = add_self_loops, normalize
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot's uniform weights, zero bias."""
        nn.init.xavier_uniform_(self.lin.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(
        self,
        x: Tensor | CSRMatrix,
        edge_index: Tensor | CSRMatrix,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """[N, in_channels] -> [N, out_channels]; edge_weight [E] may require a gradient."""
        _check_inputs(x, edge_index, edge_weight)
        # A (H W) = (A H) W: average whichever is narrower.
        linear_first = isinstance(x, CSRMatrix) or self.lin.out_features < self.lin.in_features
        h = x @ self.lin.weight.t() if linear_first else x
        out = self._average(h, edge_index, edge_weight)
        if not linear_first:
            out = out @ self.lin.weight.t()
        return out if self.bias is None else out + self.bias

    def _average(
        self, h: Tensor, edge_index: Tensor | CSRMatrix, edge_weight: Tensor | None
    ) -> Tensor:
        """A_hat h, in the cheapest form for what is given."""
        if isinstance(edge_index, CSRMatrix) or not self.normalize:
            return _spread(h, edge_index, edge_weight)
        if edge_weight is None and self.add_self_loops and not self.improved:
            return _spread_normalized(h, edge_index, self.norm)
        options = {"norm": self.norm, "dtype": h.dtype}
        edges, coefficient = gcn_norm(
            edge_index, edge_weight, h.size(0), self.improved, self.add_self_loops, **options
        )
        return _spread(h, edges, coefficient)

    def extra_repr(self) -> str:
        return f"norm={self.norm!r}"


class GINConv(nn.Module):
    """Graph isomorphism layer (Xu et al. 2019, https://arxiv.org/abs/1810.00826).

    Node form:    h'_v = MLP((1 + eps) h_v + sum over u in N(v) of h_u)
    Matrix form:  H' = MLP((A + (1 + eps) I) H)

    A sum keeps the multiset of neighbours apart where a mean or maximum cannot: {a, a} and {a}.

    Args:
        nn: the network applied to each node, [N, F] -> [N, F'].
        eps: starting value of epsilon.
        train_eps: learn epsilon.
    """

    def __init__(self, nn: nn.Module, eps: float = 0.0, train_eps: bool = False) -> None:
        super().__init__()
        self.nn = nn
        self.initial_eps = eps
        start = torch.full((1,), float(eps))
        if train_eps:
            self.eps = torch.nn.Parameter(start)
        else:
            self.register_buffer("eps", start)

    def forward(self, x: Tensor, edge_index: Tensor | CSRMatrix) -> Tensor:
        """[N, F] -> [N, F']; a CSRMatrix holds A itself."""
        _require_dense(x, "GINConv")
        _check_inputs(x, edge_index)
        return self.nn(_spread(x, edge_index) + (1 + self.eps) * x)


class SGConv(nn.Module):
    """Simplified graph convolution (Wu et al. 2019, https://arxiv.org/abs/1902.07153).

    Matrix form:  H' = A_hat^K H W + b: K rounds of averaging, then one linear layer.
    Node form:    K times h_v <- sum over u in N(v) and v of h_u / sqrt(d_u d_v); then W^T h_v + b.

    A_hat^K H has nothing to learn and can be computed once: `models.propagate`.

    Args:
        in_channels, out_channels: features a node before and after.
        K: rounds; 0 is a linear layer on x.
        norm, add_self_loops: see `gcn_norm`.
        bias: learn b.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        K: int = 1,
        *,
        norm: str = "sym",
        add_self_loops: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if K < 0:
            raise ValueError(f"K counts rounds of averaging and cannot be negative, got {K}")
        self.K, self.norm, self.add_self_loops = K, norm, add_self_loops
        self.lin = nn.Linear(in_channels, out_channels, bias=bias)

    def forward(
        self,
        x: Tensor | CSRMatrix,
        edge_index: Tensor | CSRMatrix,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """[N, in_channels] -> [N, out_channels]."""
        _check_inputs(x, edge_index, edge_weight)
        if not isinstance(edge_index, CSRMatrix):
            edge_index, edge_weight = gcn_norm(
                edge_index,
                edge_weight,
                x.shape[0],
                add_self_loops=self.add_self_loops,
                norm=self.norm,
                dtype=x.dtype,
            )
        # A^K (H W) = (A^K H) W: average whichever is narrower.
        linear_first = isinstance(x, CSRMatrix) or self.lin.out_features < self.lin.in_features
        h = x @ self.lin.weight.t() if linear_first else x
        for _ in range(self.K):
            h = _spread(h, edge_index, edge_weight)
        if not linear_first:
            h = h @ self.lin.weight.t()
        return h if self.lin.bias is None else h + self.lin.bias


class SAGEConv(nn.Module):
    """GraphSAGE (Hamilton et al. 2017, https://arxiv.org/abs/1706.02216).

    Node form:    h'_v = W_r^T h_v + b + W_l^T aggr({ h_u : u in N(v) })
    Matrix form:  H' = H W_r + D^-1 A H W_l + b  for the mean; a node without neighbours gets 0.

    Args:
        in_channels, out_channels: features a node before and after.
        aggr: "mean", "sum", "max" or "min".
        normalize: scale each h'_v to length 1.
        root_weight: learn W_r; False drops the node's own term.
        bias: learn b.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        aggr: str = "mean",
        normalize: bool = False,
        root_weight: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.aggr, self.normalize = aggr, normalize
        self.lin_l = nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_r = nn.Linear(in_channels, out_channels, bias=False) if root_weight else None

    def forward(self, x: Tensor, edge_index: Tensor | CSRMatrix) -> Tensor:
        """[N, in_channels] -> [N, out_channels].

        A CSRMatrix replaces the mean or the sum: for a mean its rows sum to one, for instance
        `gcn_norm(edge_index, add_self_loops=False, norm="row")`.
        """
        _require_dense(x, "SAGEConv")
        _check_inputs(x, edge_index)
        if isinstance(edge_index, CSRMatrix):
            if self.aggr not in ("mean", "sum"):
                raise ValueError(f"a matrix product cannot take a {self.aggr}: pass edges [2, E]")
            heard = edge_index @ x
        else:
            heard = aggregate(x.index_select(0, edge_index[0]), edge_index[1], x.size(0), self.aggr)
        out = self.lin_l(heard)
        if self.lin_r is not None:
            out = out + self.lin_r(x)
        return F.normalize(out, dim=-1) if self.normalize else out
