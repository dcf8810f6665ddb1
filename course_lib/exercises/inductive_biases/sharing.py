"""Unit 01, exercises 1 and 2: a convolution as a masked, tied matrix, and the gradient of tied weights."""

from __future__ import annotations

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.engine import Unit
from course_lib.exercises.inductive_biases import reference

unit = Unit(
    "01_inductive_biases",
    forbids=(
        "course_lib.biases",
        "course_lib.exercises.inductive_biases.family_errors",
        "course_lib.exercises.inductive_biases.reference",
    ),
)

FUNCTIONS = ("conv_tbc", *(f"{conv}{d}d" for conv in ("conv", "conv_transpose") for d in (1, 2, 3)))
MODULES = tuple(f"{conv}{d}d" for conv in ("Conv", "ConvTranspose") for d in (1, 2, 3))

# 1 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=10,
    reference=reference.conv_matrix,
    forbids=(
        "torch.convolution",
        *(f"{place}.{name}" for place in ("torch", "torch.nn.functional") for name in FUNCTIONS),
        *(f"torch.nn.{lazy}{name}" for lazy in ("", "Lazy") for name in MODULES),
        "numpy.convolve",
        "numpy.correlate",
        "scipy",
    ),
    hints=[
        "Write down the row of one position i in the middle: which column does kernel[0] stand in?",
        "kernel[a] belongs in column i + a - k // 2. Two loops, over i and over a, fill the matrix.",
        "At the ends: wrap the column with % n if circular, else skip columns outside 0..n-1.",
    ],
)
def conv_matrix(answer, case: Case) -> None:
    """The matrix W [n, n] with W @ x equal to the centred convolution of x [n] with kernel [k], k odd."""
    k = 5 if case.flag() else 3
    n, kernel = k + case.size(1, 5), case.normal(k)
    for circular in (False, True):
        expected = reference.conv_matrix(kernel, n, circular)
        case.expect(answer(kernel, n, circular), expected, label=f"circular={circular}")
    case.expect_gradient(answer, reference.conv_matrix, kernel, extra=(n, case.index % 2 == 1))


def _band(kernel: Tensor, n: int, first: int, circular: bool) -> Tensor:
    """Row i holds kernel[a] in column i + first + a; columns outside wrap round or are left out."""
    matrix = torch.zeros(n, n)
    for i in range(n):
        for a in range(len(kernel)):
            j = i + first + a
            if circular or 0 <= j < n:
                matrix[i, j % n] = kernel[a]
    return matrix


