"""The student's side of a check: calls that are caught, results that are kept, and what was observed of them."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from course_lib.exercises.compare import Raised, describe, snapshot

if TYPE_CHECKING:
    from course_lib.exercises.case import Case


IN_PLACE = Raised(
    "RuntimeError",
    "the gradient needs a tensor that was changed in place after it was computed (an assignment to entries, "
    "an operator such as /=, or a method with an underscore): make a new one instead",
)


@dataclass
class Observation:
    """One thing a check looked at: what was called, what came back, and how to judge it (None = fine)."""

    label: str
    kind: str  # "value", "score", "gradient" or "property"
    call: str
    got: Any
    expected: Any
    judge: Callable[[Any], str | None] = field(repr=False)
    given: dict[str, Any] = field(default_factory=dict, repr=False)

    again: list[Any] = field(default_factory=list, repr=False)  # what repeated calls gave

    def failure(self) -> str | None:
        """One line on what is wrong, or None. A call that raised is always wrong, and so is a wrong repetition."""
        for got in (self.got, *self.again):
            if (text := self._wrong(got)) is not None:
                return text
        return None

    def _wrong(self, got: Any) -> str | None:
        if isinstance(got, Raised):
            return describe(got)
        if isinstance(got, tuple):
            for part in got:
                if isinstance(part, Raised):
                    return describe(part)
        try:
            return self.judge(got)
        except Exception as error:
            return f"{describe(got)} cannot be judged ({type(error).__name__}: {error})"[:200]


class Answer:
    """A student's function, class or object; every call is caught, and its arguments are copies.

    The names of those that it changes in place are noted in `case.changed`.

    Calling it returns the plain result, an `Answer` around an object (an instance of the student's class), or `Raised`.
    """

    def __init__(self, target: Any, case: Case, name: str) -> None:
        self._target, self._case, self._name = target, case, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the student's code on copies of the arguments."""
        self._case.last_call = f"{self._name}({', '.join(describe(a) for a in args)})"
        given, named = tuple(map(_copy, args)), {k: _copy(v) for k, v in kwargs.items()}
        try:
            result = self._target(*given, **named)
        except Exception as error:  # whatever the student's code raises is the student's result
            return raised(error)
        names = [*argument_names(self._target, len(args)), *(f"`{name}`" for name in kwargs)]
        before, after = (*args, *kwargs.values()), (*given, *named.values())
        for was, now, name in zip(before, after, names):
            if not _unchanged(was, now):
                self._case.changed.append(name)
        plain = (torch.Tensor, tuple, list, dict, int, float, str, bool, type(None))
        if isinstance(result, plain) or type(result).__module__ == "numpy":
            return result
        return Answer(result, self._case, type(result).__name__)

    def new_object(self, *args: Any) -> Any:
        """What the student's class makes of `args`; `Raised` if that is a plain value such as None."""
        made = self(*args)
        if isinstance(made, (Answer, Raised)):
            return made
        text = f"{self._case.last_call} gave {describe(made)}; an object with methods is wanted"
        return Raised("TypeError", text)

    def gradient_of_argument(self, probe: torch.Tensor, wrt: int, *args: Any) -> Any:
        """[gradient of <probe, f(args)> with respect to argument `wrt`, None if none arrives], or `Raised`."""
        leaf = args[wrt].clone().requires_grad_(True)
        got = self(*[leaf if i == wrt else a for i, a in enumerate(args)])
        return _gradients(got, probe, [leaf])

    def gradients_of_parameters(self, probe: torch.Tensor, names: Sequence[str], *args: Any) -> Any:
        """The gradients of <probe, f(args)> for the module's own parameters; None for one that does not learn."""
        got = self(*args)
        own = [getattr(self._target, name, None) for name in names]
        leaves = [p if isinstance(p, torch.Tensor) and p.requires_grad else None for p in own]
        return _gradients(got, probe, leaves)

    def settle(self, observations: list[Observation]) -> None:
        """All calls of an answer in this process are made already; an answer elsewhere makes them now."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            value = getattr(self._target, name)
        except Exception as error:
            return raised(error)
        return Answer(value, self._case, f"{self._name}.{name}") if callable(value) else value


def argument_names(function: Any, count: int) -> list[str]:
    """The names of a function's first `count` arguments, "argument 1" and so on where it has none."""
    try:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        names = [f"`{p.name}`" for p in parameters if p.kind in kinds]
    except (TypeError, ValueError):
        names = []
    return [*names[:count], *(f"argument {i + 1}" for i in range(len(names), count))]


def joined(result: Any) -> Any:
    """All entries of a tuple or list of tensors in one row, for a probe of them; other results as they are."""
    several = type(result) in (tuple, list) and len(result) > 0
    if several and all(isinstance(part, torch.Tensor) for part in result):
        return torch.cat([part.reshape(-1) for part in result])
    return result


def _gradients(got: Any, probe: torch.Tensor, leaves: list[torch.Tensor | None]) -> Any:
    if isinstance(got, Raised):
        return got
    got = joined(got)
    if not isinstance(got, torch.Tensor):
        text = f"{describe(got)}: a torch tensor is needed, so that gradients can flow"
        return Raised("TypeError", text)
    present = [leaf for leaf in leaves if leaf is not None]
    try:
        found = iter(torch.autograd.grad((got * probe).sum(), present, allow_unused=True))
    except Exception as error:
        return IN_PLACE if "inplace" in str(error) else [None] * len(leaves)
    return [None if leaf is None else next(found) for leaf in leaves]


def keep(value: Any) -> Any:
    """A snapshot of a result; of an object of the student's, the object itself; `Raised` if it cannot be copied."""
    try:
        return snapshot(value._target if isinstance(value, Answer) else value)
    except Exception as error:
        return raised(error)


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if type(value) in (tuple, list):
        return type(value)(map(_copy, value))
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    return value


def _unchanged(was: Any, now: Any) -> bool:
    """Whether an argument's copy still holds what it held before the call."""
    if isinstance(was, torch.Tensor):
        if was.shape != now.shape or was.layout != torch.strided:
            return was.shape == now.shape
        return bool(((was == now) | ((was != was) & (now != now))).all())
    if type(was) in (tuple, list):
        return len(was) == len(now) and all(map(_unchanged, was, now))
    if isinstance(was, dict):
        return was.keys() == now.keys() and all(_unchanged(was[k], now[k]) for k in was)
    return True


def raised(error: Exception) -> Raised:
    """The exception, with the line of the function that was called and the last line of the student's own code."""
    own = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in f.filename
        and "course_lib" not in f.filename
        and "/torch/" not in f.filename
    ]
    where = (
        f"line {own[0].lineno} of {own[0].name}: {own[0].line or ''}".rstrip(": ") if own else ""
    )
    if len(own) > 1 and own[-1].name != own[0].name:
        where += f" (raised in line {own[-1].lineno} of {own[-1].name})"
    text = " ".join(str(error).split())[:200]
    return Raised(type(error).__name__, text, where, own[-1].name if own else "your code")
