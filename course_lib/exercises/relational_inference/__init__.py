"""Checks of unit 09: relational inference.

A lab begins with `from course_lib.exercises.relational_inference import check, unit`.
"""

from course_lib.exercises.relational_inference import (
    decoding,
    loss,
    motion,
    pairs,
    reference,
    relabelling,
    restarts,
    training,
)

unit = motion.unit
check = unit.check

__all__ = [
    "check",
    "decoding",
    "loss",
    "motion",
    "pairs",
    "reference",
    "relabelling",
    "restarts",
    "training",
    "unit",
]
