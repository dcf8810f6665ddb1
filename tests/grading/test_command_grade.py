"""`course grade`: its exit codes, what it refuses, what it says, and how it can be stopped."""

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest

from course_lib.grading import run
from course_lib.grading.cgroups import descendants
from course_lib.grading.gradebook import Gradebook
from tests.grading import books, runs
from tests.requirements import require

GRADE = ("grade", "submissions", "--out", "reports")
FORBIDDEN = (
    f"{runs.RIGHT}\n    import torch_geometric\n    return torch_geometric.nn\n"  # never reached
)


@pytest.fixture
def folder(tmp_path, grader, monkeypatch):
    """An empty folder in which `runs.invoke` grades with the warm grader of the tests."""
    monkeypatch.setattr(run, "grade_all", runs.in_this_process(grader))
    (tmp_path / "submissions").mkdir()
    return tmp_path


def submit(folder, student, content=runs.RIGHT, **more):
    return runs.submit(folder / "submissions", student, content, **more)


def gin(folder, student="ada"):
    return runs.exercise(runs.reports(folder / "reports" / student)[f"{runs.UNIT}.json"])


def grades(folder):
    return {row["student_id"]: row for row in runs.read_csv(folder / "reports" / "grades.csv")}


# 0: done -----------------------------------------------------------------------------------------


def test_done(folder):
    submit(folder, "ada")
    submit(folder, "bob", b"{")
    said = runs.table(runs.invoke(folder, *GRADE))
    assert said == {
        "found": 2,
        "done before": 0,
        "now graded": 1,
        "now unreadable": 1,
        "now grader error": 0,
    }
    assert gin(folder)["earned"] == 1 and grades(folder)["bob"]["score"] == "0"
    assert (folder / "gradebook.db").is_file() and (folder / "secret").is_file()
    assert runs.table(runs.invoke(folder, *GRADE))["done before"] == 2


def test_an_empty_folder_is_done_too(folder):
    assert runs.table(runs.invoke(folder, *GRADE))["found"] == 0
    assert grades(folder) == {}


def test_the_gradebook_comes_from_the_environment_or_the_option(folder):
    submit(folder, "ada")
    url = f"sqlite:///{folder / 'elsewhere.db'}"
    runs.invoke(folder, *GRADE, COURSE_GRADEBOOK=url)
    assert (folder / "elsewhere.db").exists() and not (folder / "gradebook.db").exists()
    other = ("--gradebook", f"sqlite:///{folder / 'other.db'}")
    assert runs.table(runs.invoke(folder, *GRADE, *other, COURSE_GRADEBOOK=url))["now graded"] == 1
    assert runs.table(runs.invoke(folder, *GRADE, COURSE_GRADEBOOK=url))["done before"] == 1


def test_forbidden_names_are_told_or_cost_the_points(folder):
    submit(folder, "ada", FORBIDDEN)
    runs.invoke(folder, *GRADE)
    made = gin(folder)
    assert (made["earned"], made["outcome"]) == (1, "passed")
    assert any("torch_geometric" in name for name in made["forbidden"])
    runs.invoke(folder, *GRADE, "--forbidden", "zero")
    made = gin(folder)
    assert (made["earned"], made["outcome"]) == (0, "failed")
    assert "uses what the exercise forbids" in made["feedback"][0]


def test_a_mistake_keeps_its_name_where_forbidden_names_cost_points(folder):
    submit(folder, "ada", FORBIDDEN.replace("(1 + eps)", "eps"))
    runs.invoke(folder, *GRADE, "--forbidden", "zero")
    assert "weight eps" in gin(folder)["mistake"] and gin(folder)["earned"] == 0


# 1: found wanting --------------------------------------------------------------------------------


