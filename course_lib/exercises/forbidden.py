"""Names that an answer must not use, found in its syntax tree.

An exercise that asks for a thing by hand forbids its ready-made forms by their dotted names: one function
(`torch.nn.functional.scaled_dot_product_attention`), one class (`torch.nn.LSTM`) or a package (`torch_geometric`).
A name that begins with a dot (`.logsumexp`) is an attribute of anything but `self`: a tensor's method, say.
What counts is a use: a name, an attribute or a subclass that leads there through imports, simple re-binding, `getattr`
with a written-out name, or a dynamic import. An import that nothing uses, strings and comments do not count. This is
a policy and no wall: a name put together while the program runs is not seen.

Grading loads this file by its path in a process without other packages, so it imports the standard library alone.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

UNMISTAKABLE = (
    16  # characters from which the last part of a name is recognised as an attribute of anything
)
ROUNDS = 4  # how many re-bindings deep a name is followed
MOST_PATHS = 8  # how many meanings of one name are followed
DYNAMIC_IMPORTS = ("import_module", "__import__")
Paths = dict[str, set[str]]


def forbidden_names(
    source: str | ast.AST, forbidden: Sequence[str], aliases: Mapping[str, str] | None = None
) -> list[str]:
    """The forbidden names that `source` uses, each as the dotted path it is used by, sorted.

    Args:
        source: Python text, or its tree.
        forbidden: dotted names; everything below such a name is forbidden with it.
        aliases: what names mean before the first line, such as {"F": "torch.nn.functional"}.

    Raises SyntaxError (or ValueError, RecursionError, MemoryError) if text cannot be parsed.
    """
    if not forbidden:
        return []
    nodes = list(ast.walk(ast.parse(source) if isinstance(source, str) else source))
    definitions = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    defined = {n.name for n in nodes if isinstance(n, definitions)}
    known = {name: {path} for name, path in (aliases or {}).items() if name not in defined}
    _follow(nodes, forbidden, known)
    found = {
        f"{node.module}.*" for node in nodes if _is_star(node) and _hit(node.module, forbidden)
    }
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    inner |= {id(node.args[0]) for node in nodes if _is_getattr(node)}
    for node in nodes:
        if isinstance(node, ast.Name | ast.Attribute | ast.Call) and id(node) not in inner:
            found |= {path for path in _paths(node, known) if _hit(path, forbidden)}
    own = defined | {n.attr for n in nodes if isinstance(n, ast.Attribute) and _is_stored(n)}
    own |= {n.id for n in nodes if isinstance(n, ast.Name) and _is_stored(n)}
    named = {path.rpartition(".")[2] for path in found}
    for full, last in ((name, name.rpartition(".")[2]) for name in forbidden if "." in name):
        sure = full.startswith(".") or len(last) >= UNMISTAKABLE
        if sure and last not in own | named and _mentions(nodes, last):
            found.add(full)
    return sorted(p for p in found if not any(p.startswith(f"{q}.") for q in found))


def aliases_of(source: str | ast.AST, forbidden: Sequence[str]) -> dict[str, str]:
    """What the names that `source` imports or re-binds mean to a program that follows it."""
    known: Paths = {}
    tree = ast.parse(source) if isinstance(source, str) else source
    _follow(list(ast.walk(tree)), forbidden, known)
    return {name: sorted(paths)[-1] for name, paths in known.items() if paths}


def _hit(path: str, forbidden: Sequence[str]) -> bool:
    """Whether `path` is a forbidden name, lies below one, or is one that a package re-exports from deeper down."""
    for name in forbidden:
        parent, _, last = name.rpartition(".")
        if path == name or path.startswith(f"{name}."):
            return True
        same_end = parent and path.endswith(f".{last}")
        if same_end and (path.startswith(f"{parent}.") or len(last) >= UNMISTAKABLE):
            return True
    return False


def _leads_on(path: str, forbidden: Sequence[str]) -> bool:
    """Whether `path` is forbidden, or attributes of it may be."""
    top = {name.partition(".")[0] for name in forbidden} | {"importlib", "builtins", "sys"}
    return path.partition(".")[0] in top


def _follow(nodes: list[ast.AST], forbidden: Sequence[str], known: Paths) -> None:
    """Add to `known` what imports and assignments make of names, whatever the order they run in."""
    pairs = []
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                _add(known, alias.asname or top, {alias.name if alias.asname else top}, forbidden)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for name, path in _imported(node, forbidden):
                _add(known, name, {path}, forbidden)
        else:
            pairs += _bindings(node)
    for _ in range(ROUNDS):
        grown = [_add(known, name, _paths(value, known), forbidden) for name, value in pairs]
        if not any(grown):
            return


def _add(known: Paths, name: str, paths: set[str], forbidden: Sequence[str]) -> bool:
    have = known.setdefault(name, set())
    new = {p for p in paths - have if _leads_on(p, forbidden)}
    if not new or len(have) >= MOST_PATHS:
        return False
    have |= new
    return True


def _imported(node: ast.ImportFrom, forbidden: Sequence[str]) -> Iterable[tuple[str, str]]:
    """(name, path) of each thing that a `from` import binds; of a star only what leads to a forbidden name."""
    for alias in node.names:
        if alias.name != "*":
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"
            continue
        for name in forbidden:
            if name.startswith(f"{node.module}."):
                first = name[len(node.module) + 1 :].partition(".")[0]
                yield first, f"{node.module}.{first}"


def _bindings(node: ast.AST) -> list[tuple[str, ast.expr]]:
    """(name, value) of each plain assignment, also inside tuples of equal length."""
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
        targets = [node.target]
    else:
        return []
    sequences = (ast.Tuple, ast.List)
    found = []
    for target in targets:
        pairs = [(target, node.value)]
        if isinstance(target, sequences) and isinstance(node.value, sequences):
            pairs = list(zip(target.elts, node.value.elts))
        found += [(to.id, value) for to, value in pairs if isinstance(to, ast.Name)]
    return found


def _paths(node: ast.expr, known: Paths) -> set[str]:
    """The dotted paths that an expression may stand for: a name, attributes of it, `getattr`, a dynamic import."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute) or _is_getattr(node):
        attribute = isinstance(node, ast.Attribute)
        parts.append(node.attr if attribute else node.args[1].value)
        node = node.value if attribute else node.args[0]
    if isinstance(node, ast.Name):
        bases = known.get(node.id, set())
    elif isinstance(node, ast.Call) and node.args and _text(node.args[0]):
        called = getattr(node.func, "attr", getattr(node.func, "id", ""))
        renamed = _paths(node.func, known) if isinstance(node.func, ast.Name) else set()
        last = {called, *(path.rpartition(".")[2] for path in renamed)}
        bases = {node.args[0].value} if last & {*DYNAMIC_IMPORTS} else set()
    elif isinstance(node, ast.Subscript) and _text(node.slice):
        bases = {node.slice.value} if getattr(node.value, "attr", "") == "modules" else set()
    else:
        return set()
    return {".".join([base, *reversed(parts)]) for base in bases}


