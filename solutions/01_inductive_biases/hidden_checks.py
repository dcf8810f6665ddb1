"""Edge cases of unit 01 that only grading runs. The students' distribution does not contain this file."""

from __future__ import annotations

from typing import Any

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.compare import as_tensor, difference
from course_lib.exercises.inductive_biases import reference, unit
from course_lib.exercises.inductive_biases.mystery import mystery_data


@unit.find("conv_matrix").hidden_check
def shortest_and_longest_kernels(answer, case: Case) -> None:
    """A kernel of one number, and one as long as the signal."""
    for k, n in ((1, 1), (1, case.size(3, 6)), (5, 5), (7, 7)):
        kernel = case.normal(k)
        for circular in (True, False):
            expected = reference.conv_matrix(kernel, n, circular)
            label = f"kernel of {k}, signal of {n}, circular={circular}"
            case.expect(answer(kernel, n, circular), expected, label=label)


@unit.find("tied_gradient").hidden_check
def nothing_everything_and_each_its_own(answer, case: Case) -> None:
    """No connection at all; one weight everywhere; a table without any sharing."""
    rows, cols = case.size(2, 4), case.size(2, 5)
    free = case.normal(rows, cols)
    none = torch.full((rows, cols), -1)
    case.expect_that("no connection", _three_zeros, answer(free, none, 3))
    case.expect(answer(free, none + 1, 1), free.sum().view(1), label="one weight")
    own = torch.arange(rows * cols).view(rows, cols)
    case.expect(answer(free, own, rows * cols), free.flatten(), label="nothing shared")


def _three_zeros(got: Any) -> str | None:
    """Whole numbers are welcome here: a sum of nothing, and torch.bincount of nothing, are integers."""
    sums = as_tensor(got)
    return difference(got if sums is None else sums.double(), torch.zeros(3))


@unit.find("shift_error").hidden_check
def no_shift_backwards_and_scale(answer, case: Case) -> None:
    """No step, a whole turn, steps backwards; and a layer with large weights."""
    n = case.size(4, 8)
    weight, x = case.normal(n, n), case.normal(n)
    for steps in (0, n):
        case.expect(answer(weight, x, steps), torch.tensor(0.0), label="back at the start")
    expected = reference.shift_error(weight, x, -1)
    case.expect(answer(weight, x, -1), expected, label="one step backwards")
    case.expect(answer(100 * weight, x, -1), expected, label="a hundred times the weights")


@unit.find("average_over_group").hidden_check
def smallest_groups(answer, case: Case) -> None:
    """The identity alone, and one exchange of two positions among others that stay."""
    n = case.size(3, 7)
    weight, identity = case.normal(n, n), torch.arange(n)
    case.expect(answer(weight, identity.unsqueeze(0)), weight, label="the identity alone")
    exchange = identity.clone()
    exchange[0], exchange[-1] = n - 1, 0
    group = torch.stack([exchange, identity])
    case.expect(answer(weight, group), reference.average_over_group(weight, group), label="a swap")


@unit.find("set_layer").hidden_check
def one_element_and_many(answer, case: Case) -> None:
    """An element alone hears from nobody; a large set; and b = 0."""
    alone, many = case.normal(1, 3), case.normal(300 + case.size(0, 20), 2)
    case.expect(answer(alone, 0.5, 2.0), 0.5 * alone, label="one element")
    case.expect(answer(many, 2.0, 0.01), reference.set_layer(many, 2.0, 0.01), label="many")
    case.expect(answer(many, 2.0, 0.0), 2 * many, label="b = 0")


@unit.find("ridge_map").hidden_check
def one_row_and_extreme_priors(answer, case: Case) -> None:
    """A single row; a prior so strong that it decides; equal variances; one weight."""
    wide = case.size(2, 5)
    for rows, columns, noise_var, prior_var in (
        (1, wide, 0.5, 2.0),
        (9, wide, 2.0, 0.001),
        (9, wide, 1.7, 1.7),
        (9, 1, 3.0, 0.3),
    ):
        X, y = case.normal(rows, columns), case.normal(rows) - 2.0
        expected = reference.ridge_map(X, y, noise_var, prior_var)
        label = f"{rows} rows, variances {noise_var} and {prior_var}"
        got = answer(X, y, noise_var, prior_var)
        case.expect(got, expected, label=label, rtol=1e-3, atol=1e-4)


@unit.find("prior_entropy").hidden_check
def one_weight_many_and_nearly_tied(answer, case: Case) -> None:
    """One weight; so many that no floating-point determinant holds; weights that are nearly one."""
    one = case.uniform(1, 1, low=0.1, high=4.0)
    case.expect(answer(one), reference.prior_entropy(one), label="one weight")
    many = torch.diag(case.uniform(150, low=1e-4, high=2e-4))
    case.expect(answer(many), reference.prior_entropy(many), label="150 weights")
    d = case.size(3, 6)
    tied = torch.full((d, d), 0.99) + 0.01 * torch.eye(d)
    case.expect(answer(tied), reference.prior_entropy(tied), label="nearly tied", rtol=1e-3)


@unit.find("choose_bias").hidden_check
def the_same_rows_with_four_targets(answer, case: Case) -> None:
    """One and the same x with targets of all four kinds: only y can tell them apart."""
    seed = case.generator().initial_seed()
    for kind in case.permutation(4).tolist():
        x, y = mystery_data(kind, 420, torch.Generator().manual_seed(seed))
        case.expect(answer(x, y), torch.tensor(kind), label=f"targets of kind {kind}")


@unit.find("choose_bias").hidden_check
def hardly_more_rows_than_weights(answer, case: Case) -> None:
    """98 rows, which 97 weights still nearly remember: it is not enough to mistrust more weights than rows."""
    generator = case.generator()
    for kind in case.permutation(3).add(1).tolist():
        x, y = mystery_data(kind, 98, generator)
        case.expect(answer(x, y), torch.tensor(kind), label=f"98 rows of kind {kind}")
