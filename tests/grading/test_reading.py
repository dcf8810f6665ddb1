"""The process that reads notebooks: its limits, what ends it, and how much of its reply is believed."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from course_lib.exercises.engine import Unit
from course_lib.grading import extract, reading
from course_lib.grading.extract import Master
from tests.grading.odd_files import CELLS, UNREADABLE
from tests.grading.small_lab import (
    MINE,
    NAMES,
    OUTLINE,
    SETUP,
    code,
    lab,
    notebook,
    question,
    raw,
    read,
    solution,
)

# the outline -------------------------------------------------------------------------------------


def test_the_outline():
    assert [e["name"] for e in OUTLINE["exercises"]] == list(NAMES)
    assert OUTLINE["exercises"][2] == {
        "name": "third",
        "forbids": ["torch.nn.LSTM", "torch.mean"],
        "uses": ["first"],
        "check": 'third = check("third", third)',
    }
    assert OUTLINE["written"] == {"why": 3.0} and OUTLINE["written_cells"] == {"why": "id-why"}
    assert OUTLINE["setup"] == [SETUP["source"]] and list(OUTLINE["given"]) == ["first"]
    assert json.loads(json.dumps(OUTLINE)) == OUTLINE


@pytest.mark.parametrize("uses", ["nothing", "alone"])
def test_uses_must_name_another_exercise(tmp_path, uses):
    unit = Unit("99_small")

    @unit.exercise(points=1, minutes=1, reference=len, uses=[uses])
    def alone(answer, case): ...

    path = tmp_path / "master.ipynb"
    cell = {**solution("alone"), "outputs": [], "execution_count": None}
    path.write_text(json.dumps(notebook([cell])))
    with pytest.raises(ValueError, match=f"alone uses '{uses}'"):
        reading.outline(unit, path)


def test_a_master_whose_setup_is_broken_is_an_error():
    with pytest.raises(ValueError, match="cannot be compiled"):
        Master({**OUTLINE, "setup": ["def f(:"]})


# the process -------------------------------------------------------------------------------------


START = "import sys, os, time, json, resource\nsys.stdin.buffer.read()\nsay = lambda d: os.write(1, d)\n"


@pytest.fixture
def submit(tmp_path):
    """Extraction in the process of its own, of cells or bytes."""

    def run(cells: list | bytes, seconds: float = 10) -> dict:
        path = tmp_path / "lab.ipynb"
        path.write_bytes(cells if isinstance(cells, bytes) else raw(cells))
        return reading.read_submission(path, OUTLINE, seconds)

    return run


def test_the_process_gives_what_the_function_gives(submit):
    cells = [*lab(first=MINE), code("def f(:"), question("x", "é 你 😀")]
    assert submit(cells) == read(cells)


@pytest.mark.parametrize("why", UNREADABLE)
def test_the_process_says_why(submit, why):
    found = submit(UNREADABLE[why][0])
    assert found["status"] == "unreadable" and why in found["reason"]


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=200) | st.lists(CELLS, max_size=4).map(raw))
def test_the_process_survives_anything(submit, data):
    assert submit(data)["status"] in ("read", "unreadable")


@pytest.mark.parametrize(
    "source",
    [
        "\n".join(f"x{i} = {i}" for i in range(20_000)),
        "(" * 100_000,
        "-" * 1_000_000 + "1",
        "x = 1" + " + 1" * 100_000,
        "x = " + "lambda: " * 3000 + "1",
        "x" + ".a" * 100_000,
        "if x:\n    pass\n" + "elif x:\n    pass\n" * 3000,
        "f'" + "{" * 5000,
        "x = 0x" + "f" * 200_000,
        "\x00",
        "\ud800",
    ],
    ids=lambda s: s[:12].encode("unicode_escape").decode(),
)
def test_a_monstrous_cell_costs_the_other_answers_nothing(submit, source):
    found = submit([*lab(), code(source)])
    assert found["status"] == "read" and found["programs"] == read(lab())["programs"]


def test_ten_thousand_cells(submit):
    found = submit([code(f"x{i} = {i}") for i in range(10_000)] + lab())
    assert found["programs"]["first"]["chunks"][-1]["cell"] == "first"


def test_too_much_time_and_too_much_memory(tmp_path, monkeypatch, submit):
    slow = submit([*lab(), *[code("x = 1\n" * 900_000)] * 3], seconds=1)
    assert slow == {"status": "unreadable", "reason": "reading the file takes too long"}
    load = f"e = SourceFileLoader('extract', {extract.__file__!r}).load_module()"
    a_reader(
        tmp_path,
        monkeypatch,
        f"from importlib.machinery import SourceFileLoader\n{load}\ne.ADDRESS_BYTES = 80 << 20\ne.main()",
        "",
    )
    large = submit(b"[" + b'{"":{}},' * 2_300_000 + b"[]]")
    assert large == {"status": "unreadable", "reason": "reading the file takes too much memory"}


def test_a_reply_that_is_too_long(submit):
    emoji = {name: f"def {name}(x):\n    return '{'😀' * 300_000}'" for name in NAMES}
    assert submit(lab(**emoji))["reason"] == "the answers are too long to be graded"


def test_only_regular_files_of_some_size_are_opened(tmp_path):
    target = tmp_path / "target.ipynb"
    target.write_bytes(raw(lab()))
    link, pipe, folder, plug = (tmp_path / name for name in ("link", "pipe", "folder", "plug"))
    link.symlink_to(target)
    os.mkfifo(pipe)
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(plug))
        for path in (link, pipe, folder, plug):
            found = reading.read_submission(path, OUTLINE)
            assert found == {"status": "unreadable", "reason": "the file is no regular file"}
    with open(target, "wb") as file:
        file.truncate(reading.NOTEBOOK_BYTES + 1)
    assert "larger than 20 MiB" in reading.read_submission(target, OUTLINE)["reason"]
    with pytest.raises(FileNotFoundError):  # not the student's fault
        reading.read_submission(tmp_path / "gone.ipynb", OUTLINE)


def a_reader(tmp_path: Path, monkeypatch, body: str, start: str = START) -> None:
    """Put another program in the reader's place."""
    place = tmp_path / "reader.py"
    place.write_text(start + body)
    monkeypatch.setattr(reading, "EXTRACT", place)


