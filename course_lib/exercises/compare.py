"""How an answer's value is compared with the expected one, and how a difference is put into words.

Every comparison runs in float64 on the CPU: |got - expected| <= atol + rtol |expected|, entry by entry.
A float64 or float32 answer is equally welcome; an integer or boolean answer where a real number is expected is not.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

RTOL, ATOL = 1e-4, 1e-5


@dataclass(frozen=True)
class Raised:
    """Stands for the value of a call that raised: the exception, and where in the student's code."""

    kind: str
    text: str
    where: str = ""
    function: str = "your code"

    @property
    def not_attempted(self) -> bool:
        """True for the released stub, which raises NotImplementedError without a word; torch's own have text."""
        return self.kind == "NotImplementedError" and not self.text

    def __call__(self, *args: Any, **kwargs: Any) -> Raised:
        return self

    def __getattr__(self, name: str) -> Raised:
        if name.startswith("__"):
            raise AttributeError(name)
        return self


def describe(value: Any) -> str:
    """Type, dtype and shape of a value, never its entries: `float32 [3, 4]`, `tuple of 2`, `None`."""
    if isinstance(value, Raised):
        return f"{value.kind}: {value.text}"[:200]
    if isinstance(value, torch.Tensor):
        shape = list(value.shape)
        return f"{str(value.dtype).removeprefix('torch.')} {shape}"
    if isinstance(value, np.ndarray):
        return f"numpy {value.dtype} {list(value.shape)}"
    if isinstance(value, (tuple, list)):
        inside = ", ".join(describe(v) for v in value[:3])
        return (
            f"{type(value).__name__} of {len(value)}: ({inside}{', ...' if len(value) > 3 else ''})"
        )
    if isinstance(value, dict):
        names = sorted(map(str, value))
        return (
            f"dict of {len(names)} keys: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        )
    if isinstance(value, float):
        return f"float {value:.4g}"
    if isinstance(value, (bool, int, str)):
        return f"{type(value).__name__} {value!r}"[:60]
    if value is None:
        return "None (is a `return` missing?)"
    return type(value).__name__


def snapshot(value: Any) -> Any:
    """A detached, dense copy on the CPU, so that later changes in place do not alter what was observed.

    numpy arrays and scalars become tensors; a tensor that holds no values (meta) becomes `Raised`.
    """
    if isinstance(value, torch.Tensor):
        if value.is_meta:
            return Raised("ValueError", "the result is a meta tensor, which holds no values")
        dense = value if value.layout == torch.strided else value.to_dense()
        return dense.detach().cpu().clone()
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.array(value))
    if type(value) in (tuple, list):
        return type(value)(snapshot(v) for v in value)
    if isinstance(value, dict):
        return {key: snapshot(v) for key, v in value.items()}
    return value


def as_tensor(value: Any) -> torch.Tensor | None:
    """A tensor of a tensor, array, number, or list of numbers (whole ones among them); None of anything else."""
    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.array(value))
    if isinstance(value, float):
        return torch.tensor(value, dtype=torch.float64)
    if isinstance(value, (bool, int)):
        return torch.tensor(value)
    if type(value) in (list, tuple) and value:
        parts = [as_tensor(v) for v in value]
        if all(p is not None and p.shape == parts[0].shape for p in parts):
            kinds = {p.dtype for p in parts}
            if torch.bool in kinds and len(kinds) > 1:  # a truth among numbers is a slip
                return None
            common = functools.reduce(torch.promote_types, kinds)
            return torch.stack([p.to(common) for p in parts])
    return None


def _kind(tensor: torch.Tensor) -> str:
    if tensor.dtype == torch.bool:
        return "bool"
    if tensor.is_complex():
        return "complex"
    return "float" if tensor.is_floating_point() else "int"


def difference(got: Any, expected: Any, rtol: float = RTOL, atol: float = ATOL) -> str | None:
    """None if `got` equals `expected` within the tolerance, else one line that says how they differ."""
    if isinstance(got, Raised) or isinstance(expected, Raised):
        same = (
            isinstance(got, Raised) and isinstance(expected, Raised) and got.kind == expected.kind
        )
        return None if same else f"{describe(got)} where {describe(expected)} was expected"
    if isinstance(expected, (tuple, list)):
        if not isinstance(got, (tuple, list)) or len(got) != len(expected):
            return f"{describe(got)}; expected {type(expected).__name__} of {len(expected)}"
        for i, (g, e) in enumerate(zip(got, expected)):
            if (text := difference(g, e, rtol, atol)) is not None:
                return f"entry {i}: {text}"
        return None
    if isinstance(expected, dict):
        if not isinstance(got, dict):
            return f"{describe(got)}; expected {describe(expected)}"
        if got.keys() != expected.keys():
            missing, more = (
                sorted(map(str, a.keys() - b.keys())) for a, b in ((expected, got), (got, expected))
            )
            return f"the keys are wrong: missing {missing}, too many {more}"[:200]
        for key in expected:
            if (text := difference(got[key], expected[key], rtol, atol)) is not None:
                return f"key {key!r}: {text}"
        return None
    e, g = as_tensor(expected), as_tensor(got)
    if e is None:
        return None if type(got) is type(expected) and got == expected else f"got {describe(got)}"
    if g is None:
        return f"{describe(got)}; expected a tensor"
    return _tensor_difference(g.detach().cpu(), e.detach().cpu(), rtol, atol)


def _tensor_difference(
    got: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float
) -> str | None:
    if tuple(got.shape) != tuple(expected.shape):
        return f"{describe(got)}: the shape should be {list(expected.shape)}"
    if _kind(got) != _kind(expected) and not (
        _kind(got) == "int" and _kind(expected) == "float" and got.dim() == 0
    ):
        return f"{describe(got)}: the dtype should be {str(expected.dtype).removeprefix('torch.')}"
    g = got.to(torch.complex128 if got.is_complex() else torch.float64)
    e = expected.to(g.dtype)
    both_special = (g == e) | (g.isnan() & e.isnan())
    near = (g - e).abs().le(atol + rtol * e.abs()) & e.abs().isfinite()  # else inf is near anything
    wrong = ~(near | both_special)
    if not wrong.any():
        return None
    gap = torch.where(wrong, (g - e).abs().nan_to_num(nan=float("inf")), torch.zeros(()).double())
    where = np.unravel_index(int(gap.argmax()), tuple(g.shape)) if g.dim() else ()
    place = f" at {[int(i) for i in where]}" if g.dim() else ""
    many = f"{int(wrong.sum())} of {g.numel()} entries differ, most" if g.dim() else "differs"
    values = f"{_number(g[where], e[where])}, expected {_number(e[where], g[where])}"
    not_a_number = "; it contains NaN" if g.isnan().any() and not e.isnan().any() else ""
    return f"{describe(got)}; {many}{place}: {values}{not_a_number}"


def _number(value: torch.Tensor, other: torch.Tensor) -> str:
    """The value with as many digits as tell it from the other one, four at least."""
    if value.is_complex():
        return str(value.item())
    for digits in (4, 6, 8, 12):
        if f"{value.item():.{digits}g}" != f"{other.item():.{digits}g}":
            break
    return f"{value.item():.{digits}g}"
