"""Processes that grade: some die, some before and some after their answer, and no job is lost, none done twice."""

import multiprocessing
import os
import signal
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from course_lib.course_map import find_unit
from course_lib.grading import batch
from course_lib.grading.batch import Done, Job, grade_all
from course_lib.grading.grade import Grader
from course_lib.grading.policy import Policy
from course_lib.grading.result import GRADED, GRADER_ERROR, UNREADABLE, SubmissionResult
from tests.grading import runs
from tests.requirements import require

POLICY = Policy(timeout=30, memory=0.5)
KEY = b"k" * 32
DIES, DIES_ONCE, DIES_AFTERWARDS = "dies", "dies once", "dies afterwards"
WORKS, SLEEPS = "works", "sleeps"


def obedient(slot, policy, key, groups, parent):
    """What a process of the pool does in most tests here: for each job, what the file's name says."""
    batch._die_with_parent()
    while (job := parent.recv()) is not None:
        what = job.path.name.partition("-")[0]
        if what == DIES or (what == DIES_ONCE and job.tries == 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if what == SLEEPS:
            time.sleep(1000)
        with open(job.path, "a") as file:
            file.write(f"{os.getpid()}\n")
        parent.send(Done(job, SubmissionResult(job.unit, GRADED, (), policy.sandbox)))
        if what == DIES_AFTERWARDS:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def pool(monkeypatch):
    """Processes that are `obedient`; the list of those that were made."""
    monkeypatch.setattr(batch, "work", obedient)
    return recorded(monkeypatch)


def recorded(monkeypatch):
    made = []

    class Recorded(batch._Process):
        last = Path()

        def start(self):
            super().start()
            made.append(self.process)

        def give(self, job):
            if self.last.name.startswith(DIES_AFTERWARDS):  # the worst moment: it is dead already
                self.process.join(30)
            self.last = job.path
            super().give(job)

    monkeypatch.setattr(batch, "_Process", Recorded)
    return made


def jobs_of(folder, *names):
    return [Job(n, runs.UNIT, folder / f"{name}-{n}") for n, name in enumerate(names)]


def outcomes(done):
    """{job's number: (status, error)}; a number that came twice fails."""
    found = {one.job.number: (one.result.status, one.error) for one in done}
    assert len(found) == len(done)
    return found


def pids(job):
    return job.path.read_text().split() if job.path.exists() else []


def is_gone(pid: int) -> bool:
    end = time.monotonic() + 30
    while runs.processes([pid]):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("workers", [1, 3, 9])
def test_every_job_is_done_once_and_all_processes_are_gone(pool, tmp_path, workers):
    jobs = jobs_of(tmp_path, *[WORKS] * 6)
    done = list(grade_all(jobs, POLICY, KEY, workers))
    assert outcomes(done) == dict.fromkeys(range(6), (GRADED, ""))
    assert [len(pids(job)) for job in jobs] == [1] * 6
    assert len(pool) == min(workers, 6)
    assert all(is_gone(process.pid) for process in pool)


def test_without_jobs_nothing_is_started(pool):
    assert list(grade_all([], POLICY, KEY, 4)) == [] and pool == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_process_that_is_killed_once_loses_nothing(pool, tmp_path, workers, place):
    names = [WORKS] * 5
    names[place] = DIES_ONCE
    jobs = jobs_of(tmp_path, *names)
    assert outcomes(list(grade_all(jobs, POLICY, KEY, workers))) == dict.fromkeys(
        range(5), (GRADED, "")
    )
    assert [len(pids(job)) for job in jobs] == [1] * 5


@pytest.mark.parametrize("workers", [1, 2])
def test_a_job_that_kills_twice_is_a_grader_error_and_the_others_are_done(pool, tmp_path, workers):
    jobs = jobs_of(tmp_path, WORKS, DIES, WORKS, WORKS)
    done = list(grade_all(jobs, POLICY, KEY, workers))
    found = outcomes(done)
    assert found.pop(1) == (GRADER_ERROR, "the grading process died")
    assert found == dict.fromkeys((0, 2, 3), (GRADED, ""))
    failed = next(one.result for one in done if one.job.number == 1)
    assert failed.points == 18
    assert [e.exercise for e in failed.exercises][-1] == "why_depth_hurts"
    assert all(e.earned is None and e.status == GRADER_ERROR for e in failed.exercises)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_process_that_dies_between_two_jobs_costs_neither(pool, tmp_path, workers):
    jobs = jobs_of(tmp_path, WORKS, DIES_AFTERWARDS, WORKS, WORKS, WORKS)
    assert outcomes(list(grade_all(jobs, POLICY, KEY, workers))) == dict.fromkeys(
        range(5), (GRADED, "")
    )
    assert [len(pids(job)) for job in jobs] == [1] * 5


def test_many_jobs_that_die_come_to_an_end(pool, tmp_path):
    jobs = jobs_of(tmp_path, *[DIES] * 3, WORKS)
    found = outcomes(list(grade_all(jobs, POLICY, KEY, 2)))
    assert [found[n][0] for n in range(4)] == [*[GRADER_ERROR] * 3, GRADED]
    assert len(pool) <= 2 + 2 * 3  # one for each death and no more


def test_leaving_early_ends_the_processes(pool, tmp_path):
    jobs = jobs_of(tmp_path, WORKS, SLEEPS, WORKS)
    with pytest.raises(OSError), closing(grade_all(jobs, POLICY, KEY, 2)) as graded:
        next(graded)
        raise OSError("the disk is full")
    assert len(pool) == 2 and all(is_gone(process.pid) for process in pool)


@pytest.mark.parametrize("which", [1, 2])
def test_an_interrupt_while_processes_start_ends_them(pool, tmp_path, monkeypatch, which):
    @contextmanager
    def interrupted():
        yield
        if len(pool) == which - 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(batch, "_no_interrupts", interrupted)
    children = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt) as caught:
        list(grade_all(jobs_of(tmp_path, *[WORKS] * 4), POLICY, KEY, 2))
    assert set(multiprocessing.active_children()) == children
    assert caught.value.__traceback__ and all(is_gone(process.pid) for process in pool)


