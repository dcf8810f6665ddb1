"""What the tests of collecting share: a roster, zips, and a collection whose sums are checked whatever happens."""

import stat
import zipfile
from pathlib import Path

from course_lib.grading.collect import IGNORED, MISSING, SUBMITTED, UNMATCHED, Collected, collect
from course_lib.grading.roster import Student

UNIT = "05_graph_networks"
UNITS = [UNIT, "03_attention"]
NB = f"{UNIT}.ipynb"
ADA = Student("ada", "Ada", "Lovelace", "ada@uni.edu", "111", "al1")
BOB = Student("bob", "Bob", "O'Brien", "bob@uni.edu", "222", "bo2")
JOSE = Student("jose", "José", "Peña", "jose@uni.edu", "333", "jp3")
ROSTER = (ADA, BOB, JOSE)


def make_zip(path: Path, files, mode: int = stat.S_IFREG | 0o644) -> Path:
    """A zip of (name, content) pairs; a name may be there twice."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` and what is in it."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def reasons(done: Collected) -> str:
    """Why files are unmatched, all in one text."""
    return " | ".join(line.note for line in done.of(UNMATCHED))


class Desk:
    """A folder in which exports are collected into `out`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"

    def run(self, files, lms="canvas", students=ROSTER, unit=UNIT, times=None) -> Collected:
        """Collect a zip of the pairs `files`, or the zip or folder `files`; the sums must be right."""
        source = make_zip(self.folder / "export.zip", files) if isinstance(files, list) else files
        done = collect(source, students, lms, self.out, UNITS, unit, times)
        assert done.entries == done.matched + len(done.of(UNMATCHED)) + len(done.of(IGNORED))
        assert len(students) == len(done.of(SUBMITTED)) + len(done.of(MISSING))
        if isinstance(files, list):
            assert done.entries == len([name for name, _ in files if not name.endswith("/")])
        assert not list(self.out.rglob(".part-*"))
        return done

    def submission(self, student: str) -> str:
        """The text of a student's submission."""
        return (self.out / student / UNIT / NB).read_text()
