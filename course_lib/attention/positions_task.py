"""Copy the token a few places back: a task that asks for nothing but relative positions.

The target at step t is the token at t - offset. What was learned at short lengths should hold at
any length; whether it does depends on how positions are told to the network.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from course_lib.attention.norms import LayerNorm
from course_lib.attention.positions import (
    LearnedPositions,
    RelativeMultiheadAttention,
    sinusoidal_positions,
)
from course_lib.attention.transformer import TransformerEncoderLayer

__all__ = ["IGNORE", "CopyModel", "copy_accuracy", "copy_back", "train_copy"]

IGNORE = -100  # what torch's cross-entropy leaves out


def copy_back(
    batch: int, length: int, generator: Generator, offset: int = 3, *, symbols: int = 20
) -> tuple[Tensor, Tensor]:
    """Random tokens and, as targets, the tokens `offset` places earlier.

    inputs int64 [B, T], uniform in 0..symbols - 1; targets int64 [B, T], `IGNORE` at the first
    `offset` steps, which have nothing to copy. Guessing is right once in `symbols`; naming the
    row's most frequent token is right more often, the more so the shorter the row.

    Raises ValueError for a batch or an offset below 1, or a length that leaves nothing to copy.
    """
    if batch < 1 or offset < 1 or symbols < 2:
        raise ValueError(
            f"batch {batch} and offset {offset} must be at least 1, symbols {symbols} at least 2"
        )
    if length <= offset:
        raise ValueError(f"length {length} must exceed offset {offset}: nothing else is copied")
    inputs = torch.randint(symbols, (batch, length), generator=generator, device=generator.device)
    return inputs, F.pad(inputs[:, :-offset], (offset, 0), value=IGNORE)


class CopyModel(nn.Module):
    """A small encoder whose only difference is how it learns of positions: tokens [B, T] -> [B, T, symbols].

    Args:
        positions: "none", "sinusoidal", "learned" (both added to the embeddings) or "relative".
        symbols: the size of the vocabulary.
        max_distance, use_keys, use_values: k, a^K and a^V of relative positions.
        d_model, num_heads, num_layers: the encoder, pre-norm, its feed-forward part 2 d_model wide.
        max_length: how many places "learned" has; those beyond the training lengths stay untrained.

    No mask is used: a causal one would tell the network about positions by itself.
    """

    def __init__(
        self,
        positions: str = "relative",
        *,
        symbols: int = 20,
        max_distance: int = 4,
        use_keys: bool = True,
        use_values: bool = True,
        d_model: int = 48,
        num_heads: int = 4,
        num_layers: int = 2,
        max_length: int = 512,
    ) -> None:
        super().__init__()
        if positions not in ("none", "sinusoidal", "learned", "relative"):
            raise ValueError(
                f'positions must be "none", "sinusoidal", "learned" or "relative", got {positions!r}'
            )
        self.positions = positions
        self.embedding = nn.Embedding(symbols, d_model)
        self.learned = LearnedPositions(max_length, d_model) if positions == "learned" else None
        layers = [
            TransformerEncoderLayer(
                d_model, num_heads, 2 * d_model, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(num_layers)
        ]
        if positions == "relative":
            for layer in layers:
                layer.self_attn = RelativeMultiheadAttention(
                    d_model, num_heads, max_distance, use_keys, use_values
                )
        self.layers = nn.ModuleList(layers)
        self.norm = LayerNorm(d_model)
        self.readout = nn.Linear(d_model, symbols)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)  # [B, T] -> [B, T, d]
        if self.positions == "sinusoidal":
            x = x + sinusoidal_positions(x.size(1), x.size(2), device=x.device, dtype=x.dtype)
        elif self.learned is not None:
            x = x + self.learned(x.size(1))
        for layer in self.layers:
            x = layer(x)
        return self.readout(self.norm(x))


def train_copy(
    model: nn.Module,
    generator: Generator,
    *,
    steps: int = 300,
    batch: int = 64,
    lengths: tuple[int, int] = (8, 24),
    offset: int = 3,
    symbols: int = 20,
    lr: float = 3e-3,
) -> list[float]:
    """Train `model` on fresh rows whose length is drawn anew each step; the losses.

    `lengths` are the shortest and the longest. Adam, the rate falling to zero linearly. The model and
    `generator` are on one device.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr)
    shortest, longest = lengths
    model.train()
    losses = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (1 - step / steps)
        length = int(
            torch.randint(shortest, longest + 1, (), generator=generator, device=generator.device)
        )
        tokens, targets = copy_back(batch, length, generator, offset, symbols=symbols)
        loss = F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    model.eval()
    return torch.stack(losses).tolist()


@torch.no_grad()
def copy_accuracy(
    model: nn.Module,
    length: int,
    generator: Generator,
    *,
    batch: int = 64,
    offset: int = 3,
    symbols: int = 20,
) -> float:
    """The share of tokens copied right in `batch` fresh rows of `length`, the first `offset` left out."""
    tokens, targets = copy_back(batch, length, generator, offset, symbols=symbols)
    right = model(tokens).argmax(2) == targets
    return right[:, offset:].double().mean().item()
