"""The process inside the sandbox from which every case is forked. Run by its path; imports nothing of the course.

It imports torch once, then waits for orders on a socket (file descriptor given as argument):

    b"C" with a socket attached   fork a case that serves on that socket, in namespaces of its own
    b"K"                          end the case

and says b"S" when a case has started and b"E" + wait status when it and all it started are gone. It never reads what
a student's code writes. A case has its own user, pid, mount, network and ipc namespace, its own /proc and /tmp, no
capabilities, no other file descriptor, limits on memory, processes and file sizes, and is refused the system calls of
syscalls.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import resource
import signal
import socket
import struct
import sys
from collections.abc import Callable

NEW_USER, NEW_PID, NEW_MOUNT, NEW_NET, NEW_IPC = (
    0x10000000,
    0x20000000,
    0x00020000,
    0x40000000,
    0x08000000,
)
READ_ONLY, NO_SUID, NO_DEV, NO_EXEC = 1, 2, 4, 8
REMOUNT, BIND, RECURSIVE, PRIVATE = 32, 4096, 16384, 1 << 18
SET_DUMPABLE, SET_NO_NEW_PRIVS, CAP_BOUND_DROP = 4, 38, 24
CLONE3 = 435  # on every architecture
INSIDE = 1000  # the uid that a case sees; not 0, so that an exec gives no capability back
libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(libc, name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    os.write(descriptor, text.encode())
    os.close(descriptor)


def fork_apart() -> int:
    """A fork whose child is the first process of fresh user, pid, mount, network and ipc namespaces.

    One clone3 does what unshare would need two forks for, and a fork of a process with torch in it takes 10 ms.
    """
    words = [NEW_USER | NEW_PID | NEW_MOUNT | NEW_NET | NEW_IPC, 0, 0, 0, signal.SIGCHLD, 0, 0, 0]
    arguments = ctypes.create_string_buffer(struct.pack("<8Q", *words), 64)
    system = ctypes.PyDLL(None, use_errno=True)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = system.syscall(CLONE3, arguments, ctypes.c_size_t(64))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"clone3: {os.strerror(code)}")
    return pid


def own_user(uid: int, gid: int) -> None:
    """Say who the user of the fresh user namespace is outside."""
    _call(
        "prctl", SET_DUMPABLE, 1, 0, 0, 0
    )  # else /proc/self is root's, and the map cannot be written
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{INSIDE} {uid} 1")
    _write("/proc/self/gid_map", f"{INSIDE} {gid} 1")


def own_mounts(scratch_bytes: int) -> None:
    """A /proc that shows this namespace only and cannot be written to, and a /tmp of limited size.

    /dev/pts goes: its only file would be ours to mark, and the next case could read the mark.
    """
    _call("mount", b"none", b"/", None, RECURSIVE | PRIVATE, None)
    _call("mount", b"proc", b"/proc", b"proc", NO_SUID | NO_DEV | NO_EXEC, None)
    options = f"size={scratch_bytes},nr_inodes=4096,mode=1777".encode()
    _call("mount", b"tmpfs", b"/tmp", b"tmpfs", NO_SUID | NO_DEV, options)
    nothing = READ_ONLY | NO_SUID | NO_DEV | NO_EXEC
    _call("mount", b"tmpfs", b"/dev/pts", b"tmpfs", nothing, b"size=4k,nr_inodes=1")
    os.chdir("/tmp")
    _write("/proc/sys/user/max_user_namespaces", "0")
    _write("/proc/self/oom_score_adj", "1000")  # it goes before the process it was forked from
    _call("mount", None, b"/proc", None, REMOUNT | BIND | nothing, None)


def drop_capabilities() -> None:
    """Give up every capability for good."""
    for capability in range(48):
        libc.prctl(CAP_BOUND_DROP, capability, 0, 0, 0)  # the last ones do not exist
    _call("prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header, data = struct.pack("<Ii", 0x20080522, 0), bytes(24)
    _call("capset", ctypes.create_string_buffer(header), ctypes.create_string_buffer(data))


def limit(address_bytes: int, processes: int, scratch_bytes: int, seconds: int) -> None:
    """Limits that hold for each process of the case; the whole tree is watched from outside."""
    with open("/proc/self/statm") as file:
        address = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE") + address_bytes
    for what, value in (
        (resource.RLIMIT_AS, address),
        (resource.RLIMIT_NPROC, processes),
        (resource.RLIMIT_FSIZE, scratch_bytes),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(what, (value, value))


def only_this_socket(connection: socket.socket) -> socket.socket:
    """Close every descriptor but the case's; standard input and output lead nowhere."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    kept = connection.detach()
    os.closerange(3, kept)
    os.closerange(kept + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return socket.socket(fileno=kept)


def plain_case(connection: socket.socket) -> None:
    """The case of a machine without a sandbox: nothing protects anything here."""
    connection = only_this_socket(connection)
    connection.sendall(b"!")
    import worker

    worker.serve(connection)
    os._exit(0)


def case(connection: socket.socket, limits: dict, user: tuple[int, int]) -> None:
    """What the first process of the fresh namespaces does; never returns."""
    status = 70
    try:
        os.setsid()  # a signal to its process group must not reach the process it was forked from
        if limits.get("plain"):
            plain_case(connection)
        own_user(*user)
        own_mounts(limits["scratch"])
        drop_capabilities()
        import syscalls

        syscalls.refuse()
        connection = only_this_socket(connection)
        limit(limits["address"], limits["processes"], limits["scratch"], limits["seconds"])
        connection.sendall(b"!")  # from here on, what goes wrong is the student's
        import worker

        worker.serve(connection)
        status = 0
    except SystemExit:
        status = 0
    except BaseException as error:
        os.write(2, f"case: {error}\n".encode())  # heard only before the descriptors are closed
    finally:
        os._exit(status)


def fork_case(connection: socket.socket, limits: dict) -> int:
    """Fork a process that serves on `connection`; returns its pid, 0 on failure."""
    user = os.getuid(), os.getgid()
    try:
        pid = os.fork() if limits.get("plain") else fork_apart()
    except OSError as error:
        os.write(2, f"zygote: {error}\n".encode())
        return 0
    if pid == 0:
        case(connection, limits, user)
    return pid


REHEARSED = """
import torch
from torch import nn

class Layer(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size, size))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x, generator=None):
        return torch.relu(x @ self.weight) + torch.rand(len(x), 1, generator=generator)
"""


def rehearse() -> None:
    """Serve a made-up program, so that what a first time loads is there in every process forked afterwards."""
    import torch
    from worker import frame, pack, serve

    ours, theirs = socket.socketpair()
    pair = [torch.ones(2, 2), torch.ones(2, 2)]
    generator = pack(torch.Generator(), sent := list(pair))
    first = {"list": [{"tensor": 0}]}
    call = {"op": "call", "token": "", "name": None, "kwargs": {"dict": []}}
    calls = [
        ({"on": 0, "result": 1, "args": {"list": [2]}}, []),
        ({"on": 1, "result": 2, "args": {"list": [{"tensor": 0}, generator]}}, sent),
        ({"on": 1, "result": 3, "args": first, "probe": 1, "wrt": 0, "parameters": []}, pair),
        ({"on": 1, "result": 4, "args": first, "probe": 1, "parameters": ["weight"]}, pair),
        ({"on": 1, "result": 5, "args": {"list": []}}, []),
    ]
    program = {"token": "", "chunks": [{"cell": "", "source": REHEARSED}], "answer": "Layer"}
    with ours, theirs:
        ours.sendall(frame({**program, "seed": 0}, []))
        for request, tensors in calls:
            ours.sendall(frame(call | request, tensors))
        ours.shutdown(socket.SHUT_WR)
        with contextlib.suppress(SystemExit):
            serve(theirs)


def warm() -> None:
    """Do once what the first steps of an answer load lazily, so that every fork finds it done."""
    import syscalls
    import torch
    from torch import nn

    syscalls.program(os.uname().machine)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    for kind in (torch.optim.Adam, torch.optim.SGD):
        optimizer = kind(layer.parameters(), lr=0.1)
        nn.functional.cross_entropy(layer(torch.randn(5, 3)), torch.zeros(5).long()).backward()
        optimizer.step()
        optimizer.zero_grad()
    leaf = torch.randn(3, 3, requires_grad=True)
    torch.autograd.grad((leaf @ leaf).sum(), leaf)
    torch.zeros(3).index_add_(0, torch.tensor([0, 1]), torch.ones(2))
    torch.multinomial(torch.ones(3), 2, generator=torch.Generator().manual_seed(1))
    torch.einsum("ij,jk->ik", leaf.detach(), leaf.detach())
    torch.linalg.matrix_power(leaf.detach(), 2)
    torch.linalg.eigvalsh(torch.eye(2))
    repr(leaf)
    for _ in range(3):
        rehearse()


def main(control: socket.socket, limits: dict) -> None:
    """Serve orders until the other side hangs up."""
    warm()
    for name in limits.get("modules", ()):
        importlib.import_module(name)
    plain = limits.get("plain", False)
    if not plain:
        _call("prctl", SET_DUMPABLE, 0, 0, 0, 0)
    gc.collect()
    gc.freeze()
    control.sendall(b"R")
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not order:
            os._exit(0)
        if order == b"C":
            connection = socket.socket(fileno=descriptors[0])
            running = fork_case(connection, limits)
            connection.close()
            control.sendall(b"S" if running else b"F")
            if running:
                end_case(control, running, os.killpg if plain else os.kill)


def end_case(control: socket.socket, running: int, kill: Callable[[int, int], None]) -> None:
    """Wait for the order to end the case, end it, wait until all of it is gone, and say so."""
    order = control.recv(1)
    with contextlib.suppress(ProcessLookupError):
        kill(running, signal.SIGKILL)
    status = os.waitpid(running, 0)[1]
    if not order:
        os._exit(0)
    control.sendall(b"E" + struct.pack("<i", status))


if __name__ == "__main__":
    import json

    given = json.loads(sys.argv[2])
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:0] = [here, given.get("site", "/site")]
    main(socket.socket(fileno=int(sys.argv[1])), given)
