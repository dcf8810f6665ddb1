"""Checks of unit 05: graph networks.

A lab begins with `from course_lib.exercises.graph_networks import check, unit`.
"""

from course_lib.exercises.graph_networks import (
    aggregation,
    depth_and_width,
    experiments,
    layers,
    reference,
)

unit = layers.unit
check = unit.check

__all__ = ["aggregation", "check", "depth_and_width", "experiments", "layers", "reference", "unit"]
