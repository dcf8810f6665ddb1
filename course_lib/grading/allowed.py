"""What a student's code finds inside the sandbox: an interpreter, a few packages, and a course without answers.

Everything else is absent: the repository, the home folder, other packages. So the library's answer cannot be
imported; it is not merely forbidden. Drawing and widgets are inert: `plots.figure(...)` does nothing, quietly.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

import course_lib

PACKAGES = (
    "torch",
    "torchgen",
    "functorch",
    "numpy",
    "safetensors",
    "typing_extensions",
    "sympy",
    "mpmath",
    "tqdm",
    "nvidia",
    "triton",
)
NEEDED = {"torch", "numpy", "safetensors", "typing_extensions", "sympy", "mpmath"}
WITHOUT_ANSWERS = ("training", "data.graph", "data.grid", "data.citation_graph")
INERT = (
    "course_lib/plots.py",
    "course_lib/widgets.py",
    "matplotlib/__init__.py",
    "matplotlib/pyplot.py",
    "ipywidgets/__init__.py",
    "IPython/__init__.py",
    "IPython/display.py",
)
_INERT = '''"""Stands for a module that only shows things: whatever is called does nothing."""


class Inert:
    def __call__(self, *args, **kwargs):
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *args):
        return None

    def __iter__(self):
        return iter((self, self, self, self))

    def __getitem__(self, key):
        return self

    def __setitem__(self, key, value):
        return None


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Inert()
'''
_CHECK = '''"""Stands for the checks of a unit: an answer passes through unchanged."""


class Unit:
    def check(self, name, answer, substitute=True):
        return answer

    def summary(self):
        return None


unit = Unit()
check = unit.check
'''


class NotInstalled(RuntimeError):
    """A package that the sandbox needs is not installed here."""


def package_places(extra: Sequence[str] = ()) -> list[tuple[Path, str]]:
    """(place on this machine, name inside the sandbox) of each allowed package that is installed.

    Raises NotInstalled if one that is needed, or that the unit asks for, is missing.
    """
    places = []
    for name in (*PACKAGES, *extra):
        spec = importlib.util.find_spec(name)
        if spec is None:
            if name in NEEDED or name in extra:
                raise NotInstalled(f"the sandbox needs {name}: pip install {name}")
            continue
        folders = list(spec.submodule_search_locations or ())
        place = Path(folders[0]) if folders else Path(spec.origin)
        places.append((place, place.name))
        libraries = place.parent / f"{name}.libs"  # where wheels keep their shared libraries
        if libraries.is_dir():
            places.append((libraries, libraries.name))
    return places


def interpreter_places() -> tuple[list[Path], list[Path]]:
    """Folders and files to show read-only at their own places, and folders to hide below them."""
    prefix = Path(sys.base_prefix)
    shown = [Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))]
    shown += sorted((prefix / "lib").glob("libpython*.so*"))
    if (prefix / "conda-meta").is_dir():
        shown = [shown[0], prefix / "lib"]
    shown += [Path(p) for p in ("/usr/lib", "/usr/lib64", "/etc/ld.so.cache") if Path(p).exists()]
    hidden = [shown[1] / "site-packages", shown[1] / "dist-packages", Path("/usr/lib/python3")]
    for library in (Path("/usr/lib"), Path("/usr/local/lib"), prefix / "lib"):
        hidden += library.glob("python3*/*-packages")
    folders = sorted({h for h in hidden if h.is_dir()})
    return shown, [f for f in folders if not any(f != g and f.is_relative_to(g) for g in folders)]


def module_names(slugs: Sequence[str], modules: Sequence[str] = ()) -> list[str]:
    """The modules of `write_course` that a notebook is likely to import: they are loaded once, before any fork."""
    names = ["plots", "widgets", "data", *WITHOUT_ANSWERS, *modules]
    return [f"course_lib.{name}" for name in (*names, *(f"exercises.{slug}" for slug in slugs))]


def new_folder() -> Path:
    """A folder for one sandbox that other users may enter. Those of graders that were killed are removed."""
    temporary = Path(tempfile.gettempdir())
    for left in temporary.glob("course-sandbox-*-*"):
        pid = left.name.split("-")[2]
        if pid.isdecimal() and not Path("/proc", pid).exists() and Path("/proc/self").exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"course-sandbox-{os.getpid()}-"))
    folder.chmod(0o755)
    return folder


def write_course(folder: Path, slugs: Sequence[str], modules: Sequence[str] = ()) -> None:
    """Write the course that a student's code may import into `folder`.

    Args:
        slugs: the units, each of which has its `check` there.
        modules: further modules of `course_lib` without answers, such as "data.molecules".
    """
    source = Path(course_lib.__file__).parent
    for name in (*WITHOUT_ANSWERS, *modules):
        part = Path(*name.split(".")).with_suffix(".py")
        target = folder / "course_lib" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / part, target)
    for name in INERT:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(_INERT)
    for slug in slugs:
        place = folder / "course_lib" / "exercises" / f"{slug}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(_CHECK)
    data = "from course_lib.data.citation_graph import citation_graph\nfrom course_lib.data.graph import Graph\n"
    (folder / "course_lib" / "data" / "__init__.py").write_text(data + _INERT)
    for package in (folder / "course_lib").rglob("*"):
        if package.is_dir() and not (package / "__init__.py").exists():
            (package / "__init__.py").touch()
    (folder / "course_lib" / "__init__.py").touch()
