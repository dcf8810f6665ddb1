"""Unit 05's reference trains with a step of its own: it is Adam's."""

import pytest
import torch
from torch import nn

from course_lib.exercises.graph_networks import reference


def plain_training(matrix, x, labels, train_mask, num_classes):
    """The same two layers as they would be written with torch.optim."""
    torch.manual_seed(0)
    first, second = nn.Linear(x.shape[1], 16), nn.Linear(16, num_classes)
    parameters = [*first.parameters(), *second.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=0.02, weight_decay=5e-4)

    def logits():
        return matrix @ second((matrix @ first(x)).relu())

    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(logits()[train_mask], labels[train_mask]).backward()
        optimizer.step()
    return logits().detach()


@pytest.fixture
def double():
    """float64 throughout: in float32 the last digit grows over a hundred steps."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_reference_trains_as_torchs_adam_does(double):
    random = torch.Generator().manual_seed(1)
    x, matrix = torch.randn(40, 8, generator=random), torch.rand(40, 40, generator=random) / 20
    labels, train = torch.randint(3, (40,), generator=random), torch.arange(40) < 20
    found = reference.fit_two_layers(lambda h: matrix @ h, x, labels, train, 3)
    torch.testing.assert_close(found, plain_training(matrix, x, labels, train, 3))
    assert found.abs().max() > 0.1
