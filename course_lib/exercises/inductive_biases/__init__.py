"""Checks of unit 01: inductive biases.

A lab begins with `from course_lib.exercises.inductive_biases import check, unit`.
"""

from course_lib.exercises.inductive_biases import (
    choosing,
    mystery,
    priors,
    reference,
    sharing,
    symmetry,
)
from course_lib.exercises.inductive_biases.mystery import mystery_data
from course_lib.exercises.inductive_biases.reference import family_errors

unit = sharing.unit
check = unit.check

__all__ = [
    "check",
    "choosing",
    "family_errors",
    "mystery",
    "mystery_data",
    "priors",
    "reference",
    "sharing",
    "symmetry",
    "unit",
]
