"""Hostile names of students, from the folder of submissions to the page and the tables."""

import csv
import json
from html.parser import HTMLParser

import pytest

from course_lib.course_map import root
from course_lib.grading import run
from course_lib.grading.deadlines import Deadlines
from course_lib.grading.finding import find
from course_lib.grading.gradebook import Gradebook
from course_lib.grading.places import UnsafeName
from course_lib.grading.policy import Policy
from course_lib.grading.report import write_report
from course_lib.grading.roster import Roster, Student
from tests.grading.attacks.after import KEY, some_result
from tests.grading.attacks.attack import RIGHT, answer
from tests.grading.notebooks import UNIT
from tests.grading.runs import in_this_process, submit

HTML = "<script>alert(1)</script><img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("http://evil","click")'
STUDENTS = (
    Student("ada lovelace", HTML, "</title><style>*{}</style>", "ada@uni.edu"),
    Student("o'brien & sons", FORMULA, "+1+1", "=1+1"),
    Student("=1+1", "@SUM(A1)", "-2+3", "\t=1"),
    Student("José 名前", "\u202egnp.exe", "x\0y", "jose@uni.edu"),
    Student("..b; drop table results", "'); drop table results; --", "Bob", "bob@uni.edu"),
)
UNSAFE = ["../evil", "a/../../evil", "..", ".", "", "/etc/evil", "a\0b", "a\nb", "con", "x" * 300]


class Tags(HTMLParser):
    """The names of a page's tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.add(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)


@pytest.fixture
def graded(both, tmp_path, monkeypatch):
    """A folder with the gradebook and the reports of all those students, whose answers are alternately right."""
    grader = both[True]
    monkeypatch.setattr(run, "grade_all", in_this_process(grader))
    for number, student in enumerate(STUDENTS):
        name = student.student_id
        if not name.startswith("."):
            submit(tmp_path / "in", name, answer(gives=RIGHT if number % 2 == 0 else "0 * h"))
    found, problems = find(tmp_path / "in", [UNIT])
    assert not problems
    with Gradebook(f"sqlite:///{tmp_path}/book.db") as book:
        book.add_students(Roster(STUDENTS))
        run.grade_folder(book, found, Policy(timeout=2, memory=0.25), KEY, root())
        run.write_reports(book, tmp_path / "out", [UNIT], Deadlines())
    return tmp_path


def test_hostile_names_change_nothing(graded):
    out = graded / "out"
    with open(out / "grades.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["student_id"].removeprefix("'") for row in rows} == {s.student_id for s in STUDENTS}
    for number, student in enumerate(STUDENTS[:4]):
        folder = out / student.student_id
        page = (folder / f"{UNIT.name}.html").read_text(encoding="utf-8")
        assert not Tags(page).found & {"script", "img", "a", "link", "iframe"}
        assert page.count("<style") == page.count("</title>") == 1
        told = json.loads((folder / f"{UNIT.name}.json").read_text(encoding="utf-8"))
        assert told["earned"] == (number % 2 == 0)
    for name in ("grades.csv", "exercises.csv"):
        with open(out / name, encoding="utf-8", newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell.lstrip()[:1] in ("=", "+", "@", "-")]
    made = {path.relative_to(out).parts[0] for path in out.rglob("*") if path.is_file()}
    assert made == {"grades.csv", "exercises.csv"} | {s.student_id for s in STUDENTS[:4]}


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_leads_elsewhere_is_refused(name, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnsafeName):
        write_report(tmp_path / "out", name, some_result())
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_a_link_is_not_followed(tmp_path):
    submit(tmp_path / "elsewhere", "eve", answer())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "mallory").symlink_to(tmp_path / "elsewhere" / "eve")
    assert find(tmp_path / "in", [UNIT])[0] == []
