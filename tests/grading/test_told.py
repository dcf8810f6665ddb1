"""What a student may read of an exercise: fixed lines, the type of an exception, a line number; nothing hidden."""

from __future__ import annotations

import dataclasses
import re

import pytest

from course_lib.grading import exercise_job, result
from course_lib.grading.grade import Policy
from tests.grading.notebooks import GIN, gin

LEAKS = {
    "text": gin("raise ValueError(str(h.tolist()))"),
    "type": gin('raise type("E" + str(float(h[0, 0])), (Exception,), {})()'),
    "a type that looks built in": gin(
        'raise type("ValueError" + chr(10) + "x", (Exception,), {})()'
    ),
    "line": gin(
        "count = int(1000 + 100 * h.abs().sum())",
        'exec(compile("\\n" * count + "1 / 0", "<answer: gin_aggregate>", "exec"))',
    ),
    "a line of another cell's name": gin(
        'exec(compile("1 / 0", "<answer: " + str(h.tolist()) + ">", "exec"))'
    ),
    "print": "import sys\n"
    + gin("print(h)", "print(h.tolist(), file=sys.stderr)", "return h + 1e-2"),
    "value": gin("return h"),
    "text as value": gin("return str(h.tolist())"),
    "shape": gin("return torch.zeros(int(100 * h.abs().sum()))"),
    "warning": "import warnings\n" + gin("warnings.warn(str(h.tolist()))", "return -h"),
    "an object's type": gin("return type(str(h.tolist()), (), {})()"),
}


@pytest.mark.parametrize("source", LEAKS.values(), ids=LEAKS)
def test_feedback_holds_nothing_but_fixed_lines_a_type_and_a_line_of_the_cell(
    grader, of_gin, source
):
    done = of_gin(source)
    exercise = grader.unit.exercises["gin_aggregate"]
    fixed = {*exercise_job.TOLD.values(), "It is not right yet."}
    fixed |= {f"Hint: {hint}" for hint in exercise.hints}
    fixed |= {f"Mistake: {mistake.text}" for mistake in exercise.mistakes}
    lines = len(source.splitlines())
    for line in done.feedback:
        raised = re.fullmatch(
            r"It raised (\w+|an exception)(?: at line (\d+) of its cell)?\.", line
        )
        assert line in fixed or raised
        if raised:
            assert raised[1] in (*exercise_job.BUILT_IN, "an exception")
            assert raised[2] is None or int(raised[2]) <= lines
    assert done.feedback and done.earned == 0 and done.answer == ""


def test_the_hint_follows_the_attempt(grader, of_gin):
    hints = grader.unit.exercises["gin_aggregate"].hints
    for attempt in (1, 2, 3, 50):
        last = of_gin(gin("return h"), attempt=attempt).feedback[-1]
        assert last == f"Hint: {hints[min(attempt, len(hints)) - 1]}"


def test_forbidden_names_are_told_or_cost_the_points(grader, of_gin, monkeypatch):
    source = "import torch_geometric\n\n\n" + gin(
        "if eps > 1e9: return torch_geometric.nn.GINConv(None)",
        "return (1 + eps) * h + adjacency @ h",
    )
    done = of_gin(source)
    assert (done.outcome, done.earned) == (result.PASSED, 1)
    assert done.forbidden == ("torch_geometric.nn.GINConv",)
    monkeypatch.setattr(grader, "policy", dataclasses.replace(grader.policy, forbidden="zero"))
    done = of_gin(source)
    assert (done.status, done.outcome, done.earned) == (result.GRADED, result.FAILED, 0)
    assert done.forbidden and "forbids" in done.feedback[0]
    assert of_gin(GIN).earned == 1
    assert Policy(forbidden="zero").digest() != Policy().digest()
