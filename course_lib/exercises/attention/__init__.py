"""Checks of unit 03: attention.

A lab begins with `from course_lib.exercises.attention import check, unit`.
"""

from course_lib.exercises.attention import (
    alignment,
    beam,
    decoder,
    local,
    reference,
    scores,
    weights,
)

unit = scores.unit
check = unit.check

__all__ = [
    "alignment",
    "beam",
    "check",
    "decoder",
    "local",
    "reference",
    "scores",
    "unit",
    "weights",
]
