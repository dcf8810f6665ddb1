"""A class of thirty from end to end, by the commands alone: collect, grade, manual, override, regrade, grades.csv."""

import html
import re
from collections import Counter
from types import SimpleNamespace

import pytest

from course_lib.grading.csv_safety import plain_cell
from tests.grading import class_of_30 as klass
from tests.grading import runs
from tests.grading.class_of_30 import PEOPLE, UNIT
from tests.requirements import require

GRADE = ("grade", "submissions", "--out", "reports", "--roster", "roster.csv", "--deadlines")
GRADE = (*GRADE, "deadlines.csv", "--workers", "2")
SENT = [person for person in PEOPLE if person.sent is not None]
CORRUPT = [person for person in SENT if person.counts[0] == klass.CORRUPT]
ESSAYS = [person for person in SENT if person not in CORRUPT]
MARKED = [person for person in ESSAYS if person.mark is not None]


@pytest.fixture(scope="module")
def term(tmp_path_factory):
    """Everything that the instructor does, in order; what each command said."""
    require("bwrap")
    folder = tmp_path_factory.mktemp("term")
    said = {}

    def course(name, *arguments, code=0):
        run = runs.course if name == "grade" else runs.invoke  # both ways give the same
        said[name] = run(folder, *arguments, code=code)

    klass.write_tables(folder)
    first = klass.write_zip(folder / "first.zip", klass.first_export())
    klass.write_zip(folder / "second.zip", klass.second_export())
    collect = ("--roster", "roster.csv", "--lms", "canvas", "--out", "submissions")
    course("collect", "collect", "first.zip", *collect, "--times", "times-1.csv", code=1)
    course("grade", *GRADE)
    course("early", "status", 5, "--deadlines", "deadlines.csv", "--out", "early.html")
    course("collect again", "collect", "second.zip", *collect, "--times", "times-2.csv")
    course("grade again", *GRADE)
    course("manual", "manual", 5, "--out", "to-read")
    pages = {path.name: path.read_text() for path in (folder / "to-read").iterdir()}
    fill_in(folder / "to-read")
    course("marks", "manual", 5, "--marks", f"to-read/{UNIT}-marks.csv", "--by", "ta")
    for person in PEOPLE:
        if person.override is not None:
            points = f"{person.override:g}"
            course(
                f"override {person.id}",
                "override",
                person.id,
                5,
                klass.GIN,
                points,
                "--comment",
                "oral exam",
            )
    course("tables", *GRADE)
    before = (folder / "reports" / "grades.csv").read_text(encoding="utf-8")
    course("regrade", "regrade", 5, "s00")
    course("grade one", *GRADE)
    course("status", "status", 5, "--deadlines", "deadlines.csv", "--out", "status.html")
    return SimpleNamespace(folder=folder, said=said, files=first, pages=pages, before=before)


def fill_in(folder):
    """Read the pages as a person does, and write each answer's mark into the table."""
    page = (folder / f"{UNIT}-{klass.ESSAY}.html").read_text(encoding="utf-8")
    cards = re.findall(
        r'<section class="card"><h2><code>(\w+)</code></h2>(.*?)</section>', page, re.S
    )
    texts = {
        code: html.unescape("".join(re.findall(r"<pre>(.*?)</pre>", body, re.S)))
        for code, body in cards
    }
    marks = {klass.TEXTS[person.id]: person.mark for person in ESSAYS}
    assert Counter(texts.values()) == Counter(klass.TEXTS[person.id] for person in ESSAYS)
    table = folder / f"{UNIT}-marks.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines[1:], start=1):
        code, exercise, points, most, comment = line.split(",")
        mark = marks[texts[code]]
        assert (exercise, points, most, comment) == (klass.ESSAY, "", "3", "")
        lines[number] = (
            f"{code},{exercise},{'' if mark is None else mark},{most},{'=well' * (mark == 3)}"
        )
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")


def rows(path, key="student_id"):
    """The rows of a CSV as the course reads them, by their key; each key once."""
    listed = [{k: plain_cell(v) for k, v in row.items()} for row in runs.read_csv(path)]
    found = {row[key]: row for row in listed}
    assert len(found) == len(listed)
    return found


# collecting --------------------------------------------------------------------------------------


