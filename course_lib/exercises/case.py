"""A case: one seeded question put to an answer.

A check draws inputs from its case, calls the answer, and hands every result to an `expect` method. Results stay opaque
to the check itself: nothing is compared before the check has made all its calls, so the same check serves a function in
this process and a proxy to another one.

Case 0 is the smallest (lower ends of every size, no special features), case 1 has every flag on; the rest are random.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from course_lib.exercises.compare import ATOL, RTOL, Raised, describe, difference, snapshot


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

    def failure(self) -> str | None:
        """One line on what is wrong, or None. A call that raised is always wrong."""
        if isinstance(self.got, Raised):
            return describe(self.got)
        if isinstance(self.got, tuple):
            for part in self.got:
                if isinstance(part, Raised):
                    return describe(part)
        return self.judge(self.got)


class Answer:
    """A student's function, class or object; every call is caught, and its arguments are copies.

    Calling it returns the plain result, an `Answer` around an object (an instance of the student's class), or `Raised`.
    """

    def __init__(self, target: Any, case: Case, name: str) -> None:
        self._target, self._case, self._name = target, case, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the student's code on copies of the arguments."""
        self._case.last_call = f"{self._name}({', '.join(describe(a) for a in args)})"
        try:
            result = self._target(*map(_copy, args), **{k: _copy(v) for k, v in kwargs.items()})
        except Exception as error:  # whatever the student's code raises is the student's result
            return _raised(error)
        plain = (torch.Tensor, tuple, list, dict, int, float, str, bool, type(None))
        if isinstance(result, plain) or type(result).__module__ == "numpy":
            return result
        return Answer(result, self._case, type(result).__name__)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            value = getattr(self._target, name)
        except Exception as error:
            return _raised(error)
        return Answer(value, self._case, f"{self._name}.{name}") if callable(value) else value


class Case:
    """Seeded inputs and recorded expectations.

    Args:
        seed: everything the case draws follows from it.
        index: 0 draws the smallest inputs, 1 sets every flag, others are random.
        scale: multiplies the upper ends of sizes (grading uses larger ones).
    """

    def __init__(self, seed: int, index: int = 2, scale: int = 1) -> None:
        self.seed, self.index, self.scale = seed, index, scale
        self.random = torch.Generator().manual_seed(seed)
        self.observations: list[Observation] = []
        self.last_call = ""

    # drawing inputs

    def size(self, low: int, high: int) -> int:
        """An integer in [low, high * scale]; case 0 takes `low`."""
        if self.index == 0:
            return low
        return int(torch.randint(low, high * self.scale + 1, (), generator=self.random))

    def flag(self) -> bool:
        """A fair coin; False in case 0 and True in case 1."""
        drawn = bool(torch.rand((), generator=self.random) < 0.5)
        return drawn if self.index > 1 else self.index == 1

    def normal(self, *shape: int) -> torch.Tensor:
        """Independent standard normal entries, float32."""
        return torch.randn(*shape, generator=self.random)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
        """Independent uniform entries in [low, high), float32."""
        return low + (high - low) * torch.rand(*shape, generator=self.random)

    def permutation(self, n: int) -> torch.Tensor:
        """A random permutation of 0..n-1 that is not the identity (for n > 1)."""
        order = torch.randperm(n, generator=self.random)
        return order.roll(1) if n > 1 and torch.equal(order, torch.arange(n)) else order

    def generator(self) -> torch.Generator:
        """A generator for the answer, with a seed of its own that says nothing about the case's."""
        return torch.Generator().manual_seed(int(torch.randint(2**40, (), generator=self.random)))

    def random_graph(
        self, nodes: int, isolated: bool = False, directed: bool = False
    ) -> torch.Tensor:
        """A dense 0/1 adjacency [N, N], float32, without self-loops; at least one edge if nodes > 1.

        Row i, column j is 1 if there is an edge from j to i (a message from j reaches i). With `isolated`, the last
        node has no edge at all. Without it every node has one: a ring lies under the random edges.
        """
        used = nodes - 1 if isolated and nodes > 2 else nodes
        adjacency = torch.zeros(nodes, nodes)
        drawn = (torch.rand(used, used, generator=self.random) < 0.35).float()
        adjacency[:used, :used] = (
            drawn if directed else torch.triu(drawn, 1) + torch.triu(drawn, 1).T
        )
        ring = torch.arange(used)
        adjacency[ring, ring.roll(1)] = 1.0
        if not directed:
            adjacency[ring.roll(1), ring] = 1.0
        adjacency.fill_diagonal_(0.0)
        return adjacency

    # expectations

    def expect(
        self, got: Any, expected: Any, label: str = "value", rtol: float = RTOL, atol: float = ATOL
    ) -> None:
        """The result `got` of a call must equal `expected`, entry by entry."""
        self._observe(
            label, "value", got, snapshot(expected), lambda g: difference(g, expected, rtol, atol)
        )

    def expect_that(
        self,
        label: str,
        judge: Callable[[Any], str | None],
        got: Any,
        kind: str = "property",
        given: dict[str, Any] | None = None,
    ) -> None:
        """`judge(got)` returns None if all is well, else a line that says what is not.

        `kind` is "score" where the judgement stands for the value itself (the accuracy of a trained
        model on labels held back, the mean and variance of a sampler), else "property": a property
        alone earns nothing, so a check that uses it has a value or a score beside it. `given` is
        kept for symptoms.
        """

        def safely(value: Any) -> str | None:
            try:
                return judge(value)
            except Exception as error:
                return f"{describe(value)} cannot be judged ({type(error).__name__}: {error})"[:200]

        self._observe(label, kind, got, None, safely, given)

    def expect_equivariant(
        self,
        answer: Callable[..., Any],
        *args: torch.Tensor,
        axes: Sequence[tuple[int, ...]] = ((0, 1),),
        out_axes: tuple[int, ...] = (0, 1),
        group: str = "permutation",
        extra: tuple = (),
    ) -> None:
        """f(g x) = g f(x): relabel the nodes along `axes` of each argument; the output must follow along `out_axes`.

        Decided from forward values alone; `extra` are further arguments that the group leaves alone.
        Raises ValueError for a group other than "permutation".
        """
        if group != "permutation":
            raise ValueError(f"group must be 'permutation', got {group!r}")
        order = self.permutation(args[0].shape[axes[0][0]])
        moved = [_permute(a, order, ax) for a, ax in zip(args, axes, strict=True)]
        plain = answer(*args, *extra)
        got = answer(*moved, *extra)
        call = self.last_call
        pair = (snapshot(plain), snapshot(got))

        def judge(both: tuple[Any, Any]) -> str | None:
            before, after = both
            if not isinstance(before, torch.Tensor) or not isinstance(after, torch.Tensor):
                return f"{describe(before)} is not a tensor"
            if any(axis >= before.dim() or before.shape[axis] != len(order) for axis in out_axes):
                return f"{describe(before)} has no axis of {len(order)} nodes where one should be"
            text = difference(after, _permute(before, order, out_axes))
            return text and f"relabelling the nodes must only relabel the output ({text})"

        self.observations.append(
            Observation("relabelled nodes", "property", call, pair, None, judge)
        )

    def expect_gradient(
        self,
        answer: Callable[..., Any],
        reference: Callable[..., torch.Tensor],
        *args: torch.Tensor,
        wrt: int = 0,
        extra: tuple = (),
    ) -> None:
        """The gradient of <probe, f(args)> with respect to argument `wrt` must equal the reference's.

        `extra` are further arguments, given as they are.
        """
        expected_in = [a.clone() for a in args]
        expected_in[wrt].requires_grad_(True)
        out = reference(*expected_in, *extra)
        probe = self.normal(*out.shape)
        (expected,) = torch.autograd.grad((out * probe).sum(), expected_in[wrt])

        leaf = args[wrt].clone().requires_grad_(True)
        got = answer(*[leaf if i == wrt else a for i, a in enumerate(args)], *extra)
        call = self.last_call
        if not isinstance(got, Raised):
            try:
                (got,) = torch.autograd.grad((got * probe).sum(), leaf, allow_unused=True)
            except Exception as error:
                got = None if isinstance(error, RuntimeError) else _raised(error)

        def judge(gradient: Any) -> str | None:
            if gradient is None:
                return f"no gradient reaches argument {wrt}: was the graph cut by .detach(), .data, .item() or numpy?"
            text = difference(gradient, expected)
            return text and f"the gradient for argument {wrt} differs: {text}"

        self.observations.append(
            Observation("gradient", "gradient", call, snapshot(got), snapshot(expected), judge)
        )

    def _observe(
        self,
        label: str,
        kind: str,
        got: Any,
        expected: Any,
        judge: Callable,
        given: dict | None = None,
    ) -> None:
        seen = Observation(label, kind, self.last_call, snapshot(got), expected, judge, given or {})
        self.observations.append(seen)


def _permute(tensor: torch.Tensor, order: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    for axis in axes:
        tensor = tensor.index_select(axis, order)
    return tensor


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if type(value) in (tuple, list):
        return type(value)(map(_copy, value))
    if isinstance(value, dict):
        return {k: _copy(v) for k, v in value.items()}
    return value


def _raised(error: Exception) -> Raised:
    """The exception with the last line of the student's own code, as far as it can be told from library code."""
    own = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in f.filename
        and "course_lib" not in f.filename
        and "/torch/" not in f.filename
    ]
    where = (
        f"line {own[-1].lineno} of {own[-1].name}: {own[-1].line or ''}".rstrip(": ") if own else ""
    )
    return Raised(type(error).__name__, " ".join(str(error).split())[:200], where)
