"""The attacks are real: a grader that runs an answer in its own process falls for them.

This machine does not: the grader and the attacks see it read-only, but for a folder of this test.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from course_lib.course_map import root
from tests.grading.attacks.leaving import CALLS, PAIRS
from tests.grading.attacks.test_attacks import ATTACKS
from tests.grading.attacks.world import World
from tests.requirements import require

# What an ordinary user cannot do to begin with.
FOR_ROOT = {
    "raising its limits",
    "becoming root",
    "settings of the kernel",
    "making a device",
    "a new root",
    "the kernel's log",
    "left behind: the host's name",
}
SPEAKS = """
import os, time
reader, writer = os.pipe()
if os.fork() == 0:
{}
    f()
    os.write(writer, b"x")
    time.sleep(3)
    os._exit(0)
os.read(reader, 1)
"""
REAL = {attack.name: [attack.source, attack.naive] for attack in ATTACKS if attack.naive}
for pair in PAIRS:
    called = "gin_aggregate(*ASKED) is not None"
    REAL[f"left behind: {pair.name}"] = [pair.first.source, called, pair.second.source, "attack()"]
for call in CALLS:
    speaks = SPEAKS.format(indent(call.speaks, "    "))
    REAL[f"at once: {call.name}"] = [call.hears, "True", speaks, "f()"]


def read_only(world: World) -> list[str]:
    """The beginning of a command that cannot change anything but the world's folder."""
    command = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    command += ["--tmpfs", "/tmp", "--bind", str(world.canary), str(world.canary)]
    for place in {str(root()), sys.prefix, sys.base_prefix}:
        command += ["--ro-bind", place, place]
    command += ["--unshare-ipc", "--unshare-uts", "--unshare-pid", "--die-with-parent"]
    return [*command, "--new-session", "--cap-add", "ALL", "--chdir", str(world.canary)]


@pytest.fixture(scope="module")
def said():
    """What became of each attack where nothing protects the grader."""
    require("bwrap")
    program = str(Path(__file__).with_name("unprotected.py"))
    with World() as world:
        texts = [[world.fill(text) for text in texts] for texts in REAL.values()]
        done = subprocess.run(
            [*read_only(world), "--", sys.executable, program, world.marker],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(root()), "COURSE_SECRET_FILE": "somewhere"},
            timeout=300,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(REAL, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("name", REAL)
def test_an_attack_works_where_nothing_protects_the_grader(said, name):
    if name in FOR_ROOT and os.geteuid() != 0:
        pytest.skip("only root can do this to begin with")
    assert said[name] is True
