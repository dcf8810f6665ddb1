"""Output-to-hidden recurrence: a net whose only memory is what it said last."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.sequence.cells import ACTIVATIONS, rnn_step

__all__ = ["OutputRNN"]


class OutputRNN(nn.Module):
    """A recurrent net that hears its own last output instead of its hidden state (Jordan 1986).

    h_t = f(W_in x_t + W_back y_{t-1} + b),  y_t = W_out h_t + b_out,  f = tanh or relu

    Free running, a step waits for the output before it. Teacher forced, the net hears the targets
    instead of its outputs; then no step waits for another, and all are computed at once. The two
    agree where the teacher says what the net says.

    Args:
        input_size: features of an input; 0 for a net that hears only itself, with x [T, B, 0].
        hidden_size, output_size: H and O.
        nonlinearity: "tanh" or "relu".
        bias: learn b and b_out.
        batch_first: sequences are [B, T, ...] instead of [T, B, ...].
        learned_y0: what stands in for the output before the first step is a parameter y0 [O], at
            first 0.

    Parameters: weight_in [H, input_size], weight_back [H, O], bias [H], uniform in ±1/sqrt(H), and
    the nn.Linear `output` (W_out, b_out).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        *,
        learned_y0: bool = False,
    ) -> None:
        super().__init__()
        if nonlinearity not in ACTIVATIONS:
            raise ValueError(f'nonlinearity must be "tanh" or "relu", got {nonlinearity!r}')
        self.nonlinearity, self.batch_first = nonlinearity, batch_first
        self.weight_in = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_back = nn.Parameter(torch.empty(hidden_size, output_size))
        self.bias = nn.Parameter(torch.empty(hidden_size)) if bias else None
        self.output = nn.Linear(hidden_size, output_size, bias=bias)
        self.y0 = nn.Parameter(torch.zeros(output_size)) if learned_y0 else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/sqrt(H), as the other layers; a learned y0 zero."""
        for parameter in (self.weight_in, self.weight_back, self.bias):
            if parameter is not None:
                bound = parameter.size(0) ** -0.5
                nn.init.uniform_(parameter, -bound, bound)
        self.output.reset_parameters()
        if self.y0 is not None:
            nn.init.zeros_(self.y0)

    def forward(
        self, x: Tensor, y0: Tensor | None = None, *, teacher: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(y [T, B, O], h [T, B, H]): free running, or forced by a teacher [T, B, O].

        Step 1 hears y0 [B, O] (left out: zeros, or what was learned), step t hears teacher t - 1.
        The teacher's last row is heard by nobody.
        """
        if x.dim() != 3 or x.size(-1) != self.weight_in.size(1):
            raise ValueError(
                f"x must be [T, B, {self.weight_in.size(1)}] (batch_first: [B, T, ...]), "
                f"got {list(x.shape)}"
            )
        expected = (*x.shape[:2], self.output.out_features)
        if teacher is not None and teacher.shape != expected:
            raise ValueError(
                f"the teacher must say one output a step, {list(expected)}, "
                f"got {list(teacher.shape)}"
            )
        if expected[self.batch_first] == 0:
            raise ValueError("the sequence has no steps: pass at least one")
        if self.batch_first:
            x, teacher = x.transpose(0, 1), None if teacher is None else teacher.transpose(0, 1)
        if y0 is None:
            start = x.new_zeros(expected[-1]) if self.y0 is None else self.y0
            y0 = start.expand(x.size(1), -1)  # [O] -> [B, O]
        if y0.shape != (x.size(1), expected[-1]):
            raise ValueError(f"y0 must be {[x.size(1), expected[-1]]}, got {list(y0.shape)}")
        y, h = self._run_free(x, y0) if teacher is None else self._run_forced(x, y0, teacher)
        return (y.transpose(0, 1), h.transpose(0, 1)) if self.batch_first else (y, h)

    def _run_forced(self, x: Tensor, y0: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        heard = torch.cat([y0.unsqueeze(0), teacher[:-1]])  # [T, B, O]
        projected = F.linear(x, self.weight_in, self.bias) + heard @ self.weight_back.t()
        h = ACTIVATIONS[self.nonlinearity](projected)  # [T, B, H]
        return self.output(h), h

    def _run_free(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        back = self.weight_back.t()
        said, hidden = [], []
        for projected in F.linear(x, self.weight_in, self.bias).unbind(0):
            h = rnn_step(projected, y, back, self.nonlinearity)  # its state is its last output
            y = self.output(h)
            said.append(y)
            hidden.append(h)
        return torch.stack(said), torch.stack(hidden)
