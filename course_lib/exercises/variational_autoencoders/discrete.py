"""Unit 07, exercises 7 and 8: discrete latents with a gradient, and which units carry anything."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.variational_autoencoders import reference
from course_lib.exercises.variational_autoencoders.tighter import unit

# 7 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=9,
    reference=reference.gumbel_softmax,
    hints=[
        "Gumbel numbers from uniform ones: g = -log(-log u). They are added to the logits, then all is divided by tau.",
        "Straight through: the value of one_hot, the gradient of soft. one_hot + soft - soft.detach() has both.",
        "F.one_hot(soft.argmax(-1), C) is int64; .to(soft.dtype) makes numbers of it that can be added.",
    ],
)
def gumbel_softmax(answer, case: Case) -> None:
    """softmax((logits + g) / tau), g = -log(-log uniform), last axis; hard: one-hot, with the soft one's gradient."""
    batch, groups = case.size(3, 4), case.size(2, 3)
    symbols = batch + case.size(2, 4)
    hot, cold = case.uniform(1, low=1.5, high=3.0).item(), case.uniform(1, low=0.3, high=0.6).item()
    for shape, tau, hard, label in (
        ((batch, symbols), hot, False, "tau > 1"),
        ((batch, groups, symbols), cold, False, "tau < 1, [B, n, C]"),
        ((batch, groups, symbols), cold, True, "hard"),
    ):
        logits, uniform = 1.5 * case.normal(*shape), case.uniform(*shape, low=0.02, high=0.98)
        expected = reference.gumbel_softmax(logits, uniform, tau, hard)
        case.expect(answer(logits, uniform, tau, hard), expected, label=label)
    for hard in (False, True):
        case.expect_gradient(
            answer, reference.gumbel_softmax, logits, wrt=0, extra=(uniform, hot, hard)
        )


def _soft(logits, uniform, tau):
    return ((logits - (-uniform.log()).log()) / tau).softmax(-1)


def _through(soft, hard):
    """The straight-through form of a soft value, where it is wanted."""
    if not hard:
        return soft
    return F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype) + soft - soft.detach()


@gumbel_softmax.mistake("Nothing is drawn: the noise is missing, and every call gives the same.")
def without_noise(logits, uniform, tau, hard):
    return _through((logits / tau).softmax(-1), hard)


@gumbel_softmax.mistake(
    "The noise has the wrong sign: log(-log u) is minus a Gumbel number. g = -log(-log u)."
)
def noise_turned(logits, uniform, tau, hard):
    return _through(((logits + (-uniform.log()).log()) / tau).softmax(-1), hard)


@gumbel_softmax.mistake(
    "One logarithm is missing: -log u is exponential, not Gumbel. g = -log(-log u)."
)
def one_logarithm(logits, uniform, tau, hard):
    return _through(((logits - uniform.log()) / tau).softmax(-1), hard)


def _is_nan(observations) -> bool:
    return all(bool(o.got.isnan().any()) for o in observations[:2])


@gumbel_softmax.symptom(
    _is_nan,
    "nan: log u is negative, and you took the log of it. The inner minus sign is missing: -log(-log u).",
)
def inner_sign(logits, uniform, tau, hard):
    return _through(((logits - uniform.log().log()) / tau).softmax(-1), hard)


@gumbel_softmax.mistake("tau has no effect in yours: logits and noise are both divided by it.")
def without_tau(logits, uniform, tau, hard):
    return _through(_soft(logits, uniform, 1.0), hard)


@gumbel_softmax.mistake("You multiplied by tau. A small temperature is to sharpen: divide.")
def times_tau(logits, uniform, tau, hard):
    return _through(_soft(logits, uniform, 1 / tau), hard)


@gumbel_softmax.mistake(
    "Only the logits are divided by tau. Then tau changes WHAT is drawn; dividing the sum changes only how sharply."
)
def logits_alone(logits, uniform, tau, hard):
    return _through(_soft(logits / tau, uniform, 1.0), hard)


def _columns(observations) -> bool:
    """The values of the soft calls sum to one over another axis than the last."""
    return all(
        any(torch.allclose(o.got.sum(axis), torch.tensor(1.0)) for axis in range(o.got.dim() - 1))
        and not torch.allclose(o.got.sum(-1), torch.tensor(1.0))
        for o in observations[:2]
    )


@gumbel_softmax.symptom(
    _columns, "Softmax over the wrong axis: the C categories are the last one, and sum to 1 there."
)
def wrong_axis(logits, uniform, tau, hard):
    scores = (logits - (-uniform.log()).log()) / tau
    return _through(scores.softmax(0), hard)


@gumbel_softmax.mistake("`hard` has no effect: with hard=True the value is exactly one-hot.")
def never_hard(logits, uniform, tau, hard):
    return _soft(logits, uniform, tau)


@gumbel_softmax.mistake(
    "Your one-hot stands at the largest logit, without noise: nothing is drawn. Take the argmax of the soft value."
)
def likeliest(logits, uniform, tau, hard):
    soft = _soft(logits, uniform, tau)
    one_hot = F.one_hot(logits.argmax(-1), logits.shape[-1]).to(soft.dtype)
    return one_hot + soft - soft.detach() if hard else soft


def _indices(observations) -> bool:
    soft, second, hard = observations[:3]
    right = soft.failure() is None and second.failure() is None
    return right and not isinstance(hard.got, Raised) and hard.got.dim() == hard.expected.dim() - 1


@gumbel_softmax.symptom(
    _indices,
    "With hard=True you returned the numbers of the categories: a one-hot vector is wanted.",
)
def indices(logits, uniform, tau, hard):
    soft = _soft(logits, uniform, tau)
    return soft.argmax(-1) if hard else soft


def _no_way_back(observations) -> bool:
    """All values and the soft gradient are right; the hard gradient is not."""
    return [o.failure() is None for o in observations] == [True, True, True, True, False]


@gumbel_softmax.symptom(
    _no_way_back,
    "Values right, but the one-hot draw does not hand back the gradient of the soft one: argmax has none. Add "
    "soft - soft.detach(), which is 0 and carries it.",
)
def no_way_back(logits, uniform, tau, hard):
    soft = _soft(logits, uniform, tau)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype) if hard else soft


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
    for threshold, label in ((0.01, "threshold 0.01"), (0.2, "threshold 0.2")):
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
        base = case.normal(rows, len(shapes))
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
    return all(len(o.got) > 2 * len(o.expected) for o in observations)


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
