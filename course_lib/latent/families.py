"""Four families of generative models on the same points of the plane, measured alike.

Each answers some questions and not others: what is p(x)? what does a sample look like? which code
belongs to x? what does a sample cost? `measure_family` puts all four to one model,

    likelihood   mean log p(x) of held-out points, exact, a lower bound, or none
    samples      the energy distance to the held-out points, which needs samples alone, and the
                 share that strays where hardly a point of the data lies
    code         the distance between x and what its code gives back, where there is a code
    cost         parameters, seconds of training, passes through a network for one sample

so that the table of the lecture holds figures. Log-likelihoods in nats, distances in units of x.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from course_lib.latent.bounds import iwae_bound
from course_lib.latent.densities import gaussian_noise
from course_lib.latent.descent import descend
from course_lib.latent.flows import Flow
from course_lib.latent.gan import GAN, train_gan
from course_lib.latent.made import MADE
from course_lib.latent.toy import energy_distance, two_moons_log_prob
from course_lib.latent.vae import VAE, train_vae
from course_lib.training import History, seed_everything

__all__ = [
    "FAMILIES",
    "Family",
    "draw_samples",
    "fit_family",
    "measure_family",
    "train_by_likelihood",
]

FAMILIES = ("autoregressive", "adversarial", "reversible", "VAE")
BATCH = 100
HIDDEN = 64
NOISE = 0.01  # eta, the variance that the VAE's decoder adds: that of the moons
BOUND_SAMPLES = 500  # K of the importance-weighted bound that stands for the VAE's likelihood


@dataclass(frozen=True)
class Family:
    """What one model can do, as measured. None where it cannot do it at all.

    likelihood: mean log p(x) of held-out points in nats, and `kind`: "exact", "bound" or "none".
    energy: energy distance of as many samples to the held-out points. strays: the share of samples
        whose true density is below that of 99 % of the held-out points: 0.01 for a perfect model.
    code_size: numbers in a code, and `round_trip`, the root mean square distance of x and what
        its code gives back: rounding for a flow, what the decoder blurs for a VAE.
    passes: passes through a network, one after the other, for a sample. parameters: their number.
    seconds: of training.
    """

    name: str
    likelihood: float | None
    kind: str
    energy: float
    strays: float
    code_size: int | None
    round_trip: float | None
    passes: int
    parameters: int
    seconds: float


def train_by_likelihood(
    model: nn.Module,
    x: Tensor,
    *,
    epochs: int = 100,
    lr: float = 5e-3,
    batch_size: int = BATCH,
    generator: torch.Generator | None = None,
    progress: bool = False,
) -> History:
    """Minimise -mean log p(x) on x [N, D] by `descend`: for a model with log_prob, `Flow` or `MADE`."""
    return descend(
        model,
        lambda model, batch: -model.log_prob(*batch).mean(),
        x,
        epochs=epochs,
        lr=lr,
        batch_size=batch_size,
        generator=generator,
        progress=progress,
    )


def fit_family(
    name: str, x: Tensor, *, epochs: int = 100, seed: int = 0
) -> tuple[nn.Module, float]:
    """A small model of the family `name`, trained on x [N, D], and the seconds that it took.

    "autoregressive": MADE with mixtures of 8 Gaussians; "adversarial": a GAN; "reversible": a flow
    of 6 affine couplings; "VAE": D latents, Gaussian noise of variance 0.01. All pass over the data
    `epochs` times in batches of 100.

    Raises ValueError for another name.
    """
    if name not in FAMILIES:
        raise ValueError(f"the families are {', '.join(FAMILIES)}, got {name!r}")
    generator = seed_everything(seed)
    size, training = x.size(1), {"epochs": epochs, "batch_size": BATCH, "generator": generator}
    start = time.perf_counter()
    if name == "autoregressive":
        model: nn.Module = MADE(size, (HIDDEN, HIDDEN)).to(x)
        train_by_likelihood(model, x, **training)
    elif name == "reversible":
        model = Flow(size, layers=6, hidden_size=HIDDEN).to(x)
        train_by_likelihood(model, x, **training)
    elif name == "VAE":
        model = VAE(size, 4 * HIDDEN, size, likelihood="gaussian", noise=NOISE).to(x)
        train_vae(model, x, **training, lr=1e-2)
    else:
        model = GAN(size, size, HIDDEN).to(x)
        steps = epochs * math.ceil(len(x) / BATCH)
        train_gan(model, x, steps=steps, batch_size=BATCH, generator=generator)
    return model, time.perf_counter() - start


@torch.no_grad()
def draw_samples(model: nn.Module, number: int, generator: torch.Generator | None = None) -> Tensor:
    """`number` draws of x [number, D]. For a VAE its noise is added: its own `sample` gives E[x | z].

    Raises ValueError for a VAE whose pixels are Bernoulli: these families are on real numbers.
    """
    drawn = model.sample(number, generator)
    if not isinstance(model, VAE):
        return drawn
    if model.likelihood != "gaussian":
        raise ValueError("draw_samples needs a VAE with likelihood='gaussian'")
    return drawn + math.sqrt(model.noise) * gaussian_noise(drawn, generator=generator)


@torch.no_grad()
def measure_family(
    name: str,
    model: nn.Module,
    x: Tensor,
    seconds: float = math.nan,
    generator: torch.Generator | None = None,
    true_log_prob: Callable[[Tensor], Tensor] = two_moons_log_prob,
) -> Family:
    """Put the four questions to a model of the family `name`, with held-out points x [N, D].

    seconds: what `fit_family` said. true_log_prob: the log-density that x was drawn from.
    Raises ValueError for another name.
    """
    if name not in FAMILIES:
        raise ValueError(f"the families are {', '.join(FAMILIES)}, got {name!r}")
    likelihood, kind, code_size, round_trip, passes = None, "none", None, None, 1
    if name in ("autoregressive", "reversible"):
        likelihood, kind = float(model.log_prob(x).mean()), "exact"
    if name == "autoregressive":
        passes = x.size(1)
    if name == "reversible":
        code, _ = model(x)
        code_size, round_trip = code.size(1), _distance(model.inverse(code), x)
    if name == "VAE":
        likelihood = float(iwae_bound(model, x, BOUND_SAMPLES, generator).mean())
        code, _ = model.encode(x)
        kind, code_size, round_trip = "bound", code.size(1), _distance(model.decode(code), x)
    drawn = draw_samples(model, len(x), generator)
    rare = true_log_prob(x).quantile(0.01)
    return Family(
        name=name,
        likelihood=likelihood,
        kind=kind,
        energy=float(energy_distance(drawn, x)),
        strays=float((true_log_prob(drawn) < rare).to(x.dtype).mean()),
        code_size=code_size,
        round_trip=round_trip,
        passes=passes,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        seconds=seconds,
    )


def _distance(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().sum(-1).mean().sqrt())
