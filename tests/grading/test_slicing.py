"""Cells that are odd or broken, and what a slice takes of a notebook."""

from __future__ import annotations

import ast

import pytest

from course_lib.grading.slicing import COMMAND, Cell, Slicer, Statement, chunks


def only(source: str) -> Statement:
    (statement,) = Cell(source, "here").statements
    return statement


def sliced(sources: list[str], name: str = "answer", given: tuple[str, ...] = ()) -> list[str]:
    """The sources of what the last cell that binds `name` needs; its metadata say that it is the answer."""
    cells = [Cell(source, f"code cell {i}") for i, source in enumerate(sources, start=1)]
    answer = [c for c in cells if any(name in s.binds for s in c.statements)][-1]
    answer.grade_id = name
    return [s.source for s in Slicer(cells).needed(answer, name, set(given))]


# cells -------------------------------------------------------------------------------------------


def test_commands_of_the_notebook_keep_the_line_numbers():
    cell = Cell(
        "%matplotlib inline\n!pip install x \\\n  y\nfiles = !ls\na, b = %time f()\n"
        "torch.nn?\n?torch\n%timeit f(x)\nif True:\n    %time g()\n    z = 3\nx = (7\n  % 4)\n",
        "here",
    )
    assert cell.error is None and cell.commands
    assert [(s.line, s.binds) for s in cell.statements if s.binds] == [(9, {"z"}), (12, {"x"})]


def test_a_block_that_holds_only_a_command_stays_a_block():
    cell = Cell("if x:\n    %time f()\nelse:\n    y = 1\n", "here")
    assert cell.error is None and cell.statements[0].binds == {"y"}


def test_what_only_looks_like_a_command_stays():
    text = 'x = """\n%time\n!ls\nwhat?\n"""\ny = (7\n% 4)\nz = (a\n!= b)\n'
    cell = Cell(text, "here")
    assert not cell.commands and cell.statements[0].source == text[: text.index("\ny")]


def test_commands_of_a_whole_cell():
    assert [s.line for s in Cell("\n%%time\nx = 1", "here").statements] == [3]
    assert [s.line for s in Cell("%%capture out\n\nx = 1", "here").statements] == [3]
    for text in ("%%bash\nx = 1", "%%html\n<b>", "%%writefile a.py\nx = 1", "%%\nx = 1"):
        cell = Cell(text, "here")
        assert cell.statements == [] and cell.error is None and cell.commands
        assert len(cell.lines) <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("x = 1\ndef f(:\n", 2),
        ("def f():\n    pass\nreturn 3", 3),
        ("%time x\ny = = 2", 2),
        ("x = 1\x00", 1),
        ("x = '\ud800'", 1),
        ("(" * 500 + ")" * 500, 1),
        ("-" * 100_000 + "1", 1),
        ("x = 1" + "+1" * 100_000, 1),
        ("x = 1\ny = what ?  # why?", 2),
        ("9" * 5000, 1),
        ("\n" * 20 + "%x\n" * 300, 121),
    ],
)
def test_a_cell_that_cannot_be_compiled_has_no_statements_but_a_line(source, line):
    cell = Cell(source, "here")
    assert cell.statements == [] and cell.error == line


def test_top_level_await_and_the_empty_cell_are_fine():
    assert only("x = await f()").binds == {"x"}
    for text in ("", "\n\n", "# nothing", "\r\n"):
        assert Cell(text, "here").statements == [] and Cell(text, "here").error is None


def test_the_pattern_of_commands_takes_no_time_on_long_lines():
    for line in ("a " * 200_000, "a" * 400_000, "a.*" * 100_000):
        assert not COMMAND.match(line.strip() + " -")


# slices ------------------------------------------------------------------------------------------


def test_a_slice_is_transitive_and_in_the_notebooks_order():
    sources = [
        "c = 1\nunused = 2",
        "def answer(x):\n    return one(x)",
        "def one(x):\n    return two(x) + c",
        "two = lambda x: three",
        "three = 3",
    ]
    assert sliced(sources) == ["c = 1", *sources[1:]]


def test_a_local_name_pulls_in_nothing():
    sources = ["h = expensive()", "def answer(h):\n    return [g for g in h]", "g = other()"]
    assert sliced(sources) == [sources[1]]


