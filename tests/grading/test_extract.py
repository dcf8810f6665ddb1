"""Answers taken out of notebooks: the programs, the cells they come from, what is written, what the student is told."""

from __future__ import annotations

import pytest

from tests.grading.small_lab import (
    LAB,
    MINE,
    STUB,
    code,
    lab,
    question,
    raw,
    read,
    solution,
    sources,
)

# programs ----------------------------------------------------------------------------------------


def test_a_plain_lab():
    found = read(lab())
    assert (
        found["status"] == "read"
        and found["notes"] == []
        and found["written"] == {"why": "Because."}
    )
    program = found["programs"]["first"]
    assert program["status"] == "found" and (program["line"], program["cell_lines"]) == (1, 3)
    assert [(c["cell"], c["line"]) for c in program["chunks"]] == [
        ("setup", 1),
        ("setup", 2),
        ("setup", 2),
        ("setup", 3),
        ("first", 1),
    ]
    assert [c["cell"] for c in found["programs"]["third"]["chunks"]][-2:] == ["given", "third"]
    assert len({p["digest"] for p in found["programs"].values()}) == 3


def test_the_digest_does_not_change_with_spaces_comments_and_other_cells():
    before = read(lab())["programs"]["first"]["digest"]
    other = "# mine\n\ndef first( x ):\n\n    # a comment\n    return (x+one)\n"
    for cells in (
        lab(first=other),
        lab(second="def second(x): return 0"),
        lab()[1:],
        [solution("first")],
    ):
        assert read(cells)["programs"]["first"]["digest"] == before
    assert read(lab(first=other.replace("+", "-")))["programs"]["first"]["digest"] != before


def test_the_students_setup_counts_only_where_it_differs():
    cells = lab(first="def first(x):\n    return x + one + F")
    cells[0]["source"] = "import torch\nimport torch.nn.functional as F\none = 2\nunused = 3"
    assert sources(read(cells)["programs"]["first"])[:-1] == [
        "import torch.nn.functional as F",
        "one = 2",
    ]


def test_helpers_are_found_wherever_they_stand():
    cells = [
        *lab(first="def first(x):\n    return helper(x)"),
        code("k = 2\n\ndef helper(x): return k"),
    ]
    program = read(cells)["programs"]["first"]
    assert sources(program)[1:] == ["k = 2", "def helper(x): return k"]
    assert [(c["cell"], c["line"]) for c in program["chunks"]][-2:] == [
        ("code cell 8", 1),
        ("code cell 8", 3),
    ]
    assert program["chunks"][-1]["source"].startswith("\n\ndef")


def test_given_names_are_the_masters_for_that_exercise_alone():
    broken = "def first(x):\n    return 0"
    both = {name: f"def {name}(x):\n    return first(x)" for name in ("second", "third")}
    programs = read(lab(first=broken, **both))["programs"]
    assert sources(programs["second"]) == [broken, both["second"]]
    assert sources(programs["third"]) == [both["third"]]
    (given,) = [c for c in programs["third"]["chunks"] if c["cell"] == "given"]
    assert given["source"] == LAB[1]["source"].rstrip()


def test_future_annotations_are_reported_and_not_run():
    program = read(lab(second="from __future__ import annotations, division\ndef second(x): pass"))[
        "programs"
    ]
    assert program["first"]["future"] == program["second"]["future"] == ["annotations"]
    assert sources(program["second"]) == ["def second(x): pass"]
    assert read(lab())["programs"]["first"]["future"] == []


def test_forbidden_names_in_the_answer_and_in_what_it_needs():
    by_setup = read(lab(first="def first(x):\n    return nn.LSTM(x)"))["programs"]
    assert (
        by_setup["first"]["forbidden"] == ["torch.nn.LSTM"]
        and by_setup["second"]["forbidden"] == []
    )
    helper = code(
        "from torch import mean\ndef helper(x): return mean(x)\ndef other(x): return nn.LSTM"
    )
    cells = [*lab(first="def first(x):\n    return helper(x)"), helper]
    assert read(cells)["programs"]["first"]["forbidden"] == ["torch.mean"]


@pytest.mark.parametrize(
    ("change", "status", "line"),
    [
        ("", "missing", 0),
        ("x = 1", "missing", 0),
        ("import first", "found", 1),
        ("first = lambda x: x", "found", 1),
        ("x = 1\n\nfirst, y = f, g", "found", 3),
        ("if True:\n    def first(x): pass", "found", 1),
        ("first = check('first', first)", "missing", 0),
        ("\ndef first(x:\n    return", "syntax_error", 2),
        ("def first(x):\n    pass\nreturn x", "syntax_error", 3),
        ("%%bash\ndef first(x): pass", "missing", 0),
        ("%%time\ndef first(x): pass", "found", 2),
        ("%time\ndef first(x): pass", "found", 2),
        ([], "missing", 0),
        (["def first(x):\n", 7, "    return x"], "found", 1),
        (7, "missing", 0),
        ({"a": 1}, "missing", 0),
    ],
)
def test_statuses(change, status, line):
    cells = lab()
    cells[1]["source"] = change
    program = read(cells)["programs"]["first"]
    assert (program["status"], program["line"]) == (status, line)
    assert bool(program["chunks"]) is bool(program["digest"]) is (status == "found")


# which cell it is --------------------------------------------------------------------------------


