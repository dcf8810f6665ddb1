"""What the trusted side looks at before it believes a frame from a student's process.

A frame is a JSON control and a safetensors body (worker.py has the format). Checked in this order, each before the
next is touched: lengths; the JSON's size, depth and numbers; the header of the body: size, names, dtypes, number of
dimensions, shapes against bytes; the bytes of booleans. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import torch
from safetensors.torch import load

from course_lib.grading.worker import HEAD, frame, pack, unpack

__all__ = ["CONTROL_BYTES", "HEAD", "SLACK", "Violation", "frame", "pack", "read_frame", "unpack"]

CONTROL_BYTES = HEADER_BYTES = 64 << 10
SLACK = 1 << 20  # bytes that a body may have beyond what was expected
DEPTH, TENSORS, DIMENSIONS = 16, 256, 8
ITEM_BYTES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "I16": 2,
    "I32": 4,
    "I64": 8,
    "F16": 2,
    "BF16": 2,
    "F32": 4,
    "F64": 8,
    "C64": 8,
}


class Violation(ValueError):
    """A frame breaks the rules of the wire; no honest worker sends such a one."""


def _refuse(_: str) -> Any:
    raise Violation("NaN or infinity in the control")


def _object(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) != len(pairs):  # each parser would believe another one of the two
        raise Violation("a key stands twice in one object")
    return found


def _depth(value: Any, left: int = DEPTH) -> None:
    if left < 0:
        raise Violation(f"the control is nested more than {DEPTH} deep")
    if isinstance(value, (list, dict)):
        for inside in value.values() if isinstance(value, dict) else value:
            _depth(inside, left - 1)


def _json(data: bytes, limit: int) -> dict:
    if len(data) > limit:
        raise Violation(f"{len(data)} bytes of JSON where {limit} are allowed")
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_object)
        _depth(value)
    except Violation:
        raise
    except (ValueError, RecursionError) as error:
        raise Violation(f"no JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise Violation("the JSON is no object")
    return value


def _check_entry(entry: Any, begin: int) -> int:
    """Look at one tensor's entry in the header; returns where its bytes end."""
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise Violation("a tensor's entry is not {dtype, shape, data_offsets}")
    if not isinstance(entry["dtype"], str) or (size := ITEM_BYTES.get(entry["dtype"])) is None:
        raise Violation("a dtype that no answer has")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or len(shape) > DIMENSIONS:
        raise Violation(f"more than {DIMENSIONS} dimensions")
    if any(type(n) is not int or not 0 <= n < 2**31 for n in shape):
        raise Violation("a shape that is none")
    if 0 in shape and math.prod(n or 1 for n in shape) > SLACK:
        raise Violation("an empty tensor with huge sides, whose sum over the empty one is huge")
    size *= math.prod(shape)
    if offsets != [begin, begin + size] or any(type(n) is not int for n in offsets):
        raise Violation("bytes and shape do not agree")
    return begin + size


def read_tensors(body: bytes) -> list[torch.Tensor]:
    """The tensors of a body, in order of their names "0", "1", ... Raises Violation."""
    if not body:
        return []
    if len(body) < 8:
        raise Violation("a body without a header")
    (size,) = struct.unpack("<Q", body[:8])
    if size > HEADER_BYTES or 8 + size > len(body):
        raise Violation(f"a header of {size} bytes")
    header = _json(body[8 : 8 + size], HEADER_BYTES)
    if len(header) > TENSORS or set(header) != {str(i) for i in range(len(header))}:
        raise Violation("tensors under names that were not asked for")
    try:
        in_order = sorted(header.values(), key=lambda e: e["data_offsets"])
        end = 0
        for entry in in_order:
            end = _check_entry(entry, end)
    except (TypeError, KeyError):
        raise Violation("offsets that are none") from None
    if 8 + size + end != len(body):
        raise Violation("bytes that belong to no tensor")
    for entry in header.values():
        if entry["dtype"] == "BOOL":
            begin, end = entry["data_offsets"]
            if body[8 + size + begin : 8 + size + end].strip(b"\0\1"):
                raise Violation("a boolean that is neither 0 nor 1")
    try:
        found = load(body)
    except Exception as error:
        raise Violation(f"no safetensors: {type(error).__name__}") from None
    return [found[str(i)] for i in range(len(header))]


def read_frame(control: bytes, body: bytes) -> tuple[dict, list[torch.Tensor]]:
    """Control and tensors of a frame. Raises Violation."""
    return _json(control, CONTROL_BYTES), read_tensors(body)
