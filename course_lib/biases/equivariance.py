"""Does f(g x) = g f(x) hold? Three ways to move an input, and by how much a function fails to follow.

A function f is *equivariant* under a move g if moving its input moves its output in the same way, f(g x) = g f(x), and
*invariant* if the output stays, f(g x) = f(x).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

Group = Literal["permutation", "cyclic_shift", "time_shift"]
GROUPS = ("permutation", "cyclic_shift", "time_shift")


def transform(
    x: Tensor,
    group: Group,
    element: Tensor | int | Sequence[int],
    dim: int | Sequence[int] = 0,
) -> Tensor:
    """g x, the tensor x moved along `dim`; shape, dtype and device stay.

    permutation: `element` is an order, int64 [n]: place i of the result is place order[i] of x. With
        several dims the same order is applied along each, as to an adjacency matrix.
    cyclic_shift: place i moves to i + k, and what leaves at the end comes in at the front.
    time_shift: place i moves to i + k, k >= 0: zeros come first, the last k steps fall off. (Delays cannot
        be undone on a finite window, so strictly speaking they form a semigroup.)

    With several dims a shift is one whole number for each of them.

    Raises:
        ValueError: an unknown group, a dim that x lacks, an order that is no permutation of its places,
            shifts that do not match the dims, or a negative delay.
    """
    dims = _as_tuple(dim)
    _check_axes(x, dims, "x")
    if group == "permutation":
        order = torch.as_tensor(element, device=x.device)
        for d in dims:
            n = x.shape[d]
            if order.shape != (n,) or order.dtype != torch.int64:
                raise ValueError(
                    f"a permutation of the {n} places along dim {d} must be int64 [{n}], got "
                    f"{str(order.dtype).removeprefix('torch.')} {list(order.shape)}"
                )
            if (order.sort().values != torch.arange(n, device=order.device)).any():
                raise ValueError(
                    f"a permutation names each of 0..{n - 1} once, got {order.tolist()}"
                )
            x = x.index_select(d, order)
        return x
    if group not in GROUPS:
        raise ValueError(f"group must be one of {', '.join(map(repr, GROUPS))}, got {group!r}")
    shifts = _as_tuple(element)
    if len(shifts) != len(dims):
        raise ValueError(f"give one shift for each dim: {len(dims)} dims, {len(shifts)} shifts")
    if group == "cyclic_shift":
        return torch.roll(x, shifts, dims) if dims else x
    for d, k in zip(dims, shifts):
        if k < 0:
            raise ValueError(f"a delay cannot be negative, got {k}: time runs one way")
        steps = x.shape[d]
        silence = torch.zeros_like(x.narrow(d, 0, min(k, steps)))
        x = torch.cat([silence, x.narrow(d, 0, max(steps - k, 0))], d)
    return x


def equivariance_error(
    f: Callable[..., Tensor],
    x: Tensor,
    group: Group,
    *,
    dim: int | Sequence[int] = 0,
    out_dim: int | Sequence[int] | None = None,
    edge_index: Tensor | None = None,
    elements: int = 8,
    generator: torch.Generator | None = None,
) -> float:
    """How far f is from f(g x) = g f(x), relative to the size of its output.

        error = sqrt( sum_g ||f(g x) - g f(x)||^2 / sum_g ||g f(x)||^2 ),  g drawn at random, never the identity

    0 is exact. About 1.41, the square root of two, is what two unrelated outputs of mean zero and equal size
    would give.

    Args:
        f: a function of x, or of x and edge_index; it should be deterministic (`.eval()` for dropout).
        x: any tensor.
        group: how it is moved, see `transform`. Delays are of 1 to n // 2 steps, and only the steps from the delayed
            start on are compared: before it there is no output to speak of.
        dim: the axis, or axes, of x that the group moves.
        out_dim: the axes of f(x) that must follow; by default the same. () measures *invariance*.
        edge_index: int64 [2, E], the edges of a graph whose nodes lie along `dim`. Its numbers are moved together
            with the nodes, and f is called as f(x, edge_index).
        elements: how many moves g are tried.
        generator: a CPU generator to draw them from.

    Raises:
        ValueError: an unknown group; an axis that x or the output lacks, or with fewer than two places; axes of
            different lengths under one permutation; axes of the output that cannot follow; elements < 1; a graph
            under delays or along several axes.
    """
    dims = _as_tuple(dim)
    out_dims = dims if out_dim is None else _as_tuple(out_dim)
    _check_axes(x, dims, "x")
    sizes = [x.shape[d] for d in dims]
    _check(group, sizes, out_dims, edge_index, elements)
    edges = () if edge_index is None else (edge_index,)
    with torch.no_grad():
        plain = f(x, *edges)
        _check_axes(plain, out_dims, "the output")
        for size, d in zip(sizes, out_dims):
            if plain.shape[d] != size:
                raise ValueError(
                    f"the input has {size} places to move and the output, {list(plain.shape)}, has {plain.shape[d]} "
                    f"along dim {d}: name the axes that follow by out_dim, or pass out_dim=() to measure invariance"
                )
        difference = total = plain.new_zeros(())
        for _ in range(elements):
            element = _draw(group, sizes, generator)
            moved_edges = [_renumber(e, group, element, sizes[0]) for e in edges]
            got = f(transform(x, group, element, dims), *moved_edges)
            wanted = transform(plain, group, element, out_dims) if out_dims else plain
            if group == "time_shift":
                for d, k in zip(out_dims, element):
                    got, wanted = (t.narrow(d, k, t.shape[d] - k) for t in (got, wanted))
            difference = difference + (got - wanted).abs().square().sum()
            total = total + wanted.abs().square().sum()
    return 0.0 if difference == 0 else float((difference / total).sqrt())


def _as_tuple(value: int | Sequence[int] | Tensor) -> tuple[int, ...]:
    return (int(value),) if isinstance(value, int) else tuple(int(v) for v in value)


def _check_axes(tensor: Tensor, dims: tuple[int, ...], name: str) -> None:
    for d in dims:
        if not -tensor.dim() <= d < tensor.dim():
            raise ValueError(
                f"{name}, {list(tensor.shape)}, has no axis {d}: name the axes that move by dim, "
                "those of the output by out_dim, or pass out_dim=() to measure invariance"
            )


def _check(
    group: str,
    sizes: list[int],
    out_dims: tuple[int, ...],
    edge_index: Tensor | None,
    elements: int,
) -> None:
    if group not in GROUPS:
        raise ValueError(f"group must be one of {', '.join(map(repr, GROUPS))}, got {group!r}")
    if not sizes or min(sizes) < 2 or elements < 1:
        raise ValueError(
            f"nothing can be moved: need axes of at least two places and elements >= 1, got {sizes} and {elements}"
        )
    if group == "permutation" and len(set(sizes)) > 1:
        raise ValueError(f"one permutation cannot move axes of different lengths {sizes}")
    if out_dims and len(out_dims) != len(sizes):
        raise ValueError(
            f"{len(sizes)} axes move but out_dim names {len(out_dims)}: name as many, or ()"
        )
    if edge_index is not None and (group == "time_shift" or len(sizes) != 1):
        raise ValueError(
            "only a permutation or a cyclic shift of one axis renumbers the nodes of a graph: "
            "to keep the graph fixed, call with lambda x: f(x, edge_index) instead"
        )


def _draw(
    group: str, sizes: list[int], generator: torch.Generator | None
) -> Tensor | tuple[int, ...]:
    """A random element of the group, not the identity."""
    if group == "permutation":
        while True:
            order = torch.randperm(sizes[0], generator=generator)
            if (order != torch.arange(sizes[0])).any():
                return order
    most = [n // 2 + 1 if group == "time_shift" else n for n in sizes]
    return tuple(int(torch.randint(1, m, (), generator=generator)) for m in most)


def _renumber(
    edge_index: Tensor, group: str, element: Tensor | tuple[int, ...], size: int
) -> Tensor:
    """The edges of the moved graph: every node's number replaced by its new place."""
    nodes = torch.arange(size)
    order = element if group == "permutation" else transform(nodes, group, element)
    return order.argsort().to(edge_index.device)[edge_index]  # place i now holds node order[i]
