"""Weight sharing: a linear map is equivariant exactly when its weights are tied along the group's orbits.

A move g puts x_{g(j)} at place j, for inputs and outputs alike. Then W g = g W says, entry by entry,
W_{ij} = W_{g(i) g(j)}: a weight equals every weight that the group carries it to. Those are its *orbit*.
(The theorem: Wood & Shawe-Taylor, Representation theory and invariant neural networks, Discrete Applied Mathematics
1996; Ravanbakhsh et al. 2017, https://arxiv.org/abs/1702.08389. Groups of moves of images: Cohen & Welling 2016,
https://arxiv.org/abs/1602.07576. Sets: Zaheer et al. 2017, https://arxiv.org/abs/1703.06114)
"""

from __future__ import annotations

import math

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn import functional as F


def permutation_orbits(size: int) -> Tensor:
    """The orbits of all permutations: 0 on the diagonal ("me"), 1 elsewhere ("the others"); int64 [n, n]."""
    return 1 - torch.eye(size, dtype=torch.int64)


def cyclic_orbits(size: int) -> Tensor:
    """The n orbits of the cyclic shifts, (j - i) mod n: the diagonals of a circulant matrix; int64 [n, n]."""
    place = torch.arange(size)
    return (place - place[:, None]) % size


def weight_orbits(moves: Tensor, out_moves: Tensor | None = None) -> Tensor:
    """The orbits of the entries of a weight matrix, from generators of any finite group.

    Args:
        moves: int64 [G, n_in], one permutation a row: move g puts x_{g(j)} at place j.
        out_moves: int64 [G, n_out], what the same moves do to the output; by default the same as to the input.

    Returns:
        int64 [n_out, n_in] with values 0..K-1: entries with the same number must be equal.

    Raises:
        ValueError: rows that are not permutations, or different numbers of moves.
    """
    out_moves = moves if out_moves is None else out_moves
    for each in (moves, out_moves):
        if each.dim() != 2 or (each.sort(1).values != torch.arange(each.size(1))).any():
            raise ValueError(f"moves must be [G, n], each row a permutation of 0..n-1, got {each}")
    if len(moves) != len(out_moves):
        raise ValueError(f"{len(moves)} moves of the input but {len(out_moves)} of the output")
    n_out, n_in = out_moves.size(1), moves.size(1)
    entry = torch.arange(n_out * n_in)
    goes_to = out_moves[:, :, None] * n_in + moves[:, None, :]  # [G, n_out, n_in]
    pairs = (entry.repeat(len(moves)).numpy(), goes_to.flatten().numpy())
    links = coo_array((torch.ones(goes_to.numel()).numpy(), pairs), shape=(len(entry), len(entry)))
    label = connected_components(links, directed=False)[1]
    return torch.from_numpy(label).long().view(n_out, n_in)


def tie(weight: Tensor, orbits: Tensor) -> Tensor:
    """Replace every weight by the mean over its orbit: the nearest matrix that is tied so.

    A projection: a tied matrix stays as it is. Where the orbits are those of a group G, it is the same as averaging
    over the group, 1/|G| sum_g g^-1 W g, and gives the nearest equivariant map.

    Args:
        weight: [n_out, n_in].  orbits: int64 [n_out, n_in]; entries of -1 are forbidden and become zero.

    Raises ValueError where the shapes differ.
    """
    if weight.shape != orbits.shape:
        raise ValueError(
            f"weight {list(weight.shape)} and orbits {list(orbits.shape)} must have one shape"
        )
    index = orbits.to(weight.device).flatten() + 1  # 0 collects the forbidden
    sums = weight.new_zeros(int(index.max()) + 1).index_add(0, index, weight.flatten())
    counts = torch.bincount(index).to(weight.dtype)
    means = (sums / counts.clamp(min=1)) * (torch.arange(len(sums), device=weight.device) > 0)
    return means[index].view_as(weight)


class SharedLinear(nn.Module):
    """A linear map whose weights are tied along given orbits:  y = W x + b,  W_{ij} = values[orbits_{ij}].

    `permutation_orbits(n)` gives the layer of Deep Sets, W = a I + c (J - I) with J the matrix of ones: two numbers
    whatever n > 1 is. `cyclic_orbits(n)` gives a circular convolution. Autograd adds up the gradients of all places
    that hold one number: dE/dvalues_k = sum of dE/dW_{ij} over the orbit k.

    Args:
        orbits: int64 [n_out, n_in], 0..K-1; -1 forbids a weight (it is zero for ever).
        bias_orbits: int64 [n_out], which places share a bias; None for no bias. For an equivariant map, these are
            the orbits of the output's places: under permutations or shifts a single one,
            `torch.zeros(n_out, dtype=torch.int64)`. -1 forbids one.

    Raises:
        ValueError: orbits, or bias_orbits, that are not int64, of another shape, or below -1.
    """

    def __init__(self, orbits: Tensor, bias_orbits: Tensor | None = None) -> None:
        super().__init__()
        _check_orbits(orbits, bias_orbits)
        bound = 1 / math.sqrt(orbits.size(1))
        self.register_buffer("orbits", orbits.clone())
        self.values = nn.Parameter(torch.empty(int(orbits.max()) + 1).uniform_(-bound, bound))
        self.register_buffer("bias_orbits", None if bias_orbits is None else bias_orbits.clone())
        biases = None if bias_orbits is None else torch.zeros(int(bias_orbits.max()) + 1)
        self.bias_values = None if biases is None else nn.Parameter(biases.uniform_(-bound, bound))

    @property
    def weight(self) -> Tensor:
        """The matrix W [n_out, n_in]."""
        return _spread(self.values, self.orbits)

    @property
    def bias(self) -> Tensor | None:
        """The bias b [n_out], or None."""
        return None if self.bias_orbits is None else _spread(self.bias_values, self.bias_orbits)

    def forward(self, x: Tensor) -> Tensor:
        """[..., n_in] -> [..., n_out]."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.orbits.size(1)} -> {self.orbits.size(0)}, {self.values.numel()} weights"


def _spread(values: Tensor, orbits: Tensor) -> Tensor:
    """values[orbits], and zero where an orbit is -1."""
    padded = torch.cat([values.new_zeros(1), values])
    return padded.index_select(0, orbits.flatten() + 1).view(orbits.shape)


def _check_orbits(orbits: Tensor, bias_orbits: Tensor | None) -> None:
    if orbits.dtype != torch.int64 or orbits.dim() != 2 or not orbits.numel():
        raise ValueError(
            f"orbits must be int64 [n_out, n_in], got {orbits.dtype} {list(orbits.shape)}"
        )
    if orbits.min() < -1:
        raise ValueError(f"orbits are numbered from 0, with -1 for forbidden, got {orbits.min()}")
    if bias_orbits is None:
        return
    if bias_orbits.dtype != torch.int64 or bias_orbits.shape != orbits.shape[:1]:
        raise ValueError(
            f"bias_orbits must be int64 [{orbits.size(0)}], one for each output, got "
            f"{bias_orbits.dtype} {list(bias_orbits.shape)}"
        )
    if bias_orbits.min() < -1:
        raise ValueError(
            f"bias_orbits are numbered from 0, with -1 for forbidden, got {bias_orbits.min()}"
        )
