"""Moving sprites: what is drawn, how it moves, and that colouring it needs to look across frames."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.attention.nonlocal_block import PAIRWISE, restricted
from course_lib.attention.sprites import (
    SHAPES,
    SIDE,
    SpriteColourer,
    colour_accuracy,
    moving_sprites,
    train_colourer,
)
from tests.devices import devices


def draws(seed=0, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(
    frames=st.integers(1, 7),
    size=st.integers(SIDE + 1, 14),
    sprites=st.integers(1, 3),
    coloured=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_what_is_drawn(frames, size, sprites, coloured, seed):
    video, sprite, colour = moving_sprites(
        3, frames, size, draws(seed), sprites=sprites, coloured_frames=coloured
    )
    assert video.shape == (3, 3, frames, size, size)
    assert sprite.shape == colour.shape == (3, frames, size, size)
    assert torch.equal(sprite == 0, colour == -1)
    assert torch.equal(sprite == 0, (video == 0).all(1))
    for n in range(3):
        seen = []
        for number in range(1, sprites + 1):
            for t in range(frames):
                here = sprite[n, t] == number
                assert here.sum() <= SHAPES.sum((1, 2)).max()
                pixels = video[n, :, t][:, here]  # [3, pixels]
                if t < coloured:
                    assert ((pixels > 0).sum(0) == 1).all()
                    assert (pixels.argmax(0) == colour[n, t][here]).all()
                else:
                    assert (pixels == pixels[:1]).all()
            mine = sprite[n] == number
            if mine.any():
                hues, shades = colour[n][mine].unique(), video[n].amax(0)[mine].unique()
                assert len(hues) == len(shades) == 1  # kept throughout
                seen.append((hues.item(), round(shades.item(), 3)))
        assert len({hue for hue, _ in seen}) == len({shade for _, shade in seen}) == len(seen)


def test_one_sprite_keeps_its_shape_and_moves_in_a_line_until_it_bounces():
    _, sprite, _ = moving_sprites(40, 9, 12, draws(), sprites=1)
    moved = 0
    for clip in sprite:
        corners = []
        for frame in clip:
            rows, columns = frame.nonzero().T
            corners.append(torch.stack([rows.min(), columns.min()]))
            shape = frame[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            if len(corners) == 1:
                first = shape
            assert torch.equal(shape, first)
        steps = torch.stack(corners).diff(dim=0)
        assert steps.abs().max() <= 2
        speeds = steps.abs()
        assert ((speeds == speeds.amax(0)).sum(0) >= 4).all()  # fewer only where it turns round
        moved += bool(steps.any())
    assert moved > 30


def test_draws_are_repeated_by_their_seed():
    first, again, other = (moving_sprites(2, 3, 10, draws(seed)).video for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("pairwise", PAIRWISE)
def test_frames_see_each_other_through_the_block_only(pairwise):
    torch.manual_seed(0)
    video = moving_sprites(1, 3, 8, draws()).video.requires_grad_()
    for look in (True, False):
        model = SpriteColourer(6, pairwise, look)
        scores = model(video)
        assert scores.shape == video.shape
        reach = torch.autograd.grad(scores[:, :, 2].square().sum(), video)[0]
        assert bool(reach[:, :, 0].any()) == look
    model = SpriteColourer(6, pairwise)
    weights = model.weights(video)
    assert weights.shape == (1, 192, 192)
    near = restricted((3, 8, 8), "convolution")
    assert not model.weights(video, near)[0][~near].any()
    assert not torch.allclose(model(video, near), model(video))


def test_training_lowers_the_loss_and_accuracy_is_a_share_a_frame():
    torch.manual_seed(0)
    model = SpriteColourer(8, non_local=False)
    losses = train_colourer(model, draws(), steps=3, batch=2, size=6)
    assert len(losses) == 3
    assert not model.training
    shares = colour_accuracy(model, draws(1), batch=4, frames=3, size=8)
    assert len(shares) == 3
    assert all(0 <= share <= 1 for share in shares)

    class Perfect(torch.nn.Module):
        def forward(self, video, allowed=None):
            return video

    assert colour_accuracy(Perfect(), draws(1), frames=2)[0] == 1.0


@pytest.mark.parametrize("device", devices())
def test_it_runs_on_every_device(device):
    model = SpriteColourer(6).to(device)
    train_colourer(model, draws(device=device), steps=1, batch=2, size=6)
    assert len(colour_accuracy(model, draws(device=device), batch=2, frames=2)) == 2


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"sprites 4 in 1\.\.3"):
        moving_sprites(1, 2, 9, draws(), sprites=4)
    with pytest.raises(ValueError, match="size 5 above 5"):
        moving_sprites(1, 2, 5, draws())
    with pytest.raises(ValueError, match="no non-local block"):
        SpriteColourer(4, non_local=False).weights(torch.zeros(1, 3, 2, 6, 6))
