"""Collecting again, the unit, and the command: nothing lost, sums that are right."""

import csv
from datetime import UTC, datetime

import pytest
import typer
from typer.testing import CliRunner

from course_lib.grading import commands_collect
from course_lib.grading.collect import MISSING, SUBMITTED, UNMATCHED
from course_lib.grading.exports import ExportError
from course_lib.grading.roster import Student
from tests.grading.desk import NB, ROSTER, UNIT, Desk, contents, make_zip


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


def test_the_same_export_again_changes_nothing(desk):
    files = [
        (f"lovelaceada_111_1_{NB}", "x"),
        (f"lovelaceada_111_2_{UNIT}-1.ipynb", "x2"),
        ("who.ipynb", "w"),
    ]
    times = {"ada": datetime(2026, 1, 1, tzinfo=UTC)}
    assert desk.run(files, times=times).changed == ["ada"]
    before = contents(desk.out)
    assert desk.run(files, times=times).changed == []
    assert contents(desk.out) == before


def test_a_newer_export_replaces_and_keeps(desk):
    desk.run([(f"lovelaceada_111_1_{NB}", "v1"), (f"obrienbob_222_1_{NB}", "b")])
    done = desk.run([(f"lovelaceada_111_2_{UNIT}-1.ipynb", "v2")])
    assert done.changed == ["ada"] and desk.submission("ada") == "v2"
    assert list(contents(desk.out / "_earlier" / "ada").values()) == [b"v1"]
    assert done.lines[1].status == SUBMITTED and "collected before" in done.lines[1].note
    assert done.lines[2].status == MISSING


def test_an_older_export_replaces_nothing(desk):
    def at(day):
        return {"ada": datetime(2026, 1, day, tzinfo=UTC)}

    desk.run([(f"lovelaceada_111_2_{NB}", "v2")], times=at(2))
    done = desk.run([(f"lovelaceada_111_1_{NB}", "v1")], times=at(1))
    assert desk.submission("ada") == "v2" and done.changed == []
    assert "older" in done.lines[0].note
    assert b"v1" in contents(desk.out / "_earlier").values()
    desk.run([(f"lovelaceada_111_3_{NB}", "v3")], times=at(3))
    kept = contents(desk.out / "_earlier")
    assert b"2026-01-02T00:00:00+00:00\n" in kept.values() and b"v2" in kept.values()


def test_a_time_never_stays_with_another_file(desk):
    desk.run([(f"lovelaceada_111_1_{NB}", "v1")], times={"ada": datetime(2026, 1, 1, tzinfo=UTC)})
    done = desk.run([(f"lovelaceada_111_2_{NB}", "v2")])
    assert done.lines[0].submitted_at == ""
    assert not (desk.out / "ada" / UNIT / "timestamp.txt").exists()


def test_what_is_matched_at_last_leaves_the_unmatched(desk):
    files = [(f"hopper_444_1_{NB}", "g"), ("else.ipynb", "e")]
    desk.run(files)
    assert len(contents(desk.out / "_unmatched")) == 2
    desk.run(files, students=(*ROSTER, Student("grace", "Grace", "Hopper", "", "444")))
    assert list(contents(desk.out / "_unmatched").values()) == [b"e"]


def test_the_unit_is_read_from_the_names_or_asked_for(desk):
    assert desk.run([(f"lovelaceada_111_1_{UNIT}-1.ipynb", "x")], unit=None).unit == UNIT
    assert (
        desk.run([("ada/03_attention/a.ipynb", "x")], "nbgrader", unit=None).unit == "03_attention"
    )
    for files in (
        [("lovelaceada_111_1_lab.ipynb", "x")],
        [(f"lovelaceada_111_1_{NB}", "x"), ("obrienbob_222_1_03_attention.ipynb", "y")],
    ):
        with pytest.raises(ExportError, match="--unit"):
            desk.run(files, unit=None)


@pytest.fixture
def command(tmp_path):
    app = typer.Typer()
    commands_collect.register(app)
    app.command("other")(lambda: None)
    roster = tmp_path / "roster.csv"
    roster.write_text(
        "student_id,first_name,last_name,email,lms_id\n"
        "ada,Ada,Lovelace,ada@uni.edu,111\nbob,Bob,O'Brien,bob@uni.edu,222\n"
    )

    def go(files, *more):
        source = make_zip(tmp_path / "export.zip", files)
        asked = [str(source), "--roster", str(roster), "--out", str(tmp_path / "out"), *more]
        return CliRunner().invoke(app, ["collect", *asked])

    return go


def test_the_command_prints_sums_and_leaves_with_its_code(command, tmp_path):
    done = command([(f"lovelaceada_111_1_{NB}", "x")], "--lms", "canvas")
    assert done.exit_code == 0, done.output
    assert "files: 1 = 1 matched + 0 unmatched + 0 ignored" in done.output
    assert "roster: 2 = 1 submitted + 1 missing" in done.output
    assert "missing: bob" in done.output and "have no time" in done.output
    done = command([(f"=cmd|x!A1_999_1_{NB}", "x")], "--lms", "canvas")
    assert done.exit_code == 1 and "lms_id 999" in done.output
    with open(tmp_path / "out" / f"collected-{UNIT}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == [SUBMITTED, MISSING, UNMATCHED]
    assert rows[2]["file"].startswith("'=cmd")
    assert command([("x.ipynb", "x")], "--lms", "canvas").exit_code == 2  # no unit named
    assert command([("x.ipynb", "x")], "--lms", "blackboard").exit_code == 2
    assert command([(".DS_Store", "x")], "--lms", "canvas", "--unit", "5").exit_code == 1
