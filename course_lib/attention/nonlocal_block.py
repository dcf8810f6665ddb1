"""Non-local operations: every place of an image or a video looks at every other one.

Letters: B examples, C channels, N places (T frames x H x W, flattened with the last axis fastest),
x_i the features at place i, f how much i and j have to do with each other, g what j has to say.

    y_i = 1 / C(x) sum_j f(x_i, x_j) g(x_j)

Non-local means (Buades, Coll and Morel, 2005) takes f from the likeness of two patches and g = x; the
non-local block (Wang, Girshick, Gupta and He, 2018) learns both. Convolution and recurrence are this
sum with j restricted to a window and to the step before: see `restricted`. A small video to try it
on, and a model that needs it, are in `course_lib.attention.sprites`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.attention.multihead import fused_attention
from course_lib.attention.scores import masked_softmax

__all__ = [
    "Arrows",
    "NonLocalBlock",
    "grid_places",
    "non_local_means",
    "patch_weights",
    "restricted",
    "strongest_arrows",
]

PAIRWISE = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")


def patch_weights(image: Tensor, patch: int = 3, bandwidth: float = 0.3) -> Tensor:
    """How alike two patches are: image [B, C, H, W] -> weights [B, N, N], N = H W, rows sum to one.

        w_ij = exp(-|P_i - P_j|^2 / bandwidth^2) / Z_i

    P_i holds the patch x patch values around i (the image mirrored at its edges); |.|^2 is the mean of
    the squared differences, so that `bandwidth` is in the image's own units. All pairs are
    compared, N^2 numbers an image: meant for small images.

    Source: Buades, Coll and Morel, A non-local algorithm for image denoising, 2005.

    Raises ValueError for an even patch, one that does not fit, or a bandwidth that is not positive.
    """
    if image.dim() != 4:
        raise ValueError(
            f"image must be [B, C, H, W], got {list(image.shape)}: use image[None, None]"
        )
    if patch < 1 or patch % 2 == 0 or patch // 2 >= min(image.shape[2:]):
        raise ValueError(f"patch must be odd and smaller than the image's sides twice, got {patch}")
    if bandwidth <= 0:
        raise ValueError(f"bandwidth must be positive, got {bandwidth}")
    edge = patch // 2
    mirrored = F.pad(image, (edge,) * 4, mode="reflect") if edge else image
    patches = F.unfold(mirrored, patch).mT  # [B, C p p, N] -> [B, N, C p p]
    squares = patches.square().sum(2)
    distances = squares[:, :, None] + squares[:, None, :] - 2 * patches @ patches.mT  # [B, N, N]
    return torch.softmax(-distances.clamp(min=0) / (patches.size(2) * bandwidth**2), dim=2)


def non_local_means(image: Tensor, patch: int = 3, bandwidth: float = 0.3) -> Tensor:
    """Denoise by averaging places whose patches look alike, however far apart: [B, C, H, W] -> same.

        y_i = sum_j w_ij x_j   with the weights of `patch_weights`

    A small bandwidth leaves the image as it is, a large one gives the mean of the image everywhere.
    """
    weights = patch_weights(image, patch, bandwidth)  # [B, N, N]
    values = image.flatten(2).mT  # [B, C, H, W] -> [B, N, C]
    return (weights @ values).mT.reshape(image.shape)


class NonLocalBlock(nn.Module):
    """z_i = W_z y_i + x_i,   y_i = 1 / C(x) sum_j f(x_i, x_j) g(x_j)   (Wang et al. 2018).

    The pairwise function f and what C(x) divides by, with theta, phi and g linear maps of the channels:

        "gaussian"            exp(x_i . x_j)                      sum_j f, so a softmax over j
        "embedded_gaussian"   exp(theta(x_i) . phi(x_j))          sum_j f: self-attention, not scaled
        "dot_product"         theta(x_i) . phi(x_j)               N
        "concatenation"       relu(w_f . [theta(x_i), phi(x_j)])  N

    Args:
        channels: C of the input [B, C, ...].
        inner_channels: what theta, phi and g map to; half of `channels` without it.
        pairwise: one of the four names.
        dimensions: of the space, 1 for series [B, C, T], 2 for images [B, C, H, W], 3 for videos
            [B, C, T, H, W].

    W_z starts at zero, so that a new block put into a trained network changes nothing at first.
    """

    def __init__(
        self,
        channels: int,
        inner_channels: int | None = None,
        pairwise: str = "embedded_gaussian",
        dimensions: int = 2,
    ) -> None:
        super().__init__()
        if pairwise not in PAIRWISE:
            raise ValueError(f"pairwise must be one of {', '.join(PAIRWISE)}, got {pairwise!r}")
        if dimensions not in (1, 2, 3):
            raise ValueError(f"dimensions must be 1, 2 or 3, got {dimensions}")
        inner = max(1, channels // 2) if inner_channels is None else inner_channels
        self.channels, self.pairwise, self.dimensions = channels, pairwise, dimensions
        embeds = pairwise != "gaussian"
        self.theta = nn.Linear(channels, inner) if embeds else nn.Identity()
        self.phi = nn.Linear(channels, inner) if embeds else nn.Identity()
        self.g = nn.Linear(channels, inner)
        if pairwise == "concatenation":
            self.w_f = nn.Parameter(torch.empty(2 * inner))
            nn.init.normal_(self.w_f, std=1 / math.sqrt(2 * inner))
        self.w_z = nn.Linear(inner, channels)
        nn.init.zeros_(self.w_z.weight)
        nn.init.zeros_(self.w_z.bias)

    def forward(self, x: Tensor, allowed: Tensor | None = None) -> Tensor:
        """x [B, C, ...] -> z of the same shape.

        `allowed`, bool [N, N] or [B, N, N], is True where place i (row) may look at place j; C(x) then
        counts or sums over those j only. A place that may look at nothing gets y_i = 0.
        """
        places = self._places(x)  # [B, N, C]
        z = self.w_z(self._mix(places, allowed, x)) + places
        return z.mT.reshape(x.shape)

    def weights(self, x: Tensor, allowed: Tensor | None = None) -> Tensor:
        """f(x_i, x_j) / C(x) for all pairs [B, N, N], which `forward` need not build for each f."""
        places = self._places(x)
        left, right = self.theta(places), self.phi(places)  # [B, N, inner]
        if self.pairwise == "concatenation":
            # w_f . [a, b] = w_left . a + w_right . b: no [N, N, 2 inner] tensor of pairs is needed
            w_left, w_right = self.w_f.chunk(2)
            scores = ((left @ w_left)[:, :, None] + (right @ w_right)[:, None, :]).relu()
        else:
            scores = left @ right.mT  # [B, N, N]
        if self.pairwise in ("gaussian", "embedded_gaussian"):
            return masked_softmax(scores, allowed)
        if allowed is None:
            return scores / scores.size(2)
        return scores.masked_fill(~allowed, 0.0) / allowed.sum(-1, keepdim=True).clamp(min=1)

    def _mix(self, places: Tensor, allowed: Tensor | None, x: Tensor) -> Tensor:
        """y [B, N, inner], by the cheapest way there is."""
        values = self.g(places)
        if allowed is None and self.pairwise == "dot_product":
            # theta (phi^T g) for (theta phi^T) g: nothing of size N x N is built
            return self.theta(places) @ (self.phi(places).mT @ values) / places.size(1)
        if allowed is None and self.pairwise != "concatenation":
            parts = (part[:, None] for part in (self.theta(places), self.phi(places), values))
            return fused_attention(*parts, scale=1.0)[:, 0]  # one head
        return self.weights(x, allowed) @ values

    def _places(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, N, C]."""
        if x.dim() != self.dimensions + 2 or x.size(1) != self.channels:
            space = ("T", "H, W", "T, H, W")[self.dimensions - 1]
            raise ValueError(f"x must be [B, C = {self.channels}, {space}], got {list(x.shape)}")
        return x.flatten(2).mT


