"""A case: one seeded question put to an answer.

A check draws inputs from its case, calls the answer, and hands every result to an `expect` method. Results stay opaque
to the check itself: nothing is compared before the check has made all its calls, so the same check serves a function in
this process and a proxy to another one.

Case 0 is the smallest (lower ends of every size, no special features), case 1 has every flag on; the rest are random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from course_lib.exercises.answer import Answer, Observation, argument_names, joined, keep
from course_lib.exercises.compare import (
    ATOL,
    RTOL,
    as_tensor,
    describe,
    difference,
    snapshot,
)


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
        self.check: Callable[[Any, Case], None] | None = None  # what was put to the answer last
        self.observations: list[Observation] = []
        self.last_call = ""
        self.changed: list[str] = []  # arguments that the answer changed in place

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
        node has no edge at all. Without it the graph is connected: a path runs through all nodes.
        """
        used = nodes - 1 if isolated and nodes > 2 else nodes
        adjacency = torch.zeros(nodes, nodes)
        drawn = (torch.rand(used, used, generator=self.random) < 0.35).float()
        adjacency[:used, :used] = (
            drawn if directed else torch.triu(drawn, 1) + torch.triu(drawn, 1).T
        )
        path = torch.arange(used - 1)
        adjacency[path + 1, path] = 1.0
        if not directed:
            adjacency[path, path + 1] = 1.0
        adjacency.fill_diagonal_(0.0)
        return adjacency

    def again(self) -> Case:
        """The same case, with nothing observed yet."""
        fresh = Case(self.seed, self.index, self.scale)
        fresh.check = self.check
        return fresh

    def new(self, answer: Answer, *args: Any) -> Any:
        """An instance of the student's class; `Raised` if calling it gives a plain value such as None."""
        return answer.new_object(*args)

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
        self._observe(label, kind, got, None, judge, given)

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
        pair = (keep(plain), keep(got))

        def judge(both: tuple[Any, Any]) -> str | None:
            before, after = map(as_tensor, both)
            if before is None or after is None:
                return f"{describe(both[0])} is not a tensor"
            if any(axis >= before.dim() or before.shape[axis] != len(order) for axis in out_axes):
                return f"{describe(before)} has no axis of {len(order)} nodes where one should be"
            text = difference(after, _permute(before, order, out_axes))
            return text and f"relabelling the nodes must only relabel the output ({text})"

        self.observations.append(
            Observation("relabelled nodes", "property", call, pair, None, judge)
        )

    def expect_gradient(
        self,
        answer: Answer,
        reference: Callable[..., torch.Tensor],
        *args: torch.Tensor,
        wrt: int = 0,
        extra: tuple = (),
    ) -> None:
        """The gradient of <probe, f(args)> with respect to argument `wrt` must equal the reference's.

        Of a result of several tensors all entries are probed at once. `extra` are further arguments, given as they
        are.
        """
        expected_in = [a.clone() for a in args]
        expected_in[wrt].requires_grad_(True)
        out = joined(reference(*expected_in, *extra))
        probe = self.normal(*out.shape)
        expected = torch.autograd.grad((out * probe).sum(), expected_in[wrt])
        got = answer.gradient_of_argument(probe, wrt, *args, *extra)
        name = argument_names(reference, len(args))[wrt]
        self._observe_gradients(name, [name], got, expected)

    def expect_parameter_gradients(
        self,
        layer: Answer,
        reference: Callable[..., torch.Tensor],
        parameters: dict[str, torch.Tensor],
        *args: torch.Tensor,
    ) -> None:
        """The gradients of <probe, layer(args)> with respect to its parameters must equal the reference's.

        `reference(parameters, *args)` is the same map as a function of a dict of tensors.
        """
        leaves = {name: value.clone().requires_grad_(True) for name, value in parameters.items()}
        out = reference(leaves, *args)
        probe = self.normal(*out.shape)
        expected = torch.autograd.grad((out * probe).sum(), list(leaves.values()))
        names = list(parameters)
        got = layer.gradients_of_parameters(probe, names, *args)
        self._observe_gradients("the parameters", names, got, expected)

    def _observe_gradients(
        self, of: str, names: list[str], got: Any, expected: Sequence[torch.Tensor]
    ) -> None:
        def judge(gradients: Any) -> str | None:
            for name, gradient, right in zip(names, gradients, expected):
                if gradient is None:
                    return f"no gradient reaches {name}: was the graph cut by .detach(), .data, .item() or numpy?"
                if (text := difference(gradient, right)) is not None:
                    return f"the gradient for {name} differs: {text}"
            return None

        self._observe(f"gradient for {of}", "gradient", got, snapshot(list(expected)), judge)

    def _observe(
        self,
        label: str,
        kind: str,
        got: Any,
        expected: Any,
        judge: Callable,
        given: dict | None = None,
    ) -> None:
        seen = Observation(label, kind, self.last_call, keep(got), expected, judge, given or {})
        self.observations.append(seen)


def _permute(tensor: torch.Tensor, order: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    for axis in axes:
        tensor = tensor.index_select(axis, order)
    return tensor