def test_what_is_no_submission_is_listed_and_the_rest_graded(folder):
    submit(folder, "ada")
    submit(folder, "bob", name="a.ipynb")
    submit(folder, "bob", name="b.ipynb")
    submit(folder, "eve", unit="77_other")
    (folder / "submissions" / "joe").symlink_to(folder / "submissions" / "ada")
    linked = submit(folder, "pia")
    linked.unlink()
    linked.symlink_to(folder / "submissions" / "ada" / runs.UNIT / f"{runs.UNIT}.ipynb")
    for _ in range(2):
        said = runs.invoke(folder, *GRADE, code=1)
        for text in (
            f"note: bob/{runs.UNIT}: which notebook is it?",
            "note: eve/77_other is no unit of this course",
            "note: joe is a link",
            f"note: pia/{runs.UNIT}/{runs.UNIT}.ipynb is a link",
            "something in the folder is no submission",
        ):
            assert text in said
    assert set(grades(folder)) == {"ada", "pia"}
    report = runs.reports(folder / "reports" / "pia")[f"{runs.UNIT}.json"]
    assert (report["status"], report["earned"]) == ("unreadable", 0)


# 2: a wrong request ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("grade", "nothing", "--out", "reports"), "nothing is no folder"),
        (("grade", "submissions"), "--out REPORTS"),
        ((*GRADE, "--forbidden", "nought"), "warn or zero"),
        ((*GRADE, "--workers", "0"), "--workers"),
        ((*GRADE, "--timeout", "0"), "--timeout"),
        ((*GRADE, "--gradebook", "mysql://x"), "sqlite:///FILE"),
        ((*GRADE, "--gradebook", "sqlite:////no/such/folder/book.db"), "does not exist"),
        ((*GRADE, "--roster", "none.csv"), "none.csv cannot be read"),
        ((*GRADE, "--deadlines", "none.csv"), "none.csv cannot be read"),
        (("grade", "submissions", "--explain", "eve", "5", runs.GIN), "there: ada"),
        (("grade", "submissions", "--explain", "ada", "77", runs.GIN), "77"),
        (("grade", "submissions", "--explain", "ada", "5", "gan"), runs.GIN),
    ],
)
def test_a_wrong_request_is_one_clear_message_and_grades_nothing(folder, arguments, said):
    submit(folder, "ada")
    output = runs.invoke(folder, *arguments, code=2)
    assert said in output and "Traceback" not in output
    assert not (folder / "reports").exists()
    assert runs.query(folder / "gradebook.db", "SELECT * FROM results") == []


def test_a_secret_that_others_can_read_is_refused(folder):
    (folder / "secret").write_bytes(b"k" * 32)
    (folder / "secret").chmod(0o644)
    assert "chmod 600" in runs.invoke(folder, *GRADE, code=2)


def test_while_one_run_grades_a_second_is_refused(folder):
    submit(folder, "ada")
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as book, book.grading_run():
        assert "another grading run" in runs.invoke(folder, *GRADE, code=2)
    runs.invoke(folder, *GRADE)


def test_without_bubblewrap_it_refuses_and_says_what_to_do(folder, tmp_path):
    submit(folder, "ada")
    said = runs.invoke(folder, *GRADE, code=2, PATH=str(tmp_path))
    assert "apt-get install bubblewrap" in said and "--unsandboxed" in said
    assert not (folder / "gradebook.db").exists()


# 3: the grader failed ----------------------------------------------------------------------------


def test_a_check_that_fails_is_a_grader_error_until_it_works(folder, grader, monkeypatch):
    submit(folder, "ada")
    submit(folder, "bob", b"{")
    exercise = grader.unit.exercises[runs.GIN]

    def check(answer, case):
        raise ZeroDivisionError("a bug of ours, with a hidden number: 7")

    with monkeypatch.context() as patch:
        patch.setattr(exercise, "check", check)
        said = runs.invoke(folder, *GRADE, code=3)
    assert runs.table(said)["now grader error"] == 1
    assert "note: ada, 05_graph_networks: gin_aggregate: ZeroDivisionError" in said
    assert gin(folder)["earned"] is None and gin(folder)["status"] == "grader_error"
    assert "hidden number" not in str(runs.reports(folder / "reports" / "ada"))
    assert grades(folder)["ada"]["score"] == grades(folder)["ada"]["raw_score"] == ""
    assert grades(folder)["bob"]["score"] == "0"
    said = runs.table(runs.invoke(folder, *GRADE))
    assert (said["done before"], said["now graded"]) == (1, 1)
    assert gin(folder)["earned"] == 1


