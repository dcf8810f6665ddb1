"""Unit 07's mistakes in other clothes than their examples', and what is wrong in one respect."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.exercises.variational_autoencoders import reference, unit
from tests.exercises.failures import failures


def named(name, answer) -> str:
    """The named mistake of the verdict; "" if there is none."""
    said = " ".join("\n".join(unit.verdict(name, answer).lines).split())
    return said.partition("mistake ")[2]


def test_the_mistakes_are_not_too_many_to_be_graded():
    assert sum(len(e.mistakes) for e in unit.exercises.values()) <= 75


# 1 to 3 -------------------------------------------------------------------------------------------


def test_components_written_by_columns_or_left_as_codes_are_named():
    def turned(train, test, k):
        mean = train.mean(0)
        _, _, found = torch.linalg.svd(train - mean)
        return mean + (test - mean) @ found[:, :k] @ found[:, :k].T

    def codes(train, test, k):
        mean = train.mean(0)
        return (test - mean) @ -torch.linalg.svd(train - mean).Vh[:k].T

    assert "transposed already" in named("pca_reconstruct", turned)
    assert "These are the codes" in named("pca_reconstruct", codes)


KL_FORMS = [
    (lambda m, v: 0.5 * (1 + v - m**2 - v.exp()).sum(-1), "The sign is turned"),
    (lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v).mean(1), "mean over the k latents"),
    (lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v).mean(), "You reduced the batch"),
    (lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v).sum(1).mean(), "You reduced the batch"),
    (lambda m, v: (m**2 + v.exp() - 1 - v).sum(-1), "1/2 is missing"),
    (lambda m, v: 0.5 * (m**2 + v**2 - 1 - 2 * v.log()).sum(-1), "nan"),
    (lambda m, v: 0.5 * (m**2 + v**2 - 1 - 2 * v.abs().log()).sum(-1), "log_var for sigma"),
    (lambda m, v: 0.5 * (m**2 + v - 1 - v.log()).sum(-1), "nan"),
    (lambda m, v: 0.5 * (m**2 + v.exp().sqrt() - 1 - v).sum(-1), "which is sigma"),
    (lambda m, v: 0.5 * (m**2 + v.exp() ** 2 - 1 - 2 * v).sum(-1), "log_var for log sigma"),
    (lambda m, v: 0.5 * (v + ((1 + m**2) * (-v).exp()) - 1).sum(-1), "other way round"),
    (
        lambda m, v: 0.5 * (m**2 + v.detach().exp() - 1 - v).sum(-1),
        "a gradient is cut",
    ),
]


@pytest.mark.parametrize(("answer", "words"), KL_FORMS)
def test_forms_of_a_wrong_kl_are_named(answer, words):
    assert words in named("gaussian_kl", answer)


DRAW_FORMS = [
    (lambda m, v, e: m + v.exp() * e, "scaled by the variance"),
    (lambda m, v, e: e * v + m, "log_var for sigma"),
    (lambda m, v, e: m + v.sqrt() * e, "nan"),
    (lambda m, v, e: m + 0 * e, "Nothing is drawn"),
    (lambda m, v, e: torch.normal(m.expand_as(e), (v / 2).exp().expand_as(e)), "noise of your own"),
    (lambda m, v, e: m + torch.randn_like(e) * (v / 2).exp(), "noise of your own"),
    (lambda m, v, e: m.detach() + (v / 2).exp() * e, "a gradient is cut"),
    (lambda m, v, e: m + (v / 2).exp().detach() * e, "a gradient is cut"),
]


@pytest.mark.parametrize(("answer", "words"), DRAW_FORMS)
def test_forms_of_a_wrong_draw_are_named(answer, words):
    assert words in named("reparameterise", answer)


# 4 and 6 ------------------------------------------------------------------------------------------


def cross_entropy(logits, x):
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none")


def bound(entropy=lambda a, x: cross_entropy(a, x).sum(1), combine=None):
    """An ELBO whose cross-entropy or whose three results are of another kind."""
    combine = combine or (lambda r, kl, beta: (r - beta * kl, r, kl))

    def answer(logits, x, mean, log_var, beta):
        return combine(-entropy(logits, x), reference.gaussian_kl(mean, log_var), beta)

    return answer


ELBO_FORMS = [
    (bound(combine=lambda r, kl, b: (r + b * kl, r, kl)), "You added the KL"),
    (bound(combine=lambda r, kl, b: (-r - b * kl, -r, kl)), "You added -KL"),
    (bound(combine=lambda r, kl, b: (-r + b * kl, -r, kl)), "This is the loss"),
    (bound(combine=lambda r, kl, b: (-(r - b * kl), r, kl)), "The first entry is the loss"),
    (bound(combine=lambda r, kl, b: (r - kl, r, kl)), "beta has no effect"),
    (bound(lambda a, x: cross_entropy(a, x).mean(1)), "this is beta = D"),
    (bound(combine=lambda r, kl, b: ((r - b * kl).mean(), r.mean(), kl.mean())), "You reduced"),
    (bound(lambda a, x: F.binary_cross_entropy_with_logits(a, x)), "You reduced"),
    (bound(lambda a, x: cross_entropy(a.sigmoid(), x).sum(1)), "sigmoid is taken twice"),
    (
        bound(lambda a, x: F.binary_cross_entropy(a.sigmoid(), x, reduction="none").sum(1)),
        "Right for small logits",
    ),
    (bound(lambda a, x: cross_entropy(a.detach(), x).sum(1)), "a gradient is cut"),
]


@pytest.mark.parametrize(("answer", "words"), ELBO_FORMS)
def test_forms_of_a_wrong_bound_are_named(answer, words):
    assert words in named("elbo", answer)


def weighted(average, prior=1.0, q=-1.0, cut=()):
    """An importance-weighted bound: how the logarithms are averaged, and with which signs they are added."""

    def answer(*given):
        given = [g.detach() if i in cut else g for i, g in enumerate(given)]
        likelihood, z, mean, log_var = given
        constant = math.log(2 * math.pi)
        log_prior = -0.5 * (z**2 + constant).sum(-1)
        log_q = -0.5 * ((z - mean) ** 2 / log_var.exp() + log_var + constant).sum(-1)
        return average(likelihood + prior * log_prior + q * log_q)

    return answer


def safe(weights):
    return weights.logsumexp(0) - math.log(len(weights))


IWAE_FORMS = [
    (weighted(lambda w: w.mean(0)), "that is the ELBO"),
    (weighted(lambda w: w.logsumexp(0)), "log K is missing"),
    (weighted(lambda w: w.exp().sum(0).log() - math.log(len(w))), "Right for small images"),
    (weighted(lambda w: w.logsumexp(1) - math.log(w.shape[1])), "You averaged over the batch"),
    (weighted(safe, cut=(0,)), "a gradient is cut"),
    (weighted(safe, cut=(1,)), "a gradient is cut"),
    (weighted(safe, cut=(2,)), "a gradient is cut"),
    (weighted(safe, cut=(3,)), "a gradient is cut"),
]


@pytest.mark.parametrize(("answer", "words"), IWAE_FORMS)
def test_forms_of_a_wrong_tighter_bound_are_named(answer, words):
    assert words in named("iwae_bound", answer)


def test_with_both_constants_the_bound_is_right():
    assert unit.verdict("iwae_bound", weighted(safe)).status == "passed"


# 5 ------------------------------------------------------------------------------------------------


def test_networks_in_a_list_or_alone_are_named():
    def both(x, latent_size, epochs, beta):
        return [nn.Linear(2, 2), nn.Linear(2, 2)]

    def alone(x, latent_size, epochs, beta):
        return nn.Linear(2, 2)

    for answer in (both, alone):
        assert "the networks themselves" in named("train_vae", answer)


@pytest.mark.parametrize("change", [lambda w: w[:4], lambda w: [w[0].T, *w[1:]], lambda w: w[0]])
def test_what_is_no_list_of_weights_fails_in_words(change):
    def answer(x, latent_size, epochs, beta):
        return change(reference.fit_vae(x, latent_size, 1, beta))

    verdict = unit.verdict("train_vae", answer)
    assert verdict.status == "failed" and "cannot be judged" not in "".join(verdict.lines)


def test_weights_learned_on_one_batch_alone_do_not_pass():
    def answer(x, latent_size, epochs, beta):
        return reference.fit_vae(x[:64], latent_size, epochs, beta)

    assert failures(unit.find("train_vae"), answer)


# 7 and 8 ------------------------------------------------------------------------------------------


def gumbel(noise, hard_of=None):
    """A relaxed draw with another noise, or another way to the one-hot vector."""

    def straight(soft):
        return F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype) + soft - soft.detach()

    def answer(logits, uniform, tau, hard):
        soft = ((logits + noise(uniform)) / tau).softmax(-1)
        return (hard_of or straight)(soft) if hard else soft

    return answer


def right(uniform):
    return -(-uniform.log()).log()


GUMBEL_FORMS = [
    (gumbel(lambda u: 0.0), "the noise is missing"),
    (gumbel(lambda u: (-u.log()).log()), "wrong sign"),
    (gumbel(lambda u: -u.log()), "One logarithm is missing"),
    (gumbel(lambda u: -u.log().log()), "The inner minus sign"),
    (gumbel(right, lambda s: (s == s.amax(-1, keepdim=True)).float()), "does not hand back"),
    (gumbel(right, lambda s: s.argmax(-1)), "numbers of the categories"),
    (gumbel(right, lambda s: s), "`hard` has no effect"),
]


@pytest.mark.parametrize(("answer", "words"), GUMBEL_FORMS)
def test_forms_of_a_wrong_relaxed_draw_are_named(answer, words):
    assert words in named("gumbel_softmax", answer)


ACTIVE_FORMS = [
    (lambda m, t: m.std(0) > t, "standard deviation"),
    (lambda m, t: (m**2).mean(0) > t, "average is not taken off"),
    (lambda m, t: m.var(0) < t, "other way round"),
    (lambda m, t: int((m.var(0) > t).sum()), "one number for all units"),
    (lambda m, t: m.var(-1) > t, "one value an image"),
]


@pytest.mark.parametrize(("answer", "words"), ACTIVE_FORMS)
def test_forms_of_wrong_activity_are_named(answer, words):
    assert words in named("active_units", answer)
