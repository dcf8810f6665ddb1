"""Deadlines: a started day costs, an extension moves the deadline, an unknown time costs nothing."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from course_lib.grading.csv_safety import CsvError
from course_lib.grading.deadlines import Deadline, DeadlineError, Deadlines

HEADER = "unit,due,student_id,extension_hours,late_penalty_per_day,max_late_days"
DUE = datetime(2026, 3, 1, 22, 59, tzinfo=UTC)
RULES = Deadlines({"u": Deadline(DUE, 0.1, 3), "free": Deadline(DUE)}, {("u", "ann"): 48.0})


@pytest.fixture
def write(tmp_path):
    def write(*lines):
        path = tmp_path / "deadlines.csv"
        path.write_text("\n".join((HEADER, *lines)))
        return path

    return write


@pytest.mark.parametrize(
    ("late", "status", "days", "penalty"),
    [
        (timedelta(days=-9), "on time", 0, 0.0),
        (timedelta(0), "on time", 0, 0.0),
        (timedelta(microseconds=1), "late", 1, 2.0),
        (timedelta(days=1), "late", 1, 2.0),
        (timedelta(days=1, seconds=1), "late", 2, 4.0),
        (timedelta(days=3), "late", 3, 6.0),
        (timedelta(days=3, seconds=1), "too late", 4, 15.0),
    ],
)
def test_a_started_day_costs_a_fraction_of_the_points(late, status, days, penalty):
    found = RULES.lateness("u", "bob", DUE + late)
    assert (found.status, found.days, found.due) == (status, days, DUE)
    assert RULES.penalty("u", "bob", DUE + late, 15.0, 20.0) == pytest.approx(penalty)
    extended = RULES.lateness("u", "ann", DUE + timedelta(hours=48) + late)
    assert (extended.status, extended.days) == (status, days)
    assert bool(found.reason) == (days > 0)


def test_reasons_say_why():
    late, too_late = (RULES.lateness("u", "bob", DUE + timedelta(days=d)) for d in (1, 9))
    assert late.reason == "1 day late (due 2026-03-01 22:59 UTC): 0.1 of the points a day"
    assert too_late.reason == "9 days late (due 2026-03-01 22:59 UTC): more than 3, no points"


def test_no_more_is_lost_than_there_is():
    assert RULES.penalty("u", "bob", DUE + timedelta(days=2), 1.0, 20.0) == 1.0
    assert RULES.penalty("u", "bob", DUE + timedelta(days=9), 0.0, 20.0) == 0.0


def test_an_unknown_time_and_no_deadline_cost_nothing():
    unknown = RULES.lateness("u", "bob", None)
    assert (unknown.status, unknown.due) == ("time unknown", DUE)
    assert RULES.lateness("other", "bob", DUE).status == "no deadline"
    assert RULES.penalty("u", "bob", None, 5.0, 20.0) == 0.0
    assert RULES.penalty("other", "bob", DUE, 5.0, 20.0) == 0.0
    assert RULES.penalty("free", "bob", DUE + timedelta(days=99), 5.0, 20.0) == 0.0


def test_zones_count():
    there = DUE.astimezone(timezone(timedelta(hours=-8)))
    assert RULES.lateness("u", "bob", there).status == "on time"
    assert RULES.lateness("u", "bob", DUE.replace(tzinfo=None)).status == "on time"
    assert RULES.lateness("u", "bob", there + timedelta(seconds=1)).status == "late"


@given(st.floats(0, 20), st.floats(0, 20), st.integers(-5, 500))
def test_later_never_costs_less_and_never_more_than_the_score(score, points, hours):
    first, then = (
        RULES.penalty("u", "bob", DUE + timedelta(hours=h), score, points)
        for h in (hours, hours + 7)
    )
    assert 0 <= first <= then <= score


def test_a_file_is_read(write):
    path = write(
        "u,2026-03-01T23:59+01:00,,,0.1,3",
        "u,,ann,48,,",
        "v,2026-03-01 23:59,,,,",
        "w,2026-03-01T23:59Z,,,0,",
    )
    rules = Deadlines.read(path, ["u", "v", "w"], ["ann"])
    assert rules.units["u"] == Deadline(DUE, 0.1, 3.0)
    assert rules.extensions == {("u", "ann"): 48.0}
    assert rules.units["v"].due == rules.units["w"].due == DUE + timedelta(hours=1)
    assert rules.lateness("v", "ann", DUE + timedelta(days=50)).days == 50


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((",2026-03-01T23:59Z,,,,",), "line 2: the unit is empty"),
        (("x,2026-03-01T23:59Z,,,,",), "line 2: no unit 'x'; there are: u, v"),
        (("u,2026-03-01,,,,",), "line 2: '2026-03-01' is no deadline: give date, time and zone"),
        (("u,soon,,,,",), "'soon' is no deadline"),
        (("u,,,,,",), "'' is no deadline"),
        (("u,2026-03-01T23:59Z,,,10,",), "from 0 to 1, got 10: for 10 percent write 0.1"),
        (("u,2026-03-01T23:59Z,,,-1,",), "late_penalty_per_day '-1' is no number from 0"),
        (("u,2026-03-01T23:59Z,,,,nan",), "max_late_days 'nan' is no number"),
        (("u,2026-03-01T23:59Z,,48,,",), "an extension needs a student_id"),
        (("u,2026-03-01T23:59Z,,,,",) * 2, "line 3: u has a deadline already"),
        (("u,,ann,48,,",), "line 2: u has no deadline to extend"),
        (("u,2026-03-01T23:59Z,,,,", "u,,anne,4,,"), "line 3: no student 'anne'; near are: ann"),
        (("u,2026-03-01T23:59Z,,,,", "u,,ann,x,,"), "extension_hours 'x' is no number"),
        (("u,2026-03-01T23:59Z,,,,", "u,,ann,,,"), "say how many ann gets"),
        (
            ("u,2026-03-01T23:59Z,,,,", "u,,ann,4,0.1,"),
            "late_penalty_per_day holds for the whole unit",
        ),
        (("u,2026-03-01T23:59Z,,,,", "u,,ann,4,,", "u,,ann,5,,"), "line 4: ann has an extension"),
    ],
)
def test_wrong_rows_are_clear_errors(write, rows, words):
    with pytest.raises(DeadlineError, match=words):
        Deadlines.read(write(*rows), ["u", "v"], ["ann", "bob"])


def test_a_file_without_the_columns_is_a_clear_error(tmp_path):
    (tmp_path / "d.csv").write_text("unit,due\n")
    with pytest.raises(CsvError, match="has no column 'student_id'"):
        Deadlines.read(tmp_path / "d.csv")
