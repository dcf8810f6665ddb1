"""Unit 04's mistakes in other clothes than their examples', what earns nothing, and what its exercises forbid."""

from __future__ import annotations

import pytest
import torch

from course_lib.exercises.forbidden import forbidden_names
from course_lib.exercises.transformers import naming, reference, unit
from tests.exercises.failures import failures

# mistakes in other clothes ------------------------------------------------------------------------


def named(name, answer) -> str:
    return "\n".join(unit.verdict(name, answer).lines)


@pytest.mark.parametrize("number", range(len(naming.FORMS)))
def test_every_form_of_a_mistake_has_its_name(number):
    exercise, text, form = naming.FORMS[number]
    assert f"mistake   {text}" in named(exercise.name, form)


def test_the_mistakes_are_not_too_many_to_be_graded():
    assert sum(len(e.mistakes) for e in unit.exercises.values()) <= 90


def scores(query, key):
    return query @ key.mT / query.shape[-1] ** 0.5


@pytest.mark.parametrize("fill", [-torch.inf, -1e9])
@pytest.mark.parametrize(
    ("factor", "axis", "words"),
    [
        (lambda d, s: d**0.5, -1, "The scaling is missing"),
        (lambda d, s: d**-0.5, -1, "You divided by d_h itself"),
        (lambda d, s: (d / s) ** 0.5, -1, "the root of the number of keys"),
        (lambda d, s: 1, -2, "over the wrong axis"),
    ],
)
def test_a_wrong_formula_is_named_though_rows_without_keys_are_forgotten(fill, factor, axis, words):
    def answer(query, key, value, mask):
        e = scores(query, key) * factor(query.shape[-1], key.shape[-2])
        return e.masked_fill(~mask, fill).softmax(axis) @ value

    assert words in " ".join(named("attention", answer).split("mistake   ")[1].split())


def test_weights_cleaned_in_place_are_told_as_such_and_not_as_detached():
    def answer(query, key, value, mask):
        weights = scores(query, key).masked_fill(~mask, -torch.inf).softmax(-1)
        return weights.masked_fill_(~mask, 0.0) @ value

    told = named("attention", answer)
    assert "changed in place" in told and "mistake" not in told


def test_rows_and_columns_padded_are_told_what_is_too_much():
    def answer(lengths, size):
        real = torch.arange(size) < lengths[:, None]
        both = real[:, None] & real[:, :, None]
        return (both & torch.ones(size, size).tril().bool())[:, None]

    assert "The rows of padded queries are closed" in named("attention_mask", answer)


def test_too_wide_a_reach_leaves_the_table():
    def answer(query, key, table):
        t, reach = torch.arange(query.shape[-2]), len(table)
        index = (t - t[:, None]).clamp(-reach, reach) + reach
        return torch.einsum("bhid,ijd->bhij", query, table[index])

    assert "Your row numbers leave the table" in named("relative_scores", answer)


def masked_with(fill):
    def answer(query, key, value, mask):
        return scores(query, key).masked_fill(~mask, fill).softmax(-1) @ value

    return answer


@pytest.mark.parametrize("fill", [-1e4, -1e9, -1e20, torch.finfo(torch.float32).min])
def test_every_finite_mask_is_named(fill):
    assert "mistake   Your mask is finite" in named("attention", masked_with(fill))


def test_a_finite_number_whose_traces_are_removed_is_named_too():
    def removed(query, key, value, mask):
        weights = (scores(query, key) - 1e9 * (~mask)).softmax(-1)
        return weights.masked_fill(~mask, 0.0) @ value

    assert "a finite number is beaten" in " ".join(named("attention", removed).split())


def test_exponentials_by_hand_without_the_largest_are_named():
    def by_hand(query, key, value, mask):
        share = (query @ key.mT / query.shape[-1] ** 0.5).exp() * mask
        return share / share.sum(-1, keepdim=True).clamp(min=1e-9) @ value

    assert "mistake   Nothing is left" in named("attention", by_hand)


def test_an_emptied_row_whose_gradient_is_nan_is_named():
    def emptied(query, key, value, mask):
        out = masked_with(-torch.inf)(query, key, value, mask)
        return out.nan_to_num(0.0)

    assert "sends NaN back" in named("attention", emptied)


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_a_cache_that_grows_along_the_wrong_axis_is_named(axis):
    def grown(query, key, value, cache):
        keys, values = (torch.cat(pair, axis) for pair in zip(cache, (key, value)))
        return (query @ keys.mT).softmax(-1) @ values, (keys, values)

    assert "mistake   torch.cat was asked to join" in named("cache_step", grown)


