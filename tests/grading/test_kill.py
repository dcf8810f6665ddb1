"""The grader is killed at random moments of a batch; in the end there is what an undisturbed run gives."""

import contextlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from course_lib.grading.cgroups import descendants
from tests.grading import runs
from tests.requirements import require

SUBMISSIONS = 60
KILLS = 5
COMMAND = ("grade", "submissions", "--out", "reports", "--workers", "2")
KINDS = (runs.RIGHT, runs.WRONG, b"{", runs.RIGHT, runs.RAISES, "", runs.RIGHT)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A folder in which 60 submissions were graded in one go."""
    require("bwrap")
    folder = tmp_path_factory.mktemp("undisturbed")
    for number in range(SUBMISSIONS):
        kind = KINDS[number % len(KINDS)]
        own = kind if isinstance(kind, bytes) else f"{kind}\n\nnumber = {number}\n"
        runs.submit(folder / "submissions", f"s{number:02d}", own, when="2026-03-01T10:00:00Z")
    said = runs.table(runs.course(folder, *COMMAND))
    assert said["found"] == SUBMISSIONS and said["done before"] == said["now grader error"] == 0
    return folder


def results(folder):
    return runs.query(folder / "gradebook.db", "SELECT id, job_key, graded_at FROM results")


def await_moment(process, folder, number, delay):
    """Wait until there are `number` more results, then for `delay` seconds more."""
    wanted = len(results(folder)) + number
    end = time.monotonic() + 200
    while number and len(results(folder)) < wanted:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "no result for minutes"
        time.sleep(0.01)
    time.sleep(delay)
    assert process.poll() is None, process.communicate()


def kill(process):
    """SIGKILL to the grader alone; everything that it started must be gone soon."""
    started = runs.processes(descendants(process.pid))
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)  # its streams are closed when the last that holds them is gone
    end = time.monotonic() + 60
    while left := set(runs.processes(pid for pid, _ in started)) & set(started):
        assert time.monotonic() < end, f"of {started} there are left: {left}"
        time.sleep(0.05)
    return len(started)


def test_a_grader_killed_five_times_loses_and_repeats_nothing(undisturbed, tmp_path):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    dice = random.Random(seed)
    for name in ("submissions", "secret"):
        copy = shutil.copytree if name == "submissions" else shutil.copy2
        copy(undisturbed / name, tmp_path / name)
    most = 0
    for number in range(KILLS):
        before = results(tmp_path)
        process = runs.start(tmp_path, *COMMAND)
        if number == 0:  # before there is any result: while processes and sandboxes start
            await_moment(process, tmp_path, 0, dice.uniform(0.5, 5))
        else:
            await_moment(process, tmp_path, dice.randint(1, 6), dice.uniform(0, 0.2))
        most = max(most, kill(process))
        assert set(before) <= set(results(tmp_path))
    assert (
        most >= 8
    )  # the command, the fork server, two workers, and in two sandboxes at least two each
    before = results(tmp_path)
    assert KILLS - 1 <= len(before) < SUBMISSIONS
    said = runs.table(runs.course(tmp_path, *COMMAND))
    assert said["found"] == SUBMISSIONS and said["done before"] == len(before)
    assert said["now graded"] + said["now unreadable"] == SUBMISSIONS - len(before)
    assert set(before) <= set(results(tmp_path))
    once = "SELECT submission, COUNT(*) FROM results GROUP BY submission"
    assert [n for _, n in runs.query(tmp_path / "gradebook.db", once)] == [1] * SUBMISSIONS

    assert runs.contents(tmp_path / "gradebook.db") == runs.contents(undisturbed / "gradebook.db")
    assert runs.reports(tmp_path / "reports") == runs.reports(undisturbed / "reports")


def in_a_case(pid):
    """Whether a student's code runs somewhere below: a fork of a zygote, in a sandbox that is ready."""
    lines = []
    for one in descendants(pid):
        with contextlib.suppress(OSError):
            lines.append(Path(f"/proc/{one}/cmdline").read_bytes())
    return sum(b"/programs/zygote.py" in line and b"bwrap" not in line for line in lines) > 1


def test_a_loop_of_a_student_ends_with_the_grader(tmp_path):
    require("bwrap")
    runs.submit(tmp_path / "submissions", "ada", runs.LOOPS)
    process = runs.start(tmp_path, *COMMAND, "--timeout", 1000)
    end = time.monotonic() + 100
    while not in_a_case(process.pid):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    kill(process)


def test_a_second_run_finds_all_done_and_changes_nothing(undisturbed):
    rows, written = results(undisturbed), runs.reports(undisturbed / "reports")
    said = runs.table(runs.course(undisturbed, *COMMAND))
    assert said["done before"] == SUBMISSIONS
    assert said["now graded"] == said["now unreadable"] == 0
    assert results(undisturbed) == rows
    assert runs.reports(undisturbed / "reports") == written


def test_the_batch_holds_every_kind_of_result(undisturbed):
    found = runs.query(
        undisturbed / "gradebook.db",
        "SELECT s.student, r.status, e.status, e.outcome, e.earned FROM submissions s "
        "JOIN results r ON r.submission = s.id JOIN exercise_results e ON e.result = r.id "
        f"WHERE e.exercise = '{runs.GIN}' ORDER BY s.student",
    )
    wanted = {
        runs.RIGHT: ("graded", "graded", "passed", 1.0),
        runs.WRONG: ("graded", "graded", "failed", 0.0),
        runs.RAISES: ("graded", "student_error", "failed", 0.0),
        "": ("graded", "missing_answer", "not_attempted", 0.0),
        b"{": ("unreadable", "missing_answer", "", 0.0),
    }
    assert [row[1:] for row in found] == [wanted[KINDS[n % 7]] for n in range(SUBMISSIONS)]
