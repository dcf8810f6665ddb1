"""Cells of a notebook as statements: what each binds, changes and needs, and the slice that an answer depends on.

The slice is taken at top-level statements. What a statement needs are its global names, as `symtable` tells them, so a
local variable of a function pulls in nothing; a name that is put together while the program runs is not seen. Nothing
here runs any of the code. Standard library only: extract.py loads this file by its path.
"""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable
from functools import cached_property

TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # notebooks allow it
RUNS_ITS_CELL = {"time", "timeit", "capture", "prun", "lprun", "memit", "debug"}
COMMAND = re.compile(r"[%!?]|[\w\s,.*()\[\]]+=\s*[%!]|[%\w.*]+\?\??$")
MOST_COMMANDS = 100  # lines of a cell that are no Python
COMMAND_BYTES = 20_000_000  # what may be parsed again on account of them
PADDING = 1 << 16  # newlines in front of the chunks of one cell; beyond it the cell is one chunk
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
IMPORTS = (ast.Import, ast.ImportFrom)


class Cell:
    """One code cell.

    Attributes:
        label: what the student is told of its place.
        grade_id: the exercise that its metadata names, or "".
        lines: its text with one kind of line end, commands of the notebook replaced.
        statements: its top-level statements, none if it cannot be compiled.
        error: the line that cannot be compiled, or None.
        commands: whether it held lines or a whole text that is no Python.
    """

    def __init__(self, source: str, label: str, grade_id: str = "") -> None:
        self.label, self.grade_id = label, grade_id
        self.lines, tree, self.error, self.commands = _parse(source)
        self._bytes = "\n".join(self.lines).encode().split(b"\n") if tree else []
        found = [part for node in tree.body for part in _split(node)] if tree else []
        self.statements = [Statement(node, self, whole) for node, whole in found]

    def text(self, node: ast.stmt) -> tuple[int, str]:
        """First line and source of one of the cell's statements, decorators included."""
        first, column = node.lineno, node.col_offset
        if getattr(node, "decorator_list", None):
            first, column = min(d.lineno for d in node.decorator_list), 0
            while first > 1 and not self.lines[first - 1].lstrip().startswith("@"):
                first -= 1
        part = self._bytes[first - 1 : node.end_lineno]  # columns count bytes
        end = node.end_col_offset
        if len(part) == 1:
            return first, part[0][column:end].decode()
        return first, b"\n".join([part[0][column:], *part[1:-1], part[-1][:end]]).decode()


class Statement:
    """One top-level statement; `line` is its first line in its cell.

    Attributes:
        binds: global names that running it may bind.
        changes: global names whose object it changes: `x[0] = 1`, `x.a = 1`, `x.append(1)`.
        star: whether it is `from x import *`.
        check: whether it hands something to the lab's `check`.
    """

    def __init__(self, node: ast.stmt, cell: Cell, whole: bool = True) -> None:
        self.node, self.cell = node, cell
        self.line, self.source = cell.text(node) if whole else (node.lineno, ast.unparse(node))
        self.binds, self.changes = _effects(node)
        self.imports = isinstance(node, IMPORTS)
        self.future = self.imports and getattr(node, "module", "") == "__future__"
        self.star = self.imports and node.names[0].name == "*"
        self.check = _is_check(node)

    @cached_property
    def needs(self) -> set[str]:
        """The global names that it, or what it defines, reads."""
        own = self.binds if isinstance(self.node, ast.AugAssign) else set()
        try:
            return own | _reads(symtable.symtable(self.source, "<cell>", "exec"))
        except Exception:  # nested too deeply: every name there is
            return own | {n.id for n in ast.walk(self.node) if isinstance(n, ast.Name)}

    @cached_property
    def tree(self) -> str:
        """Its syntax tree as text, without places: the same for all ways to lay the statement out."""
        try:
            return ast.dump(self.node)
        except Exception:  # nested too deeply, or a number too long to print
            return self.source

    @property
    def stub(self) -> bool:
        """Whether a function in it still begins with the `raise NotImplementedError` of the released lab."""
        return any(_is_stub(n) for n in ast.walk(self.node) if isinstance(n, DEFINITIONS[:2]))


# reading a cell ----------------------------------------------------------------------------------