def test_another_exception_is_not_called_a_wrong_axis():
    def other(query, key, value, cache):
        raise RuntimeError("no such thing")

    assert "mistake" not in named("cache_step", other)


# what earns nothing ---------------------------------------------------------------------------------


def no_attention_of_equal_lengths(query, key, value, mask):
    same = query.shape[-2] == key.shape[-2]
    return value if same else reference.attention(query, key, value, mask)


def mean_of_all_open(query, key, value, mask):
    mean = value.mean(-2, keepdim=True).expand(*query.shape[:-1], -1)
    return mean if mask.all() else reference.attention(query, key, value, mask)


def always_causal(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask):
    mask = mask & torch.ones(x.shape[1], x.shape[1]).tril().bool()
    return reference.multi_head(x, in_weight, in_bias, out_weight, out_bias, num_heads, mask)


def cut(function, place):
    """`function` without a gradient for the argument in that place."""

    def answer(*args):
        return function(*(a.detach() if i == place else a for i, a in enumerate(args)))

    return answer


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("attention", no_attention_of_equal_lengths),
        ("attention", mean_of_all_open),
        ("multi_head", always_causal),
        *(("attention", cut(reference.attention, place)) for place in range(3)),
        *(("multi_head", cut(reference.multi_head, place)) for place in (0, 1, 3)),
        *(("relative_scores", cut(reference.relative_scores, place)) for place in range(3)),
        *(("layer_norm", cut(reference.layer_norm, place)) for place in range(3)),
        *(("non_local", cut(reference.non_local, place)) for place in (0, 1)),
    ],
)
def test_what_is_wrong_in_one_respect_fails(name, answer):
    assert failures(unit.find(name), answer)


# what is forbidden ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("attention", "import torch.nn.functional as F\nF.scaled_dot_product_attention(q, k, v)"),
        ("attention", "from course_lib.attention.scores import masked_softmax\nmasked_softmax(a)"),
        ("multi_head", "from torch import nn\nnn.MultiheadAttention(8, 2)"),
        ("multi_head", "import torch\ntorch.nn.functional.multi_head_attention_forward(x)"),
        ("multi_head", "from course_lib.attention.multihead import split_heads as s\ns(x, 2)"),
        (
            "sinusoids",
            "from course_lib.attention import positions\npositions.sinusoidal_positions(3, 4)",
        ),
        ("layer_norm", "import torch.nn.functional as F\nF.layer_norm(x, (3,))"),
        ("layer_norm", "import torch\ntorch.nn.LayerNorm(3)(x)"),
        ("layer_norm", "import torch\ntorch.native_layer_norm(x, (3,), w, b, 1e-5)"),
        ("layer_norm", "import torch\ntorch.group_norm(x, 1)"),
        ("encoder_block", "from torch.nn import TransformerEncoderLayer as L\nL(8, 2)"),
        (
            "encoder_block",
            "import torch\ntorch.nn.modules.transformer.TransformerEncoderLayer(8, 2)",
        ),
        ("encoder_block", "import torch\ntorch._transformer_encoder_layer_fwd(x)"),
        ("cache_step", "from course_lib.attention.generate import KeyValueCache\nKeyValueCache(3)"),
        ("attention", "import torch\ntorch.ops.aten.scaled_dot_product_attention(q, k, v)"),
        ("attention", "from torch.nn.attention import sdpa_kernel\nsdpa_kernel(x)"),
        ("attention", "unit.find('attention').reference(q, k, v, m)"),
        ("attention", "from course_lib.exercises.transformers import check\ncheck('attention', f)"),
    ],
)
def test_what_is_ready_made_is_forbidden(name, source):
    assert forbidden_names(source, unit.find(name).forbids)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "attention",
            "import torch\ntorch.softmax(scores, -1)\nscores.masked_fill(mask, -torch.inf)",
        ),
        ("relative_scores", "import torch\ntorch.gather(found, -1, index)"),
        ("encoder_block", "import torch.nn.functional as F\nF.gelu(F.linear(x, w, b))"),
        ("non_local", "import torch.nn.functional as F\nF.conv2d(x, w)"),
        ("layer_norm", "x.var(-1, unbiased=False)"),
    ],
)
def test_what_an_answer_needs_is_allowed(name, source):
    assert forbidden_names(source, unit.find(name).forbids) == []
