"""What every benchmark ends with: a table for the reader and a JSON file for the record."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"


def _git(*arguments: str) -> str | None:
    """What git prints in this repository, or None where it is no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=RESULTS.parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.rstrip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("torch", "numpy", "scipy", "torch_geometric"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def environment(device: torch.device) -> dict[str, Any]:
    """What a number depends on besides the code: commit, versions, device, threads, time.

    `modified` lists the tracked files that differ from that commit; None outside a repository.
    """
    on_gpu = device.type == "cuda"
    changed = _git("status", "--porcelain", "-uno", "--", ".", "../course_lib", ":!results")
    return {
        "commit": _git("rev-parse", "HEAD"),
        "modified": None if changed is None else [line[3:] for line in changed.splitlines()],
        "versions": _versions(),
        "kind": device.type,
        "device": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "threads": torch.get_num_threads(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str] = ()
) -> None:
    """Print rows under their headings, the first column to the left, then one line a note."""
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(width=110)
    console.print(table)
    for note in notes:
        console.print(note, highlight=False)


def write_json(name: str, size: str, started: dict[str, Any], content: dict[str, Any]) -> Path:
    """Write benchmarks/results/NAME-SIZE-DEVICE.json: the environment, then `content`.

    `started` is what `environment` gave at the start of the run: the code that was loaded.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{size}-{started['kind']}.json"
    record = {"benchmark": name, "size": size, **started, **content}
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
