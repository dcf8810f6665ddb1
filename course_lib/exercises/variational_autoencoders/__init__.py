"""Checks of unit 07: variational autoencoders.

A lab begins with `from course_lib.exercises.variational_autoencoders import check, unit`.
"""

from course_lib.exercises.variational_autoencoders import (
    activity,
    bounds,
    components,
    discrete,
    gaussians,
    reference,
    tighter,
    training,
)

unit = components.unit
check = unit.check

__all__ = [
    "activity",
    "bounds",
    "check",
    "components",
    "discrete",
    "gaussians",
    "reference",
    "tighter",
    "training",
    "unit",
]
