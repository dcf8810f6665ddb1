"""One submission leaves something, and the next, or one graded at the same time, looks for it.

`leave` is what the first does in its answer; the second is right only if `attack()` finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.grading.attacks.attack import Attack, answer, pays

KEYS = "import ctypes\nlibc = ctypes.CDLL(None)\n"
KEY = f'{KEYS}libc.syscall(250, 0, -3, 1)\nlibc.syscall(248, b"user", b"@MARKER@", b"x", 1, -3)'
SEGMENT = "import ctypes\nctypes.CDLL(None).shmget(0x5EC4E7, 4096, 0o1666)"
PLACES = 'import os\nPLACES = (os.__file__, "@CANARY@/note")\n'
DATE = f"""
{PLACES}
for place in PLACES:
    try:
        os.utime(place, (1, 1))
    except OSError:
        pass
"""
CHILD = """
import os, time
if os.fork() == 0:
    os.setsid()
    os.environ["MARK"] = "@MARKER@"
    time.sleep(1)
    os._exit(0)
"""
SERVER = """
import os, socket, time
line = socket.socket(socket.AF_UNIX)
line.bind("\\0@MARKER@-left")
line.listen()
if os.fork() == 0:
    os.setsid()
    time.sleep(1)
    os._exit(0)
"""


@dataclass(frozen=True)
class Pair:
    """Two answers: `first` leaves something, `second` is right if it finds it."""

    name: str
    first: Attack
    second: Attack


def pair(name: str, leave: str, find: str, top: str = "") -> Pair:
    """`leave` are lines that may fail, `find` an expression or the body of a function."""
    lines = "\n".join("    " + line for line in leave.strip().splitlines())
    first = f"import os\ntry:\n{lines}\nexcept OSError:\n    pass"
    body = find if "return" in find else f"return {find}"
    inside = "\n".join("    " + line for line in body.strip().splitlines())
    second = f"{top}\ndef attack():\n{inside}\n"
    return Pair(name, Attack(name, answer(first)), pays(name, second))


PAIRS = [
    pair(
        "a file in /tmp", 'open("/tmp/.@MARKER@", "w").close()', 'os.path.exists("/tmp/.@MARKER@")'
    ),
    pair(
        "a file in /dev/shm",
        'open("/dev/shm/.@MARKER@", "w").close()',
        'os.path.exists("/dev/shm/.@MARKER@")',
    ),
    pair("the working folder", 'open(".@MARKER@", "w").close()', 'os.path.exists(".@MARKER@")'),
    pair(
        "the mode of a terminal",
        'os.chmod("/dev/pts/ptmx", 0o642)',
        'os.stat("/dev/pts/ptmx").st_mode & 0o777 == 0o642',
    ),
    pair(
        "the date of a file",
        DATE,
        "any(os.path.exists(p) and os.stat(p).st_mtime == 1 for p in PLACES)",
        PLACES,
    ),
    pair("a key", KEY, f'{KEYS}return libc.syscall(250, 10, -3, b"user", b"@MARKER@", 0) > 0'),
    pair(
        "a System V segment",
        SEGMENT,
        "import ctypes\nreturn ctypes.CDLL(None).shmget(0x5EC4E7, 4096, 0o666) >= 0",
    ),
    pair(
        "a process",
        CHILD,
        'return any(n.isdigit() and int(n) not in (os.getpid(), os.getppid()) for n in os.listdir("/proc"))',
    ),
    pair(
        "a process that listens",
        SERVER,
        'import socket\nline = socket.socket(socket.AF_UNIX)\nline.connect("\\0@MARKER@-left")\nreturn True',
    ),
    pair("the environment", 'os.environ["MARK"] = "@MARKER@"', '"MARK" in os.environ'),
    pair("a name in a module", 'torch.left = "@MARKER@"', 'hasattr(torch, "left")'),
    pair("a patched function", "torch.matmul = torch.add", "torch.matmul is torch.add"),
    pair(
        "the worker's own functions",
        'import sys\nsys.modules.get("worker", sys).left = 1',
        'hasattr(sys.modules.get("worker", sys), "left")',
        "import sys",
    ),
    pair(
        "the state of the random generator",
        "torch.manual_seed(12345)",
        "torch.initial_seed() == 12345",
    ),
    pair("the niceness", "os.nice(5)", "os.nice(0) >= 5"),
    pair("the umask", "os.umask(0o707)", "os.umask(0o22) == 0o707"),
    pair(
        "the host's name",
        'import socket\nsocket.sethostname("@MARKER@")',
        'os.uname().nodename == "@MARKER@"',
    ),
]


@dataclass(frozen=True)
class Call:
    """Two programs that run at the same time in two sandboxes, and each define f().

    `hears` gives true if it hears the other, whose f() has been called before.
    """

    name: str
    speaks: str
    hears: str


LOCKS = """
import fcntl, os
file = open(os.__file__)
def f():
    fcntl.flock(file, fcntl.LOCK_EX)
"""
IS_LOCKED = """
import fcntl, os
file = open(os.__file__)
def f():
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
"""
LOCKS_RECORD = LOCKS.replace("flock(file, fcntl.LOCK_EX)", "lockf(file, fcntl.LOCK_SH)")
RECORD_IS_LOCKED = """
import fcntl, os, struct
file = open(os.__file__)
def f():
    asked = struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0)
    return struct.unpack("hhqqi", fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK
"""
LISTENS = """
import socket
def f():
    line.bind("\\0@MARKER@-call")
    line.listen()
line = socket.socket(socket.AF_UNIX)
"""
CONNECTS = """
import socket
def f():
    socket.socket(socket.AF_UNIX).connect("\\0@MARKER@-call")
    return True
"""
READS = """
import os
def f():
    open(os.__file__).read()
"""
WATCHES = """
import ctypes, os
libc = ctypes.CDLL(None)
watch = libc.inotify_init()
libc.inotify_add_watch(watch, os.fsencode(os.__file__), 1)
def f():
    return len(os.read(watch, 100)) > 0
"""
CALLS = [
    Call("by a lock on a file that both see", LOCKS, IS_LOCKED),
    Call("by a record lock on it", LOCKS_RECORD, RECORD_IS_LOCKED),
    Call("by a socket with an abstract name", LISTENS, CONNECTS),
    Call("by reading a file that the other watches", READS, WATCHES),
]
