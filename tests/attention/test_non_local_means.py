"""Non-local means against its definition, place by place, and what it is good for."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from course_lib.attention.nonlocal_block import non_local_means, patch_weights
from tests.devices import devices

F64 = torch.float64


def test_non_local_means_is_its_specification():
    torch.manual_seed(0)
    image = torch.rand(2, 2, 4, 5, dtype=F64)
    mirrored = F.pad(image, (1, 1, 1, 1), mode="reflect")
    wanted = torch.zeros_like(image)
    for n in range(2):
        for i in range(20):
            r, c = divmod(i, 5)
            patch = mirrored[n, :, r : r + 3, c : c + 3]
            w = []
            for j in range(20):
                s, d = divmod(j, 5)
                other = mirrored[n, :, s : s + 3, d : d + 3]
                w.append(math.exp(-((patch - other) ** 2).mean().item() / 0.3**2))
            w = torch.tensor(w, dtype=F64)
            wanted[n, :, r, c] = (w / w.sum() * image[n].flatten(1)).sum(1)
    torch.testing.assert_close(non_local_means(image, 3, 0.3), wanted)


def test_non_local_means_denoises_where_a_blur_destroys():
    torch.manual_seed(0)
    clean = torch.zeros(1, 1, 24, 24)
    clean[..., ::6, :] = clean[..., :, ::6] = 1.0  # a grid of thin lines, the same all over
    noisy = clean + 0.2 * torch.randn_like(clean)
    errors = [
        (image - clean).square().mean().item()
        for image in (non_local_means(noisy, 3, 0.2), F.avg_pool2d(noisy, 3, 1, 1), noisy)
    ]
    assert errors[0] < 0.3 * errors[2] < errors[1]


def test_bandwidth_has_its_limits():
    image = torch.rand(1, 1, 5, 5, dtype=F64)
    torch.testing.assert_close(non_local_means(image, 3, 1e-3), image)
    mean = image.mean().expand_as(image)
    torch.testing.assert_close(non_local_means(image, 3, 1e4), mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(patch_weights(image).sum(2), torch.ones(1, 25, dtype=F64))


@pytest.mark.parametrize("device", devices())
def test_every_device_agrees_with_float64(device):
    image = torch.rand(1, 1, 6, 6, dtype=F64)
    given = non_local_means(image.float().to(device)).double().cpu()
    torch.testing.assert_close(given, non_local_means(image), rtol=1e-4, atol=1e-4)


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"got \[5, 5\]: use image\[None, None\]"):
        non_local_means(torch.zeros(5, 5))
    image = torch.zeros(1, 1, 5, 5)
    with pytest.raises(ValueError, match="patch must be odd"):
        non_local_means(image, 2)
    with pytest.raises(ValueError, match="bandwidth must be positive"):
        non_local_means(image, 3, 0.0)
