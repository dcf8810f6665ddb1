"""Gradescope: what results.json says, what the zip holds, and what runs there."""

import json
import os
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from course_lib.course_map import find_unit, root
from course_lib.grading import commands_gradescope, gradescope, result
from course_lib.grading import grade as grading
from course_lib.grading.gradescope import NoNotebook, NotGraded, find_notebook, results_json
from course_lib.grading.result import ExerciseResult, SubmissionResult
from tests.requirements import require

ROW = find_unit("5")
SECRET = bytes(range(32))
VISIBILITIES = {"hidden", "after_due_date", "after_published", "visible"}
FORMATS = {"text", "html", "simple_format", "md", "ansi"}


def submission(*exercises, status="graded", notes=()):
    return SubmissionResult(ROW.name, status, exercises, "bubblewrap", notes, 1.6)


PASSED = ExerciseResult("one", "graded", "passed", 2.0, 2.0, ("It is right.",))
FAILED = ExerciseResult(
    "two", "timeout", "failed", 0.0, 1.5, ("It did not end.",), "", ("nn.LSTM",)
)
WRITTEN = ExerciseResult("why", "needs_manual", "", None, 3.0, (), answer="because")
BROKEN = ExerciseResult("one", "grader_error", "", None, 2.0, ("/home/teacher",))


def check_schema(told):
    """As Gradescope documents it: https://gradescope-autograders.readthedocs.io/en/latest/specs/."""
    assert isinstance(told["score"], float | int) and isinstance(told["output"], str)
    assert told["visibility"] in VISIBILITIES and told["stdout_visibility"] == "hidden"
    assert {told["output_format"], told["test_output_format"], told["test_name_format"]} <= FORMATS
    for test in told["tests"]:
        assert set(test) <= {"name", "score", "max_score", "status", "output", "visibility"}
        assert test["visibility"] in VISIBILITIES
        assert test.get("status", "passed") in {"passed", "failed"}
        assert 0 <= test.get("score", 0) <= test.get("max_score", 0)
    json.dumps(told, allow_nan=False)


def test_results_tell_scores_words_and_what_waits():
    told = results_json(submission(PASSED, FAILED, WRITTEN, notes=("Edited.",)))
    check_schema(told)
    assert told["score"] == 2.0 and told["output"] == "Edited." and told["execution_time"] == 2
    one, two, why = told["tests"]
    assert (one["score"], one["max_score"], one["status"]) == (2.0, 2.0, "passed")
    assert two["status"] == "failed" and "Took too long" in two["output"]
    assert "nn.LSTM" in two["output"] and "loop that never ends" in two["output"]
    assert not {"score", "max_score", "status"} & set(why) and "person" in why["output"]
    assert "because" not in json.dumps(told)


def test_an_unreadable_notebook_is_told_how_to_repair_it():
    lost = ExerciseResult("one", "unreadable", "", 0.0, 2.0)
    told = results_json(submission(lost, status="unreadable", notes=("No JSON.",)))
    check_schema(told)
    assert told["score"] == 0 and "No JSON." in told["output"] and "20 MiB" in told["output"]


@pytest.mark.parametrize(
    "failed", [submission(PASSED, BROKEN), submission(PASSED, status="grader_error")]
)
def test_there_are_no_results_where_the_grader_failed(failed):
    with pytest.raises(NotGraded):
        results_json(failed)


# the zip ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    target = tmp_path_factory.mktemp("zip") / "autograder.zip"
    gradescope.write_zip(ROW, target, SECRET, ["--timeout", "7"])
    return target


def test_the_zip_holds_what_grading_needs_and_no_more(packed, tmp_path):
    with zipfile.ZipFile(packed) as archive:
        modes = {i.filename: stat.S_IMODE(i.external_attr >> 16) for i in archive.infolist()}
        assert archive.read("grading-secret") == SECRET
        run = archive.read("run_autograder").decode()
    assert stat.S_IMODE(packed.stat().st_mode) == 0o600
    assert modes["run_autograder"] & 0o111 and modes["setup.sh"] & 0o100
    assert modes["grading-secret"] == 0o600
    master = f"course/{ROW.master.parent.as_posix()}"
    assert {f"{master}/hidden_checks.py", f"{master}/{ROW.name}.ipynb"} <= set(modes)
    assert "course/course_lib/grading/gradescope.py" in modes and "course/course.toml" in modes
    assert {name.split("/")[1] for name in modes if name.startswith("course/")} <= {
        *("course_lib", "solutions", *gradescope.COURSE_FILES)
    }
    assert not [n for n in modes if "__pycache__" in n or n.startswith("/") or ".." in n]
    assert [n for n in modes if n.startswith("course/solutions/") and ROW.name not in n] == []
    assert run.rstrip().endswith(f"course_lib.grading.gradescope {ROW.name} --timeout 7")
    assert "@ARGUMENTS@" not in run
    again = tmp_path / "again.zip"
    gradescope.write_zip(ROW, again, SECRET, ["--timeout", "7"])
    assert again.read_bytes() == packed.read_bytes()


@pytest.mark.parametrize("script", ["gradescope_setup.sh", "gradescope_run.sh"])
def test_the_scripts_are_shell(script):
    place = gradescope.TEMPLATES / script
    first = place.read_text().splitlines()[0].removeprefix("#!")
    assert subprocess.run([first, "-n", str(place)], check=False).returncode == 0
    assert place.read_text().count("set -eu") == 1


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_SECRET_FILE", str(tmp_path / "secret"))
    app = typer.Typer()
    commands_gradescope.register(app)
    app.command("other")(lambda: None)
    target = tmp_path / "a.zip"

    def go(*arguments):
        return CliRunner().invoke(app, ["gradescope", *arguments, "--out", str(target)])

    assert go("5", "--forbidden", "zero", "--unsandboxed").exit_code == 0
    with zipfile.ZipFile(target) as archive:
        run = archive.read("run_autograder").decode()
        assert archive.read("grading-secret") == (tmp_path / "secret").read_bytes()
    assert run.rstrip().endswith("--timeout 20 --memory 2 --forbidden zero --unsandboxed")
    assert go("77").exit_code == 2 and go("5", "--forbidden", "maybe").exit_code == 2
    (tmp_path / "secret").write_bytes(b"short")
    assert go("5").exit_code == 2