def test_plain_expressions_are_left_out_except_in_the_answers_own_cell():
    sources = [
        "import os, sys",
        "k = 1\nprint(k)\nos._exit(0)\nsys.exit()\nk",
        "def answer(x):\n    return x + k\nprint(answer(2))\nanswer = check('answer', answer)",
        "print(answer)",
    ]
    assert sliced(sources) == [
        "k = 1",
        "def answer(x):\n    return x + k",
        "print(answer(2))",
    ]


def test_the_answers_name_comes_from_its_cell_alone():
    sources = [
        "def answer(x): return 0",
        "def answer(x): return helper(x)",
        "answer = check('answer', answer)\ncheck('answer', answer)",
        "answer, helper = None, None\nhelper = abs",
        "other = answer",
    ]
    cells = [Cell(s, "here") for s in sources]
    found = Slicer(cells).needed(cells[1], "answer", set())
    assert [s.source for s in found] == [sources[1], "helper = abs"]


def test_changes_of_what_the_student_made_are_taken():
    sources = [
        "import torch.nn as nn\ntable = {}\nseen = []\ntable['a'] = 1; seen.append(2)",
        "for i in range(3):\n    table[i] = i",
        "nn.manual_seed(0)\nnn.Linear.forward = None\ntable.update(b=seen)\nseen = seen\ndel seen[0]\ndel table",
        "def answer(x):\n    return nn, table[x]",
        "answer.calls = 0\nanswer.reset()",
    ]
    assert sliced(sources) == [
        "import torch.nn as nn",
        "table = {}",
        "seen = []",
        "table['a'] = 1",
        "seen.append(2)",
        sources[1],
        "table.update(b=seen)",
        "seen = seen",
        "del seen[0]",
        sources[3],
        "answer.calls = 0",
        "answer.reset()",
    ]


def test_blocks_are_taken_whole_and_imports_by_the_name():
    sources = [
        "from __future__ import annotations\nimport a, b.c, d as e\nfrom f import (g,\n  h as i)\nfrom j import *",
        "try:\n    import fast\nexcept ImportError:\n    fast = None",
        "with b.open() as k:\n    m = k.read()",
        "if m:\n    n = 1\nelse:\n    n = 2",
        "def answer(x):\n    return fast, n, e, i",
    ]
    assert sliced(sources) == [
        "import b.c",
        "import d as e",
        "from f import h as i",
        "from j import *",
        *sources[1:],
    ]


def test_given_names_are_not_the_students():
    sources = [
        "class Layer:\n    pass",
        "Layer = check('Layer', Layer)\nLayer.x = 1\nLayer, k = 1, 2\nk = 3",
        "def answer(x):\n    return Layer(x), k",
    ]
    assert sliced(sources, given=("Layer",)) == ["k = 3", sources[2]]
    own = ["class Layer:\n    pass\ndef answer(x):\n    return Layer(x)"]
    assert len(sliced(own, given=("Layer",))) == 2
    cell = Cell(own[0], "here")  # without metadata, a cell may hold every answer there is
    assert len(Slicer([cell]).needed(cell, "answer", {"Layer"})) == 1


def test_names_that_lead_in_a_circle():
    sources = ["def a(): return b()", "def b(): return a() or answer", "def answer(): return a()"]
    assert sliced(sources) == sources


# chunks ------------------------------------------------------------------------------------------


def test_every_chunk_is_one_statement_at_its_line():
    cell = Cell("import a, b\n\n@c\ndef f():\n    pass\nx = 1; y = (2,\n3)", "cell")
    made = chunks(cell.statements)
    assert [(c["cell"], c["line"], c["source"].count("\n")) for c in made] == [
        ("cell", 1, 0),
        ("cell", 1, 0),
        ("cell", 3, 4),
        ("cell", 6, 5),
        ("cell", 6, 6),
    ]
    assert [c["cell"] for c in chunks(cell.statements, "setup")] == ["setup"] * 5


def test_a_very_long_cell_is_one_chunk_with_the_same_lines():
    lines = [f"x{i} = 1; y{i} = '''\n'''" if i % 7 == 0 else f"z{i} = 2" for i in range(3000)]
    cell = Cell("\n".join(lines), "cell")
    kept = cell.statements[10::3]
    (made,) = chunks(kept)
    again = ast.parse(made["source"]).body
    assert [(n.lineno, ast.dump(n)) for n in again] == [(s.node.lineno, s.tree) for s in kept]
    assert len(made["source"]) <= len("\n".join(lines)) + 1


def test_a_line_with_very_many_statements_is_read():
    cell = Cell("a=1;" * 20_000, "cell")
    assert len(cell.statements) == 20_000 and cell.statements[-1].source == "a=1"
