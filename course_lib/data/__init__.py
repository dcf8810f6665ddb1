"""Datasets: real files when they can be had, procedural twins when they cannot."""

from course_lib.data.graph import Graph

__all__ = ["Graph"]
