"""Unit 07's mistakes in other clothes than their examples', and what is wrong in one respect."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from course_lib.exercises.variational_autoencoders import reference, unit


def named(name, answer) -> str:
    """The named mistake of the verdict; "" if there is none."""
    said = " ".join("\n".join(unit.verdict(name, answer).lines).split())
    return said.partition("mistake ")[2]


def is_named(name, answer, words) -> bool:
    """Whether the verdict names a mistake in these words; no words: none of the names would be true."""
    said = named(name, answer)
    return words in said if words else said == ""


def test_the_mistakes_are_not_too_many_to_be_graded():
    assert sum(len(e.mistakes) for e in unit.exercises.values()) <= 96


# 1 to 3 -------------------------------------------------------------------------------------------


def components(centre, directions, back):
    """Through k directions: what is taken off test, how directions come of train, what is given back."""

    def answer(train, test, k):
        mean = train.mean(0)
        span = directions(train - mean, k)  # [k, D]
        return (test - centre(mean, test)) @ span.T @ span + back(mean, test)

    return answer


def first(rows, k):
    return torch.linalg.svd(rows, full_matrices=False).Vh[:k]


def its_mean(mean, test):
    return mean


PCA_FORMS = [
    (components(its_mean, lambda r, k: torch.linalg.svd(r)[2][:, :k].T, its_mean), "rows"),
    (
        components(
            its_mean, lambda r, k: torch.linalg.svd(r, full_matrices=False)[2][:, :k].T, its_mean
        ),
        "transposed already",
    ),
    (components(lambda m, test: 0.0, first, its_mean), "not taken off test"),
    (components(its_mean, first, lambda m, test: 0.0), "not given back"),
    (components(lambda m, test: test.mean(0), first, lambda m, test: test.mean(0)), "own mean"),
    (components(its_mean, lambda r, k: first(r, len(r)), its_mean), "nothing is lost"),
    (lambda train, test, k: (test - train.mean(0)) @ -first(train - train.mean(0), k).T, "codes"),
]


@pytest.mark.parametrize(("answer", "words"), PCA_FORMS)
def test_forms_of_wrong_components_are_named(answer, words):
    assert is_named("pca_reconstruct", answer, words)


KL_FORMS = [
    (lambda m, v: 0.5 * (m**2 + v.exp() - v).sum(-1), "there is a -1 in the sum for EACH"),
    (lambda m, v: 0.5 * ((m**2 + v.exp() - v).sum(-1) - 1), "there is a -1 in the sum for EACH"),
    (lambda m, v: 0.5 * (m**2 + v.exp() - 1 + v).sum(-1), "The sign of log sigma^2"),
    (lambda m, v: 0.5 * (m**2 + (v / 2).exp() - 1 - v / 2).sum(-1), "sigma and log sigma"),
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
    assert is_named("gaussian_kl", answer, words)


DRAW_FORMS = [
    (lambda m, v, e: (m + e) * (v / 2).exp(), "The mean is multiplied"),
    (lambda m, v, e: v.exp().sqrt() * e, "The mean is missing"),
    (lambda m, v, e: m + 0.5 * v.exp() * e, "You halved after exp"),
    (lambda m, v, e: m * (v / 2).exp() + e, ""),
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
    assert is_named("reparameterise", answer, words)


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
    (bound(combine=lambda r, kl, b: (-r - b * kl, r, kl)), "You added -KL"),
    (bound(combine=lambda r, kl, b: (r - b * kl, r, b * kl)), "carries beta"),
    (bound(combine=lambda r, kl, b: (r, r - b * kl, kl)), "another order"),
    (bound(lambda a, x: cross_entropy(x, a).sum(1)), "exchanged"),
    (bound(lambda a, x: (a.exp() + 1).log().sum(1) - (x * a).sum(1)), "Right for small logits"),
    (bound(lambda a, x: cross_entropy(a.clamp(-150, 150), x).sum(1)), "Right for small logits"),
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
    assert is_named("elbo", answer, words)


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


def no_row_of_its_own(weights):
    """The largest of all rows is taken out, where each row has a largest of its own."""
    return (weights - weights.max()).exp().mean(0).log() + weights.max()


def closed_form(likelihood, z, mean, log_var):
    return safe(likelihood) - 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)


def half_a_constant(likelihood, z, mean, log_var):
    log_q = -0.5 * ((z - mean) ** 2 / log_var.exp() + log_var + math.log(2 * math.pi))
    return safe(likelihood - 0.5 * (z**2).sum(-1) - log_q.sum(-1))


def loose_brackets(likelihood, z, mean, log_var):
    log_q = -((z - mean) ** 2) / 2 * log_var.exp() - log_var / 2
    return safe(likelihood - 0.5 * (z**2).sum(-1) - log_q.sum(-1))


IWAE_FORMS = [
    (weighted(no_row_of_its_own), "Right while all weights are moderate"),
    (closed_form, "the KL in closed form"),
    (half_a_constant, "Yours has it once"),
    (loose_brackets, "in brackets"),
    (weighted(lambda w: w.mean(0)), "that is the ELBO"),
    (weighted(lambda w: w.logsumexp(0)), "log K is missing"),
    (
        weighted(lambda w: w.exp().sum(0).log() - math.log(len(w))),
        "Right while all weights are moderate",
    ),
    (weighted(lambda w: w.logsumexp(1) - math.log(w.shape[1])), "You averaged over the batch"),
    *((weighted(safe, cut=(i,)), "a gradient is cut") for i in range(4)),
]


@pytest.mark.parametrize(("answer", "words"), IWAE_FORMS)
def test_forms_of_a_wrong_tighter_bound_are_named(answer, words):
    assert is_named("iwae_bound", answer, words)


def test_with_both_constants_the_bound_is_right():
    assert unit.verdict("iwae_bound", weighted(safe)).status == "passed"


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


def relaxed(soft_of):
    """A relaxed draw whose soft value is made otherwise."""

    def answer(logits, uniform, tau, hard):
        soft = soft_of(logits, right(uniform), tau)
        return F.one_hot(soft.argmax(-1), soft.shape[-1]) + soft - soft.detach() if hard else soft

    return answer


GUMBEL_FORMS = [
    (relaxed(lambda a, g, tau: (a + g / tau).softmax(-1)), "Only the noise is divided"),
    (relaxed(lambda a, g, tau: (a / tau + g).softmax(-1)), "Only the logits are divided"),
    (relaxed(lambda a, g, tau: ((a + g) / tau).softmax(1)), "wrong axis"),
    (relaxed(lambda a, g, tau: ((a + g) / tau).softmax(0)), "wrong axis"),
    (relaxed(lambda a, g, tau: ((a.detach() + g) / tau).softmax(-1)), "no gradient reaches"),
    (gumbel(lambda u: torch.randn_like(u)), "noise of your own"),
    (gumbel(lambda u: right(torch.rand(u.shape))), "noise of your own"),
    (gumbel(right, lambda s: (s > 0.5).float() + s - s.detach()), "You rounded"),
    (gumbel(right, lambda s: F.one_hot(s.argmax(-1), s.shape[-1]) + s), "not taken off again"),
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
    assert is_named("gumbel_softmax", answer, words)


ACTIVE_FORMS = [
    (lambda m, t: (m - m.mean(0)).abs().mean(0) > t, ""),
    (lambda m, t: m > t, ""),
    (lambda m, t: m.std(0) > t, "standard deviation"),
    (lambda m, t: (m**2).mean(0) > t, "average is not taken off"),
    (lambda m, t: m.var(0) < t, "other way round"),
    (lambda m, t: int((m.var(0) > t).sum()), "one number for all units"),
    (lambda m, t: m.var(-1) > t, "one value an image"),
]


@pytest.mark.parametrize(("answer", "words"), ACTIVE_FORMS)
def test_forms_of_wrong_activity_are_named(answer, words):
    assert is_named("active_units", answer, words)