HOSTILE = {
    "crash": "say(b'READY\\n'); os.abort()",
    "garbage": "say(b'READY\\n\\xff\\xfe')",
    "cut": 'say(b\'READY\\n{"status": "rea\')',
    "deep": "say(b'READY\\n' + b'[' * 100000)",
    "nan": "say(b'READY\\n{\"status\": NaN}')",
    "other": 'say(b\'READY\\n{"status": "fine"}\')',
    "list": "say(b'READY\\n[]')",
    "number": "say(b'READY\\n' + b'9' * 10000)",
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_a_reader_that_was_taken_over_is_not_believed(tmp_path, monkeypatch, submit, body):
    a_reader(tmp_path, monkeypatch, body)
    assert submit(lab()) == {"status": "unreadable", "reason": "reading the file ends in a crash"}


def test_a_reader_that_floods_or_hangs_is_ended_with_its_children(tmp_path, monkeypatch, submit):
    a_reader(tmp_path, monkeypatch, "say(b'READY\\n')\nwhile True: say(b'x' * 65536)")
    assert submit(lab())["reason"] == "the answers are too long to be graded"
    a_reader(
        tmp_path,
        monkeypatch,
        f"say(b'READY\\n')\nchild = os.fork()\nopen({str(tmp_path / 'pid')!r} + str(child), 'w')\ntime.sleep(60)",
    )
    monkeypatch.setattr(reading, "WALL", 4)  # time enough to start, on a busy machine
    assert submit(lab(), seconds=1)["reason"] == "reading the file takes too long"
    pids = {int(path.name[3:]) for path in tmp_path.glob("pid*")} - {0}
    assert len(pids) == 1 and not any(_alive(pid) for pid in pids)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_reader_that_does_not_start_is_the_graders_fault(tmp_path, monkeypatch, submit):
    a_reader(tmp_path, monkeypatch, "sys.exit(3)")
    with pytest.raises(reading.ReaderError, match="did not start"):
        submit(lab())
    monkeypatch.setattr(reading.sys, "executable", "/no/such/python")
    with pytest.raises(reading.ReaderError, match="cannot be started"):
        submit(lab())


def test_the_reader_has_no_surroundings(tmp_path, monkeypatch, submit):
    monkeypatch.setenv("COURSE_SECRET_FILE", "/secret")
    say = "say(b'READY\\n' + json.dumps({'status': 'unreadable', 'reason': str(facts)}).encode())"
    facts = "facts = sorted(os.environ), sys.flags.isolated, sys.flags.no_site, os.getsid(0) == os.getpid()"
    a_reader(tmp_path, monkeypatch, f"{facts}\n{say}")
    known, isolated, no_site, leader = eval(submit(lab())["reason"])
    assert set(known) <= {"LC_CTYPE"} and isolated and no_site and leader


def test_the_limits_hold_in_the_process(tmp_path, monkeypatch, submit):
    here = extract.__file__
    body = (
        f"import importlib.util\nspec = importlib.util.spec_from_file_location('extract', {here!r})\n"
        "e = importlib.util.module_from_spec(spec); spec.loader.exec_module(e); e.limit(7)\n"
        "names = ('AS', 'CPU', 'FSIZE', 'NPROC')\n"
        "facts = [resource.getrlimit(getattr(resource, 'RLIMIT_' + n))[1] for n in names]\n"
        "say(b'READY\\n' + json.dumps({'status': 'unreadable', 'reason': str(facts)}).encode())"
    )
    a_reader(tmp_path, monkeypatch, body)
    assert eval(submit(lab())["reason"]) == [1 << 30, 7, 0, 0]


BAD_REPLIES = {
    "a program too few": lambda r: r["programs"].pop("first"),
    "one too many": lambda r: r["programs"].update(fourth=r["programs"]["first"]),
    "a status of its own": lambda r: r["programs"]["first"].update(status="passed"),
    "a digest that is none": lambda r: r["programs"]["first"].update(digest="../../x"),
    "chunks without an answer": lambda r: r["programs"]["first"].update(status="missing"),
    "a line that is a text": lambda r: r["programs"]["first"].update(line="3"),
    "a line below zero": lambda r: r["programs"]["first"].update(cell_lines=-3),
    "a truth for a line": lambda r: r["programs"]["first"].update(line=True),
    "a chunk that is none": lambda r: r["programs"]["first"]["chunks"].append(3),
    "a source that is none": lambda r: r["programs"]["first"]["chunks"][0].update(source=None),
    "half a character": lambda r: r["programs"]["first"]["chunks"][0].update(source="\ud800"),
    "another future": lambda r: r["programs"]["first"].update(future=["barry_as_FLUFL"]),
    "a written answer of its own": lambda r: r["written"].update(other="text"),
    "a written list": lambda r: r["written"].update(why=["text"]),
    "notes that are none": lambda r: r.update(notes="text"),
    "too many notes": lambda r: r.update(notes=["text"] * 100),
    "no notes": lambda r: r.pop("notes"),
    "no reason": lambda r: r.update(status="unreadable"),
}


@pytest.mark.parametrize("spoil", BAD_REPLIES.values(), ids=BAD_REPLIES)
def test_the_shape_of_a_reply_is_checked(spoil):
    reply = json.loads(json.dumps(read(lab())))
    assert reading._believed(reply, OUTLINE)
    spoil(reply)
    with pytest.raises(reading._Wrong):
        reading._believed(reply, OUTLINE)


def test_what_is_shown_of_a_reply_is_plain():
    reply = read(lab()) | {"notes": ["a\x1b[31m\nb" + "x" * 999]}
    (note,) = reading._believed(reply, OUTLINE)["notes"]
    assert note.isprintable() and len(note) == 300
