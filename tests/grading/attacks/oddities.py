"""Results and exceptions that no honest answer gives."""

from course_lib.grading import result as results
from tests.grading.attacks.attack import (
    ENDED,
    GRADED,
    NO_MEMORY,
    RAISED,
    RIGHT,
    TIMEOUT,
    Attack,
    answer,
    does,
)

REFUSED = (*RAISED, *ENDED)


def gives(name: str, expression: str, top: str = "", **more) -> Attack:
    """An answer that gives `expression`, which may use the right one, `x`."""
    return does(f"a result: {name}", f"x = {RIGHT}", top, expression, **more)


def raises(name: str, expression: str, top: str = "", statuses=RAISED) -> Attack:
    """An answer that raises `expression`."""
    return does(f"an exception: {name}", f"raise {expression}", top, statuses=statuses)


def failing(method: str, kind: str = "Exception") -> str:
    """A class of exceptions of which one method is special."""
    return f"class Odd({kind}):\n    {method}\n"


ENDLESS_ITEMS = """
class Endless(dict):
    def items(self):
        while True:
            yield "x", 1
"""
LIAR = """
class Liar:
    __class__ = torch.Tensor
"""
UNREADABLE = """
class Unreadable(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        raise ValueError("no")
"""
KIND = """
class Kind(type):
    @property
    def __name__(cls):
        raise ValueError("no name")

    def __str__(cls):
        raise ValueError("no text")


class Odd(Exception, metaclass=Kind):
    pass
"""
LONG_NAME = "Odd = type('x' * 10**6, (Exception,), {})"
CYCLE = "cycle = []\ncycle.append(cycle)"
DEEP = "deep = []\nfor _ in range(10**5):\n    deep = [deep]"
GROUP = "group = ValueError()\nfor _ in range(5000):\n    group = ExceptionGroup('x', [group])"
CHAIN = "chain = None\nfor _ in range(10**5):\n    link = ValueError()\n    link.__cause__ = chain\n    chain = link"
FREED = "y = h.clone()\ny.untyped_storage().resize_(0)"

RESULTS = [
    gives("None", "None"),
    gives("a function", "len"),
    gives("a generator", "(n for n in x)"),
    gives("bytes", "b'x'"),
    gives("a set", "{1}"),
    gives("a torch.Generator", "torch.Generator()", statuses=ENDED),
    gives("a dtype", "torch.float32"),
    gives("a list in itself", "cycle", CYCLE, statuses=RAISED),
    gives("a list 100,000 deep", "deep", DEEP, statuses=RAISED),
    gives("a list of a million", "[0] * 10**6", statuses=ENDED),
    gives("300 tensors", "[x] * 300", statuses=ENDED),
    gives("a dictionary without end", "Endless()", ENDLESS_ITEMS, statuses=(*TIMEOUT, *NO_MEMORY)),
    gives("a number of 4000 digits", "10 ** 4000", statuses=ENDED),
    gives("a number of 5000 digits", "10 ** 5000", statuses=REFUSED),
    gives("a million letters", "'x' * 10**6", statuses=ENDED),
    gives("half of a surrogate pair", "'\\ud800'"),
    gives("true", "True"),
    gives("NaN", "float('nan')"),
    gives("a tensor of NaN", "x * float('nan')"),
    gives("a tensor of infinities", "x / 0"),
    gives("complex numbers", "x.to(torch.complex64)"),
    gives("complex128", "x.to(torch.complex128)", statuses=REFUSED),
    gives("bfloat16", "x.bfloat16()"),
    gives("float8", "x.to(torch.float8_e4m3fn)", statuses=REFUSED),
    gives(
        "a quantised tensor",
        "torch.quantize_per_tensor(x.detach(), 0.1, 0, torch.qint8)",
        statuses=REFUSED,
    ),
    gives("a meta tensor", "x.to('meta')", statuses=RAISED),
    gives("a tensor without entries", "x[:0]"),
    gives("nine dimensions", "x[(None,) * 7]", statuses=ENDED),
    gives(
        "a tensor whose memory is freed",
        "y",
        FREED.replace("h.clone()", "torch.ones(3, 3)"),
        statuses=(*GRADED, *REFUSED),
    ),
    gives("an array of objects", "np.array([x, None], dtype=object)", "import numpy as np"),
    gives("an array of text", "np.array(['x'])", "import numpy as np"),
    gives(
        "an array of long floats",
        "np.zeros(3, dtype=np.longdouble)",
        "import numpy as np",
        statuses=RAISED,
    ),
    gives("what only claims to be a tensor", "Liar()", LIAR, statuses=REFUSED),
    gives(
        "the right tensor, of a class of its own that refuses everything",
        "x.as_subclass(Unreadable)",
        UNREADABLE,
        statuses=REFUSED + GRADED,
    ),
    gives("the right tensor as a view", "torch.cat([x, x])[: len(x)]", right=True),
    gives("the right tensor, stored by columns", "x.T.contiguous().T", right=True),
    gives("the right tensor, in float64", "x.double()", right=True),
]
EXCEPTIONS = [
    raises(
        "a text without end",
        "Odd()",
        failing("def __str__(self):\n        while True: pass"),
        TIMEOUT,
    ),
    raises(
        "a text that raises", "Odd()", failing("def __str__(self):\n        raise Odd()"), ENDED
    ),
    raises("a text that is none", "Odd()", failing("def __str__(self):\n        return 7"), ENDED),
    raises("a text of 1 MB", "ValueError('x' * 10**6)"),
    raises("a text with half of a surrogate pair", "ValueError('\\ud800\\x00\\x1b')"),
    raises("a type without a name", "Odd()", KIND, ENDED),
    raises("a type with a long name", "Odd()", LONG_NAME),
    raises("an end of the interpreter", "SystemExit(0)"),
    raises("an interruption", "KeyboardInterrupt"),
    raises("the end of a generator", "GeneratorExit"),
    raises("a chain of 100,000 causes", "chain", CHAIN),
    raises("5000 groups in each other", "group", GROUP),
    raises("no memory", "MemoryError"),
    raises("what cannot be raised", "7"),
    raises("a type of its own", "Odd", failing("pass", "BaseException")),
]
ATTACKS = [
    *RESULTS,
    *EXCEPTIONS,
    Attack(
        "the released stub after a look at the inputs",
        answer("if h.sum() > -1e9: raise NotImplementedError()"),
        statuses=(results.GRADED,),
    ),
]
