"""System calls that a case is refused: a filter that the kernel holds, for the case and all that it starts.

An answer needs none of them. They hold memory that is on no process's account, reach what no namespace keeps apart, or
open parts of the kernel through which others have left sandboxes. Run by its path; imports nothing of the course.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct

# name: number on x86_64, on aarch64 (None where it does not exist)
REFUSED = {
    # memory that no process is charged for, where there is no control group
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    # what leads to other sandboxes, or out of this machine: a machine in a machine reaches its host by AF_VSOCK
    "socket": (41, 198),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "flock": (73, 32),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    "syslog": (103, 116),
    # large parts of the kernel
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
}
FCNTL = (72, 25)
LOCKS = (5, 6, 7, 36, 37, 38, 1024)  # orders to fcntl that other sandboxes could notice
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
OTHER_ABI = 0x40000000  # x32 gives the calls other numbers
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # instructions of the filter
NUMBER, MACHINE, SECOND_ARGUMENT = 0, 4, 24  # places in what it is shown
ALLOW, REFUSE = 0x7FFF0000, 0x00050001  # the latter is EPERM
SET_SECCOMP, FILTER = 22, 2


@functools.cache  # made once, before the first fork
def program(machine: str) -> bytes:
    """The filter for this kind of machine; empty where the numbers are not known."""
    if machine not in MACHINES:
        return b""
    column, code = MACHINES[machine]
    numbers = [n for pair in REFUSED.values() if (n := pair[column]) is not None]
    tests = [(EQUAL, n) for n in numbers]
    if column == 0:
        tests.append((AT_LEAST, OTHER_ABI))
    locks = len(LOCKS)
    lines = [(LOAD, 0, 0, MACHINE), (EQUAL, 1, 0, code), (RETURN, 0, 0, REFUSE)]
    lines.append((LOAD, 0, 0, NUMBER))
    refuse = len(lines) + len(tests) + 2 + locks + 1  # the last line says no, the one before yes
    for test, number in tests:
        lines.append((test, refuse - len(lines) - 1, 0, number))
    lines.append((EQUAL, 0, locks + 1, FCNTL[column]))
    lines.append((LOAD, 0, 0, SECOND_ARGUMENT))
    for order in LOCKS:
        lines.append((EQUAL, refuse - len(lines) - 1, 0, order))
    lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
    return b"".join(struct.pack("<HBBI", *line) for line in lines)


def refuse() -> None:
    """Have the kernel refuse the calls from now on, for good. Raises OSError if it will not."""
    lines = program(os.uname().machine)
    if not lines:
        return
    held = ctypes.create_string_buffer(lines, len(lines))
    given = struct.pack("HxxxxxxP", len(lines) // 8, ctypes.addressof(held))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(SET_SECCOMP, FILTER, ctypes.create_string_buffer(given), 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"seccomp: {os.strerror(code)}")
