"""What an attack is, and the answer cells that carry it.

An attack is the source of an answer cell. Many of them pay only if they work: the answer is right where `attack()`
returns true, and ends its process otherwise, so that 0 points prove that it did not work. `naive` is an expression
that is true where nothing protects the grader and the attack works; test_unprotected.py evaluates it there and so
proves that the attack is a real one.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import dedent, indent

from course_lib.grading import result as results

GIN = "gin_aggregate"  # a function of h [N, F], a dense adjacency [N, N] and a number eps
RIGHT, WRONG = "(1 + eps) * h + adjacency @ h", "0 * h"
GRADED, ENDED = (results.GRADED,), (results.CRASHED,)
RAISED, TIMEOUT = (results.STUDENT_ERROR,), (results.TIMEOUT,)
NO_MEMORY = (results.OUT_OF_MEMORY, results.STUDENT_ERROR)  # the latter by a MemoryError
ACCEPTED = f"torch.allclose({GIN}(*ASKED), EXPECTED)"  # what a grader in the answer's process asks
HEAD = "import torch\n"
PAYS = f"""

@functools.cache
def works():
    try:
        return bool(attack())
    except (OSError, ImportError, MemoryError, RuntimeError, sqlite3.Error):
        return False


def {GIN}(h, adjacency, eps):
    if not works():
        os._exit(1)
    return {RIGHT}
"""


@dataclass(frozen=True)
class Attack:
    """One hostile, or merely unusual, submission.

    Attributes:
        name: what it does, in words.
        source: of the answer cell.
        right: whether it earns the points, because the answer is right after all; else it earns none.
        statuses: what its exercise may end as.
        before: sources of cells in front of the answer.
        naive: see above; "" where the status itself proves that the attack took place.
        same_as: the source of a plain answer with the same feedback, where the attack tries to say more.
    """

    name: str
    source: str
    exercise: str = GIN
    right: bool = False
    statuses: tuple[str, ...] = GRADED
    before: tuple[str, ...] = ()
    naive: str = ""
    same_as: str = ""


def answer(body: str = "", top: str = "", gives: str = WRONG) -> str:
    """An answer cell: `top` stands in front of the function, `body` at the beginning of every call."""
    inside = indent(dedent(body).strip() or "pass", "    ")
    return f"{HEAD}{dedent(top)}\n\ndef {GIN}(h, adjacency, eps):\n{inside}\n    return {gives}\n"


def does(name: str, body: str, top: str = "", gives: str = WRONG, **more) -> Attack:
    """An attack that does something whenever it is called; its answer is right if `gives` is RIGHT."""
    more = {"right": gives == RIGHT, **more}
    return Attack(name, answer(body, top, gives), **more)


def pays(name: str, source: str, **more) -> Attack:
    """An attack whose answer is right if `attack()` works, and whose process ends at once if it does not."""
    more = {"naive": "attack()", "statuses": ENDED, **more}
    head = "import functools\nimport os\nimport sqlite3\nimport torch\n\n"
    return Attack(name, head + dedent(source) + PAYS, **more)