@conv_matrix.mistake(
    "With circular=True your filter still falls off at both ends: wrap the columns with % n. "
    "A zero-padded convolution is not shift equivariant."
)
def zero_padded(kernel, n, circular):
    return _band(kernel, n, -(len(kernel) // 2), False)


@conv_matrix.mistake(
    "With circular=False the filter must not wrap round: what hangs over the end meets zeros, so leave it out."
)
def always_circular(kernel, n, circular):
    return _band(kernel, n, -(len(kernel) // 2), True)


@conv_matrix.mistake(
    "A column below 0 is no error in Python: index -1 is the last column. Where it does not wrap, ask for 0 <= j < n."
)
def negative_columns(kernel, n, circular):
    matrix, reach = _band(kernel, n, -(len(kernel) // 2), circular), len(kernel) // 2
    for i in range(reach):
        for a in range(reach - i):  # the columns i + a - reach that are negative
            matrix[i, i + a - reach] = kernel[a]
    return matrix


@conv_matrix.mistake(
    "The filter is turned round (W is transposed). As in conv1d, kernel[0] meets the left neighbour, column i - k // 2."
)
def turned_round(kernel, n, circular):
    return _band(kernel.flip(0), n, -(len(kernel) // 2), circular)


@conv_matrix.mistake(
    "Row i starts its window at position i. Centre it: kernel[k // 2] belongs on the diagonal."
)
def not_centred(kernel, n, circular):
    return _band(kernel, n, 0, circular)


@conv_matrix.mistake(
    "The rows at both ends are missing: W has n rows, and those at the ends are padded, with zeros or by wrapping."
)
def without_the_ends(kernel, n, circular):
    reach = len(kernel) // 2
    return _band(kernel, n, -reach, False)[reach : n - reach]


@conv_matrix.mistake(
    "The numbers are right, but the entries are copies of values. Tied means that kernel itself gets all their "
    "gradients: put in kernel[a], without .item(), float() or torch.tensor()."
)
def copied_values(kernel, n, circular):
    return _band(kernel.detach(), n, -(len(kernel) // 2), circular)


# 2 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=8,
    reference=reference.tied_gradient,
    forbids=("torch.autograd", "torch.func", ".backward"),
    hints=[
        "A shared weight acts at several places, and the error changes through each of them: what do the changes do?",
        "sharing == w is a mask of all places that hold weight w.",
        "One entry for each w in range(num_weights): the sum of free_gradient over that mask. -1 is never asked for.",
    ],
)
def tied_gradient(answer, case: Case) -> None:
    """The gradient [num_weights] of shared weights, from that of a free matrix [n_out, n_in] and its sharing table."""
    n_out = case.size(2, 4)
    n_in, used = n_out + case.size(1, 3), case.size(2, 4)
    sharing = torch.randint(-1, used, (n_out, n_in), generator=case.random)
    sharing[0, :2], sharing[1, 0], sharing[1, 1] = 0, -1, used - 1
    num_weights = used + int(case.flag())  # a last weight that is used nowhere
    free = case.normal(n_out, n_in)
    expected = reference.tied_gradient(free, sharing, num_weights)
    case.expect(answer(free, sharing, num_weights), expected)
    n = case.size(3, 6)
    free, place = case.normal(n, n), torch.arange(n)
    sharing = (place - place.unsqueeze(1)) % n
    expected = reference.tied_gradient(free, sharing, n)
    case.expect(answer(free, sharing, n), expected, label="a circular convolution's table")


@tied_gradient.mistake(
    "This is the mean over a weight's places. A shared weight acts at all of them at once: their gradients add up."
)
def mean_of_places(free_gradient, sharing, num_weights):
    places = torch.stack([(sharing == w).sum() for w in range(num_weights)])
    return reference.tied_gradient(free_gradient, sharing, num_weights) / places.clamp(min=1)


@tied_gradient.mistake(
    "-1 says that there is no connection, but as an index it is the last weight. Leave those places out."
)
def last_weight_for_none(free_gradient, sharing, num_weights):
    return reference.tied_gradient(free_gradient, sharing % num_weights, num_weights)


def _refuses_minus_one(observations) -> bool:
    """A complaint about the table with -1, and none about the one without."""
    first, second = (seen.got for seen in observations)
    if not isinstance(first, Raised) or isinstance(second, Raised):
        return False
    return any(said in first.text for said in ("out of range in self", "index -1", "negative"))


@tied_gradient.symptom(
    _refuses_minus_one,
    "-1 says that there is no connection, and as an index it is refused here. Leave those places out first.",
)
def refused_index(free_gradient, sharing, num_weights):
    total = torch.zeros(num_weights)
    return total.index_add_(0, sharing.flatten(), free_gradient.flatten())


@tied_gradient.mistake(
    "One place of each weight is left, the others were overwritten (`total[index] += ...` does that, too). "
    "Sum over sharing == w instead."
)
def overwritten(free_gradient, sharing, num_weights):
    total, there = torch.zeros(num_weights), sharing >= 0
    total[sharing[there]] += free_gradient[there]
    return total


@tied_gradient.mistake(
    "One place of each weight is left, the others were overwritten (`total[sharing] += ...` does that, too); "
    "and -1, no connection, was taken for the last weight."
)
def overwritten_with_none(free_gradient, sharing, num_weights):
    total = torch.zeros(num_weights)
    total[sharing] += free_gradient
    return total


@tied_gradient.mistake(
    "You returned a matrix. There is one gradient for each shared weight: a vector [num_weights]."
)
def still_a_matrix(free_gradient, sharing, num_weights):
    total = reference.tied_gradient(free_gradient, sharing, num_weights)
    return torch.where(sharing >= 0, total[sharing.clamp(min=0)], 0.0)


@tied_gradient.mistake(
    "A weight that is used nowhere is missing from your result; its gradient is 0, and it keeps its place."
)
def without_unused(free_gradient, sharing, num_weights):
    used = sharing[sharing >= 0].unique().tolist()
    return torch.stack([free_gradient[sharing == w].sum() for w in used])
