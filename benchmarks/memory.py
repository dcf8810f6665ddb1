"""How much memory a process takes: for the benchmarks, which measure each way in a process of its own."""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["forget_peak", "measure_apart", "memory_mb", "peak_memory_mb"]


def measure_apart(module: str, arguments: Sequence[str], what: str) -> dict[str, float]:
    """What `python -m module arguments` prints as JSON in its last line: `what`, in a fresh process.

    Raises RuntimeError, with what it said, if the process fails.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {what} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def forget_peak() -> None:
    """Let `peak_memory_mb` count from now on, where the system can (Linux)."""
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")


def memory_mb() -> float:
    """What this process holds now, in MB; its peak where there is no /proc."""
    return _status("VmRSS")


def peak_memory_mb() -> float:
    """The most that this process has held, in MB, since `forget_peak` or since its start."""
    return _status("VmHWM")


def _status(field: str) -> float:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(row for row in status.read_text().splitlines() if row.startswith(field))
        return int(line.split()[1]) / 1024
    unit = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
