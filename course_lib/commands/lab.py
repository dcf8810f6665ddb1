"""`course lab`: the desk filled, and JupyterLab opened on it."""

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from course_lib.commands.notebooks import kernel_environment
from course_lib.course_map import UnitRow


def absolute_data_folder() -> None:
    """Make `$COURSE_DATA` absolute, since kernels run in the notebook's folder, not in this one.

    Raises NotADirectoryError if it is set but names no folder.
    """
    given = os.environ.get("COURSE_DATA")
    if not given:
        return
    folder = Path(given).expanduser().resolve()
    if not folder.is_dir():
        raise NotADirectoryError(
            f"COURSE_DATA is {given}, which is no folder: set it to the folder of the data sets, "
            "or unset it to work with the procedural twins"
        )
    os.environ["COURSE_DATA"] = str(folder)


def port_is_free(port: int) -> bool:
    """Whether a server may listen on `port` of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def jupyter_command(
    desk: Path, unit: UnitRow | None = None, *, browser: bool = True, port: int | None = None
) -> list[str]:
    """The command line of JupyterLab on `desk`, with this interpreter, at `unit`'s lab if given."""
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={desk}"]
    if unit is not None:
        command.append(f"--LabApp.default_url=/lab/tree/{unit.lab.as_posix()}")
    if not browser:
        command.append("--no-browser")
    if port is not None:
        command += [f"--port={port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")
    return command


def open_lab(command: list[str]) -> NoReturn:
    """Become JupyterLab: this process is replaced, so that Ctrl-C and signals reach the server."""
    sys.stdout.flush()
    os.execve(command[0], command, kernel_environment())
