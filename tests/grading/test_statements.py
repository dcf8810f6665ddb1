"""Statements of cells: their text, and what they bind, change and need."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from course_lib.grading.slicing import Cell, Statement


def only(source: str) -> Statement:
    (statement,) = Cell(source, "here").statements
    return statement


@pytest.mark.parametrize("name", ["ast", "typing", "dataclasses", "_pydecimal", "turtle", "enum"])
def test_the_text_of_every_statement_is_that_statement_at_its_line(name):
    source = Path(importlib.import_module(name).__file__).read_text(encoding="utf-8")
    whole = [node for node in ast.parse(source).body]
    cell = Cell(source, "here")
    assert len(cell.statements) >= len(whole) > 10
    for statement in cell.statements:
        (again,) = ast.parse("\n" * (statement.line - 1) + statement.source).body
        assert ast.dump(again) == ast.dump(statement.node)
        assert again.lineno == statement.node.lineno


def test_statements_that_share_a_line_are_told_apart():
    cell = Cell('ä = "ö€"; b = [\n1]; c = """x\ny"""; \\\n  d = 4  # five\n', "here")
    found = [(s.line, s.source) for s in cell.statements]
    assert found == [(1, 'ä = "ö€"'), (1, "b = [\n1]"), (2, 'c = """x\ny"""'), (4, "d = 4")]


def test_decorators_belong_to_their_function():
    cell = Cell("x = 1\n\n@(\n    one\n)\n# between\n@two(3)\ndef f():\n    pass\n", "here")
    assert cell.statements[1].line == 3 and cell.statements[1].source.startswith("@(\n    one")


def test_line_ends_and_odd_spaces():
    cell = Cell("\x0cx = 1\r\ny = 2\rz = '\u2028'\r\n", "here")
    assert [(s.line, s.source) for s in cell.statements] == [
        (1, "x = 1"),
        (2, "y = 2"),
        (3, "z = '\u2028'"),
    ]


@pytest.mark.parametrize(
    ("source", "binds", "changes"),
    [
        ("def f(x=(y := 1)): z = 1", "f", ""),
        ("class A:\n    b = 1", "A", ""),
        ("async def f(): pass", "f", ""),
        ("(a, [b, *c]), d.e, f[g] = 1", "a b c", "d f"),
        ("a = b = 1", "a b", ""),
        ("a: int = 1", "a", ""),
        ("a += 1", "a", ""),
        ("a.b += 1", "", "a"),
        ("import a.b.c", "a", ""),
        ("import a.b as c", "c", ""),
        ("from a import b as c", "c", ""),
        ("from a import *", "", ""),
        ("print((a := 1))", "a", ""),
        ("[(a := i) for i in b if (c := i)]", "a c", ""),
        ("f = lambda: (a := 1)", "f", ""),
        ("for a, b[0] in c:\n    d = 1\nelse:\n    e.append(1)", "a d", "b e"),
        ("while x:\n    a = 1", "a", ""),
        ("if x:\n    a = 1\nelif y:\n    def b(): pass", "a b", ""),
        ("with x as (a, b), y as c: pass", "a b c", ""),
        ("try:\n    import a\nexcept E as e:\n    a = 1\nfinally:\n    b = 1", "a b e", ""),
        ("match x:\n  case {'k': a, **r} | [a, *r]: pass\n  case A(b=c) as d: pass", "a r c d", ""),
        ("del a", "", ""),
        ("del a[0], b.c", "", "a b"),
        ("a.b[0].c(1).d(2)", "", "a"),
        ("print(a)", "", ""),
        ("f().x = 1", "", "f"),
        ("(1).real.x()", "", ""),
    ],
)
def test_what_a_statement_binds_and_changes(source, binds, changes):
    statement = only(source)
    assert statement.binds == set(binds.split()) and statement.changes == set(changes.split())


@pytest.mark.parametrize(
    ("source", "needs"),
    [
        ("def f(h):\n    g = h\n    return g + k", "k"),
        ("def f(x=a) -> b:\n    def inner(): return x, c\n    return inner", "a b c"),
        ("@d\nclass A(b):\n    c = 1\n    def m(self): return c, self, __class__", "b c d"),
        ("class A:\n    F = F", "F"),
        ("[h for h in a if h > b]", "a b"),
        ("f = lambda x: x + a", "a"),
        ("def f():\n    global a\n    a = 1", "a"),
        ("a += b", "a b"),
        ("x = a.b[c](d=e)", "a c e"),
        ("def f():\n    [y := x for x in a]\n    return y", "a"),
    ],
)
def test_what_a_statement_needs(source, needs):
    assert only(source).needs == set(needs.split())


@pytest.mark.parametrize(
    ("source", "check"),
    [
        ("check('f', f)", True),
        ("f = check('f', f)", True),
        ("a = b = check('f', f, substitute=False)", True),
        ("f: object = unit.check('f', f)", True),
        ("unit.summary()", False),
        ("checks('f')", False),
        ("other.check('f')", False),
        ("def check(name, f): return f", False),
    ],
)
def test_checks_are_known(source, check):
    assert only(source).check is check


@pytest.mark.parametrize(
    ("source", "stub"),
    [
        ("def f(x):\n    '''Text.'''\n    raise NotImplementedError()", True),
        (
            "class A(B):\n    def __init__(s):\n        super().__init__()\n        raise NotImplementedError",
            True,
        ),
        ("def f(x):\n    return x\n    raise NotImplementedError()", False),
        ("def f(x):\n    if x: raise NotImplementedError()\n    return x", False),
        ("def f(x):\n    raise ValueError()", False),
    ],
)
def test_stubs_are_known(source, stub):
    assert only(source).stub is stub
