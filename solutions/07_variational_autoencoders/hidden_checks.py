"""Edge cases of unit 07 that only grading runs. The students' distribution does not contain this file."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.variational_autoencoders import reference, unit
from course_lib.exercises.variational_autoencoders.training import expect_bound
from course_lib.latent.binary_digits import binary_digits

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # what is given in float64 comes back in float64


@unit.find("pca_reconstruct").hidden_check
def one_component_and_all(answer, case: Case) -> None:
    """k = 1; k = D, where nothing is lost; one row to reconstruct; and float64."""
    pixels = case.size(3, 5)
    scale = 5 * 0.4 ** torch.arange(pixels)
    train = case.normal(4 * pixels, pixels) * scale + 3
    test = case.normal(1, pixels) - 1
    got = answer(train, test, 1)
    case.expect(got, reference.pca_reconstruct(train, test, 1), "k = 1", 1e-3, 1e-3)
    case.expect(answer(train, test, pixels), test, "k = D", 1e-3, 1e-3)
    given = train.double(), case.normal(3, pixels).double() / 3, 2
    case.expect(answer(*given), reference.pca_reconstruct(*given), "float64", **EXACT)


@unit.find("gaussian_kl").hidden_check
def the_prior_itself_and_far_away(answer, case: Case) -> None:
    """q = p, where the KL is 0; one latent; narrow to e^-20 and wide; float64; B = k."""
    batch = case.size(3, 5)
    zero = torch.zeros(batch, 4)
    case.expect(answer(zero, zero), torch.zeros(batch), "q = p")
    mean, log_var = case.normal(batch, 1), torch.full((batch, 1), -20.0)
    case.expect(answer(mean, log_var), reference.gaussian_kl(mean, log_var), "a narrow q")
    mean, log_var = 20 * case.normal(batch, batch), 2 * case.normal(batch, batch)
    case.expect(answer(mean, log_var), reference.gaussian_kl(mean, log_var), "B = k")
    given = mean.double() / 3, log_var.double() / 3
    case.expect(answer(*given), reference.gaussian_kl(*given), "float64", **EXACT)


@unit.find("reparameterise").hidden_check
def one_number_and_many_draws(answer, case: Case) -> None:
    """One latent of one row; S = B = k, where no shape protects; very narrow and wide; float64."""
    n = case.size(3, 5)
    for shape, width in (((1, 1), 1.0), ((n, n, n), 1.0), ((2, n, 3), 12.0)):
        mean, log_var = case.normal(*shape[-2:]), width * case.normal(*shape[-2:])
        given = mean, log_var, case.normal(*shape)
        case.expect(answer(*given), reference.reparameterise(*given), f"noise {list(shape)}")
    given = [tensor.double() / 3 for tensor in given]
    case.expect(answer(*given), reference.reparameterise(*given), "float64", **EXACT)


@unit.find("elbo").hidden_check
def one_pixel_and_no_kl(answer, case: Case) -> None:
    """One pixel; q = p, where the bound is the reconstruction; beta = 0; logits of 1e4; B = D = k; float64."""
    n = case.size(3, 4)
    zero = torch.zeros(n, 2)
    x, logits = (case.uniform(n, 1) < 0.5).float(), case.normal(n, 1)
    given = logits, x, zero, zero, 3.0
    case.expect(answer(*given), reference.elbo(*given), "one pixel, q = p")
    x, logits = (case.uniform(n, n) < 0.5).float(), 3 * case.normal(n, n)
    mean, log_var = case.normal(n, n), case.normal(n, n)
    for beta in (0.0, 0.5, 7.0):
        given = logits, x, mean, log_var, beta
        case.expect(answer(*given), reference.elbo(*given), f"B = D = k, beta = {beta:g}")
    given = 1e4 * logits, x, mean, log_var, 1.0
    case.expect(answer(*given), reference.elbo(*given), "large logits")
    given = *(t.double() / 3 for t in (logits, 3 * x, mean, log_var)), 2.0
    case.expect(answer(*given), reference.elbo(*given), "float64", **EXACT)


@unit.find("train_vae").hidden_check
def other_images(answer, case: Case) -> None:
    """The middle 6 x 6 pixels, ink and paper exchanged, and four latents."""
    digits = binary_digits(seed=1 + case.index)
    middle = torch.arange(64).view(8, 8)[1:7, 1:7].flatten()
    train, test = 1 - digits.train[:700, middle], 1 - digits.test[:, middle]
    expect_bound(answer, case, train, test, 4, 25, 1.0, bar=2.0)


@unit.find("iwae_bound").hidden_check
def weights_far_apart(answer, case: Case) -> None:
    """One draw that outweighs the others; likelihoods near -5000; K = B = k; float64."""
    n = case.size(3, 4)
    mean, log_var = case.normal(n, n), 1.5 * case.normal(n, n)
    z = reference.reparameterise(mean, log_var, case.normal(n, n, n))
    far = 200.0 * torch.arange(n)[:, None] - 5000
    for likelihood, label in (
        (far + case.normal(n, n), "far apart"),
        (case.normal(n, n), "K = B = k"),
    ):
        given = likelihood, z, mean, log_var
        case.expect(answer(*given), reference.iwae_bound(*given), label)
    given = [tensor.double() / 3 for tensor in given]
    case.expect(answer(*given), reference.iwae_bound(*given), "float64", **EXACT)


@unit.find("gumbel_softmax").hidden_check
def two_categories_and_cold(answer, case: Case) -> None:
    """Two categories; B = C; a temperature near 0 and a high one; a forbidden category; float64; four axes."""
    n = case.size(3, 5)
    for shape, tau in (((n, 2), 0.7), ((n, n), 0.02), ((2, n, 2, n), 20.0)):
        logits, uniform = case.normal(*shape), case.uniform(*shape, low=0.01, high=0.99)
        for hard in (False, True):
            given = logits, uniform, tau, hard
            case.expect(answer(*given), reference.gumbel_softmax(*given), f"{list(shape)}, {hard}")
    logits[..., 0] = -torch.inf
    given = logits, uniform, 0.5, True
    case.expect(answer(*given), reference.gumbel_softmax(*given), "a forbidden category")
    given = (
        case.normal(n, 4).double() / 3,
        case.uniform(n, 4, low=0.1, high=0.9).double(),
        0.5,
        False,
    )
    case.expect(answer(*given), reference.gumbel_softmax(*given), "float64", **EXACT)


@unit.find("active_units").hidden_check
def all_asleep_and_all_awake(answer, case: Case) -> None:
    """Units that are all asleep though far from 0, all awake, one unit alone; as many rows as units."""
    n = case.size(6, 9)
    base = case.normal(n, n)
    base = (base - base.mean(0)) / base.std(0, correction=0)
    asleep, awake = 2 + 0.03 * base, 5 - 0.5 * base
    case.expect(answer(asleep, 0.01), torch.zeros(n, dtype=torch.bool), "all asleep")
    case.expect(answer(awake, 0.01), torch.ones(n, dtype=torch.bool), "all awake")
    case.expect(answer(awake[:, :1], 0.5), torch.tensor([False]), "one unit")
