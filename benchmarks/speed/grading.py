"""Grading a class of 40: `course grade` against `nbgrader autograde`, the same notebooks, one run after the other.

    python -m benchmarks.speed.grading [--students 40] [--workers 2]

The notebooks are unit 05's lab: half solved, a quarter solved but for one mistake, a quarter with the last four
exercises left as they were released. Both start from nothing (processes, sandbox, kernel, database); both times are of
the whole command. Ours puts each exercise to hidden cases in a sandbox, nbgrader runs the notebook with its public
checks, so the two do not do the same work: the ratio is what an instructor waits for. Latency is of one submission in
one of our processes; "student" is the share of it that was spent waiting for the student's code.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import environment, print_table, write_json
from course_lib.course_map import find_unit, root
from course_lib.grading.gradebook import Gradebook

ROW = find_unit("graph_networks")
BAR = 8.0
WRONG = {  # in the master's answer: what stands there, and a mistake in its place
    "normalized_adjacency": ("** -0.5", "** -1.0"),
    "GCNLayer": ("matrix @ (x", "matrix.T @ (x"),
    "neighbor_mean": (" / count.clamp(min=1)[:, None]", ""),
    "gin_aggregate": ("(1 + eps) * h", "eps * h"),
    "told_apart": ("not same.all()", "same.all()"),
    "smoothing_distance": ("+ 1).sqrt()", ").sqrt()"),
    "sampled_sum": (" / q[drawn][:, :, None]", ""),
}


def notebook(number: int) -> str:
    """The notebook of student `number`, as JSON text."""
    solved = json.loads((root() / ROW.master).read_text())
    if number % 4 == 2:
        names = list(WRONG)
        name = names[number // 4 % len(names)]
        cell = _answer(solved, name)
        right, wrong = WRONG[name]
        text = "".join(cell["source"])
        if right not in text:
            raise ValueError(f"the master's {name} no longer holds {right!r}")
        cell["source"] = text.replace(right, wrong)
    if number % 4 == 3:
        released = json.loads((root() / ROW.lab).read_text())
        for name in ("told_apart", "node_classifier", "smoothing_distance", "sampled_sum"):
            _answer(solved, name)["source"] = _answer(released, name)["source"]
    return json.dumps(solved)


def _answer(made: dict, name: str) -> dict:
    graded = (c for c in made["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == name)
    return next(graded)


def lay_out(folder: Path, students: int) -> None:
    """nbgrader's course folder, whose `submitted/` both read."""
    shutil.copy(root() / "nbgrader_config.py", folder)
    shutil.copytree((root() / ROW.master).parent, folder / ROW.master.parent)
    for number in range(students):
        place = folder / "submitted" / f"student{number:02d}" / ROW.name / f"{ROW.name}.ipynb"
        place.parent.mkdir(parents=True)
        place.write_text(notebook(number))


def run(folder: Path, *command: str) -> float:
    """Seconds that a command takes."""
    variables = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),  # alembic
        "PYTHONPATH": str(root()),
        "COURSE_HOME": str(folder / "home"),
        "COURSE_SECRET_FILE": str(folder / "secret"),
    }
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - began


def ours(folder: Path, workers: int) -> dict[str, Any]:
    """Seconds of `course grade`, and the latencies it noted."""
    command = (
        "course_lib.cli",
        "grade",
        "submitted",
        "--out",
        "reports",
        "--workers",
        str(workers),
    )
    seconds = run(folder, *command, "--gradebook", "sqlite:///ours.db")
    with Gradebook(f"sqlite:///{folder / 'ours.db'}", create=False) as book:
        results = [graded.result for graded in book.results(ROW.name)]
    each = sorted(result.seconds for result in results)
    return {
        "seconds": seconds,
        "submissions": len(results),
        "p50": statistics.median(each),
        "p95": each[min(len(each) - 1, round(0.95 * len(each)))],
        "student_share": sum(r.student_seconds for r in results) / sum(each),
        "points": sum(result.earned for result in results),
    }


def main() -> None:
    """Print the table and write the JSON file; leave with 1 if the ratio is below the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--students", type=int, default=40)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    started = environment(torch.device("cpu"))
    with tempfile.TemporaryDirectory(prefix="bench-grading-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        lay_out(folder, given.students)
        mine = ours(folder, given.workers)
        run(folder, "nbgrader", "generate_assignment", ROW.name)
        theirs = run(folder, "nbgrader", "autograde", ROW.name)
    ratio = theirs / mine["seconds"]
    each = [mine["seconds"] / given.students, theirs / given.students]
    rows = [
        ["course grade", f"{mine['seconds']:.1f}", f"{each[0]:.2f}", f"{ratio:.1f}"],
        ["nbgrader autograde", f"{theirs:.1f}", f"{each[1]:.2f}", "1"],
    ]
    notes = [
        f"ours, one submission: p50 {mine['p50']:.2f} s, p95 {mine['p95']:.2f} s; "
        f"{mine['student_share']:.0%} of it waiting for the student's code; {given.workers} workers",
        "nbgrader runs one notebook after the other; it has no option for more",
    ]
    title = f"Grading {given.students} submissions of unit 05's lab"
    print_table(title, ["", "seconds", "a submission", "ratio"], rows, notes)
    content = {
        "students": given.students,
        "workers": given.workers,
        "ours": mine,
        "nbgrader_seconds": theirs,
        "ratio": ratio,
        "bar": BAR,
    }
    path = write_json("grading", "small", started, content)
    print(path)
    sys.exit(ratio < BAR)


if __name__ == "__main__":
    main()
