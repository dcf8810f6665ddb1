"""Unit 07, exercise 7: discrete latents with a gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised
from course_lib.exercises.variational_autoencoders import reference
from course_lib.exercises.variational_autoencoders.gaussians import gradient_is_cut
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
        ((1, symbols), cold, False, "one row"),
        ((batch, groups, symbols), hot, True, "hard"),
    ):
        logits, uniform = 1.5 * case.normal(*shape), case.uniform(*shape, low=0.02, high=0.98)
        if label == "tau > 1":  # two rows alike
            logits[1], uniform[1] = logits[0], uniform[0]
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


def _rows_differ(observations) -> bool:
    """Two rows of equal logits and equal noise come out unequal."""
    got = observations[0].got
    return float((got[0] - got[1]).abs().max()) > 1e-3


@gumbel_softmax.symptom(
    _rows_differ,
    "You drew noise of your own: rows of equal logits and equal noise differ in yours. Make g of the given uniform.",
)
def own_noise(logits, uniform, tau, hard):
    return _through(_soft(logits, torch.rand_like(uniform), tau), hard)


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


@gumbel_softmax.mistake(
    "Only the noise is divided by tau: (l + g) / tau needs its brackets. A small tau then drowns the logits in noise."
)
def noise_alone(logits, uniform, tau, hard):
    noise = -(-uniform.log()).log()
    return _through((logits + noise / tau).softmax(-1), hard)


def _columns(observations) -> bool:
    """The values of the soft call with three axes sum to one over another axis than the last."""
    got = observations[1].got
    return any(
        torch.allclose(got.sum(axis), torch.tensor(1.0)) for axis in (0, 1)
    ) and not torch.allclose(got.sum(-1), torch.tensor(1.0))


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
    "It is the other way round: with hard=True the value is one-hot, with hard=False it is the soft one."
)
def hard_turned(logits, uniform, tau, hard):
    return _through(_soft(logits, uniform, tau), not hard)


@gumbel_softmax.mistake(
    "The soft value is added and not taken off again: one_hot + soft - soft.detach() has the value of one_hot."
)
def added(logits, uniform, tau, hard):
    soft = _soft(logits, uniform, tau)
    return _through(soft, True).detach() + soft if hard else soft


@gumbel_softmax.mistake(
    "You rounded: where several categories share, none reaches 1/2. The 1 stands at the LARGEST entry, argmax."
)
def rounded(logits, uniform, tau, hard):
    soft = _soft(logits, uniform, tau)
    return soft.round() + soft - soft.detach() if hard else soft


@gumbel_softmax.mistake(
    "Your one-hot stands at the largest logit, without noise: nothing is drawn. Take the argmax of the soft value."
)
def likeliest(logits, uniform, tau, hard):
    soft = _soft(logits, uniform, tau)
    one_hot = F.one_hot(logits.argmax(-1), logits.shape[-1]).to(soft.dtype)
    return one_hot + soft - soft.detach() if hard else soft


def _indices(observations) -> bool:
    *soft, hard = observations[:4]
    right = all(o.failure() is None for o in soft)
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
    return [o.failure() is None for o in observations] == [True] * 5 + [False]


@gumbel_softmax.symptom(
    _no_way_back,
    "Values right, but the one-hot draw does not hand back the gradient of the soft one: argmax has none. Add "
    "soft - soft.detach(), which is 0 and carries it.",
)
def no_way_back(logits, uniform, tau, hard):
    soft = _soft(logits, uniform, tau)
    return F.one_hot(soft.argmax(-1), soft.shape[-1]).to(soft.dtype) if hard else soft


@gumbel_softmax.symptom(
    gradient_is_cut,
    "The values are right, but no gradient reaches the logits, not even through the soft value: was there no_grad, "
    ".data or .detach() on the way?",
)
def soft_without_gradient(logits, uniform, tau, hard):
    return reference.gumbel_softmax(logits, uniform, tau, hard).detach()
