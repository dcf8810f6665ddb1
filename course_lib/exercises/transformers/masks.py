"""Unit 04, exercise 1: who may look at whom."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.engine import Unit
from course_lib.exercises.transformers import reference

unit = Unit(
    "04_transformers",
    forbids=(
        "course_lib.attention",
        "course_lib.exercises",
        ".reference",
        *(f"torch.nn.Transformer{part}" for part in ("", "Encoder", "Decoder")),
        *(f"torch.nn.Transformer{part}Layer" for part in ("Encoder", "Decoder")),
        "torch.nn.MultiheadAttention",
        "torch.nn.LayerNorm",
        "torch.nn.RMSNorm",
        *(f"torch.nn.{norm}Norm" for norm in ("Group", "Local", "Instance")),
        "torch.nn.attention",
        "torch.nn.functional.scaled_dot_product_attention",
        "torch.nn.functional.multi_head_attention_forward",
        "torch.nn.functional.layer_norm",
        "torch.nn.functional.group_norm",
        "torch.nn.functional.instance_norm",
        "torch.nn.functional.batch_norm",
        "torch.nn.functional.rms_norm",
        *(f"torch.{norm}_norm" for norm in ("layer", "group", "instance", "batch", "rms")),
        *(f"torch.native_{norm}_norm" for norm in ("layer", "group", "batch")),
        "torch._native_multi_head_attention",
        "torch._transformer_encoder_layer_fwd",
        "torch._scaled_dot_product_attention_math",
        "torch._C",
        "torch._VF",
        "torch.ops",
        "torch.ao",
    ),
)


@unit.exercise(
    points=1,
    minutes=5,
    reference=reference.attention_mask,
    hints=[
        "With j = torch.arange(size), j < lengths[:, None] says for each text which keys are real: [B, T].",
        "With a column of queries i and a row of keys j, `j <= i` is the causal part, [T, T].",
        "Give the first part the shape [B, 1, 1, T], so that it broadcasts over heads and queries; join them with &.",
    ],
)
def attention_mask(answer, case: Case) -> None:
    """bool [B, 1, T, T], True where query i may look at key j: j <= i and j < lengths[b]; lengths int64 [B], size T."""
    for size in (case.size(4, 6), case.size(7, 9)):
        batch = case.size(2, 3)
        lengths = torch.randint(1, size, (batch,), generator=case.random)
        lengths[0] = size - 1 if case.index % 2 else size - 2  # the longest and the shortest differ
        lengths[-1] = torch.randint(1, size - 2, (), generator=case.random)
        got = answer(lengths, size)
        case.expect(got, reference.attention_mask(lengths, size), label=f"size {size}")


def _parts(lengths, size):
    """(causal [T, T], real keys [B, 1, 1, T])."""
    j = torch.arange(size)
    return j <= j[:, None], (j < lengths[:, None])[:, None, None, :]


@attention_mask.mistake(
    "Your causal part is transposed: a query sees what comes after it, and nothing before it. Rows are queries."
)
def transposed(lengths, size):
    causal, real = _parts(lengths, size)
    return causal.T & real


@attention_mask.mistake(
    "Your causal part leaves out the diagonal: a position may look at itself, so it is j <= i and not j < i."
)
def without_itself(lengths, size):
    causal, real = _parts(lengths, size)
    return causal & ~torch.eye(size, dtype=torch.bool) & real


@attention_mask.mistake(
    "Your causal part is off by one: query i sees key i + 1, which is the very letter that it is to predict."
)
def one_ahead(lengths, size):
    _, real = _parts(lengths, size)
    return torch.ones(size, size).tril(1).bool() & real


@attention_mask.mistake(
    "The rows of padded queries are closed. Only keys are: close the columns of the padding (a padded query still sees "
    "the real keys, and what it finds is ignored later)."
)
def rows_padded(lengths, size):
    causal, real = _parts(lengths, size)
    return causal & real.transpose(-1, -2)


@attention_mask.mistake(
    "The padding is off by one: of a text of length n the keys 0 to n - 1 are real, so it is j < n."
)
def one_too_long(lengths, size):
    causal, real = _parts(lengths + 1, size)
    return causal & real


@attention_mask.mistake(
    "Your mask is the opposite: True means here that a query MAY look at the key (torch's modules say it the other way "
    "round, torch's functional attention as we do)."
)
def inverted(lengths, size):
    causal, real = _parts(lengths, size)
    return ~(causal & real)


@attention_mask.mistake("The padding is not masked: your mask does not depend on lengths.")
def causal_alone(lengths, size):
    causal, _ = _parts(lengths, size)
    return causal.expand(len(lengths), 1, size, size)


@attention_mask.mistake("The future is not masked: every query sees all real keys.")
def padding_alone(lengths, size):
    return _parts(lengths, size)[1].expand(len(lengths), 1, size, size)
