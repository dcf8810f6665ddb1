"""Unit 07, exercise 8: which units carry anything."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.variational_autoencoders import reference
from course_lib.exercises.variational_autoencoders.discrete import unit

# 8 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=1,
    minutes=4,
    reference=reference.active_units,
    hints=[
        "A unit is asleep if its mean is the same for every image, whatever number that is.",
        "The variance of each column, over the rows: axis 0. Then compare with the threshold.",
    ],
)
def active_units(answer, case: Case) -> None:
    """Which latents depend on the input: bool [k], the variance over the N rows of mean [N, k] above a threshold."""
    rows, extra = case.size(24, 40), case.size(0, 2)
    other = case.uniform(1, low=0.1, high=0.3).item()
    for threshold, label in ((0.01, "threshold 0.01"), (other, "another threshold")):
        shapes = [  # (mean, variance) of a column
            (1.5, 0.1 * threshold),  # asleep far from 0
            (0.0, 0.4 * threshold),  # asleep, though its standard deviation lies above
            (0.0, 2.5 * threshold),
            (-1.0, 6.0 * threshold),
            (0.0, 30.0 * threshold),
            (0.05, 0.0),
            *[(0.3, 8.0 * threshold)] * extra,
        ]
        shapes = [shapes[i] for i in case.permutation(len(shapes)).tolist()]
        base = case.normal(rows, len(shapes)) ** 3  # a few rows far out, and those last
        base = base.gather(0, base.abs().argsort(0))
        base = (base - base.mean(0)) / base.std(0, correction=0)
        center, variance = torch.tensor(shapes).unbind(1)
        mean = center + variance.sqrt() * base
        case.expect(answer(mean, threshold), reference.active_units(mean, threshold), label=label)


@active_units.mistake(
    "You compared the standard deviation. The threshold is one for the variance, its square."
)
def by_deviation(mean, threshold):
    return mean.std(0) > threshold


@active_units.mistake(
    "The average is not taken off: a unit that always says 1.5 has a large square, but says nothing about the image."
)
def mean_square(mean, threshold):
    return mean.square().mean(0) > threshold


@active_units.mistake("This is the other way round: True where a unit is asleep.")
def asleep(mean, threshold):
    return mean.var(0) <= threshold


def _of_rows(observations) -> bool:
    return all(o.got.dim() == 1 and len(o.got) > 2 * len(o.expected) for o in observations)


@active_units.symptom(
    _of_rows,
    "This is one value an image. The variance runs over the rows, axis 0: one value a unit.",
)
def along_units(mean, threshold):
    return mean.var(1, correction=0) > threshold


@active_units.mistake("The threshold has no effect: it is 0.01 in yours, whatever is given.")
def fixed_threshold(mean, threshold):
    return mean.var(0) > 0.01


def _counted(observations) -> bool:
    return all(
        isinstance(o.got, int | float) or (not isinstance(o.got, Raised) and o.got.dim() == 0)
        for o in observations
    )


@active_units.symptom(
    _counted, "This is one number for all units. WHICH units are active is asked: a bool for each."
)
def counted(mean, threshold):
    return (mean.var(0) > threshold).sum()
