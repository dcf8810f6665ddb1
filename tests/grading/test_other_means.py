"""Right answers by other means than the master's, as people write them: each keeps full marks."""

from __future__ import annotations

import pytest

from course_lib.grading import result
from tests.grading.notebooks import grade, grade_one, solved
from tests.grading.other_answers import ANSWERS, BODY, DEF, MEAN, Other

OTHERS = ANSWERS | {
    "noise on both streams": Other(
        "gin_aggregate",
        "import sys, warnings\n" + DEF + '    print("h", h)\n'
        '    print("e" * 5000, file=sys.stderr)\n    warnings.warn("slow")\n    torch.tensor(h)\n'
        + BODY,
    ),
    "assertions and type hints": Other(
        "gin_aggregate",
        "from __future__ import annotations\n\n"
        "def gin_aggregate(h: Tensor, adjacency: NoSuchThing | None, eps: float = 0.0) -> Tensor:\n"
        "    assert h.dim() == 2 and adjacency.shape == (len(h), len(h)), 'shapes'\n" + BODY,
    ),
    "type hints of modules that the setup does not have": Other(
        "gin_aggregate",
        "from typing import Optional\nfrom torch import Tensor\n\n"
        "def gin_aggregate(h: Tensor, adjacency: Optional[Tensor], eps: 'float') -> Tensor:\n"
        + BODY,
    ),
    "lambda": Other(
        "gin_aggregate", "gin_aggregate = lambda h, adjacency, eps: (1 + eps) * h + adjacency @ h"
    ),
    "partial": Other(
        "gin_aggregate",
        "from functools import partial\n\ndef general(self_weight, h, adjacency, eps):\n"
        "    return (self_weight + eps) * h + adjacency.matmul(h)\n\ngin_aggregate = partial(general, 1)\n",
    ),
    "a decorator of one's own, from another cell": Other(
        "gin_aggregate",
        "@timed\n@torch.enable_grad()\n" + DEF + BODY,
        before=(
            "import functools, time\n\ndef timed(f):\n    @functools.wraps(f)\n"
            "    def inner(*a, **k):\n        began = time.perf_counter()\n        out = f(*a, **k)\n"
            "        times.append(time.perf_counter() - began)\n        return out\n    return inner\n",
            "times = []",
        ),
    ),
    "recursion and a cache": Other(
        MEAN,
        """from functools import lru_cache

def neighbor_mean(x, edge_index):
    pairs = edge_index.T.tolist()
    @lru_cache(maxsize=None)
    def received(v, k):
        if k == 0:
            return torch.zeros(x.shape[1]), 0
        total, count = received(v, k - 1)
        source, target = pairs[k - 1]
        return (total + x[source], count + 1) if target == v else (total, count)
    for k in range(len(pairs)):
        received(0, k)
    return torch.stack([(lambda t, c: t / max(c, 1))(*received(v, len(pairs))) for v in range(len(x))])
""",
    ),
    "a dataclass, a generator and a match": Other(
        MEAN,
        """from dataclasses import dataclass, field

@dataclass
class Inbox:
    got: list = field(default_factory=list)
    def mean(self, empty):
        match self.got:
            case []:
                return empty
            case many:
                return sum(many) / len(many)

def messages(x, edge_index):
    for s, t in zip(*edge_index):
        yield int(t), x[s]

def neighbor_mean(x, edge_index):
    inboxes = [Inbox() for _ in x]
    for target, message in messages(x, edge_index):
        inboxes[target].got.append(message)
    return torch.stack([b.mean(torch.zeros_like(x[0])) for b in inboxes])
""",
    ),
    "a callable object": Other(
        "gin_aggregate",
        "class Gin:\n    def __call__(self, h, adjacency, eps):\n    "
        + BODY
        + "\ngin_aggregate = Gin()\n",
    ),
    "a module used as a function": Other(
        "gin_aggregate",
        "class Gin(nn.Module):\n    def forward(self, h, adjacency, eps):\n    "
        + BODY
        + "\ngin_aggregate = Gin().eval()\n",
    ),
    "other parameter names, star arguments": Other(
        "gin_aggregate",
        "def gin_aggregate(*args, **more):\n    x, a, e = args\n    return x + e * x + a @ x\n",
    ),
    "underscore, walrus and a semicolon": Other(
        "gin_aggregate", DEF + "    _ = (n := len(h)); return (1 + eps) * h + adjacency[:n] @ h"
    ),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_a_right_answer_by_other_means_keeps_full_marks(grader, tmp_path, other):
    done = grade_one(grader, tmp_path, other.name, other.source, other.before, other.after)
    assert (done.status, done.outcome, done.earned) == (result.GRADED, result.PASSED, done.points)


def test_a_whole_lab_by_other_means_keeps_full_marks(grader, tmp_path):
    """All answers at once, so that one exercise's helpers and habits meet another's."""
    chosen = {o.name: o.source for o in OTHERS.values() if not o.before and not o.after}
    notebook = solved(**chosen)
    notebook["cells"] = [c for c in notebook["cells"] if not c.get("outputs")]
    done = grade(grader, tmp_path, notebook)
    scored = [e for e in done.exercises if e.earned is not None]
    assert [e.exercise for e in scored if e.outcome != result.PASSED] == []
    assert sum(e.earned for e in scored) == sum(e.points for e in scored)