# on Gradescope ------------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path, monkeypatch):
    """What Gradescope lays out, with a secret and an upload."""
    for name in ("source", "submission"):
        (tmp_path / name).mkdir()
    (tmp_path / "source" / "grading-secret").write_bytes(SECRET)
    (tmp_path / "submission" / "lab.ipynb").write_text("{}")
    monkeypatch.setenv("AUTOGRADER_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def graded(place, monkeypatch):
    """Stands for the grading; `answer` is what it returns or raises, `seen` what it was given."""
    calls = {"answer": submission(PASSED), "seen": []}

    def grade_notebook(path, unit, secret, **options):
        left = (place / "source" / "grading-secret").exists()
        calls["seen"].append((path.name, unit, secret, left, options))
        if isinstance(calls["answer"], Exception):
            raise calls["answer"]
        return calls["answer"]

    monkeypatch.setattr(grading, "grade_notebook", grade_notebook)
    return calls


def test_the_secret_is_gone_before_the_grading_begins(place, graded):
    assert gradescope.main([ROW.name, "--forbidden", "zero"]) == 0
    ((name, unit, secret, left, options),) = graded["seen"]
    assert (name, unit, secret, left) == ("lab.ipynb", ROW.name, SECRET, False)
    assert options == {"timeout": 20, "memory": 2, "forbidden": "zero", "unsandboxed": False}
    assert json.loads((place / "results" / "results.json").read_text())["score"] == 2.0


@pytest.mark.parametrize(
    "answer", [submission(BROKEN, status=result.GRADER_ERROR), RuntimeError("no bwrap")]
)
def test_nothing_is_written_where_the_grader_failed(place, graded, answer, capsys):
    graded["answer"] = answer
    assert gradescope.main([ROW.name]) == 3
    assert not (place / "results").exists()
    assert "not graded" in capsys.readouterr().err


@pytest.mark.parametrize("secret", [None, b"", b"x" * 31])
def test_without_a_whole_secret_nothing_is_graded(place, graded, secret):
    path = place / "source" / "grading-secret"
    path.unlink() if secret is None else path.write_bytes(secret)
    assert gradescope.main([ROW.name]) == 3
    assert graded["seen"] == [] and not (place / "results").exists()


def test_an_upload_without_a_notebook_is_the_students(place, graded):
    (place / "submission" / "lab.ipynb").rename(place / "submission" / "lab.pdf")
    assert gradescope.main([ROW.name]) == 0
    told = json.loads((place / "results" / "results.json").read_text())
    check_schema(told)
    assert told["score"] == 0 and f"{ROW.name}.ipynb" in told["output"]


def test_which_notebook_of_an_upload_counts(tmp_path):
    def put(name, content="x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)

    put("answers.py")
    put(f".ipynb_checkpoints/{ROW.name}-checkpoint.ipynb")
    put(f"__MACOSX/._{ROW.name}.ipynb")
    (tmp_path / f"{ROW.name}.ipynb").symlink_to(root() / ROW.master)
    with pytest.raises(NoNotebook, match="no notebook"):
        find_notebook(tmp_path, ROW.name)
    put("deep/a.IPYNB")
    assert find_notebook(tmp_path, ROW.name).name == "a.IPYNB"
    put("b\x1b.ipynb")
    with pytest.raises(NoNotebook, match="2 notebooks") as caught:
        find_notebook(tmp_path, ROW.name)
    assert str(caught.value).isprintable()
    put(f"deep/{ROW.name}.ipynb")
    assert find_notebook(tmp_path, ROW.name) == tmp_path / "deep" / f"{ROW.name}.ipynb"


@pytest.fixture
def autograder(packed, tmp_path):
    """The zip unpacked as Gradescope does, with this environment in the place of its own."""
    source = tmp_path / "source"
    with zipfile.ZipFile(packed) as archive:
        for info in archive.infolist():
            Path(archive.extract(info, source)).chmod(info.external_attr >> 16 & 0o777)
    (tmp_path / "venv").symlink_to(sys.prefix)
    (tmp_path / "submission").mkdir()
    shutil.copy(source / "run_autograder", tmp_path / "run_autograder")
    return tmp_path


def run_autograder(folder):
    environment = {"PATH": os.environ["PATH"], "AUTOGRADER_ROOT": str(folder)}
    environment |= {"HOME": str(folder), "OMP_NUM_THREADS": "1"}
    command = [str(folder / "run_autograder")]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_run_autograder_grades_what_was_uploaded(autograder):
    require("bwrap")
    shutil.copy(root() / ROW.lab, autograder / "submission" / "lab.ipynb")
    done = run_autograder(autograder)
    assert done.returncode == 0, done.stderr
    told = json.loads((autograder / "results" / "results.json").read_text())
    check_schema(told)
    assert told["score"] == 0 and len(told["tests"]) > 3
    assert not (autograder / "source" / "grading-secret").exists()
    assert stat.S_IMODE((autograder / "source").stat().st_mode) == 0o700
    assert run_autograder(autograder).returncode == 3  # the secret is used up: no stale results
    assert not (autograder / "results" / "results.json").exists()
