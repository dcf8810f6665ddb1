"""Unit 04, exercise 7: the block that holds everything together."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F

from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.heads import head_inputs
from course_lib.exercises.transformers.naming import keep_arguments, named
from course_lib.exercises.transformers.norms import unit


@unit.exercise(
    points=2,
    minutes=9,
    reference=reference.encoder_block,
    cases=4,
    uses=("attention", "multi_head", "layer_norm"),
    hints=[
        "Write three short helpers first, norm(n, x), attend(x) and think(x): then each order is two lines.",
        "attend(x) hands multi_head the four weights self_attn. ..., num_heads and mask; think(x) is made of linear1, "
        "F.gelu and linear2, each weight transposed, each bias added.",
        "A residual adds what its sublayer started from: x as it was just before. With pre-norm that is x before the "
        "norm, and nothing normalises the sum.",
    ],
)
def encoder_block(answer, case: Case) -> None:
    """A transformer block of x [B, T, d], GELU inside, weights in the dict p under torch's names; post- or pre-norm."""
    heads = case.size(2, 3)
    x, mask, weights = head_inputs(case, case.size(2, 3), case.size(4, 6), 4 * heads)
    p = parameters(case, weights, 4 * heads, 4 * heads + case.size(3, 6))
    for norm_first in (False, True):
        label = "pre-norm" if norm_first else "post-norm"
        extra = (p, heads, mask, norm_first)
        expected = reference.encoder_block(x, *extra)
        case.expect(answer(x, *extra), expected, label=label, rtol=1e-3, atol=1e-4)
        keep_arguments(case, x, *extra)
    extra = (p, heads, mask[:1], case.index % 2 == 0)
    case.expect_gradient(answer, reference.encoder_block, x[:1], wrt=0, extra=extra)


def parameters(case: Case, weights, wide: int, hidden: int):
    """The dict of a block's parameters, none of them trivial."""
    names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    p = {f"self_attn.{name}": weight for name, weight in zip(names, weights)}
    p |= {
        "linear1.weight": case.normal(hidden, wide) * wide**-0.5,
        "linear1.bias": case.normal(hidden),
    }
    p |= {
        "linear2.weight": case.normal(wide, hidden) * hidden**-0.5,
        "linear2.bias": case.normal(wide),
    }
    for norm in ("norm1", "norm2"):
        p |= {
            f"{norm}.weight": case.uniform(wide, low=0.3, high=1.0),
            f"{norm}.bias": case.normal(wide),
        }
    return p