def test_a_unit_that_cannot_be_loaded_fails_its_jobs_alone(tmp_path):
    path = runs.submit(tmp_path, "ada", b"{")
    jobs = [Job(0, "98_nothing", path), Job(1, runs.UNIT, path), Job(2, "98_nothing", path)]
    done = {one.job.number: one for one in grade_all(jobs, POLICY, KEY, 1)}
    assert sorted(done) == [0, 1, 2]
    for number in (0, 2):
        assert done[number].result.status == GRADER_ERROR and done[number].result.exercises == ()
        assert "98_nothing" in done[number].error
    assert done[1].result.status == UNREADABLE and done[1].error == ""


def test_a_grader_that_is_killed_while_it_grades_loses_nothing(monkeypatch, tmp_path):
    require("bwrap")
    made = recorded(monkeypatch)
    kinds = [runs.RIGHT, runs.WRONG, runs.RIGHT, runs.RAISES, runs.RIGHT]
    jobs = [Job(n, runs.UNIT, runs.submit(tmp_path, f"s{n}", kind)) for n, kind in enumerate(kinds)]
    done = []
    with closing(grade_all(jobs, POLICY, KEY, 1)) as graded:
        for one in graded:
            done.append(one)
            if len(done) == 2:  # it has the third job already
                os.kill(made[0].pid, signal.SIGKILL)
    assert len(made) == 2
    gin = {one.job.number: runs.exercise(one.result.to_json()) for one in done}
    assert [gin[n]["earned"] for n in range(5)] == [1.0, 0.0, 1.0, 0.0, 1.0]
    assert [one.job.tries for one in done if one.job.tries] == [1]


@pytest.mark.parametrize("which", ["zygote", "bubblewrap"])
def test_a_sandbox_that_is_gone_is_started_again(grader, tmp_path, which):
    path = runs.submit(tmp_path, "ada", runs.RIGHT)
    before = grader.grade(path)
    sandbox = grader.sandbox
    os.kill(sandbox.zygote if which == "zygote" else sandbox.process.pid, signal.SIGKILL)
    assert is_gone(sandbox.zygote)
    for _ in range(2):
        after = grader.grade(path)
        assert grader.last_error == ""
        assert runs.timeless(after.to_json()) == runs.timeless(before.to_json())
    assert runs.exercise(after.to_json())["outcome"] == "passed"


def test_a_sandbox_that_never_starts_is_a_grader_error(tmp_path, monkeypatch):
    require("bwrap")
    path = runs.submit(tmp_path, "ada", runs.RIGHT)
    broken = Path(tmp_path, "bin", "bwrap")
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho no such luck >&2\nexit 1\n")
    broken.chmod(0o755)
    broken.parent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{broken.parent}:{os.environ['PATH']}")
    with Grader(find_unit(runs.UNIT), KEY, POLICY, slot=90) as grader:
        done = grader.grade(path)
        assert done.status == GRADER_ERROR
        found = runs.exercise(done.to_json())
        assert found["status"] == GRADER_ERROR and found["earned"] is None
        assert "sandbox" in grader.last_error and "sandbox" not in "".join(found["feedback"])
        assert all(e.earned is None for e in done.exercises)
