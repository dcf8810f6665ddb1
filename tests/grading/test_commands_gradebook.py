"""`course status`, `manual`, `override` and `regrade`: their numbers add up, their errors are clear."""

import re
from html.parser import HTMLParser

import pytest
import typer
from typer.testing import CliRunner

from course_lib.commands.screen import console
from course_lib.grading.commands_gradebook import register
from course_lib.grading.csv_safety import read_rows, write_rows
from course_lib.grading.gradebook import Gradebook
from course_lib.grading.manual import COLUMNS
from course_lib.grading.status import status
from tests.grading.books import (
    NOW,
    PARTS,
    UNIT,
    by_hand,
    graded,
    override,
    roster,
)
from tests.grading.test_status import COUNTS, everything

app = typer.Typer()
register(app)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty current folder, in which the gradebook is gradebook.db."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COURSE_GRADEBOOK", raising=False)
    monkeypatch.setattr(console, "_width", 120)  # so that no cell is folded
    return tmp_path


@pytest.fixture
def book(folder):
    with Gradebook() as made:
        yield made


def invoke(*arguments, code=0):
    """Run the command in this process; a traceback fails the test. What it printed, in one line of words."""
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return " ".join(done.output.split())


class Tables(HTMLParser):
    """The tables of a page: rows of cells, and whether each has headers for rows and columns."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.scopes, self.tags = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.scopes += [value for key, value in attrs if key == "scope"]

    def handle_data(self, data):
        if self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data


# status ------------------------------------------------------------------------------------------


def test_status_is_printed(book, folder):
    everything(book)
    (folder / "due.csv").write_text(
        "unit,due,student_id,extension_hours,late_penalty_per_day,max_late_days\n"
        f"{UNIT},{NOW.isoformat()},,,0.1,3\n{UNIT},,fay,5,,\n"
    )
    text = invoke("status", 5, "--deadlines", "due.csv")
    for words, number in COUNTS.items():
        assert f" {words} {number}" in text
    assert re.search(r"bob Bob Doe \S+ \S+ needs a mark by hand late, 2 d 0.2 so far", text)
    assert "not in the roster" in text and "zoe" in text
    assert invoke("status", "graph_networks", "--deadlines", "due.csv") == text


def test_the_page_has_the_same_numbers(book, folder):
    everything(book)
    override(book, "fay", "gin", 2.5, 1)
    by_hand(book, "bob", "essay", 3.0, 1)
    said = invoke("status", UNIT, "--out", "pages/status.html")
    assert said.endswith("written: pages/status.html")
    page = Tables((folder / "pages/status.html").read_text())
    counts, students, strangers = page.tables
    now = status(book, UNIT)
    assert {words: int(n) for words, n in counts[1:]} == dict(now.counts())
    assert [row[0] for row in students[1:]] == ["ann", "bob", "cem", "dee", "eve", "fay", "gil"]
    assert students[0][-3:] == ["gcn", "gin", "essay"]
    cells = {row[0]: row[-4:] for row in students[1:]}
    assert cells["fay"] == ["6.5", "2", "2.5*", "2"]
    assert cells["bob"] == ["5", "2", "0", "3†"]
    assert cells["cem"] == ["0 so far", "–", "–", "–"]
    assert cells["gil"] == ["–", "–", "–", "–"]
    assert [row[0] for row in strangers[1:]] == ["zoe"]
    assert {"row", "col"} == set(page.scopes)
    assert not page.tags & {"script", "link", "img", "iframe"}


def test_status_takes_over_a_roster(folder):
    write_rows(
        folder / "roster.csv",
        ("student_id", "first_name", "last_name", "email"),
        [("ann", "Ann", "Ek", ""), ("bob", "Bob", "Ek", "")],
    )
    text = invoke("status", 5, "--roster", "roster.csv")
    assert "roster: 2 students, 2 new, 0 changed, 0 withdrawn" in text
    assert " in the roster 2 submitted 0 missing 2 " in text
    assert "0 new" in invoke("status", 5, "--roster", "roster.csv")


def test_status_says_what_is_easily_overlooked(book):
    graded(book, "ann", hour=0)
    override(book, "ann", "gin", 3.0, 1)
    assert "no roster" in invoke("status", 5)
    graded(book, "ann", hour=1)
    assert "ann has an override of gin for attempt 1, but a newer attempt counts" in invoke(
        "status", 5
    )


# manual ------------------------------------------------------------------------------------------


def test_manual_there_and_back(book, folder):
    for who in ("ann", "bob"):
        graded(book, who)
    assert "2 answers of 05_graph_networks wait for a mark" in invoke("manual", 5, "--out", "m")
    table = folder / "m" / f"{UNIT}-marks.csv"
    rows = [list(row.values()) for _, row in read_rows(table, COLUMNS)]
    rows[0][2], rows[0][4] = "3", "well said"
    write_rows(table, COLUMNS, rows)
    assert "read it with --marks" in invoke("manual", 5, "--out", "m", code=2)
    text = invoke("manual", 5, "--marks", table, "--by", "ta")
    assert (
        text == "1 marks recorded, 0 known already 1 answers of 05_graph_networks wait for a mark"
    )
    assert "0 marks recorded, 1 known already" in invoke(
        "manual", 5, "--marks", table, "--out", "m"
    )
    rows[1][2] = "9"
    write_rows(table, COLUMNS, rows)
    assert "9 points are more than 4" in invoke("manual", 5, "--marks", table, code=2)
    assert "1 marks recorded" in invoke("manual", 5, "--marks", table, "--extra")
    assert sorted(s.earned for s in book.current(UNIT) if s.exercise == "essay") == [3.0, 9.0]


# override ----------------------------------------------------------------------------------------


def test_override_is_for_the_attempt_that_counts(book):
    graded(book, "ann", hour=0)
    graded(book, "ann", hour=1)
    text = invoke("override", "ann", 5, "gin", 1.5, "--comment", "a fair point", "--by", "prof")
    assert (
        text
        == "recorded ann, 05_graph_networks, gin, override for attempt 2; now: 1.5 of 3 (override)"
    )
    assert "nothing new" in invoke("override", "ann", 5, "gin", 1.5, "--comment", "a fair point")
    graded(book, "ann", hour=2)
    assert next(s.earned for s in book.current(UNIT) if s.exercise == "gin") == 0.0
    text = invoke("override", "ann", 5, "gin", 1, "--comment", "x", "--attempt", 1)
    assert "override for attempt 1; now: 0 of 3 (automatic)" in text


def test_override_for_all_attempts_and_back(book):
    book.add_students(roster("ann", "bob"))
    graded(book, "ann")
    assert "use --all-attempts" in invoke(
        "override", "bob", 5, "gin", 1, "--comment", "ill", code=2
    )
    invoke("override", "bob", 5, "gin", 1, "--comment", "ill", "--all-attempts")
    graded(book, "bob")
    assert {s.earned for s in book.current(UNIT) if s.exercise == "gin"} == {0.0, 1.0}
    text = invoke("override", "bob", 5, "gin", "none", "--comment", "well again", "--all-attempts")
    assert "now: 0 of 3 (automatic)" in text
    assert "now: no score" in invoke("override", "bob", 5, "essay", "none", "--comment", "x")


def test_wrong_overrides_are_clear_errors(book):
    graded(book, "ann")
    more = ("--comment", "x")
    for arguments, words in (
        (("anne", 5, "gin", 1, *more), "no student 'anne'.*near are: ann"),
        (("ann", 99, "gin", 1, *more), "there is no unit '99'; the units are: .*05_graph_networks"),
        (("ann", 5, "gcm", 1, *more), "no exercise 'gcm'; near are: gcn"),
        (("ann", 5, "gin", 4, *more), "4 points are more than the 3 of gin: .*--extra"),
        (("ann", 5, "gin", "nan", *more), "are no points for gin"),
        (("ann", 5, "gin", "lots", *more), "'lots' are no points"),
        (("ann", 5, "gin", 1, *more, "--attempt", 7), "no attempt 7 .*attempts: 1"),
        (("ann", 5, "gin", 1, *more, "--attempt", 1, "--all-attempts"), "exclude each other"),
        (("ann", 5, "gin", 1), "comment"),
    ):
        assert re.search(words, invoke("override", *arguments, code=2))
    assert {s.source for s in book.current(UNIT)} == {"automatic", ""}
    assert "now: 4 of 3" in invoke("override", "ann", 5, "gin", 4, *more, "--extra")


# regrade -----------------------------------------------------------------------------------------


def test_regrade_says_how_many(book):
    done = {who: graded(book, who) for who in ("ann", "bob", "cem")}
    assert invoke("regrade", 5, "ann").startswith("1 submissions of 05_graph_networks will be")
    assert [book.is_done(PARTS.key(s)) for s in done.values()] == [False, True, True]
    assert invoke("regrade", 5, "bob", "ann").startswith("2 submissions")
    assert invoke("regrade", 5).startswith("3 submissions")
    assert not any(book.is_done(PARTS.key(s)) for s in done.values())
    assert "no student 'anne'" in invoke("regrade", 5, "cem", "anne", code=2)


# all ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", 5),
        ("manual", 5),
        ("override", "ann", 5, "gin", 1, "--comment", "x"),
        ("regrade", 5),
    ],
)
def test_without_a_gradebook_nothing_is_made(folder, arguments):
    assert "there is no gradebook sqlite:///gradebook.db" in invoke(*arguments, code=2)
    assert "folder" in invoke(*arguments, "--gradebook", "sqlite:///no/book.db", code=2)
    assert "sqlite:///FILE" in invoke(*arguments, "--gradebook", "book.db", code=2)
    assert "there is no unit '99'" in invoke(*(99 if a == 5 else a for a in arguments), code=2)
    assert list(folder.iterdir()) == []


def test_the_environment_says_where_the_gradebook_is(folder, monkeypatch):
    monkeypatch.setenv("COURSE_GRADEBOOK", f"sqlite:///{folder / 'other.db'}")
    with Gradebook(f"sqlite:///{folder / 'other.db'}") as book:
        graded(book, "ann")
    assert "1 submissions" in invoke("regrade", 5)


def test_a_place_that_cannot_be_written_is_a_clear_error(book, folder):
    graded(book, "ann")
    (folder / "file").write_text("")
    assert "cannot be written" in invoke("status", 5, "--out", "file/status.html", code=2)
    assert "cannot be written" in invoke("manual", 5, "--out", "file", code=2)
