"""The roster, and the CSV files that people and programs exchange."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.grading.csv_safety import CsvError, csv_cell, plain_cell, read_rows, write_rows
from course_lib.grading.roster import Roster, RosterError, Student

HEADER = "student_id,first_name,last_name,email"
DANGEROUS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "  =1", "'=1", "''-1", "＝1"]


@pytest.fixture
def write(tmp_path):
    """A function that writes the lines of a roster and returns its path."""

    def write(*lines, encoding="utf-8"):
        path = tmp_path / "roster.csv"
        path.write_bytes("\n".join(lines).encode(encoding))
        return path

    return write


# cells -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", DANGEROUS)
def test_no_cell_is_a_formula(text):
    assert csv_cell(text) == f"'{text}"
    assert plain_cell(csv_cell(text)) == text


@pytest.mark.parametrize("text", ["", "a=1", "'t Hooft", "O'Neill", "1-2", "a\n=1", "' quoted'"])
def test_harmless_cells_stay_as_they_are(text):
    assert csv_cell(text) == plain_cell(text) == text


def test_numbers_are_numbers():
    given = (None, 3, -2, 2.0, -1.5, 0.1, 1e-9)
    assert [csv_cell(v) for v in given] == ["", "3", "-2", "2", "-1.5", "0.1", "1e-09"]


@given(st.text() | st.sampled_from(DANGEROUS) | st.text("'=+-@\t\r\n a", max_size=6))
def test_cells_come_back(text):
    cell = csv_cell(text)
    assert plain_cell(cell) == text
    assert not cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))


# files -------------------------------------------------------------------------------------------


def test_files_come_back_and_are_whole(tmp_path):
    path = tmp_path / "new" / "table.csv"
    rows = [("=1", 'ünï, "x"', 2.5), ("two\nlines", "\ud800", None)]
    write_rows(path, ("a", "b", "c"), rows)
    with open(path, encoding="utf-8", newline="") as stream:
        raw = list(csv.reader(stream))
    assert raw[1] == ["'=1", 'ünï, "x"', "2.5"] and raw[2] == ["two\nlines", "\\ud800", ""]
    assert read_rows(path, ("a", "b"))[0] == (2, {"a": "=1", "b": 'ünï, "x"'})

    def fails():
        yield ("more",)
        raise KeyError

    before = path.read_bytes()
    with pytest.raises(KeyError):
        write_rows(path, ("a",), fails())
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty: its first line must be a,b"),
        (b"\n , \n", "is empty"),
        (b"a,c\n1,2", "has no column 'b'"),
        (b"a,b,A\n1,2,3", "two columns 'a'"),
        (b"a,b\n1,2\n\n1,2,3", "line 4: 3 cells, but the first line names 2"),
        (b'a,b\n1,"x', "line 2"),
        (b'a,b\n1,"x"y', "line 2"),
        (b"a,b\n\xe4,1", "is not in UTF-8"),
    ],
)
def test_wrong_files_are_clear_errors(tmp_path, content, words):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(CsvError, match=words):
        read_rows(path, ("a", "b"))


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path):
    with pytest.raises(CsvError, match=r"no\.csv cannot be read"):
        Roster.read(tmp_path / "no.csv")


# the roster --------------------------------------------------------------------------------------


def test_a_roster_is_read(write):
    path = write(f"{HEADER},login,section", "s1,Ann,Ek,ann@x.org,ann7,A", "", "s2, Bo ,,,,B")
    assert Roster.read(path).students == (
        Student("s1", "Ann", "Ek", "ann@x.org", "", "ann7"),
        Student("s2", "Bo", ""),
    )
    assert [s.name for s in Roster.read(path).students] == ["Ann Ek", "Bo"]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_what_spreadsheets_write_is_read(write, mark):
    lines = [f"{HEADER}".title().replace(",", mark), mark.join(("s1", "Åsa", "'-Ek", "a@x.org"))]
    path = write(*lines, encoding="utf-8-sig")
    assert Roster.read(path).students == (Student("s1", "Åsa", "-Ek", "a@x.org"),)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((), "holds no student"),
        ((",Ann,Ek,",), "line 2: student_id '' is empty"),
        (("s1,Ann,Ek,", "../x,Bo,Ek,"), r"line 3: student_id '\.\./x' .*another"),
        ((".s1,Ann,Ek,",), "line 2.*begins with"),
        (("s1,,,",), "'s1' has no name"),
        (("s1,Ann,Ek,nomail",), "'nomail' is no email address"),
        (("s1,Ann,Ek,", "S1,Bo,Ek,"), "line 3: student_id 'S1' stands in line 2 already"),
        (("s1,Ann,Ek,a@x.org", "s2,Bo,Ek,A@x.org"), "line 3: email 'A@x.org'"),
    ],
)
def test_wrong_rosters_are_clear_errors(write, rows, words):
    with pytest.raises(RosterError, match=words):
        Roster.read(write(HEADER, *rows))


@pytest.mark.parametrize("column", ["lms_id", "login"])
def test_ids_of_other_systems_are_different_too(write, column):
    path = write(f"{HEADER},{column}", "s1,Ann,Ek,,7", "s2,Bo,Ek,,7", "s3,Cy,Ek,,")
    with pytest.raises(RosterError, match=f"line 3: {column} '7'"):
        Roster.read(path)
