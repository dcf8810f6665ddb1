"""Answers that take more than they may have: memory of every kind, files, output.

The sandbox of the suite gives 0.25 GB. Where an attack tells how much it got, it pays from 300 MB on.
"""

from course_lib.grading import result as results
from tests.grading.attacks.attack import ENDED, NO_MEMORY, RIGHT, does, pays

HELD = (results.OUT_OF_MEMORY,)
SHARED = (
    "import mmap\nheld = mmap.mmap(-1, 1 << 29)\nfor n in range(0, 1 << 29, 4096):\n    held[n] = 1"
)
WRITTEN = """
    import os, time, ctypes

    left = 100 << 20
    for line in open("/proc/self/maps"):
        place, kind, *_, last = line.split()
        if kind != "rw-p" or last not in ("[heap]", "0"):
            continue
        first, end = (int(text, 16) for text in place.split("-"))
        for page in range(first, min(end, first + left), 4096):
            byte = ctypes.c_char.from_address(page)
            byte.value = byte.value
        left -= min(end - first, left)
"""
INHERITED = f"""
    import os, time
    for _ in range(20):
        if os.fork() == 0:
            {WRITTEN.strip().replace(chr(10), chr(10) + " " * 8)}
            time.sleep(9)
    time.sleep(9)
"""
FRESH = """
    import os, sys, time
    for _ in range(20):
        if os.fork() == 0:
            hungry = "x = bytearray(100 << 20); import time; time.sleep(9)"
            os.execv(sys.executable, [sys.executable, "-S", "-c", hungry])
    time.sleep(9)
"""
ANONYMOUS_FILES = """
    def attack():
        held = [os.memfd_create(str(n)) for n in range(5)]
        return sum(os.write(file, bytes(60 << 20)) for file in held) >= 300 << 20
"""
SYSTEM_V = """
    import ctypes

    def attack():
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype, libc.shmdt.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        got = 0
        for _ in range(5):
            segment = libc.shmget(0, 60 << 20, 0o1600)
            if segment < 0:
                break
            place = libc.shmat(segment, None, 0)
            ctypes.memset(place, 1, 60 << 20)
            libc.shmdt(place)
            got += 60
            libc.shmctl(segment, 0, None)
        return got >= 300
"""
PIPES = """
    import fcntl
    import time

    def attack():
        told, tell = os.pipe()
        for _ in range(50):
            if os.fork() == 0:
                got = 0
                try:
                    for _ in range(25):
                        reader, writer = os.pipe()
                        os.set_blocking(writer, False)
                        try:
                            fcntl.fcntl(writer, 1031, 1 << 20)
                        except OSError:
                            pass
                        got += os.write(writer, bytes(1 << 20))
                except OSError:
                    pass
                os.write(tell, got.to_bytes(8, "big"))
                time.sleep(1)
                os._exit(0)
        return sum(int.from_bytes(os.read(told, 8), "big") for _ in range(50)) >= 300 << 20
"""
SCRATCH = """
    import tempfile

    def attack():
        with tempfile.TemporaryDirectory() as folder:
            for n in range(10):
                with open(f"{folder}/{n}", "wb") as file:
                    file.write(bytes(30 << 20))
            return True
"""
ONE_FILE = """
    import tempfile

    def attack():
        with tempfile.TemporaryFile() as file:
            for _ in range(10):
                file.write(bytes(30 << 20))
            return True
"""
MANY_FILES = """
    import tempfile

    def attack():
        with tempfile.TemporaryDirectory() as folder:
            for n in range(10_000):
                open(f"{folder}/{n}", "w").close()
            return True
"""
SPARED = """
    def attack():
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("0")
        return True
"""

ATTACKS = [
    does("50 GB in one piece", "torch.ones(50 << 30, dtype=torch.uint8)", statuses=NO_MEMORY),
    does("50 GB of address space only", "import mmap; mmap.mmap(-1, 50 << 30)", statuses=NO_MEMORY),
    does(
        "many small allocations",
        "held = []\nwhile True:\n    held.append(b'x' * (1 << 18))",
        statuses=NO_MEMORY,
    ),
    does(
        "many small tensors",
        "held = []\nwhile True:\n    held.append(torch.ones(1 << 16))",
        statuses=NO_MEMORY,
    ),
    does("a string that doubles", "x = 'x'\nwhile True:\n    x += x", statuses=NO_MEMORY),
    does("shared memory", SHARED, statuses=HELD),
    does("children that write to what they inherit", INHERITED, statuses=HELD),
    does("children with fresh memory", FRESH, statuses=HELD),
    pays("asking to be spared when memory runs out", SPARED),
    pays("files in memory that are never mapped", ANONYMOUS_FILES),
    pays("System V segments that nobody is attached to", SYSTEM_V),
    pays("pipes filled by many processes", PIPES),
    pays("filling /tmp with files", SCRATCH),
    pays("filling /tmp with one file", ONE_FILE),
    pays("filling /tmp with empty files", MANY_FILES),
    does("a result of 200 MB", "return torch.ones(5 * 10**7)", statuses=(*ENDED, *NO_MEMORY)),
    does(
        "a result that is small only where it is",
        "return torch.zeros(1).expand(10**10)",
        statuses=NO_MEMORY,
    ),
    does(
        "200 MB of output from a right answer",
        "print('x' * (1 << 20)); import os; os.write(1, bytes(1 << 20))",
        top="for _ in range(25):\n    print('x' * (8 << 20), flush=True)",
        gives=RIGHT,
    ),
    does(
        "a large product on four threads in a right answer",
        "",
        top="torch.set_num_threads(4)\nx = torch.ones(1000, 1000)\nx = x @ x",
        gives=RIGHT,
    ),
]
