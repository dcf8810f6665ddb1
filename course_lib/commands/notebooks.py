"""Notebooks read with clear errors, and executed cell by cell in a fresh kernel."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # to import them takes a second, which most commands need not wait for
    from nbclient import NotebookClient
    from nbformat import NotebookNode

TIMED_OUT = "CellTimeoutError"
REVIVAL_SECONDS = 10.0  # how long an interrupted kernel may take to answer again


class NotebookError(ValueError):
    """A file that is no readable notebook; the message says why."""


@dataclass
class Run:
    """What happened to a notebook's cells; cells are named by their index."""

    seconds: float = 0.0
    errors: dict[int, str] = field(default_factory=dict)  # "NameError: name 'x' is not defined"
    timed_out: list[int] = field(default_factory=list)
    stopped_at: int | None = None  # the kernel died or hung here; later cells did not run
    reason: str = ""


def read(path: Path) -> NotebookNode:
    """The notebook at `path`, in the current format, its outputs dropped.

    Raises NotebookError if the file is missing, is no JSON, or is no valid notebook.
    """
    import nbformat

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # missing cell ids are added
            logging.getLogger("traitlets").setLevel(logging.CRITICAL)
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
            notebook = nbformat.validator.normalize(notebook)[1]
            nbformat.validate(notebook)
    except OSError as error:
        raise NotebookError(f"{path} cannot be read: {error.strerror or error}") from error
    except RecursionError as error:
        raise NotebookError(f"{path} is no notebook: it is nested too deeply") from error
    except Exception as error:  # nbformat lets through whatever its upgrade steps trip over
        why = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise NotebookError(
            f"{path} is no valid notebook ({type(error).__name__}: {why}). "
            "Save it again from JupyterLab, or take a fresh copy with `course lab`."
        ) from error
    return notebook


def _answers(client: NotebookClient) -> bool:
    """Whether the kernel answers within REVIVAL_SECONDS, once interrupted."""
    from nbclient.util import run_sync

    deadline = time.monotonic() + REVIVAL_SECONDS
    receive = run_sync(client.kc.get_shell_msg)
    wanted = client.kc.kernel_info()
    while (left := deadline - time.monotonic()) > 0:
        try:
            reply = receive(timeout=left)
        except queue.Empty:
            return False
        if reply["parent_header"].get("msg_id") == wanted:
            return True
    return False


def execute(
    notebook: NotebookNode, folder: Path, environment: dict[str, str], timeout: float
) -> Run:
    """Run all code cells of `notebook` (changed in place) in a new kernel that starts in `folder`.

    Errors do not stop it. A cell over `timeout` seconds is interrupted; a kernel that dies, or does
    not answer after an interrupt, ends the run.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import DeadKernelError

    run = Run()

    def note(cell: NotebookNode, cell_index: int, execute_reply: dict) -> None:
        content = execute_reply["content"]
        if content["ename"] == TIMED_OUT:
            run.timed_out.append(cell_index)
        run.errors[cell_index] = f"{content['ename']}: {content.get('evalue', '')}".strip()

    silent = logging.getLogger("course.notebooks")
    silent.setLevel(logging.CRITICAL + 1)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=timeout,
        interrupt_on_timeout=True,
        error_on_timeout={"ename": TIMED_OUT, "evalue": f"over {timeout:g} s", "traceback": []},
        allow_errors=True,
        on_cell_error=note,
        log=silent,
        resources={"metadata": {"path": str(folder)}},
    )
    started = time.monotonic()
    with client.setup_kernel(env=environment, stderr=subprocess.DEVNULL):
        for index, cell in enumerate(notebook.cells):
            try:
                client.execute_cell(cell, index)
            except DeadKernelError:
                run.stopped_at, run.reason = index, "the kernel died in"
                break
            if index in run.timed_out and not _answers(client):
                run.stopped_at, run.reason = index, "the kernel could not be interrupted in"
                break
    run.seconds = time.monotonic() - started
    return run


def kernel_environment(**changes: str | None) -> dict[str, str]:
    """This process's environment with `changes`; None takes a variable away.

    OpenMP's threads spin only shortly while they wait, and then sleep: by default they spin so long
    that on a busy machine small tensor operations become twenty times slower.
    """
    environment = {"GOMP_SPINCOUNT": "20000", **os.environ}
    for name, value in changes.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    return environment


def place(notebook: NotebookNode, index: int) -> str:
    """How to find a cell: its place among the code cells, and its grade id or first line."""
    number = sum(cell.cell_type == "code" for cell in notebook.cells[: index + 1])
    cell = notebook.cells[index]
    first = cell.source.strip().splitlines()[:1]
    name = cell.metadata.get("nbgrader", {}).get("grade_id") or (first[0][:50] if first else "")
    return f"code cell {number} ({name})"
