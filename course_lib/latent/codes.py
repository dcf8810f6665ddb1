"""What is in a latent space: which units carry anything, and the ways from one code to another.

Source: Burda, Grosse and Salakhutdinov 2016, https://arxiv.org/abs/1509.00519 (active units);
White 2016, https://arxiv.org/abs/1609.04468 (spherical interpolation).
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["active_units", "lerp", "slerp"]


def active_units(mean: Tensor, threshold: float = 0.01) -> Tensor:
    """Which latents depend on x: bool [k], true where Var_x(E_q[z_j | x]) > threshold.

    mean [N, k]: the encoder's means of N rows; the variance divides by N. A collapsed unit has one
    and the same mean for all x, and its KL is zero. `active_units(mean).sum()` counts.

    Raises ValueError unless mean is [N, k] with N > 1.
    """
    if mean.dim() != 2 or len(mean) < 2:
        raise ValueError(
            f"mean must be [N, k], the means of N > 1 rows, got {list(mean.shape)}: one row has no "
            "variance"
        )
    return mean.var(0, correction=0) > threshold


def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """(1 - t) a + t b: a, b [..., k] and t [T] -> [T, ..., k]; a number t -> [..., k].

    Halfway between two independent draws from N(0, I) the squared length has mean k / 2, against k
    of a draw: the straight way leads through places where hardly a draw lies.
    """
    t = _along(t, a)
    return (1 - t) * a + t * b


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """The way along the arc: (sin((1 - t) w) a + sin(t w) b) / sin w, w the angle between a and b.

    a, b [..., k] and t [T] -> [T, ..., k]; a number t -> [..., k]. Where a and b have one length,
    every point of the way has it too. Vectors of one direction are joined by a straight line.

    Raises ValueError where a or b is zero, or the two are opposite: no arc is then the shortest.
    """
    lengths = torch.linalg.vector_norm(a, dim=-1), torch.linalg.vector_norm(b, dim=-1)
    if any(bool((length == 0).any()) for length in lengths):
        raise ValueError("slerp needs a direction at both ends, got a zero vector: use lerp")
    u, v = (x / length.unsqueeze(-1) for x, length in zip((a, b), lengths))
    # 2 atan2(|u - v|, |u + v|) is exact at small angles, where acos(u . v) is not
    apart, together = (torch.linalg.vector_norm(s, dim=-1, keepdim=True) for s in (u - v, u + v))
    tiny = 16 * torch.finfo(a.dtype).eps
    if bool((together <= tiny).any()):
        raise ValueError(
            "slerp between opposite vectors: no arc is the shortest, go by a third one"
        )
    angle = 2 * torch.atan2(apart, together)
    t = _along(t, a)
    straight = angle <= tiny
    angle = angle.masked_fill(straight, 1.0)
    arc = (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
    return torch.where(straight, (1 - t) * a + t * b, arc)


def _along(t: Tensor | float, a: Tensor) -> Tensor:
    """t as [T, 1, ..., 1], so that it broadcasts to [T, ..., k]; a number stays one."""
    t = torch.as_tensor(t, dtype=a.dtype, device=a.device)
    if t.dim() > 1:
        raise ValueError(f"t must be a number or [T], got {list(t.shape)}")
    return t if t.dim() == 0 else t.view(-1, *[1] * a.dim())
