"""Whose a file of an export is, by the rules by which each LMS names its files. Nothing here guesses.

    canvas    lastfirst_12345_67890_lab.ipynb        user id (the roster's lms_id), id of the upload; `_LATE` may follow
                                                     the name. A later upload of the same name ends in -1, -2, ...
    moodle    First Last_678_assignsubmission_file/lab.ipynb       678 numbers the participant and is nobody's user id,
                                                     so the full name decides, if exactly one student has it
    nbgrader  STUDENT/ASSIGNMENT/lab.ipynb           with timestamp.txt; also below `submitted/`
    folder    STUDENT/lab.ipynb, STUDENT/UNIT/lab.ipynb or STUDENT.ipynb

STUDENT is a student_id or a login of the roster. (Canvas: lib/content_zipper.rb of its source; Moodle:
mod/assign/classes/downloader.php of its source; nbgrader: its documentation of `submitted`.)
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from course_lib.grading.exports import Entry
from course_lib.grading.places import shown
from course_lib.grading.roster import Student

_WRAPPERS = {"submitted", "submissions"}
_CANVAS = re.compile(r"_(?=(?P<user>\d+)_(?:(?P<upload>\d+)_(?P<file>.+)|(?:text|link)\.html)$)")
_RENAMED = re.compile(r"(?P<base>.+)-(?P<count>\d{1,2})(?P<end>\.ipynb)", re.IGNORECASE)
_MOODLE = re.compile(
    r"(?P<name>[^_]+)_(?P<participant>\d+)_assignsubmission_(?P<kind>[a-z]+)(?:_(?P<flat>.*))?",
    re.DOTALL,
)
_DROPPED = str.maketrans(dict.fromkeys("&<>\"`|':\\/’", ""))  # what Moodle leaves out of names


@dataclass(frozen=True)
class Claim:
    """What the name of an entry says.

    `student` is None where it says nobody, for the reason in `why`; `ignored` says why it is none of our business.
    """

    entry: Entry
    student: Student | None = None
    why: str = ""
    ignored: str = ""
    note: str = ""  # for the instructor, about a match
    file: str = ""  # the file's name as the student gave it, less the count that Canvas appends
    count: int = 0  # that count
    upload: int = 0  # Canvas's id of the upload; later ones are larger
    stamp: bool = False  # it is the export's own note of the time


class People:
    """The students of a roster, found by what an export calls them."""

    def __init__(self, students: Iterable[Student]) -> None:
        self.by_key: dict[str, set[Student]] = defaultdict(set)
        self.by_lms_id: dict[str, set[Student]] = defaultdict(set)
        self.by_name: dict[str, set[Student]] = defaultdict(set)
        for student in students:
            self.by_key[_composed(student.student_id)].add(student)
            for index, text in ((self.by_key, student.login), (self.by_lms_id, student.lms_id)):
                if text and text.strip():
                    index[_composed(text.strip())].add(student)
            self.by_name[spoken(f"{student.first_name} {student.last_name}")].add(student)
        self.by_name.pop("", None)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def spoken(name: str) -> str:
    """A full name as it is compared: composed, without case, single spaces, and without what Moodle leaves out."""
    kept = re.sub(r"\.\.+", "", _composed(name).casefold().translate(_DROPPED))
    return " ".join(kept.replace("_", " ").split())


def _letters(name: str) -> str:
    """A name's letters and digits alone, without case and accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if c.isalnum())


def _only(found: set[Student], called: str) -> tuple[Student | None, str]:
    """The one student of `found`, or why there is none."""
    if len(found) == 1:
        return next(iter(found)), ""
    return None, f"{'no student' if not found else 'more than one student'} of the roster {called}"


def below(entries: Sequence[Entry], people: People, title: str = "") -> list[tuple[str, ...]]:
    """The parts of each name, less a folder that only wraps them all: `submitted`, `submissions`, or `title`."""
    paths = [entry.parts for entry in entries]
    wrapper = paths[0][0] if paths and paths[0] else ""
    wraps = wrapper in _WRAPPERS | {title} and wrapper not in people.by_key
    if wraps and all(len(path) > 1 and path[0] == wrapper for path in paths):
        return [path[1:] for path in paths]
    return paths


