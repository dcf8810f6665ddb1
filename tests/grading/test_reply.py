"""Replies: values that travel unharmed, and trees and exceptions that are none."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.grading import reply, wire, worker

TOKEN = "0" * 32
HEAD = wire.HEAD
quick = settings(max_examples=150, deadline=None)

# any value ---------------------------------------------------------------------------------------

DTYPES = [torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64] + [
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
]
SPECIAL = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1e300, 1e-40])


@st.composite
def tensors(draw):
    """A tensor of any dtype and up to four dimensions, perhaps empty, strided, turned, or with a gradient."""
    dtype, seed = draw(st.sampled_from(DTYPES)), draw(st.integers(0, 2**32))
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    made = torch.randint(-100, 100, shape, generator=torch.Generator().manual_seed(seed))
    made = (made > 0 if dtype == torch.bool else made.abs() if dtype == torch.uint8 else made).to(
        dtype
    )
    if made.is_floating_point() and draw(st.booleans()):
        made = made.flatten()
        made[: len(SPECIAL)] = SPECIAL[: len(made)].to(dtype)
        made = made.view(shape)
    way = draw(st.sampled_from(["plain", "transposed", "strided", "expanded", "grad", "parameter"]))
    if way == "transposed":
        return made.mT if made.dim() > 1 else made
    if way == "strided":
        return made[..., ::2] if made.dim() else made
    if way == "expanded":
        return made.expand(3, *made.shape)
    if way in ("grad", "parameter") and (made.is_floating_point() or made.is_complex()):
        return made.requires_grad_() if way == "grad" else torch.nn.Parameter(made)
    return made.conj() if made.is_complex() else made


FLOATS = st.floats(allow_nan=True, allow_infinity=True, allow_subnormal=True)
SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | FLOATS | st.text(max_size=20)
)
KEYS = st.text(max_size=5) | st.integers(-9, 9) | st.tuples(st.integers(0, 3), st.booleans())


def containers(inside):
    return (
        st.lists(inside, max_size=3)
        | st.lists(inside, max_size=3).map(tuple)
        | st.dictionaries(KEYS, inside, max_size=3)
    )


VALUES = st.recursive(SCALARS | tensors(), containers, max_leaves=12)


def same(one, other) -> bool:
    """Equal in type, dtype, shape and every bit."""
    if isinstance(one, torch.Tensor):
        one = one.detach().resolve_conj()
        other = other if one.dtype == other.dtype and one.shape == other.shape else None
        return other is not None and raw(one) == raw(other)
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one.hex() == other.hex()
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return [*one] == [*other] and all(same(one[k], other[k]) for k in one)
    return one == other


def raw(tensor: torch.Tensor) -> bytes:
    tensor = tensor.flatten().clone(memory_format=torch.contiguous_format)
    return tensor.view(torch.uint8).numpy().tobytes() if len(tensor) else b""


def travel(value):
    """`value` as the trusted side has it, after its journey in a reply."""
    inside: list[torch.Tensor] = []
    data = wire.frame({"token": TOKEN, "value": wire.pack(value, inside)}, inside)
    return reply.read_reply(*received(data), TOKEN)


def received(data: bytes):
    control, body = HEAD.unpack(data[: HEAD.size])
    assert len(data) == HEAD.size + control + body
    return wire.read_frame(data[HEAD.size :][:control], data[HEAD.size + control :])


@quick
@given(VALUES)
def test_any_value_arrives_as_it_was_sent(value):
    assert same(value, travel(value))


def test_what_is_nearly_a_tensor_arrives_as_one():
    assert same(travel(np.float32(0.1)), torch.tensor(0.1))
    assert same(travel(np.arange(6).reshape(2, 3).T), torch.arange(6).view(2, 3).mT)
    assert same(travel(torch._neg_view(torch.ones(2))), -torch.ones(2))
    assert same(travel(torch.return_types.max((torch.ones(1), torch.zeros(1)))), (
        torch.ones(1), torch.zeros(1)
    ))  # fmt: skip
    assert travel(torch.Size([2, 3])) == (2, 3)


def test_a_sparse_result_arrives_dense_as_in_the_lab():
    assert same(travel(torch.eye(3).to_sparse()), torch.eye(3))


def test_a_generator_travels_to_the_worker_by_its_state():
    sent: list[torch.Tensor] = []
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)
    state = generator.get_state()
    tree = wire.pack([generator, generator], sent)
    _, arrived = received(wire.frame({}, sent))
    first, second = wire.unpack(tree, arrived)
    assert torch.equal(generator.get_state(), state)
    drawn = [torch.rand(4, generator=g) for g in (generator, first, second)]
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", torch.nn.Linear(1, 1), [object()], range(3)]
)
def test_what_does_not_travel_is_named_by_its_type(value):
    with pytest.raises(worker.NotPlain):
        wire.pack(value, [])


def test_a_meta_tensor_is_the_students_error():
    with pytest.raises(ValueError, match="meta"):
        wire.pack(torch.ones(2, device="meta"), [])


# replies -----------------------------------------------------------------------------------------

RAISED = {"kind": "ValueError", "text": "no", "cell": "c", "line": 3, "function": "f"}
TREES = {
    "an unknown kind": {"set": [1]},
    "two kinds": {"list": [], "tuple": []},
    "a plain list": [1],
    "a plain number with a point": 1.5,
    "a tensor that is not there": {"tensor": 1},
    "a tensor under a negative number": {"tensor": -1},
    "a tensor under the number true": {"tensor": True},
    "a tensor under a text": {"tensor": "0"},
    "a tensor named twice": {"list": [{"tensor": 0}, {"tensor": 0}]},
    "a tensor named by nobody": 1,
    "a generator": {"generator": 0},
    "a generator inside": {"list": [{"tensor": 0}, {"generator": 0}]},
    "an object by its number": {"object": 0},
    "an object inside": {"list": [{"tensor": 0}, {"object": "x"}]},
    "a float that is none": {"list": [{"tensor": 0}, {"float": "nonsense"}]},
    "a float too large": {"list": [{"tensor": 0}, {"float": "0x1p99999"}]},
    "a float that is a number": {"list": [{"tensor": 0}, {"float": 1}]},
    "an integer beyond 64 bits": {"list": [{"tensor": 0}, 2**63]},
    "such an integer as a key": {"dict": [[2**63, {"tensor": 0}]]},
    "an integer that is true": {"list": [{"tensor": 0}, {"int": True}]},
    "a key that cannot be one": {"dict": [[{"list": []}, {"tensor": 0}]]},
    "a dict of triples": {"dict": [[1, 2, {"tensor": 0}]]},
    "a dict that is none": {"dict": {"1": {"tensor": 0}}},
    "a list that is none": {"list": {"tensor": 0}},
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_a_reply_that_is_no_value_is_refused(tree):
    with pytest.raises(wire.Violation):
        reply.read_reply({"token": TOKEN, "value": tree}, [torch.ones(1)], TOKEN)


def test_a_generator_is_refused_even_with_a_state_that_could_be_set():
    tree = {"list": [{"tensor": 0}, {"generator": 0}]}
    with pytest.raises(wire.Violation, match="generator"):
        reply.read_reply({"token": TOKEN, "value": tree}, [torch.Generator().get_state()], TOKEN)


@pytest.mark.parametrize(
    "control",
    [
        {"value": 1},
        {"token": "1" * 32, "value": 1},
        {"token": TOKEN},
        {"token": TOKEN, "value": 1, "raised": RAISED},
        {"token": TOKEN, "value": 1, "more": 1},
        {"token": TOKEN, "raised": None},
        {"token": TOKEN, "raised": {**RAISED, "line": True}},
        {"token": TOKEN, "raised": {**RAISED, "text": 1}},
        {"token": TOKEN, "raised": {**RAISED, "more": 1}},
    ],
)
def test_a_reply_to_something_else_is_refused(control):
    with pytest.raises(wire.Violation):
        reply.read_reply(control, [], TOKEN)


def test_few_bytes_stay_few():
    """A list of 4,000 times one tensor of a mebibyte would be four gigabytes once it is stacked."""
    tree = {"list": [{"tensor": 0}] * 4000}
    assert len(json.dumps(tree)) < wire.CONTROL_BYTES + 20_000
    with pytest.raises(wire.Violation, match="once each"):
        reply.read_reply({"token": TOKEN, "value": tree}, [torch.zeros(1 << 18)], TOKEN)


def test_what_is_said_of_an_exception_is_cut_and_cannot_steer_a_terminal():
    said = {k: "\x1b[2J\ud800\n\u202e" + "x" * 5000 for k in ("kind", "text", "cell", "function")}
    raised = reply.read_raised({**said, "line": 7})
    for part in (raised.kind, raised.text, raised.where, raised.function):
        assert len(part) <= 200 and part.isprintable() and part.encode()
    assert reply.read_raised({**said, "line": 10**6}).where == ""
    assert reply.read_raised({**said, "line": -3}).where == ""
    unknown = reply.read_reply({"token": TOKEN, "value": {"object": "\x1b" * 900}}, [], TOKEN)
    assert len(repr(unknown)) < 120 and repr(unknown).isprintable()
