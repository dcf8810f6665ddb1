"""An answer that lives in another process: what a check sees of it, and how its calls are carried out.

A check calls a `Handle` as it would call the student's function. Nothing runs then: the call is written down with a
copy of its arguments, and another handle stands for its result. When the check is done, `settle` carries all calls
out in a secret order (calls on one object keep theirs), with one of them repeated and a dummy mixed in, and puts the
results in the handles' places. So no result can depend on what an earlier comparison said.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from course_lib.exercises.answer import Observation
from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised, describe
from course_lib.grading import reply, wire
from course_lib.grading.case import CaseEnded, CaseProcess


@dataclass
class Step:
    """One call or attribute, as it will be asked for."""

    number: int
    on: int  # the step whose object it belongs to; 0 is the answer
    request: dict[str, Any]
    tensors: list[torch.Tensor]
    group: int  # steps of one group keep their order
    room: int  # bytes that its result may have
    needs: tuple[int, ...] = ()
    result: Any = field(default=None, repr=False)


class Handle:
    """The answer, an object of the student's, or the result of a call: opaque until everything is settled."""

    def __init__(self, talk: Talk, number: int, name: str) -> None:
        self._talk, self._number, self._name = talk, number, name

    def __call__(self, *args: Any, **kwargs: Any) -> Handle:
        """Write down a call; the handle that is returned stands for its result."""
        return self._talk.note_call(self, args, kwargs)

    def __getattr__(self, name: str) -> Handle:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._talk.note_attribute(self, name)

    def __bool__(self) -> bool:
        raise TypeError("a check cannot look at a result; hand it to an expect method")

    __iter__ = __len__ = __eq__ = __float__ = __bool__  # type: ignore[assignment]
    __hash__ = object.__hash__

    def new_object(self, *args: Any) -> Handle:
        """An instance of the student's class."""
        return self(*args)

    def gradient_of_argument(self, probe: torch.Tensor, wrt: int, *args: Any) -> Handle:
        """[gradient of <probe, f(args)> with respect to argument `wrt`]."""
        return self._talk.note_call(self, args, {}, probe=probe, wrt=wrt)

    def gradients_of_parameters(
        self, probe: torch.Tensor, names: Sequence[str], *args: Any
    ) -> Handle:
        """The gradients of <probe, f(args)> for the module's own parameters."""
        return self._talk.note_call(self, args, {}, probe=probe, parameters=list(names))

    def settle(self, observations: list[Observation]) -> None:
        """Carry out everything that was written down, and resolve the observations. Raises CaseEnded."""
        self._talk.settle(observations)


