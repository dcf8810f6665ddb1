"""A small synthetic video in which far places belong together: sprites that move, coloured at first.

Each sprite keeps its shape and its brightness. In the first frame it shows its colour, afterwards it
is grey: who is to say its colour in a later frame has to find the same sprite in the first. (Colouring
a video by its first frame: Vondrick et al., Tracking emerges by colorizing videos, 2018.)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from course_lib.attention.nonlocal_block import NonLocalBlock

__all__ = ["SpriteColourer", "SpriteVideo", "colour_accuracy", "moving_sprites", "train_colourer"]

SHAPES = torch.tensor(
    [
        [[int(c) for c in row] for row in shape.split()]
        for shape in (
            "11111 10001 10001 10001 11111",  # frame
            "00100 00100 11111 00100 00100",  # plus
            "10001 01010 00100 01010 10001",  # cross
            "11111 00100 00100 00100 00100",  # T
            "10000 10000 10000 10000 11111",  # L
            "00000 01110 01110 01110 00000",  # block
        )
    ],
    dtype=torch.bool,
)
SIDE = SHAPES.size(1)


class SpriteVideo(NamedTuple):
    """video [B, 3, T, size, size] in 0..1; sprite int64 [B, T, size, size], 0 the background and
    n the n-th sprite; colour, likewise, -1 the background and 0, 1, 2 red, green, blue."""

    video: Tensor
    sprite: Tensor
    colour: Tensor


def moving_sprites(
    batch: int,
    frames: int,
    size: int,
    generator: Generator,
    *,
    sprites: int = 2,
    coloured_frames: int = 1,
    dtype: torch.dtype = torch.float32,
) -> SpriteVideo:
    """Videos of `sprites` shapes that move in straight lines and bounce off the edges.

    The sprites of a video differ in shape, colour and brightness (0.4, 0.7 or 1); each starts anywhere
    and moves by -2..2 places a frame on either axis. They are coloured in the first `coloured_frames`
    frames and grey afterwards; a later sprite hides an earlier one.

    Raises ValueError for a count below 1, more than 3 sprites, or a size below 6.
    """
    if min(batch, frames) < 1 or not 1 <= sprites <= 3 or size <= SIDE:
        raise ValueError(
            f"batch {batch} and frames {frames} must be at least 1, sprites {sprites} in 1..3 and "
            f"size {size} above {SIDE}, a sprite's side"
        )
    device = generator.device

    def draw(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    kinds = draw(batch, len(SHAPES)).argsort(1)[:, :sprites]  # [B, sprites]
    colours, shades = (draw(batch, 3).argsort(1)[:, :sprites] for _ in range(2))
    room = size - SIDE
    start = (draw(batch, sprites, 1, 2) * (room + 1)).long()
    velocity = (draw(batch, sprites, 1, 2) * 5).long() - 2
    time = torch.arange(frames, device=device)[:, None]  # [T, 1]
    corner = room - ((start + velocity * time) % (2 * room) - room).abs()  # [B, sprites, T, 2]

    place = torch.arange(size, device=device)
    row, column = (place - corner[..., axis, None] for axis in (0, 1))  # [B, sprites, T, size]
    row, column = row[..., :, None], column[..., None, :]
    inside = (row >= 0) & (row < SIDE) & (column >= 0) & (column < SIDE)  # [B, sprites, T, H, W]
    picture = SHAPES.to(device)[
        kinds[:, :, None, None, None], row.clamp(0, SIDE - 1), column.clamp(0, SIDE - 1)
    ]
    covers = inside & picture
    numbers = torch.arange(1, sprites + 1, device=device)[:, None, None, None]
    sprite = (covers * numbers).amax(1)  # [B, T, H, W]

    def at_each_place(values: Tensor, background: float) -> Tensor:  # [B, sprites] -> [B, T, H, W]
        padded = F.pad(values, (1, 0), value=background)
        return padded.gather(1, sprite.flatten(1)).view_as(sprite)

    colour = at_each_place(colours, -1)
    hues = torch.arange(3, device=device)[:, None, None, None]
    seen = (colour[:, None] == hues) | (
        (sprite[:, None] > 0) & (time[:, :, None] >= coloured_frames)
    )  # [B, 3, T, H, W]
    brightness = at_each_place((shades + 1) * 0.3 + 0.1, 0.0).to(dtype)
    return SpriteVideo(seen * brightness[:, None], sprite, colour)


class SpriteColourer(nn.Module):
    """video [B, 3, T, H, W] -> scores of the three colours at each place [B, 3, T, H, W].

    Two convolutions within each frame, 5 x 5, let a place know the shape that it belongs to; one
    non-local block looks across the frames; a linear map reads the colour off. Without the block
    (`non_local=False`) no frame sees another.

    Both are trained together from the start, so W_z starts at random here and not at zero.
    """

    def __init__(
        self, channels: int = 24, pairwise: str = "embedded_gaussian", non_local: bool = True
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, channels, (1, 5, 5), padding=(0, 2, 2)),
            nn.ReLU(),
            nn.Conv3d(channels, channels, (1, 5, 5), padding=(0, 2, 2)),
            nn.ReLU(),
        )
        self.block = NonLocalBlock(channels, channels, pairwise, 3) if non_local else None
        if self.block is not None:
            nn.init.normal_(self.block.w_z.weight, std=1 / math.sqrt(channels))
        self.readout = nn.Conv3d(channels, 3, 1)

    def forward(self, video: Tensor, allowed: Tensor | None = None) -> Tensor:
        features = self.stem(video)
        if self.block is not None:
            features = self.block(features, allowed)
        return self.readout(features)

    def weights(self, video: Tensor, allowed: Tensor | None = None) -> Tensor:
        """The block's weights f(x_i, x_j) / C(x) [B, N, N], N = T H W."""
        if self.block is None:
            raise ValueError("this model has no non-local block: build it with non_local=True")
        return self.block.weights(self.stem(video), allowed)


def train_colourer(
    model: SpriteColourer,
    generator: Generator,
    *,
    steps: int = 200,
    batch: int = 32,
    frames: int = 2,
    size: int = 10,
    lr: float = 5e-3,
    allowed: Tensor | None = None,
) -> list[float]:
    """Train on fresh videos to colour the sprites of every frame after the first; the losses."""
    optimizer = torch.optim.Adam(model.parameters(), lr)
    model.train()
    losses = []
    for _ in range(steps):
        video, _, colour = moving_sprites(batch, frames, size, generator)
        scores = model(video, allowed)[:, :, 1:]
        loss = F.cross_entropy(scores, colour[:, 1:], ignore_index=-1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    model.eval()
    return torch.stack(losses).tolist()


@torch.no_grad()
def colour_accuracy(
    model: SpriteColourer,
    generator: Generator,
    *,
    batch: int = 64,
    frames: int = 4,
    size: int = 10,
    allowed: Tensor | None = None,
) -> list[float]:
    """The share of sprite pixels coloured right, frame by frame; a guess gives 1/3 after the first."""
    video, _, colour = moving_sprites(batch, frames, size, generator)
    right = model(video, allowed).argmax(1) == colour  # [B, T, H, W]
    seen = colour >= 0
    return [right[:, t][seen[:, t]].double().mean().item() for t in range(frames)]
