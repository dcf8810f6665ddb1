"""One case's process as the trusted side sees it: bytes out, guarded bytes in, and how it ended."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING

from course_lib.grading import wire

if TYPE_CHECKING:
    from course_lib.grading.sandbox import Sandbox

LOOK_SECONDS = 0.05  # how often a waiting trusted side looks at the memory of the case


class CaseEnded(Exception):
    """The case will not answer any more. `status` is "timeout", "out_of_memory" or "crashed"."""

    def __init__(self, status: str, why: str) -> None:
        super().__init__(why)
        self.status = status


class CaseProcess:
    """A socket to a process that runs a student's code, with a deadline. Use it in a `with` block."""

    def __init__(
        self, sandbox: Sandbox, connection: socket.socket, deadline: float, kills: int
    ) -> None:
        self.sandbox, self.connection, self.deadline = sandbox, connection, deadline
        self.kills, self.waited = kills, 0.0
        self.looked = time.monotonic()
        connection.setblocking(False)

    def __enter__(self) -> CaseProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.sandbox.end_case()

    def _wait(self, writing: bool) -> None:
        """Until the socket is ready. Raises CaseEnded when the time or the memory is used up."""
        began = time.monotonic()
        reading, sending = ([], [self.connection]) if writing else ([self.connection], [])
        try:
            while True:
                left = self.deadline - time.monotonic()
                if left <= 0:
                    raise CaseEnded("timeout", "the time is used up")
                ready = select.select(reading, sending, [], min(left, LOOK_SECONDS))
                now = time.monotonic()
                if now - self.looked > LOOK_SECONDS:
                    self.looked = now
                    if self.sandbox.memory_exceeded(self.kills):
                        raise CaseEnded("out_of_memory", "the memory is used up")
                if any(ready):
                    return
        finally:
            self.waited += time.monotonic() - began

    def _gone(self) -> CaseEnded:
        if self.sandbox.memory_exceeded(self.kills):
            return CaseEnded("out_of_memory", "the memory is used up")
        return CaseEnded("crashed", "the process ended")

    def send(self, data: bytes) -> None:
        """Send all of `data`. Raises CaseEnded."""
        view = memoryview(data)
        while view:
            try:
                view = view[self.connection.send(view) :]
            except BlockingIOError:
                self._wait(writing=True)
            except OSError:
                raise self._gone() from None

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = self.connection.recv(min(size - len(parts), 1 << 20))
            except BlockingIOError:
                self._wait(writing=False)
                continue
            except OSError:
                part = b""
            if not part:
                raise self._gone()
            parts += part
        return bytes(parts)

    def receive(self, body_bytes: int) -> tuple[bytes, bytes]:
        """Control and body of one frame, the body of at most `body_bytes`. Raises CaseEnded."""
        control, body = wire.HEAD.unpack(self._exactly(wire.HEAD.size))
        if control > wire.CONTROL_BYTES or body > body_bytes:
            raise CaseEnded("crashed", f"a frame of {control} + {body} bytes is too large")
        return self._exactly(control), self._exactly(body)

    def nothing_waits(self) -> None:
        """Raises CaseEnded if something was sent that nobody asked for."""
        try:
            unasked = self.connection.recv(1)
        except BlockingIOError:
            return
        except OSError:
            unasked = b""
        raise CaseEnded("crashed", "it spoke unasked") if unasked else self._gone()
