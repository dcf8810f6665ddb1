"""A process that is none: what a worker does in the sandbox, done here, so that every request can be seen."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch

from course_lib.exercises.case import Case
from course_lib.grading import wire, worker
from course_lib.grading.case import CaseEnded
from course_lib.grading.remote import Talk


class Local:
    """Does in this process what a worker does in the sandbox; `asked` keeps the requests in their order."""

    def __init__(self, answer: Any) -> None:
        self.objects: dict[int, Any] = {0: answer}
        self.asked: list[dict] = []
        self.reply = b""
        self.spoils: Callable[[bytes], bytes] = bytes

    def send(self, data: bytes) -> None:
        stream = io.BytesIO(data)
        stream.recv = stream.read
        request, tensors = worker._next_frame(stream)
        self.asked.append(request | {"first": [t.flatten()[:1].tolist() for t in tensors]})
        self.reply = worker._reply(request["token"], request, tensors, self.objects, 1)

    def receive(self, body_bytes: int) -> tuple[bytes, bytes]:
        control, body = wire.HEAD.unpack(self.reply[: wire.HEAD.size])
        if body > body_bytes:
            raise CaseEnded("crashed", "too large")
        return self.spoils(self.reply[wire.HEAD.size :][:control]), self.reply[-body:] * (body > 0)

    def nothing_waits(self) -> None:
        return None


def put(answer: Any, check: Callable, seed: int = 1, index: int = 0) -> tuple[Case, Local]:
    """Put a check to an answer as grading does: (the case with its observations, the process)."""
    case, process = Case(3, index), Local(answer)
    talk = Talk(process, case, "answer", seed)
    with torch.random.fork_rng(devices=[]):
        check(talk.root, case)
        assert process.asked == []  # nothing runs before the check is done
        talk.root.settle(case.observations)
    return case, process


def failures(case: Case) -> list[str]:
    return [text for o in case.observations if (text := o.failure()) is not None]
