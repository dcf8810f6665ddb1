"""Files that are no notebooks, notebooks made at random, and the notebooks that there are."""

from __future__ import annotations

import functools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.course_map import load_map, root
from course_lib.grading import reading
from course_lib.grading.extract import Unreadable
from course_lib.grading.grade import load_unit
from tests.grading.odd_files import CELLS, JSON, UNREADABLE
from tests.grading.small_lab import OUTLINE, raw, read


@pytest.mark.parametrize(("why", "data"), [(w, d) for w, many in UNREADABLE.items() for d in many])
def test_what_is_no_notebook(why, data):
    with pytest.raises(Unreadable, match=why) as caught:
        read(data)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()


@settings(max_examples=150, deadline=None)
@given(cells=st.lists(CELLS | JSON, max_size=6))
def test_any_cells_are_read_and_the_reply_is_believed(cells):
    reply = read(raw(cells))
    written = json.dumps(reply, allow_nan=False)
    assert reading._believed(json.loads(written), OUTLINE) == reply


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60) | JSON.map(lambda j: json.dumps(j).encode()))
def test_any_bytes_are_read_or_unreadable(data):
    try:
        assert read(data)["status"] == "read"
    except Unreadable as error:
        assert str(error)


# the units there are -----------------------------------------------------------------------------


@functools.cache
def read_unit(name: str, folder: str) -> tuple[dict, dict]:
    (row,) = [row for row in load_map() if row.name == name]
    made = reading.outline(load_unit(name), root() / row.master)
    return made, reading.read_submission(root() / getattr(row, folder), made)


@pytest.mark.parametrize("folder", ["master", "lab"])
@pytest.mark.parametrize("name", [row.name for row in load_map()])
def test_every_answer_of_every_unit_is_found(name, folder):
    made, found = read_unit(name, folder)
    assert found["status"] == "read" and found["notes"] == []
    for exercise, program in found["programs"].items():
        assert program["status"] == "found" and program["cell"] == exercise
        assert program["chunks"][-1]["cell"] == exercise and program["forbidden"] == []
    assert all(text.strip() for text in found["written"].values()) and list(
        found["written"]
    ) == list(made["written"])


@pytest.mark.parametrize("name", [row.name for row in load_map()])
def test_the_masters_chunks_define_every_answer(name, monkeypatch):
    unit = load_unit(name)
    monkeypatch.setattr(unit, "check", lambda name, answer: answer)
    for exercise, program in read_unit(name, "master")[1]["programs"].items():
        space: dict = {"__name__": "__main__"}
        for chunk in program["chunks"]:
            exec(compile(chunk["source"], f"<answer: {chunk['cell']}>", "exec"), space)
        assert unit.verdict(exercise, space[exercise]).status == "passed"
