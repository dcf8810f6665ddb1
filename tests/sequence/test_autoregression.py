"""Delay taps and autoregression: by hand, and as least squares must be."""

from __future__ import annotations

import pytest
import torch

from course_lib.sequence.state_space import autoregress, delay_taps, fit_autoregression

F64 = torch.float64


def test_delay_taps_by_hand():
    x = torch.arange(5.0)[None]
    assert delay_taps(x, 2).tolist() == [[[1, 0], [2, 1], [3, 2]]]
    assert delay_taps(torch.zeros(3, 7, 4, 2), 5).shape == (3, 2, 5, 4, 2)


def test_least_squares_finds_a_noiseless_recursion():
    """x_t = 1 + .5 x_{t-1} - .3 x_{t-2} in two coupled coordinates, from several sequences."""
    weight = torch.tensor([[[0.5, 0.1], [0.0, 0.4]], [[-0.3, 0.2], [0.1, 0.0]]], dtype=F64)
    bias = torch.tensor([1.0, -1.0], dtype=F64)
    x = [*torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0), dtype=F64)]
    for _ in range(20):
        x.append(bias + x[-1] @ weight[0] + x[-2] @ weight[1])
    x = torch.stack(x, dim=1)  # [6, 22, 2]
    model = fit_autoregression(x, 2)
    torch.testing.assert_close(model.weight, weight)
    torch.testing.assert_close(model.bias, bias)
    torch.testing.assert_close(autoregress(model, x), x[:, 2:])


def test_least_squares_leaves_residuals_orthogonal_to_what_it_used():
    x = torch.randn(5, 30, 2, generator=torch.Generator().manual_seed(0), dtype=F64)
    residual = (autoregress(fit_autoregression(x, 3), x) - x[:, 3:]).flatten(0, 1)
    taps = delay_taps(x, 3).flatten(2).flatten(0, 1)
    assert (taps.mT @ residual).abs().max() < 1e-10 and residual.sum(0).abs().max() < 1e-10


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"order must lie in 1\.\.4"):
        delay_taps(torch.zeros(1, 5), 5)
    with pytest.raises(ValueError, match=r"x must be .*\[B, T, M\]"):
        fit_autoregression(torch.zeros(2, 5), 1)
