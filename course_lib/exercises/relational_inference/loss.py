"""Unit 09, exercise 7: the loss of neural relational inference."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.relational_inference import reference
from course_lib.exercises.relational_inference.restarts import gradient_is_cut, unit

# 7 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=9,
    reference=reference.nri_loss,
    hints=[
        "Both terms are sums: over bodies, frames and features the one, over edges the other. One value a simulation.",
        "q and log q come from softmax and log_softmax along the LAST axis, that of the types.",
        "The KL is the sum of q (log q - log p) over types and edges; log q from log_softmax, not from the log of q.",
    ],
)
def nri_loss(answer, case: Case) -> None:
    """(NLL + KL, NLL, KL), each [B], from predictions and targets [B, N, F, D], logits [B, E, K] and a prior [K]."""
    batch, bodies, frames, types = (
        case.size(2, 3),
        case.size(3, 4),
        case.size(4, 5),
        case.size(3, 4),
    )
    edges = bodies * (bodies - 1)
    target, logits = case.normal(batch, bodies, frames, 4), 1.5 * case.normal(batch, edges, types)
    predicted, uniform = target + 0.3 * case.normal(*target.shape), torch.full((types,), 1 / types)
    prior = torch.cat([torch.tensor([3.0]), case.uniform(types - 1, low=0.4, high=1.2)])
    prior, (wide, narrow) = prior / prior.sum(), case.uniform(2, low=0.2, high=0.6).tolist()
    for given, label in (
        ((predicted, target, logits, uniform, wide), "a uniform prior"),
        ((predicted, target, logits, prior, narrow / 10), "a sparse prior"),
        ((predicted, target, 150 * logits, prior, wide), "logits of hundreds"),
        ((predicted[:1], target[:1], logits[:1], prior, wide), "one simulation"),
    ):
        case.expect(answer(*given), reference.nri_loss(*given), label=label)
    given = predicted, target, logits, prior
    sure = (*(t.double() for t in (predicted, target, 150 * logits, prior)),)
    for argument, tensors in ((0, given), (2, given), (2, sure)):
        case.expect_gradient(answer, reference.nri_loss, *tensors, wrt=argument, extra=(wide,))


def _nll(predicted: Tensor, target: Tensor, variance: float) -> Tensor:
    return ((predicted - target) ** 2).sum((1, 2, 3)) / (2 * variance)


def _kl(logits: Tensor, prior: Tensor, dim: int = -1) -> Tensor:
    q, log_q = logits.softmax(dim), logits.log_softmax(dim)
    return (q * (log_q - prior.log())).sum((1, 2))


def _both(nll: Tensor, kl: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return nll + kl, nll, kl


@nri_loss.mistake(
    "The softmax runs over the edges. Each edge has a distribution of its own over the TYPES, the last axis."
)
def over_edges(predicted, target, logits, prior, variance):
    return _both(_nll(predicted, target, variance), _kl(logits, prior, 1))


@nri_loss.mistake(
    "You subtracted the KL. That rewards a q far from the prior; minus belongs to the bound, NLL + KL is its negative."
)
def kl_subtracted(predicted, target, logits, prior, variance):
    nll, kl = _nll(predicted, target, variance), _kl(logits, prior)
    return nll - kl, nll, kl


@nri_loss.mistake(
    "The sign of your KL is turned: q (log q - log p), never negative, and added to the NLL."
)
def kl_negative(predicted, target, logits, prior, variance):
    return _both(_nll(predicted, target, variance), -_kl(logits, prior))


def _entropy(logits: Tensor) -> Tensor:
    return -(logits.softmax(-1) * logits.log_softmax(-1)).sum((1, 2))


@nri_loss.mistake(
    "You added the entropy H of q to the loss, which punishes doubt. With a uniform prior the KL is log K - H for each "
    "edge: the entropy comes in with a minus."
)
def entropy_added(predicted, target, logits, prior, variance):
    return _both(_nll(predicted, target, variance), _entropy(logits))


@nri_loss.mistake(
    "NLL and KL are right, but your loss is NLL plus the ENTROPY of q, which punishes doubt. It is NLL + KL, where the "
    "entropy comes in with a minus."
)
def entropy_in_the_loss(predicted, target, logits, prior, variance):
    nll = _nll(predicted, target, variance)
    return nll + _entropy(logits), nll, _kl(logits, prior)


@nri_loss.mistake(
    "The KL is turned round, from p to q: each term is weighed by q, q (log q - log p)."
)
def from_prior(predicted, target, logits, prior, variance):
    kl = (prior * (prior.log() - logits.log_softmax(-1))).sum((1, 2))
    return _both(_nll(predicted, target, variance), kl)


@nri_loss.mistake(
    "The KL is a mean over edges, the squared error a sum: that weighs the KL by 1 / E. Sum over the edges."
)
def mean_over_edges(predicted, target, logits, prior, variance):
    return _both(_nll(predicted, target, variance), _kl(logits, prior) / logits.shape[1])


@nri_loss.mistake(
    "You took off the entropy and left the prior out: the KL is the sum of q log q MINUS the sum of q log p."
)
def without_prior(predicted, target, logits, prior, variance):
    return _both(_nll(predicted, target, variance), -_entropy(logits))


@nri_loss.mistake(
    "Your prior is uniform, whatever is given: log p is prior.log(), a number a type."
)
def uniform_prior(predicted, target, logits, prior, variance):
    even = torch.full_like(prior, 1 / len(prior))
    return _both(_nll(predicted, target, variance), _kl(logits, even))


@nri_loss.mistake(
    "sigma^2 is forgotten: the squared error is divided by 2 variance. Without it the KL outweighs any fit."
)
def without_variance(predicted, target, logits, prior, variance):
    return _both(_nll(predicted, target, 0.5), _kl(logits, prior))


@nri_loss.mistake(
    "sigma^2 is forgotten, the 2 is there: the squared error is divided by 2 variance."
)
def halved_alone(predicted, target, logits, prior, variance):
    return _both(_nll(predicted, target, 1.0), _kl(logits, prior))


@nri_loss.mistake(
    "/ 2 * variance divides by 2 and MULTIPLIES by the variance: write / (2 * variance)."
)
def multiplied(predicted, target, logits, prior, variance):
    return _both(_nll(predicted, target, 1 / variance), _kl(logits, prior))


@nri_loss.mistake("The 2 is forgotten: the squared error is divided by 2 variance.")
def two_forgotten(predicted, target, logits, prior, variance):
    return _both(_nll(predicted, target, variance / 2), _kl(logits, prior))


@nri_loss.mistake("You squared the variance: sigma^2 is what you are given, not sigma.")
def variance_squared(predicted, target, logits, prior, variance):
    return _both(_nll(predicted, target, variance**2), _kl(logits, prior))


@nri_loss.mistake(
    "The squared error is a mean, the KL a sum: that weighs the KL by the number of coordinates. Sum over bodies, "
    "frames and features."
)
def mean_error(predicted, target, logits, prior, variance):
    nll = _nll(predicted, target, variance) / predicted[0].numel()
    return _both(nll, _kl(logits, prior))


def _reduced(observations) -> bool:
    return all(
        len(o.got) == 3 and any(part.dim() == 0 for part in o.got)
        for o in observations
        if o.kind == "value"
    )


@nri_loss.symptom(
    _reduced,
    "You reduced the batch as well. Each simulation has values of its own, [B]; the mean is taken in training.",
)
def reduced(predicted, target, logits, prior, variance):
    return tuple(
        part.mean() for part in reference.nri_loss(predicted, target, logits, prior, variance)
    )


def _too_sure(observations) -> bool:
    """Right but where logits are large."""
    uniform, sparse, sure, _ = (o for o in observations if o.kind == "value")
    return uniform.failure() is None is sparse.failure() and sure.failure() is not None


@nri_loss.symptom(
    _too_sure,
    "Right for small logits. At some hundreds q is exactly 0 for some type, and 0 times log 0 is nan: take log q from "
    "log_softmax.",
)
def log_of_softmax(predicted, target, logits, prior, variance):
    q = logits.softmax(-1)
    kl = (q * (q.log() - prior.log())).sum((1, 2))
    return _both(_nll(predicted, target, variance), kl)


@nri_loss.symptom(
    gradient_is_cut(),
    "The values are right, but a gradient is cut: it has to reach predicted and logits.",
)
def cut_loss(predicted, target, logits, prior, variance):
    return reference.nri_loss(predicted, target, logits.detach(), prior, variance)
