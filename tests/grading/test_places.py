"""Names that may be folders, names made harmless, and times."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.grading.exports import ExportError
from course_lib.grading.places import UnsafeName, harmless, shown, student_folder
from course_lib.grading.roster import Student
from course_lib.grading.submitted_at import TimesError, parse_time, read_times
from tests.grading.desk import ADA, NB, UNIT, Desk


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


BAD_IDS = ["", "..", ".x", "_x", "a/b", "a\\b", "a\x00", "a\n", "a\u202eb", " a", "x" * 151, "CON"]


@pytest.mark.parametrize("bad", [*BAD_IDS, "nul.txt", "a:b", "e\u0301", "é" * 120, "x.", "\ud800"])
def test_ids_that_cannot_be_folders_are_refused(desk, bad):
    with pytest.raises(UnsafeName):
        desk.run([("ada.ipynb", "x")], "folder", (ADA, Student(bad, "A", "B", "")))


def test_ids_that_differ_in_case_only_are_refused(desk):
    with pytest.raises(ExportError, match="case only"):
        desk.run([("ada.ipynb", "x")], "folder", (ADA, Student("ADA", "A", "B", "")))


@given(st.text())
def test_names_are_made_harmless(text):
    name = harmless(text)
    assert name and "/" not in name and "\\" not in name and name[0] not in ".-_"
    assert len(name.encode()) <= 80
    assert len(shown(text)) <= 120 and "\n" not in shown(text) and "\x1b" not in shown(text)
    try:
        student_folder(text)
    except UnsafeName as error:
        assert str(error).isprintable()
    else:
        assert text not in (".", "..") and "/" not in text and "\0" not in text


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("2026-01-30T15:30:00Z", "2026-01-30T15:30:00+00:00"),
        ("2026-01-30 15:30:00", "2026-01-30T15:30:00+00:00"),
        ("2026-01-30 15:30:00 +0130", "2026-01-30T14:00:00+00:00"),
        ("2026-01-30 15:30:00.25 UTC\n", "2026-01-30T15:30:00.250000+00:00"),
        ("2026-07-30 15:30:00 America/New_York", "2026-07-30T19:30:00+00:00"),
        ("2026-01-30 15:30:00 PST", None),
        ("2026-01-30 15:30:00 ../../etc/passwd", None),
        ("yesterday", None),
        ("", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("2026-01-30 15:30:00 +9999", None),
    ],
)
def test_times_are_read_as_utc(text, iso):
    when = parse_time(text)
    assert (when.isoformat() if when else None) == iso


def test_a_file_of_times_counts_and_is_checked(desk, tmp_path):
    path = tmp_path / "times.csv"
    path.write_text("student_id,submitted_at\nada,2026-01-02T00:00:00Z\neve,2026-01-01\nbob,\n")
    times, strangers = read_times(path, ["ada", "bob"])
    assert strangers == ["eve"] and list(times) == ["ada"]
    files = [(f"ada/{UNIT}/{NB}", "a"), (f"ada/{UNIT}/timestamp.txt", "2026-01-01")]
    line = desk.run(files, "nbgrader", times=times).lines[0]
    assert line.submitted_at == "2026-01-02T00:00:00+00:00" and "timestamp.txt says" in line.note
    for bad in ("ada,soon", "ada,2026-01-01\nada,2026-01-02"):
        path.write_text(f"student_id,submitted_at\n{bad}\n")
        with pytest.raises(TimesError, match="line"):
            read_times(path, ["ada"])
