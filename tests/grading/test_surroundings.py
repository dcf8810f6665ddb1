"""What people leave around a right answer in a notebook, none of which takes a point from it."""

from __future__ import annotations

import pytest

from course_lib.grading import result
from tests.grading.notebooks import GIN, grade, grade_one, solved, source_of
from tests.grading.other_answers import DEF, Other

AROUND = {
    "magics, shell lines and help around it": Other(
        "gin_aggregate",
        "%matplotlib inline\n!pip install nothing\n"
        + GIN
        + "\n%timeit gin_aggregate(h, a, 0.5)\ngin_aggregate?\n",
        before=(
            "%load_ext autoreload\n%autoreload 2",
            "%%bash\nls",
            "files = !ls",
            "%%html\n<b>x</b>",
        ),
    ),
    "a timed cell": Other("gin_aggregate", "%%time\n" + GIN),
    "a failing demonstration after it": Other(
        "gin_aggregate", GIN + "\ngin_aggregate(torch.ones(2, 2))\nundefined_name\nassert False\n"
    ),
    "a failing line before it": Other("gin_aggregate", "print(not_there)\n" + GIN),
    "sys.exit at its end": Other("gin_aggregate", "import sys\n" + GIN + "\nsys.exit(0)\n"),
    "quit at its end": Other("gin_aggregate", GIN + "\nquit()\n"),
    "a plot below it": Other(
        "gin_aggregate",
        "import matplotlib.pyplot as plt\nimport seaborn as sns\n"
        + GIN
        + "\nfig, axes = plt.subplots(2)\naxes[0].plot(gin_aggregate(torch.ones(1), SEED, 0.1))\nplt.show()\n",
    ),
    "packages that the sandbox has not": Other(
        "gin_aggregate",
        "import scipy, pandas as pd, sklearn.metrics\nimport torch_geometric\n" + GIN,
    ),
    "helpers and constants in other cells": Other(
        "gin_aggregate",
        DEF + "    return total(h, eps) + around(h, adjacency)\n",
        before=("ONE = 1", "def total(h, eps): return (ONE + eps) * h"),
        after=("def around(h, adjacency):\n    return torch.matmul(adjacency, h) * ONE",),
    ),
    "an import in a later cell": Other(
        "gin_aggregate",
        DEF + "    return add((1 + eps) * h, np.float32(1.0) * (adjacency @ h))\n",
        after=("import numpy as np\nfrom operator import add",),
    ),
    "names bound anew": Other(
        "gin_aggregate",
        "def first(h, a, e):\n    return scale * (h + e * h) + a @ h\n\ngin_aggregate = first\ngin = gin_aggregate\n",
        before=("scale = 2", "scale = 1.0"),
        after=("first = None if False else first",),
    ),
    "an old try above the right one in the same cell": Other(
        "gin_aggregate", DEF + "    return h\n\n" + GIN
    ),
    "check called by another spelling": Other(
        "gin_aggregate",
        GIN + '\nunit.check("gin_aggregate", gin_aggregate)\n',
        after=(
            "from course_lib.exercises import graph_networks as lab",
            'gin_aggregate = lab.check("gin_aggregate", answer=gin_aggregate, substitute=False)',
            "c = check\nc('gin_aggregate', gin_aggregate)",
            "checked = [check(n, globals()[n]) for n in ('gin_aggregate',)]",
        ),
    ),
    "float64 as the default, set at the top": Other(
        "gin_aggregate", GIN, before=("torch.set_default_dtype(torch.float64)",)
    ),
    "a default dtype that the answer's cell sets": Other(
        "GCNLayer", "torch.set_default_dtype(torch.float64)\n" + source_of("GCNLayer")
    ),
    "gradients switched off at the top of its cell": Other(
        "gin_aggregate", "torch.set_grad_enabled(False)\n" + GIN
    ),
    "warnings as errors": Other(
        "gin_aggregate", GIN, before=('import warnings\nwarnings.simplefilter("error")',)
    ),
    "seeds and threads": Other(
        "sampled_sum",
        "torch.manual_seed(0); torch.set_num_threads(4)\n" + source_of("sampled_sum"),
    ),
    "a script's last lines": Other(
        "gin_aggregate",
        GIN
        + '\nif __name__ == "__main__":\n    print(gin_aggregate(torch.ones(1, 1), torch.zeros(1, 1), 1))\n',
    ),
    "await, which notebooks allow": Other(
        "gin_aggregate", "import asyncio\n" + GIN + "\nawait asyncio.sleep(0)\n"
    ),
    "Windows line ends and tabs": Other(
        "gin_aggregate", (DEF + "\treturn (1 + eps) * h + adjacency @ h\n").replace("\n", "\r\n")
    ),
    "letters beyond ASCII": Other(
        "gin_aggregate",
        "# Größe → ε\ndef gin_aggregate(h, adjacency, ε):\n    '''Σ'''\n    return (1 + ε) * h + adjacency @ h\n",
    ),
}


@pytest.mark.parametrize("other", AROUND.values(), ids=AROUND)
def test_what_stands_around_a_right_answer_takes_nothing_from_it(grader, tmp_path, other):
    done = grade_one(grader, tmp_path, other.name, other.source, other.before, other.after)
    assert (done.status, done.outcome, done.earned) == (result.GRADED, result.PASSED, done.points)
    assert done.forbidden == ()


def test_a_notebook_without_any_metadata_keeps_full_marks(grader, tmp_path):
    notebook = solved()
    notebook["cells"] = [
        {**c, "metadata": {}, "id": f"c{i}"} for i, c in enumerate(notebook["cells"])
    ]
    done = grade(grader, tmp_path, notebook)
    assert sum(e.earned or 0 for e in done.exercises) == sum(
        e.points for e in done.exercises if e.earned is not None
    )
    assert "lost their metadata" in done.notes[0]
