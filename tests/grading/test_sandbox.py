"""The sandbox's basics: what a case finds inside, that each is fresh, how it ends, and what is left of it.

Hostile code is in tests/grading/attacks.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
import torch

from course_lib.course_map import find_unit
from course_lib.exercises.compare import Raised
from course_lib.grading import allowed, cgroups, reply, sandbox, wire
from course_lib.grading.case import CaseEnded, CaseProcess
from course_lib.grading.grade import Grader
from course_lib.grading.plain import PlainSandbox
from course_lib.grading.policy import Policy
from course_lib.grading.sandbox import Sandbox, SandboxError
from tests.requirements import require

TOKEN = "t" * 32
SLUG = "graph_networks"
ONE = {
    "op": "call",
    "name": None,
    "on": 0,
    "result": 1,
    "args": {"list": []},
    "kwargs": {"dict": []},
}


def begin(process: CaseProcess, source: str, seed: int = 1) -> dict:
    """Send a program of one cell, whose answer is `f`; returns what the worker says when it is ready."""
    program = {"chunks": [{"cell": "c", "line": 1, "source": source}], "future": []}
    process.send(wire.frame({**program, "token": TOKEN, "answer": "f", "seed": seed}, []))
    return wire.read_frame(*process.receive(0))[0]


def call(process: CaseProcess, room: int = 1 << 20) -> Any:
    """What f() returns."""
    process.send(wire.frame({**ONE, "token": TOKEN}, []))
    return reply.read_reply(*wire.read_frame(*process.receive(room)), TOKEN)


def run(box: Sandbox, *lines: str, top: str = "", seconds: float = 20) -> Any:
    """What a function with these lines returns inside of a fresh case."""
    body = "".join(f"    {line}\n" for line in lines)
    with box.case(seconds) as process:
        assert begin(process, f"{top}\ndef f():\n{body}")["there"] is True
        return call(process)


def slot() -> int:
    return 900 + os.getpid() % 100


@pytest.fixture(scope="module", params=[True, False], ids=["groups", "no-groups"])
def box(request):
    """A sandbox with control groups, where they can be had, and one without."""
    require("bwrap")
    os.environ["A_SECRET_OF_MINE"] = "x"
    with Sandbox(
        [SLUG], memory=0.5, slot=slot() + 100 * request.param, groups=request.param
    ) as made:
        del os.environ["A_SECRET_OF_MINE"]
        assert request.param or made.group is None
        yield made


# what is inside ----------------------------------------------------------------------------------


def test_values_go_in_and_out(box):
    assert run(box, "return (1, 2.5, 'x', None, True)") == (1, 2.5, "x", None, True)
    got = run(box, "return {'a': [torch.arange(3)]}", top="import torch")
    assert torch.equal(got["a"][0], torch.arange(3))


def test_what_a_notebook_imports_is_there(box):
    top = "import torch, numpy, tqdm, tqdm.auto, matplotlib, matplotlib.pyplot as plt, ipywidgets\n"
    top += "from IPython.display import display\nfrom course_lib import plots, training, widgets\n"
    top += "from course_lib.data import citation_graph, karate_club, Graph\n"
    top += f"from course_lib.exercises.{SLUG} import check, unit\n"
    lines = "with plots.figure('x', alt='y') as ax: ax.plot(1)", "plt.plot([1])"
    assert run(
        box, *lines, "return [check('f', 3), citation_graph(300, 3, 60).num_nodes]", top=top
    ) == [
        3,
        300,
    ]


@pytest.mark.parametrize(
    "name",
    ["course_lib.graphs", "course_lib.grading", f"course_lib.exercises.{SLUG}.reference"]
    + ["course_lib.exercises.engine", "torch_geometric", "networkx", "sklearn", "scipy", "pytest"],
)
def test_what_holds_answers_is_absent(box, name):
    got = run(box, f"import {name}")
    assert isinstance(got, Raised) and got.kind in ("ModuleNotFoundError", "ImportError")


def test_one_thread_no_user_no_home_no_variables(box):
    lines = "return [torch.get_num_threads(), os.getuid() > 0, os.getpid(), os.getcwd(), dict(os.environ)]"
    threads, plain_user, pid, folder, environment = run(box, lines, top="import os, torch")
    assert (threads, plain_user, pid, folder) == (1, True, 1, "/tmp")
    assert "A_SECRET_OF_MINE" not in environment and environment["HOME"] == "/tmp"


def test_the_repository_and_the_home_folder_are_not_there(box):
    here, home = str(sandbox.HERE.parents[1]), os.path.expanduser("~")
    lines = (
        f"return [os.path.exists(p) for p in ({here + '/course.toml'!r}, {home + '/.config'!r})]"
    )
    assert run(box, lines, top="import os") == [False, False]


def test_the_seed_decides_unseeded_numbers(box):
    source = "import torch, random, numpy\ndef f():\n    return [torch.rand(2), random.random(), numpy.random.rand(2)]"

    def drawn(seed: int) -> Any:
        with box.case(20) as process:
            begin(process, source, seed)
            return str(call(process)), str(call(process))

    first, again = drawn(1)
    assert first == again and drawn(1) == (first, first)
    assert drawn(2)[0] != first


# cases -------------------------------------------------------------------------------------------


def test_each_case_is_fresh(box):
    leave = (
        "open('/tmp/left', 'w').write('x'); torch.left = 1; torch.set_default_dtype(torch.float64)"
    )
    look = "return [os.listdir('/tmp'), hasattr(torch, 'left'), str(torch.ones(1).dtype)]"
    for _ in range(2):
        assert run(box, look, top="import os, torch") == [[], False, "torch.float32"]
        run(box, leave, top="import torch")


def test_an_error_in_a_cell_is_told_and_the_answer_may_still_be_there(box):
    with box.case(20) as process:
        ready = begin(process, "def f():\n    return 7\n\n1 / 0")
        (error,) = ready["errors"]
        assert ready["there"] is True and (error["kind"], error["line"]) == ("ZeroDivisionError", 4)
        assert call(process) == 7
    with box.case(20) as process:
        assert begin(process, "x = 1 / 0\ndef f(): return x")["there"] is False


def test_printing_goes_nowhere_and_disturbs_nothing(box):
    lines = "for out in (sys.stdout, sys.stderr): print('x' * 100_000, file=out, flush=True)"
    assert (
        run(box, lines, "os.write(1, b'x'); os.write(2, b'x')", "return 1", top="import os, sys")
        == 1
    )
    assert run(box, "return sys.stdin.read()", top="import sys") == ""


def test_a_timeout_a_crash_and_too_much_memory_end_the_case_alone(box):
    ends = {
        "timeout": ("while True: pass",),
        "crashed": ("os._exit(3)",),
        "out_of_memory": ("return len(bytearray(900 << 20))",),
    }
    for status, lines in ends.items():
        with pytest.raises(CaseEnded) as ended:
            got = run(box, *lines, top="import os", seconds=1 if status == "timeout" else 20)
            assert (
                isinstance(got, Raised) and got.kind == "MemoryError"
            )  # no group, and refused at once
            raise CaseEnded("out_of_memory", "")
        assert ended.value.status == status
        assert run(box, "return 5") == 5


def test_nothing_of_a_case_is_left_when_it_ends(box):
    lines = "pid = os.fork()", "if pid == 0: time.sleep(600)", "return pid"
    before = set(cgroups.descendants(box.process.pid))
    assert run(box, *lines, top="import os, time") > 1
    assert set(cgroups.descendants(box.process.pid)) == before


def test_waiting_for_the_student_is_counted(box):
    with box.case(20) as process:
        begin(process, "import time\ndef f(): time.sleep(0.3)")
        before = process.waited
        assert call(process) is None
        assert process.waited - before >= 0.3


# starting and closing ----------------------------------------------------------------------------


def test_closing_ends_every_process_and_takes_folder_and_group_away():
    require("bwrap")
    box = Sandbox([SLUG], memory=0.5, slot=slot() - 100)
    box.start()
    try:
        pids, folder, group = cgroups.descendants(box.process.pid), box.folder, box.group
        assert len(pids) >= 2 and folder.is_dir()
        case = box.case(20)
        begin(case, "f = 1")
    finally:
        box.close()
    box.close()
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert not folder.exists()
    assert group is None or not any(f.exists() for f in group.folders.values())


def test_a_machine_without_bubblewrap_is_told_what_to_do(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxError, match=r"bwrap.* not found: apt-get install bubblewrap"):
        Sandbox([SLUG])
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    with pytest.raises(SandboxError, match=r"needs Linux.*--unsandboxed"):
        Sandbox([SLUG])


def test_a_package_that_is_not_installed_is_named_before_anything_starts():
    require("bwrap")
    box = Sandbox([SLUG], packages=["no_such_package"], slot=slot() - 100)
    with pytest.raises(SandboxError, match="pip install no_such_package"):
        box.start()
    assert box.process is None and not box.folder.exists()


@pytest.mark.parametrize("where", ["write_course", "interpreter_places"])
def test_an_order_to_stop_while_it_starts_leaves_no_folder(monkeypatch, where):
    """Before there is a process, and as the workers of a grading are told to stop: by an exception anywhere."""
    require("bwrap")

    def stopped(*_: object) -> None:
        raise SystemExit

    grader = Grader(find_unit("5"), b"key", Policy(), slot() - 100)
    monkeypatch.setattr(allowed, where, stopped)
    with pytest.raises(SystemExit), grader:
        grader.ready()
    assert grader.sandbox.process is None and not grader.sandbox.folder.exists()


def test_a_unit_may_show_more_packages_and_modules():
    assert [name for _, name in allowed.package_places(["packaging"])][-1] == "packaging"
    box = PlainSandbox([SLUG], packages=["packaging", "course_lib.data.karate"])
    assert (box.packages, box.modules) == (("packaging",), ("data.karate",))


def test_without_a_sandbox_the_same_program_gives_the_same():
    with PlainSandbox([SLUG]) as box:
        assert box.kind == "unsandboxed" != Sandbox.kind
        assert run(box, "return [torch.get_num_threads(), 2.5]", top="import torch") == [1, 2.5]
        with pytest.raises(CaseEnded) as ended:
            run(box, "while True: pass", seconds=1)
        assert ended.value.status == "timeout"
        assert run(box, "return 5") == 5