class _Block:
    """The parts of a block, for mistakes to put together wrongly."""

    def __init__(self, p, num_heads, mask):
        self.p, self.num_heads, self.mask = p, num_heads, mask

    def attend(self, x):
        names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
        weights = [self.p[f"self_attn.{name}"] for name in names]
        return reference.multi_head(x, *weights, self.num_heads, self.mask)

    def squash(self, x):
        return F.gelu(x)

    def think(self, x):
        hidden = self.squash(x @ self.p["linear1.weight"].T + self.p["linear1.bias"])
        return hidden @ self.p["linear2.weight"].T + self.p["linear2.bias"]

    def norm(self, number, x):
        weight, bias = self.p[f"norm{number}.weight"], self.p[f"norm{number}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias)

    def pre(self, x):
        x = x + self.attend(self.norm(1, x))
        return x + self.think(self.norm(2, x))

    def post(self, x):
        x = self.norm(1, x + self.attend(x))
        return self.norm(2, x + self.think(x))


class _Linear(_Block):
    def squash(self, x):
        return x


class _Relu(_Block):
    def squash(self, x):
        return x.relu()


@named(
    encoder_block,
    "Pre-norm and post-norm are exchanged: norm_first=True normalises before each sublayer.",
)
def orders_exchanged(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    return block.post(x) if norm_first else block.pre(x)


@named(
    encoder_block,
    "With pre-norm you added the normalised x. What is added is x as it came: the sum must stay an open road.",
)
def normalised_residual(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if not norm_first:
        return block.post(x)
    x = block.norm(1, x)
    x = block.norm(2, x + block.attend(x))
    return x + block.think(x)


@named(
    encoder_block,
    "With post-norm you normalised the sublayer's output and then added it: the norm comes after the sum.",
)
def normalised_before_the_sum(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if norm_first:
        return block.pre(x)
    x = x + block.norm(1, block.attend(x))
    return x + block.norm(2, block.think(x))


@named(
    encoder_block,
    "The second sublayer adds to the block's first input. It adds to what the first sublayer left behind.",
)
def both_from_the_input(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if norm_first:
        return x + block.think(block.norm(2, x + block.attend(block.norm(1, x))))
    return block.norm(2, x + block.think(block.norm(1, x + block.attend(x))))


@named(encoder_block, "The mask has no effect: hand it on to multi_head.")
def no_mask(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, torch.ones_like(mask))
    return block.pre(x) if norm_first else block.post(x)


def _always(order, x, p, num_heads, mask, norm_first):
    return getattr(_Block(p, num_heads, mask), order)(x)


@named(
    encoder_block,
    "norm_first has no effect. Where it is True, a norm comes before each sublayer; where it is False, after each sum.",
    functools.partial(_always, "pre"),
)
def one_order(x, p, num_heads, mask, norm_first):
    return _always("post", x, p, num_heads, mask, norm_first)


def _added(first, second, x, p, num_heads, mask, norm_first):
    """A block whose residuals are multiplied by `first` and `second`: 0 leaves one out."""
    block = _Block(p, num_heads, mask)
    if norm_first:
        x = first * x + block.attend(block.norm(1, x))
        return second * x + block.think(block.norm(2, x))
    x = block.norm(1, first * x + block.attend(x))
    return block.norm(2, second * x + block.think(x))


@named(
    encoder_block,
    "A residual is missing: both sublayers add to what they start from, x + attend(...) and x + think(...).",
    functools.partial(_added, 0, 1),
    functools.partial(_added, 1, 0),
)
def no_residual(x, p, num_heads, mask, norm_first):
    return _added(0, 0, x, p, num_heads, mask, norm_first)


def _with_norms(numbers, x, p, num_heads, mask, norm_first):
    """A block whose norms have the parameters of others."""
    parts = ("weight", "bias")
    other = {
        f"norm{n}.{part}": p[f"norm{m}.{part}"] for n, m in enumerate(numbers, 1) for part in parts
    }
    block = _Block(p | other, num_heads, mask)
    return block.pre(x) if norm_first else block.post(x)


@named(
    encoder_block,
    "The norms are mixed up: norm1 goes with the attention, norm2 with the feed-forward part.",
    functools.partial(_with_norms, (1, 1)),
)
def norms_exchanged(x, p, num_heads, mask, norm_first):
    return _with_norms((2, 1), x, p, num_heads, mask, norm_first)


def _no_second_norm_with(order, x, p, num_heads, mask, norm_first):
    """The norm is missing in one of the orders."""
    if norm_first != (order == "pre"):
        return _always("pre" if norm_first else "post", x, p, num_heads, mask, norm_first)
    return no_second_norm(x, p, num_heads, mask, norm_first)


@named(
    encoder_block,
    "norm2 is missing: the feed-forward part has a norm of its own, in both orders.",
    functools.partial(_no_second_norm_with, "pre"),
    functools.partial(_no_second_norm_with, "post"),
)
def no_second_norm(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    x = x + block.attend(block.norm(1, x)) if norm_first else block.norm(1, x + block.attend(x))
    return x + block.think(x)


def _around_both_in_a_row(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if norm_first:
        return x + block.think(block.norm(2, block.attend(block.norm(1, x))))
    return block.norm(2, x + block.think(block.attend(x)))


@named(
    encoder_block,
    "One residual leads around both sublayers. Each sublayer has its own: add after the attention, then go on from "
    "that sum.",
    _around_both_in_a_row,
)
def around_both(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if norm_first:
        return x + block.think(block.norm(2, block.attend(block.norm(1, x))))
    return block.norm(2, x + block.think(block.norm(1, block.attend(x))))


@named(
    encoder_block,
    "With pre-norm the second sublayer still has its norm after the sum. It goes before, as in the first: "
    "x + think(norm2(x)).",
)
def second_is_post(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if not norm_first:
        return block.post(x)
    x = x + block.attend(block.norm(1, x))
    return block.norm(2, x + block.think(x))


def _relu(x, p, num_heads, mask, norm_first):
    block = _Relu(p, num_heads, mask)
    return block.pre(x) if norm_first else block.post(x)


@named(
    encoder_block,
    "Between the two linear maps of the feed-forward part stands F.gelu; yours has nothing there, or ReLU.",
    _relu,
)
def no_gelu(x, p, num_heads, mask, norm_first):
    block = _Linear(p, num_heads, mask)
    return block.pre(x) if norm_first else block.post(x)
