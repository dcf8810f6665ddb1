"""Written questions: pages that do not tell who wrote what, and marks that are read back once."""

import re

import pytest

from course_lib.grading.csv_safety import CsvError, read_rows, write_rows
from course_lib.grading.gradebook import Gradebook
from course_lib.grading.manual import (
    COLUMNS,
    MarksError,
    Recorded,
    answers,
    code,
    read_marks,
    write_pages,
)
from tests.grading.books import OTHER, UNIT, by_hand, graded, override, result, roster, unreadable

HOSTILE = "<script>alert(1)</script> \"'& \x1b[2J\x00 \ud800\n```\n*no* $x$"


@pytest.fixture
def book():
    with Gradebook("sqlite://") as made:
        yield made


def fill(path, **more):
    """Write points (or points and comment) behind the codes into the CSV at `path`."""
    rows = [row for _, row in read_rows(path, COLUMNS)]
    for row in rows:
        given = more.get(row["code"], (row["points"], row["comment"]))
        row["points"], row["comment"] = given if isinstance(given, tuple) else (given, "")
    write_rows(path, COLUMNS, [[row[c] for c in COLUMNS] for row in rows])


def earned(book):
    return {s.student: s.earned for s in book.current(UNIT) if s.exercise == "essay"}


def test_pages_and_marks_there_and_back(book, tmp_path):
    book.add_students(roster("ann", "bob", "cem"))
    for who in ("ann", "bob", "cem"):
        graded(book, who, result(text=f"Essay {len(who)} of someone"))
    page, table = write_pages(book, UNIT, tmp_path)
    assert (page.name, table.name) == (f"{UNIT}-essay.html", f"{UNIT}-marks.csv")
    code_of = {a.student: a.code for a in answers(book, UNIT)}
    fill(table, **{code_of["ann"]: ("2.5", "=fine"), code_of["bob"]: "0"})
    assert read_marks(book, UNIT, table, by="ta") == Recorded(2, 0, 0, 1, 0)
    assert earned(book) == {"ann": 2.5, "bob": 0.0, "cem": None}
    assert next(s.comment for s in book.current(UNIT) if s.source == "manual") == "=fine"
    assert read_marks(book, UNIT, table, by="ta") == Recorded(0, 0, 2, 1, 0)
    write_pages(book, UNIT, tmp_path)  # what was read back stands in it
    assert read_marks(book, UNIT, table, by="ta") == Recorded(0, 0, 2, 1, 0)
    fill(table, **{code_of["ann"]: "3"})
    assert read_marks(book, UNIT, table, by="ta") == Recorded(1, 0, 1, 1, 0)
    assert earned(book)["ann"] == 3.0


def test_pages_do_not_tell_who_wrote(book, tmp_path):
    people = [f"student{n}" for n in range(12)]
    book.add_students(roster(*people))
    for who in people:
        graded(book, who)
    paths = write_pages(book, UNIT, tmp_path)
    for path in paths:
        assert "student" not in path.read_text().casefold()
    order = [a.student for a in answers(book, UNIT)]
    assert sorted(order) == sorted(people) != order
    codes = [a.code for a in answers(book, UNIT)]
    assert len(set(codes)) == 12
    assert all(re.fullmatch("[bcdfghjkmnpqrstvwxyz]{10}", c) for c in codes)
    assert re.findall(r"<h2><code>(\w+)", paths[0].read_text()) == codes  # the page in their order
    assert [row["code"] for _, row in read_rows(paths[1], COLUMNS)] == codes


def test_codes_depend_on_everything_and_on_the_salt():
    made = {
        code(salt, student, unit, attempt, exercise)
        for salt in ("x", "y")
        for student in ("a", "b")
        for unit in ("u", "v")
        for attempt in (1, 2)
        for exercise in ("e", "f")
    }
    assert len(made) == 32
    assert code("x", "a", "u", 1, "e") == code("x", "a", "u", 1, "e")


def test_pages_escape_everything(book, tmp_path):
    graded(book, "ann", result(text=HOSTILE))
    graded(book, "bob", result(text="  \n"))
    graded(book, "cem", result(text="x" * 100_001))
    text = write_pages(book, UNIT, tmp_path)[0].read_text()
    assert (
        "<script" not in text and "&lt;script&gt;alert(1)&lt;/script&gt; &quot;&#x27;&amp;" in text
    )
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
    assert "\n```\n*no* $x$</pre>" in text  # as it was typed
    assert "(empty)" in text and "1 more characters are not shown" in text
    assert "default-src 'none'" in text


