"""Recurrent layers: RNN, LSTM and GRU with torch's names, and a net that hears its own outputs.

h_t = step(W_ih x_t + b, h_{t-1}): the same weights at every step, so a delayed input gives a delayed
output (with the state at h0 where the sequence begins). The projections W_ih x_t + b of all steps are
one matrix product before the loop (`cells`).

Parameters carry the names, shapes and gate order they have in torch.nn, and are drawn in the same
order: the same seed gives the same weights, and a state_dict loads in both directions.

Shapes of the three layers, D = 2 if bidirectional, else 1; L layers:
    input: [T, B, input_size], with batch_first [B, T, input_size], or unbatched [T, input_size].
    hx: the states before the first step (for a bidirectional layer's second half: after the last)
        [L D, B, H], unbatched [L D, H]; left out they are zero, or learned.
    returns output [T, B, D H] (or as the input's layout), and the states after the last step, as hx.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.sequence.cells import ACTIVATIONS, gru_scan, lstm_scan, rnn_scan

__all__ = ["GRU", "LSTM", "RNN", "OutputRNN", "set_forget_bias"]


class _Recurrent(nn.Module):
    """What the three layers share: parameters, layouts, initial states, layers and directions.

    Args:
        input_size, hidden_size: features of an input and of the hidden state, H.
        num_layers: L, each fed with the outputs of the one below.
        bias: learn b_ih and b_hh.
        batch_first: input and output are [B, T, ...] instead of [T, B, ...]; states stay as they are.
        dropout: probability of dropping an output between two layers in training.
        bidirectional: a second net reads from the end; its outputs stand beside the first one's.
        learned_h0: the initial states are parameters `h0` (and `c0`) [L D, H], zero at first.
    """

    blocks = 1  # G: rows of weight_ih and weight_hh in units of H
    learned = ("h0",)  # names of the initial states

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        learned_h0: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("hidden_size", hidden_size), ("num_layers", num_layers)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout is a probability between 0 and 1, got {dropout}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, dropout
        self.bidirectional, self.learned_h0 = bidirectional, learned_h0
        directions, rows = 1 + bidirectional, self.blocks * hidden_size
        self._names: list[tuple[str, ...]] = []  # one tuple a layer and direction
        for layer in range(num_layers):
            width = input_size if layer == 0 else directions * hidden_size
            for suffix in ("", "_reverse")[:directions]:
                shapes = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                for name, shape in shapes.items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    setattr(self, f"{name}_l{layer}{suffix}", nn.Parameter(empty))
                self._names.append(tuple(f"{name}_l{layer}{suffix}" for name in shapes))
        if learned_h0:
            for name in self.learned:
                zeros = torch.zeros(len(self._names), hidden_size, device=device, dtype=dtype)
                setattr(self, name, nn.Parameter(zeros))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/sqrt(H), weights and biases, as torch; learned initial states zero."""
        bound = self.hidden_size**-0.5
        for name, parameter in self.named_parameters():
            if name in self.learned:
                nn.init.zeros_(parameter)
            else:
                nn.init.uniform_(parameter, -bound, bound)

    def _scan(
        self,
        projected: Sequence[Tensor],
        states: Sequence[Tensor],
        recurrent: Tensor,
        bias_hh: Tensor | None,
    ) -> tuple[list[Tensor], ...]:
        """The loop over the steps; every state of every step, the hidden states first."""
        raise NotImplementedError

    def _biases(self, biases: list[Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """(what is added before the loop, what is added in it)."""
        return (biases[0] + biases[1], None) if biases else (None, None)

    def _run(
        self, input: Tensor, hx: tuple[Tensor, ...] | None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """(every state of every step of the top layer, the last states of all layers)."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"


class RNN(_Recurrent):
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), f = tanh or relu; stands in for torch.nn.RNN.

    Args: as torch.nn.RNN, see the head of this file; nonlinearity "tanh" or "relu" comes fourth.
    """

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(output [T, B, D H], h_n [L D, B, H])."""
        raise NotImplementedError


class LSTM(_Recurrent):
    """Gates write to, keep and read memory cells (`cells.lstm_step`); stands in for torch.nn.LSTM.

    Parameters hold the gates in the order i, f, g, o. There is no projection (proj_size).
    """

    blocks = 4
    learned = ("h0", "c0")

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(output [T, B, D H], (h_n, c_n) both [L D, B, H]); hx = (h_0, c_0)."""
        raise NotImplementedError

    def unroll(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """(output, memory cells) of the top layer at every step, both [T, B, D H].

        For looking inside: torch's LSTM gives only the last step's cells.
        """
        raise NotImplementedError


class GRU(_Recurrent):
    """A reset and an update gate on the state itself (`cells.gru_step`); stands in for torch.nn.GRU."""

    blocks = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(output [T, B, D H], h_n [L D, B, H])."""
        raise NotImplementedError


class OutputRNN(nn.Module):
    """A net whose only memory is its own last output (Jordan 1986): output-to-hidden recurrence.

    h_t = f(W_in x_t + W_back y_{t-1} + b),  y_t = W_out h_t + b_out,  f = tanh or relu

    Free running it feeds back what it said, one step after the other. Teacher forced it hears the
    target instead; then no step waits for another, and all are computed at once. The two agree where
    the teacher says what the net says.

    Args:
        input_size: features of an input; 0 for a net that hears nothing but itself (x [T, B, 0]).
        hidden_size, output_size: H and O.
        nonlinearity: "tanh" or "relu".
        bias: learn b and b_out.
        batch_first: x and y are [B, T, ...] instead of [T, B, ...].
        learned_y0: the output "before" the first step is a parameter `y0` [O], zero at first.
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
        self.input = nn.Linear(input_size, hidden_size, bias=bias)
        self.back = nn.Linear(output_size, hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, output_size, bias=bias)

    def forward(
        self, x: Tensor, y0: Tensor | None = None, *, teacher: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """(y [T, B, O], h [T, B, H]): free running, or with teacher [T, B, O] forced.

        Step t is given teacher[t - 1], and step 0 the y0 [B, O]; the teacher's last row is not used.
        """
        raise NotImplementedError


def set_forget_bias(lstm: nn.Module, value: float) -> None:
    """Set every forget gate's bias b_ih + b_hh of an LSTM (ours or torch's) to `value`, in place.

    At first a cell keeps about sigmoid(value) of itself a step: .5, .73, .95 for 0, 1, 3.
    """
    raise NotImplementedError
