"""Whose a file of an export is: the right student or none."""

import hashlib
import os

import pytest

from course_lib.grading.collect import IGNORED, MISSING, UNMATCHED
from course_lib.grading.places import write_whole
from course_lib.grading.roster import Student
from tests.grading.desk import NB, ROSTER, UNIT, Desk, contents, reasons


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path)


# Canvas -------------------------------------------------------------------------------------------


def test_canvas_goes_by_the_user_id(desk):
    done = desk.run(
        [
            (f"lovelaceada_111_9001_{NB}", "A"),
            (f"obrienbob_LATE_222_9002_{UNIT}-3.ipynb", "B"),
            ("peñajosé_333_9003_my notes (1).ipynb", "C"),
        ]
    )
    assert [desk.submission(s) for s in ("ada", "bob", "jose")] == ["A", "B", "C"]
    assert done.matched == 3 and not done.of(UNMATCHED)
    assert "LATE" in done.lines[1].note
    assert done.lines[0].note == "" and done.lines[0].submitted_at == ""
    assert done.lines[0].sha256 == hashlib.sha256(b"A").hexdigest()
    assert not (desk.out / "ada" / UNIT / "timestamp.txt").exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (f"lovelaceada_999_1_{NB}", "lms_id 999"),
        (f"turingalan_111_1_{NB}", "Ada Lovelace in the roster, but the file is turingalan's"),
        (f"anon_aB3d5_111_{NB}", "anonymous"),
        (f"lovelaceada_111_222_77_{NB}", "can mean lms_id 111 or 222"),  # a name made to look so
        (NB, "not named as Canvas"),
        ("lovelaceada_111_text.html", "no notebook"),
        ("lovelaceada_111_1_lab.pdf", "no notebook"),
        ("lovelaceada_111_1_lab.zip", "no notebook"),
    ],
)
def test_canvas_does_not_guess(desk, name, why):
    done = desk.run([(name, "x")])
    assert not done.matched and why in reasons(done)
    assert not (desk.out / "ada").exists()
    assert list(contents(desk.out / "_unmatched").values()) == [b"x"]
    assert len(done.of(MISSING)) == 3


def test_canvas_says_where_a_name_agrees_in_part(desk):
    done = desk.run([(f"kingada_111_1_{NB}", "x"), (f"oneillbob_222_2_{NB}", "y")])
    assert done.matched == 2
    assert "kingada" in done.lines[0].note and "oneillbob" in done.lines[1].note


def test_canvas_takes_the_last_of_the_uploads_it_numbered(desk):
    done = desk.run(
        [
            (f"lovelaceada_111_30_{UNIT}-2.ipynb", "third"),
            (f"lovelaceada_111_10_{NB}", "first"),
            (f"lovelaceada_111_20_{UNIT}-1.ipynb", "second"),
        ]
    )
    assert desk.submission("ada") == "third"
    assert [line.student_id for line in done.of(IGNORED)] == ["ada", "ada"]
    earlier = contents(desk.out / "_earlier" / "ada" / UNIT)
    assert sorted(earlier.values()) == [b"first", b"second"]


@pytest.mark.parametrize(
    "names",
    [
        (f"lovelaceada_111_30_{NB}", f"lovelaceada_111_20_{UNIT}-1.ipynb"),  # ids say otherwise
        (f"lovelaceada_111_10_{NB}", f"lovelaceada_111_20_{NB}"),  # Canvas would have numbered
        ("lovelaceada_111_10_a.ipynb", "lovelaceada_111_20_b.ipynb"),
    ],
)
def test_several_notebooks_without_an_order_are_all_kept(desk, names):
    done = desk.run([(names[0], "x"), (names[1], "y")])
    assert "nothing says which counts" in reasons(done)
    assert sorted(contents(desk.out / "_unmatched").values()) == [b"x", b"y"]
    assert all(p.startswith(f"{UNIT}--") for p in os.listdir(desk.out / "_unmatched"))
    assert "lovelaceada" in next(x for x in done.of(MISSING) if x.student_id == "ada").note


def test_the_units_name_decides_among_names_and_a_copy_is_no_second_notebook(desk):
    done = desk.run(
        [
            (f"lovelaceada_111_10_{NB}", "x"),
            ("lovelaceada_111_20_scratch.ipynb", "y"),
            ("lovelaceada_111_21_plot.png", "z"),
            ("obrienbob_222_1_a.ipynb", "same"),
            ("obrienbob_222_2_b.ipynb", "same"),
        ]
    )
    assert done.matched == 2 and not done.of(UNMATCHED)
    assert desk.submission("ada") == "x" and desk.submission("bob") == "same"


