"""Echo state networks: a fixed random recurrent net, of which only the read-out is learned.

(Jaeger 2001; Jaeger & Haas 2004, https://doi.org/10.1126/science.1091277.)

    h_t = (1 - leak) h_{t-1} + leak tanh(W_in x_t + W h_{t-1} + b)
    y_t = W_out [h_t; x_t; 1],  W_out by ridge regression

W is random and sparse, scaled to a spectral radius (its largest |eigenvalue|): well below 1 the net
forgets at once; near 1 it echoes its inputs for long; far above 1 it goes its own way, whatever the
inputs (it loses the echo state property).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["EchoStateNetwork", "scale_spectral_radius", "spectral_radius"]


def spectral_radius(weight: Tensor) -> Tensor:
    """The largest absolute value of the eigenvalues of a square matrix [N, N]: a number []."""
    return torch.linalg.eigvals(weight).abs().max()


def scale_spectral_radius(weight: Tensor, radius: float) -> Tensor:
    """weight * radius / spectral_radius(weight), [N, N].

    Raises ValueError for a matrix without an eigenvalue other than 0: no factor can scale that.
    """
    now = spectral_radius(weight)
    if not now > 0:
        raise ValueError("every eigenvalue of this matrix is 0: no factor gives it another radius")
    return weight * (radius / now)


class EchoStateNetwork(nn.Module):
    """A reservoir of N units and its linear read-out.

    Args:
        input_size: features of an input.
        reservoir_size: N.
        output_size: features of an output.
        radius: spectral radius of W.
        leak: 1 for plain units; below 1 a unit keeps (1 - leak) of itself a step.
        input_scale, bias_scale: W_in and b are uniform in ± these.
        density: share of W's entries that are not zero.
        ridge: penalty of the read-out's weights, see `fit`.
        washout: steps at the beginning of a sequence that `fit` leaves out, while h0 is forgotten.
        generator: draws the weights; left out, torch's own.
    """

    def __init__(
        self,
        input_size: int,
        reservoir_size: int,
        output_size: int = 1,
        *,
        radius: float = 0.9,
        leak: float = 1.0,
        input_scale: float = 1.0,
        bias_scale: float = 0.1,
        density: float = 0.1,
        ridge: float = 1e-6,
        washout: int = 100,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        raise NotImplementedError

    def states(self, x: Tensor, h0: Tensor | None = None) -> Tensor:
        """The reservoir's states h_1 ... h_T [T, B, N] for inputs [T, B, input_size]."""
        raise NotImplementedError

    def fit(self, x: Tensor, y: Tensor) -> EchoStateNetwork:
        """Learn the read-out from x [T, B, input_size] and y [T, B, output_size]; returns itself.

        W_out minimises sum over steps after the washout of |y_t - W_out [h_t; x_t; 1]|^2
        + ridge |W_out|^2.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(y [T, B, output_size], the last state [B, N]); RuntimeError before `fit`."""
        raise NotImplementedError

    def generate(self, start: Tensor, h0: Tensor, steps: int) -> Tensor:
        """Free running: start [B, input_size] is the first input, each output the next: [steps, B, O].

        Needs input_size = output_size, and `fit` on targets one step ahead.
        """
        raise NotImplementedError
