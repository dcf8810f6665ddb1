"""A convolution is message passing on the grid."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import conv2d

from course_lib.data.grid import grid_graph


@pytest.mark.parametrize(
    ("height", "width", "reach"), [(5, 5, 1), (1, 1, 1), (2, 7, 1), (6, 4, 2), (3, 3, 0)]
)
def test_messages_along_the_grid_are_a_convolution(height, width, reach):
    image = torch.randn(height, width, dtype=torch.float64)
    kernel = torch.randn(2 * reach + 1, 2 * reach + 1, dtype=torch.float64)
    (source, target), kind = grid_graph(height, width, reach)
    messages = kernel.flatten()[kind] * image.flatten()[source]
    out = torch.zeros(height * width, dtype=torch.float64).index_add_(0, target, messages)
    expected = conv2d(image[None, None], kernel[None, None], padding=reach).flatten()
    torch.testing.assert_close(out, expected)


def test_an_empty_image_is_refused():
    with pytest.raises(ValueError, match="height, width >= 1"):
        grid_graph(0, 3)