def test_nobody_is_guessed_and_nobody_is_forgotten(term):
    said = term.said["collect"]
    matched = len(SENT)
    assert term.files == matched + klass.UNMATCHED + klass.IGNORED
    assert (
        f"files: {term.files} = {matched} matched + {klass.UNMATCHED} unmatched + {klass.IGNORED} ignored"
        in said
    )
    assert f"roster: 30 = {matched} submitted + {30 - matched} missing" in said
    assert "not in the roster, but in --times: s99" in said
    folders = [p.name for p in (term.folder / "submissions").iterdir() if p.is_dir()]
    assert sorted(f for f in folders if f[0] != "_") == sorted(p.id for p in SENT)
    assert len(list((term.folder / "submissions" / "_unmatched").iterdir())) == klass.UNMATCHED


def test_each_student_has_the_file_that_was_theirs(term):
    for person in SENT:
        sent, _ = person.counts
        place = term.folder / "submissions" / person.id / UNIT
        assert (place / f"{UNIT}.ipynb").read_bytes() == klass.notebook(person, sent), person
        assert (place / "timestamp.txt").exists() == (person.when is not None)


def test_what_a_later_export_replaces_is_kept(term):
    said = term.said["collect again"]
    assert "2 submissions are new or changed" in said and "0 unmatched" in said
    earlier = term.folder / "submissions" / "_earlier"
    kept = {p.name: len(list(p.rglob("*.ipynb"))) for p in earlier.iterdir()}
    assert kept == {"s16": 1, "s17": 1, "s18": 1}


# grading -----------------------------------------------------------------------------------------


def test_each_run_grades_what_is_new_and_nothing_else(term):
    tables = {name: runs.table(said) for name, said in term.said.items() if "found" in said}
    done = [
        (tables[name]["done before"], tables[name]["now graded"], tables[name]["now unreadable"])
        for name in ("grade", "grade again", "tables", "grade one")
    ]
    whole = len(SENT)
    assert done == [
        (0, whole - len(CORRUPT), len(CORRUPT)),
        (whole - 2, 2, 0),
        (whole, 0, 0),
        (whole - 1, 1, 0),
    ]
    assert "1 submissions of 05_graph_networks will be graded again" in term.said["regrade"]
    sql = "SELECT s.student, COUNT(*) FROM results r JOIN submissions s ON s.id = r.submission GROUP BY 1"
    counted = dict(runs.query(term.folder / "gradebook.db", sql))
    again = {person.id for person in SENT if person.again} | {"s00"}
    assert counted == {person.id: 1 + (person.id in again) for person in SENT}


def test_the_grades_are_those_that_were_worked_out_by_hand(term):
    found = rows(term.folder / "reports" / "grades.csv")
    assert list(found) == sorted(person.id for person in PEOPLE)
    for person in PEOPLE:
        row = found[person.id]
        assert (row["first_name"], row["last_name"], row["email"]) == (
            person.first,
            person.last,
            person.email,
        )
        wanted = (person.raw, person.penalty, person.final)
        cells = (row["raw_score"], row["late_submission_penalty"], row["score"])
        assert [None if c == "" else float(c) for c in cells] == pytest.approx(wanted), person
        assert row["timestamp"] == (person.when.isoformat() if person.when else "")
        hours = klass.EXTENDED.get(person.id, 0)
        assert row["duedate"] == (klass.DUE + klass.timedelta(hours=hours)).isoformat()
        assert (row["assignment"], row["max_score"]) == (UNIT, "18")


def test_no_cell_of_any_table_is_a_formula(term):
    tables = [*term.folder.glob("reports/*.csv"), *term.folder.glob("submissions/*.csv")]
    assert len(tables) == 3
    for path in tables:
        for row in runs.read_csv(path):
            assert not any(cell.startswith(("=", "+", "-", "@")) for cell in row.values()), row
    names = rows(term.folder / "reports" / "grades.csv")["=07"]
    assert names["last_name"] == "+1"


def test_a_regrade_changes_no_grade(term):
    assert (term.folder / "reports" / "grades.csv").read_text(encoding="utf-8") == term.before