def test_a_grader_error_comes_before_what_is_no_submission(folder, grader, monkeypatch):
    submit(folder, "ada")
    submit(folder, "eve", unit="77_other")
    monkeypatch.setattr(grader.unit.exercises[runs.GIN], "check", None)
    said = runs.invoke(folder, *GRADE, code=3)
    assert "eve/77_other" in said and "they have no score, and are tried again" in said


# explaining --------------------------------------------------------------------------------------


def explain(folder, student="ada", exercise=runs.GIN):
    return runs.invoke(folder, "grade", "submissions", "--explain", student, "5", exercise)


def test_explain_shows_the_instructor_everything(folder):
    submit(folder, "ada", runs.WRONG + "\n# \x1b[31mred")
    submit(folder, "bob", b"{")
    said = explain(folder)
    for text in ("def gin_aggregate", "case 0, seed", "FAIL", "expected", "got", "weight eps"):
        assert text in said
    assert "\x1b" not in said
    assert "no cell" in explain(folder, exercise="told_apart")
    assert "unreadable: the file is no notebook" in explain(folder, "bob")
    assert not (folder / "gradebook.db").exists()


# unsandboxed -------------------------------------------------------------------------------------


def test_unsandboxed_is_labelled_and_graded_again_in_a_sandbox(folder):
    submit(folder, "ada")
    said = runs.course(folder, *GRADE, "--unsandboxed", "--workers", 1, PATH="/nowhere")
    assert runs.table(said)["now graded"] == 1 and gin(folder)["earned"] == 1
    book = folder / "gradebook.db"
    assert runs.query(book, "SELECT sandbox FROM results") == [("unsandboxed",)]
    runs.invoke(folder, *GRADE, "--unsandboxed")
    assert len(runs.query(book, "SELECT sandbox FROM results")) == 1
    assert "unsandboxed" in runs.invoke(folder, "status", "5")
    assert runs.table(runs.invoke(folder, *GRADE))["now graded"] == 1
    assert runs.query(book, "SELECT sandbox FROM current_totals") == [("bubblewrap",)]
    assert "unsandboxed" not in runs.invoke(folder, "status", "5")


# stopping ----------------------------------------------------------------------------------------


def test_a_stopped_run_says_so_and_keeps_what_it_has(folder, monkeypatch):
    submit(folder, "ada")
    submit(folder, "bob")

    def interrupted(jobs, *_):
        yield run.Done(jobs[0], books.result())
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run, "grade_all", interrupted)
        said = runs.invoke(folder, *GRADE, code=130)
    assert "stopped" in said and "run it again" in said
    assert runs.table(runs.invoke(folder, *GRADE))["done before"] == 1


@pytest.mark.parametrize("moment", ["starting", "grading"])
def test_ctrl_c_leaves_nothing_behind_and_loses_nothing(tmp_path, moment):
    require("bwrap")
    for number in range(40):  # enough that the run is not over before the signal arrives
        submit(tmp_path, f"s{number}", f"{runs.RIGHT}\n\nnumber = {number}")
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o755)  # the sandbox's own user looks into it
        process = runs.start(tmp_path, *GRADE, "--workers", 2, TMPDIR=scratch)
        end = time.monotonic() + 100
        while not (
            len(descendants(process.pid)) > 3
            if moment == "starting"
            else runs.query(tmp_path / "gradebook.db", "SELECT 1 FROM results")
        ):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        started = runs.processes(descendants(process.pid))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        said = "".join(process.communicate(timeout=100))
        assert process.returncode == 130, said
        assert "stopped" in said and "Traceback" not in said
        end = time.monotonic() + 30
        while set(runs.processes(pid for pid, _ in started)) & set(started):
            assert time.monotonic() < end
            time.sleep(0.05)
        assert list(Path(scratch).iterdir()) == []
    kept = len(runs.query(tmp_path / "gradebook.db", "SELECT 1 FROM results"))
    assert kept < 40 and bool(kept) == (moment == "grading")
