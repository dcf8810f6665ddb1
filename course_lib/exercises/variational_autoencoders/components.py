"""Unit 07, exercise 1: principal components, the best that a linear bottleneck can do."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.engine import Unit
from course_lib.exercises.variational_autoencoders import reference

unit = Unit(
    "07_variational_autoencoders",
    forbids=(
        "course_lib.latent",
        "course_lib.exercises",
        ".reference",
        "torch.distributions",
        "torch.pca_lowrank",
        "torch.nn.functional.gumbel_softmax",
        "torch.nn.functional.kl_div",
        "torch.nn.KLDivLoss",
        "torch.nn.functional.gaussian_nll_loss",
        "torch.nn.GaussianNLLLoss",
        "sklearn",
        "torch.ops",
        "torch._C",
        "torch._VF",
    ),
)

# 1 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.pca_reconstruct,
    hints=[
        "Take the mean of train from both sets of rows first, and give it back at the end.",
        "torch.linalg.svd returns three things; the directions in the space of the D pixels are the rows of the last.",
        "With directions V [k, D] the codes are centred @ V.T, [M, k]; codes @ V brings them back to [M, D].",
    ],
)
def pca_reconstruct(answer, case: Case) -> None:
    """test [M, D] squeezed through the first k principal components of train [N, D] and back: [M, D]."""
    pixels, k = case.size(5, 7), case.size(2, 3)
    for rows, label in ((pixels + case.size(4, 9), "N > D"), (k + 2, "N < D")):
        train = _rows(case, rows, pixels)
        test = _rows(case, case.size(3, 4), pixels) + 1.5
        expected = reference.pca_reconstruct(train, test, k)
        case.expect(answer(train, test, k), expected, label=label, rtol=1e-3, atol=1e-3)
        case.observations[-1].given.update(
            codes=(len(test), k), test=test, columns=_by_columns(train, test, k)
        )
    case.expect(answer(train, test[:1], k), expected[:1], "one row", 1e-3, 1e-3)
    case.observations[-1].given["codes"] = (1, k)
    case.expect_gradient(answer, reference.pca_reconstruct, train, test, wrt=1, extra=(k,))


def _rows(case: Case, rows: int, pixels: int) -> Tensor:
    """Rows [N, D] with a mean that is not zero and variances that fall by a factor of four or more."""
    turn = torch.linalg.qr(case.normal(pixels, pixels)).Q
    base = torch.linalg.qr(case.normal(max(rows, pixels), pixels)).Q[:rows]
    scale = 6 * 0.5 ** torch.arange(pixels)
    return (rows**0.5 * base * scale) @ turn + 2 * case.uniform(pixels, low=0.5, high=2.0)


def _directions(rows: Tensor) -> Tensor:
    """The right singular vectors of rows, in the rows of [min(N, D), D]."""
    return torch.linalg.svd(rows, full_matrices=False).Vh


def _through(test, mean, span):
    return mean + (test - mean) @ span.T @ span


def _by_columns(train, test, k):
    """Through columns of what svd returns last, in place of its rows."""
    mean = train.mean(0)
    return _through(test, mean, torch.linalg.svd(train - mean).Vh[:, :k].T)


@pca_reconstruct.mistake(
    "Nothing was centred: the first direction then points at the mean. Subtract train's mean first, add it at the end."
)
def not_centred(train, test, k):
    return _through(test, 0.0, _directions(train)[:k])


@pca_reconstruct.mistake(
    "The mean is added at the end but was not taken off test: the code of x is (x - m) W^T."
)
def test_not_centred(train, test, k):
    mean = train.mean(0)
    span = _directions(train - mean)[:k]
    return mean + test @ span.T @ span


@pca_reconstruct.mistake(
    "The directions come from rows that were not centred. Subtract train's mean before the SVD too."
)
def svd_of_raw_rows(train, test, k):
    return _through(test, train.mean(0), _directions(train)[:k])


@pca_reconstruct.mistake("The mean is not given back: the result is still centred. Add it again.")
def mean_not_returned(train, test, k):
    mean = train.mean(0)
    return _through(test, mean, _directions(train - mean)[:k]) - mean


@pca_reconstruct.mistake(
    "test is centred by its own mean. A code belongs to one row and must not depend on which others come with it: "
    "train's mean serves for both."
)
def own_mean(train, test, k):
    return _through(test, test.mean(0), _directions(train - train.mean(0))[:k])


@pca_reconstruct.mistake(
    "The components were fitted to test. They are learned from train; test only goes through."
)
def fitted_to_test(train, test, k):
    return _through(test, test.mean(0), _directions(test - test.mean(0))[:k])


@pca_reconstruct.mistake(
    "These are the components of smallest variance. The singular values come largest first: take the first k."
)
def smallest(train, test, k):
    mean = train.mean(0)
    return _through(test, mean, _directions(train - mean)[-k:])


def _columns(observations) -> bool:
    """With more rows than pixels the columns fit as well (with fewer they may not)."""
    seen = observations[0]
    return torch.allclose(seen.got.double(), seen.given["columns"].double(), 1e-3, 1e-3)


@pca_reconstruct.symptom(
    _columns,
    "You took columns of what svd returned last. It is transposed already (hence Vh): the directions are its rows.",
)
def columns(train, test, k):
    return _by_columns(train, test, k)


def _nothing_lost(observations) -> bool:
    seen = observations[0]
    return torch.allclose(seen.got.double(), seen.given["test"].double(), 1e-3, 1e-3)


@pca_reconstruct.symptom(
    _nothing_lost,
    "test comes back as it was: through all D directions nothing is lost. Keep the first k alone.",
)
def all_directions(train, test, k):
    mean = train.mean(0)
    return _through(test, mean, _directions(train - mean))


def _codes(observations) -> bool:
    return all(
        not isinstance(o.got, Raised) and tuple(o.got.shape) == o.given["codes"]
        for o in observations
        if o.kind == "value"
    )


@pca_reconstruct.symptom(
    _codes, "These are the codes, [M, k]. Bring them back to the pixels by the same directions."
)
def codes_alone(train, test, k):
    mean = train.mean(0)
    return (test - mean) @ _directions(train - mean)[:k].T
