"""The `course` command: help, clear errors, exit codes."""

import json
import socket

import pytest
from typer.testing import CliRunner

from course_lib import cli
from course_lib.commands import lab
from course_lib.course_map import MapError, UnitRow, find_unit, load_map
from course_lib.exercises import progress
from tests.requirements import require
from tests.sample import NAME, _run, copy, course
from tests.server import get, serving

COMMANDS = ("lab", "check", "progress", "doctor", "release", "new-unit", "bench", "bench notebooks")


def invoke(*arguments):
    """Run the command in this process; a traceback fails the test."""
    done = CliRunner().invoke(cli.app, arguments)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    done = invoke(*command.split(), "--help")
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_unknown_commands_and_options_are_wrong_requests():
    assert invoke("grill").exit_code == 2
    assert invoke("lab", "--port", "70000").exit_code == 2
    assert invoke("check").exit_code == 2
    assert invoke("release", "--check", "--student", "x").exit_code == 2


@pytest.mark.parametrize("content", [None, "", "no json", "{}", "[" * 100_000])
def test_check_of_no_notebook_is_one_clear_line(tmp_path, content):
    path = tmp_path / "lab.ipynb"
    if content is not None:
        path.write_text(content)
    done = invoke("check", str(path))
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(path) in done.stderr


def test_check_prints_zero_and_a_hint_for_the_lab(sample_course):
    done = course(sample_course, "check", f"labs/{NAME}/{NAME}.ipynb")
    assert done.returncode == 0, done.stderr
    assert "0 of 1" in done.stdout
    assert "not attempted" in done.stdout
    assert "Which axis counts the rows?" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert "note:" not in done.stdout


def test_check_names_the_mistake(sample_course, tmp_path):
    path = tmp_path / "mine.ipynb"
    lab_text = (sample_course / f"labs/{NAME}/{NAME}.ipynb").read_text()
    path.write_text(lab_text.replace("raise NotImplementedError()", "return x.sum(dim=0)"))
    done = course(sample_course, "check", str(path))
    assert done.returncode == 0, done.stderr
    assert "0 of 1" in done.stdout
    assert "did not divide by their number" in done.stdout


def test_progress_shows_what_was_recorded(monkeypatch):
    row = load_map()[0]
    first = next(iter(__import__(row.module, fromlist=["unit"]).unit.exercises.values()))
    monkeypatch.setenv("COLUMNS", "200")
    before = invoke("progress")
    assert before.exit_code == 0
    assert "passed" not in before.stdout
    progress.record(row.name, first.name, "passed", first.points, first.points)
    line = next(s for s in invoke("progress").stdout.splitlines() if first.name in s)
    assert "passed" in line
    assert f"{first.points:g} of {first.points:g}" in line


def test_doctor_finds_this_machine_fit(monkeypatch, tmp_path):
    monkeypatch.delenv("COURSE_DATA", raising=False)
    done = invoke("doctor")
    assert done.exit_code == 0, done.output
    for word in ("Python", "torch", "device", "data", "disk", "Chromium", "bubblewrap"):
        assert word in done.stdout
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "absent"))
    done = invoke("doctor")
    assert done.exit_code == 1
    assert "data" in done.stderr


def test_the_map_finds_units_by_number_slug_and_name():
    row = UnitRow(5, "graph_networks", "", "", {}, {}, (), ())
    for text in ("5", "05", "graph_networks", "05_graph_networks"):
        assert find_unit(text, (row,)) is row
    with pytest.raises(MapError, match="05_graph_networks"):
        find_unit("6", (row,))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[unit]", "not valid TOML"),
        ("[[unit]]\nnumber = 1", "lacks slug"),
        (None, "cannot be read"),
    ],
)
def test_a_broken_map_is_said(tmp_path, text, said):
    if text is not None:
        (tmp_path / "course.toml").write_text(text)
    with pytest.raises(MapError, match=said):
        load_map(tmp_path)


def test_a_map_with_typing_errors_is_said(sample_course, tmp_path):
    text = (sample_course / "course.toml").read_text()
    for old, new, said in (
        ("summary =", "sumary =", "lacks summary"),
        ("title =", 'colour = "red"\ntitle =', "unknown colour"),
        ("lecture = 60, ", "", "lecture and lab"),
        ("[[unit]]", text + "\n[[unit]]", "stands there twice"),
    ):
        (tmp_path / "course.toml").write_text(text.replace(old, new))
        with pytest.raises(MapError, match=said):
            load_map(tmp_path)


def test_lab_refuses_an_unknown_unit_and_a_taken_port(sample_course, tmp_path):
    folder = copy(sample_course, tmp_path / "course")
    done = course(folder, "lab", "77")
    assert done.returncode == 2
    assert NAME in done.stderr
    assert not (folder / "work").exists()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = course(folder, "lab", "90", "--no-browser", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "taken" in done.stderr
    assert (folder / f"work/labs/{NAME}/{NAME}.ipynb").is_file()


def test_lab_says_when_the_data_folder_is_none(sample_course, tmp_path):
    folder = copy(sample_course, tmp_path / "course")
    done = course(folder, "lab", "--no-browser", COURSE_DATA="no/such/folder")
    assert done.returncode == 2
    assert "COURSE_DATA" in done.stderr


def test_lab_in_a_read_only_work_folder_is_a_clear_error(sample_course, tmp_path):
    bwrap = require("bwrap")
    folder = copy(sample_course, tmp_path / "course")
    work = folder / "work"
    work.mkdir()
    script = "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)"
    inner = [str(bwrap), "--dev-bind", "/", "/", "--ro-bind", str(work), str(work), "--chdir"]
    inner += [str(folder), lab.sys.executable, "-m", "course_lib.cli", "lab", "--no-browser"]
    (folder / "starter.py").write_text(script)
    done = _run(folder, ["starter", *inner])
    assert done.returncode == 2, done.stdout + done.stderr
    assert "writable" in done.stderr
    assert "Traceback" not in done.stderr


def test_lab_command_line(tmp_path, monkeypatch):
    row = UnitRow(5, "graph_networks", "", "", {}, {}, (), ())
    monkeypatch.setattr(lab.os, "geteuid", lambda: 0)
    command = lab.jupyter_command(tmp_path, row, browser=False, port=8899)
    assert command[1:3] == ["-m", "jupyterlab"]
    assert f"--ServerApp.root_dir={tmp_path}" in command
    assert any(
        part.endswith("/lab/tree/labs/05_graph_networks/05_graph_networks.ipynb")
        for part in command
    )
    assert {"--no-browser", "--port=8899", "--ServerApp.port_retries=0", "--allow-root"} <= {
        *command
    }
    monkeypatch.setattr(lab.os, "geteuid", lambda: 1000)
    assert not {"--allow-root", "--no-browser"} & {*lab.jupyter_command(tmp_path)}


def test_lab_makes_a_relative_data_folder_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("COURSE_DATA", "data")
    lab.absolute_data_folder()
    assert lab.os.environ["COURSE_DATA"] == str(tmp_path / "data")


def test_lab_answers_on_its_port_and_serves_the_lab(sample_course, tmp_path):
    folder = copy(sample_course, tmp_path / "course")
    with serving(folder, tmp_path / "log.txt", "sample") as address:
        status, text = get(f"{address}/api/contents/labs/{NAME}/{NAME}.ipynb")
        assert status == 200
        assert "row_mean" in json.dumps(json.loads(text)["content"])
        assert get(f"{address}/api/contents/solutions")[0] == 404
        assert get(f"{address}/lab/tree/labs/{NAME}/{NAME}.ipynb")[0] == 200
