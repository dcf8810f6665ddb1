"""One submission leaves something, and the next, or one graded at the same time, looks for it.

`leave` is what the first does in its answer; the second is right only if `attack()` finds it.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.grading.attacks.attack import Attack, answer, pays

KEYS = "import ctypes\nlibc = ctypes.CDLL(None)\n"
KEY = f'{KEYS}libc.syscall(250, 0, -3, 1)\nlibc.syscall(248, b"user", b"@MARKER@", b"x", 1, -3)'
SEGMENT = "import ctypes\nctypes.CDLL(None).shmget(0x5EC4E7, 4096, 0o1666)"
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
        "the date of a file", "os.utime(os.__file__, (1, 1))", "os.stat(os.__file__).st_mtime == 1"
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
    """Two programs that run at the same time in two sandboxes; each defines f(). `hears` gives true if it hears the other."""

    name: str
    speaks: str
    hears: str


CALLS = [
    Call(
        "by a lock on a file that both see",
        "import fcntl, os\nfile = open(os.__file__)\ndef f():\n    fcntl.flock(file, fcntl.LOCK_EX)",
        "import fcntl, os\nfile = open(os.__file__)\ndef f():\n    try:\n        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)\n"
        "    except BlockingIOError:\n        return True",
    ),
    Call(
        "by a record lock",
        "import fcntl, os\nfile = open(os.__file__)\ndef f():\n    fcntl.lockf(file, fcntl.LOCK_SH)",
        "import fcntl, os, struct\nfile = open(os.__file__)\ndef f():\n    asked = struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0)\n"
        "    return struct.unpack('hhqqi', fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] != fcntl.F_UNLCK",
    ),
    Call(
        "by a socket with an abstract name",
        "import socket\nheld = []\ndef f():\n    held.append(socket.socket(socket.AF_UNIX))\n    held[0].bind('\\0@MARKER@-call')\n    held[0].listen()",
        "import socket\ndef f():\n    socket.socket(socket.AF_UNIX).connect('\\0@MARKER@-call')\n    return True",
    ),
    Call(
        "by reading a file that the other watches",
        "import os\ndef f():\n    open(os.__file__).read()",
        "import ctypes, os\nlibc = ctypes.CDLL(None)\nwatch = libc.inotify_init()\n"
        "libc.inotify_add_watch(watch, os.fsencode(os.__file__), 1)\ndef f():\n    return len(os.read(watch, 100)) > 0",
    ),
    Call(
        "by a signal",
        "import os, signal\nseen = []\nsignal.signal(signal.SIGUSR1, lambda *_: seen.append(1))\ndef f():\n    return 1",
        "import os\ndef f():\n    for pid in range(2, 200):\n        try:\n            os.kill(pid, 10)\n        except OSError:\n            continue\n"
        "        return True",
    ),
]
