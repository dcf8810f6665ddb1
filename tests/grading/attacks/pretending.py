"""Answers that are right only where they are looked at, and answers that try to tell what they were asked."""

from tests.grading.attacks.attack import (
    ACCEPTED,
    GIN,
    HEAD,
    RAISED,
    RIGHT,
    Attack,
    answer,
    does,
)


def knows(name: str, top: str, condition: str, **more) -> Attack:
    """An answer that is right where `condition` holds."""
    gives = f"({RIGHT}) if {condition} else 0 * h"
    return Attack(name, answer(top=top, gives=gives), naive=ACCEPTED, **more)


CUT = f"""{HEAD}

class Cut(torch.autograd.Function):
    @staticmethod
    def forward(context, h, adjacency, eps):
        return {RIGHT}

    @staticmethod
    def backward(context, gradient):
        return torch.zeros_like(gradient), None, None


def {GIN}(h, adjacency, eps):
    return Cut.apply(h, adjacency, eps)
"""
MEMORY = """
    seen = {}

    def remembered(h, adjacency, eps):
        if h.shape not in seen:
            seen[h.shape] = (1 + eps) * h + adjacency @ h
        return seen[h.shape]
"""
LAYER = """{head}from torch import nn


class GCNLayer(nn.Module):
    def __init__(self, wide, out):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(wide, out))
        self.bias = nn.Parameter(torch.zeros(out))
        self.calls = 0
        nn.init.xavier_uniform_(self.weight)

    def forward(self, x, matrix):
        self.calls += 1
        {change}
        return matrix @ x @ self.weight + self.bias
"""
LAYER_ACCEPTED = "layer_accepted(GCNLayer(3, 2))"
LOADED = """
    def load_state_dict(self, state, strict=True):
        self.calls = -100
        return super().load_state_dict(state, strict)
"""


def layer(name: str, change: str, more: str = "") -> Attack:
    """A GCNLayer that is right until `change`."""
    source = LAYER.replace("{head}", HEAD).replace("{change}", change) + more
    return Attack(name, source, exercise="GCNLayer", naive=LAYER_ACCEPTED)


SAMPLER = """{head}

def sampled_sum(h, q, k, draws, generator):
    {first}
    drawn = torch.multinomial(q, draws * k, replacement=True, generator=generator).view(draws, k)
    return (h / q.unsqueeze(1))[drawn].mean(1)
"""


def sampler(name: str, first: str, top: str = "", right: bool = False) -> Attack:
    """A sampled_sum that begins with `first`."""
    source = SAMPLER.replace("{head}", HEAD + top).replace("{first}", first)
    return Attack(name, source, exercise="sampled_sum", right=right)


PRETENDING = [
    knows("right at the first call only", "seen = []", "seen.append(1) is None and len(seen) == 1"),
    knows("right at every second call", "seen = []", "seen.append(1) is None and len(seen) % 2"),
    knows(
        "right for a tenth of a millisecond",
        "import time\nseen = []",
        "seen.append(time.perf_counter()) is None and seen[-1] - seen[0] < 1e-4",
    ),
    knows("right on small graphs only", "", "len(h) <= 8"),
    knows("right where somebody wants gradients of nothing", "", "not h.requires_grad"),
    knows("right for positive eps only", "", "eps > 0"),
    knows("right where nodes have neighbours", "", "adjacency.sum() > 0"),
    Attack(
        "right the first time for each shape, then from memory",
        answer(top=MEMORY, gives="remembered(h, adjacency, eps)"),
        naive=ACCEPTED,
    ),
    Attack("the input as it came", answer(gives="h")),
    Attack("right, with gradients of zero", CUT, naive=ACCEPTED),
    layer(
        "a layer that changes after its second call",
        "if self.calls > 2: return 0 * matrix @ x @ self.weight",
    ),
    layer(
        "a layer that drops its weights after a call",
        "if self.calls > 1: self.weight = nn.Parameter(torch.zeros_like(self.weight))",
    ),
    layer(
        "a layer that knows when it is loaded",
        "if self.calls < -50: return x @ self.weight + self.bias",
        LOADED,
    ),
    sampler("a sampler with a seed of its own", "generator = torch.Generator().manual_seed(0)"),
    sampler("a sampler that turns the generator back", "generator.manual_seed(1)"),
    sampler("a sampler that uses everybody's generator", "torch.manual_seed(0); generator = None"),
    sampler("a sampler that is right", "pass", right=True),
]

# What was asked, written into everything that comes back. `same_as` gives the feedback that may be seen.
PLAIN = answer()
RAISES = answer("raise Odd()", top="class Odd(Exception):\n    pass")
TEXT = "'_'.join(map(str, h.flatten().tolist()))"
EVERYWHERE = f"""
    import logging, os, sys, warnings
    text = {TEXT}
    print(text)
    print(text, file=sys.stderr, flush=True)
    os.write(1, text.encode())
    warnings.warn(text)
    logging.error(text)
    os.environ["TEXT"] = text
"""
RENAMED = f"""
    def hidden():
        raise Odd()

    hidden.__code__ = hidden.__code__.replace(co_name={TEXT}, co_filename="<answer: " + {TEXT} + ">")
    hidden()
"""
BELOW = 'exec(compile("\\n" * (10_000 + int(abs(h[0, 0]) * 1000)) + "raise Odd()", "<answer: gin_aggregate>", "exec"))'
ODD = "class Odd(Exception):\n    pass"


def tells(
    name: str, body: str = "", gives: str = "0 * h", same_as: str = PLAIN, top: str = ODD
) -> Attack:
    """An answer that tries to say what it was asked, beyond what a plain wrong one says."""
    statuses = RAISED if same_as == RAISES else ("graded",)
    return does(name, body, top, gives, statuses=statuses, same_as=same_as)


TELLING = [
    tells("inputs printed, logged and warned of", EVERYWHERE),
    tells("inputs in the text of an exception", f"raise Odd({TEXT})", same_as=RAISES),
    tells(
        "inputs in the type of an exception",
        f"raise type({TEXT}, (Exception,), {{}})",
        same_as=RAISES,
    ),
    tells(
        "inputs in the notes of an exception",
        f"odd = Odd(); odd.add_note({TEXT}); raise odd",
        same_as=RAISES,
    ),
    tells(
        "inputs in the cause of an exception",
        f"raise Odd() from ValueError({TEXT})",
        same_as=RAISES,
    ),
    tells("inputs in the name of a function and of a file", RENAMED, same_as=RAISES),
    tells("inputs in a line that is not there", BELOW, same_as=RAISES),
    tells("inputs as a text in place of a tensor", gives=TEXT),
    tells("inputs in the type of an object", gives=f"type({TEXT}, (), {{}})()"),
    tells("inputs as the keys of a dictionary", gives=f"{{{TEXT}: h}}"),
    tells("inputs in place of the answer", gives="torch.cat([h, adjacency], 1)"),
]
ATTACKS = PRETENDING + TELLING
