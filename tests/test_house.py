"""The house: floors, file sizes, names, one list of everything."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

from course_lib.course_map import load_map, root
from course_lib.publish.release import with_table

ROOT = root()
UNITS = load_map()
GROUND = "data training biases course_map sequence attention graphs latent molecules relations meta control"
FLOORS = {
    **dict.fromkeys(GROUND.split(), 0),
    **dict.fromkeys(("exercises", "widgets", "plots", "sequence_plots", "attention_plots"), 1),
    **dict.fromkeys(("latent_plots", "relation_plots", "transformer_plots"), 1),
    **dict.fromkeys(("cli", "commands", "publish", "grading"), 2),
}
INSTRUCTORS = {"publish", "grading"}
# Modules that a distribution brings under another name, or that a declared package brings along.
BROUGHT = {
    "IPython": "ipywidgets",
    "jupyter_client": "nbclient",
    "sklearn": "scikit_learn",
    "traitlets": "nbclient",
}


def python_files(*tops: str) -> list[Path]:
    """The Python files under the folders `tops`, relative to the root."""
    found = [path for top in tops for path in sorted((ROOT / top).rglob("*.py"))]
    return [p.relative_to(ROOT) for p in found if not any(q.startswith(".") for q in p.parts[3:])]


LIBRARY = python_files("course_lib")
EVERYTHING = python_files("course_lib", "tests", "benchmarks", "solutions")


def imports(source: str, package: tuple[str, ...] = ()) -> set[str]:
    """The dotted names that `source`, a module of `package`, imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def climbs(source: str, place: Path) -> list[str]:
    """The imports of the library module `place` that point to a higher floor, or to none."""
    own = FLOORS[place.with_suffix("").parts[1]]
    names = [name.split(".") for name in imports(source, place.parent.parts)]
    inner = {parts[1] for parts in names if parts[0] == "course_lib" and len(parts) > 1}
    return sorted(part for part in inner if FLOORS.get(part, 9) > own)


def test_every_part_of_the_library_has_a_floor():
    assert sorted({p.with_suffix("").parts[1] for p in LIBRARY} - {*FLOORS, "__init__"}) == []


@pytest.mark.parametrize(
    "place", [p for p in LIBRARY if len(p.parts) > 2 or p.stem in FLOORS], ids=str
)
def test_imports_point_down_or_sideways(place):
    assert climbs((ROOT / place).read_text(), place) == []


def test_the_floor_rule_finds_a_climb():
    ground = Path("course_lib/graphs/layers.py")
    assert climbs("from course_lib.exercises.engine import Unit", ground) == ["exercises"]
    assert climbs("def f():\n    import course_lib.plots", ground) == ["plots"]
    assert climbs("from course_lib import cli, data", ground) == ["cli"]
    assert climbs("from ..publish import release", ground) == ["publish"]
    assert climbs("from . import sparse\nfrom course_lib.data import fetch", ground) == []
    assert climbs("from course_lib.elsewhere import x", ground) == ["elsewhere"]


def test_the_students_part_does_without_the_instructors():
    for place in LIBRARY:
        if place.parts[1] not in INSTRUCTORS and place != Path("course_lib/cli.py"):
            for name in imports((ROOT / place).read_text(), place.parent.parts):
                inner = name.split(".")[1:2] if name.startswith("course_lib.") else []
                assert not INSTRUCTORS & {*inner}, f"{place} imports {name}"


def test_the_students_part_imports_only_declared_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w-]+", line)[0].replace("-", "_") for line in project["dependencies"]}
    places = [p for p in LIBRARY if p.parts[1] not in INSTRUCTORS] + python_files(
        "benchmarks/papers"
    )
    for place in places:
        for name in imports((ROOT / place).read_text(), place.parent.parts):
            top = BROUGHT.get(name.split(".")[0], name.split(".")[0])
            own = top in {"course_lib", "benchmarks", "__future__"}
            assert own or top in sys.stdlib_module_names or top in declared, f"{place}: {top}"


def test_every_file_fits_in_the_head():
    long = {str(p): n for p in EVERYTHING if (n := len((ROOT / p).read_text().splitlines())) > 300}
    assert long == {}


def test_no_file_is_called_utils():
    assert [
        str(p) for p in EVERYTHING if re.fullmatch(r"_?(utils?|helpers?|misc|common)", p.stem)
    ] == []


@pytest.mark.parametrize("row", UNITS, ids=lambda row: row.name)
def test_every_unit_has_all_its_parts(row):
    """All but its tests: tests/exercises/test_units.py goes through the units of the map."""
    module = ROOT / row.module.replace(".", "/")
    parts = {
        "lecture": (ROOT / row.lecture).is_file(),
        "master": (ROOT / row.master).is_file(),
        "hidden checks": (ROOT / row.master).with_name("hidden_checks.py").is_file(),
        "lab": (ROOT / row.lab).is_file(),
        "exercises": module.with_suffix(".py").is_file() or (module / "__init__.py").is_file(),
    }
    assert [name for name, there in parts.items() if not there] == []
    assert row.title and row.summary.endswith(".") and row.prerequisites and row.sources


def test_no_notebook_belongs_to_no_unit():
    known = {path for row in UNITS for path in (row.lecture, row.master, row.lab)}
    found = {
        p.relative_to(ROOT)
        for top in ("lectures", "solutions", "labs")
        for p in (ROOT / top).rglob("*.ipynb")
    }
    assert {p for p in found if ".ipynb_checkpoints" not in p.parts} - known == set()


def test_the_readmes_table_is_the_maps():
    readme = (ROOT / "README.md").read_text()
    assert with_table(readme, UNITS) == readme


def test_the_readmes_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_constraints_pin_what_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
    wanted = {re.match(r"[\w.-]+", line)[0] for line in project["dependencies"] + extras}
    assert {re.sub(r"[-_.]+", "-", name).lower() for name in wanted} - normal == set()
    assert re.fullmatch(r"[\d.]+", pinned["torch"]), "torch is pinned without a local tag"


def test_conda_lists_no_package_twice():
    text = (ROOT / "environment.yml").read_text()
    packages = re.findall(r"^ +- +(?!pip:)(\S+.*)$", text, re.MULTILINE)
    assert packages == ["conda-forge", "python>=3.11", "pip", "-c constraints.txt", "-e ."]
