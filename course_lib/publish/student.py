"""`course release --student DIR`: what students get, without answers, hidden checks and grading."""

import ast
import re
import shutil
from pathlib import Path

from course_lib.course_map import UnitRow
from course_lib.publish import release

AS_IS = ("LICENSE", "constraints.txt", "course.toml", "environment.yml", ".gitignore")
FOLDERS = ("lectures", "labs", "course_lib")
INSTRUCTORS = (Path("course_lib/grading"), Path("course_lib/publish"))
MAKEFILE_CUT = "# --- instructor's part"
SECTIONS = ("project.optional-dependencies", "tool.ruff", "tool.pytest")
TEMPLATES = Path(__file__).parent / "templates"


def without_sections(text: str, names: tuple[str, ...]) -> str:
    """TOML `text` without the tables `names` and their sub-tables."""
    parts = re.split(r"(?m)^(?=\[)", text)
    heads = tuple(rf"\[{re.escape(name)}[\].]" for name in names)
    return "".join(part for part in parts if not any(re.match(head, part) for head in heads))


def student_makefile(text: str) -> str:
    """The students' part of the Makefile: what stands before the cut.

    Raises ReleaseError if the cut is not marked.
    """
    kept, cut, _ = text.partition(MAKEFILE_CUT)
    if not cut:
        raise release.ReleaseError(f"Makefile lacks the line that starts {MAKEFILE_CUT!r}")
    return (
        "".join(
            line for line in kept.splitlines(keepends=True) if "instructors" not in line
        ).rstrip()
        + "\n"
    )


def benchmark_files(folder: Path) -> list[Path]:
    """The files of `benchmarks/papers` and those of `benchmarks` they import, relative to `folder`."""
    wanted = sorted((folder / "benchmarks" / "papers").glob("*.py"))
    seen: set[Path] = set()
    while wanted:
        path = wanted.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                if name.split(".")[0] == "benchmarks":
                    place = folder.joinpath(*name.split("."))
                    wanted += [place.with_suffix(".py"), place / "__init__.py"]
    packages = {parent / "__init__.py" for path in seen for parent in path.parents}
    seen |= {path for path in packages if path.is_file() and folder in path.parents}
    return sorted(path.relative_to(folder) for path in seen)


def _tree(folder: Path, top: str) -> list[Path]:
    """The files under `folder`/`top` that students get, relative to `folder`."""
    found = []
    for path in sorted((folder / top).rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        inside = any(part in name.parents for part in INSTRUCTORS)
        if path.is_file() and not hidden and not inside:
            found.append(name)
    return found


def write_student_tree(folder: Path, rows: tuple[UnitRow, ...], target: Path) -> list[Path]:
    """Write the students' distribution of the repository `folder` into `target`; return its files.

    Raises FileExistsError if `target` is there and not empty, ReleaseError if a generated file of
    the repository is not up to date.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is not empty: give a new folder, or empty it")
    if stale := release.differences(folder, release.products(folder, rows)):
        names = ", ".join(product.path.as_posix() for product in stale)
        raise release.ReleaseError(f"run `course release` first; not up to date: {names}")
    files = [Path(name) for name in AS_IS if (folder / name).is_file()]
    files += [name for top in FOLDERS for name in _tree(folder, top)] + benchmark_files(folder)
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target / name)
    written = {
        "pyproject.toml": without_sections((folder / "pyproject.toml").read_text(), SECTIONS),
        "Makefile": student_makefile((folder / "Makefile").read_text()),
        "README.md": release.with_table((TEMPLATES / "student_readme.md").read_text(), rows),
    }
    for name, text in written.items():
        (target / name).write_text(text, encoding="utf-8")
    return sorted([*files, *map(Path, written)])
