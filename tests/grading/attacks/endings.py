"""Answers that do not end, end too early, or multiply."""

from tests.grading.attacks.attack import (
    ENDED,
    GRADED,
    RAISED,
    RIGHT,
    TIMEOUT,
    Attack,
    answer,
    does,
    pays,
)

LOOP = "while True:\n    pass"
DEAF = """
    import signal

    for number in range(1, 65):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
"""
SWALLOW = """
    while True:
        try:
            while True:
                pass
        except BaseException:
            pass
"""
EXEC = """
    import os, sys
    frame = sys._getframe()
    while frame.f_code.co_name != "serve":
        frame = frame.f_back
    os.set_inheritable(frame.f_locals["connection"].fileno(), True)
    os.execv(sys.executable, [sys.executable, "-S", "-c", "while True: pass"])
"""
FORKS = """
    import time

    def attack():
        children = 0
        for _ in range(200):
            try:
                child = os.fork()
            except OSError:
                break
            if child == 0:
                time.sleep(3)
                os._exit(0)
            children += 1
        return children > 100
"""
THREADS = """
    import threading
    import time

    def attack():
        made = 0
        for _ in range(300):
            try:
                threading.Thread(target=time.sleep, args=(3,), daemon=True).start()
            except RuntimeError:
                break
            made += 1
        return made > 100
"""
BOMB = """
    import os
    while True:
        try:
            os.fork()
        except OSError:
            pass
"""
DETACHED = """
    import functools
    import os
    import signal
    import time

    @functools.cache
    def attack():
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_IGN)
                os.write(writer, str(os.getpid()).encode())
                os.closerange(0, 64)
                time.sleep(4)
            os._exit(0)
        os.wait()
        os.kill(int(os.read(reader, 20)), 0)
        return True
"""
DEEP = """
    import sys
    sys.setrecursionlimit(10**9)

    def deeper(_):
        return sorted([0], key=deeper)

    deeper(0)
"""
FAULT = """
    import ctypes, faulthandler, sys
    frame = sys._getframe()
    while frame.f_code.co_name != "serve":
        frame = frame.f_back
    faulthandler.enable(frame.f_locals["connection"].fileno())
    ctypes.string_at(0)
"""

ENDLESS = [
    does("an endless loop", LOOP, statuses=TIMEOUT),
    does("an endless loop at the top level", "", top=LOOP, statuses=TIMEOUT),
    does("a loop that swallows every exception", SWALLOW, statuses=TIMEOUT),
    does("a long sleep", "import time; time.sleep(1000)", statuses=TIMEOUT),
    does("a loop deaf to all signals", LOOP, top=DEAF, statuses=TIMEOUT),
    does(
        "one endless step in C, which holds the interpreter", "sum(iter(int, 1))", statuses=TIMEOUT
    ),
    does("another program that keeps the line open", EXEC, statuses=TIMEOUT),
    does("forking without end", BOMB, statuses=(*TIMEOUT, *ENDED)),
]
EARLY = [
    does("os._exit in the answer", "import os; os._exit(0)", statuses=ENDED),
    does("os._exit at the top level", "", "import os\nos._exit(0)", statuses=ENDED),
    does("sys.exit in the answer", "import sys; sys.exit(0)", statuses=RAISED),
    does("sys.exit at the top level of a right answer", "", "import sys\nsys.exit(0)", RIGHT),
    does("os.abort", "import os; os.abort()", statuses=ENDED),
    does("reading at address 0", "import ctypes; ctypes.string_at(0)", statuses=ENDED),
    does("a fault whose report goes onto the wire", FAULT, statuses=ENDED),
    does("a stack that overflows in C", DEEP, statuses=ENDED),
    does("recursion without end", "return gin_aggregate(h, adjacency, eps)", statuses=RAISED),
    does("killing process 1, which it is itself", "import os; os.kill(1, 9)", gives=RIGHT),
    does(
        "killing all others, of whom there are none", "import os; os.kill(-1, 9)", statuses=RAISED
    ),
    does("killing its process group", "import os; os.kill(0, 9)", gives=RIGHT),
    does("stopping itself", "import os; os.kill(os.getpid(), 19)", gives=RIGHT),
    does("closing every descriptor", "import os; os.closerange(0, 64)", statuses=ENDED),
    does(
        "two processes that both answer",
        "import os; os.fork()",
        gives=RIGHT,
        right=False,
        statuses=ENDED,
    ),
]
MANY = [
    pays("a loop of forks", FORKS),
    pays("a loop of threads", THREADS),
    Attack(
        "a detached process that outlives a right answer",
        answer("attack()", DETACHED, RIGHT),
        right=True,
        statuses=GRADED,
        naive="attack()",
    ),
]
ATTACKS = ENDLESS + EARLY + MANY
