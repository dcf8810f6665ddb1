"""Unit 07, exercise 5: a variational autoencoder trained on digits, judged by its bound on digits held back."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised, describe
from course_lib.exercises.variational_autoencoders import reference
from course_lib.exercises.variational_autoencoders.bounds import unit
from course_lib.latent.binary_digits import binary_digits

LATENTS = 8
BARS = {1.0: 6.0, 2.0: 1.2}  # nats above the baseline that are wanted, by beta

# 5 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=4,
    minutes=12,
    reference=reference.train_vae,
    cases=2,
    uses=("gaussian_kl", "reparameterise", "elbo"),
    hints=[
        "encoder(x).chunk(2, -1) makes mean and log_var of what the encoder gives, [B, 2k].",
        "The loss is minus the MEAN of the bound, elbo(...)[0], over the batch; the noise is torch.randn_like(mean).",
        "A step: loss, zero_grad(), loss.backward(), step(). Batches of row numbers: torch.randperm(len(x)).split(64).",
    ],
)
def train_vae(answer, case: Case) -> None:
    """Train a VAE on x [N, D] and return its weights: W1, b1, W2, b2 of the encoder, then those of the decoder."""
    digits = _digits()
    order = case.permutation(64)  # of the pixels: no weights are right for two cases
    beta, epochs = (1.0, 60) if case.index == 0 else (2.0, 20)
    expect_bound(answer, case, digits.train[:, order], digits.test[:, order], LATENTS, epochs, beta)


def expect_bound(
    answer: Any,
    case: Case,
    train: Tensor,
    test: Tensor,
    latents: int,
    epochs: int,
    beta: float,
    bar: float | None = None,
) -> None:
    """What the answer learns from `train` must reach the bar on `test`, in nats above independent pixels."""
    seed = int(torch.randint(2**31, (), generator=case.random))
    base, wanted = reference.baseline(train, test), BARS[beta] if bar is None else bar

    def parts(weights: list[Tensor]) -> tuple[float, float]:
        """Reconstruction and KL in nats, on the digits held back."""
        weights = [w.to(test.dtype) for w in weights]
        return reference.judged(weights, test, torch.Generator().manual_seed(seed))

    def judge(weights: Any) -> str | None:
        if (wrong := _misshapen(weights, train.shape[1], latents)) is not None:
            return wrong
        reconstruction, kl = parts(list(weights))
        lead = reconstruction - beta * kl - base
        if not lead >= wanted:
            return (
                f"reconstruction {reconstruction:.1f}, KL {kl:.1f}: {lead:.1f} nats above independent pixels; "
                f"at least {wanted:g} wanted (beta = {beta:g})"
            )
        return None

    given = {"parts": parts, "base": base, "beta": beta, "test": test}
    weights = answer(train, latents, epochs, beta)
    case.expect_that("bound on digits held back", judge, weights, kind="score", given=given)


@functools.cache
def _digits():
    return binary_digits(seed=0)


def _misshapen(weights: Any, pixels: int, latents: int) -> str | None:
    """What is wrong with the shapes of the eight weights, or None."""
    eight = isinstance(weights, tuple | list) and len(weights) == 8
    if not eight or not all(isinstance(w, Tensor) and w.is_floating_point() for w in weights):
        return f"{describe(weights)}; expected the eight tensors of weights"
    inner, outer = len(weights[0]), len(weights[4])
    wanted = [(inner, pixels), (inner,), (2 * latents, inner), (2 * latents,)]
    wanted += [(outer, latents), (outer,), (pixels, outer), (pixels,)]
    got = [tuple(w.shape) for w in weights]
    for place, (shape, right) in enumerate(zip(got, wanted)):
        if shape != right:
            return f"entry {place} is {list(shape)}; the shape should be {list(right)}"
    if not all(bool(w.isfinite().all()) for w in weights):
        return "the weights contain NaN or infinity"
    return None


def _weights(observations) -> list[Tensor]:
    got = list(observations[0].got)
    if _misshapen(got, 64, LATENTS) is not None:
        raise ValueError("not the weights of a VAE")
    return [w.to(observations[0].given["test"].dtype) for w in got]


def _parts(observations) -> tuple[float, float, float]:
    """Reconstruction above that of independent pixels, KL, and beta."""
    given = observations[0].given
    reconstruction, kl = given["parts"](_weights(observations))
    return reconstruction - given["base"], kl, given["beta"]


def _modules(observations) -> bool:
    """Something came back that is no tensor and no plain value (grading shows an object by its type alone)."""
    got = observations[0].got
    plain = Tensor | Raised | dict | float | int | str | None
    return not all(isinstance(g, plain) for g in (got if isinstance(got, tuple | list) else [got]))


@train_vae.symptom(
    _modules,
    "You returned the networks themselves. Their weights are wanted: [*encoder.parameters(), *decoder.parameters()].",
)
def networks(x, latent_size, epochs, beta):
    return nn.Linear(64, 2 * latent_size), nn.Linear(latent_size, 64)


def _decoder_first(observations) -> bool:
    got = observations[0].got
    return len(got) == 8 and _misshapen([*got[4:], *got[:4]], 64, LATENTS) is None


@train_vae.symptom(
    _decoder_first, "The decoder's weights come first in yours: the encoder's four do."
)
def decoder_first(x, latent_size, epochs, beta):
    weights = reference.fit_vae(x, latent_size, 2, beta)
    return [*weights[4:], *weights[:4]]


def _not_finite(observations) -> bool:
    return not all(bool(w.isfinite().all()) for w in observations[0].got)


@train_vae.symptom(
    _not_finite,
    "The weights ran away to nan. Minimised is MINUS the bound; a loss with the other sign has no lower end.",
)
def ran_away(x, latent_size, epochs, beta):
    return [w * torch.nan for w in reference.fit_vae(x, latent_size, 2, beta)]


def _halves_exchanged(observations) -> bool:
    weights, given = _weights(observations), observations[0].given
    turned = [w.roll(LATENTS, 0) if i in (2, 3) else w for i, w in enumerate(weights)]
    own, other = (r - kl for r, kl in (given["parts"](weights), given["parts"](turned)))
    return other > own + 5


@train_vae.symptom(
    _halves_exchanged,
    "The two halves of what your encoder gives are exchanged: the first k numbers are the mean, the last k log_var.",
)
def halves_exchanged(x, latent_size, epochs, beta):
    weights = reference.fit_vae(x, latent_size, 8, beta)
    return [w.roll(latent_size, 0) if i in (2, 3) else w for i, w in enumerate(weights)]


def _never_drawn(observations) -> bool:
    """Variances of exactly the prior, though the means say something."""
    mean, log_var = reference.encode(_weights(observations), observations[0].given["test"])
    return float(log_var.abs().mean()) < 0.1 and float(mean.var(0).sum()) > 0.4


@train_vae.symptom(
    _never_drawn,
    "Your q has the variance 1 everywhere: the decoder saw no noise of the size sigma. Was it given the mean, not z? "
    "Then only the KL sees log_var, and the KL wants 0.",
)
def never_drawn(x, latent_size, epochs, beta):
    return reference.fit_vae(x, latent_size, 4, beta, noise=0.0)


@train_vae.symptom(
    lambda seen: _parts(seen)[1] > 25,
    "Your KL is far too large: nothing held it back. Is it missing from your loss, or is its sign wrong?",
)
def without_kl(x, latent_size, epochs, beta):
    return reference.fit_vae(x, latent_size, 4, 0.0)


@train_vae.symptom(
    lambda seen: abs(_parts(seen)[0]) < 2 and _parts(seen)[1] < 0.2,
    "The posterior collapsed: the KL is 0, the decoder ignores z. Was the reconstruction averaged over the pixels "
    "(beta = D)? If not: all epochs? the encoder's weights in the optimizer? the rate 5e-3?",
)
def collapsed(x, latent_size, epochs, beta):
    return reference.fit_vae(x, latent_size, 4, 64.0)


def _on_the_right_side(observations) -> float:
    """The share of pixels whose logit has the right sign."""
    weights, x = _weights(observations), observations[0].given["test"]
    logits = reference.decode(weights, reference.encode(weights, x)[0])
    return float(((logits > 0) == (x > 0.5)).float().mean())


def _sigmoid_at_the_end(observations) -> bool:
    """Far too sure of each pixel, and yet mostly on the right side."""
    return _parts(observations)[0] < -30 and _on_the_right_side(observations) > 0.7


@train_vae.symptom(
    _sigmoid_at_the_end,
    "The decoder's numbers are no logits: they lie on the right side, but far too far out. Is there a sigmoid behind "
    "your decoder? elbo wants what the last nn.Linear gives.",
)
def sigmoid_at_the_end(x, latent_size, epochs, beta):
    weights = reference.fit_vae(x, latent_size, 8, beta)
    return [40 * w if i > 5 else w for i, w in enumerate(weights)]


@train_vae.symptom(
    lambda seen: _parts(seen)[0] < -30 and _on_the_right_side(seen) <= 0.7,
    "Far below independent pixels, as if other images had been learned. Is it the argument x that you train on? The "
    "check shuffles its pixels; a notebook's `digits` will not do.",
)
def other_images(x, latent_size, epochs, beta):
    return reference.fit_vae(1 - x, latent_size, 4, beta)


@train_vae.symptom(
    lambda seen: abs(_parts(seen)[0] + 19) < 3 and _parts(seen)[1] < 2,  # 64 log 2 nats are 19 more
    "The weights are about what they were at the start: is backward or step missing, or is the optimizer given others?",
)
def untrained(x, latent_size, epochs, beta):
    return reference.fit_vae(x, latent_size, 0, beta)


def _beta_ignored(observations) -> bool:
    _, kl, beta = _parts(observations)
    return kl > 3.4 if beta > 1 else observations[0].failure() is None


@train_vae.symptom(
    _beta_ignored, "Right at beta = 1, but beta has no effect in yours: pass it on to elbo."
)
def beta_ignored(x, latent_size, epochs, beta):
    return reference.fit_vae(x, latent_size, epochs, 1.0)


@train_vae.symptom(
    lambda seen: _parts(seen)[0] > -10,
    "It learned, but too little. Batches of 64, all rows in each epoch, `epochs` epochs, Adam at 5e-3, zero_grad in "
    "each step, one ReLU in each network?",
)
def too_little(x, latent_size, epochs, beta):
    return reference.fit_vae(x, latent_size, 3, beta)