def test_only_what_waits_for_a_person_and_counts_is_shown(book, tmp_path):
    graded(book, "ann", hour=0, made=result(text="FIRST"))
    graded(book, "ann", hour=1, made=result(text="SECOND"))
    graded(book, "bob", unreadable())
    graded(book, "cem", result(text="ELSEWHERE", unit=OTHER), unit=OTHER)
    text = write_pages(book, UNIT, tmp_path)[0].read_text()
    assert "SECOND" in text and "FIRST" not in text and "ELSEWHERE" not in text
    assert "1 answers, 0 of them marked" in text


def test_a_mark_stays_with_the_answer_that_was_read(book, tmp_path):
    graded(book, "ann", hour=0)
    _, table = write_pages(book, UNIT, tmp_path)
    fill(table, **{a.code: "4" for a in answers(book, UNIT)})
    graded(book, "ann", hour=1)  # meanwhile
    assert read_marks(book, UNIT, table, by="ta") == Recorded(1, 1, 0, 0, 0)
    assert earned(book) == {"ann": None}
    write_pages(book, UNIT, tmp_path)  # the old marks are in the gradebook, so the CSV may go
    assert [row["points"] for _, row in read_rows(table, COLUMNS)] == [""]


def test_filled_marks_are_never_overwritten(book, tmp_path):
    graded(book, "ann")
    _, table = write_pages(book, UNIT, tmp_path)
    (answer,) = answers(book, UNIT)
    for given in ("3", ("", "a comment"), "no number"):
        fill(table, **{answer.code: given})
        before = table.read_bytes()
        with pytest.raises(MarksError, match="--marks"):
            write_pages(book, UNIT, tmp_path)
        assert table.read_bytes() == before
    table.write_text("something else")
    with pytest.raises(MarksError, match="another --out"):
        write_pages(book, UNIT, tmp_path)


def test_an_override_hides_no_mark(book, tmp_path):
    graded(book, "ann")
    _, table = write_pages(book, UNIT, tmp_path)
    override(book, "ann", "essay", 1.0)
    fill(table, **{a.code: "4" for a in answers(book, UNIT)})
    assert read_marks(book, UNIT, table, by="ta").new == 1
    assert earned(book) == {"ann": 1.0}
    assert read_marks(book, UNIT, table, by="ta").known == 1


def test_blanks_of_a_comment_make_no_new_mark(book, tmp_path):
    graded(book, "ann")
    by_hand(book, "ann", "essay", 3.0, 1, comment=" two  blanks\r\n")
    _, table = write_pages(book, UNIT, tmp_path)
    assert read_marks(book, UNIT, table, by="ta") == Recorded(0, 0, 1, 0, 0)


def test_wrong_marks_are_clear_errors_and_record_nothing(book, tmp_path):
    for who in ("ann", "bob"):
        graded(book, who)
    table = tmp_path / "marks.csv"
    good, other = (a.code for a in answers(book, UNIT))
    for row, words in (
        (("nocode", "essay", "1", "4", ""), "line 3: no answer of .* has the code 'nocode'"),
        ((good, "essay", "1", "4", ""), "line 3: code .* stands there already"),
        ((other, "gin", "1", "4", ""), "line 3: code .* is of essay, not of 'gin'"),
        ((other, "essay", "five", "4", ""), "line 3: 'five' are no points"),
        ((other, "essay", "-1", "4", ""), "line 3: '-1' are no points"),
        ((other, "essay", "nan", "4", ""), "line 3: 'nan' are no points"),
        ((other, "essay", "4.5", "9", ""), "line 3: 4.5 points are more than 4: .*--extra"),
    ):
        write_rows(table, COLUMNS, [(good, "essay", 1.0, 4.0, ""), row])
        with pytest.raises(MarksError, match=words):
            read_marks(book, UNIT, table, by="ta")
        assert set(earned(book).values()) == {None}
    assert read_marks(book, UNIT, table, by="ta", extra=True).new == 2
    assert sorted(earned(book).values()) == [1.0, 4.5]
    table.write_text("code,points\n")
    with pytest.raises(CsvError, match="has no column 'exercise'"):
        read_marks(book, UNIT, table, by="ta")


def test_what_a_spreadsheet_makes_of_the_file_is_read(book, tmp_path):
    graded(book, "ann")
    (answer,) = answers(book, UNIT)
    path = tmp_path / "marks.csv"
    line = f"{answer.code.upper()};essay;2,5;4;gut\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + f"code;exercise;points;max;comment\r\n{line}".encode())
    assert read_marks(book, UNIT, path, by="ta").new == 1
    assert earned(book) == {"ann": 2.5}
    path.write_text(f"code;exercise;points;max;comment\n{answer.code};essay;;4;only words\n")
    assert read_marks(book, UNIT, path, by="ta") == Recorded(0, 0, 0, 0, 1)
