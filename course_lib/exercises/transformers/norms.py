"""Unit 04, exercise 6: layer norm, by hand."""

from __future__ import annotations

from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.positions import unit


@unit.exercise(
    points=1,
    minutes=5,
    reference=reference.layer_norm,
    hints=[
        "Mean and variance are taken over the features of each token alone: over dim=-1, with keepdim=True.",
        "The variance is the mean of the squared deviations: it divides by d. torch's .var() divides by d - 1.",
        "(x - mean) / (variance + eps).sqrt() first; then times weight, plus bias.",
    ],
)
def layer_norm(answer, case: Case) -> None:
    """weight * (x - mean) / sqrt(variance + eps) + bias of x [..., d]; mean and variance over the last axis."""
    for shape, eps in (((case.size(2, 3), case.size(3, 4), case.size(5, 8)), 0.3), ((3, 4), 1e-5)):
        x = case.normal(*shape) * case.uniform(*shape[:-1], 1, low=0.3, high=2.0) + 2.0
        x[..., 0, :] = (
            x[..., 0, :1] if eps < 0.1 else x[..., 0, :]
        )  # a token whose features are alike
        given = (x, 1.0 + 0.5 * case.normal(shape[-1]), case.normal(shape[-1]), eps)
        label = f"eps {eps:g}" + (", equal features in token 0" if eps < 0.1 else "")
        case.expect(answer(*given), reference.layer_norm(*given), label=label, atol=1e-4)
        if eps > 0.1:
            case.expect_gradient(answer, reference.layer_norm, *given[:3], wrt=0, extra=(eps,))


def _moments(x, dims=-1):
    """(x - mean, mean squared deviation)."""
    centred = x - x.mean(dims, keepdim=True)
    return centred, centred.square().mean(dims, keepdim=True)


@layer_norm.mistake(
    "Your variance divides by d - 1, torch's default for .var() and .std(). Layer norm divides by d: "
    "unbiased=False, or the mean of the squares."
)
def unbiased(x, weight, bias, eps):
    centred, _ = _moments(x)
    return weight * centred / (x.var(-1, keepdim=True) + eps).sqrt() + bias


@layer_norm.mistake(
    "eps stands outside the root. It is added to the variance: sqrt(variance + eps)."
)
def eps_outside(x, weight, bias, eps):
    centred, variance = _moments(x)
    return weight * centred / (variance.sqrt() + eps) + bias


@layer_norm.mistake(
    "Two things: .std() divides by d - 1 where layer norm divides by d, and eps belongs inside the root."
)
def std_plus_eps(x, weight, bias, eps):
    centred, _ = _moments(x)
    return weight * centred / (x.std(-1, keepdim=True) + eps) + bias


@layer_norm.mistake(
    "eps is missing: a token whose features are all alike has variance 0, and 0 / 0 is NaN."
)
def no_eps(x, weight, bias, eps):
    centred, variance = _moments(x)
    return weight * centred / variance.sqrt() + bias


@layer_norm.mistake(
    "You normalised over the batch (the first axis), as batch norm does. Layer norm looks at one token at a time."
)
def over_batch(x, weight, bias, eps):
    centred, variance = _moments(x, 0)
    return weight * centred / (variance + eps).sqrt() + bias


@layer_norm.mistake(
    "Mean and variance are those of each feature over all tokens: that is batch norm. Take them over dim=-1."
)
def batch_norm(x, weight, bias, eps):
    centred, variance = _moments(x, tuple(range(x.dim() - 1)))
    return weight * centred / (variance + eps).sqrt() + bias


@layer_norm.mistake(
    "Mean and variance are taken over the tokens of a text. They belong to the features of one token: dim=-1."
)
def over_time(x, weight, bias, eps):
    centred, variance = _moments(x, -2)
    return weight * centred / (variance + eps).sqrt() + bias


@layer_norm.mistake(
    "One mean and one variance serve all numbers. Each token has its own: take them over dim=-1."
)
def over_everything(x, weight, bias, eps):
    centred, variance = _moments(x, tuple(range(x.dim())))
    return weight * centred / (variance + eps).sqrt() + bias


@layer_norm.mistake(
    "One mean and one variance serve a whole text. Each of its tokens has its own: dim=-1 alone."
)
def over_texts(x, weight, bias, eps):
    centred, variance = _moments(x, (-2, -1))
    return weight * centred / (variance + eps).sqrt() + bias


@layer_norm.mistake("eps is an argument: you added 1e-5, whatever it was.")
def eps_fixed(x, weight, bias, eps):
    centred, variance = _moments(x)
    return weight * centred / (variance + 1e-5).sqrt() + bias


@layer_norm.mistake("The root is missing: you divided by the variance.")
def no_root(x, weight, bias, eps):
    centred, variance = _moments(x)
    return weight * centred / (variance + eps) + bias


@layer_norm.mistake(
    "The mean was not subtracted (that is another norm, RMS norm, if the variance was not either)."
)
def not_centred(x, weight, bias, eps):
    return weight * x / (_moments(x)[1] + eps).sqrt() + bias


@layer_norm.mistake(
    "The mean was not subtracted, neither above nor in the variance: that is another norm, RMS norm."
)
def root_mean_square(x, weight, bias, eps):
    return weight * x / (x.square().mean(-1, keepdim=True) + eps).sqrt() + bias


@layer_norm.mistake("weight and bias are missing: they come after the division.")
def not_affine(x, weight, bias, eps):
    centred, variance = _moments(x)
    return centred / (variance + eps).sqrt()


@layer_norm.mistake("The bias was added before weight multiplies: it is weight * (...) + bias.")
def bias_first(x, weight, bias, eps):
    centred, variance = _moments(x)
    return weight * (centred / (variance + eps).sqrt() + bias)


@layer_norm.mistake(
    "The values are right, but mean or variance is detached: the gradient also goes through them."
)
def statistics_detached(x, weight, bias, eps):
    _, variance = _moments(x.detach())
    return weight * (x - x.detach().mean(-1, keepdim=True)) / (variance + eps).sqrt() + bias


@layer_norm.mistake(
    "The values are right, but no gradient flows: was there no_grad, .data, .detach() or numpy on the way?"
)
def without_gradient(x, weight, bias, eps):
    return not_affine(x, weight, bias, eps).detach() * weight.detach() + bias.detach()
