"""The sandbox: a bubblewrap that holds a zygote, from which each case is a fork in namespaces of its own.

    with Sandbox(slugs=["graph_networks"]) as sandbox:
        with sandbox.case(seconds=10) as case:
            case.send(data)
            control, body = case.receive(limits)

The whole is started by a real unprivileged user: root first binds what is shown into a private mount namespace (the
interpreter may lie in a folder that only root can enter) and then drops to a uid of its own.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from course_lib.grading import allowed, cgroups
from course_lib.grading.policy import SANDBOXED

if TYPE_CHECKING:  # it brings torch along, which the command that hands out the work does without
    from course_lib.grading.case import CaseProcess

HERE = Path(__file__).parent
PROGRAMS = ("zygote.py", "worker.py", "syscalls.py")  # what runs inside
GIGABYTE = 1 << 30
PROCESSES = 64
SCRATCH = 64 << 20  # bytes in /tmp, and in one file
START_SECONDS = 120.0
FIRST_UID = 64_100  # an unused range, so that the limit on processes counts ours alone
ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PATH": "/nowhere",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "GOMP_SPINCOUNT": "20000",
    "PYTHONHASHSEED": "0",
    # Memory in huge pages, where the system lends them: a fork then copies 100 page entries instead of 50,000.
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
    "TMPDIR": "/tmp",
}


class SandboxError(RuntimeError):
    """The sandbox could not be started, or could not start a case: never the student's fault."""


