"""The devices that a parity test runs on: the CPU always, an accelerator under the marker `gpu`."""

from __future__ import annotations

import pytest
import torch


def devices() -> list:
    """Parameters for `@pytest.mark.parametrize("device", devices())`."""
    no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
    return [
        pytest.param(torch.device("cpu"), id="cpu"),
        pytest.param(torch.device("cuda"), id="cuda", marks=[pytest.mark.gpu, no_gpu]),
    ]