def _text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_getattr(node: ast.AST) -> bool:
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return called and node.func.id == "getattr" and len(node.args) in (2, 3) and _text(node.args[1])


def _is_star(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and bool(node.module) and node.names[0].name == "*"


def _is_stored(node: ast.Name | ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store)


def _mentions(nodes: list[ast.AST], last: str) -> bool:
    """Whether something other than `self` is asked for the attribute `last`."""
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr == last:
            owner = node.value
        elif _is_getattr(node) and node.args[1].value == last:
            owner = node.args[0]
        else:
            continue
        if getattr(owner, "id", "") not in ("self", "cls"):
            return True
    return False


# live answers ------------------------------------------------------------------------------------


def forbidden_in(answer: Any, forbidden: Sequence[str]) -> list[str]:
    """The forbidden names that a live function or class uses, with the helpers of its own module that it calls.

    Reads the source where there is one; where there is none, nothing is found. Raises nothing.
    """
    found: set[str] = set()
    waiting, seen = [answer] if forbidden and callable(answer) else [], set()
    while waiting and len(seen) < 100:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        try:
            names, more = _look_at(thing, forbidden)
        except Exception:  # no source, or none that can be parsed alone
            continue
        found |= set(names)
        waiting += more
    return sorted(found)


def _look_at(thing: Any, forbidden: Sequence[str]) -> tuple[list[str], list[Any]]:
    """The forbidden names in one function or class, and what of its module it refers to."""
    import functools  # only here: grading's reader of notebooks has to start quickly
    import inspect
    import textwrap

    thing = inspect.unwrap(thing.func if isinstance(thing, functools.partial) else thing)
    if _hit(path := _path_of(thing), forbidden):
        return [path], []
    if isinstance(thing, type):
        bases = [_path_of(base) for base in thing.__mro__[1:]]
        inside = [getattr(v, "__func__", getattr(v, "fget", v)) for v in vars(thing).values()]
        return [b for b in bases if _hit(b, forbidden)], [*filter(inspect.isfunction, inside)]
    if not inspect.isroutine(thing):
        return [], [type(thing)]
    function = getattr(thing, "__func__", thing)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    known = function.__globals__
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & known.keys()
    aliases = {name: path for name in used if (path := _path_of(known[name]))}
    own = function.__module__
    near = [known[n] for n in used if getattr(known[n], "__module__", None) == own]
    return forbidden_names(tree, forbidden, aliases), [
        v for v in near if inspect.isroutine(v) or isinstance(v, type)
    ]


def _path_of(value: Any) -> str:
    """The dotted path of a module, class or function; "" of anything else, and of what a lab goes on with."""
    if "substituted" in vars(type(value)):
        return ""
    name = getattr(value, "__qualname__", None)
    if isinstance(name, str) and isinstance(getattr(value, "__module__", None), str):
        return f"{value.__module__}.{name}"
    return value.__name__ if type(value).__name__ == "module" else ""