def test_of_duplicate_answer_cells_the_last_that_defines_it_counts():
    old, new = code("def first(x): return 1", "first"), code(MINE, "first")
    found = read(lab(first=[old, new, code("first(3)", "first")]))
    assert sources(found["programs"]["first"]) == [MINE]
    assert found["notes"] == ["first: 3 cells carry this name; the last that defines it counts."]
    text = {**question("first", MINE), "cell_type": "markdown"}
    assert sources(read(lab(first=[new, text]))["programs"]["first"]) == [MINE]


def test_metadata_go_before_place():
    cells = [*lab(first=MINE), code("def first(x): return 'scratch'"), code("first = 3")]
    assert sources(read(cells)["programs"]["first"]) == [MINE]


def test_without_metadata_the_last_definition_counts():
    cells = lab(first=MINE)
    for cell in cells:
        cell["metadata"] = {}
    cells.insert(1, code("def first(x): return 'old'"))
    cells.append(code("for third in []: pass\nfrom elsewhere import second"))
    found = read(cells)
    assert sources(found["programs"]["first"]) == [MINE]
    assert found["programs"]["first"]["cell"] == "code cell 3"
    assert sources(found["programs"]["second"]) == [solution("second")["source"].rstrip()]
    assert found["written"] == {"why": "Because."}
    assert found["notes"] == [
        "The cells have lost their metadata: answers were found by their names."
    ]


@pytest.mark.parametrize("own", [STUB, "def first(x:", "", "x = 1"])
def test_a_finished_definition_elsewhere_goes_before_an_unfinished_answer_cell(own):
    found = read([*lab(first=own), code(MINE)])
    assert sources(found["programs"]["first"])[-1] == MINE
    assert "first: its own cell holds no finished answer; code cell 8 counts." in found["notes"]


def test_the_stub_is_found_where_there_is_nothing_else():
    assert sources(read(lab(first=STUB))["programs"]["first"]) == [STUB]
    broken = read(lab(first=[code(MINE + ")", "first"), code(STUB, "first")]))["programs"]["first"]
    assert broken["status"] == "syntax_error"
    unnamed = read([code("x = 1\ndef first(x):\n  return (")])["programs"]["first"]
    assert (unnamed["status"], unnamed["line"]) == ("syntax_error", 3)


def test_an_answer_cell_that_became_text():
    found = read(lab(first={**code(MINE, "first"), "cell_type": "markdown"}))
    assert found["programs"]["first"]["status"] == "missing"
    assert "first: its cell is no code cell any more." in found["notes"]


def test_checks_may_be_edited_deleted_or_filled():
    cells = lab(
        check_first=[], check_second="def second(x): return 'forged'\nsecond = check('second', len)"
    )
    found = read(cells)
    clean = read(lab())["programs"]
    assert found["programs"] == clean
    assert found["notes"] == [
        "Check cells changed or gone: check_first, check_second. Grading runs its own."
    ]
    assert sources(read(lab(first="", check_first=MINE))["programs"]["first"]) == [MINE]


def test_order_ids_and_odd_metadata_make_no_difference():
    clean = read(lab())
    cells = lab()
    for cell in cells:
        cell["id"] = "same"
    assert read(cells) == clean
    assert read(cells[::-1])["programs"] == clean["programs"]
    odd = [
        None,
        [],
        3,
        "x",
        {"nbgrader": None},
        {"nbgrader": {"grade_id": 3}},
        {"nbgrader": ["first"]},
    ]
    cells += [{"cell_type": "code", "metadata": m, "source": "print(3)"} for m in odd]
    cells += [
        None,
        3,
        "text",
        [],
        {},
        {"cell_type": 3},
        {"cell_type": "code"},
        {"source": "first = 3"},
    ]
    assert read(cells)["programs"] == clean["programs"]


def test_line_ends_and_a_byte_order_mark():
    cells = lab(first="def first(x):\r\n    return 'mine'\r\n")
    found = read(b"\xef\xbb\xbf" + raw(cells))
    assert sources(found["programs"]["first"]) == [MINE]


def test_labels_are_plain_names():
    odd = code("helper = 1", "\x1b[31m<b>\n")
    cells = [*lab(first="def first(x): return helper"), odd]
    assert read(cells)["programs"]["first"]["chunks"][-1]["cell"] == "code cell 8"


def test_written_answers():
    twice = [question("why", t) for t in ("An old text", "My own\ud800 text", " \n")]
    assert read(lab(why=twice))["written"] == {"why": "My own? text"}
    assert read(lab(why=[{**question("why", "raw"), "cell_type": "raw"}]))["written"] == {
        "why": "raw"
    }
    assert read(lab(why=[]))["written"] == {"why": ""}
    assert len(read(lab(why="x" * 300_000))["written"]["why"]) == 100_000


def test_notes_are_few():
    cells = lab() + [code("%ls"), code("def f(:"), code("text pasted\nhere")]
    assert read(cells)["notes"] == [
        "Not Python, so left out: code cell 9 (line 1), code cell 10 (line 1).",
        "Notebook commands (%, !, ?) were left out: code cell 8.",
    ]
    many = lab() + [code("def f(:")] * 50
    (note,) = read(many)["notes"]
    assert note.endswith("code cell 11 (line 1) and 46 more.")


def test_a_program_that_is_too_long_is_said():
    long = f"def first(x):\n    return '{'x' * 500_000}'"
    found = read(lab(first=long))
    assert (
        found["programs"]["first"]["status"] == "missing"
        and "first: its code is longer" in found["notes"][0]
    )
