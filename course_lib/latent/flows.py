"""A reversible model: affine couplings, a change of variables with an exact density.

    z = f(x),   log p(x) = log N(z; 0, I) + log |det df/dx|

Each coupling leaves one half of x as it is and stretches and shifts the other half by amounts that
a network reads from the first:

    z_a = x_a,   z_b = x_b exp(s(x_a)) + t(x_a),   log |det| = sum of s

so the Jacobian is triangular, its determinant a product, and the inverse needs no inverse of the
network: x_b = (z_b - t) exp(-s). The halves change roles from layer to layer. The code has as many
numbers as x: nothing is compressed. One value a row [B], in nats.

Source: Dinh, Sohl-Dickstein and Bengio 2017, https://arxiv.org/abs/1605.08803 (RealNVP).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from course_lib.latent.densities import gaussian_log_likelihood, gaussian_noise

__all__ = ["AffineCoupling", "Flow"]

MOST = 2.0  # bound of |s|: one layer stretches by at most e^2


class AffineCoupling(nn.Module):
    """z = x where `kept`, and x exp(s) + t elsewhere, with s and t read from what is kept.

    Args:
        kept: bool [D], true where the layer leaves x as it is.
        hidden_size: units of each of the two hidden layers (Tanh).

    s = 2 tanh(raw / 2), within -2..2: an unlucky step cannot blow the scale up. The last layer
    starts at zero, so that an untrained coupling is the identity.

    Raises ValueError unless kept is bool [D] with both kinds in it.
    """

    def __init__(self, kept: Tensor, hidden_size: int = 64) -> None:
        super().__init__()
        if kept.dtype != torch.bool or kept.dim() != 1 or bool(kept.all()) or not bool(kept.any()):
            raise ValueError(
                f"kept must be bool [D] with true and false in it, got {kept.dtype} {kept.tolist()}"
            )
        self.register_buffer("kept", kept)
        size = len(kept)
        self.network = nn.Sequential(
            nn.Linear(size, hidden_size),
            nn.Tanh(),
            nn.Linear(hidden_size, hidden_size),
            nn.Tanh(),
            nn.Linear(hidden_size, 2 * size),
        )
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D] -> z [B, D] and log |det dz/dx| [B]."""
        s, t = self._scale_and_shift(x)
        return x * s.exp() + t, s.sum(-1)

    def inverse(self, z: Tensor) -> Tensor:
        """z [B, D] -> x [B, D]: what is kept in z is kept in x, so s and t can be read from z."""
        s, t = self._scale_and_shift(z)
        return (z - t) * torch.exp(-s)

    def _scale_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """s and t, each [B, D], zero where x is kept."""
        raw, shift = self.network(x.masked_fill(~self.kept, 0.0)).chunk(2, -1)
        s = MOST * torch.tanh(raw / MOST)
        return s.masked_fill(self.kept, 0.0), shift.masked_fill(self.kept, 0.0)


class Flow(nn.Module):
    """`layers` affine couplings in a row, x -> z with z ~ N(0, I).

    Args:
        size: D, at least 2. The even entries are kept in layers 0, 2, ..., the odd ones in 1, 3, ...
        layers: at least 2, so that every entry is changed.
        hidden_size: of each coupling.

    Raises ValueError for fewer than two entries or two layers.
    """

    def __init__(self, size: int = 2, layers: int = 6, hidden_size: int = 64) -> None:
        super().__init__()
        if size < 2 or layers < 2:
            raise ValueError(
                f"a coupling needs two halves and each must change: size and layers must be at "
                f"least 2, got {size} and {layers}"
            )
        self.size = size
        even = torch.arange(size) % 2 == 0
        self.couplings = nn.ModuleList(
            AffineCoupling(even if layer % 2 == 0 else ~even, hidden_size)
            for layer in range(layers)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D] -> code z [B, D] and log |det dz/dx| [B]: the layers' sum."""
        self._check(x)
        total = x.new_zeros(len(x))
        for coupling in self.couplings:
            x, log_det = coupling(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor) -> Tensor:
        """z [B, D] -> x [B, D]: the layers backwards."""
        self._check(z)
        for coupling in reversed(self.couplings):
            z = coupling.inverse(z)
        return z

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(z; 0, I) + log |det dz/dx|: x [B, D] -> [B], in nats, exact."""
        z, log_det = self(x)
        return gaussian_log_likelihood(torch.zeros_like(z), z, 0.0) + log_det

    @torch.no_grad()
    def sample(self, number: int, generator: torch.Generator | None = None) -> Tensor:
        """`number` draws: z ~ N(0, I), then one pass backwards: [number, D]."""
        like = self.couplings[0].network[0].weight.new_empty(self.size)
        return self.inverse(gaussian_noise(like, number, generator=generator))

    def _check(self, x: Tensor) -> None:
        if x.dim() != 2 or x.size(1) != self.size:
            raise ValueError(f"this flow takes [B, {self.size}], got {list(x.shape)}")
