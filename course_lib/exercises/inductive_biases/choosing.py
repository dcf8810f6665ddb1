"""Unit 01, exercise 8: which bias suits a data set."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised, as_tensor
from course_lib.exercises.inductive_biases import reference
from course_lib.exercises.inductive_biases.mystery import POSITIONS, mystery_data
from course_lib.exercises.inductive_biases.priors import unit

# 8 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=15,
    reference=reference.choose_bias,
    cases=4,
    uses=("ridge_map",),
    hints=[
        "A family that has seen a row can remember it. Keep some rows away from every fit.",
        "Fit each family's features on the first half of the rows, and measure its mean squared error on the second.",
        "The answer is the position of the smallest held-out error in the list, counted from 0: argmin.",
    ],
)
def choose_bias(answer, case: Case) -> None:
    """The number 0, 1, 2 or 3 of the family that generalises best on rows x [N, T] with targets y [N]."""
    generator = case.generator()
    for number, kind in enumerate(case.permutation(4).tolist()):
        few = kind != POSITIONS and (number + case.index) % 2 == 0
        rows = 80 if few else 400 + case.size(0, 50)
        x, y = mystery_data(kind, rows, generator)
        case.expect(answer(x, y), torch.tensor(kind), label=f"data set {number + 1} of 4")


def fit_and_judge(features: Tensor, y: Tensor, fitted: slice, judged: slice) -> Tensor:
    """The residuals on the rows `judged` of a ridge fitted to the rows `fitted`."""
    inputs = features[fitted]
    gram = inputs.T @ inputs + torch.eye(features.shape[1])
    weights = torch.linalg.solve(gram, inputs.T @ y[fitted])
    return features[judged] @ weights - y[judged]


def _halves(x: Tensor) -> tuple[slice, slice]:
    return slice(0, len(x) // 2), slice(len(x) // 2, len(x))


def held_out(x: Tensor, y: Tensor) -> Tensor:
    """The residuals [4, N / 2] of the four families on the second half of the rows."""
    return torch.stack([fit_and_judge(seen, y, *_halves(x)) for seen in reference.views(x)])


@choose_bias.mistake(
    "The rows that judge were in the fit as well, and 97 free weights can remember 80 rows. Keep the judges apart."
)
def judged_on_seen_rows(x, y):
    every = slice(0, len(x))
    seen = [fit_and_judge(features, y, every, every) for features in reference.views(x)]
    return torch.stack(seen).square().mean(1).argmin()


@choose_bias.mistake(
    "You always choose family 0, the most flexible one. Freedom has a price: it needs more rows."
)
def always_the_freest(x, y):
    return torch.tensor(0)


@choose_bias.mistake("This is the family with the largest held-out error; you want the smallest.")
def largest_error(x, y):
    return held_out(x, y).square().mean(1).argmax()


@choose_bias.mistake("You count the families from 1; the first one is number 0.")
def counted_from_one(x, y):
    return reference.choose_bias(x, y) + 1


@choose_bias.mistake(
    "Errors of opposite signs cancel in your mean. Square them first (or take absolute values)."
)
def signed_error(x, y):
    return held_out(x, y).mean(1).abs().argmin()


def _four_numbers(observations) -> bool:
    got = [as_tensor(seen.got) for seen in observations if not isinstance(seen.got, Raised)]
    return len(got) == len(observations) and all(
        g is not None and tuple(g.shape) == (4,) for g in got
    )


@choose_bias.symptom(
    _four_numbers, "You returned four numbers, one a family. Return the number of the best: argmin."
)
def four_errors(x, y):
    return held_out(x, y).square().mean(1)
