"""Collecting: from an LMS's export to SUBMISSIONS/STUDENT/UNIT/UNIT.ipynb, with nothing guessed and nothing lost.

Every file of the export ends as matched, unmatched or ignored, every student of the roster as submitted or missing, and
`collected-UNIT.csv` lists them all. What could not be matched is copied to `SUBMISSIONS/_unmatched/`. A student's file
that a newer export replaces is kept under `SUBMISSIONS/_earlier/`. Collecting the same export again changes nothing.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from course_lib.grading import lms as rules
from course_lib.grading.csv_safety import write_rows
from course_lib.grading.exports import Entry, ExportError, read_export
from course_lib.grading.lms import Claim, People
from course_lib.grading.places import shown, student_folder, write_whole
from course_lib.grading.roster import Student
from course_lib.grading.submissions import Submissions
from course_lib.grading.submitted_at import parse_time

LMS = ("canvas", "moodle", "nbgrader", "folder")
COLUMNS = ("student_id", "status", "file", "sha256", "submitted_at", "note")
SUBMITTED, MISSING, UNMATCHED, IGNORED = "submitted", "missing", "unmatched", "ignored"


@dataclass(frozen=True)
class Line:
    """One line of `collected-UNIT.csv`: a student (submitted, missing) or a file (unmatched, ignored)."""

    student_id: str
    status: str
    file: str = ""
    sha256: str = ""
    submitted_at: str = ""
    note: str = ""


@dataclass
class Collected:
    """What `collect` did. `entries` = `matched` + unmatched lines + ignored lines."""

    unit: str
    lines: list[Line]
    entries: int
    matched: int
    changed: list[str] = field(default_factory=list)  # students whose file is new or another

    def of(self, status: str) -> list[Line]:
        """The lines of that status."""
        return [line for line in self.lines if line.status == status]


@dataclass
class Choice:
    """What the files of one student come to: at most one of them is the submission."""

    taken: Claim | None = None
    stamp: Claim | None = None
    earlier: list[Claim] = field(default_factory=list)  # uploads of the same name before `taken`
    ignored: list[tuple[Claim, str]] = field(default_factory=list)
    unmatched: list[tuple[Claim, str]] = field(default_factory=list)


def check_roster(students: Sequence[Student]) -> None:
    """Raise UnsafeName or ExportError if an id cannot name a folder, or two name one where case does not count."""
    seen: dict[str, str] = {}
    for student in students:
        name = student_folder(student.student_id)
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise ExportError(
                f"student_ids {other} and {name} differ in case only: some systems take their folders for one"
            )


def unit_named(entries: Sequence[Entry], units: Sequence[str]) -> str:
    """The one unit that the files of an export name. Raises ExportError if they name none, or several."""
    named = {
        unit
        for unit in units
        for entry in entries
        if any(f"{unit}{end}" in part for part in entry.parts for end in ("-", ".ipynb"))
        or unit in entry.parts
    }
    if len(named) == 1:
        return named.pop()
    what = f"names several units, {', '.join(sorted(named))}" if named else "names no unit"
    raise ExportError(f"the export {what}: say which with --unit; there are: {', '.join(units)}")


def _claims(
    entries: list[Entry], people: People, lms: str, unit: str, units: Sequence[str], title: str
) -> list[Claim]:
    paths = rules.below(entries, people, title)
    pairs = list(zip(entries, paths, strict=True))
    if lms == "canvas":
        return [rules.canvas(entry, path, people) for entry, path in pairs]
    if lms == "moodle":
        return rules.one_participant([rules.moodle(entry, path, people) for entry, path in pairs])
    if lms == "nbgrader":
        return [rules.nbgrader(entry, path, people, unit) for entry, path in pairs]
    return [rules.folder(entry, path, people, unit, set(units)) for entry, path in pairs]


def choose(claims: Sequence[Claim], unit: str) -> Choice:
    """Which of one student's files is the submission.

    The only notebook; of several uploads that Canvas numbered, the last; of several names, UNIT.ipynb. Else none.
    """
    choice = Choice()
    stamps = [claim for claim in claims if claim.stamp]
    choice.stamp = stamps[0] if len(stamps) == 1 else None
    why = "its time was read" if choice.stamp else "there are several times: none was read"
    choice.ignored = [(claim, why) for claim in stamps]
    groups: dict[str, list[Claim]] = defaultdict(list)
    seen: set[str] = set()
    for claim in sorted(claims, key=lambda claim: (-claim.count, -claim.upload, claim.entry.name)):
        if claim.entry.notebook and claim.entry.sha256 in seen:
            choice.ignored.append((claim, "the same file is there again"))
        elif claim.entry.notebook:
            seen |= {claim.entry.sha256} - {""}
            groups[claim.file.rpartition("/")[2]].append(claim)
    named = next(iter(groups)) if len(groups) == 1 else f"{unit}.ipynb"
    group = groups.get(named, [])
    falling = all(a.count > b.count and a.upload > b.upload for a, b in pairwise(group))
    rest = [claim for claim in claims if not claim.entry.notebook and not claim.stamp]
    notebooks = [claim for members in groups.values() for claim in members]
    if group and falling and not group[0].entry.refused:
        choice.taken, choice.earlier = group[0], group[1:]
        choice.ignored += [(c, "an earlier upload of this name") for c in choice.earlier]
        choice.ignored += [(c, f"beside {named}") for c in notebooks if c not in group]
        choice.ignored += [(c, "beside the notebook") for c in rest]
        return choice
    why = "no notebook was sent"
    if group and falling:
        why = "the notebook that counts cannot be used"
    elif notebooks:
        why = f"{len(notebooks)} notebooks were sent, and nothing says which counts"
    choice.unmatched = [(claim, claim.entry.refused or why) for claim in [*notebooks, *rest]]
    return choice


def _when(
    student_id: str, choice: Choice, times: Mapping[str, datetime]
) -> tuple[datetime | None, str]:
    """The time of submission, and what the instructor should know of it."""
    stamped, note = None, ""
    if choice.stamp and choice.stamp.entry.copy:
        stamped = parse_time(choice.stamp.entry.copy.read_bytes()[:200].decode("utf-8", "replace"))
        note = "" if stamped else "its timestamp.txt holds no time"
    given = times.get(student_id)
    if given and stamped and given != stamped:
        note = f"its timestamp.txt says {stamped.isoformat()}; the file of times counts"
    return given or stamped, note


def _leftover(
    submissions: Submissions, claim: Claim, status: str, why: str, earlier: bool = False
) -> Line:
    """The line of a file that is not a submission; an unmatched one and an earlier one are copied."""
    entry, note = claim.entry, why
    student_id = claim.student.student_id if claim.student else ""
    place = submissions.unmatched(entry)
    if entry.copy and (status == UNMATCHED or earlier):
        if earlier:
            place = submissions.keep(student_id, entry.copy, None)
        else:
            write_whole(place, entry.copy.read_bytes())
        note = f"{why}; kept as {place.relative_to(submissions.folder).as_posix()}"
    elif status == UNMATCHED:
        note = f"{why}; it is still in the export only"
    return Line(student_id, status, shown(entry.name, 300), entry.sha256, note=note)


def _student_line(student: Student, choice: Choice, note: str, submissions: Submissions) -> Line:
    """The line of a student, after everything is in its place."""
    there = submissions.current(student.student_id)
    if there is None:
        sent = [shown(claim.entry.name) for claim, _ in choice.unmatched]
        note = f"sent, but not matched: {', '.join(sent)}" if sent else ""
        return Line(student.student_id, MISSING, note=shown(note, 500))
    path, digest, when = there
    if choice.taken is None:
        note = "not in this export; collected before"
    elif digest != choice.taken.entry.sha256:
        note = "the file of this export is older and was put under _earlier"
    else:
        note = "; ".join(filter(None, (choice.taken.note, note)))
    place = path.relative_to(submissions.folder).as_posix()
    return Line(
        student.student_id, SUBMITTED, place, digest, when.isoformat() if when else "", note
    )


def collect(
    source: Path,
    students: Sequence[Student],
    lms: str,
    out: Path,
    units: Sequence[str],
    unit: str | None = None,
    times: Mapping[str, datetime] | None = None,
) -> Collected:
    """Sort the export `source` into the folder of submissions `out`.

    Args:
        source: the LMS's zip, or a folder.
        students: the roster.
        lms: one of LMS.
        units: the names of all units; `unit`, if given, is one of them.
        times: submission times by student_id; they count before a `timestamp.txt` of the export.

    Raises:
        ExportError: the export cannot be used, or names no unit and none is given, or `out` and `source` overlap.
        UnsafeName: an id of the roster cannot name a folder.
        OSError: a file cannot be written.
    """
    check_roster(students)
    inside, outside = out.resolve(), source.resolve()
    if source.is_dir() and (inside.is_relative_to(outside) or outside.is_relative_to(inside)):
        raise ExportError(f"{source} and {out} lie in each other: give another --out")
    with tempfile.TemporaryDirectory(prefix="course-collect-") as room:
        entries = read_export(source, Path(room))
        wanted = [entry for entry in entries if not entry.clutter]
        unit = unit or unit_named(wanted, units)
        claims = _claims(wanted, People(students), lms, unit, units, source.stem)
        return _sort(entries, claims, students, Submissions(out, unit), times or {})


def _sort(
    entries: list[Entry],
    claims: list[Claim],
    students: Sequence[Student],
    submissions: Submissions,
    times: Mapping[str, datetime],
) -> Collected:
    """Put every claimed file where it belongs and write the list."""
    leftovers = [
        _leftover(submissions, Claim(e), IGNORED, "no student's file") for e in entries if e.clutter
    ]
    own: dict[str, list[Claim]] = defaultdict(list)
    for claim in claims:
        if claim.ignored:
            leftovers.append(_leftover(submissions, claim, IGNORED, claim.ignored))
        elif claim.student is None:
            why = claim.entry.refused or claim.why
            leftovers.append(_leftover(submissions, claim, UNMATCHED, why))
        else:
            own[claim.student.student_id].append(claim)
    done = Collected(submissions.unit, [], len(entries), 0)
    for student in students:
        choice = choose(own.get(student.student_id, []), submissions.unit)
        note = ""
        if choice.taken:
            done.matched += 1
            when, note = _when(student.student_id, choice, times)
            if submissions.put(student.student_id, choice.taken.entry, when):
                done.changed.append(student.student_id)
            submissions.unmatched(choice.taken.entry).unlink(missing_ok=True)
        for claim, why in choice.ignored:
            earlier = claim in choice.earlier
            leftovers.append(_leftover(submissions, claim, IGNORED, why, earlier))
        leftovers += [_leftover(submissions, c, UNMATCHED, why) for c, why in choice.unmatched]
        done.lines.append(_student_line(student, choice, note, submissions))
    done.lines += sorted(leftovers, key=lambda line: (line.status != UNMATCHED, line.file))
    rows = [astuple(line) for line in done.lines]
    write_rows(submissions.folder / f"collected-{submissions.unit}.csv", COLUMNS, rows)
    return done
