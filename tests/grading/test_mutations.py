"""Frames with a few bytes changed, and any JSON where a header, a value or an exception should be.

Whatever arrives is believed or is a Violation; any other exception would be the grader's own failure.
"""

from __future__ import annotations

import contextlib
import json
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.exercises.compare import Raised
from course_lib.grading import reply, wire

TOKEN = "0" * 32
RAISED = {"kind": "ValueError", "text": "no", "cell": "c", "line": 3, "function": "f"}
quick = settings(max_examples=150, deadline=None)


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """Frames of an honest worker, with tensors of several dtypes and an exception."""
    values = [
        {"a": [torch.arange(3), (1.5, None)], "b": torch.ones(2, 2) > 0},
        (torch.zeros(0, 3), torch.ones(()), True),
        [torch.ones(2, dtype=torch.bool), torch.ones(2).half(), "text"],
    ]
    made = []
    for value in values:
        inside: list[torch.Tensor] = []
        made.append(wire.frame({"token": TOKEN, "value": wire.pack(value, inside)}, inside))
    return [*made, wire.frame({"token": TOKEN, "raised": RAISED}, [])]


def believed(control: bytes, body: bytes) -> bool:
    """Read a frame as a case does; anything but a value and a Violation fails the test."""
    try:
        reply.read_reply(*wire.read_frame(control, body), TOKEN)
    except wire.Violation:
        return False
    return True


TOKENS = [b"0", b"1", b"-1", b"[]", b"{}", b"null", b"true", b"1.0", b"1e9", b'"0"', b"99999999999"]


def changed(data: bytes, dice: random.Random) -> bytes:
    """`data` with bytes flipped, cut, doubled, or a piece of JSON put in place of another."""
    for _ in range(dice.randint(1, 3)):
        at, width = dice.randrange(len(data) + 1), dice.randint(0, 6)
        new = dice.choice(
            [bytes([dice.randrange(256)]), data[at : at + 9], b"", dice.choice(TOKENS)]
        )
        data = data[:at] + new + data[at + width :]
    return data


def test_changed_bytes_are_a_value_or_a_violation_and_nothing_else(frames):
    dice, counts = random.Random(1), [0, 0]
    for _ in range(20_000):
        data = dice.choice(frames)
        size = wire.HEAD.unpack(data[: wire.HEAD.size])[0]
        control, body = data[wire.HEAD.size :][:size], data[wire.HEAD.size + size :]
        which = dice.random()
        control = changed(control, dice) if which < 0.6 else control
        counts[believed(control, changed(body, dice) if which > 0.4 else body)] += 1
    assert min(counts) > 500  # the changes are neither all harmless nor all hopeless


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**40) | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=8,
)
ENTRIES = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "BOOL", "I64", "F8_E5M2", None]) | JSON,
        "shape": st.lists(st.integers(-1, 4) | JSON, max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(-1, 16) | st.floats(0, 16) | JSON, max_size=3) | JSON,
    }
)


@quick
@given(st.dictionaries(st.sampled_from("012") | st.text(), ENTRIES | JSON), st.binary(max_size=32))
def test_any_header_is_read_or_a_violation(header, data):
    text = json.dumps(header).encode()
    believed(
        b'{"token": "%b", "value": 1}' % TOKEN.encode(),
        len(text).to_bytes(8, "little") + text + data,
    )


KINDS = st.sampled_from(["int", "float", "tensor", "generator", "tuple", "list", "dict", "object"])
TREE = st.recursive(
    JSON | st.fixed_dictionaries({"tensor": st.integers(0, 1)}),
    lambda inside: st.dictionaries(KINDS, inside | st.lists(inside), max_size=2),
    max_leaves=6,
)


@quick
@given(TREE)
def test_any_tree_is_a_value_or_a_violation(tree):
    two = [torch.ones(3), torch.ones(16, dtype=torch.uint8)]
    with contextlib.suppress(wire.Violation):
        reply.read_reply({"token": TOKEN, "value": tree}, two, TOKEN)


@quick
@given(st.dictionaries(st.sampled_from([*reply.RAISED_KEYS]), JSON) | JSON)
def test_anything_said_of_an_exception_is_read_or_a_violation(said):
    with contextlib.suppress(wire.Violation):
        assert isinstance(reply.read_raised(said), Raised)
