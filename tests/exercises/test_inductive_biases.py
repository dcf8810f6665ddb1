"""Unit 01's references against other computations; its mystery data; answers by other means; what it forbids."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from course_lib.exercises.forbidden import forbidden_names
from course_lib.exercises.inductive_biases import choosing, family_errors, reference, unit
from course_lib.exercises.inductive_biases.mystery import LENGTH, POSITIONS, mystery_data
from tests.exercises.failures import failures_by_other_means

DOUBLE = {"dtype": torch.float64}
SIZES = [(0, 400), (1, 80), (1, 400), (2, 80), (2, 400), (3, 80), (3, 400)]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **DOUBLE)


@pytest.mark.parametrize("circular", [True, False])
def test_the_convolutions_matrix_by_its_double_sum(circular):
    kernel, x = normal(5), normal(7, seed=1)
    wanted = torch.zeros(7, **DOUBLE)
    for i in range(7):
        for a in range(5):
            j = i + a - 2
            if circular or 0 <= j < 7:
                wanted[i] += kernel[a] * x[j % 7]
    assert torch.allclose(reference.conv_matrix(kernel, 7, circular) @ x, wanted)


def test_the_average_is_the_nearest_equivariant_matrix():
    weight, place = normal(5, 5), torch.arange(5)
    group = (place + place.unsqueeze(1)) % 5
    average = reference.average_over_group(weight, group)
    assert all(torch.allclose(average[p][:, p], average) for p in group)
    assert torch.allclose(reference.average_over_group(average, group), average)
    circulant = normal(5, seed=1)[(place - place.unsqueeze(1)) % 5]
    assert abs(((weight - average) * circulant).sum()) < 1e-12  # orthogonal to every circulant
    assert reference.shift_error(average, normal(5, seed=2), 2) < 1e-12


def test_the_most_probable_weights_have_no_gradient():
    X, y = normal(4, 6), normal(4, seed=1)
    w = reference.ridge_map(X, y, 0.3, 2.0).requires_grad_()
    minus_log = (y - X @ w).square().sum() / (2 * 0.3) + w.square().sum() / (2 * 2.0)
    assert torch.autograd.grad(minus_log, w)[0].abs().max() < 1e-10


def test_the_entropy_is_that_of_torchs_distribution():
    root = normal(4, 4)
    covariance = root @ root.T
    peer = torch.distributions.MultivariateNormal(torch.zeros(4, **DOUBLE), covariance).entropy()
    assert torch.allclose(reference.prior_entropy(covariance) * math.log(2), peer)


def test_left_out_errors_are_those_of_fits_without_the_row():
    x, y = mystery_data(3, 20, torch.Generator().manual_seed(0))
    for family, features in enumerate(reference.views(x)):
        errors = []
        for i in range(20):
            rest = torch.arange(20) != i
            gram = features[rest].T @ features[rest] + torch.eye(features.shape[1])
            w = torch.linalg.solve(gram, features[rest].T @ y[rest])
            errors.append((features[i] @ w - y[i]) ** 2)
        assert torch.allclose(family_errors(x, y)[1, family], torch.stack(errors).mean(), rtol=1e-3)


# the mystery data ---------------------------------------------------------------------------------


def held_out(x, y, share, penalty=1.0):
    """The best family by one split, `share` of the rows fitted."""
    cut, errors = int(share * len(x)), []
    for features in reference.views(x):
        inputs = features[:cut]
        gram = inputs.T @ inputs + penalty * torch.eye(features.shape[1])
        w = torch.linalg.solve(gram, inputs.T @ y[:cut])
        errors.append((features[cut:] @ w - y[cut:]).square().mean())
    return int(torch.stack(errors).argmin())


@pytest.mark.parametrize(("kind", "rows"), SIZES)
def test_rows_held_out_always_find_the_family(kind, rows):
    for seed in range(20):
        x, y = mystery_data(kind, rows, torch.Generator().manual_seed(seed))
        assert x.shape == (rows, LENGTH) and set(x.unique().tolist()) == {-1.0, 1.0}
        chosen = [held_out(x, y, share) for share in (0.5, 0.8)]
        chosen.append(held_out(x, y, 0.5, penalty=0.01))
        assert {*chosen, int(reference.choose_bias(x, y))} == {kind}


@pytest.mark.parametrize(("kind", "rows"), SIZES)
def test_rows_seen_mislead_where_they_are_few(kind, rows):
    for seed in range(10):
        data = mystery_data(kind, rows, torch.Generator().manual_seed(seed))
        assert int(choosing.judged_on_seen_rows(*data)) == (POSITIONS if rows == 80 else kind)


def test_the_same_generator_gives_the_same_rows_whatever_the_kind():
    rows = [mystery_data(kind, 30, torch.Generator().manual_seed(4)) for kind in (0, 1, 2, 3, 3)]
    assert all(torch.equal(x, rows[0][0]) for x, _ in rows)
    assert torch.equal(rows[3][1], rows[4][1]) and not torch.equal(rows[2][1], rows[3][1])
    with pytest.raises(ValueError, match="kind must be"):
        mystery_data(4, 30, torch.Generator())


# right answers, written otherwise than the master's -----------------------------------------------


def conv_matrix(kernel, n, circular):
    """One diagonal at a time."""
    matrix = torch.zeros(n, n)
    for a, weight in enumerate(kernel):
        away = a - len(kernel) // 2
        if circular:
            matrix = matrix + weight * torch.eye(n).roll(away, 1)
        else:
            matrix = matrix + torch.diag(weight.expand(n - abs(away)), away)
    return matrix


def tied_gradient(free_gradient, sharing, num_weights):
    """Numbers in a list, and two loops."""
    total = [0.0] * num_weights
    for row, numbers in zip(free_gradient.tolist(), sharing.tolist()):
        for gradient, w in zip(row, numbers):
            if w != -1:
                total[w] += gradient
    return total


def shift_error(weight, x, steps):
    weight, x = weight.numpy(), x.numpy()
    y = weight @ x
    return np.linalg.norm(weight @ np.roll(x, steps) - np.roll(y, steps)) / np.linalg.norm(y)


def average_over_group(weight, group):
    return weight[group[:, :, None], group[:, None, :]].mean(0)


def set_layer(x, a, b):
    n = len(x)
    return (torch.full((n, n), float(b)) + (a - b) * torch.eye(n)) @ x


def ridge_map(X, y, noise_var, prior_var):
    """In the space of the observations."""
    gram = prior_var * X @ X.T + noise_var * torch.eye(len(X))
    return prior_var * X.T @ torch.linalg.solve(gram, y)


def prior_entropy(covariance):
    widths = torch.linalg.cholesky(covariance).diagonal()
    return sum(math.log2(width) + math.log2(2 * math.pi * math.e) / 2 for width in widths.tolist())


def choose_bias(x, y):
    """Five folds in a random order, absolute errors, a plain number."""
    fold, errors = torch.randperm(len(x)) % 5, [0.0] * 4
    for family, features in enumerate(reference.views(x)):
        for k in range(5):
            w = ridge_map(features[fold != k], y[fold != k], 0.5, 1.0)
            errors[family] += float((features[fold == k] @ w - y[fold == k]).abs().sum())
    return errors.index(min(errors))


OTHERS = (
    conv_matrix,
    tied_gradient,
    shift_error,
    average_over_group,
    set_layer,
    ridge_map,
    prior_entropy,
    choose_bias,
)


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.__name__)
def test_right_answers_by_other_means_pass(other):
    assert failures_by_other_means(unit.find(other.__name__), other) == []


def test_every_exercise_has_another_answer():
    assert {other.__name__ for other in OTHERS} == {*unit.exercises}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("conv_matrix", "import torch.nn.functional as F\nF.conv1d(x, k)"),
        ("conv_matrix", "from torch import nn\nnn.Conv1d(1, 1, 3)"),
        ("conv_matrix", "import torch\ntorch.conv1d(x, k)"),
        (
            "conv_matrix",
            "import torch\ntorch.convolution(x, k, None, [1], [1], [1], False, [0], 1)",
        ),
        ("tied_gradient", "import torch\ntorch.autograd.grad(a, b)"),
        ("tied_gradient", "error.backward()"),
        ("shift_error", "from course_lib.biases import equivariance_error as e\ne(f, x)"),
        ("ridge_map", "from course_lib import biases\nbiases.ridge_map(X, y, 1.0, 1.0)"),
        ("ridge_map", "from sklearn.linear_model import Ridge\nRidge(1.0)"),
        ("prior_entropy", "from torch.distributions import MultivariateNormal as M\nM(a, b)"),
        ("choose_bias", "import course_lib.exercises.inductive_biases as u\nu.family_errors(x, y)"),
    ],
)
def test_what_is_ready_made_is_forbidden(name, source):
    assert forbidden_names(source, unit.find(name).forbids)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("conv_matrix", "import torch\ntorch.zeros(3, 3).roll(1, 1)"),
        ("ridge_map", "import torch\ntorch.linalg.lstsq(X, y)"),
        ("prior_entropy", "import torch\ntorch.logdet(c)"),
        (
            "choose_bias",
            "import torch.nn.functional as F\nF.one_hot(band, 8)\nridge_map(a, b, 1, 1)",
        ),
    ],
)
def test_what_an_answer_needs_is_allowed(name, source):
    assert forbidden_names(source, unit.find(name).forbids) == []