class Sandbox:
    """One bubblewrap with its zygote. Cases run one at a time; for more, make more sandboxes.

    Args:
        slugs: units whose `check` a notebook may import.
        packages: further packages to show; `course_lib.x` names a module of the course that holds no answers.
        memory: gigabytes that a case may take.
        slot: a number that no other sandbox alive has.
        groups: whether to use control groups where they can be had.

    Raises:
        SandboxError: it cannot be started; the message says why.
    """

    kind = SANDBOXED

    def __init__(
        self,
        slugs: Sequence[str],
        packages: Sequence[str] = (),
        memory: float = 2.0,
        slot: int = 0,
        groups: bool = True,
    ) -> None:
        if lacking := self.lacking():
            raise SandboxError(lacking)
        self.slugs, self.slot, self.groups = tuple(slugs), slot, groups
        self.packages = tuple(p for p in packages if not p.startswith("course_lib."))
        self.modules = tuple(
            p.removeprefix("course_lib.") for p in packages if p not in self.packages
        )
        self.memory = int(memory * GIGABYTE)
        self.process: subprocess.Popen | None = None
        self.group: cgroups.ControlGroup | None = None
        self.zygote = self.inherited = 0
        self.folder: Path | None = None
        self.control: socket.socket | None = None

    @staticmethod
    def lacking() -> str | None:
        """What this machine lacks for a sandbox, with what to do; None if it has everything."""
        if not sys.platform.startswith("linux"):
            return "the sandbox needs Linux; elsewhere only --unsandboxed grading works"
        names = ["bwrap"] + (["unshare", "setpriv", "mount"] if os.geteuid() == 0 else [])
        if absent := [name for name in names if shutil.which(name) is None]:
            return f"{', '.join(absent)} not found: apt-get install bubblewrap util-linux"
        return None

    # starting -----------------------------------------------------------------------------------

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Start bubblewrap and wait until the zygote is warm. Raises SandboxError."""
        self.folder = allowed.new_folder()
        self.log = self.folder / "log"
        self.group = cgroups.ControlGroup.make(str(self.slot)) if self.groups else None
        ours, theirs = socket.socketpair()
        self.control = ours
        try:
            command = self._command(theirs.fileno())
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[theirs.fileno()],
                    env={**ENVIRONMENT, "PATH": os.environ.get("PATH", os.defpath)},
                    cwd="/",
                )
            theirs.close()
            self._await(b"R", START_SECONDS)
        except (OSError, allowed.NotInstalled) as error:
            self.close()
            raise SandboxError(f"the sandbox did not start: {error}") from error
        self.zygote = cgroups.descendants(self.process.pid)[-1]
        self.inherited = cgroups.resident(self.zygote)
        if self.group:
            self.group.limit(self.memory + GIGABYTE // 8, PROCESSES)

    def _await(self, wanted: bytes, seconds: float) -> None:
        if not select.select([self.control], [], [], seconds)[0]:
            raise OSError(f"no answer within {seconds:g} s")
        if self.control.recv(1) != wanted:
            said = self.log.read_text(errors="replace").strip()[-400:]
            raise OSError(said or "it ended without a word")

    def _command(self, descriptor: int) -> list[str]:
        """The command line; as root, a shell that binds, joins the control group and drops to our uid."""
        generated = self.folder / "site"
        allowed.write_course(generated, self.slugs, self.modules)
        programs = self.folder / "programs"
        programs.mkdir()
        for name in PROGRAMS:
            shutil.copyfile(HERE / name, programs / name)
        shown, hidden = allowed.interpreter_places()
        binds = [(place, str(place)) for place in shown]
        binds += [(p, f"/site/{name}") for p, name in allowed.package_places(self.packages)]
        binds += [(p, f"/site/{p.name}") for p in sorted(generated.iterdir())]
        binds.append((programs, "/programs"))
        enter = (
            [f"echo $$ > {shlex.quote(str(p))}" for p in self.group.entrances()]
            if self.group
            else []
        )
        root = os.geteuid() == 0
        stage = [] if root else None
        bubblewrap = self._bubblewrap(binds, hidden, stage, descriptor)
        drop: list[str] = []
        if root:
            uid = str(FIRST_UID + self.slot)
            drop = ["setpriv", f"--reuid={uid}", f"--regid={uid}"]
            drop += ["--clear-groups", "--inh-caps=-all"]
        script = "\n".join(
            ["set -e", *enter, *(stage or []), "exec " + shlex.join(drop + bubblewrap)]
        )
        private = ["unshare", "--mount", "--propagation", "private"] if root else []
        return [*private, "sh", "-c", script]

    def _bubblewrap(
        self,
        binds: list[tuple[Path, str]],
        hidden: list[Path],
        stage: list[str] | None,
        descriptor: int,
    ) -> list[str]:
        """bubblewrap's arguments. With `stage`, sources are first bound below a folder that our uid can enter."""
        sources = [str(place) for place, _ in binds]
        if stage is not None:
            room = self.folder / "stage"
            room.mkdir()
            stage.append(f"mount -t tmpfs -o mode=755 none {shlex.quote(str(room))}")
            for number, (place, _) in enumerate(binds):
                point = shlex.quote(f"{room}/{number}")
                stage.append(f"mkdir {point}" if place.is_dir() else f": > {point}")
                stage.append(f"mount --bind {shlex.quote(str(place))} {point}")
                sources[number] = f"{room}/{number}"
        words = ["bwrap", "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
        words += ["--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"]
        words += ["--die-with-parent", "--new-session", "--clearenv"]
        for name, value in ENVIRONMENT.items():
            words += ["--setenv", name, value]
        words += ["--proc", "/proc", "--dev", "/dev", "--size", str(SCRATCH), "--tmpfs", "/tmp"]
        for source, (_, target) in zip(sources, binds, strict=True):
            words += ["--ro-bind", source, target]
        pages = "/sys/kernel/mm/transparent_hugepage"  # where glibc reads how large a huge page is
        words += ["--ro-bind-try", pages, pages]
        for name in ("/lib", "/lib64"):
            if os.path.islink(name):
                words += ["--symlink", os.readlink(name), name]
            elif os.path.isdir(name):
                words += ["--ro-bind", name, name]
        for place in hidden:
            if any(place.is_relative_to(shown) for shown, _ in binds):
                words += ["--tmpfs", str(place), "--remount-ro", str(place)]
        words += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]
        limits = {
            "address": 2 * self.memory + 2 * GIGABYTE,
            "processes": PROCESSES,
            "scratch": SCRATCH,
            "seconds": 3600,
            "modules": allowed.module_names(self.slugs, self.modules),
        }
        interpreter = str(Path(sys.executable).resolve())
        zygote = ["/programs/zygote.py", str(descriptor), json.dumps(limits)]
        return [*words, "--", interpreter, "-S", "-s", "-P", "-B", *zygote]

    # cases --------------------------------------------------------------------------------------

    def case(self, seconds: float) -> CaseProcess:
        """A fresh process for one case, which may take `seconds` in all. Raises SandboxError."""
        from course_lib.grading.case import CaseProcess

        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self.control, [b"C"], [theirs.fileno()])
            theirs.close()
            self._await(b"S", 30.0)
            ready = select.select([ours], [], [], 30.0)[0]
            if not ready or ours.recv(1) != b"!":
                said = self.log.read_text(errors="replace").strip()[-400:]
                raise OSError(said or "the case ended before the student's code began")
        except OSError as error:
            ours.close()
            self.close()
            raise SandboxError(f"the sandbox could not start a case: {error}") from error
        kills = self.group.kills() if self.group else 0
        return CaseProcess(self, ours, time.monotonic() + seconds, kills)

    def memory_exceeded(self, kills: int) -> bool:
        """Whether the case has taken more than its memory since the group's count stood at `kills`."""
        if self.group and self.group.kills() > kills:
            return True
        # Also with a group: near its limit the kernel throws out pages of libraries first, and all is slow.
        pids = [p for p in cgroups.descendants(self.zygote) if p != self.zygote]
        return cgroups.holds_more(pids, self.memory, self.inherited)

    def end_case(self) -> int | None:
        """End the case and all it started; its wait status, or None if the whole sandbox had to be restarted."""
        try:
            self.control.sendall(b"K")
            self._await(b"E", 10.0)
            return struct.unpack("<i", self.control.recv(4))[0]
        except OSError:
            self.close()
            self.start()
            return None

    def close(self) -> None:
        """End everything and clean up. May be called twice."""
        if self.control is not None:
            self.control.close()
        if self.process is not None:
            for pid in reversed(cgroups.descendants(self.process.pid)):
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    continue
            self.process.wait()
            self.process = None
        if self.group:
            for _ in range(50):
                self.group.remove()
                if not any(f.exists() for f in self.group.folders.values()):
                    break
                time.sleep(0.02)
            self.group = None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
