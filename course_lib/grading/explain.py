"""`course grade --explain`: all there is to know about one exercise of one submission, for the instructor only.

The cases follow from the secret, so playing them again shows what the grading saw: inputs' shapes, expected and given
values, the text of exceptions. None of it is for students.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from course_lib.exercises.answer import Observation
from course_lib.grading import exercise_job, reading
from course_lib.grading.grade import Grader
from course_lib.grading.places import shown

ENTRIES = 12  # of a tensor that are printed
WIDTH = 300


def _values(value: Any) -> str:
    """A value in one line, cut, with nothing in it that a terminal would obey."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().flatten()[:ENTRIES].tolist()
        more = ", ..." if value.numel() > ENTRIES else ""
        numbers = ", ".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in flat)
        return f"{list(value.shape)} [{numbers}{more}]"
    if isinstance(value, (tuple, list)):
        return shown(f"({'; '.join(_values(v) for v in value[:4])})", WIDTH)
    return shown(str(value), WIDTH)


def _lines(seen: Observation) -> Iterator[str]:
    problem = seen.failure()
    yield f"    {'ok  ' if problem is None else 'FAIL'} {shown(seen.label)} ({seen.kind})   {shown(seen.call, WIDTH)}"
    if problem is not None:
        yield f"         {shown(problem, WIDTH)}"
        yield f"         expected {_values(seen.expected)}"
        yield f"         got      {_values(seen.got)}"
        for again in seen.again:
            yield f"         repeated {_values(again)}"


def explain(grader: Grader, path: Path, exercise_name: str) -> Iterator[str]:
    """Lines on one exercise of the notebook at `path`.

    Raises KeyError if the unit has no such exercise; SandboxError if a case cannot be started.
    """
    exercise = grader.unit.find(exercise_name)
    found = reading.read_submission(path, grader.outline)
    if "programs" not in found:
        yield f"the notebook is unreadable: {found['reason']}"
        return
    program = found["programs"][exercise_name]
    yield f"{exercise_name}: its answer is {program['status']} in {program['cell'] or 'no cell'}"
    if program["forbidden"]:
        yield f"it uses what is forbidden: {', '.join(program['forbidden'])}"
    for chunk in program["chunks"]:
        if chunk["cell"] not in ("setup", "given"):
            yield f"--- {chunk['cell']}, line {chunk['line']}"
            yield from (
                f"    {shown(line, WIDTH)}" for line in chunk["source"].strip("\n").splitlines()
            )
    if program["status"] != "found":
        return
    cases = exercise_job.cases_of(exercise, grader.key, program["digest"])
    seconds = grader.policy.timeout
    played = exercise_job.play(grader.ready(), exercise, program, cases, grader.key, seconds)
    if played.status:
        yield f"it ended in: {played.status}   {_values(played.error) if played.error else ''}"
    for case in played.cases:
        name = getattr(case.check, "__name__", "check")
        yield f"--- {name}, case {case.index}, seed {case.seed}"
        for seen in case.observations:
            yield from _lines(seen)
    mistake = exercise.named_mistake(played.cases) if played.cases and not played.status else None
    wrong = any(o.failure() is not None for case in played.cases for o in case.observations)
    yield f"named mistake: {mistake.text if mistake and wrong else 'none'}"
