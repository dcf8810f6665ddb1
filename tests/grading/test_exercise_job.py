"""What becomes of one exercise: statuses, points, and what the student is told of it and what not."""

from __future__ import annotations

import dataclasses

import pytest

from course_lib.grading import exercise_job, reading, result
from course_lib.grading.sandbox import SandboxError
from tests.grading import notebooks
from tests.grading.conftest import KEY
from tests.grading.notebooks import GIN, gin, grade, grade_one, single, solved, source_of

# statuses ----------------------------------------------------------------------------------------


def test_right(of_gin):
    done = of_gin(GIN)
    assert (done.status, done.outcome, done.earned) == (result.GRADED, result.PASSED, 1)
    assert done.feedback == ("It is right: all hidden checks passed.",)


def test_wrong_in_a_way_without_a_name(of_gin):
    done = of_gin(gin("return h - adjacency @ h"))
    assert (done.status, done.outcome, done.earned) == (result.GRADED, result.FAILED, 0)
    assert done.mistake == "" and done.feedback[0] == "It is not right yet."


def test_wrong_on_hidden_cases_alone(of_gin):
    """The public check has no eps of 0 or below."""
    done = of_gin(gin("return (1 + max(eps, 0.01)) * h + adjacency @ h"))
    assert (done.status, done.outcome, done.earned) == (result.GRADED, result.FAILED, 0)


def test_missing(grader, tmp_path):
    done = grade(grader, tmp_path, single("told_apart", source_of("told_apart")))
    for each in done.exercises:
        if each.exercise == "told_apart":
            assert (each.outcome, each.earned) == (result.PASSED, done.earned)
        elif each.status != result.NEEDS_MANUAL:
            assert (each.status, each.outcome) == (result.MISSING_ANSWER, result.NOT_ATTEMPTED)
            assert each.earned == 0 < each.points and "No cell" in each.feedback[0]


def test_no_python(of_gin):
    done = of_gin("# mine\n" + gin("return (1 + eps * h", "x = 1 +"))
    assert (done.status, done.outcome, done.earned) == (result.STUDENT_ERROR, result.FAILED, 0)
    assert done.feedback == ("The cell is no Python: see its line 3.",)


STUBS = {
    "as released": gin("raise NotImplementedError()"),
    "without brackets": gin("raise NotImplementedError"),
    "with a docstring": gin('"""Sum."""', "raise NotImplementedError()"),
    "reached by way of a helper": "def todo():\n    raise NotImplementedError()\n\n\n"
    + gin("return todo()"),
    "after a first attempt": gin("x = adjacency @ h", "raise NotImplementedError()"),
}


@pytest.mark.parametrize("source", STUBS.values(), ids=STUBS)
def test_not_attempted(of_gin, source):
    done = of_gin(source)
    assert (done.status, done.outcome, done.earned) == (result.GRADED, result.NOT_ATTEMPTED, 0)


def test_a_class_of_which_one_method_is_left_is_not_attempted(grader, tmp_path):
    body = (
        "def __init__(self, i, o):\n        super().__init__()\n        raise NotImplementedError()"
    )
    done = grade_one(
        grader, tmp_path, "GCNLayer", f"class GCNLayer(nn.Module):\n    {body}\n"
    )  # fmt: skip
    assert (done.status, done.outcome) == (result.GRADED, result.NOT_ATTEMPTED)


def test_what_torch_has_not_implemented_is_no_stub(of_gin):
    done = of_gin(gin('raise NotImplementedError("not for sparse tensors")'))
    assert (done.status, done.outcome) == (result.STUDENT_ERROR, result.FAILED)


def test_a_loop_without_end_costs_its_own_exercise_alone(grader, tmp_path, monkeypatch):
    monkeypatch.setattr(grader, "policy", dataclasses.replace(grader.policy, timeout=2))
    loop = single("gin_aggregate", gin("while True: pass"))
    loop["cells"] += single("told_apart", source_of("told_apart"))["cells"][1:]
    found = {e.exercise: e for e in grade(grader, tmp_path, loop).exercises}
    done = found["gin_aggregate"]
    assert (done.status, done.outcome, done.earned) == (result.TIMEOUT, result.FAILED, 0)
    assert "loop" in done.feedback[0]
    assert found["told_apart"].outcome == result.PASSED


def test_too_much_memory(of_gin):
    done = of_gin(gin("return torch.ones(3 * 10**8).cumsum(0)[: len(h)]"))
    assert (done.status, done.earned) == (result.OUT_OF_MEMORY, 0)
    assert done.feedback[0] == "It took more memory than there is."


def test_a_process_that_ends_itself(of_gin):
    done = of_gin("import os\n\n\n" + gin("os._exit(0)"))
    assert (done.status, done.outcome, done.earned) == (result.CRASHED, result.FAILED, 0)


def test_every_status_is_one_of_those_there_are(of_gin):
    assert of_gin(gin("return 1")).status in result.EXERCISE_STATUSES


# exceptions --------------------------------------------------------------------------------------

RAISES = {
    "a built-in type, at its line": (gin("x = 1", "return h / [][0]"), "IndexError at line 3 of"),
    "torch's, at the student's line": (gin("", "return h @ torch.ones(99, 1)"), "line 3"),
    "a type of the student's own": (
        "class Own(Exception): pass\n" + gin("raise Own('x')"),
        "an exception at line 3 of its cell",
    ),
    "in a function inside": (
        gin("def f(): return 1 / 0", "return f()"),
        "ZeroDivisionError at line 2",
    ),
    "at the top, so that the answer is not there": (
        "x = 1 / 0\ngin_aggregate = lambda h, adjacency, eps: x",
        "NameError at line 2",
    ),
    "instead of a definition": (
        "\ngin_aggregate = 1 / 0",
        "ZeroDivisionError at line 2 of its cell",
    ),
    "too few parameters": ("def gin_aggregate(h): return h", "It raised TypeError."),
    "no function": ("gin_aggregate = 3", "It raised TypeError."),
    "exit": (gin("raise SystemExit(0)"), "SystemExit at line 2"),
    "endless recursion": (
        gin("return gin_aggregate(h, adjacency, eps)"),
        "RecursionError at line 2",
    ),
}