def canvas(entry: Entry, path: tuple[str, ...], people: People) -> Claim:
    """A claim by Canvas's rule: by the user id, if the name that stands before it does not speak against it."""
    text = path[-1] if len(path) == 1 else ""
    if text.startswith("anon_"):
        return Claim(entry, why="it is anonymous: turn anonymous grading off for the download")
    readings = list(_CANVAS.finditer(text))
    known = {found["user"]: found for found in readings if found["user"] in people.by_lms_id}
    if not known:
        why = "it is not named as Canvas names files"
        if readings:
            why = f"no student of the roster has lms_id {readings[0]['user']}"
        return Claim(entry, why=why)
    if len(known) > 1:
        return Claim(entry, why=f"its name can mean lms_id {' or '.join(sorted(known))}")
    ((user, found),) = known.items()
    student, why = _only(people.by_lms_id[user], f"has lms_id {user}")
    if student is None:
        return Claim(entry, why=why)
    before = text[: found.start()]
    late, name = before.endswith("_LATE"), before.removesuffix("_LATE")
    own = found["file"] or text
    renamed = _RENAMED.fullmatch(own)
    base, count = (renamed["base"] + renamed["end"], int(renamed["count"])) if renamed else (own, 0)
    last, first = _letters(student.last_name), _letters(student.first_name)
    notes = ["Canvas marks it LATE"] if late else []
    if last + first and _letters(name) != last + first:
        called = f"lms_id {user} is {student.first_name} {student.last_name} in the roster"
        if not any(len(part) > 1 and part in _letters(name) for part in (last, first)):
            return Claim(entry, why=f"{called}, but the file is {shown(name, 60)}'s")
        notes.append(f"{called}, {shown(name, 60)} in the file's name")
    upload = int(found["upload"] or 0)
    return Claim(entry, student, note="; ".join(notes), file=base, count=count, upload=upload)


def moodle(entry: Entry, path: tuple[str, ...], people: People) -> Claim:
    """A claim by Moodle's rule: by the full name. See also `one_participant`."""
    found = _MOODLE.fullmatch(path[0]) if path else None
    if found is None:
        return Claim(entry, why="it is not named as Moodle names files")
    called = f"is called {shown(found['name'])}"
    student, why = _only(people.by_name.get(spoken(found["name"]), set()), called)
    own = "/".join(path[1:]) or found["flat"] or ""
    return Claim(entry, student, why=why, file=own, upload=int(found["participant"]))


def one_participant(claims: list[Claim]) -> list[Claim]:
    """Moodle's claims; where two participants have one full name, neither is taken for the student of the roster."""
    numbers: dict[str, set[int]] = defaultdict(set)
    for claim in claims:
        if claim.student:
            numbers[claim.student.student_id].add(claim.upload)
    why = "two participants have this full name"
    return [
        Claim(c.entry, why=why) if c.student and len(numbers[c.student.student_id]) > 1 else c
        for c in claims
    ]


def nbgrader(entry: Entry, path: tuple[str, ...], people: People, unit: str) -> Claim:
    """A claim by nbgrader's layout STUDENT/ASSIGNMENT/FILE, where ASSIGNMENT is the unit."""
    if len(path) < 3:
        return Claim(entry, why="it does not lie in STUDENT/ASSIGNMENT/")
    if path[1] != unit:
        return Claim(entry, ignored=f"of another assignment, {shown(path[1], 60)}")
    student, why = _only(
        people.by_key.get(path[0], set()), f"has the student_id or login {shown(path[0])}"
    )
    stamp = path[2:] == ("timestamp.txt",)
    return Claim(entry, student, why=why, file="/".join(path[2:]), stamp=stamp)


def folder(
    entry: Entry, path: tuple[str, ...], people: People, unit: str, units: set[str]
) -> Claim:
    """A claim by the layout STUDENT/..., or by a file that is called as the student."""
    if not path:
        return Claim(entry, why="it has no name")
    key = path[0] if len(path) > 1 else path[0].rpartition(".")[0] or path[0]
    rest = path[1:] or path
    if len(rest) > 1 and rest[0] in units - {unit}:
        return Claim(entry, ignored=f"of another unit, {rest[0]}")
    if len(rest) > 1 and rest[0] == unit:
        rest = rest[1:]
    student, why = _only(people.by_key.get(key, set()), f"has the student_id or login {shown(key)}")
    stamp = len(path) > 1 and rest == ("timestamp.txt",)
    return Claim(entry, student, why=why, file="/".join(rest), stamp=stamp)
