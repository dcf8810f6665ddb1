"""The source of a function or class of the library with all that it needs of the library, as a student might write it.

Named mistakes and references use helpers, other modules' functions and constants, none of which the sandbox holds.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import ModuleType
from typing import Any


def as_answer(example: Any, name: str) -> tuple[str, str]:
    """(source of a cell with what `example` needs, source of a cell that defines `name` as `example`)."""
    needs = _Needs()
    own = needs.visit_source(example)
    return "\n".join(
        [*needs.imports, "", *needs.sources]
    ), f"{own}\n\n\n{name} = {example.__name__}"


def _ours(value: Any) -> bool:
    return (getattr(value, "__module__", None) or "").startswith("course_lib.")


class _Names(ast.NodeTransformer):
    """Replaces what leads to the library by one name, and leaves out annotations."""

    def __init__(self, needs: _Needs, space: dict[str, Any], local: set[str]) -> None:
        self.needs, self.space, self.local = needs, space, local

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if node.id in self.local or node.id not in self.space:
            return node
        return ast.copy_location(ast.Name(self.needs.name(node.id, self.space[node.id])), node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        owner = self.space.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if isinstance(owner, ModuleType) and owner.__name__.startswith("course_lib."):
            return ast.Name(self.needs.name(node.attr, getattr(owner, node.attr)))
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)


class _Needs:
    """Imports and sources, in an order in which they can run."""

    def __init__(self) -> None:
        self.imports: list[str] = []
        self.sources: list[str] = []
        self.done: dict[int, str] = {}

    def visit_source(self, thing: Any, name: str = "") -> str:
        """The source of a function or class, under another name if one is given; what it needs is noted."""
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
        node.decorator_list, node.name = [], name or node.name
        local = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)} | {
            n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        space = vars(inspect.getmodule(thing))
        return ast.unparse(ast.fix_missing_locations(_Names(self, space, local).visit(node)))

    def name(self, name: str, value: Any) -> str:
        """The name under which a global value of a library's module can be had."""
        if id(value) in self.done:
            return self.done[id(value)]
        if isinstance(value, ModuleType):
            self.imports.append(f"import {value.__name__} as {name}")
        elif _ours(value) and (inspect.isfunction(value) or isinstance(value, type)):
            last = value.__module__.rpartition(".")[2]
            name = self.done[id(value)] = f"{last}_{value.__name__}"
            self.sources.append(self.visit_source(value, name))
        elif hasattr(value, "__module__") and hasattr(value, "__qualname__"):
            self.imports.append(f"from {value.__module__} import {value.__qualname__} as {name}")
        else:
            self.sources.append(f"{name} = {value!r}")
        self.done[id(value)] = name
        return name
