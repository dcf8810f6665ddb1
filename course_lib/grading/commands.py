"""The commands of grading, where what they need is installed: `pip install -e '.[grade]'`."""

import importlib.util

import typer

NEEDED = ("sqlalchemy", "safetensors")
MODULES = ("grade", "collect", "gradebook", "gradescope")


def register(app: typer.Typer) -> None:
    """Add all of grading's commands to `app`; without the packages they need, none."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        return
    for name in MODULES:
        importlib.import_module(f"course_lib.grading.commands_{name}").register(app)
