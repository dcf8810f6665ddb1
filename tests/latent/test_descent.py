"""Shuffled minibatches, and a step size that falls to zero."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from course_lib.latent import descent
from course_lib.latent.descent import Minibatches, descend, half_cosine, straight_line


def test_each_pass_holds_every_row_once_in_a_new_order():
    x = torch.arange(10.0).unsqueeze(1)
    batches = Minibatches(x, 2 * x, batch_size=4, generator=torch.Generator().manual_seed(0))
    passes = []
    for _ in range(2):
        parts = list(batches)
        assert [len(rows) for rows, _ in parts] == [4, 4, 2]
        assert all(torch.equal(double, 2 * rows) for rows, double in parts)
        passes.append(torch.cat([rows for rows, _ in parts])[:, 0])
        assert torch.equal(passes[-1].sort().values, x[:, 0])
    assert not torch.equal(*passes)


@pytest.mark.parametrize(
    ("tensors", "size"), [((), 1), (([3], [4]), 1), (([0],), 1), (([3],), 0)], ids=str
)
def test_batches_that_cannot_be_are_refused(tensors, size):
    with pytest.raises(ValueError, match="one number of rows"):
        Minibatches(*[torch.zeros(*shape) for shape in tensors], batch_size=size)


def test_the_step_size_falls_in_a_straight_line(monkeypatch):
    rates = []

    class Recorder(torch.optim.Adam):
        def step(self, *args, **options):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **options)

    monkeypatch.setattr(descent.torch.optim, "Adam", Recorder)
    model, x = nn.Linear(2, 1), torch.randn(6, 2)
    descend(model, lambda m, batch: m(batch[0]).square().mean(), x, epochs=4, lr=0.8, batch_size=3)
    expected = [0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2, 0.2]
    assert rates == pytest.approx(expected)


def test_half_a_cosine_begins_at_one_passes_half_and_ends_at_zero():
    assert [half_cosine(x) for x in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.5, 0])
    assert half_cosine(0.1) > straight_line(0.1) and half_cosine(0.9) < straight_line(0.9)


def test_the_gradient_is_clipped_before_each_step(monkeypatch):
    norms = []

    class Recorder(torch.optim.Adam):
        def step(self, *args, **options):
            result = super().step(*args, **options)
            norms.append(self.param_groups[0]["params"][0].grad.norm().item())
            return result

    monkeypatch.setattr(descent.torch.optim, "Adam", Recorder)
    model, x = nn.Linear(2, 1, bias=False), 100 * torch.ones(4, 2)
    descend(
        model, lambda m, b: m(b[0]).square().mean(), x, epochs=2, lr=1e-3, batch_size=4, clip=0.5
    )
    assert norms == pytest.approx([0.5, 0.5], rel=1e-4)
