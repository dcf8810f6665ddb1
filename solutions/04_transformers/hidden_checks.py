"""Edge cases of unit 04 that only grading runs. The students' distribution does not contain this file."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.transformers import reference, unit
from course_lib.exercises.transformers.blocks import parameters
from course_lib.exercises.transformers.heads import head_inputs


@unit.find("attention_mask").hidden_check
def full_empty_and_alone(answer, case: Case) -> None:
    """A text that fills the size, an empty one, and a single text of one letter."""
    size = case.size(3, 7)
    lengths = torch.tensor([size, 0, 1])
    case.expect(answer(lengths, size), reference.attention_mask(lengths, size), label="0 to all")
    case.expect(answer(torch.tensor([1]), 1), torch.ones(1, 1, 1, 1).bool(), label="one letter")


@unit.find("attention").hidden_check
def no_leak_and_nothing_open(answer, case: Case) -> None:
    """Nothing open at all; one key; scores of 1e4 behind the mask; and values of 1e30 behind it."""
    query, key, value = case.normal(2, 3, 4), case.normal(2, 5, 4), case.normal(2, 5, 2)
    none = torch.zeros(3, 5, dtype=torch.bool)
    case.expect(answer(query, key, value, none), torch.zeros(2, 3, 2), label="nothing open")
    one = torch.ones(3, 1, dtype=torch.bool)
    expected = value[:, :1].expand(2, 3, 2)
    case.expect(answer(query, key[:, :1], value[:, :1], one), expected, label="one key")
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[:, case.size(1, 2) % 5] = False
    loud = torch.where(mask[0, :, None], key, 1e4 * query[:, :1].sign())
    far = torch.where(mask[0, :, None], value, 1e30)
    given = (query, loud, far, mask)
    case.expect(answer(*given), reference.attention(*given), label="loud keys behind the mask")


@unit.find("multi_head").hidden_check
def one_head_and_single_features(answer, case: Case) -> None:
    """One head; as many heads as features; one text of one position."""
    for batch, size, heads, wide in ((2, 4, 1, 6), (1, 5, 6, 6), (1, 1, 2, 4)):
        x, mask, weights = head_inputs(case, batch, size + 1, wide)
        x, mask = x[:, :size], mask[:, :, :size, :size]
        given = (x, *weights, heads, mask)
        case.expect(answer(*given), reference.multi_head(*given), label=f"{heads} heads of {wide}")
    x, mask, weights = head_inputs(case, 2, 4, 6)
    expected = reference.multi_head(x, *weights, 3, mask)
    expected[1, 2] = weights[3]  # nothing is found, and the output map leaves its bias
    mask[1, 0, 2] = False
    got = answer(x, *weights, 3, mask)
    case.expect(got, expected, label="a position that may look at nothing")
    given, mask = (x[:1], *weights), reference.attention_mask(torch.tensor([3]), 4)
    for wrt in (2, 4):  # the biases; in public x and the weights
        case.expect_gradient(answer, reference.multi_head, *given, wrt=wrt, extra=(3, mask))


@unit.find("sinusoids").hidden_check
def two_columns_and_long(answer, case: Case) -> None:
    """One pair of columns; one row; four hundred rows."""
    for length, d_model in ((case.size(3, 9), 2), (1, 8), (400, 16)):
        expected = reference.sinusoids(length, d_model)
        label = f"[{length}, {d_model}]"
        case.expect(answer(length, d_model), expected, label=label, atol=1e-3)


@unit.find("relative_scores").hidden_check
def reach_zero_and_out_of_reach(answer, case: Case) -> None:
    """A table of one row; a table longer than the text; a text of one position."""
    for size, reach in ((case.size(3, 5), 0), (4, 9), (1, 2), (30, 4)):
        query, key = case.normal(2, 1, 2, size, 3)
        given = (query, key, case.normal(2 * reach + 1, 3))
        label = f"T {size}, reach {reach}"
        case.expect(answer(*given), reference.relative_scores(*given), label=label)


@unit.find("layer_norm").hidden_check
def a_single_position_and_four_axes(answer, case: Case) -> None:
    """A vector alone; four axes; features near a thousand; the default of eps."""
    for shape in ((case.size(3, 6),), (2, 3, 2, 4)):
        x, weight, bias = 3 * case.normal(*shape) + 1000, *case.normal(2, shape[-1])
        got = answer(x, weight, bias, 0.01)
        expected = reference.layer_norm(x, weight, bias, 0.01)
        case.expect(got, expected, label=f"{len(shape)} axes", rtol=1e-3, atol=1e-3)
    small = 0.003 * case.normal(3, 5)
    expected = reference.layer_norm(small, weight[:1].expand(5), bias[:1].expand(5))
    case.expect(answer(small, weight[:1].expand(5), bias[:1].expand(5)), expected, label="no eps")


@unit.find("encoder_block").hidden_check
def one_position_and_a_narrow_inside(answer, case: Case) -> None:
    """One text of one position, one head, and fewer units inside than outside."""
    for size, heads, wide, hidden in ((1, 1, 4, 3), (case.size(3, 5), 2, 6, 2)):
        x, mask, weights = head_inputs(case, 1, size + 1, wide)
        x, mask = x[:, :size], mask[:, :, :size, :size]
        p = parameters(case, weights, wide, hidden)
        for norm_first in (True, False):
            given = (x, p, heads, mask, norm_first)
            expected = reference.encoder_block(*given)
            case.expect(answer(*given), expected, label=f"T {size}", rtol=1e-3, atol=1e-4)


@unit.find("cache_step").hidden_check
def a_whole_text(answer, case: Case) -> None:
    """Eight steps from an empty cache: the last context is that of causal attention over the whole text."""
    query, key, value = 20 * case.normal(3, 1, 2, 8, 3)  # exp of such scores overflows
    for t in range(8):
        now = (part[:, :, t : t + 1] for part in (query, key, value))
        got = answer(*now, (key[:, :, :t], value[:, :, :t]))
        whole = reference.attention(query, key, value, torch.ones(8, 8).tril().bool())
        kept = (key[:, :, : t + 1], value[:, :, : t + 1])
        wanted = whole[:, :, t : t + 1], kept
        case.expect(got, wanted, label=f"step {t}", rtol=5e-3, atol=1e-2)


@unit.find("non_local").hidden_check
def one_pixel_and_one_row(answer, case: Case) -> None:
    """A single pixel, which looks at itself; an image of one row; a map that leads nowhere."""
    for height, width in ((1, 1), (1, 6), (5, 2)):
        x, maps = case.normal(1, 3, height, width), 0.6 * case.normal(3, 2, 3)
        given = (x, *maps, case.normal(3, 2))
        case.expect(answer(*given), reference.non_local(*given), label=f"{height} x {width}")
    given = (x, *maps, torch.zeros(3, 2))
    case.expect(answer(*given), x, label="W = 0")
    given = (10 * x, *maps, 0.1 * case.normal(3, 2))
    expected = reference.non_local(*given)
    case.expect(answer(*given), expected, label="large scores", rtol=1e-3, atol=1e-2)
    given = (x, *maps, 0.1 * case.normal(3, 2))
    for wrt in (2, 3, 4):  # phi, g and out; in public x and theta
        case.expect_gradient(answer, reference.non_local, *given, wrt=wrt)
