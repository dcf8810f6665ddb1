"""Two modules, or functions, are the same: values, and gradients of inputs and weights, in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def some_mask(*shape: int) -> Tensor:
    """bool, True for about two in three, and in each row for at least one."""
    mask = torch.rand(*shape) < 0.66
    mask[..., 0] |= ~mask.any(-1)
    return mask


def twins(ours: type, theirs: type, *sizes: int, **options) -> tuple[nn.Module, nn.Module]:
    """Ours and torch's in float64, with the same weights, none of which is as it was initialised."""
    options = {"dtype": torch.float64, **options}
    first, second = ours(*sizes, **options), theirs(*sizes, **options)
    for parameter in second.parameters():
        nn.init.normal_(parameter, std=0.5)
    first.load_state_dict(second.state_dict())
    return first, second


def assert_same_function(ours: Callable, theirs: Callable, inputs: Sequence[Tensor]) -> None:
    """Both give the same output, and the same gradient to each of their inputs."""
    _assert_equal(*(_results(call, call, inputs) for call in (ours, theirs)))


def assert_same_module(
    ours: nn.Module, theirs: nn.Module, inputs: Sequence[Tensor], **options
) -> None:
    """Both give the same outputs, and the same gradients to their inputs and their weights."""
    _assert_equal(*(_results(m, lambda *x, m=m: m(*x, **options), inputs) for m in (ours, theirs)))


def _results(
    module: Callable, call: Callable, inputs: Sequence[Tensor]
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """The outputs, and the gradients of a loss in which every number of them has its own weight.

    An input that is given twice (`query is key`) is one leaf, as it is for who calls the module.
    """
    leaves = {id(x): x.detach().clone().requires_grad_() for x in inputs}
    outputs = call(*(leaves[id(x)] for x in inputs))
    outputs = [x for x in (outputs if isinstance(outputs, tuple) else (outputs,)) if x is not None]
    named = {f"input {i}": leaf for i, leaf in enumerate(leaves.values())}
    if isinstance(module, nn.Module):
        named |= dict(module.named_parameters())
    generator = torch.Generator().manual_seed(7)
    loss = sum((x * torch.randn(x.shape, generator=generator).to(x)).sum() for x in outputs)
    gradients = torch.autograd.grad(loss, [*named.values()])
    return outputs, dict(zip(named, gradients))


def _assert_equal(got, wanted) -> None:
    assert len(got[0]) == len(wanted[0])
    torch.testing.assert_close(got[0], wanted[0], rtol=1e-10, atol=1e-12)
    assert [*got[1]] == [*wanted[1]]
    for name, gradient in wanted[1].items():
        torch.testing.assert_close(
            got[1][name], gradient, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}"
        )