@pytest.mark.parametrize(("source", "wanted"), RAISES.values(), ids=RAISES)
def test_an_exception_is_told_by_its_type_and_the_own_line(of_gin, source, wanted):
    done = of_gin(source)
    assert (done.status, done.outcome, done.earned) == (result.STUDENT_ERROR, result.FAILED, 0)
    assert wanted in done.feedback[0]


def test_a_line_outside_of_the_answers_cell_is_not_told(of_gin):
    done = of_gin(gin("return helper(h)"), before=("def helper(h):\n    return h[99]",))
    assert done.feedback[0] == "It raised IndexError."


# seeds -------------------------------------------------------------------------------------------


def test_the_same_submission_has_the_same_result(grader, tmp_path):
    mixed = solved(
        told_apart=None,
        gin_aggregate=gin("return (1 + eps) * (h + adjacency @ h)"),
        normalized_adjacency="def normalized_adjacency(a):\n    return a / a.sum(1)[:, None]",
        node_classifier=None,
    )
    first, second = (grade(grader, tmp_path, mixed) for _ in range(2))
    assert first.exercises == second.exercises and first.notes == second.notes
    assert 0 < first.earned < first.points


def test_seeds_follow_the_code_and_not_how_it_is_written(grader, tmp_path):
    exercise = grader.unit.exercises["gin_aggregate"]

    def seeds(source: str, key: bytes = KEY, **around) -> list[int]:
        path = notebooks.write(tmp_path, single("gin_aggregate", source, **around))
        program = reading.read_submission(path, grader.outline)["programs"]["gin_aggregate"]
        return [case.seed for _, case in exercise_job.cases_of(exercise, key, program["digest"])]

    plain = seeds(GIN)
    assert len(plain) == len(set(plain)) == 7  # five public cases, and twice the hidden one
    assert (
        seeds(
            "# mine\n\n\n"
            + GIN.replace("return (1 + eps)", "return  (1+  eps)")
            + "\n\n# the end\n"
        )
        == plain
    )
    assert seeds(GIN, after=("print('another cell')", "x = 3")) == plain
    for other in (
        seeds(GIN.replace("1 + eps", "eps + 1")),
        seeds(GIN + "\nprint(1)\n"),
        seeds(GIN, key=b"x" * 32),
    ):
        assert not set(other) & set(plain)


# our own faults ----------------------------------------------------------------------------------


def test_a_bug_in_a_check_is_no_fault_of_the_students(grader, tmp_path, monkeypatch):
    def broken(answer, case):
        answer(case.normal(2, 2))
        raise ZeroDivisionError("a bug in the check")

    monkeypatch.setattr(grader.unit.exercises["gin_aggregate"], "check", broken)
    three = ["gin_aggregate", "told_apart", "normalized_adjacency"]
    answers = {name: None for name in grader.unit.exercises if name not in three}
    done = grader.grade(notebooks.write(tmp_path, solved(**answers)))
    found = {e.exercise: e for e in done.exercises if e.exercise in three}
    ours = found.pop("gin_aggregate")
    assert (ours.status, ours.outcome, ours.earned) == (result.GRADER_ERROR, "", None)
    assert (
        ours.points == 1 and "grader failed" in ours.feedback[0] and "bug" not in str(ours.feedback)
    )
    assert "ZeroDivisionError: a bug in the check" in grader.last_error
    assert done.status == result.GRADER_ERROR
    assert [e.outcome for e in found.values()] == [result.PASSED] * 2
    assert done.earned == sum(e.points for e in found.values())


def test_a_sandbox_that_starts_no_case_is_no_fault_of_the_students(grader, tmp_path, monkeypatch):
    def fails(sandbox, exercise, program, *_, **__):
        if program["status"] != "missing":
            raise SandboxError("no room for a process")
        return right(sandbox, exercise, program, *_, **__)

    right = exercise_job.grade_exercise
    monkeypatch.setattr(exercise_job, "grade_exercise", fails)
    monkeypatch.setattr(grader, "ready", lambda: None)
    monkeypatch.setattr(grader, "started", grader.started)
    done = grader.grade(notebooks.write(tmp_path, single("gin_aggregate", GIN)))
    found = {e.exercise: e for e in done.exercises}
    assert found["gin_aggregate"].status == result.GRADER_ERROR
    assert found["gin_aggregate"].earned is None and "no room" in grader.last_error
    assert found["told_apart"].status == result.MISSING_ANSWER and done.earned == 0


def test_a_reader_that_does_not_start_is_no_fault_of_the_students(grader, tmp_path, monkeypatch):
    def fails(*_):
        raise reading.ReaderError("no Python here")

    monkeypatch.setattr(reading, "read_submission", fails)
    done = grader.grade(notebooks.write(tmp_path, solved()))
    assert done.status == result.GRADER_ERROR and "no Python here" in grader.last_error
    assert {(e.status, e.earned) for e in done.exercises} == {(result.GRADER_ERROR, None)}


def test_what_a_judge_cannot_judge_is_the_students_fault(grader, tmp_path):
    source = "def sampled_sum(h, q, k, draws, generator):\n    return {'a': [h, None]}"
    done = grade_one(grader, tmp_path, "sampled_sum", source)
    assert (done.status, done.outcome, done.earned) == (result.GRADED, result.FAILED, 0)
