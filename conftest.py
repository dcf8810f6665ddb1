"""What every test and every notebook under test shares: a small budget, a home of its own, seconds.

It stands at the root, so that `pytest lectures` is under it too.
"""

import os
import tempfile
from collections import defaultdict

# Set before torch is imported, and inherited by every kernel that a test or nbval starts.
os.environ["COURSE_FAST"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait by spinning slow a busy machine
os.environ.pop("NBGRADER_EXECUTION", None)
os.environ.pop("COURSE_REPORT", None)
_home = tempfile.TemporaryDirectory(prefix="course-home-")
os.environ["COURSE_HOME"] = _home.name  # nbval's kernels; tests get one each in tests/conftest.py

import torch  # noqa: E402

from course_lib.course_map import load_map, root  # noqa: E402

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
_seconds: dict[str, float] = defaultdict(float)


def pytest_runtest_logreport(report):
    """Add up the seconds of each notebook's cells, start of the kernel included."""
    path = report.nodeid.replace("::ipynb::", ".ipynb::").split("::")[0]  # as nbval writes it
    if path.endswith(".ipynb"):
        _seconds[path] += report.duration


def pytest_terminal_summary(terminalreporter):
    """Print each notebook's seconds beside its fast budget; only `course bench` fails on them."""
    if not _seconds:
        return
    budgets = {
        path.as_posix(): row.seconds["fast"]
        for row in load_map(root())
        for path in (row.lecture, row.lab, row.master)
    }
    terminalreporter.section("seconds a notebook (COURSE_FAST=1)")
    for path, seconds in sorted(_seconds.items()):
        budget = budgets.get(path)
        over = "   over the budget" if budget is not None and seconds > budget else ""
        terminalreporter.write_line(f"{seconds:6.1f} of {budget or '?':>3}   {path}{over}")
    mean = sum(_seconds.values()) / len(_seconds)
    terminalreporter.write_line(f"{mean:6.1f} on average")
