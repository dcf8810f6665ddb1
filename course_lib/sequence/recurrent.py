"""Recurrent layers: RNN, LSTM and GRU with torch's names, values and signatures.

h_t = step(W_ih x_t + b, h_{t-1}), with the same weights at every step: a delayed input gives a delayed
output (where the state is h_0 when the sequence begins). The projections W_ih x_t + b of all steps
are one matrix product before the loop (`cells`).

Parameters carry the names, shapes and gate order they have in torch.nn, and are drawn in the same
order: the same seed gives the same weights, and a state_dict loads in both directions.

Settings of the three layers, in torch's order:
    input_size, hidden_size: features of an input and of the hidden state, H.
    num_layers: L; each layer reads the outputs of the one below.
    nonlinearity: of the RNN only, "tanh" or "relu".
    bias: learn b_ih and b_hh.
    batch_first: input and output are [B, T, ...] instead of [T, B, ...]; states stay as they are.
    dropout: share of the outputs between two layers that training drops.
    bidirectional: a second net reads from the end; its outputs stand beside the first one's.
    learned_h0: ours alone; the initial states are parameters h0 (and the LSTM's c0) [L D, H], at
        first zero.

Shapes, with H = hidden_size, L = num_layers, D = 2 if bidirectional, else 1:
    input: [T, B, input_size]; with batch_first [B, T, input_size]; unbatched [T, input_size].
    hx: the states that the first step finds (a layer that reads backwards begins at the end),
        [L D, B, H], unbatched [L D, H]. Left out they are zero, or what was learned.
    output: the top layer's hidden states, [T, B, D H] in the layout of the input.
    h_n: the hidden states that the last step leaves, as hx.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.sequence.cells import ACTIVATIONS, gru_scan, lstm_scan, rnn_scan
from course_lib.sequence.output_rnn import OutputRNN

__all__ = ["GRU", "LSTM", "RNN", "OutputRNN", "set_forget_bias"]


def _beside(scans: Sequence[Sequence[list[Tensor]]], kind: int) -> Tensor:
    """One kind of state of each direction, T x [B, H] a direction, side by side: [T, B, D H]."""
    stacked = [torch.stack(scan[kind]) for scan in scans]
    return stacked[0] if len(stacked) == 1 else torch.cat(stacked, -1)


class _Recurrent(nn.Module):
    """What the three layers share: parameters, layouts, initial states, layers and directions."""

    blocks = 1  # G: rows of weight_ih and weight_hh in units of H
    states = ("h0",)  # the initial states' names

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
        self._names: list[list[str]] = []  # of the parameters of each layer and direction
        for layer in range(num_layers):
            width = directions * hidden_size if layer else input_size
            for suffix in ("", "_reverse")[:directions]:
                shapes = {"weight_ih": (rows, width), "weight_hh": (rows, hidden_size)}
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                self._names.append([f"{name}_l{layer}{suffix}" for name in shapes])
                for name, shape in zip(self._names[-1], shapes.values()):
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(name, nn.Parameter(empty))
        for name in self.states if learned_h0 else ():
            zeros = torch.zeros(len(self._names), hidden_size, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(zeros))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1/sqrt(H), weights and biases, as torch's; learned initial states zero."""
        bound = self.hidden_size**-0.5
        for name, parameter in self.named_parameters():
            if name in self.states:
                nn.init.zeros_(parameter)
            else:
                nn.init.uniform_(parameter, -bound, bound)

    def _scan(
        self, projected: Sequence[Tensor], start: Sequence[Tensor], weights: Sequence[Tensor]
    ) -> tuple[list[Tensor], ...]:
        """The loop over the steps: each kind of state (hidden, then cells) after every step.

        projected: T x [B, G H]; start: each kind's state before; weights: in the order of `_names`.
        """
        raise NotImplementedError

    def _project(self, x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """W_ih x_t + b_ih + b_hh for all steps at once: [T, B, I] -> T x [B, G H]."""
        bias = weights[2] + weights[3] if self.bias else None
        return F.linear(x, weights[0], bias).unbind(0)

    def _run(
        self, input: Tensor, hx: Sequence[Tensor] | None
    ) -> tuple[list[tuple[list[Tensor], ...]], list[Tensor]]:
        """(the top layer's states by direction, kind and step; the last states [L D, B, H] by kind)."""
        x = self._steps_first(input)
        initial = self._initial_states(x, hx, input.dim() == 2)
        scans: list[tuple[list[Tensor], ...]] = []
        last: list[list[Tensor]] = []
        for row, names in enumerate(self._names):
            backwards = self.bidirectional and row % 2 == 1
            if row and not backwards:  # a layer begins: it reads the one below
                x = F.dropout(_beside(scans, 0), self.dropout, self.training)
                scans = []
            weights = [getattr(self, name) for name in names]
            projected = self._project(x, weights)
            scan = self._scan(
                projected[::-1] if backwards else projected, [s[row] for s in initial], weights
            )
            last.append([kind[-1] for kind in scan])
            scans.append(tuple(kind[::-1] for kind in scan) if backwards else scan)
        return scans, [torch.stack(rows) for rows in zip(*last)]

    def _steps_first(self, input: Tensor) -> Tensor:
        """The input as [T, B, I]."""
        if input.dim() not in (2, 3) or input.size(-1) != self.input_size:
            layout = "[B, T, {0}]" if self.batch_first else "[T, B, {0}]"
            raise ValueError(
                f"input must be {layout.format(self.input_size)}, or unbatched "
                f"[T, {self.input_size}], got {list(input.shape)}"
            )
        x = input.unsqueeze(1) if input.dim() == 2 else input
        if self.batch_first and input.dim() == 3:
            x = x.transpose(0, 1)
        if x.size(0) == 0:
            raise ValueError("the sequence has no steps: pass at least one")
        return x

    def _initial_states(
        self, x: Tensor, hx: Sequence[Tensor] | None, unbatched: bool
    ) -> list[Tensor]:
        """Each kind of state before the first step, [L D, B, H]."""
        shape = (len(self._names), x.size(1), self.hidden_size)
        if hx is None and self.learned_h0:
            return [getattr(self, name).unsqueeze(1).expand(shape) for name in self.states]
        if hx is None:
            return [x.new_zeros(shape) for _ in self.states]
        expected = [shape[0], shape[2]] if unbatched else list(shape)
        for name, state in zip(self.states, hx):
            if list(state.shape) != expected:
                raise ValueError(
                    f"the initial state {name} must be [layers * directions, "
                    f"{'' if unbatched else 'B, '}H] = {expected}, got {list(state.shape)}"
                )
        return [state.unsqueeze(1) if unbatched else state for state in hx]

    def _as_given(self, output: Tensor, input: Tensor) -> Tensor:
        """An output [T, B, D H] in the layout of the input."""
        if input.dim() == 2:
            return output.squeeze(1)
        return output.transpose(0, 1) if self.batch_first else output

    def _forward(
        self, input: Tensor, hx: Sequence[Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(output, the last state of each kind)."""
        scans, last = self._run(input, hx)
        if input.dim() == 2:
            last = [state.squeeze(1) for state in last]
        return self._as_given(_beside(scans, 0), input), tuple(last)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}"


class RNN(_Recurrent):
    """h_t = f(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh) (Elman 1990), f = tanh or relu: as torch.nn.RNN."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        learned_h0: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if nonlinearity not in ACTIVATIONS:
            raise ValueError(f'nonlinearity must be "tanh" or "relu", got {nonlinearity!r}')
        self.nonlinearity = nonlinearity
        settings = (num_layers, bias, batch_first, dropout, bidirectional)
        options = {"learned_h0": learned_h0, "device": device, "dtype": dtype}
        super().__init__(input_size, hidden_size, *settings, **options)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(output [T, B, D H], h_n [L D, B, H])."""
        output, (h_n,) = self._forward(input, None if hx is None else (hx,))
        return output, h_n

    def _scan(self, projected, start, weights):
        return (rnn_scan(projected, *start, weights[1].t(), self.nonlinearity),)


class LSTM(_Recurrent):
    """Gates that write to, keep and read memory cells (`cells.lstm_step`): as torch.nn.LSTM.

    Each weight and bias holds the blocks i, f, g, o: write, keep, what to write, read. Torch's
    proj_size is not offered.
    """

    blocks = 4
    states = ("h0", "c0")

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(output [T, B, D H], (h_n, c_n), each [L D, B, H]); hx is (h_0, c_0)."""
        if hx is not None and (isinstance(hx, Tensor) or len(hx) != 2):
            raise ValueError("an LSTM starts from two states: pass hx = (h_0, c_0)")
        return self._forward(input, hx)

    def unroll(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """The top layer's hidden states and memory cells at every step, both [T, B, D H].

        The first is forward's output. Torch's LSTM shows no cells but the last step's.
        """
        scans, _ = self._run(input, hx)
        hidden, cells = (self._as_given(_beside(scans, kind), input) for kind in (0, 1))
        return hidden, cells

    def _scan(self, projected, start, weights):
        return lstm_scan(projected, *start, weights[1].t())


class GRU(_Recurrent):
    """A gate that resets the state and one that mixes old and new (`cells.gru_step`): as torch.nn.GRU.

    Each weight and bias holds the blocks r, z, n: reset, update, new.
    """

    blocks = 3

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(output [T, B, D H], h_n [L D, B, H])."""
        output, (h_n,) = self._forward(input, None if hx is None else (hx,))
        return output, h_n

    def _project(self, x, weights):
        return F.linear(x, weights[0], weights[2] if self.bias else None).unbind(0)

    def _scan(self, projected, start, weights):
        return (gru_scan(projected, *start, weights[1].t(), weights[3] if self.bias else None),)


def set_forget_bias(lstm: nn.Module, value: float) -> None:
    """Set the forget gates' biases of an LSTM, ours or torch's: b_ih to `value`, b_hh to 0, in place.

    An untrained cell then keeps about sigmoid(value) of itself a step: .5, .73, .95 for 0, 1, 3.
    Raises ValueError for a layer that is no LSTM or has no biases.
    """
    if not isinstance(lstm, LSTM | nn.LSTM) or not lstm.bias:
        raise ValueError(f"only an LSTM with biases has forget biases, got {lstm}")
    with torch.no_grad():
        for name, parameter in lstm.named_parameters():
            if name.startswith("bias"):
                forget = parameter.chunk(4)[1]  # [4H] -> [H]
                forget.fill_(value if name.startswith("bias_ih") else 0.0)
