"""A sparse matrix of fixed coefficients: the fast road for a graph that does not change.

Training multiplies by the same normalised adjacency a few hundred times. Sorting the edges by
target once (compressed sparse rows, CSR) turns A_hat @ H into one pass over memory, and keeping
the transpose does the same for the gradient. No [E, F] array of messages is ever made.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from course_lib.graphs.message_passing import check_edge_index

__all__ = ["CSRMatrix"]


class CSRMatrix:
    """A constant sparse matrix [R, C] whose product with a dense matrix is differentiable.

    `matrix @ dense` is a linear map of `dense`, so its gradient is `matrix.T @ grad` (and double
    backward works). The coefficients are fixed: they receive no gradient, and coefficients that
    require one are refused. For learned edge weights use `edge_index` with `edge_weight`.

        a_hat = CSRMatrix.from_edges(*gcn_norm(edge_index, num_nodes=n), n)
        hidden = a_hat @ (x @ weight)

    Args:
        tensor: a torch tensor in the layout `torch.sparse_csr`, [R, C], of a floating dtype.
    """

    def __init__(self, tensor: Tensor) -> None:
        if tensor.layout != torch.sparse_csr or tensor.dim() != 2:
            raise ValueError(
                f"CSRMatrix wraps a 2-D tensor of layout torch.sparse_csr, got {tensor.dim()}-D "
                f"{tensor.layout}: use CSRMatrix.from_dense or CSRMatrix.from_edges"
            )
        if tensor.requires_grad:
            raise ValueError(_NO_GRADIENT)
        self._tensor = _narrow_indices(tensor)
        self._transpose: CSRMatrix | None = None
        self._order: Tensor | None = None  # values of the transpose = values[order]

    @classmethod
    def from_edges(cls, edge_index: Tensor, weight: Tensor, num_nodes: int) -> CSRMatrix:
        """The matrix [N, N] with entry [v, u] the weight of the edge from u to v.

        Rows are targets, so `matrix @ x` sums what arrives. Weights of doubled edges add up.

        Args:
            edge_index: int64 [2, E].
            weight: [E].
            num_nodes: N.
        """
        check_edge_index(edge_index, num_nodes)
        if weight.shape != edge_index.shape[1:]:
            raise ValueError(
                f"weight must be [E] = [{edge_index.size(1)}], got {list(weight.shape)}: "
                "give one number an edge"
            )
        if weight.requires_grad:
            raise ValueError(_NO_GRADIENT)
        size = (num_nodes, num_nodes)
        entries = torch.sparse_coo_tensor(edge_index.flip(0), weight, size, check_invariants=False)
        with warnings.catch_warnings():  # torch calls its CSR layout a beta
            warnings.filterwarnings("ignore", "Sparse CSR tensor support")
            return cls(entries.coalesce().to_sparse_csr())

    @classmethod
    def from_dense(cls, x: Tensor) -> CSRMatrix:
        """The non-zero entries of a dense matrix [R, C]; for bag-of-words features, say."""
        if x.dim() != 2:
            raise ValueError(f"from_dense takes a matrix [R, C], got shape {list(x.shape)}")
        if x.requires_grad:
            raise ValueError(_NO_GRADIENT)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support")
            return cls(x.to_sparse_csr())

    @property
    def crow(self) -> Tensor:
        """[R + 1]: the entries of row r stand at positions crow[r] up to crow[r + 1]."""
        return self._tensor.crow_indices()

    @property
    def col(self) -> Tensor:
        """[nnz]: the column of each entry."""
        return self._tensor.col_indices()

    @property
    def values(self) -> Tensor:
        """[nnz]: the coefficients."""
        return self._tensor.values()

    @property
    def shape(self) -> torch.Size:
        return self._tensor.shape

    @property
    def dtype(self) -> torch.dtype:
        return self._tensor.dtype

    @property
    def device(self) -> torch.device:
        return self._tensor.device

    @property
    def T(self) -> CSRMatrix:
        """The transpose [C, R], built once and kept."""
        if self._transpose is None:
            rows, columns = self.shape
            self._order = torch.argsort(self.col, stable=True)
            counts = torch.bincount(self.col, minlength=columns)
            of_row = torch.arange(rows, device=self.device, dtype=self.col.dtype)
            row = of_row.repeat_interleave(self.crow.diff(), output_size=self.col.numel())
            self._transpose = CSRMatrix(
                _csr(
                    torch.cat([counts.new_zeros(1), counts.cumsum(0)]).to(self.crow.dtype),
                    row.index_select(0, self._order),
                    self.values.index_select(0, self._order),
                    (columns, rows),
                )
            )
            self._transpose._transpose = self
            self._transpose._order = torch.argsort(self._order)
        return self._transpose

    def __matmul__(self, dense: Tensor) -> Tensor:
        """[R, C] @ [C, F] -> [R, F], or [R, C] @ [C] -> [R]; differentiable in `dense`."""
        if not isinstance(dense, Tensor):
            return NotImplemented
        if dense.dim() not in (1, 2) or dense.size(0) != self.shape[1]:
            raise ValueError(
                f"a CSRMatrix {list(self.shape)} multiplies {self.shape[1]} rows, "
                f"got a dense {list(dense.shape)}: x needs one row for each column of the matrix"
            )
        if dense.dtype != self.dtype or dense.device != self.device:
            raise ValueError(
                f"the CSRMatrix is {self.dtype} on {self.device}, the dense matrix {dense.dtype} "
                f"on {dense.device}: bring them together with matrix.to(x.device, x.dtype)"
            )
        if dense.dim() == 1:
            return _Product.apply(dense.unsqueeze(1), self).squeeze(1)
        return _Product.apply(dense, self)

    def dropout(
        self, p: float = 0.5, training: bool = True, generator: torch.Generator | None = None
    ) -> CSRMatrix:
        """Zero each stored entry with probability p and scale the others by 1 / (1 - p).

        The same as dropout on the dense matrix, since zeros stay zero, at the cost of the entries
        that there are. Outside training, or with p = 0, the matrix itself.
        """
        if not 0 <= p <= 1:
            raise ValueError(f"a dropout probability lies between 0 and 1, got {p}")
        if not training or p == 0:
            return self
        kept = torch.empty_like(self.values).bernoulli_(1 - p, generator=generator)
        return self._with_values(self.values * (kept / (1 - p) if p < 1 else kept))

    def _with_values(self, values: Tensor) -> CSRMatrix:
        """The same sparsity, other values; the transpose is not sorted anew."""
        transpose = self.T
        result = CSRMatrix(_csr(self.crow, self.col, values, self.shape))
        result._order = self._order
        result._transpose = CSRMatrix(
            _csr(
                transpose.crow, transpose.col, values.index_select(0, self._order), transpose.shape
            )
        )
        result._transpose._transpose, result._transpose._order = result, transpose._order
        return result

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None):
        """The matrix on another device or in another floating dtype; itself if nothing changes."""
        moved = self._tensor.to(device=device, dtype=dtype)
        return self if moved is self._tensor else CSRMatrix(moved)

    def to_dense(self) -> Tensor:
        """[R, C] with the zeros written out: for small matrices and tests."""
        return self._tensor.to_dense()

    def __repr__(self) -> str:
        rows, columns = self.shape
        return f"CSRMatrix({rows} x {columns}, {self.values.numel()} entries, {self.dtype})"


_NO_GRADIENT = (
    "a CSRMatrix holds fixed coefficients and gives them no gradient, but these require one: "
    "detach() them, or pass edge_index and edge_weight to the layer instead"
)


def _csr(crow: Tensor, col: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.sparse_csr_tensor(crow, col, values, tuple(shape), check_invariants=False)


def _narrow_indices(tensor: Tensor) -> Tensor:
    """32-bit indices where they suffice: the vendors' kernels take these without a copy."""
    largest = max(tensor.values().numel(), *tensor.shape)
    if tensor.crow_indices().dtype == torch.int32 or largest >= 2**31:
        return tensor
    crow, col = tensor.crow_indices().int(), tensor.col_indices().int()
    return _csr(crow, col, tensor.values(), tensor.shape)


class _Product(torch.autograd.Function):
    """Y = M X with M constant: dL/dX = M^T dL/dY, again a product with a constant."""

    @staticmethod
    def forward(ctx, dense: Tensor, matrix: CSRMatrix) -> Tensor:
        ctx.matrix = matrix
        return matrix._tensor @ dense

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return _Product.apply(grad, ctx.matrix.T), None
