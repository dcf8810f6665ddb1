"""The map of the course: `course.toml`, read and checked. Nothing else lists the units."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

FILE_NAME = "course.toml"


class MapError(ValueError):
    """`course.toml` is missing, cannot be read, or a row of it is wrong; the message says which."""


@dataclass(frozen=True)
class UnitRow:
    """One `[[unit]]` of `course.toml`. Minutes are a person's, seconds a machine's (two cores)."""

    number: int
    slug: str
    title: str
    summary: str
    minutes: dict[str, int]  # {"lecture": ..., "lab": ...}
    seconds: dict[str, int]  # {"full": ..., "fast": ...}
    prerequisites: tuple[str, ...]
    sources: tuple[str, ...]
    sandbox: tuple[str, ...] = ()  # what grading shows a student's code beyond torch and numpy

    @property
    def name(self) -> str:
        """The unit's full name, as files carry it: `05_graph_networks`."""
        return f"{self.number:02d}_{self.slug}"

    @property
    def lecture(self) -> Path:
        """The lecture's place, relative to the root."""
        return Path("lectures") / f"{self.name}.ipynb"

    @property
    def master(self) -> Path:
        """The place of the lab's master, with its answers, relative to the root."""
        return Path("solutions") / self.name / f"{self.name}.ipynb"

    @property
    def lab(self) -> Path:
        """The place of the released lab, relative to the root."""
        return Path("labs") / self.name / f"{self.name}.ipynb"

    @property
    def module(self) -> str:
        """The module that holds the unit's exercises."""
        return f"course_lib.exercises.{self.slug}"


def root() -> Path:
    """The folder of the repository: the one that holds `course.toml` and this package.

    Raises MapError where the package was installed without its repository.
    """
    folder = Path(__file__).resolve().parents[1]
    if not (folder / FILE_NAME).is_file():
        raise MapError(
            f"{FILE_NAME} is not in {folder}: the package belongs in its repository. "
            "Clone it and run `make lab`, or `pip install -e .` inside the clone."
        )
    return folder


def _row(entry: dict, where: str) -> UnitRow:
    names = [field.name for field in fields(UnitRow)]
    if missing := [name for name in names if name not in entry and name != "sandbox"]:
        raise MapError(f"{where} lacks {', '.join(missing)}: add it to {FILE_NAME}")
    if unknown := sorted(set(entry) - set(names)):
        raise MapError(f"{where} has unknown {', '.join(unknown)}: known are {', '.join(names)}")
    for key, parts in {"minutes": ("lecture", "lab"), "seconds": ("full", "fast")}.items():
        if sorted(entry[key]) != sorted(parts):
            raise MapError(f"{where}: {key} must give exactly {' and '.join(parts)}")
    lists = {key: tuple(entry.get(key, ())) for key in ("prerequisites", "sources", "sandbox")}
    return UnitRow(**{**entry, **lists})


def load_map(folder: Path | None = None) -> tuple[UnitRow, ...]:
    """The units in order of their numbers, from `folder` (by default the repository's root).

    Raises MapError if the file is missing, is no TOML, or a row lacks a field, has an unknown one,
    or repeats a number or a slug.
    """
    path = (folder or root()) / FILE_NAME
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("unit", [])
    except OSError as error:
        raise MapError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MapError(f"{path} is not valid TOML: {error}") from error
    rows = [_row(entry, f"unit {index} of {path}") for index, entry in enumerate(entries, start=1)]
    for key in ("number", "slug"):
        values = [getattr(row, key) for row in rows]
        if twice := sorted({value for value in values if values.count(value) > 1}):
            raise MapError(f"{path}: {key} {twice[0]!r} stands there twice")
    return tuple(sorted(rows, key=lambda row: row.number))


def find_unit(text: str, rows: tuple[UnitRow, ...] | None = None) -> UnitRow:
    """The unit that `text` names: its number (`5`, `05`), its slug, or its full name.

    Raises MapError, listing the units there are, if none fits.
    """
    rows = load_map() if rows is None else rows
    for row in rows:
        if text in {row.slug, row.name} or (text.isdecimal() and int(text) == row.number):
            return row
    known = ", ".join(row.name for row in rows) or "none yet"
    raise MapError(f"there is no unit {text!r}; the units are: {known}")