def _parse(source: str) -> tuple[list[str], ast.Module | None, int | None, bool]:
    """(lines, tree, line of the error, whether there were commands) of a cell; the lines keep their numbers."""
    lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    start = next((i for i, line in enumerate(lines) if line.strip()), 0)
    commands = lines[start].startswith("%%")
    if commands:
        word = re.match(r"%%(\w*)", lines[start])[1]
        lines[start:] = [""] + (lines[start + 1 :] if word in RUNS_ITS_CELL else [])
    text = "\n".join(lines)
    for _ in range(1 + min(MOST_COMMANDS, COMMAND_BYTES // (len(text) + 1))):
        try:
            tree = ast.parse(text)
            compile(tree, "<cell>", "exec", flags=TOP_LEVEL_AWAIT, dont_inherit=True)
            return lines, tree, None, commands
        except Exception as error:  # besides SyntaxError: null bytes, surrogates, depth, memory
            place = getattr(error, "lineno", None) or 1
        if place > len(lines) or not COMMAND.match(lines[place - 1].strip()):
            break
        commands = True
        _replace_command(lines, place - 1)
        text = "\n".join(lines)
    return lines, None, min(max(place, 1), len(lines)), commands


def _replace_command(lines: list[str], index: int) -> None:
    """Put `pass` in place of a command, which may go on after a backslash."""
    indent = lines[index][: len(lines[index]) - len(lines[index].lstrip())]
    last = index
    while lines[last].endswith("\\") and last + 1 < len(lines):
        last += 1
    lines[index : last + 1] = [f"{indent}pass"] + [""] * (last - index)


def _split(node: ast.stmt) -> Iterable[tuple[ast.stmt, bool]]:
    """The statement, or each name of an import by itself; with it whether it is as the cell has it."""
    if not isinstance(node, IMPORTS) or len(node.names) == 1:
        yield node, True
        return
    for alias in node.names:
        one = ast.Import([alias])
        if isinstance(node, ast.ImportFrom):
            one = ast.ImportFrom(node.module, [alias], node.level)
        yield ast.copy_location(one, node), False


# reading a statement -----------------------------------------------------------------------------


def _effects(statement: ast.stmt) -> tuple[set[str], set[str]]:
    """(names it binds, names whose objects it changes), outside of functions, classes and lambdas in it."""
    binds: set[str] = set()
    changes: set[str] = set()
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, DEFINITIONS):
            binds.add(node.name)
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, COMPREHENSIONS):  # its targets are its own; only := leaves it
            inside = [getattr(node, part, None) for part in ("elt", "key", "value")]
            inside += [part for g in node.generators for part in (g.iter, *g.ifs)]
            waiting += [part for part in inside if part is not None]
            continue
        if isinstance(node, IMPORTS):
            binds |= {a.asname or a.name.partition(".")[0] for a in node.names} - {"*"}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            binds.add(node.id)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            binds.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            binds.add(node.rest)
        elif isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            changes.add(_root(node))
        elif isinstance(node, ast.Expr) and isinstance(
            getattr(node.value, "func", 0), ast.Attribute
        ):
            changes.add(_root(node.value))
        waiting += ast.iter_child_nodes(node)
    return binds, changes - {""}


def _root(node: ast.expr) -> str:
    """The name that a chain of attributes, indices and calls starts from, or ""."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _reads(table: symtable.SymbolTable) -> set[str]:
    """The global names read in a scope or in one inside it."""
    found: set[str] = set()
    waiting = [table]
    while waiting:
        scope = waiting.pop()
        everywhere = scope.get_type() in ("module", "class")  # read, then bound, may be global
        found |= {
            symbol.get_name()
            for symbol in scope.get_symbols()
            if (symbol.is_referenced() if everywhere else symbol.is_global())
        }
        waiting += scope.get_children()
    return found


def _is_check(node: ast.stmt) -> bool:
    """Whether a statement is a call of `check` (or `unit.check`), or assigns what one returns."""
    function = getattr(getattr(node, "value", None), "func", None)
    if isinstance(function, ast.Attribute) and getattr(function.value, "id", "") == "unit":
        return function.attr == "check"
    return getattr(function, "id", "") == "check"


def _is_stub(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether nothing but a docstring or a call stands before a function's `raise NotImplementedError`."""
    first = next((s for s in function.body if not isinstance(s, ast.Expr)), None)
    raised = first.exc if isinstance(first, ast.Raise) else None
    return getattr(getattr(raised, "func", raised), "id", "") == "NotImplementedError"


# slicing -----------------------------------------------------------------------------------------


class Slicer:
    """All statements of a notebook, by the names they bind and change."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.statements = [s for cell in cells for s in cell.statements]
        self.binders: dict[str, list[Statement]] = {}
        self.changers: dict[str, list[Statement]] = {}
        for statement in self.statements:
            if not (statement.check or statement.future):
                for name in statement.binds:
                    self.binders.setdefault(name, []).append(statement)
                for name in statement.changes:
                    self.changers.setdefault(name, []).append(statement)

    def needed(self, answer: Cell, name: str, given: set[str]) -> list[Statement]:
        """The answer cell's statements and, in the notebook's order, those that they need, transitively.

        Args:
            name: the answer; what binds it outside of its cell is left out.
            given: names that come from elsewhere; what binds them is left out, but not what an answer
                cell that says which answer it is binds for itself.
        """
        inside = [s for s in answer.statements if not (s.check or s.future)]
        if answer.grade_id != name:
            inside = [s for s in inside if name in s.binds or not s.binds & given]
        chosen = {id(s): s for s in inside}
        waiting = {name}.union(*(s.needs for s in inside))
        done = set(given)
        while waiting:
            need = waiting.pop()
            if need in done:
                continue
            done.add(need)
            binders = self.binders.get(need, [])
            own = any(not s.imports for s in binders)  # else a library's, which no one changes
            for statement in binders + (self.changers.get(need, []) if own else []):
                elsewhere = statement.cell is not answer
                if id(statement) in chosen or (elsewhere and statement.binds & {name, *given}):
                    continue
                chosen[id(statement)] = statement
                waiting |= statement.needs
        return [s for s in self.statements if id(s) in chosen or s.star]


def chunks(statements: Iterable[Statement], label: str = "") -> list[dict]:
    """One chunk a statement, with newlines in front that make its line numbers those of its cell.

    Of a cell so long that this would be mostly newlines, the statements are one chunk.
    """
    made = []
    groups: dict[int, list[Statement]] = {}
    for statement in statements:
        groups.setdefault(id(statement.cell), []).append(statement)
    for group in groups.values():
        short = sum(s.line for s in group) < PADDING
        for part in [[s] for s in group] if short else [group]:
            name = label or part[0].cell.label
            made.append({"cell": name, "line": part[0].line, "source": _laid_out(part)})
    return made


def _laid_out(statements: list[Statement]) -> str:
    parts, line = [], 1
    for statement in statements:
        gap = "\n" * (statement.line - line)
        parts.append(gap if gap or not parts else "; ")
        parts.append(statement.source)
        line = statement.line + statement.source.count("\n")
    return "".join(parts)