class Talk:
    """All that is asked of one case's process.

    Args:
        process: where the student's code runs; its program has been sent already.
        case: whose check is being put.
        name: of the exercise.
        seed: decides the order of the steps, which one is repeated, and the tokens.
    """

    def __init__(self, process: CaseProcess, case: Case, name: str, seed: int) -> None:
        self.process, self.case = process, case
        self.random = random.Random(seed)
        self.steps: dict[int, Step] = {}
        self.second: dict[int, int] = {}  # a step and its repetition
        self.attributes: dict[int, tuple[int, str]] = {}
        self.groups = 0
        self.root = Handle(self, 0, name)

    # writing down -------------------------------------------------------------------------------

    def note_call(
        self,
        on: Handle,
        args: tuple,
        kwargs: dict,
        probe: torch.Tensor | None = None,
        wrt: int | None = None,
        parameters: list[str] | None = None,
    ) -> Handle:
        """A call with copies of the arguments."""
        described = ", ".join("result" if isinstance(a, Handle) else describe(a) for a in args)
        self.case.last_call = f"{on._name}({described})"
        tensors: list[torch.Tensor] = []
        needs: list[int] = []
        tree = {"list": [self._pack(a, tensors, needs) for a in args]}
        named = [[k, self._pack(v, tensors, needs)] for k, v in kwargs.items()]
        request = {"op": "call", "name": None, "args": tree, "kwargs": {"dict": named}}
        owner = on._number
        method = not parameters  # else obj.part(...), and the parameters that count are the part's
        if method and owner in self.attributes:  # the attribute alone is not asked for
            self.steps.pop(owner, None)
            owner, request["name"] = self.attributes[owner]
        if probe is not None:
            request |= {"probe": len(tensors), "wrt": wrt, "parameters": parameters or []}
            tensors.append(probe.clone())
        return self._note(owner, request, tensors, tuple(needs), on._name)

    def note_attribute(self, on: Handle, name: str) -> Handle:
        """An attribute of an object; if it is called next, the two become a method call."""
        request = {"op": "attr", "name": name}
        handle = self._note(on._number, request, [], (), f"{on._name}.{name}")
        self.attributes[handle._number] = (on._number, name)
        return handle

    def _note(self, on: int, request: dict, tensors: list, needs: tuple, name: str) -> Handle:
        number = self._fresh()
        groups = {self.steps[n].group for n in (*needs, *([on] if on else []))}
        if not groups:
            self.groups += 1
            groups = {self.groups}
        group = min(groups)
        for step in self.steps.values():  # a step that uses two groups makes them one
            step.group = group if step.group in groups else step.group
        room = sum(t.numel() * t.element_size() for t in tensors)
        self.steps[number] = Step(number, on, request, tensors, group, room, needs)
        return Handle(self, number, name)

    def _fresh(self) -> int:
        number = self.random.randrange(1, 2**48)
        return number if number not in self.steps else self._fresh()

    def _pack(self, value: Any, tensors: list, needs: list[int]) -> Any:
        if isinstance(value, Handle):
            needs.append(value._number)
            return {"object": value._number}
        return wire.pack(value, tensors)

    # carrying out -------------------------------------------------------------------------------

    def settle(self, observations: list[Observation]) -> None:
        """Make all calls in a secret order, then resolve what was observed. Raises CaseEnded."""
        for seen in observations:
            self._make_room(seen.got, seen.expected)
        quick = any(seen.kind == "value" for seen in observations)
        groups = sorted({step.group for step in self.steps.values()})
        if groups and (quick or self.case.index == 0):
            self._copy_group(self.random.choice(groups), dummy=False)
        if groups and quick:  # training takes too long to do it for nothing
            self._copy_group(self.random.choice(groups), dummy=True)
        for step in self._secret_order():
            step.result = self._ask(step)
        self.process.nothing_waits()
        for seen in observations:
            if self.second and self._mentions(seen.got):
                seen.again.append(self._resolve(seen.got, self.second))
            seen.got = self._resolve(seen.got, {})

    def _make_room(self, got: Any, expected: Any) -> None:
        if isinstance(got, Handle) and got._number in self.steps:
            step = self.steps[got._number]
            step.room = max(step.room, _bytes(expected))

    def _copy_group(self, group: int, dummy: bool) -> None:
        """Do a group's steps once more, independently; a dummy with other numbers, and never looked at."""
        self.groups += 1
        copies: dict[int, int] = {}
        for step in [s for s in self.steps.values() if s.group == group]:
            copies[step.number] = number = self._fresh()
            request = _renumbered(step.request, copies)
            tensors = [_turned(t) for t in step.tensors] if dummy else step.tensors
            self.steps[number] = replace(
                step,
                number=number,
                on=copies.get(step.on, step.on),
                request=request,
                tensors=tensors,
                group=self.groups,
                needs=tuple(copies.get(n, n) for n in step.needs),
            )
        if not dummy:
            self.second = copies

    def _secret_order(self) -> list[Step]:
        queues: dict[int, list[Step]] = {}
        for step in self.steps.values():
            queues.setdefault(step.group, []).append(step)
        order = []
        while queues:
            group = self.random.choice(sorted(queues))
            order.append(queues[group].pop(0))
            if not queues[group]:
                del queues[group]
        return order

    def _ask(self, step: Step) -> Any:
        for number in (step.on, *step.needs):
            if number and isinstance(self.steps[number].result, Raised):
                return self.steps[number].result
        token = f"{self.random.getrandbits(128):032x}"
        request = {**step.request, "token": token, "on": step.on, "result": step.number}
        self.process.nothing_waits()
        self.process.send(wire.frame(request, step.tensors))
        try:
            control, tensors = wire.read_frame(*self.process.receive(step.room + wire.SLACK))
            return reply.read_reply(control, tensors, token)
        except wire.Violation as error:
            raise CaseEnded("crashed", f"its reply breaks the rules: {error}") from None

    # resolving ----------------------------------------------------------------------------------

    def _mentions(self, value: Any) -> bool:
        if isinstance(value, Handle):
            return value._number in self.second
        return isinstance(value, (tuple, list)) and any(map(self._mentions, value))

    def _resolve(self, value: Any, instead: dict[int, int]) -> Any:
        if isinstance(value, Handle):
            return self.steps[instead.get(value._number, value._number)].result
        if isinstance(value, (tuple, list)):
            return type(value)(self._resolve(v, instead) for v in value)
        return value


def _bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.numel() * max(8, value.element_size())  # float64 is as welcome as float32
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, (tuple, list)) else 64


def _renumbered(value: Any, copies: dict[int, int]) -> Any:
    if isinstance(value, dict):
        if set(value) == {"object"}:
            return {"object": copies.get(value["object"], value["object"])}
        return {k: _renumbered(v, copies) for k, v in value.items()}
    return [_renumbered(v, copies) for v in value] if isinstance(value, list) else value


def _turned(tensor: torch.Tensor) -> torch.Tensor:
    """Plausible other inputs: all that is numbered along a first axis, numbered the other way round.

    A square matrix is turned in both axes and so stays symmetric if it was: an honest loop that ends on the real inputs
    ends on these. The state of a generator (uint8) stays as it is.
    """
    if tensor.dim() == 0 or tensor.dtype == torch.uint8:
        return tensor
    square = tensor.dim() == 2 and tensor.shape[0] == tensor.shape[1]
    return tensor.flip(0, 1) if square else tensor.flip(0)
