"""Digits of zeros and ones, cut into a part to learn from and a part to test on."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from course_lib.data.digits import placed_digits

__all__ = ["BinaryDigits", "binary_digits"]


class BinaryDigits(NamedTuple):
    """train [1297, 64] and test [500, 64] of zeros and ones (float32); labels int64, 0..9."""

    train: Tensor
    test: Tensor
    train_labels: Tensor
    test_labels: Tensor


def binary_digits(seed: int = 0, train: int = 1297) -> BinaryDigits:
    """The 1,797 digits of scikit-learn, 8 x 8 pixels in a row of 64; 1 where the ink is >= 8 of 16.

    seed: of the order. train: how many of them to learn from, the rest is the test part.
    Raises ValueError unless 1 <= train < 1797.
    """
    digits = placed_digits(shifted=False, canvas=8, seed=seed)
    if not 1 <= train < len(digits.images):
        raise ValueError(f"train must lie in 1..{len(digits.images) - 1}, got {train}")
    pixels = (digits.images.flatten(1) >= 0.5).float()  # [1797, 1, 8, 8] -> [1797, 64]
    return BinaryDigits(
        pixels[:train], pixels[train:], digits.labels[:train], digits.labels[train:]
    )
