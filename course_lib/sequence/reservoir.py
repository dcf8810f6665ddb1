"""Echo state networks: a fixed random recurrent net, of which only the read-out is learned.

(Jaeger 2001; Jaeger & Haas 2004, https://doi.org/10.1126/science.1091277.)

    h_t = (1 - leak) h_{t-1} + leak tanh(W_in x_t + W h_{t-1} + b)
    y_t = W_out [h_t; x_t; 1],  W_out by ridge regression

W is random and sparse, scaled to a spectral radius (its largest |eigenvalue|). Well below 1 the net
forgets at once; near 1 it echoes its inputs for long; far above 1 two states that hear the same inputs
stay apart for ever (the echo state property is lost), and the read-out has nothing to go by. Where
the border lies depends on the inputs: those that push the units towards ±1 damp the echoes, and the
best radius may then be somewhat above 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.biases import ridge_map
from course_lib.sequence.cells import rnn_step

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

    Sequences are [T, B, features], or one of them [T, features]; results have the same layout. All
    weights are buffers: no gradient reaches them, but one flows through to the inputs.

    Args:
        input_size, reservoir_size, output_size: I, N and O.
        radius: spectral radius of W.
        leak: in (0, 1]; 1 for plain units, below it a unit keeps (1 - leak) of itself a step.
        input_scale, bias_scale: W_in and b are uniform in ± these.
        density: share of W's entries that are not zero.
        ridge: penalty on the read-out's weights, above 0, see `fit`.
        washout: steps at the beginning of a sequence that `fit` leaves out, while h_0 is forgotten.
        generator: draws the weights; left out, torch's own does.

    Raises ValueError for a leak, density, radius or ridge out of range, and for a W without an
    eigenvalue other than 0 (raise the density, or the size).
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
        for name, share in (("leak", leak), ("density", density)):
            if not 0 < share <= 1:
                raise ValueError(f"{name} must be above 0 and at most 1, got {share}")
        if radius < 0:
            raise ValueError(f"a spectral radius is not negative, got {radius}")
        if not ridge > 0:
            raise ValueError(f"ridge must be positive, got {ridge}: make it as small as you like")
        self.leak, self.ridge, self.washout = leak, ridge, washout

        device = None if generator is None else generator.device

        def uniform(*shape: int) -> Tensor:
            return 2 * torch.rand(shape, generator=generator, device=device) - 1

        size = (reservoir_size, reservoir_size)
        kept = torch.rand(size, generator=generator, device=device) < density
        self.register_buffer("weight_in", input_scale * uniform(reservoir_size, input_size))
        self.register_buffer("weight", scale_spectral_radius(uniform(*size) * kept, radius))
        self.register_buffer("bias", bias_scale * uniform(reservoir_size))
        features = reservoir_size + input_size + 1
        self.register_buffer("read_out", torch.full((output_size, features), torch.nan))

    def states(self, x: Tensor, h0: Tensor | None = None) -> Tensor:
        """The reservoir's states h_1 ... h_T [T, B, N] on inputs [T, B, I], from h_0 [B, N] or 0."""
        if x.dim() == 2:
            return self.states(x.unsqueeze(1), None if h0 is None else h0.unsqueeze(0)).squeeze(1)
        if x.dim() != 3 or x.size(-1) != self.weight_in.size(1):
            raise ValueError(
                f"inputs must be [T, B, {self.weight_in.size(1)}] or one sequence "
                f"[T, {self.weight_in.size(1)}], got {list(x.shape)}"
            )
        h = x.new_zeros(x.size(1), self.weight.size(0)) if h0 is None else h0
        recurrent, hidden = self.weight.t(), []
        for projected in F.linear(x, self.weight_in, self.bias).unbind(0):
            h = torch.lerp(h, rnn_step(projected, h, recurrent), self.leak)
            hidden.append(h)
        return torch.stack(hidden)

    def fit(self, x: Tensor, y: Tensor) -> EchoStateNetwork:
        """Learn the read-out from inputs x [T, B, I] and targets y [T, B, O]; returns itself.

        W_out minimises the sum over the steps after the washout of |y_t - W_out [h_t; x_t; 1]|^2,
        plus ridge |W_out|^2 (`biases.ridge_map`); solved in float64 on the CPU.
        """
        if x.size(0) <= self.washout:
            raise ValueError(
                f"{x.size(0)} steps are all washed out: pass more than washout = {self.washout}"
            )
        if y.shape != (*x.shape[:-1], self.read_out.size(0)):
            raise ValueError(
                f"y must hold {self.read_out.size(0)} targets a step beside x {list(x.shape)}, "
                f"got {list(y.shape)}"
            )
        with torch.no_grad():
            features = self._features(x, self.states(x))[self.washout :].flatten(0, -2)
            targets = y[self.washout :].flatten(0, -2)  # [T', B, O] -> [T' B, O]
            features, targets = (part.to("cpu", torch.float64) for part in (features, targets))
            self.read_out.copy_(ridge_map(features, targets, noise_var=self.ridge).t())
        return self

    def forward(self, x: Tensor, h0: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(outputs [T, B, O], the last state [B, N]); RuntimeError before `fit`."""
        if self.read_out.isnan().any():
            raise RuntimeError("this network has no read-out yet: call fit(x, y) first")
        hidden = self.states(x, h0)
        return self._features(x, hidden) @ self.read_out.t(), hidden[-1]

    def generate(self, start: Tensor, h0: Tensor, steps: int) -> Tensor:
        """Free running, each output the next input: the outputs [steps, B, O].

        start [B, I] is the first input and h0 [B, N] the state before it: `forward` on a beginning
        gives both, its last output and its last state. Needs I = O and `fit` on targets one step ahead.
        """
        said, state = [start], h0
        for _ in range(steps):
            y, state = self(said[-1].unsqueeze(0), state)
            said.append(y.squeeze(0))
        return torch.stack(said[1:])

    def _features(self, x: Tensor, hidden: Tensor) -> Tensor:
        """[h_t; x_t; 1] of every step: [..., N + I + 1]."""
        return torch.cat([hidden, x, torch.ones_like(x[..., :1])], -1)
