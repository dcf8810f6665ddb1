"""Grading is repeatable: another time, another process, another order or number of processes, and the same results."""

import json
import random

import pytest

from course_lib.grading.batch import Job, grade_all
from course_lib.grading.policy import Policy
from course_lib.grading.report import student_view
from tests.grading import notebooks, runs
from tests.requirements import require

POLICY = Policy(timeout=60, memory=1)
KEY = b"k" * 32
RANDOM = f"def {runs.GIN}(h, adjacency, eps):\n    return torch.rand_like(h)"


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """Every kind of submission, the whole solved lab and the lab as released among them."""
    require("bwrap")
    folder = tmp_path_factory.mktemp("submissions")
    row = notebooks.UNIT
    half = notebooks.solved(
        gin_aggregate=runs.WRONG,
        told_apart=None,
        GCNLayer="class GCNLayer(nn.Linear):\n    pass",
        sampled_sum="def sampled_sum(h, q, k, draws, generator):\n    return h.sum(0)[None].repeat(draws, 1)",
        node_classifier="def node_classifier(x, *rest):\n    return torch.rand(len(x), 3)",
    )
    kinds = [
        notebooks.solved(),
        half,
        json.loads((notebooks.root() / row.lab).read_text()),
        runs.RIGHT,
        runs.WRONG,
        runs.RAISES,
        RANDOM,
        b"{",
        f"{runs.RIGHT}\n\nimport os; os._exit(1)",
    ]
    return [
        Job(n, runs.UNIT, runs.submit(folder, f"s{n}", kind), attempt=1 + n % 2)
        for n, kind in enumerate(kinds)
    ]


def graded(jobs, workers):
    """{number of the job: all that was said of it, in JSON, but for times}, whole and as the student reads it."""
    found = {}
    for done in grade_all(jobs, POLICY, KEY, workers):
        assert done.error == ""
        views = done.result.to_json(), student_view("ada", done.result)
        text = json.dumps([runs.timeless(view) for view in views], sort_keys=True)
        found.setdefault(done.job.number, set()).add(text)
    return found


@pytest.fixture(scope="module")
def twice(jobs):
    """Each job graded twice by one process, in another order the second time."""
    return graded([*jobs, *reversed(jobs)], 1)


def test_grading_twice_gives_the_same_but_for_times(jobs, twice):
    assert sorted(twice) == [job.number for job in jobs]
    assert {number: len(said) for number, said in twice.items()} == dict.fromkeys(twice, 1)


@pytest.mark.parametrize("workers", [2, 4])
def test_more_processes_give_the_same_scores(jobs, twice, workers):
    shuffled = random.Random(workers).sample(jobs, len(jobs))
    assert graded(shuffled, workers) == twice


def test_the_results_that_are_compared_are_all_kinds(twice):
    results = [json.loads(*said)[0] for _, said in sorted(twice.items())]
    gin = [runs.exercise(found) for found in results]
    assert [e["status"] for e in gin] == [
        "graded",
        "graded",
        "graded",
        "graded",
        "graded",
        "student_error",
        "graded",
        "missing_answer",
        "crashed",
    ]
    earned = [sum(e["earned"] or 0 for e in found["exercises"]) for found in results]
    assert earned == [15, 6, 0, 1, 0, 0, 0, 0, 0]
