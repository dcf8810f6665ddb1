"""Every test here draws from the same seed and computes on one thread."""

from tests.reproducible import reproducible  # noqa: F401