def test_every_student_who_submitted_has_a_page_with_the_same_points(term):
    reports = term.folder / "reports"
    pages = {p.parent.name: p for p in reports.glob(f"*/{UNIT}.html")}
    assert sorted(pages) == sorted(person.id for person in SENT)
    for person in SENT:
        told = runs.reports(reports / person.id)[f"{UNIT}.json"]
        page = pages[person.id].read_text(encoding="utf-8")
        waiting = person.raw is None
        assert told["earned"] == (3.0 if waiting else person.raw), person
        assert ("still open" in page) == waiting
        if person.penalty:
            assert f"{person.final:.4g} of 18 count" in told["remarks"][-1]
        assert html.escape(person.first, quote=True) in page or "Long" in person.first
        assert "<script" not in page and "<b>Bob" not in page
        assert told["attempt"] == (2 if person.again else 1)


# people ------------------------------------------------------------------------------------------


def test_the_pages_to_read_tell_nobody_who_wrote_what(term):
    assert sorted(term.pages) == [f"{UNIT}-marks.csv", f"{UNIT}-{klass.ESSAY}.html"]
    for text in term.pages.values():
        for person in PEOPLE:
            assert not re.search(rf"\b{re.escape(person.id)}\b", text) and person.email not in text
            assert person.lms_id not in text
        assert "<width>" not in text


def test_marks_and_overrides_are_recorded_once(term):
    assert f"{len(ESSAYS)} answers of {UNIT} wait for a mark" in term.said["manual"]
    assert f"{len(MARKED)} marks recorded" in term.said["marks"]
    assert f"{len(ESSAYS) - len(MARKED)} answers of {UNIT} wait" in term.said["marks"]
    given = runs.query(term.folder / "gradebook.db", "SELECT kind, COUNT(*) FROM marks GROUP BY 1")
    assert dict(given) == {"manual": len(MARKED), "override": 2}
    for student in ("s19", "s20"):
        told = runs.reports(term.folder / "reports" / student)[f"{UNIT}.json"]
        assert runs.exercise(told)["feedback"][-2:] == ["Changed by a person.", "oral exam"]


def numbers(said):
    """The counts that `course status` prints, which must add up."""
    found = runs.table(said)
    states = ("graded (final)", "needs a mark by hand", "grader error", "unreadable")
    times = ("on time", "late", "too late", "time unknown", "no deadline")
    states = {s: found.get(f"submitted: {s}", 0) for s in (*states, "not yet graded")}
    times = {t: found.get(f"submitted: {t}", 0) for t in times}
    assert found["in the roster"] == found["submitted"] + found["missing"] == 30
    assert sum(states.values()) == sum(times.values()) == found["submitted"] == len(SENT)
    assert found["submitted, but not in the roster"] == 0
    return states, times


def test_the_instructors_page_adds_up(term):
    states, times = numbers(term.said["status"])
    open_ = len(ESSAYS) - len(MARKED)
    assert states == {
        "graded (final)": len(MARKED),
        "needs a mark by hand": open_,
        "grader error": 0,
        "unreadable": len(CORRUPT),
        "not yet graded": 0,
    }
    wanted = Counter(person.time for person in SENT)
    assert times == {name: wanted[name] for name in times}
    page = (term.folder / "status.html").read_text(encoding="utf-8")
    for words, number in ((f"submitted: {w}", n) for w, n in {**states, **times}.items() if n):
        assert re.search(rf">{re.escape(words)}</th><td[^>]*>{number}</td>", page), words
    body = page.partition("<caption>Students</caption>")[2].partition("</table>")[0]
    assert body.count("<tr>") == 1 + 30
    assert "<script>alert" not in page and "&lt;script&gt;" in page


def test_the_early_page_adds_up_too(term):
    states, _ = numbers(term.said["early"])
    assert states["needs a mark by hand"] == len(ESSAYS) and states["unreadable"] == len(CORRUPT)


def test_the_instructors_page_says_the_grades(term):
    page = (term.folder / "status.html").read_text(encoding="utf-8")
    table = page.partition("<caption>Students</caption>")[2].partition("</table>")[0]
    for person in PEOPLE:
        (row,) = re.findall(rf'<tr><th scope="row">{html.escape(person.id)}</th>(.*?)</tr>', table)
        cells = [html.unescape(c) for c in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        final = cells[7]
        if person.sent is None:
            assert final == "–" and cells[1] == ""
        elif person.raw is None:
            assert final == "3 so far"
        else:
            assert float(final) == pytest.approx(person.final, abs=1e-3), person
