"""What a student's process replied, turned into a value that the trusted side can work with."""

from __future__ import annotations

from typing import Any

import torch

from course_lib.exercises.compare import Raised
from course_lib.grading import wire

RAISED_KEYS = {"kind": str, "text": str, "cell": str, "line": int, "function": str}
INT64 = 2**63


class Unknown:
    """Stands for a value of the student's that does not travel; it equals nothing."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"an object of type {self.kind}"


def read_reply(control: dict, tensors: list[torch.Tensor], token: str) -> Any:
    """The value of a reply, or `Raised`. Raises Violation for anything that is no reply to this token."""
    if control.get("token") != token or set(control) not in (
        {"token", "value"},
        {"token", "raised"},
    ):
        raise wire.Violation("no reply to what was asked")
    if "raised" in control:
        return read_raised(control["raised"])
    tree = control["value"]
    if isinstance(tree, dict) and set(tree) == {"object"} and isinstance(tree["object"], str):
        return Unknown(tree["object"][:80])
    try:
        value = wire.unpack(tree, tensors)
    except Exception as error:
        raise wire.Violation(f"no value: {type(error).__name__}") from None
    _plain_numbers(value)
    return value


def read_raised(said: Any) -> Raised:
    """What the process says of an exception, in bounded pieces. Raises Violation."""
    if not isinstance(said, dict) or {k: type(v) for k, v in said.items()} != RAISED_KEYS:
        raise wire.Violation("an exception that is described otherwise")
    line = said["line"] if 0 <= said["line"] < 10**6 else 0
    where = f"line {line} of {said['cell'][:80]}" if line else ""
    return Raised(
        said["kind"][:80], said["text"][:200], where, said["function"][:80] or "your code"
    )


def _plain_numbers(value: Any) -> None:
    if isinstance(value, int) and not -INT64 <= value < INT64:
        raise wire.Violation("an integer beyond 64 bits")
    if isinstance(value, torch.Generator):
        raise wire.Violation("a generator is no result")
    for inside in (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, (tuple, list))
        else ()
    ):
        _plain_numbers(inside)
