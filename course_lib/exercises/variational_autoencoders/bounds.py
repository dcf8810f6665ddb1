"""Unit 07, exercise 4: the evidence lower bound."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.variational_autoencoders import reference
from course_lib.exercises.variational_autoencoders.gaussians import gradient_is_cut, posterior, unit

# 4 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=9,
    reference=reference.elbo,
    uses=("gaussian_kl",),
    hints=[
        "Three results of shape [B]: a sum over the D pixels, a sum over the k latents, and their difference.",
        "log p of a pixel is log p_d where it is 1 and log(1 - p_d) where it is 0. It is never positive.",
        "F.binary_cross_entropy_with_logits(logits, x, reduction='none') is MINUS each pixel's log p.",
    ],
)
def elbo(answer, case: Case) -> None:
    """(reconstruction - beta KL, reconstruction, KL), each [B], from logits and x [B, D], mean and log_var [B, k]."""
    batch, latents = case.size(2, 3), case.size(4, 5)
    pixels = latents + case.size(2, 4)
    x = (case.uniform(batch, pixels) < 0.5).float()
    x[0, 0], x[0, 1] = 0.0, 1.0
    logits, (mean, log_var) = 2 * case.normal(batch, pixels), posterior(case, batch, latents)
    large = 150 + 500 * case.uniform(batch, pixels)  # beyond what exp can hold
    sure = torch.where(x == 1, large, -large)  # right, and wrong in every other pixel
    sure[:, 1::2] = -sure[:, 1::2]
    more = case.uniform(1, low=2.0, high=4.0).item()
    for given, beta, label in (
        (logits, 1.0, "beta = 1"),
        (logits, more, "beta > 1"),
        (sure, 1.0, "logits of 150 and more"),
    ):
        expected = reference.elbo(given, x, mean, log_var, beta)
        case.expect(answer(given, x, mean, log_var, beta), expected, label=label)
        case.observations[-1].given.update(pixels=pixels, latents=latents)
    alone = *(tensor[:1] for tensor in (logits, x, mean, log_var)), more
    case.expect(answer(*alone), reference.elbo(*alone), label="one row")
    for argument in (0, 2, 3):
        case.expect_gradient(
            answer, reference.elbo, logits, x, mean, log_var, wrt=argument, extra=(more,)
        )


def _bound(reconstruction: Tensor, kl: Tensor, beta: float) -> tuple[Tensor, Tensor, Tensor]:
    return reconstruction - beta * kl, reconstruction, kl


def _log_p(logits: Tensor, x: Tensor) -> Tensor:
    """log p of each pixel."""
    return -F.binary_cross_entropy_with_logits(logits, x, reduction="none")


@elbo.mistake(
    "You added the KL. The bound is reconstruction MINUS beta KL; a plus would reward a q far from the prior."
)
def kl_added(logits, x, mean, log_var, beta):
    _, reconstruction, kl = reference.elbo(logits, x, mean, log_var, beta)
    return reconstruction + beta * kl, reconstruction, kl


def _loss_minus_kl(observations) -> bool:
    """The first entry is cross-entropy - beta KL, whatever the sign of the second."""
    seen = [(o.got[0], o.expected) for o in observations[:2]]
    return all(_close(first, bound - 2 * likelihood) for first, (bound, likelihood, _) in seen)


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, 1e-3, 1e-4)


@elbo.symptom(
    _loss_minus_kl,
    "You added -KL to what is already a loss: the cross-entropy is minus the reconstruction. The loss is cross-entropy "
    "PLUS KL, and the bound is its negative.",
)
def minus_kl_in_the_loss(logits, x, mean, log_var, beta):
    _, reconstruction, kl = reference.elbo(logits, x, mean, log_var, beta)
    return -reconstruction - beta * kl, -reconstruction, kl


@elbo.mistake(
    "This is the loss, minus the bound. Return the bound; its reconstruction is a log-likelihood, never positive."
)
def loss_returned(logits, x, mean, log_var, beta):
    _, reconstruction, kl = reference.elbo(logits, x, mean, log_var, beta)
    return beta * kl - reconstruction, -reconstruction, kl


@elbo.mistake("The first entry is the loss: its sign is turned. The other two are right.")
def loss_first(logits, x, mean, log_var, beta):
    bound, *others = reference.elbo(logits, x, mean, log_var, beta)
    return -bound, *others


def _per_pixel(observations) -> bool:
    return all(
        _close(o.got[1].abs() * o.given["pixels"], o.expected[1].abs()) for o in observations[:2]
    )


@elbo.symptom(
    _per_pixel,
    "You averaged over the pixels. An image's log-likelihood is their sum; with a mean over D pixels the KL weighs "
    "D times as much: this is beta = D.",
)
def mean_over_pixels(logits, x, mean, log_var, beta):
    return _bound(_log_p(logits, x).mean(-1), reference.gaussian_kl(mean, log_var), beta)


def _per_latent(observations) -> bool:
    return all(_close(o.got[2] * o.given["latents"], o.expected[2]) for o in observations[:2])


@elbo.symptom(
    _per_latent, "You averaged the KL over the latents: it is the SUM of theirs, as in exercise 2."
)
def mean_over_latents(logits, x, mean, log_var, beta):
    likelihood, kl = _log_p(logits, x).sum(-1), reference.gaussian_kl(mean, log_var)
    return _bound(likelihood, kl / mean.shape[-1], beta)


def _out_of_order(observations) -> bool:
    """The three right results, none twice, in another order."""
    for o in observations[:2]:
        found = [[_close(g, e) for e in o.expected].index(True) for g in o.got]
        if sorted(found) != [0, 1, 2] or found == [0, 1, 2]:
            return False
    return True


@elbo.symptom(_out_of_order, "Right, but in another order: the bound, the reconstruction, the KL.")
def out_of_order(logits, x, mean, log_var, beta):
    bound, likelihood, kl = reference.elbo(logits, x, mean, log_var, beta)
    return likelihood, kl, bound


@elbo.mistake(
    "The KL you return carries beta. beta belongs into the bound alone: the third result is the KL as it is."
)
def kl_with_beta(logits, x, mean, log_var, beta):
    bound, likelihood, kl = reference.elbo(logits, x, mean, log_var, beta)
    return bound, likelihood, beta * kl


@elbo.mistake("Logits and image are exchanged: the function with_logits takes the logits first.")
def exchanged(logits, x, mean, log_var, beta):
    return _bound(_log_p(x, logits).sum(-1), reference.gaussian_kl(mean, log_var), beta)


def _three_numbers(observations) -> bool:
    return all(
        len(o.got) == 3 and any(part.dim() == 0 for part in o.got)
        for o in observations
        if o.kind == "value"
    )


@elbo.symptom(
    _three_numbers,
    "You reduced the batch as well. Each row has values of its own, [B]; a mean is taken in the training loop.",
)
def three_numbers(logits, x, mean, log_var, beta):
    parts = reference.elbo(logits, x, mean, log_var, beta)
    return tuple(part.mean() for part in parts)


@elbo.mistake("beta has no effect in yours: it multiplies the KL in the bound.")
def without_beta(logits, x, mean, log_var, beta):
    return reference.elbo(logits, x, mean, log_var, 1.0)


@elbo.mistake(
    "The sigmoid is taken twice: the function with_logits takes it itself, and wants the logits as they are."
)
def sigmoid_twice(logits, x, mean, log_var, beta):
    kl = reference.gaussian_kl(mean, log_var)
    return _bound(_log_p(logits.sigmoid(), x).sum(-1), kl, beta)


def _log_of_a_logit(observations) -> bool:
    """nan even where the logits are small."""
    return all(bool(o.got[1].isnan().any()) for o in observations[:2])


@elbo.symptom(
    _log_of_a_logit,
    "nan: you took the logarithm of a logit, which may be negative. The probability p_d is its sigmoid.",
)
def log_of_a_logit(logits, x, mean, log_var, beta):
    log_p = x * logits.log() + (1 - x) * (1 - logits).log()
    return _bound(log_p.sum(-1), reference.gaussian_kl(mean, log_var), beta)


def _too_sure(observations) -> bool:
    """Right but where the logits are large."""
    return [o.failure() is None for o in observations[:4]] == [True, True, False, True]


@elbo.symptom(
    _too_sure,
    "Right for small logits. At 150 the sigmoid is 1 to the last digit, and log(1 - 1) is -inf or has been cut off: "
    "compute log p from the logits, by F.logsigmoid or a function named with_logits.",
)
def by_sigmoid(logits, x, mean, log_var, beta):
    p = logits.sigmoid()
    log_p = x * (p + 1e-12).log() + (1 - x) * (1 - p + 1e-12).log()
    return _bound(log_p.sum(-1), reference.gaussian_kl(mean, log_var), beta)


@elbo.symptom(
    gradient_is_cut,
    "The values are right, but a gradient is cut: it has to reach logits, mean and log_var.",
)
def bound_without_gradient(logits, x, mean, log_var, beta):
    return tuple(part.detach() for part in reference.elbo(logits, x, mean, log_var, beta))
