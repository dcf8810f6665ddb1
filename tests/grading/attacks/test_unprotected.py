"""The attacks are real: a grader that runs an answer in its own process falls for them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from course_lib.course_map import root
from tests.grading.attacks.leaving import PAIRS
from tests.grading.attacks.test_attacks import ATTACKS
from tests.grading.attacks.world import World
from tests.requirements import require

REAL = {attack.name: [attack.source, attack.naive] for attack in ATTACKS if attack.naive}
REAL |= {
    f"left behind: {pair.name}": [
        pair.first.source,
        "gin_aggregate(*ASKED) is not None",
        pair.second.source,
        "attack()",
    ]
    for pair in PAIRS
}


@pytest.fixture(scope="module")
def said():
    """What became of each attack where nothing protects the grader."""
    require("bwrap")  # where the suite cannot run, its proof is of no use
    with World() as world:
        texts = [[world.fill(text) for text in texts] for texts in REAL.values()]
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("unprotected.py")), world.marker],
            input=json.dumps(texts),
            capture_output=True,
            text=True,
            cwd=root(),
            env={**os.environ, "PYTHONPATH": str(root()), "COURSE_SECRET_FILE": "somewhere"},
            timeout=300,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(REAL, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.mark.parametrize("name", REAL)
def test_an_attack_works_where_nothing_protects_the_grader(said, name):
    assert said[name] is True
