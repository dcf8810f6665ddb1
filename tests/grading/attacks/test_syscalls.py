"""The filter of system calls, read line by line as the kernel would, also for machines that are not here."""

import struct

import pytest

from course_lib.grading import syscalls

HARMLESS = {
    "x86_64": (0, 1, 9, 35, 56, 57, 59, 202, 231),
    "aarch64": (29, 56, 63, 64, 93, 220, 222),
}


def verdict(machine: str, number: int, second: int = 0, code: int | None = None) -> int:
    """What the filter says to a call."""
    shown = struct.pack("<IIQQQ", number, code or syscalls.MACHINES[machine][1], 0, 0, second)
    lines = list(struct.iter_unpack("<HBBI", syscalls.program(machine)))
    at, held = 0, 0
    while True:
        kind, yes, no, value = lines[at]
        if kind == syscalls.RETURN:
            return value
        if kind == syscalls.LOAD:
            (held,) = struct.unpack_from("<I", shown, value)
            at += 1
        else:
            true = held == value if kind == syscalls.EQUAL else held >= value
            at += 1 + (yes if true else no)


@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_what_is_named_is_refused_and_nothing_else(machine):
    column = syscalls.MACHINES[machine][0]
    refused = {numbers[column] for numbers in syscalls.REFUSED.values()}
    fcntl = syscalls.FCNTL[column]
    for number in range(500):
        expected = syscalls.REFUSE if number in refused else syscalls.ALLOW
        assert verdict(machine, number) == expected
    for order in range(1100):
        assert (verdict(machine, fcntl, order) == syscalls.REFUSE) == (order in syscalls.LOCKS)
    assert all(verdict(machine, n, 6) == syscalls.ALLOW for n in HARMLESS[machine])


@pytest.mark.parametrize("machine", syscalls.MACHINES)
def test_calls_by_the_numbers_of_another_machine_are_refused(machine):
    for code in (0x40000003, 0xC0000015, 0):  # i386 and others
        assert verdict(machine, 1, code=code or 1) == syscalls.REFUSE
    assert verdict("x86_64", 0x40000000 + 39) == syscalls.REFUSE


def test_an_unknown_machine_has_no_filter():
    assert syscalls.program("riscv64") == b""
