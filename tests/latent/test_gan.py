"""The game's losses by hand, what each step may move, and a training that comes to rest."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from course_lib.latent.gan import (
    GAN,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    train_gan,
)
from course_lib.latent.toy import energy_distance, two_moons
from tests.devices import devices

F64 = torch.float64


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_losses_are_binary_cross_entropies():
    data, samples = torch.randn(6, dtype=F64), torch.randn(4, dtype=F64)
    cross = F.binary_cross_entropy_with_logits
    ours, one, zero = discriminator_loss(data, samples), torch.ones_like, torch.zeros_like
    torch.testing.assert_close(ours, cross(data, one(data)) + cross(samples, zero(samples)))
    torch.testing.assert_close(generator_loss(samples), cross(samples, one(samples)))
    torch.testing.assert_close(generator_loss(samples, True), -cross(samples, zero(samples)))
    assert discriminator_loss(0 * data, 0 * samples).item() == pytest.approx(2 * math.log(2))


@pytest.mark.parametrize("saturating", [False, True])
def test_the_slope_where_the_discriminator_wins(saturating):
    """By a logit l the slopes are -(1 - d) and -d: at l = -8, nearly -1 and nearly 0."""
    logit = torch.tensor([-8.0], dtype=F64, requires_grad=True)
    (slope,) = torch.autograd.grad(generator_loss(logit, saturating), logit)
    d = torch.sigmoid(logit.detach())
    torch.testing.assert_close(slope, -d if saturating else -(1 - d))


def test_the_penalty_of_a_linear_judge_is_half_its_squared_weight():
    model = GAN(3).double()
    weight = torch.tensor([[1.0, -2.0, 0.5]], dtype=F64)
    model.judging = torch.nn.Linear(3, 1, dtype=F64)
    with torch.no_grad():
        model.judging.weight.copy_(weight)
    penalty = gradient_penalty(model, torch.randn(5, 3, dtype=F64))
    assert penalty.item() == pytest.approx(weight.square().sum().item() / 2)
    (slope,) = torch.autograd.grad(penalty, model.judging.weight)
    torch.testing.assert_close(slope, weight)


@pytest.mark.parametrize("saturating", [False, True])
def test_steps_go_down_both_losses_slopes(saturating):
    """Against the same steps by two of torch's own optimizers, with the draws repeated."""
    torch.manual_seed(0)
    x, model = two_moons(64, seeded()), GAN(2, 3, 8)
    peer = GAN(2, 3, 8)
    peer.load_state_dict(model.state_dict())
    draws, average = seeded(1), [p.detach().clone() for p in peer.generating.parameters()]
    parts = (peer.judging, peer.generating)
    judge, forge = (torch.optim.Adam(p.parameters(), lr=0.01, betas=(0.0, 0.99)) for p in parts)
    for step in range(4):
        for optimizer in (judge, forge):
            optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 4)
        data = x[torch.randint(64, (16,), generator=draws)]
        fake = peer.draw(16, draws)
        peer.zero_grad()
        loss = discriminator_loss(peer.judge(data), peer.judge(fake.detach()))
        (loss + 0.1 * gradient_penalty(peer, data)).backward()
        judge.step()
        peer.zero_grad()
        generator_loss(peer.judge(fake), saturating).backward()
        forge.step()
        share = min(0.15, step / (step + 10))
        for kept, now in zip(average, peer.generating.parameters()):
            kept.copy_(share * kept + (1 - share) * now.detach())
    options = {"lr": 0.01, "batch_size": 16, "saturating": saturating}
    train_gan(model, x, steps=4, average=0.15, generator=seeded(1), **options)
    for ours, theirs in zip(model.generating.parameters(), average):
        torch.testing.assert_close(ours.detach(), theirs)
    for ours, theirs in zip(model.judging.parameters(), peer.judging.parameters()):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_training_comes_to_rest_near_the_moons(seed):
    torch.manual_seed(seed)
    generator = seeded(seed)
    x, held_out = two_moons(1000, generator), two_moons(1000, generator)
    model = GAN(2, 2, 32)
    before = energy_distance(model.sample(1000, generator), held_out)
    history = train_gan(model, x, steps=400, batch_size=100, generator=generator)
    after = energy_distance(model.sample(1000, generator), held_out)
    assert after < 0.02 < 0.1 < before
    drawn = model.sample(1000, generator)
    assert 0.35 < float((drawn[:, 1] > 0).float().mean()) < 0.65  # neither moon is left out
    late = history.discriminator[-100:].mean()
    assert abs(float(late) - 2 * math.log(2)) < 0.15  # the discriminator can hardly tell
    assert len(history.discriminator) == len(history.generator) == 400


def test_one_seed_one_model():
    ends = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        model = GAN(2, 2, 8)
        train_gan(model, two_moons(50, seeded()), steps=3, generator=seeded(seed))
        ends.append(model.sample(4, seeded(9)))
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])
    assert not ends[0].requires_grad and model.draw(2).requires_grad


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="at least 1, got 2, 0 and 64"):
        GAN(2, 0)
    for x, options in ((torch.zeros(5, 3), {}), (torch.zeros(5, 2), {"steps": 0})):
        with pytest.raises(ValueError, match=r"need x \[N, 2\], steps >= 1"):
            train_gan(GAN(2), x, **options)
    with pytest.raises(ValueError, match="average < 1"):
        train_gan(GAN(2), torch.zeros(5, 2), average=1.0)


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees(device):
    model, x = GAN(2, 3, 8).double(), torch.randn(5, 2, dtype=F64)
    there = GAN(2, 3, 8).to(device)
    there.load_state_dict(model.state_dict())
    expected = [model.judge(x), model.draw(4, seeded())]
    found = [there.judge(x.float().to(device)), there.draw(4, seeded())]
    torch.testing.assert_close(found[0].cpu().double(), expected[0], atol=1e-5, rtol=1e-5)
    assert found[1].device.type == device.type and found[1].shape == (4, 2)
    slopes = []
    for own, result in ((model, expected), (there, found)):
        loss = result[0].sum() + gradient_penalty(own, x.to(result[0]))
        loss.backward()
        slopes.append(own.judging[0].weight.grad.cpu().double())
    torch.testing.assert_close(*slopes, atol=1e-4, rtol=1e-4)
