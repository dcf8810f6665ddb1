"""Forbidden names: what counts as a use in a syntax tree, and what a student is told of it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course_lib.exercises import forbidden
from course_lib.exercises.engine import Unit
from course_lib.exercises.forbidden import aliases_of, forbidden_in, forbidden_names
from course_lib.exercises.graph_networks import reference
from course_lib.exercises.graph_networks import unit as graph_networks

ATTENTION = "torch.nn.functional.scaled_dot_product_attention"
NAMES = (ATTENTION, "torch.nn.LSTM", "torch_geometric", "torch.mean")
SETUP = "import torch\nimport torch.nn.functional as F\nfrom torch import nn"

USES = {
    "torch.nn.functional.scaled_dot_product_attention(q, k, v)": ATTENTION,
    "F.scaled_dot_product_attention(q, k, v)": ATTENTION,
    "attend = F.scaled_dot_product_attention": ATTENTION,
    "def f(x):\n    return nn.LSTM(3, 3)(x)": "torch.nn.LSTM",
    "class Mine(nn.LSTM):\n    pass": "torch.nn.LSTM",
    "from torch.nn import LSTM as L\nlayer = L(3, 3)": "torch.nn.LSTM",
    "from torch.nn import *\nlayer = LSTM(3, 3)": "torch.nn.LSTM",
    "from torch import *\nlayer = nn.LSTM(3, 3)": "torch.nn.LSTM",
    "layers = torch.nn\nmine = layers.LSTM(3, 3)": "torch.nn.LSTM",
    "a = b = torch\nc, d = a.nn, 1\nc.LSTM": "torch.nn.LSTM",
    "(m := torch.nn)\nm.LSTM": "torch.nn.LSTM",
    "def f(x):\n    m: object = nn\n    return m.LSTM": "torch.nn.LSTM",
    "nn.modules.rnn.LSTM(3, 3)": "torch.nn.modules.rnn.LSTM",
    "getattr(nn, 'LSTM')(3, 3)": "torch.nn.LSTM",
    "getattr(getattr(torch, 'nn'), 'LSTM', None)": "torch.nn.LSTM",
    "import importlib\nimportlib.import_module('torch_geometric.nn').GCNConv": "torch_geometric.nn.GCNConv",
    "from importlib import import_module as load\nload('torch_geometric')": "torch_geometric",
    "__import__('torch_geometric')": "torch_geometric",
    "import sys\nsys.modules['torch_geometric'].nn": "torch_geometric.nn",
    "def f():\n    import torch_geometric.nn as pyg\n    return pyg.GCNConv": "torch_geometric.nn.GCNConv",
    "import torch_geometric.nn\ntorch_geometric.nn.GCNConv(2, 2)": "torch_geometric.nn.GCNConv",
    "from torch_geometric.nn import *": "torch_geometric.nn.*",
    "torch._C._nn.scaled_dot_product_attention(q, k, v)": "torch._C._nn.scaled_dot_product_attention",
    "tools.scaled_dot_product_attention(q, k, v)": ATTENTION,
    "getattr(tools, 'scaled_dot_product_attention')": ATTENTION,
    "torch.mean(x)": "torch.mean",
}
DOES_NOT_USE = [
    "text = 'nn.LSTM and torch_geometric'  # nn.LSTM",
    '"""F.scaled_dot_product_attention"""',
    "x.mean() + tools.mean(x)",
    "layer.LSTM(3)",
    "class LSTM:\n    pass\nlayer = LSTM()",
    "import torch_geometric",
    "from torch.nn import LSTM",
    "nn.LSTMCell(3, 3)",
    "import torch_geometric_temporal as t\nt.nn",
    "def scaled_dot_product_attention(q):\n    return q\nmine.scaled_dot_product_attention(q)",
    "def f(self):\n    return self.scaled_dot_product_attention(1)",
    "box.scaled_dot_product_attention = f\nbox.scaled_dot_product_attention(1)",
    "from .rnn import LSTM\nLSTM(3)",
    "def f(nn=1):\n    return nn",
    "import_module(name)\n__import__('torch')\ngetattr(nn, name)",
]


@pytest.mark.parametrize(("source", "path"), USES.items())
def test_a_use_is_found(source, path):
    assert forbidden_names(source, NAMES, aliases_of(SETUP, NAMES)) == [path]


@pytest.mark.parametrize("source", DOES_NOT_USE)
def test_what_is_no_use(source):
    assert forbidden_names(source, NAMES, aliases_of(SETUP, NAMES)) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("(x + y).logsumexp(0)", [".logsumexp"]),
        ("getattr(x, 'logsumexp')(0)", [".logsumexp"]),
        ("self.logsumexp(0)", []),
        ("def logsumexp(a):\n    return a.max()\nlogsumexp(x)", []),
        ("logsumexp = 3\n'x.logsumexp'", []),
    ],
)
def test_an_attribute_of_anything(source, found):
    assert forbidden_names(source, (".logsumexp",)) == found
    assert forbidden_names(
        "import torch\ntorch.logsumexp(x)", ("torch.logsumexp", ".logsumexp")
    ) == ["torch.logsumexp"]


def test_without_the_setups_aliases_nothing_is_known_of_a_name():
    assert forbidden_names("nn.LSTM(3, 3)", NAMES) == []
    assert forbidden_names("nn.LSTM(3, 3)", NAMES, {"nn": "torch.nn"}) == ["torch.nn.LSTM"]
    assert forbidden_names("nn.LSTM(3, 3)", (), {"nn": "torch.nn"}) == []


def test_a_class_of_ones_own_takes_the_name_from_the_setup():
    aliases = aliases_of("from torch.nn import LSTM", NAMES)
    assert forbidden_names("LSTM(3)", NAMES, aliases) == ["torch.nn.LSTM"]
    assert forbidden_names("class LSTM: pass\nLSTM(3)", NAMES, aliases) == []


def test_a_name_that_is_bound_anew_does_not_hide_its_first_meaning():
    assert forbidden_names("import torch as t\nt.nn.LSTM\nt = 3", NAMES) == ["torch.nn.LSTM"]


def test_deep_and_tangled_trees_come_to_an_end():
    deep = "x = nn" + ".LSTM" * 900
    assert forbidden_names(deep, NAMES, {"nn": "torch.nn"})
    tangled = "\n".join(f"nn = nn.a{i}\nnn = nn.b{i}" for i in range(300)) + "\nnn.LSTM"
    assert "torch.nn.LSTM" in forbidden_names(tangled, NAMES, {"nn": "torch.nn"})


def test_a_tree_serves_as_well_as_text():
    assert forbidden_names(ast.parse("torch_geometric.nn"), NAMES, {"torch_geometric": NAMES[2]})


# live answers ------------------------------------------------------------------------------------


def plain(x):
    return x.sum(1)


def fused(q, k, v):
    """scaled_dot_product_attention"""
    return F.scaled_dot_product_attention(q, k, v)


def helped(q, k, v):
    return fused(q, k, v)


def recursive(n):
    return recursive(n - 1) if n else 0


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.LSTM(2, 2)


class Subclass(nn.LSTM):
    pass


class Static:
    @staticmethod
    def __call__(x):
        return nn.LSTM(2, 2)(x)


def test_live_functions_classes_and_objects():
    assert forbidden_in(plain, NAMES) == forbidden_in(recursive, NAMES) == []
    assert forbidden_in(fused, NAMES) == forbidden_in(helped, NAMES) == [ATTENTION]
    assert forbidden_in(functools.partial(fused, k=1), NAMES) == [ATTENTION]
    assert forbidden_in(functools.lru_cache(fused), NAMES) == [ATTENTION]
    for answer in (Recurrent, Recurrent(), Static, Static().__call__):
        assert forbidden_in(answer, NAMES) == ["torch.nn.LSTM"]
    assert forbidden_in(Subclass, NAMES) == ["torch.nn.modules.rnn.LSTM"]
    assert forbidden_in(F.scaled_dot_product_attention, NAMES)
    assert forbidden_in(nn.LSTM, NAMES) == ["torch.nn.modules.rnn.LSTM"]


def test_what_has_no_source_is_silently_nothing():
    space = {"nn": nn}
    exec("def made(x):\n    return nn.LSTM(2, 2)(x)", space)
    for answer in (space["made"], torch.ones(2), len, None, "text", type("Made", (), {})):
        assert forbidden_in(answer, NAMES) == []


def test_what_a_lab_goes_on_with_is_not_held_against_the_student(monkeypatch, capsys):
    monkeypatch.setitem(globals(), "normalized_adjacency", None)
    theirs = graph_networks.check("normalized_adjacency", lambda a: a)
    monkeypatch.setitem(globals(), "normalized_adjacency", theirs)
    assert theirs.substituted and forbidden_in(calls_the_substitute, graph_networks.forbids) == []


def calls_the_substitute(x):
    return normalized_adjacency(x)  # noqa: F821 - the test binds it


def double(x):
    return 2 * x


def twice_by_lstm(x):
    return nn.LSTM and 2 * x


def wrong_by_lstm(x):
    return nn.LSTM and 3 * x


def verbose(x):
    raise TypeError(nn.LSTM and "word " * 70)


@pytest.fixture
def unit():
    unit = Unit("99_small", forbids=["torch_geometric"])

    @unit.exercise(
        points=1,
        minutes=1,
        reference=double,
        hints=["first hint"],
        forbids=["torch.nn.LSTM"],
        uses=["other"],
    )
    def doubled(answer, case):
        x = case.normal(3)
        case.expect(answer(x), double(x))

    return unit


def test_a_unit_forbids_for_all_its_exercises(unit):
    exercise = unit.find("doubled")
    assert exercise.forbids == ("torch_geometric", "torch.nn.LSTM") and exercise.uses == ("other",)
    assert all("torch_geometric" in e.forbids for e in graph_networks.exercises.values())
    assert graph_networks.find("node_classifier").uses == ("GCNLayer",)


def test_a_passing_answer_is_told_and_still_passes(unit, capsys):
    assert unit.check("doubled", twice_by_lstm) is twice_by_lstm
    first, *rest = capsys.readouterr().out.splitlines()
    assert "public checks passed" in first
    said = " ".join(line.strip() for line in rest)
    assert said == (
        "forbidden torch.nn.LSTM: this exercise wants it built by hand; grading may give it no points"
    )
    assert unit.results["doubled"] == "passed"
    unit.check("doubled", double)
    assert "forbidden" not in capsys.readouterr().out


def test_a_failing_answer_is_told_after_the_hint(unit, capsys):
    unit.check("doubled", wrong_by_lstm)
    printed = capsys.readouterr().out
    assert (
        printed.index("first hint")
        < printed.index("forbidden torch.nn.LSTM")
        < printed.index("NOT YOURS")
    )
    assert len(printed.splitlines()) <= 12 and max(map(len, printed.splitlines())) <= 96


def test_where_there_is_no_room_the_other_lines_go_first(unit, monkeypatch, capsys):
    unit.find("doubled").hints = ("a long hint " * 60,)
    unit.find("doubled").mistake("a long mistake " * 60)(verbose)
    unit.check("doubled", verbose)
    printed = capsys.readouterr().out
    assert "forbidden" not in printed and "mistake" in printed


def test_the_library_of_unit_05_is_no_answer():
    used = forbidden_in(reference.normalized_adjacency, graph_networks.forbids)
    assert used == ["course_lib.exercises.graph_networks.reference.normalized_adjacency"]
    source = (
        "from course_lib.graphs.message_passing import gcn_norm\ndef f(a):\n    return gcn_norm(a)"
    )
    assert forbidden_names(source, graph_networks.forbids) == [
        "course_lib.graphs.message_passing.gcn_norm"
    ]


def test_the_module_needs_the_standard_library_alone():
    tops = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
        for node in ast.walk(ast.parse(Path(forbidden.__file__).read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert tops <= {
        "__future__",
        "ast",
        "collections",
        "typing",
        "inspect",
        "textwrap",
        "functools",
    }
