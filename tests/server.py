"""A JupyterLab started by `course lab`, for tests that look at it from outside."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests import sample

TOKEN = "a-token-for-tests"
SETTINGS = {  # nothing is asked for from outside, and cells out of sight are rendered too
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',
    "notebook-extension/tracker": '{"windowingMode": "none"}',
}
PATIENCE = 90.0  # seconds until a server must answer


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url: str) -> tuple[int, str]:
    """Status and text of `url`, asked for with the token."""
    request = urllib.request.Request(url, headers={"Authorization": f"token {TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def _wait(process: subprocess.Popen, url: str, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"course lab left with {process.returncode}:\n{log.read_text()}")
        with contextlib.suppress(OSError):
            if get(f"{url}/api/status")[0] == 200:
                return
        time.sleep(0.2)
    raise TimeoutError(f"{url} did not answer in {PATIENCE:g} s:\n{log.read_text()}")


@contextlib.contextmanager
def serving(
    folder: Path, log: Path, *arguments: str, start: list[str] | None = None, **more: str
) -> Iterator[str]:
    """The address of `course lab --no-browser` on the course in `folder`; it ends with the block.

    `start` may be `["make", "lab"]`, which is then given the arguments as its ARGS.
    """
    port = free_port()
    home = log.parent / "jupyter"
    for name, text in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    environment = sample.environment(
        folder,
        JUPYTER_TOKEN=TOKEN,
        JUPYTER_CONFIG_DIR=str(home / "config"),
        JUPYTER_DATA_DIR=str(home / "data"),
        JUPYTER_RUNTIME_DIR=str(home / "runtime"),
        JUPYTERLAB_SETTINGS_DIR=str(home / "settings"),
        JUPYTERLAB_WORKSPACES_DIR=str(home / "workspaces"),
        **more,
    )
    environment.pop("MPLBACKEND", None)  # figures are drawn into the notebook, as for a student
    arguments = (*arguments, "--no-browser", "--port", str(port))
    command = [sys.executable, "-m", "course_lib.cli", "lab", *arguments]
    if start:
        command = [*start, f"ARGS={' '.join(arguments)}"]
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, kernels included
        )
    try:
        _wait(process, f"http://127.0.0.1:{port}", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()  # Jupyter ends its kernels; what is left after that is killed
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=15)