def grid_places(sizes: Sequence[int], *, device: torch.device | str | None = None) -> Tensor:
    """The coordinates of the N = prod(sizes) places in the order of `flatten`: int64 [N, len(sizes)]."""
    axes = [torch.arange(size, device=device) for size in sizes]
    return torch.cartesian_prod(*axes).view(-1, len(axes))


def restricted(
    sizes: Sequence[int],
    kind: str,
    radius: int = 1,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """Which places j the place i may look at: bool [N, N], row i, N = prod(sizes).

        "all"          every j: the non-local operation
        "convolution"  i - radius <= j <= i + radius on every axis: a window of side 2 radius + 1
        "recurrence"   j = i or one step earlier on the first axis (time), equal on the others

    A convolution is the sum over the window with an f that knows only j - i; a recurrence is the
    sum over the step before, applied again at each step.

    Source: Wang, Girshick, Gupta and He, Non-local neural networks, 2018, section 3.1.

    Raises ValueError for another kind or a negative radius.
    """
    places = grid_places(sizes, device=device)
    apart = places[None, :, :] - places[:, None, :]  # j - i, [N, N, axes]
    if kind == "all":
        return torch.ones(apart.shape[:2], dtype=torch.bool, device=device)
    if kind == "convolution":
        if radius < 0:
            raise ValueError(f"radius must be at least 0, got {radius}")
        return (apart.abs() <= radius).all(2)
    if kind == "recurrence":
        time = apart[:, :, 0]
        return ((time == 0) | (time == -1)) & (apart[:, :, 1:] == 0).all(2)
    raise ValueError(f'kind must be "all", "convolution" or "recurrence", got {kind!r}')


class Arrows(NamedTuple):
    """The pairs of places with the largest weights, the largest first.

    query: i, the place that looks, int64 [count]; key: j, the place it looks at; weight: w_ij.
    """

    query: Tensor
    key: Tensor
    weight: Tensor


def strongest_arrows(weights: Tensor, count: int = 20, query: int | None = None) -> Arrows:
    """The `count` largest weights w_ij of one example, [N, N] with query rows, j = i left out.

    With `query`, only those of that place are looked at. Fewer than `count` come back where there
    are fewer pairs. `grid_places` turns i and j into coordinates.

    Raises ValueError unless weights is square and count at least 1.
    """
    if weights.dim() != 2 or weights.size(0) != weights.size(1):
        raise ValueError(f"weights must be [N, N] of one example, got {list(weights.shape)}")
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    size = weights.size(0)
    others = weights.masked_fill(
        torch.eye(size, dtype=torch.bool, device=weights.device), -math.inf
    )
    rows = others if query is None else others[query : query + 1]
    first = 0 if query is None else query
    pairs = rows.size(0) * (size - 1)
    values, places = rows.flatten().topk(min(count, pairs))
    return Arrows(places // size + first, places % size, values)
