"""Many notebooks on several processes. Each grades with a sandbox of its own; this one hands out jobs and collects.

A process that dies takes no submission with it: its job is given to another once, and is a grader_error after that.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from course_lib.course_map import find_unit, root
from course_lib.grading import result
from course_lib.grading.policy import Policy
from course_lib.grading.result import SubmissionResult

SET_DEATH_SIGNAL = 1
TRIES = 2
SLOTS, GRADERS = (
    64,
    20,
)  # numbers of sandboxes that a grader may use, and graders that have other ones


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
    """Be killed when the grader ends, however it ends; where the system knows how, also when the fork server does."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)

    def watch() -> None:
        multiprocessing.parent_process().join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def work(slot: int, policy: Policy, key: bytes, groups: bool, parent: Connection) -> None:
    """What each process does: grade the jobs that arrive until None does."""
    from course_lib.grading.grade import Grader

    _die_with_parent()
    gc.collect()
    gc.freeze()  # what is imported stays: no collection has to look at it again
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # so that the sandbox is taken away
    graders: dict[str, Any] = {}
    try:
        while (job := parent.recv()) is not None:
            try:
                if job.unit not in graders:
                    for other in graders.values():  # one sandbox a process is enough
                        other.__exit__()
                    graders.clear()
                    graders[job.unit] = Grader(find_unit(job.unit), key, policy, slot, groups)
                grader = graders[job.unit]
                done = Done(job, grader.grade(job.path, job.attempt), grader.last_error)
            except Exception as error:  # the unit cannot be loaded, so none of its notebooks graded
                done = _failed(job, policy, f"{type(error).__name__}: {error}")
            parent.send(done)
    except (EOFError, OSError):
        pass
    finally:
        for grader in graders.values():
            grader.__exit__()


def start_importing() -> None:
    """Start the process that every other is forked from: it imports torch, once for all, while its parent goes on."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["course_lib.grading.grade"])
    with _no_interrupts():
        forkserver.ensure_running()


class _Process:
    """A process of the pool as the parent sees it."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments, self.job, self.process = arguments, None, None

    def start(self) -> None:
        """Start it, or start it again."""
        start_importing()
        context = multiprocessing.get_context("forkserver")
        self.connection, theirs = context.Pipe()
        arguments = (*self.arguments, theirs)
        self.process = context.Process(target=work, args=arguments, daemon=True)
        with theirs, _no_interrupts(), _no_main_module():
            self.process.start()

    def give(self, job: Job) -> None:
        """Hand it a job. If it is dead, that is found out where its answer is awaited."""
        self.job = job
        with contextlib.suppress(OSError):
            self.connection.send(job)

    def stop(self, at_once: bool) -> None:
        """End it, and wait until it has ended. May be called twice."""
        if self.process is None or self.process.pid is None:  # its start failed
            return
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


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """What is started inside never hears of Ctrl-C, which a terminal sends to all processes; this one, afterwards."""
    resource_tracker.ensure_running()  # it would let the signal through again when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """What is started inside does not import the program that this process began with: it has no use for it."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def first_slot() -> int:
    """The first of the SLOTS numbers of sandboxes that are this grader's, so that two at a time use other uids."""
    return os.getpid() % GRADERS * SLOTS


def grade_all(
    jobs: Iterable[Job], policy: Policy, key: bytes, workers: int = 1, groups: bool = True
) -> Iterator[Done]:
    """Grade all jobs on `workers` processes; results come in the order in which they are ready.

    Close the iterator (contextlib.closing) if you may leave it early: only then its processes are gone.
    """
    waiting = deque(jobs)
    workers = max(1, min(workers, len(waiting)))
    pool: list[_Process] = []
    orderly = False
    try:
        for number in range(workers if waiting else 0):
            pool.append(_Process(first_slot() + number, policy, key, groups))
            pool[-1].start()
            pool[-1].give(waiting.popleft())
        while busy := {one.connection: one for one in pool if one.job}:
            for connection in wait(list(busy)):
                one = busy[connection]
                job, one.job = one.job, None
                try:
                    done = connection.recv()
                except (EOFError, OSError):
                    one.stop(at_once=True)
                    done = _after_a_death(job, policy, waiting)
                    if waiting:
                        one.start()
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
    return _failed(job, policy, "the grading process died")


def _failed(job: Job, policy: Policy, why: str) -> Done:
    """A result without any score: of the exercises where they are known, else of none."""
    from course_lib.grading import reading
    from course_lib.grading.grade import load_unit, ungraded

    try:
        written = reading.written_questions(root() / find_unit(job.unit).master)
        made = ungraded(load_unit(job.unit), written, result.GRADER_ERROR, why, policy)
    except Exception:
        made = SubmissionResult(job.unit, result.GRADER_ERROR, (), policy.sandbox, (why,))
    return Done(job, made, why)
