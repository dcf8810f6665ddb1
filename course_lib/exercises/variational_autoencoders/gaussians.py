"""Unit 07, exercises 2 and 3: the KL of a Gaussian in closed form, and a draw that lets gradients through."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.variational_autoencoders import reference
from course_lib.exercises.variational_autoencoders.components import unit


def gradient_is_cut(observations) -> bool:
    """All values are right, and a gradient is wrong without being nan: some argument was cut out of the graph."""
    gradients = [o for o in observations if o.kind == "gradient"]
    return (
        all(o.failure() is None for o in observations if o.kind == "value")
        and any(o.failure() is not None for o in gradients)
        and not any(isinstance(o.got, Raised) for o in gradients)
        and not any(g.isnan().any() for o in gradients for g in o.got if g is not None)
    )


def not_a_number(observations) -> bool:
    """Some value holds nan where the right one holds none."""
    return any(o.kind == "value" and bool(_tensor(o.got).isnan().any()) for o in observations)


def _tensor(got) -> Tensor:
    if not isinstance(got, Tensor):
        raise ValueError("not a tensor")
    return got


def posterior(case: Case, batch: int, latents: int) -> tuple[Tensor, Tensor]:
    """mean and log_var, each [B, k]; the variances lie between 0.1 and 5, apart from 1."""
    side = torch.where(case.uniform(batch, latents) < 0.5, -1.0, 1.0)
    side[0, 0], side[0, 1] = -1.0, 1.0
    log_var = side * case.uniform(batch, latents, low=0.3, high=1.6) - 0.2
    return 1.5 * case.normal(batch, latents), log_var


# 2 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.gaussian_kl,
    hints=[
        "The formula has sigma^2 in two places. What is sigma^2, and what is log sigma^2, in terms of log_var?",
        "A row of the batch gets one number: sum over the latents, the last axis.",
        "sigma^2 is log_var.exp(), and log sigma^2 is log_var itself.",
    ],
)
def gaussian_kl(answer, case: Case) -> None:
    """KL(N(mean, sigma^2) || N(0, I)), summed over latents: mean and log_var = log sigma^2, [B, k] -> [B]."""
    batch = case.size(2, 4)
    latents = batch + case.size(1, 3)
    for factor, label in ((1.0, "ordinary"), (3.0, "narrow and wide")):
        mean, log_var = posterior(case, batch, latents)
        given = mean, factor * log_var
        case.expect(answer(*given), reference.gaussian_kl(*given), label=label)
    alone = tuple(tensor[:1] for tensor in given)
    case.expect(answer(*alone), reference.gaussian_kl(*alone), label="one row")
    for argument in (0, 1):
        case.expect_gradient(answer, reference.gaussian_kl, mean, log_var, wrt=argument)


def _terms(mean, var, log_of_var):
    return (mean**2 + var - 1 - log_of_var) / 2


@gaussian_kl.mistake(
    "The sign is turned: this is minus the KL. A KL is never negative; the bound subtracts it, later."
)
def negative(mean, log_var):
    return -reference.gaussian_kl(mean, log_var)


@gaussian_kl.mistake(
    "You took the mean over the k latents. The KL of independent latents is the SUM of theirs."
)
def mean_over_latents(mean, log_var):
    return _terms(mean, log_var.exp(), log_var).mean(-1)


def _one_number(observations) -> bool:
    return all(o.got.dim() == 0 for o in observations if o.kind == "value")


@gaussian_kl.symptom(
    _one_number,
    "You reduced the batch as well. Each row has a KL of its own: sum the last axis alone.",
)
def one_number(mean, log_var):
    return _terms(mean, log_var.exp(), log_var).sum()


@gaussian_kl.mistake(
    "This is the KL the other way round, of N(0, I) to q. The one that is wanted takes its mean under q."
)
def reversed_kl(mean, log_var):
    return (((1 + mean**2) / log_var.exp() - 1 + log_var) / 2).sum(-1)


@gaussian_kl.mistake(
    "The sign of log sigma^2 is turned: the formula subtracts it, so that a narrow q costs much."
)
def logarithm_added(mean, log_var):
    return _terms(mean, log_var.exp(), -log_var).sum(-1)


def _off_by_a_constant(observations) -> bool:
    """The same number too much or too little in every row of every call: k is the same in all."""
    gaps = torch.cat([o.got - o.expected for o in observations if o.kind == "value"])
    return bool((gaps - gaps[0]).abs().max() < 1e-2) and abs(float(gaps[0])) > 0.1


@gaussian_kl.symptom(
    _off_by_a_constant,
    "Yours differs from the KL by one number, whatever is given: there is a -1 in the sum for EACH latent. Where q is "
    "the prior the KL is 0.",
)
def without_ones(mean, log_var):
    return (mean**2 + log_var.exp() - log_var).sum(-1) / 2


@gaussian_kl.mistake("The factor 1/2 is missing: yours is twice the KL.")
def not_halved(mean, log_var):
    return 2 * reference.gaussian_kl(mean, log_var)


@gaussian_kl.mistake(
    "Your variance is exp(log_var / 2), which is sigma. The formula has sigma^2: exp(log_var)."
)
def sigma_for_variance(mean, log_var):
    return _terms(mean, (log_var / 2).exp(), log_var).sum(-1)


@gaussian_kl.mistake(
    "You took sigma and log sigma where the formula has sigma^2 and log sigma^2. These are exp(log_var) and log_var "
    "itself."
)
def sigma_throughout(mean, log_var):
    return _terms(mean, (log_var / 2).exp(), log_var / 2).sum(-1)


@gaussian_kl.mistake(
    "You took log_var for log sigma and doubled it. It is the logarithm of the variance already."
)
def log_sigma(mean, log_var):
    return _terms(mean, (2 * log_var).exp(), 2 * log_var).sum(-1)


@gaussian_kl.mistake(
    "You took log_var for sigma: its square is no variance. sigma^2 is exp(log_var)."
)
def as_sigma(mean, log_var):
    return _terms(mean, log_var**2, (log_var**2).log()).sum(-1)


@gaussian_kl.symptom(
    not_a_number,
    "nan comes from the logarithm or the root of a negative number: log_var may be negative, it is a logarithm itself.",
)
def log_of_log(mean, log_var):
    return _terms(mean, log_var, log_var.log()).sum(-1)


@gaussian_kl.symptom(
    gradient_is_cut,
    "The KL is right, but a gradient is cut: was there no_grad, .data, .detach() or numpy on the way?",
)
def kl_without_gradient(mean, log_var):
    return reference.gaussian_kl(mean, log_var).detach()


# 3 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=6,
    reference=reference.reparameterise,
    hints=[
        "A standard normal number times sigma plus the mean is a draw from N(mean, sigma^2).",
        "sigma is the root of the variance; the root of exp(a) is exp(a / 2).",
    ],
)
def reparameterise(answer, case: Case) -> None:
    """A draw z from N(mean, exp(log_var)), made from standard normal noise: [B, k], or [S, B, k] for S draws."""
    batch, latents, draws = case.size(2, 4), case.size(3, 5), case.size(2, 3)
    mean, log_var = posterior(case, batch, latents)
    for shape in ((batch, latents), (draws, batch, latents)):
        noise = case.normal(*shape)
        expected = reference.reparameterise(mean, log_var, noise)
        label = "one draw a row" if len(shape) == 2 else "S draws a row"
        case.expect(answer(mean, log_var, noise), expected, label=label)
    alike = [tensor[:1].repeat(batch, 1) for tensor in (mean, log_var)]
    case.expect(answer(*alike, torch.zeros(batch, latents)), alike[0], label="noise of zeros")
    alone = mean[:1], log_var[:1], case.normal(1, latents)
    case.expect(answer(*alone), reference.reparameterise(*alone), label="one row")
    for argument in (0, 1):
        case.expect_gradient(answer, reference.reparameterise, mean, log_var, noise, wrt=argument)


@reparameterise.mistake(
    "You scaled by the variance: z has the standard deviation sigma^2. The noise is multiplied by sigma."
)
def variance_for_sigma(mean, log_var, noise):
    return mean + log_var.exp() * noise


@reparameterise.mistake("You took log_var for sigma. sigma is exp(log_var / 2), positive always.")
def log_var_for_sigma(mean, log_var, noise):
    return mean + log_var * noise


@reparameterise.mistake(
    "You halved after exp: sigma is the root of exp(log_var), which is exp(log_var / 2)."
)
def halved_too_late(mean, log_var, noise):
    return mean + log_var.exp() / 2 * noise


@reparameterise.mistake("The mean is missing: the draws lie around 0.")
def mean_missing(mean, log_var, noise):
    return (log_var / 2).exp() * noise


@reparameterise.mistake("The mean is multiplied by sigma as well: only the noise is.")
def mean_scaled(mean, log_var, noise):
    return (mean + noise) * (log_var / 2).exp()


@reparameterise.mistake("sigma is missing: the noise comes in with the standard deviation 1.")
def without_sigma(mean, log_var, noise):
    return mean + noise


@reparameterise.mistake(
    "Nothing is drawn: this is the mean itself. The decoder then never learns what noise does to its input."
)
def no_noise(mean, log_var, noise):
    return mean.expand_as(noise)


@reparameterise.symptom(
    not_a_number,
    "nan comes from the root of a negative number: log_var is a logarithm. Take exp of it first, or exp of its half.",
)
def root_of_log(mean, log_var, noise):
    return mean + log_var.sqrt() * noise


def _rows_differ(observations) -> bool:
    """Rows of equal mean, log_var and noise come out unequal."""
    got = _tensor(observations[2].got)
    return float((got - got[:1]).abs().max()) > 1e-3


@reparameterise.symptom(
    _rows_differ,
    "You drew noise of your own: rows of equal mean, variance and noise differ in yours. Use the noise that is given.",
)
def own_noise(mean, log_var, noise):
    return reference.reparameterise(mean, log_var, torch.randn_like(noise))


@reparameterise.symptom(
    gradient_is_cut,
    "The draw is right, but a gradient is cut: the whole point is that it reaches mean and log_var. No no_grad, no "
    ".detach(), and no torch.normal.",
)
def draw_without_gradient(mean, log_var, noise):
    return reference.reparameterise(mean, log_var.detach(), noise)
