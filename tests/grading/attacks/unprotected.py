"""A grader without protection: it runs an answer in its own process and believes what it sees there.

Standard input is a JSON list of lists of [source, expression, ...]: sources are executed one after the other, and the
last expression must be true. Standard output is a JSON list of true or the text of what went wrong. Each list has a
fork of its own, so that they do not disturb each other; the pairs of one list share theirs.
"""

import contextlib
import io
import json
import os
import signal
import sys
import traceback

import numpy
import safetensors.torch
import torch
import torch.nn.functional as F

from course_lib.course_map import root
from course_lib.grading.grade import load_unit

SECONDS = 20
load_unit("05_graph_networks")  # the hidden checks, as a grader has them
os.open(root() / "solutions" / "05_graph_networks" / "hidden_checks.py", os.O_RDONLY)  # left open


def asked() -> tuple:
    """A question of the kind that a check asks."""
    return torch.arange(12.0).view(4, 3), torch.ones(4, 4) - torch.eye(4), 0.25


def right(h: torch.Tensor, adjacency: torch.Tensor, eps: float) -> torch.Tensor:
    """The answer."""
    return (1 + eps) * h + adjacency @ h


class Naive:
    """What may stand in the expressions."""

    def __init__(self, source: str) -> None:
        self.space = {"__name__": "__main__"}
        self.names = {
            "ASKED": asked(),
            "EXPECTED": right(*asked()),
            "GRAPH": (torch.ones(4, 3), torch.eye(4)),
            "SOURCE": source,
            "judge": self.judge,
            "layer_accepted": self.layer_accepted,
            "judge_with": self.judge_with,
            "judge_drawn": self.judge_drawn,
            "in_shell": lambda *texts: self.in_shell(*texts)[0],
            "silent_in_shell": lambda *texts: "AssertionError" not in self.in_shell(*texts)[1],
            "load": lambda data: safetensors.torch.load(data),
            "save": lambda tensors: safetensors.torch.save(tensors),
            "torch": torch,
            "F": F,
            "numpy": numpy,
            "json": json,
            "sys": sys,
            "os": os,
        }

    def judge(self, expected: torch.Tensor) -> bool:
        """The expected value is a local variable of the caller."""
        return torch.allclose(self.space["gin_aggregate"](*asked()), expected)

    def judge_with(self, attack) -> bool:
        """The hidden_checks of the unit call the answer: their name stands in this line."""
        return attack()

    def judge_drawn(self, seed: int) -> bool:
        """Draw the inputs from a seed that is a local variable of the caller."""
        generator = torch.Generator().manual_seed(seed)
        _, adjacency, eps = asked()
        torch.rand(9, generator=generator)
        h = torch.randn(4, 3, generator=generator)
        return torch.allclose(
            self.space["gin_aggregate"](h, adjacency, eps), right(h, adjacency, eps)
        )

    def layer_accepted(self, layer) -> bool:
        """Call a layer once."""
        x, matrix = self.names["GRAPH"]
        return torch.allclose(layer(x, matrix), matrix @ x @ layer.weight + layer.bias)

    def in_shell(self, source: str, check: str) -> tuple[bool, str]:
        """Run the answer's cell and a check cell as a notebook would: (no error, what was shown)."""
        from IPython.core.interactiveshell import InteractiveShell

        shell = InteractiveShell.instance()
        names = {"ASKED": self.names["ASKED"], "EXPECTED": self.names["EXPECTED"]}
        shell.push(names)
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
            shell.run_cell(source)
            done = shell.run_cell(check)
        return done.success, shown.getvalue()


def attempt(texts: list[str]) -> object:
    """Execute the sources and evaluate the expressions, by turns; whether the last was true."""
    naive, value = Naive(texts[0]), None
    for source, expression in zip(texts[::2], texts[1::2], strict=True):
        try:
            exec(compile(source, "<cell>", "exec"), naive.space)
        except AttributeError:  # there is no shell outside of a notebook
            if "get_ipython" not in source:
                raise
        value = bool(eval(expression, {**naive.names, **naive.space}))
    return value


def apart(texts: list[str]) -> object:
    """`attempt` in a fork; true, false or the text of an error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        signal.alarm(SECONDS)
        try:
            said = attempt(texts)
        except BaseException:
            said = traceback.format_exc()
        os.write(writer, b"1" if said is True else str(said).encode()[-2000:])
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    os.set_blocking(reader, False)  # what the child has started may hold the other end
    try:
        text = os.read(reader, 4000).decode()
    except BlockingIOError:
        text = "it wrote nothing"
    os.close(reader)
    return True if text == "1" else text or "it ended early"


if __name__ == "__main__":
    torch.set_num_threads(1)
    json.dump([apart(texts) for texts in json.load(sys.stdin)], sys.stdout)
