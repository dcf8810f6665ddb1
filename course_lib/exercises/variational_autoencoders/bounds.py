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
    sure = torch.where(x == 1, 150.0, -150.0)  # right and wrong beyond what exp can hold
    sure[:, 1::2] = -sure[:, 1::2]
    more = case.uniform(1, low=2.0, high=4.0).item()
    for given, beta, label in (
        (logits, 1.0, "beta = 1"),
        (logits, more, "beta > 1"),
        (sure, 1.0, "logits of 150"),
    ):
        expected = reference.elbo(given, x, mean, log_var, beta)
        case.expect(answer(given, x, mean, log_var, beta), expected, label=label)
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


@elbo.mistake(
    "You added -KL to what is already a loss: the cross-entropy is minus the reconstruction. The loss is cross-entropy "
    "PLUS KL, and the bound is its negative."
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


@elbo.mistake(
    "You averaged over the pixels. An image's log-likelihood is their sum; with a mean over D pixels the KL weighs "
    "D times as much: this is beta = D."
)
def mean_over_pixels(logits, x, mean, log_var, beta):
    return _bound(_log_p(logits, x).mean(-1), reference.gaussian_kl(mean, log_var), beta)


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
    values = [o for o in observations if o.kind == "value"]
    return [o.failure() is None for o in values] == [True, True, False]


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
