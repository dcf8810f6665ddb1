"""A fixture for folders of tests that draw from the same seed and compute on one thread: import it in conftest.py."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def reproducible():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
