"""Unit 04, exercise 7: the block that holds everything together."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference
from course_lib.exercises.transformers.heads import head_inputs
from course_lib.exercises.transformers.norms import unit


@unit.exercise(
    points=2,
    minutes=9,
    reference=reference.encoder_block,
    cases=4,
    uses=("attention", "multi_head", "layer_norm"),
    hints=[
        "Write two short helpers first: attend(x) calls multi_head with its four weights, think(x) is W_2 gelu(W_1 x).",
        "Post-norm: x = norm1(x + attend(x)), then x = norm2(x + think(x)). What is added is the sublayer's input.",
        "Pre-norm: x = x + attend(norm1(x)), then x = x + think(norm2(x)). Nothing normalises the sum.",
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


@encoder_block.mistake(
    "norm_first has no effect: you always normalise after the sum (post-norm). Where it is True, the norm comes before "
    "the sublayer."
)
def always_post(x, p, num_heads, mask, norm_first):
    return _Block(p, num_heads, mask).post(x)


@encoder_block.mistake(
    "norm_first has no effect: you always normalise before the sublayer (pre-norm). Where it is False, the norm comes "
    "after the sum."
)
def always_pre(x, p, num_heads, mask, norm_first):
    return _Block(p, num_heads, mask).pre(x)


@encoder_block.mistake(
    "Pre-norm and post-norm are exchanged: norm_first=True normalises before each sublayer."
)
def orders_exchanged(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    return block.post(x) if norm_first else block.pre(x)


@encoder_block.mistake(
    "There is no residual: each sublayer adds to its input, x + attend(...) and x + think(...)."
)
def no_residual(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if norm_first:
        return block.think(block.norm(2, block.attend(block.norm(1, x))))
    return block.norm(2, block.think(block.norm(1, block.attend(x))))


@encoder_block.mistake(
    "With pre-norm you added the normalised x. What is added is x as it came: the sum must stay an open road."
)
def normalised_residual(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if not norm_first:
        return block.post(x)
    x = block.norm(1, x)
    x = block.norm(2, x + block.attend(x))
    return x + block.think(x)


@encoder_block.mistake("The first sublayer has no residual: it is x + attend(...).")
def first_residual_missing(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if norm_first:
        x = block.attend(block.norm(1, x))
        return x + block.think(block.norm(2, x))
    x = block.norm(1, block.attend(x))
    return block.norm(2, x + block.think(x))


@encoder_block.mistake("The second sublayer has no residual: it is x + think(...).")
def second_residual_missing(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if norm_first:
        return block.think(block.norm(2, x + block.attend(block.norm(1, x))))
    return block.norm(2, block.think(block.norm(1, x + block.attend(x))))


@encoder_block.mistake(
    "With post-norm you normalised the sublayer's output and then added it: the norm comes after the sum."
)
def normalised_before_the_sum(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if norm_first:
        return block.pre(x)
    x = x + block.norm(1, block.attend(x))
    return x + block.norm(2, block.think(x))


@encoder_block.mistake(
    "The second sublayer adds to the block's first input. It adds to what the first sublayer left behind."
)
def both_from_the_input(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    if norm_first:
        return x + block.think(block.norm(2, x + block.attend(block.norm(1, x))))
    return block.norm(2, x + block.think(block.norm(1, x + block.attend(x))))


@encoder_block.mistake("The second sublayer has a norm of its own: norm2, not norm1 again.")
def norm1_twice(x, p, num_heads, mask, norm_first):
    block = _Block(
        p | {f"norm2.{part}": p[f"norm1.{part}"] for part in ("weight", "bias")}, num_heads, mask
    )
    return block.pre(x) if norm_first else block.post(x)


@encoder_block.mistake(
    "The two norms are exchanged: norm1 goes with the attention, norm2 with the feed-forward part."
)
def norms_exchanged(x, p, num_heads, mask, norm_first):
    parts = ("weight", "bias")
    turned = {f"norm{n}.{part}": p[f"norm{3 - n}.{part}"] for n in (1, 2) for part in parts}
    block = _Block(p | turned, num_heads, mask)
    return block.pre(x) if norm_first else block.post(x)


@encoder_block.mistake(
    "The feed-forward part has no non-linearity: two linear maps in a row are one. GELU stands between them."
)
def no_gelu(x, p, num_heads, mask, norm_first):
    block = _Linear(p, num_heads, mask)
    return block.pre(x) if norm_first else block.post(x)


@encoder_block.mistake("The non-linearity is GELU here; yours is ReLU.")
def relu(x, p, num_heads, mask, norm_first):
    block = _Relu(p, num_heads, mask)
    return block.pre(x) if norm_first else block.post(x)


@encoder_block.mistake("The mask has no effect: hand it on to multi_head.")
def no_mask(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, torch.ones_like(mask))
    return block.pre(x) if norm_first else block.post(x)


@encoder_block.mistake(
    "The values are right, but no gradient flows: was there no_grad, .data or .detach()?"
)
def without_gradient(x, p, num_heads, mask, norm_first):
    block = _Block(p, num_heads, mask)
    return (block.pre(x) if norm_first else block.post(x)).detach()
