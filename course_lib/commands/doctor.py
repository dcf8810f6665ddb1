"""`course doctor`: what this machine has for the course, and what to do about each lack."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

NEEDED_GIGABYTES = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `level`: "ok"; "note" (something optional is missing); "problem"."""

    what: str
    level: str
    found: str
    advice: str = ""


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} at {sys.executable}")


def _torch() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken install fails in many ways
        yield Finding("torch", "problem", f"does not import: {error}", "delete .venv and make lab")
        return
    yield Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        yield Finding("device", "ok", f"cuda: {', '.join(sorted(names))}")
    elif torch.backends.mps.is_available():
        yield Finding("device", "ok", "mps: Apple's GPU")
    else:
        advice = "enough for every lab; a GPU only shortens long experiments"
        yield Finding("device", "ok", "cpu", advice)


def _packages() -> Iterator[Finding]:
    for name in ("jupyterlab", "ipykernel", "ipywidgets", "matplotlib", "networkx"):
        try:
            yield Finding(name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding(name, "problem", "not installed", "run `make lab` again")


def _data() -> Iterator[Finding]:
    """Which public files are at hand; those that nobody downloads (no checksum) are not counted."""
    from course_lib.data.fetch import cache_folder, data_folder, registry

    try:
        mirror, cache = data_folder(), cache_folder()
    except ValueError as error:
        yield Finding("data", "problem", os.environ.get("COURSE_DATA", ""), str(error))
        return
    yield Finding("data", "ok", f"COURSE_DATA: {mirror or 'not set'}; cache: {cache}")
    wanted = [name for name, file in registry().items() if file.sha256]
    here = [n for n in wanted if any((f / n).is_file() for f in (mirror, cache) if f)]
    tops = sorted({name.split("/")[0] for name in wanted})
    counts = [
        f"{top} {sum(n.startswith(f'{top}/') for n in here)}/"
        f"{sum(n.startswith(f'{top}/') for n in wanted)}"
        for top in tops
    ]
    advice = (
        "fetched when first used; without a network, notebooks use made-up data and say so. "
        "If you have the files, set COURSE_DATA to the absolute path of their folder"
    )
    missing = len(here) < len(wanted)
    level = "note" if missing else "ok"
    yield Finding("data files", level, ", ".join(counts), advice if missing else "")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / 1e9
    found = f"{free:.1f} GB free at {folder}"
    if free < NEEDED_GIGABYTES:
        return Finding(
            "disk", "problem", found, f"free {NEEDED_GIGABYTES:g} GB: notebooks save here"
        )
    return Finding("disk", "ok", found)


def _program(what: str, names: tuple[str, ...], use: str, package: str) -> Finding:
    path = next(filter(None, map(shutil.which, names)), None)
    if path:
        return Finding(what, "ok", path)
    return Finding(what, "note", "not found", f"only for {use}: apt-get install {package}")


def _desk(desk: Path) -> Finding:
    if not desk.exists():
        return Finding("work/", "ok", "not made yet", "`course lab` makes it")
    if not desk.is_dir() or not os.access(desk, os.W_OK | os.X_OK):
        return Finding("work/", "problem", f"{desk} cannot be written", "chmod -R u+w work")
    return Finding("work/", "ok", str(desk))


def examine(folder: Path) -> list[Finding]:
    """Look at everything the course uses; `folder` is the repository's root. Nothing is changed."""
    findings = [_python(), *_torch(), *_packages(), *_data(), _disk(folder), _desk(folder / "work")]
    if (folder / "course_lib" / "publish").is_dir():  # the rest concerns instructors only
        browsers = ("chromium", "chromium-browser", "google-chrome")
        findings.append(_program("Chromium", browsers, "the browser tests", "chromium"))
        findings.append(_program("bubblewrap", ("bwrap",), "grading's sandbox", "bubblewrap"))
        uses = {"nbgrader": "release", "sqlalchemy": "grading", "safetensors": "grading"}
        for name, use in uses.items():
            if importlib.util.find_spec(name):
                findings.append(Finding(name, "ok", metadata.version(name)))
            else:
                advice = f"only for {use}: pip install -c constraints.txt -e '.[grade]'"
                findings.append(Finding(name, "note", "not installed", advice))
    return findings
