"""Checks of unit 02: recurrent networks.

A lab begins with `from course_lib.exercises.recurrent_networks import check, unit`.
"""

from course_lib.exercises.recurrent_networks import (
    gates,
    hidden_markov,
    optional,
    reference,
    states,
    through_time,
)

unit = states.unit
check = unit.check

__all__ = [
    "check",
    "gates",
    "hidden_markov",
    "optional",
    "reference",
    "states",
    "through_time",
    "unit",
]
