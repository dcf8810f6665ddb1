"""Each guard of the wire by itself: what breaks a rule is refused, and before it costs anything."""

from __future__ import annotations

import json
import socket
import struct
import time

import pytest

from course_lib.grading import wire
from course_lib.grading.case import CaseEnded, CaseProcess

F32 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def body(header: object, data: bytes = b"\0" * 4, size: int | None = None) -> bytes:
    """A safetensors body with a header of one's own; `size` is what the body says of its length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(**changed: object) -> dict[str, dict]:
    """A header with one tensor, float32 [1], of which something is changed."""
    return {"0": {**F32, **changed}}


def many(n: int) -> dict[str, dict]:
    return {str(i): {**F32, "shape": [0], "data_offsets": [0, 0]} for i in range(n)}


@pytest.fixture
def no_decoder(monkeypatch):
    """safetensors must not be called: what breaks a rule is refused before any decoder runs."""
    calls = []
    monkeypatch.setattr(wire, "load", calls.append)
    yield
    assert calls == []


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


# the control -------------------------------------------------------------------------------------

CONTROLS = {
    "one byte too long": b'{"a":"' + b"x" * (wire.CONTROL_BYTES - 7) + b'"}',
    "nested too deeply": nested(wire.DEPTH + 1),
    "nested 20,000 deep": b"[" * 20_000 + b"]" * 20_000,
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "an integer of 5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "a key that stands twice": b'{"a": 1, "a": 2}',
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "no object": b"[1]",
    "a number": b"1",
    "nothing": b"",
    "cut": b'{"a": 1',
    "more after the end": b'{"a": 1} {"b": 2}',
    "a control character": b'{"a": "\x01"}',
}


@pytest.mark.parametrize("control", CONTROLS.values(), ids=CONTROLS)
def test_a_control_that_breaks_a_rule_is_refused(control, no_decoder):
    with pytest.raises(wire.Violation):
        wire.read_frame(control, b"")


def test_the_control_may_be_as_large_and_as_deep_as_the_rules_say():
    longest = b'{"a":"' + b"x" * (wire.CONTROL_BYTES - 8) + b'"}'
    assert len(longest) == wire.CONTROL_BYTES and wire.read_frame(longest, b"")[1] == []
    wire.read_frame(nested(wire.DEPTH), b"")


def test_the_length_of_a_control_is_looked_at_before_it_is_parsed(monkeypatch):
    def called(*_, **__):
        raise AssertionError("parsed")

    monkeypatch.setattr(wire.json, "loads", called)
    with pytest.raises(wire.Violation, match="65537 bytes"):
        wire.read_frame(b" " * (wire.CONTROL_BYTES + 1), b"")


# the body ----------------------------------------------------------------------------------------

BODIES = {
    "shorter than its length field": b"\0" * 7,
    "a header longer than the body": body(entry(), size=1000),
    "a header longer than a header may be": body(b" " * (64 << 10) + b"{}"),
    "a header of 2^63 bytes": body(entry(), size=2**63),
    "a header that is no JSON": body(b"nonsense"),
    "a header that is no object": body([F32]),
    "a header nested too deeply": body(nested(wire.DEPTH + 1)),
    "a header that is not UTF-8": body(b'{"\xff": 1}'),
    "257 tensors": body(many(257), b""),
    "a name of its own": body({"weight": F32}),
    "a name left out": body({"1": F32}),
    "a name written otherwise": body({"00": F32}),
    "metadata": body({**entry(), "__metadata__": {"a": "b"}}),
    "metadata alone": body({"__metadata__": {}}, b""),
    "a name that stands twice": body(
        b'{"0":%b,"0":%b}' % ((json.dumps(F32).encode(),) * 2),
    ),
    "an entry that is a list": body({"0": [1]}),
    "an entry that is null": body({"0": None}),
    "an entry without a shape": body({"0": {"dtype": "F32", "data_offsets": [0, 4]}}),
    "an entry with something more": body(entry(more=1)),
    "a dtype of eight bits that no answer has": body(entry(dtype="F8_E4M3", shape=[4])),
    "an unknown dtype": body(entry(dtype="object")),
    "a dtype that is a list": body(entry(dtype=["F32"])),
    "nine dimensions": body(entry(shape=[1] * 9)),
    "a shape that is a number": body(entry(shape=1)),
    "a negative side": body(entry(shape=[-1])),
    "two negative sides": body(entry(shape=[-1, -1])),
    "a side of 2^31": body(entry(shape=[2**31, 0], data_offsets=[0, 0]), b""),
    "a side that is true": body(entry(shape=[True])),
    "a side that is 1.0": body(entry(shape=[1.0])),
    "a side that is text": body(entry(shape=["1"])),
    "sides whose product overflows": body(entry(shape=[2**16] * 4, data_offsets=[0, 0]), b""),
    "an empty tensor with a huge side": body(entry(shape=[0, 2**31 - 1], data_offsets=[0, 0]), b""),
    "more shape than bytes": body(entry(shape=[2])),
    "more bytes than shape": body(entry(shape=[0])),
    "bytes of no tensor at the end": body(entry(), b"\0" * 5),
    "bytes that are missing": body(entry(), b"\0" * 3),
    "a gap before": body(entry(data_offsets=[4, 8]), b"\0" * 8),
    "a gap between": body(
        {"0": F32, "1": {**F32, "data_offsets": [8, 12]}},
        b"\0" * 12,
    ),
    "an overlap": body({"0": F32, "1": F32}),
    "half an overlap": body({"0": F32, "1": {**F32, "data_offsets": [2, 6]}}, b"\0" * 6),
    "offsets turned round": body(entry(data_offsets=[4, 0])),
    "one offset": body(entry(data_offsets=[4])),
    "offsets that are numbers of the wrong kind": body(entry(data_offsets=[0.0, 4.0])),
    "offsets that are false and 4": body(entry(data_offsets=[False, 4])),
    "offsets of a boolean that are no integers": body(
        entry(dtype="BOOL", data_offsets=[0.0, 1.0]), b"\1"
    ),
    "offsets of two kinds": body({"0": F32, "1": {**F32, "data_offsets": ["4", "8"]}}),
    "offsets that are null": body(entry(data_offsets=None)),
    "a negative offset": body(entry(data_offsets=[-4, 0])),
    "a boolean that is 2": body(entry(dtype="BOOL", data_offsets=[0, 1]), b"\2"),
    "a boolean that is 255, behind another tensor": body(
        {"0": F32, "1": {"dtype": "BOOL", "shape": [2], "data_offsets": [4, 6]}},
        b"\2\2\2\2\1\xff",
    ),
}


@pytest.mark.parametrize("data", BODIES.values(), ids=BODIES)
def test_a_body_that_breaks_a_rule_is_refused_before_it_is_decoded(data, no_decoder):
    with pytest.raises(wire.Violation):
        wire.read_frame(b"{}", data)


def test_the_bytes_of_a_header_are_counted_before_they_are_parsed(monkeypatch):
    monkeypatch.setattr(wire, "_json", lambda *_: pytest.fail("parsed"))
    for name in ("shorter than its length field", *(n for n in BODIES if "a header longer" in n)):
        with pytest.raises(wire.Violation):
            wire.read_tensors(BODIES[name])


def test_the_body_may_hold_what_the_rules_allow():
    assert len(wire.read_tensors(body(many(256), b""))) == 256
    assert wire.read_tensors(body(entry(shape=[1] * 8)))[0].dim() == 8
    assert wire.read_tensors(b"") == []
    assert wire.read_tensors(body({}, b"")) == []
    two = {"0": {**F32, "data_offsets": [4, 8]}, "1": F32}
    data = struct.pack("<ff", 1.0, 2.0)
    assert [float(t) for t in wire.read_tensors(body(two, data))] == [2.0, 1.0]
    empty = wire.read_tensors(body(entry(shape=[0, 5, 7], data_offsets=[0, 0]), b""))
    assert empty[0].shape == (0, 5, 7)


def test_a_decoder_that_fails_all_the_same_is_a_violation():
    with pytest.raises(wire.Violation, match="no safetensors"):
        wire.read_tensors(body(b'{"0":{"dtype":"F32","shape":[-0],"data_offsets":[0,0]}}', b""))


# lengths, before anything is read ----------------------------------------------------------------


class Nobody:
    """A sandbox in which nothing happens."""

    def memory_exceeded(self, kills: int) -> bool:
        return False

    def end_case(self) -> None:
        return None


@pytest.fixture
def line():
    """(what the trusted side holds, the student's end of the socket)."""
    ours, theirs = socket.socketpair()
    with CaseProcess(Nobody(), ours, time.monotonic() + 20, 0) as process:
        yield process, theirs
    theirs.close()


@pytest.mark.parametrize(
    ("control", "data"),
    [(wire.CONTROL_BYTES + 1, 0), (2**32 - 1, 0), (2, 1001), (2, 2**32 - 1)],
)
def test_a_frame_that_announces_too_much_is_refused_without_reading_it(line, control, data):
    process, theirs = line
    theirs.sendall(wire.HEAD.pack(control, data) + b"{}")
    with pytest.raises(CaseEnded, match="too large") as ended:
        process.receive(1000)
    assert ended.value.status == "crashed"
    assert process.connection.recv(10) == b"{}"  # left where it was


def test_a_frame_of_just_the_allowed_size_is_read(line):
    process, theirs = line
    theirs.sendall(wire.HEAD.pack(2, 1000) + b"{}" + b"x" * 1000)
    assert process.receive(1000) == (b"{}", b"x" * 1000)


def test_a_hang_up_and_a_word_too_many_end_the_case(line):
    process, theirs = line
    process.nothing_waits()
    theirs.sendall(b"x")
    with pytest.raises(CaseEnded, match="unasked"):
        process.nothing_waits()
    theirs.close()
    for end in (lambda: process.receive(0), lambda: process.send(b"x" * (8 << 20))):
        with pytest.raises(CaseEnded, match="ended") as ended:
            end()
        assert ended.value.status == "crashed"


def test_half_a_frame_is_waited_for_until_the_time_is_used_up(line):
    process, theirs = line
    process.deadline = time.monotonic() + 0.2
    theirs.sendall(wire.HEAD.pack(2, 4) + b"{}12")
    with pytest.raises(CaseEnded) as ended:
        process.receive(100)
    assert ended.value.status == "timeout"
