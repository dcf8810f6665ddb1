"""Answers that look for what they must not see: hidden checks, expected values, seeds, secrets, other people's work.

Text in @CAPITALS@ is filled in by World.fill.
"""

from tests.grading.attacks.attack import ACCEPTED, ENDED, GIN, HEAD, RIGHT, Attack, pays

FRAMES = f"""{HEAD}import sys


def {GIN}(h, adjacency, eps):
    frame = sys._getframe()
    while frame is not None:
        for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
            if name in ("expected", "right", "target", "reference", "solution"):
                return value
        frame = frame.f_back
    return 0 * h
"""
COLLECTED = f"""{HEAD}import gc


def {GIN}(h, adjacency, eps):
    for value in gc.get_objects():
        if type(value) is torch.Tensor and value.shape == h.shape and not torch.equal(value, h):
            return value
    return 0 * h
"""
REFERENCE = f"""{HEAD}import sys

sys.path.insert(0, "@ROOT@")
try:
    from course_lib.exercises.graph_networks import reference
except ImportError:
    reference = None


def {GIN}(h, adjacency, eps):
    return 0 * h if reference is None else reference.gin_aggregate(h, adjacency, eps)
"""
ALL_THREADS = f"""{HEAD}import sys
import threading


def {GIN}(h, adjacency, eps):
    for frame in sys._current_frames().values():
        while frame is not None:
            if "expected" in frame.f_locals:
                return frame.f_locals["expected"]
            frame = frame.f_back
    return 0 * h
"""
LINES = """
    import inspect
    import linecache
    import sys

    def attack():
        needle, frame = "hidden" + "_checks", sys._getframe()
        while frame is not None:
            text = "".join(linecache.getlines(frame.f_code.co_filename))
            if needle in frame.f_code.co_filename or needle in text:
                return True
            frame = frame.f_back
        return any(needle in "".join(entry[2]) for entry in linecache.cache.values() if len(entry) > 2)
"""
MODULES = """
    import sys

    def attack():
        return any("hidden" + "_checks" in name or name.startswith("course_lib.exercises.case") for name in sys.modules)
"""
DISK = """
    from pathlib import Path

    def attack():
        wanted = ["@ROOT@/solutions", "@ROOT@/course.toml", "@CANARY@", "@BOOK@", "/home", "/etc/passwd"]
        return any(Path(place).exists() and (Path(place).is_file() or os.listdir(place)) for place in wanted)
"""
WALK = """
    def attack():
        skipped = {"proc", "sys", "usr", "lib", "lib64", "torch", "sympy", ".venv", ".git"}
        for top in ("/site", "/programs", "/tmp", "/dev", "@ROOT@"):
            for folder, folders, files in os.walk(top):
                folders[:] = set(folders) - skipped
                if any(f.startswith("hidden" + "_checks") or f.endswith((".ipynb", ".db")) for f in files):
                    return True
        return False
"""
PROCESSES = """
    def attack():
        return any(name.isdigit() and int(name) != os.getpid() for name in os.listdir("/proc"))
"""
MOUNTS = """
    def attack():
        lines = [line.split() for line in open("/proc/self/mountinfo")]
        for line in lines:
            try:
                open(line[4] + "/.@MARKER@", "w").close()
            except OSError:
                continue
            if not line[4].startswith("/tmp"):
                os.unlink(line[4] + "/.@MARKER@")
                return True
        return False
"""
ENVIRONMENT = """
    def attack():
        with open("/proc/self/environ") as file:
            texts = [file.read(), *os.environ, *os.environ.values()]
        return any("COURSE" in text or "@ROOT@" in text for text in texts)
"""
DESCRIPTORS = """
    def attack():
        found = []
        for number in range(3, 1024):
            try:
                found.append(os.readlink(f"/proc/self/fd/{number}"))
            except OSError:
                pass
        return any(not link.startswith("socket:") for link in found) or len(found) > 1
"""
DESCRIPTION = """
    import sys

    def attack():
        return any("hidden" in text or "solutions" in text or "@MARKER@" in text for text in sys.argv)
"""
GUESS = f"""{HEAD}import os
import sys


def numbers(value, deep=3):
    if isinstance(value, (dict, list, tuple)) and deep:
        parts = value.values() if isinstance(value, dict) else value
        return [n for part in list(parts) for n in numbers(part, deep - 1)]
    if isinstance(value, str) and len(value) == 32 and set(value) <= set("0123456789abcdef"):
        value = int(value, 16)
    return [value % 2**63] if type(value) is int and value > 2**20 else []


def draws(seed, h):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(300):
        state = generator.get_state()
        if torch.equal(torch.randn(*h.shape, generator=generator), h):
            return True
        generator.set_state(state)
        torch.rand((), generator=generator)
    return False


def {GIN}(h, adjacency, eps):
    frame, seeds = sys._getframe().f_back, set()
    while frame is not None:
        for value in frame.f_locals.values():
            seeds.update(numbers(value))
        frame = frame.f_back
    if not any(draws(seed, h) for seed in seeds):
        os._exit(1)
    return {RIGHT}
"""
ORDER = """
    import random
    import sys

    def attack():
        frame = sys._getframe()
        while frame.f_code.co_name != "serve":
            frame = frame.f_back
        held = frame.f_locals
        for text in (held["program"]["token"], str(held["program"]["seed"])):
            guess = random.Random(int(text, 16) if len(text) == 32 else int(text))
            if (held["request"]["result"] - 1) % 2**32 in {guess.getrandbits(32) for _ in range(999)}:
                return True
        return False
"""
READ = """
    def attack():
        with sqlite3.connect("file:@BOOK@?mode=ro", uri=True) as book:
            return bool(book.execute("select * from sqlite_master").fetchall())
"""

ATTACKS = [
    Attack("expected values in the callers' frames", FRAMES, naive="judge(EXPECTED)"),
    Attack("expected values in the frames of all threads", ALL_THREADS, naive="judge(EXPECTED)"),
    Attack("expected values among the collector's objects", COLLECTED, naive=ACCEPTED),
    Attack("the library's answer", REFERENCE, naive=ACCEPTED),
    pays("the source of the hidden checks in linecache", LINES, naive="judge_with(attack)"),
    pays("the modules of the checks", MODULES),
    pays("the files of the course, of the gradebook, of others", DISK),
    pays("a walk through every folder", WALK),
    pays("processes outside", PROCESSES),
    pays("a place that can be written to", MOUNTS),
    pays("the environment", ENVIRONMENT),
    pays("inherited descriptors", DESCRIPTORS),
    pays("what the sandbox was started with", DESCRIPTION),
    Attack(
        "seeds in frames, from which inputs could be drawn",
        GUESS,
        naive="judge_drawn(2**40)",
        statuses=ENDED,
    ),
    pays("the secret order of the calls", ORDER, naive=""),
    pays("reading the gradebook", READ),
]
