"""Inductive biases: what a layer prefers before it has seen data, as code.

`equivariance` measures a symmetry, `sharing` builds it in by tying weights, `layers` writes convolutional, locally
connected and recurrent layers as one matrix, `priors` gets the same from Gaussian priors, and `digit_networks` holds
three classifiers that differ in what they take for granted.
"""

from course_lib.biases.digit_networks import (
    conv_flatten,
    conv_pool,
    fully_connected,
    train_classifier,
)
from course_lib.biases.equivariance import equivariance_error, transform
from course_lib.biases.layers import LocallyConnected1d, recurrent_weight, toeplitz_weight
from course_lib.biases.priors import ridge_map
from course_lib.biases.sharing import (
    SharedLinear,
    cyclic_orbits,
    permutation_orbits,
    tie,
    weight_orbits,
)

__all__ = [
    "LocallyConnected1d",
    "SharedLinear",
    "conv_flatten",
    "conv_pool",
    "cyclic_orbits",
    "equivariance_error",
    "fully_connected",
    "permutation_orbits",
    "recurrent_weight",
    "ridge_map",
    "tie",
    "toeplitz_weight",
    "train_classifier",
    "transform",
    "weight_orbits",
]
