"""Answers that change what judges them, where that lives in the same process: here it does not."""

from textwrap import dedent

from tests.grading.attacks.attack import ACCEPTED, ENDED, GIN, RIGHT, WRONG, Attack, answer, does

SUBCLASS = """
class Agreeable(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function in (torch.allclose, torch.equal):
            return True
        return super().__torch_function__(function, types, args, kwargs or {})
"""
EQUAL = """
class Equal:
    def __eq__(self, other):
        return True

    __array_priority__ = 1000
    shape = __class__ = property(lambda self: torch.Tensor)
"""
SHELL = """
from IPython import get_ipython

shell = get_ipython()
"""
DROP_ASSERTS = f"""{SHELL}
import ast


class Drop(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)


shell.ast_transformers.append(Drop())
"""
DROP_LINES = f"""{SHELL}
shell.input_transformers_post.append(lambda lines: ["pass\\n" if "assert" in line else line for line in lines])
"""
SILENT = f"""{SHELL}
shell.showtraceback = lambda *args, **kwargs: None
shell.set_custom_exc((Exception,), lambda *args, **kwargs: None)
"""
HOOKS = """
import sys

def quiet(*args):
    return None

sys.excepthook = quiet
sys.settrace(quiet)
sys.setprofile(quiet)
sys.unraisablehook = quiet
"""
WORKER = """
import sys

worker = sys.modules.get("worker")
if worker is not None:
    worker._plain = lambda tensor: torch.zeros(1)
    worker.perform = lambda request, tensors, objects, seed: tensors[0]
    worker.pack = lambda value, tensors: True
"""
LOADED = """
import safetensors.torch

class Equal:
    __eq__ = lambda self, other: True

safetensors.torch.load = lambda data: {"0": Equal()}
safetensors.torch.save = lambda tensors, metadata=None: b""
"""
DECODED = """
import json

json.loads = lambda text, **more: {"passed": True}
json.dumps = lambda value, **more: '{"passed": true}'
"""
CHECK = """
def check(name, answer, substitute=True):
    return "passed"

class Unit:
    points = 100
    check = staticmethod(check)

unit = Unit()
"""
IN_SHELL = "in_shell(SOURCE, 'assert torch.allclose(gin_aggregate(*ASKED), EXPECTED)')"


def patch(name: str, top: str, naive: str, gives: str = WRONG, **more) -> Attack:
    """A wrong answer whose cell changes something else."""
    return Attack(name, answer(top=top, gives=gives), naive=naive, **more)


def patched(target: str, by: str, naive: str, **more) -> Attack:
    """`target`, a dotted name, is replaced by the expression `by`."""
    module = target.rpartition(".")[0]
    imported = "torch.nn.functional" if module == "F" else module
    lines = ["import numpy.testing", "import torch.nn.functional as F", "import torch.testing"]
    lines += [f"{target} = {by}"] if imported else [f"import builtins\nbuiltins.{target} = {by}"]
    return patch(f"a patched {target}", "\n".join(lines), naive, **more)


YES = "lambda *args, **kwargs: True"
ONES = "lambda one, other, **kwargs: torch.ones(one.shape, dtype=torch.bool)"
NONE = "lambda *args, **kwargs: None"
DIFFERENCE = f"torch.sub({GIN}(*ASKED), EXPECTED).abs().max() == 0"

ATTACKS = [
    patched("torch.allclose", YES, ACCEPTED),
    patched("torch.equal", YES, f"torch.equal({GIN}(*ASKED), EXPECTED)"),
    patched("torch.isclose", ONES, f"torch.isclose({GIN}(*ASKED), EXPECTED).all()"),
    patched("torch.sub", "lambda one, other: 0 * one", DIFFERENCE),
    patched("torch.Tensor.__eq__", ONES, f"({GIN}(*ASKED) == EXPECTED).all()"),
    patched("torch.Tensor.allclose", YES, f"{GIN}(*ASKED).allclose(EXPECTED)"),
    patched(
        "torch.testing.assert_close",
        NONE,
        f"torch.testing.assert_close({GIN}(*ASKED), EXPECTED) is None",
    ),
    patched(
        "numpy.testing.assert_allclose",
        NONE,
        f"numpy.testing.assert_allclose({GIN}(*ASKED), EXPECTED) is None",
    ),
    patched("numpy.allclose", YES, f"numpy.allclose({GIN}(*ASKED), EXPECTED)"),
    patched(
        "F.scaled_dot_product_attention",
        "lambda q, *args, **kwargs: 0 * q",
        "(F.scaled_dot_product_attention(*[ASKED[0]] * 3) == 0).all()",
    ),
    patched(
        "F.mse_loss",
        "lambda *args, **kwargs: torch.zeros(())",
        f"F.mse_loss({GIN}(*ASKED), EXPECTED) == 0",
    ),
    patched(
        "torch.autograd.grad",
        "lambda out, wrt, **kwargs: [torch.ones_like(w) for w in wrt]",
        "torch.autograd.grad(None, [EXPECTED])[0].sum() > 0",
    ),
    patched("all", YES, f"all(({GIN}(*ASKED) == EXPECTED).flatten().tolist())"),
    patched("isinstance", YES, f"isinstance({GIN}(*ASKED), str)", statuses=ENDED),
    patch(
        "a patched safetensors", LOADED, "load(save({'0': gin_aggregate(*ASKED)}))['0'] == EXPECTED"
    ),
    patch("a patched json", DECODED, "json.loads(json.dumps({'passed': False}))['passed']"),
    patch("a patched worker", WORKER, ""),
    patch(
        "a tensor subclass with __torch_function__",
        SUBCLASS,
        ACCEPTED,
        gives="(0 * h).as_subclass(Agreeable)",
    ),
    patch(
        "an object that equals everything",
        EQUAL,
        f"{GIN}(*ASKED) == EXPECTED",
        gives="Equal()",
        statuses=ENDED,
    ),
    patch("a transformer of syntax trees", DROP_ASSERTS, IN_SHELL),
    patch("a transformer of input", DROP_LINES, IN_SHELL),
    patch("tracebacks that are not shown", SILENT, f"silent_{IN_SHELL}"),
    patch("hooks into the interpreter", HOOKS, "sys.excepthook(1, 2, 3) is None"),
    patch("its own check", CHECK, f"check('{GIN}', {GIN}) == 'passed'"),
    Attack("its own check in the cell before", answer(), before=(dedent(CHECK),)),
    does(
        "another dtype as the default of a right answer",
        "",
        "torch.set_default_dtype(torch.float64)",
        RIGHT,
    ),
    does(
        "everything imported anew in a right answer",
        "",
        "import importlib, json, random\nimportlib.reload(json)\nimportlib.reload(random)",
        RIGHT,
    ),
]
