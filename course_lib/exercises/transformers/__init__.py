"""Checks of unit 04: transformers.

A lab begins with `from course_lib.exercises.transformers import check, unit`.
"""

from course_lib.exercises.transformers import (
    attending,
    blocks,
    decoding,
    heads,
    masks,
    norms,
    optional,
    positions,
    reference,
)

unit = masks.unit
check = unit.check

__all__ = [
    "attending",
    "blocks",
    "check",
    "decoding",
    "heads",
    "masks",
    "norms",
    "optional",
    "positions",
    "reference",
    "unit",
]
