"""Random inputs shared by these tests."""

from __future__ import annotations

import torch


def randn(*shape: int, seed: int | None = None) -> torch.Tensor:
    """Standard normal float64, from the seed if there is one, else from torch's own generator."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)
