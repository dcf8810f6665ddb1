"""Answers that reach out: files, gradebook, network, other processes, kernel, other submissions."""

from tests.grading.attacks.attack import pays

CALL = """
    import ctypes

    def attack():
        libc = ctypes.CDLL(None, use_errno=True)
        return {call} >= 0
"""


def call(name: str, text: str, **more):
    """An attack by one function of the C library, which works if that gives no negative number."""
    return pays(name, CALL.replace("{call}", text), **more)


FILES = """
    from pathlib import Path

    def attack():
        places = ["@CANARY@", "/", "/dev", "/dev/shm", "/dev/pts", "/site", "/site/torch", "/programs"]
        places += ["/root", "/home", "/usr/lib", "/var/tmp", "@ROOT@", "/proc", "/sys"]
        made = []
        for place in places:
            try:
                Path(place, "@MARKER@").write_text("I was here")
                made.append(Path(place, "@MARKER@"))
            except OSError:
                pass
        for path in made:
            path.unlink()
        return bool(made)
"""
CHANGED = """
    import sys

    def attack():
        done = 0
        for place in ("@CANARY@/note", "@BOOK@", torch.__file__, "/programs/worker.py", sys.executable, os.__file__):
            for change in (lambda: os.utime(place), lambda: os.chmod(place, 0o777), lambda: open(place, "ab").close()):
                try:
                    change()
                    done += 1
                except OSError:
                    pass
        return done
"""
LINKS = """
    def attack():
        os.symlink("@CANARY@", "/tmp/.@MARKER@")
        try:
            with open("/tmp/.@MARKER@/@MARKER@", "w") as file:
                file.write("I was here")
            os.unlink("/tmp/.@MARKER@/@MARKER@")
        finally:
            os.unlink("/tmp/.@MARKER@")
        return True
"""
GRADEBOOK = """
    def attack():
        with sqlite3.connect("file:@BOOK@?mode=rw", uri=True) as book:
            book.execute("create table if not exists mallory (x)")
        return True
"""
TCP = """
    import socket

    def attack():
        with socket.create_connection(("127.0.0.1", @PORT@), timeout=1):
            return True
"""
HTTP = """
    import urllib.request

    def attack():
        try:
            urllib.request.urlopen("http://127.0.0.1:@PORT@/", timeout=0.2)
        except urllib.error.URLError:
            return False
        except Exception:
            return True
"""
UNIX = """
    import socket

    def attack():
        with socket.socket(socket.AF_UNIX) as line:
            line.connect({place})
        return True
"""
FAMILIES = """
    import socket

    def attack():
        names = ("INET", "INET6", "UNIX", "NETLINK", "VSOCK", "PACKET")
        families = [getattr(socket, f"AF_{name}", None) for name in names]
        for family in filter(None, families):
            try:
                socket.socket(family, socket.SOCK_RAW if family == 17 else socket.SOCK_DGRAM).close()
                return True
            except OSError:
                pass
        return False
"""
HOST = """
    import socket

    def attack():
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
        return True
"""
LOCK = """
    import fcntl

    def attack():
        with open(torch.__file__) as file:
            fcntl.{lock}(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return True
"""
PARENT = """
    import signal

    def attack():
        for pid in {os.getppid(), os.getpgid(0), os.getsid(0)} - {os.getpid(), 0}:
            os.kill(pid, 0)
            return True
        return False
"""
LIMITS = """
    import resource

    def attack():
        for name in ("NPROC", "NOFILE", "FSIZE", "AS", "CPU", "CORE"):
            what = getattr(resource, f"RLIMIT_{name}")
            soft, hard = resource.getrlimit(what)
            if hard == resource.RLIM_INFINITY:
                return True
            try:
                resource.setrlimit(what, (soft, hard + 1))
                return True
            except (OSError, ValueError):
                pass
        return False
"""
ROOT = """
    def attack():
        os.setuid(0)
        return True
"""
SETTINGS = """
    def attack():
        with open("/proc/sys/kernel/shmmni", "r+") as file:
            file.write(file.read())
        return True
"""
DEVICE = """
    def attack():
        os.mknod("/tmp/.@MARKER@", 0o20666, os.makedev(1, 3))
        os.unlink("/tmp/.@MARKER@")
        return True
"""
TERMINAL = """
    def attack():
        os.openpty()
        return True
"""
GROUPS = """
    def attack():
        for line in open("/proc/self/mountinfo"):
            if "cgroup" in line.rpartition(" - ")[2]:
                return True
        return False
"""
MEMORY_OF_OTHERS = """
    def attack():
        others = [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]
        for name in others:
            try:
                open(f"/proc/{name}/mem", "rb").close()
                return True
            except OSError:
                pass
        return False
"""

ATTACKS = [
    pays("writing outside of /tmp", FILES),
    pays("changing files, or only their dates", CHANGED),
    pays("writing outside by a link", LINKS),
    pays("writing to the gradebook", GRADEBOOK),
    pays("a connection to this machine", TCP),
    pays("a web request", HTTP),
    pays("a socket in the file system", UNIX.replace("{place}", '"@CANARY@/socket"')),
    pays("a socket with an abstract name", UNIX.replace("{place}", '"\\0@MARKER@"')),
    pays("sockets of all families", FAMILIES),
    pays("a line to the machine that this one runs in", HOST),
    pays("a lock that another sandbox could notice", LOCK.replace("{lock}", "flock")),
    pays("a record lock that another sandbox could notice", LOCK.replace("{lock}", "lockf")),
    pays("signals to a parent", PARENT),
    pays("the memory of other processes", MEMORY_OF_OTHERS),
    pays("raising its limits", LIMITS),
    pays("becoming root", ROOT),
    pays("settings of the kernel", SETTINGS),
    pays("making a device", DEVICE),
    pays("a terminal", TERMINAL),
    pays("control groups", GROUPS),
    call("a user namespace of its own", "libc.unshare(0x10000000)"),
    call("mounting a file system", 'libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)', naive=""),
    call("taking a file system away", 'libc.umount2(b"/tmp", 2)', naive=""),
    call("a new root", 'libc.chroot(b"/")'),
    call("tracing a process", "libc.ptrace(0, 0, None, None)"),
    call(
        "a key that the next case would find",
        'libc.syscall(248, b"user", b"@MARKER@", b"x", 1, -3)',
    ),
    call("a watch on files that others read", "libc.inotify_init()"),
    call("the kernel's log", "libc.klogctl(10, None, 0)"),
    call("io_uring", "libc.syscall(425, 1, ctypes.create_string_buffer(120))"),
    call(
        "performance counters",
        "libc.syscall(298, ctypes.create_string_buffer(112), 0, -1, -1, 0)",
        naive="",
    ),
    call("faults handled in user space", "libc.syscall(323, 1)", naive=""),
    call(
        "programs for the kernel",
        "libc.syscall(321, 0, ctypes.create_string_buffer(120), 120)",
        naive="",
    ),
    call("calls by the numbers of x32", "libc.syscall(0x40000000 + 39)", naive=""),
]
