"""Many notebooks on several processes. Each grades with a sandbox of its own; this one hands out jobs and collects.

A process that dies takes no submission with it: its job is given to another once, and is a grader_error after that.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from course_lib.course_map import find_unit, root
from course_lib.grading import result
from course_lib.grading.policy import Policy
from course_lib.grading.result import SubmissionResult

SET_DEATH_SIGNAL = 1
TRIES = 2


@dataclass(frozen=True)
class Job:
    """One notebook to grade. `number` is whatever tells the caller which it is."""

    number: int
    unit: str
    path: Path
    attempt: int = 1
    tries: int = 0


@dataclass(frozen=True)
class Done:
    """A job and what came of it; `error` tells the instructor why, where the grader failed."""

    job: Job
    result: SubmissionResult
    error: str = ""


def _die_with_parent() -> None:
    """Where the system knows how: be killed when the process that started this one ends."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


def work(slot: int, policy: Policy, key: bytes, groups: bool, parent: Connection) -> None:
    """What each process does: grade the jobs that arrive until None does."""
    from course_lib.grading.grade import Grader

    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides when to stop
    graders: dict[str, Any] = {}
    try:
        while (job := parent.recv()) is not None:
            if job.unit not in graders:
                for grader in graders.values():  # one sandbox a process is enough
                    grader.__exit__()
                graders = {job.unit: Grader(find_unit(job.unit), key, policy, slot, groups)}
            grader = graders[job.unit]
            parent.send(Done(job, grader.grade(job.path, job.attempt), grader.last_error))
    except (EOFError, OSError):
        pass
    finally:
        for grader in graders.values():
            grader.__exit__()


class _Process:
    """A process of the pool as the parent sees it."""

    def __init__(self, slot: int, policy: Policy, key: bytes, groups: bool) -> None:
        self.slot, self.job = slot, None
        context = multiprocessing.get_context("forkserver")  # which imports torch once for all
        context.set_forkserver_preload(["course_lib.grading.grade"])
        self.connection, theirs = context.Pipe()
        arguments = (slot, policy, key, groups, theirs)
        self.process = context.Process(target=work, args=arguments, daemon=False)
        self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.job = job
        self.connection.send(job)

    def stop(self, at_once: bool) -> None:
        if at_once:
            self.process.terminate()
        else:
            with contextlib.suppress(OSError):
                self.connection.send(None)
        self.process.join(20)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def grade_all(
    jobs: Iterable[Job], policy: Policy, key: bytes, workers: int = 1, groups: bool = True
) -> Iterator[Done]:
    """Grade all jobs on `workers` processes; results come in the order in which they are ready."""
    waiting = deque(jobs)
    workers = max(1, min(workers, len(waiting)))
    first = os.getpid() % 500 * 16  # so that two graders at a time use other uids
    pool: list[_Process] = []
    orderly = False
    try:
        pool = [_Process(first + n, policy, key, groups) for n in range(workers)] if waiting else []
        for one in pool:
            one.give(waiting.popleft())
        while busy := {one.connection: one for one in pool if one.job}:
            for connection in wait(list(busy)):
                one = busy[connection]
                job = one.job
                try:
                    done = connection.recv()
                except (EOFError, OSError):
                    one.stop(at_once=True)
                    one.__init__(one.slot, policy, key, groups)
                    done = _after_a_death(job, policy, waiting)
                one.job = None
                if waiting:
                    one.give(waiting.popleft())
                if done is not None:
                    yield done
        orderly = True
    finally:
        for one in pool:
            one.stop(at_once=not orderly)


def _after_a_death(job: Job, policy: Policy, waiting: deque[Job]) -> Done | None:
    """Another try at the end of the queue, or a result that says that the grader failed."""
    if job.tries + 1 < TRIES:
        waiting.append(replace(job, tries=job.tries + 1))
        return None
    from course_lib.grading import reading
    from course_lib.grading.grade import load_unit, ungraded

    row = find_unit(job.unit)
    unit, written = load_unit(row.name), reading.written_questions(root() / row.master)
    why = "the grading process died"
    return Done(job, ungraded(unit, written, result.GRADER_ERROR, why, policy), why)
