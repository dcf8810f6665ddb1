"""Reports: what a student reads, escaped and complete; tables in which a missing score is no zero."""

import csv
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbgrader.plugins.export import CsvExportPlugin

from course_lib.grading import result as results
from course_lib.grading.page import STATES, page, said
from course_lib.grading.places import UnsafeName
from course_lib.grading.report import GradeRow, student_view, write_exercises, write_grades
from course_lib.grading.report import write_report as write
from course_lib.grading.result import ExerciseResult, SubmissionResult

UNIT = "05_graph_networks"
HOSTILE = "<script>alert(1)</script>\"'&=1+1\u202e\x1b[2J\x00"
STATUSES = [("graded", o) for o in ("passed", "failed", "not_attempted", "")]
STATUSES += [(s, "") for s in (*results.EXERCISE_STATUSES[1:], "unreadable", "<new>")]


def exercise(status="graded", outcome="passed", earned=2.0, text="It did.", **more):
    return ExerciseResult("e", status, outcome, earned, 2.0, (text,), **more)


def submission(*exercises, status="graded", notes=(), seconds=1.0):
    return SubmissionResult(UNIT, status, exercises, "bubblewrap", notes, seconds, seconds)


def everything(text):
    """Every status, with `text` wherever a string can be."""
    made = [
        ExerciseResult(text, s, o, None, 2.0, (text,) * 3, text, (text, text), text)
        for s, o in STATUSES
    ]
    return submission(*made, notes=(text,), status="graded")


class Page(HTMLParser):
    """The tags, attributes and visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data


def shown(result, **more):
    return Page(page(student_view("ada", result, **more), "Ada", "Graph networks"))


def test_every_state_is_said_in_words_and_explained():
    for status, outcome in STATUSES:
        earned = None if status in (results.NEEDS_MANUAL, results.GRADER_ERROR) else 0.0
        text = shown(submission(exercise(status, outcome, earned))).text
        sign, _, words, meaning = STATES.get(
            outcome or ("marked" if status == "graded" else status), ("?", "", status, "")
        )
        assert sign in text and words in text and meaning in text
        assert ("open (of 2)" in text) == (earned is None)
        assert ("2 of these points are still open" in text) == (earned is None)
    assert set(results.EXERCISE_STATUSES) - {"graded"} <= set(STATES)


def test_a_grader_error_is_nobodys_fault_and_tells_nothing_of_the_grader():
    failed = exercise(results.GRADER_ERROR, "", None, "Traceback: /home/teacher/secret")
    result = submission(failed, exercise(), status=results.GRADER_ERROR, notes=("OSError",))
    view, found = student_view("ada", result), shown(result)
    for text in (found.text, json.dumps(view)):
        assert "teacher" not in text and "OSError" not in text
    assert "not your fault" in found.text and "graded again" in found.text
    assert view["exercises"][0]["earned"] is None and view["earned"] == 2.0


def test_mistakes_hints_and_forbidden_names_are_told_once():
    made = exercise(
        "graded",
        "failed",
        0.0,
        "Mistake: You took `sum`.",
        mistake="You took `sum`.",
        forbidden=("nn.LSTM",),
    )
    text = shown(submission(made), remarks=("Two days late.",)).text
    assert text.count("You took sum.") == 1 and text.count("Mistake:") == 1
    assert "uses nn.LSTM" in text and "Two days late." in text
    assert (
        "Mistake: You" in shown(submission(exercise("graded", "failed", 0.0, mistake="You"))).text
    )


def test_an_unreadable_notebook_is_told_why_and_how_to_repair_it():
    made = submission(
        exercise("unreadable", "", 0.0), status="unreadable", notes=("It is no JSON.",)
    )
    text = shown(made).text
    assert "It is no JSON." in text and "fresh copy of the lab" in text and "20 MiB" in text


@given(st.text(max_size=40) | st.just(HOSTILE) | st.just("`" * 9) | st.just("n" * 5000))
def test_no_string_becomes_markup(text):
    hostile, plain = page(student_view("ada", everything(text)), text, text), None
    plain = page(student_view("ada", everything("x")), "x", "x")
    without = [Page(html) for html in (hostile, plain)]
    assert not without[0].open
    for kind in ("script", "a", "img", "iframe", "form", "link", "base"):
        assert kind not in without[0].tags
    ignored = {"code", "p", "strong", "li", "dt", "dd"}
    tags = [[tag for tag in made.tags if tag not in ignored] for made in without]
    assert tags[0] == tags[1]
    assert not {name for name, _ in without[0].attributes if name.startswith("on")}
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202a-\u202e]", hostile)
    assert len(hostile) < 100_000


def test_strings_and_lists_have_a_limit():
    assert len(said("x" * 10**6)) == 600
    made = exercise(forbidden=("x" * 999,) * 999)
    many = ExerciseResult("e", "graded", "failed", 0, 2, ("y" * 9999,) * 9999, "m" * 9999)
    view = student_view("ada", submission(made, many, notes=("n" * 999,) * 999))
    assert len(json.dumps(view)) < 120_000


def test_the_page_is_accessible_and_closed():
    text = page(student_view("ada", everything("x")), "Ada", "Graph networks")
    found = Page(text)
    assert ("lang", "en") in found.attributes and "title" in found.tags
    assert found.attributes.count(("scope", "col")) == 3
    assert found.attributes.count(("scope", "row")) == len(STATUSES)
    policy = dict(found.attributes[:4])["content"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy and "style" not in dict(found.attributes)
    assert text.index("Content-Security-Policy") < text.index("<style>")
    for colours in re.findall(r":root \{(.*?)\}", text, re.DOTALL)[:2]:  # light, dark
        value = dict(re.findall(r"--([\w-]+): (#\w+)", colours))
        pairs = [("ink", "paper"), ("soft", "paper"), ("soft", "card"), ("ink", "card")]
        pairs += [(name, f"{name}-bg") for name in ("good", "bad", "wait", "none")]
        assert min(contrast(value[a], value[b]) for a, b in pairs) >= 4.5


def contrast(one, other):
    """The contrast ratio of WCAG 2 between two colours `#rrggbb`."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.browser
