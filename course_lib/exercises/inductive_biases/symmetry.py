"""Unit 01, exercises 3, 4 and 5: equivariance measured, enforced by averaging, and used for sets."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.inductive_biases import reference
from course_lib.exercises.inductive_biases.sharing import unit

# 3 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.shift_error,
    hints=[
        "Two ways round: shift, then multiply; or multiply, then shift. The error is how far they end apart.",
        "torch.roll(x, steps) moves every entry `steps` places on and brings the last ones in at the front.",
        "Divide the norm of the difference by the norm of W x.",
    ],
)
def shift_error(answer, case: Case) -> None:
    """||W S x - S W x|| / ||W x|| for a matrix W [n, n], a signal x [n] and the cyclic shift S by `steps`."""
    n, steps = case.size(5, 9), case.size(1, 2)
    weight, x = case.normal(n, n), case.normal(n)
    case.expect(answer(weight, x, steps), reference.shift_error(weight, x, steps))
    kernel, x = case.uniform(3, low=0.5, high=1.5), case.normal(n) + 1.0
    for circular in (False, True):
        weight = reference.conv_matrix(kernel, n, circular)
        label = "circular convolution" if circular else "zero-padded convolution"
        expected = reference.shift_error(weight, x, steps)
        case.expect(answer(weight, x, steps), expected, label=label)


@shift_error.mistake(
    "This is the absolute error. Divide by ||W x||, else a layer looks better for having small weights."
)
def absolute(weight, x, steps):
    return (weight @ x.roll(steps) - (weight @ x).roll(steps)).norm()


@shift_error.mistake(
    "You compared W S x with W x. That measures invariance, an output that stays; equivariance lets it move along."
)
def invariance(weight, x, steps):
    return (weight @ x.roll(steps) - weight @ x).norm() / (weight @ x).norm()


@shift_error.mistake(
    "The output is shifted the other way. Equivariance asks that it moves in the same direction as the input."
)
def other_way(weight, x, steps):
    return (weight @ x.roll(steps) - (weight @ x).roll(-steps)).norm() / (weight @ x).norm()


@shift_error.mistake("This is the error squared: take the norm, that is, the root of the sum.")
def squared(weight, x, steps):
    return reference.shift_error(weight, x, steps) ** 2


@shift_error.mistake("You divided by the norm of the input x; divide by that of the output W x.")
def relative_to_input(weight, x, steps):
    return reference.shift_error(weight, x, steps) * (weight @ x).norm() / x.norm()


@shift_error.mistake(
    "You divided by ||W S x||, the output for the shifted signal; divide by ||W x||."
)
def relative_to_shifted(weight, x, steps):
    moved = weight @ x.roll(steps)
    return (moved - (weight @ x).roll(steps)).norm() / moved.norm()


@shift_error.mistake(
    "Your shift drops what leaves at the end and fills in zeros. Here what leaves comes in again: torch.roll."
)
def not_cyclic(weight, x, steps):
    def move(signal: Tensor) -> Tensor:
        return torch.cat([torch.zeros(steps), signal[:-steps]])

    return (weight @ move(x) - move(weight @ x)).norm() / (weight @ x).norm()


# 4 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.average_over_group,
    hints=[
        "Row p of `group` renumbers the positions. W has positions twice: as outputs and as inputs.",
        "weight[p] permutes the rows; its columns still have to be permuted in the same way.",
        "Make weight[p][:, p] for each p, add them up, and divide by how many there are.",
    ],
)
def average_over_group(answer, case: Case) -> None:
    """The mean over all permutations p (rows of group [G, n]) of the matrix with entries W[p_i, p_j]."""
    n = case.size(3, 6)
    place = torch.arange(n)
    shifts = (place + place.unsqueeze(1)) % n
    group = torch.cat([shifts, shifts.flip(1)]) if case.flag() else shifts
    weight = case.normal(n, n)
    expected = reference.average_over_group(weight, group)
    case.expect(answer(weight, group), expected, label="shifts")
    m = 4 if case.flag() else 3
    everything = torch.tensor([*itertools.permutations(range(m))])
    weight = case.normal(m, m)
    expected = reference.average_over_group(weight, everything)
    case.expect(answer(weight, everything), expected, label="all permutations")


@average_over_group.mistake(
    "Only the rows are permuted, so inputs keep their old numbers: W[p_i, p_j] moves rows and columns."
)
def rows_only(weight, group):
    return weight[group].mean(0)


@average_over_group.mistake(
    "Only the columns are permuted, so outputs keep their old numbers: W[p_i, p_j] moves rows and columns."
)
def columns_only(weight, group):
    return weight[:, group].mean(1)


@average_over_group.mistake(
    "This is the sum over the group. Divide by its size, or a matrix that is symmetric already would grow."
)
def summed(weight, group):
    return reference.average_over_group(weight, group) * len(group)


@average_over_group.mistake(
    "weight[p, p] picks single entries W[p_i, p_i], the diagonal. Permute the rows, then the columns: weight[p][:, p]."
)
def picked_entries(weight, group):
    return torch.stack([weight[p, p] for p in group]).mean(0)


@average_over_group.mistake(
    "Rows and columns are permuted in opposite directions. The same p belongs on both sides."
)
def opposite(weight, group):
    return torch.stack([weight[p][:, p.argsort()] for p in group]).mean(0)


@average_over_group.mistake(
    "You return the matrix of the last permutation alone: the others were overwritten. Add them up."
)
def last_one(weight, group):
    return weight[group[-1]][:, group[-1]]


# 5 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=1,
    minutes=5,
    reference=reference.set_layer,
    hints=[
        "The sum over all others is the sum over all, less the element itself.",
        "x.sum(0) is one row of totals. Broadcasting adds it to every row of x.",
    ],
)
def set_layer(answer, case: Case) -> None:
    """y_i = a x_i + b (sum of x_j over all other j) for a set of N elements x [N, F] and two numbers a, b."""
    n, wide = case.size(3, 7), case.size(2, 4)
    x = case.normal(n, wide)
    a, b = float(case.uniform(1, low=0.5, high=2.0)), float(case.uniform(1, low=-1.0, high=-0.3))
    case.expect(answer(x, a, b), reference.set_layer(x, a, b))
    case.expect_gradient(answer, reference.set_layer, x, extra=(b, a))
    case.expect_equivariant(answer, x, axes=((0,),), out_axes=(0,), extra=(a, b))


@set_layer.mistake(
    "Your sum runs over all elements, so each hears from itself once more, with b. Leave it out: j is not i."
)
def itself_again(x, a, b):
    return a * x + b * x.sum(0)


@set_layer.mistake(
    "You took the mean of the others. The matrix of exercise 4 has b everywhere off the diagonal: that is a sum."
)
def mean_of_others(x, a, b):
    return a * x + b * (x.sum(0) - x) / (len(x) - 1)


@set_layer.mistake(
    "You summed over an element's features. The sum runs over the elements, the rows of x."
)
def over_features(x, a, b):
    return a * x + b * (x.sum(1, keepdim=True) - x)


@set_layer.mistake(
    "x.sum() without an axis adds up all features of all elements; each feature has a sum of its own: x.sum(0)."
)
def over_everything(x, a, b):
    return a * x + b * (x.sum() - x)


@set_layer.mistake("a and b are exchanged: a belongs to the element itself, b to the others.")
def exchanged(x, a, b):
    return reference.set_layer(x, b, a)


@set_layer.mistake(
    "You summed the outputs into one row: that is invariant. Here every element keeps a row of its own."
)
def pooled(x, a, b):
    return reference.set_layer(x, a, b).sum(0)


@set_layer.mistake("No element hears from the others: this is a x alone. Where does b come in?")
def alone(x, a, b):
    return a * x