# Moodle -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "Bob OBrien_4711_assignsubmission_file_/lab.ipynb",  # as Moodle cleans O'Brien
        "bob  o’brien_4711_assignsubmission_file/sub/lab.ipynb",
        "Bob OBrien_4711_assignsubmission_file_lab.ipynb",  # without folders
        "submissions/Bob O'Brien_4711_assignsubmission_file_/lab.ipynb",
    ],
)
def test_moodle_goes_by_the_full_name(desk, name):
    done = desk.run([(name, "b")], "moodle")
    assert done.matched == 1 and desk.submission("bob") == "b"


def test_moodle_takes_composed_and_decomposed_names_for_one(desk):
    zoe = Student("zoe", "Zoe\u0308", "Muller", "zoe@uni.edu")
    files = ("Jose\u0301 Pen\u0303a_1", "Zo\u00eb Muller_2")
    desk.run(
        [(f"{name}_assignsubmission_file_/lab.ipynb", name) for name in files],
        "moodle",
        (*ROSTER, zoe),
    )
    assert (desk.submission("jose"), desk.submission("zoe")) == files


def test_moodle_does_not_guess_between_equal_names(desk):
    twin = Student("ada2", "ADA", "Lovelace", "ada2@uni.edu")
    file = [("Ada Lovelace_1_assignsubmission_file_/lab.ipynb", "x")]
    assert "more than one student" in reasons(desk.run(file, "moodle", (*ROSTER, twin)))
    two = [*file, ("Ada Lovelace_2_assignsubmission_file_/lab.ipynb", "y")]
    done = desk.run(two, "moodle")
    assert "two participants" in reasons(done) and not done.matched
    assert sorted(contents(desk.out / "_unmatched").values()) == [b"x", b"y"]


@pytest.mark.parametrize(
    "name",
    [
        "Lovelace Ada_1_assignsubmission_file_/lab.ipynb",
        "Participant_1_assignsubmission_file_/lab.ipynb",
        "Ada Lovelace/lab.ipynb",
        "Ada Lovelace_111_assignsubmission_onlinetext_/onlinetext.html",
    ],
)
def test_moodle_leaves_the_rest(desk, name):
    done = desk.run([(name, "x")], "moodle")
    assert not done.matched and len(done.of(UNMATCHED)) == 1


def test_a_timestamp_that_a_moodle_student_uploads_is_no_time(desk):
    base = "Ada Lovelace_1_assignsubmission_file_/"
    done = desk.run([(base + "lab.ipynb", "x"), (base + "timestamp.txt", "2020-01-01")], "moodle")
    assert done.lines[0].submitted_at == ""
    assert not (desk.out / "ada" / UNIT / "timestamp.txt").exists()


# nbgrader and folders -----------------------------------------------------------------------------


@pytest.mark.parametrize("top", ["", "submitted/"])
def test_nbgraders_layout_and_its_time(desk, top):
    done = desk.run(
        [
            (f"{top}ada/{UNIT}/{NB}", "a"),
            (f"{top}ada/{UNIT}/timestamp.txt", "2026-01-30 15:30:10.5 Europe/Berlin"),
            (f"{top}bo2/{UNIT}/{NB}", "b"),  # the login
            (f"{top}ada/03_attention/03_attention.ipynb", "other"),
            (f"{top}eve/{UNIT}/{NB}", "e"),
        ],
        "nbgrader",
    )
    assert desk.submission("ada") == "a" and desk.submission("bob") == "b"
    assert done.lines[0].submitted_at == "2026-01-30T14:30:10.500000+00:00"
    stamp = (desk.out / "ada" / UNIT / "timestamp.txt").read_text()
    assert stamp == "2026-01-30T14:30:10.500000+00:00\n"
    assert [line.file for line in done.of(UNMATCHED)] == [f"{top}eve/{UNIT}/{NB}"]
    assert any("another assignment" in line.note for line in done.of(IGNORED))


def test_a_folder_of_students(desk, tmp_path):
    source = tmp_path / "source"
    for name in ("ada.ipynb", "bob/x.ipynb", f"jp3/{UNIT}/{NB}", "jp3/03_attention/a.ipynb"):
        write_whole(source / name, name)
    write_whole(source / "bob/timestamp.txt", "2026-01-30T15:30:00+01:00")
    done = desk.run(source, "folder")
    assert desk.submission("ada") == "ada.ipynb"
    assert desk.submission("bob") == "bob/x.ipynb"
    assert desk.submission("jose") == f"jp3/{UNIT}/{NB}"
    assert done.lines[1].submitted_at == "2026-01-30T14:30:00+00:00"
    assert not done.of(UNMATCHED)


def test_a_strangers_folder_is_no_wrapper(desk):
    assert not desk.run([("eve/ada.ipynb", "x")], "folder").matched


def test_an_id_that_is_anothers_login_is_ambiguous(desk):
    other = Student("al1", "Al", "One", "al@uni.edu")
    done = desk.run([("al1.ipynb", "x")], "folder", (*ROSTER, other))
    assert "more than one student" in reasons(done)
