"""An LSTM that predicts paths without knowing of relations: each body alone, or all bodies at once.

Its predictions are a baseline for those of neural relational inference, and the correlation of its
states (`baselines.state_correlation`) one for the graph.

Axes: B simulations of a batch, N bodies, T frames, D features.

Source: Kipf, Fetaya, Wang, Welling and Zemel, Neural relational inference for interacting systems,
2018, https://arxiv.org/abs/1802.04687, section 5.1.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course_lib.latent.descent import descend
from course_lib.training import History

__all__ = ["LSTMBaseline", "train_lstm"]


class LSTMBaseline(nn.Module):
    """Two layers, an LSTM, two layers; what they give is added to the state: x_{t+1} = x_t + f(x_1..t).

    "Single" (bodies=None) reads each body alone with the same weights, so nothing passes from one
    body to another. "Joint" (bodies=N) sets the features of all bodies side by side before the LSTM,
    which is then N times as wide: it can use any relation, but finds none by itself, and works for N
    bodies in their order only.

    Args:
        features: D.
        hidden_size: H units a body.
        num_layers: of the LSTM.
        bodies: None for single, N for joint.
    """

    def __init__(
        self,
        features: int = 4,
        hidden_size: int = 64,
        num_layers: int = 1,
        bodies: int | None = None,
    ) -> None:
        super().__init__()
        self.bodies = bodies
        width = hidden_size * (bodies or 1)
        self.embed = nn.Sequential(
            nn.Linear(features, hidden_size),
            nn.ReLU(),
            nn.Linear(hidden_size, hidden_size),
            nn.ReLU(),
        )
        self.lstm = nn.LSTM(width, width, num_layers)
        self.out = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, features * (bodies or 1))
        )

    def read(
        self, states: Tensor, memory: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The state after each frame, [T, B, H'], and the LSTM's memory after the last.

        Args:
            states: [B, N, T, D].
            memory: what an earlier call left; None at the start.

        Single nets treat the bodies as further simulations: B N rows instead of B, and H' = H;
        joint ones have H' = N H. Raises ValueError for a joint net and another number of bodies.
        """
        if states.dim() != 4:
            raise ValueError(f"states must be [B, N, T, D], got {list(states.shape)}")
        if self.bodies not in (None, states.size(1)):
            raise ValueError(
                f"this joint LSTM was built for {self.bodies} bodies, got {states.size(1)}: build "
                "another, or use a single one (bodies=None)"
            )
        embedded = self.embed(states).permute(2, 0, 1, 3)  # [T, B, N, H]
        rows = embedded.flatten(1, 2) if self.bodies is None else embedded.flatten(2)
        return self.lstm(rows.contiguous(), memory)

    def last_hidden(self, states: Tensor) -> Tensor:
        """A single net's hidden states after the last frame of [S, N, T, D]: [S, N, H].

        Raises ValueError for a joint net, whose units belong to no body.
        """
        if self.bodies is not None:
            raise ValueError("a joint LSTM has no states of single bodies: use bodies=None")
        return self.read(states)[0][-1].unflatten(0, states.shape[:2])

    def _next(self, hidden: Tensor, states: Tensor) -> Tensor:
        """States [B, N, T, D] and what was read there, [T, ., H'] -> the states a frame later."""
        shape = (states.size(2), *states.shape[:2], states.size(3))
        return states + self.out(hidden).view(shape).permute(1, 2, 0, 3)

    def forward(self, states: Tensor, burn_in: int | None = None) -> Tensor:
        """Predictions of frames 2 .. T: [B, N, T, D] -> [B, N, T - 1, D].

        The first `burn_in` frames are read as they are, each later input is the net's own
        prediction; None reads all as they are (one step ahead, "teacher forcing").
        """
        burn_in = states.size(2) - 1 if burn_in is None else burn_in
        if not 1 <= burn_in < states.size(2):
            raise ValueError(f"burn_in must be 1 .. {states.size(2) - 1} frames, got {burn_in}")
        known = states[:, :, :burn_in]
        hidden, memory = self.read(known)
        first = self._next(hidden, known)
        rest = self._extend(first[:, :, -1:], memory, states.size(2) - 1 - burn_in)
        return torch.cat([first, *rest], 2)

    def rollout(self, states: Tensor, steps: int) -> Tensor:
        """The `steps` frames after those of [B, N, T, D], each from the one before: [B, N, steps, D]."""
        hidden, memory = self.read(states)
        first = self._next(hidden[-1:], states[:, :, -1:])
        return torch.cat([first, *self._extend(first, memory, steps - 1)], 2)

    def _extend(self, state: Tensor, memory: tuple[Tensor, Tensor], steps: int) -> list[Tensor]:
        states = []
        for _ in range(steps):
            hidden, memory = self.read(state, memory)
            state = self._next(hidden, state)  # [B, N, 1, D]
            states.append(state)
        return states


def train_lstm(
    model: LSTMBaseline,
    states: Tensor,
    *,
    epochs: int,
    burn_in: int,
    lr: float = 5e-4,
    batch_size: int = 128,
    clip: float = 1.0,
    generator: torch.Generator | None = None,
    checkpoint: Path | str | None = None,
    progress: bool = False,
) -> History:
    """Minimise the mean squared error of `model(states, burn_in)` by Adam, lr falling to 0 linearly.

    Up to a factor this is the Gaussian likelihood that neural relational inference maximises.

    Args:
        states: [S, N, T, D] on the model's device, of its dtype.
        burn_in: frames read as they are; on the T - 1 - burn_in last ones errors add up.
        clip: bound of the gradient's norm.
        checkpoint: as in `training.fit`.
    """

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        return F.mse_loss(model(batch[0], burn_in), batch[0][:, :, 1:])

    return descend(
        model,
        loss,
        states,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        generator=generator,
        clip=clip,
        checkpoint=checkpoint,
        progress=progress,
    )
