"""The commands of grading. Where the packages they need are not installed, each says so."""

import importlib
import importlib.util

import typer

from course_lib.commands.screen import fail

NEEDED = ("sqlalchemy", "safetensors")
MODULES = ("grade", "collect", "gradebook", "gradescope")
NAMES = ("grade", "collect", "status", "manual", "override", "regrade", "gradescope")


def register(app: typer.Typer) -> None:
    """Add all of grading's commands to `app`."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        _register_advice(app, missing)
        return
    for name in MODULES:
        importlib.import_module(f"course_lib.grading.commands_{name}").register(app)


def _register_advice(app: typer.Typer, missing: list[str]) -> None:
    settings = {"ignore_unknown_options": True, "allow_extra_args": True}

    def advice(context: typer.Context) -> None:
        """Needs packages that are not installed here."""
        packages = ", ".join(missing)
        fail(f"{packages} not installed: pip install -c constraints.txt -e '.[grade]'")

    for name in NAMES:
        app.command(name, context_settings=settings)(advice)
