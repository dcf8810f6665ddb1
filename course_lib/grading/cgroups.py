"""Limits for a whole tree of processes: a control group where one can be made, else a count by hand.

Both kinds of control groups are known: version 2 (one hierarchy) and version 1 (one a controller). A group is
made below the grader's own or, where that is not allowed, below the root; where neither works, `ControlGroup.make`
returns None and the tree is measured from outside with `holds_more`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids")


def _own_groups() -> dict[str, str]:
    """This process's group by controller; the one hierarchy of version 2 has the name ""."""
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, place = line.split(":", 2)
        for name in names.split(","):
            found[name] = place.lstrip("/")
    return found


def _candidates() -> Iterator[dict[str, Path]]:
    """Folders in which groups for memory and pids might be made, best first; equal folders for version 2."""
    own = _own_groups()
    if all((ROOT / name).is_dir() for name in CONTROLLERS):
        yield {name: ROOT / name / own.get(name, "") for name in CONTROLLERS}
        yield {name: ROOT / name for name in CONTROLLERS}
    for mount in (ROOT, ROOT / "unified"):
        if (mount / "cgroup.controllers").is_file():
            yield dict.fromkeys(CONTROLLERS, mount / own.get("", ""))
            yield dict.fromkeys(CONTROLLERS, mount)


class ControlGroup:
    """A group with limits on memory and on the number of processes."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self.folders = folders
        self.version = 2 if folders["memory"] == folders["pids"] else 1

    @classmethod
    def make(cls, name: str) -> ControlGroup | None:
        """A new, empty group `course-PID-NAME`; None where this machine does not let us have one."""
        for parents in _candidates():
            group = cls({c: p / f"course-{os.getpid()}-{name}" for c, p in parents.items()})
            try:
                cls._sweep(set(parents.values()))
                for folder in set(group.folders.values()):
                    folder.mkdir()
                if group._file("memory", "memory.limit_in_bytes", "memory.max").is_file():
                    group._file("pids", "pids.max", "pids.max").write_text("max")
                    return group
            except OSError:
                pass
            group.remove()
        return None

    @staticmethod
    def _sweep(parents: set[Path]) -> None:
        """Remove the empty groups of graders that were killed."""
        for parent in parents:
            for folder in parent.glob("course-*-*"):
                pid = re.match(r"course-(\d+)-", folder.name)
                if pid and not Path("/proc", pid[1]).exists():
                    with contextlib.suppress(OSError):
                        folder.rmdir()

    def _file(self, controller: str, first: str, second: str) -> Path:
        return self.folders[controller] / (first if self.version == 1 else second)

    def entrances(self) -> list[Path]:
        """The files into which a process writes its pid to join."""
        return sorted({folder / "cgroup.procs" for folder in self.folders.values()})

    def limit(self, memory_bytes: int, processes: int) -> None:
        """Allow this much memory and this many processes beyond what the group holds now."""
        used = int(self._file("memory", "memory.usage_in_bytes", "memory.current").read_text())
        held = int(self._file("pids", "pids.current", "pids.current").read_text())
        most = str(used + memory_bytes)
        self._file("memory", "memory.limit_in_bytes", "memory.max").write_text(most)
        swap = self._file("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
        if swap.is_file():
            with contextlib.suppress(OSError):
                swap.write_text(most if self.version == 1 else "0")
        self._file("pids", "pids.max", "pids.max").write_text(str(held + processes))

    def kills(self) -> int:
        """How many processes of the group were ended because memory ran out."""
        text = self._file("memory", "memory.oom_control", "memory.events").read_text()
        found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        return int(found[1]) if found else 0

    def remove(self) -> None:
        """Take the group away; its processes must be gone."""
        for folder in set(self.folders.values()):
            with contextlib.suppress(OSError):
                folder.rmdir()


def descendants(pid: int) -> list[int]:
    """`pid` and all processes below it."""
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{current}/task"):
                with open(f"/proc/{current}/task/{task}/children") as file:
                    queue += map(int, file.read().split())
    return found


def resident(pid: int) -> int:
    """Anonymous, shared and swapped memory of one process in bytes; 0 if it is gone."""
    return _sum(f"/proc/{pid}/status", ("RssAnon", "RssShmem", "VmSwap"))


def holds_more(pids: list[int], most: int, inherited: int) -> bool:
    """Whether processes hold more than `most` bytes beyond the `inherited` ones of the process they were forked from.

    Pages that several of them share count once. To see which are shared takes milliseconds for each process, so it is
    done only where the sum over the processes, which counts such pages more than once, is too large.
    """
    each = [resident(pid) for pid in pids]
    if sum(each) <= inherited + most:
        return False
    if sum(max(0, size - inherited) for size in each) > most:
        return True
    parts = ("Pss_Anon", "Pss_Shmem", "SwapPss")
    shares = [_sum(f"/proc/{pid}/smaps_rollup", parts) or resident(pid) for pid in pids]
    return sum(shares) > inherited + most


def _sum(path: str, names: tuple[str, ...]) -> int:
    """The sum of some lines, in kB, of a file below /proc, in bytes; 0 if it cannot be read."""
    with contextlib.suppress(OSError), open(path) as file:
        return 1024 * sum(int(line.split()[1]) for line in file if line.startswith(names))
    return 0