def test_a_browser_shows_it_styled_and_runs_nothing(tmp_path, page):
    place = write(tmp_path, "ada", everything(HOSTILE), name=HOSTILE, title=HOSTILE)
    said_there = []
    page.set_viewport_size({"width": 380, "height": 700})
    page.on("console", lambda message: said_there.append(message.text))
    page.on("dialog", lambda dialog: said_there.append(dialog.message))
    page.goto(place.as_uri())
    assert page.evaluate("getComputedStyle(document.querySelector('.badge')).borderRadius") != ""
    assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") != "none"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert said_there == []


def test_two_gradings_are_equal_and_say_nothing_of_how_long_they_took(tmp_path):
    when = datetime(2026, 1, 30, 14, 30, tzinfo=UTC)
    views = []
    for seconds in (1.0, 2.0):
        write(tmp_path, "ada", submission(exercise(), seconds=seconds), submitted_at=when)
        views.append(json.loads((tmp_path / "ada" / f"{UNIT}.json").read_text()))
    assert views[0] == views[1]
    assert views[0]["times"] == {"submitted_at": "2026-01-30T14:30:00+00:00"}
    assert "30 January 2026, 14:30 UTC" in (tmp_path / "ada" / f"{UNIT}.html").read_text()
    assert set(views[0]["exercises"][0]) == {
        *("exercise", "status", "outcome", "earned", "points", "feedback", "mistake", "forbidden")
    }
    assert sorted(p.name for p in (tmp_path / "ada").iterdir()) == [f"{UNIT}.html", f"{UNIT}.json"]


@pytest.mark.parametrize("student", ["../eve", "..", "", "a/b", "_unmatched", "x\x00"])
def test_a_report_goes_nowhere_else(tmp_path, student):
    with pytest.raises(UnsafeName):
        write(tmp_path / "reports", student, submission(exercise()))
    assert list(tmp_path.iterdir()) == []


def test_grades_have_nbgraders_columns_and_no_zero_for_nothing(tmp_path):
    row = ["2026-01-31", "2026-01-30", "ada", "=HYPERLINK(1)", "Ada", "@x"]
    rows = [GradeRow(UNIT, *row, 5.5, 0.5, 5.0, 12), GradeRow(UNIT, *row, None, None, None, 12.0)]
    with open(write_grades(tmp_path, rows), newline="") as file:
        found = list(csv.DictReader(file))
    constants = CsvExportPlugin.export.__code__.co_consts
    expected = next(c for c in constants if isinstance(c, tuple) and "late_submission_penalty" in c)
    assert tuple(found[0]) == expected
    scores = ("raw_score", "late_submission_penalty", "score", "max_score")
    assert [found[0][s] for s in scores] == ["5.5", "0.5", "5", "12"]
    assert [found[1][s] for s in scores] == ["", "", "", "12"]
    assert found[0]["last_name"] == "'=HYPERLINK(1)" and found[0]["email"] == "'@x"


def test_the_table_of_exercises(tmp_path):
    made = submission(exercise(forbidden=("a", "b")), exercise(results.NEEDS_MANUAL, "", None))
    with open(write_exercises(tmp_path, [("=ada", 2, made)]), newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["earned"] for row in rows] == ["2", ""]
    assert rows[0]["student_id"] == "'=ada" and rows[0]["attempt"] == "2"
    assert rows[0]["forbidden"] == "a b"
