"""What a student's process replied, turned into a value that the trusted side can work with."""

from __future__ import annotations

from collections.abc import Iterator
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
        return Unknown(_shown(tree["object"])[:80])
    if [*_named(tree)] != [*range(len(tensors))]:  # named twice, few bytes would be a huge value
        raise wire.Violation("tensors that are named otherwise than once each, in order")
    try:
        value = wire.unpack(tree, tensors)
    except Exception as error:
        raise wire.Violation(f"no value: {type(error).__name__}") from None
    _plain_numbers(value)
    return value


def _named(tree: Any) -> Iterator[Any]:
    """The numbers of the tensors that a tree names, in the order in which `pack` writes them."""
    if isinstance(tree, dict) and "generator" in tree:
        raise wire.Violation("a generator is no result")
    if isinstance(tree, dict) and "tensor" in tree:
        yield tree["tensor"]
    if isinstance(tree, (dict, list)):
        for inside in tree.values() if isinstance(tree, dict) else tree:
            yield from _named(inside)


def read_raised(said: Any) -> Raised:
    """What the process says of an exception, in bounded pieces. Raises Violation."""
    if not isinstance(said, dict) or {k: type(v) for k, v in said.items()} != RAISED_KEYS:
        raise wire.Violation("an exception that is described otherwise")
    line = said["line"] if 0 <= said["line"] < 10**6 else 0
    kind, text, cell, function = (_shown(said[k]) for k in ("kind", "text", "cell", "function"))
    where = f"line {line} of {cell[:80]}" if line else ""
    return Raised(kind[:80], text, where, function[:80] or "your code")


def _shown(text: str) -> str:
    """The text cut, and without what a terminal obeys or a file cannot hold."""
    return "".join(c if c.isprintable() else " " for c in text[:200])


def _plain_numbers(value: Any) -> None:
    if isinstance(value, int) and not -INT64 <= value < INT64:
        raise wire.Violation("an integer beyond 64 bits")
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, (tuple, list)):
        for inside in value:
            _plain_numbers(inside)
