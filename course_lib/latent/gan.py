"""An adversarial model: a generator that is trained by the discriminator it must deceive.

    discriminator:  maximise  E[log d(x)] + E[log(1 - d(g(z)))],   d = sigmoid(logit)
    generator:      maximise  E[log d(g(z))],   z ~ N(0, I)

The generator's loss is the non-saturating one. What the game itself says, minimise
log(1 - d(g(z))), has the same fixed point but hardly a gradient while the discriminator wins,
which is just when the generator has most to learn: `generator_loss(..., saturating=True)`.

A point has no likelihood here (g puts its samples on a surface, or has no density that we can
compute), and no code: nothing leads from x to z. Losses are means over the batch, in nats.

Sources: Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661; the penalty that makes the game
settle: Mescheder, Geiger and Nowozin 2018, https://arxiv.org/abs/1801.04406 (R1).
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from course_lib.latent.densities import gaussian_noise

__all__ = [
    "GAN",
    "GanHistory",
    "discriminator_loss",
    "generator_loss",
    "gradient_penalty",
    "train_gan",
]

SLOPE = 0.2  # of the leaky ReLUs where they are negative


def _layers(*sizes: int) -> nn.Sequential:
    one, two, three, four = sizes
    return nn.Sequential(
        nn.Linear(one, two),
        nn.LeakyReLU(SLOPE),
        nn.Linear(two, three),
        nn.LeakyReLU(SLOPE),
        nn.Linear(three, four),
    )


class GAN(nn.Module):
    """`generate`: z [B, k] -> x [B, D]; `judge`: x [B, D] -> logit of "x is data" [B].

    Args:
        size: D.
        latent_size: k.
        hidden_size: units of each of the two hidden layers of both networks.
    """

    def __init__(self, size: int = 2, latent_size: int = 2, hidden_size: int = 64) -> None:
        super().__init__()
        if min(size, latent_size, hidden_size) < 1:
            raise ValueError(
                f"sizes must be at least 1, got {size}, {latent_size} and {hidden_size}"
            )
        self.latent_size = latent_size
        self.generating = _layers(latent_size, hidden_size, hidden_size, size)
        self.judging = _layers(size, hidden_size, hidden_size, 1)

    def generate(self, z: Tensor) -> Tensor:
        """g(z): [..., k] -> [..., D]."""
        return self.generating(z)

    def judge(self, x: Tensor) -> Tensor:
        """The logit of d(x), above 0 where x passes for data: [..., D] -> [...]."""
        return self.judging(x).squeeze(-1)

    def draw(self, number: int, generator: torch.Generator | None = None) -> Tensor:
        """g(z) of `number` draws z ~ N(0, I), with gradients: [number, D]."""
        like = self.generating[0].weight.new_empty(self.latent_size)
        return self.generate(gaussian_noise(like, number, generator=generator))

    @torch.no_grad()
    def sample(self, number: int, generator: torch.Generator | None = None) -> Tensor:
        """`draw` without gradients: [number, D], in one pass."""
        return self.draw(number, generator)


def discriminator_loss(on_data: Tensor, on_samples: Tensor) -> Tensor:
    """-mean log d(x) - mean log(1 - d(g(z))) from logits [B] and [B']: [], in nats.

    2 log 2 where the discriminator cannot tell (all logits zero).
    """
    return F.softplus(-on_data).mean() + F.softplus(on_samples).mean()


def generator_loss(on_samples: Tensor, saturating: bool = False) -> Tensor:
    """-mean log d(g(z)) from logits [B]: [], in nats; saturating: +mean log(1 - d(g(z))).

    By a logit l the first has the slope -(1 - d), the second -d: near 0 where the discriminator is
    sure that it sees a sample.
    """
    return -F.softplus(on_samples).mean() if saturating else F.softplus(-on_samples).mean()


def gradient_penalty(model: GAN, x: Tensor) -> Tensor:
    """1/2 mean ||d logit / dx||^2 at data x [B, D]: [], differentiable (R1).

    It makes the discriminator flat where the data are, so that the game comes to rest once the
    samples are there too; without it the two circle around each other.
    """
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.judge(x).sum(), x, create_graph=True)
    return slope.square().sum(-1).mean() / 2


class GanHistory(NamedTuple):
    """The losses of each step, [steps], in nats. They do not fall as samples get better."""

    discriminator: Tensor
    generator: Tensor


def train_gan(
    model: GAN,
    x: Tensor,
    *,
    steps: int = 2000,
    lr: float = 5e-3,
    batch_size: int = 128,
    penalty: float = 0.1,
    average: float = 0.99,
    saturating: bool = False,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> GanHistory:
    """One step of the discriminator and one of the generator in turn, on random rows of x [N, D].

    Adam with no momentum (betas 0 and 0.99), step sizes that fall to zero; `penalty` weighs
    `gradient_penalty`. The generator ends with the running average of its weights, in which the
    last circles of the game cancel; average 0 keeps the last weights. Seed the weights before.

    Raises ValueError unless x is [N, D] of the model's D and steps >= 1.
    """
    size = model.judging[0].in_features
    if x.dim() != 2 or x.size(1) != size or steps < 1 or not 0 <= average < 1:
        raise ValueError(
            f"need x [N, {size}], steps >= 1 and 0 <= average < 1, got {list(x.shape)}, {steps} "
            f"and {average}"
        )
    options = {"lr": lr, "betas": (0.0, 0.99), "fused": True}
    judge = torch.optim.Adam(model.judging.parameters(), **options)
    forge = torch.optim.Adam(model.generating.parameters(), **options)
    mean = copy.deepcopy(model.generating)
    losses = []
    device = "cpu" if generator is None else generator.device
    for step in tqdm(range(steps), disable=not progress):
        for optimizer in (judge, forge):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        rows = torch.randint(len(x), (batch_size,), generator=generator, device=device)
        data = x.index_select(0, rows.to(x.device))
        fake = model.draw(batch_size, generator)
        first = discriminator_loss(model.judge(data), model.judge(fake.detach()))
        whole = first + penalty * gradient_penalty(model, data) if penalty else first
        _descend(judge, list(model.judging.parameters()), whole)
        second = generator_loss(model.judge(fake), saturating)
        _descend(forge, list(model.generating.parameters()), second)
        with torch.no_grad():
            share = min(average, step / (step + 10))  # early weights are soon forgotten
            torch._foreach_lerp_(
                list(mean.parameters()), list(model.generating.parameters()), 1 - share
            )
        losses.append(torch.stack([first.detach(), second.detach()]))
    model.generating.load_state_dict(mean.state_dict())
    model.eval()
    return GanHistory(*torch.stack(losses).cpu().unbind(1))


def _descend(
    optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], loss: Tensor
) -> None:
    """One step along the loss's gradient by `parameters` alone, whatever else the loss passed."""
    for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = slope
    optimizer.step()
