"""The tasks: shapes, seeds, targets by the plainest means, and what a memoryless guess costs."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.sequence import tasks
from tests.devices import devices

SEEDS = st.integers(0, 2**32)


def generator(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


EVERY = {  # all tasks at a small size
    "copy_task": lambda g: tasks.copy_task(3, 4, 5, g),
    "adding_problem": lambda g: tasks.adding_problem(3, 6, g),
    "parity": lambda g: tasks.parity(3, 6, g),
    "binary_addition": lambda g: tasks.binary_addition(3, 6, g),
    "mackey_glass": lambda g: (tasks.mackey_glass(3, 6, g, washout=20),),
    "strokes": lambda g: tasks.strokes(3, g),
}
SHAPES = {
    "copy_task": [(3, 13), (3, 13)],
    "adding_problem": [(3, 6, 2), (3,)],
    "parity": [(3, 6, 1), (3, 6)],
    "binary_addition": [(3, 7, 2), (3, 7)],
    "mackey_glass": [(3, 6)],
    "strokes": [(3, 8, 2), (3,)],
}


@pytest.mark.parametrize("name", EVERY)
def test_shapes_seeds_and_rows_of_their_own(name):
    one, again, other = (EVERY[name](generator(seed)) for seed in (1, 1, 2))
    assert [tuple(part.shape) for part in one] == SHAPES[name]
    assert all(torch.equal(a, b) for a, b in zip(one, again))
    assert not torch.equal(one[0], other[0])
    assert len(one[0].flatten(1).unique(dim=0)) == 3


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("device", devices())
def test_tensors_are_made_on_the_generators_device(name, device):
    assert {part.device.type for part in EVERY[name](generator(1, device))} == {device.type}


@pytest.mark.parametrize("name", ["adding_problem", "parity", "binary_addition", "mackey_glass"])
def test_the_dtype_can_be_chosen(name):
    made = getattr(tasks, name)(2, 4, generator(), dtype=torch.float64)
    assert (made if name == "mackey_glass" else made[0]).dtype == torch.float64
    assert tasks.strokes(2, generator(), dtype=torch.float64)[0].dtype == torch.float64


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 9), st.integers(2, 5), SEEDS)
def test_copy_asks_for_the_symbols_after_the_signal(batch, length, delay, symbols, seed):
    x, y = tasks.copy_task(batch, length, delay, generator(seed), symbols=symbols)
    assert x.dtype == y.dtype == torch.int64
    signal = length + delay - 1
    assert (x[:, signal] == symbols + 1).all()
    assert (x == symbols + 1).sum() == batch
    assert torch.equal(y[:, signal + 1 :], x[:, :length])
    assert int(x[:, :length].max()) < symbols
    assert (y[:, : signal + 1] == symbols).all()
    assert (x[:, length:signal] == symbols).all() and (x[:, signal + 1 :] == symbols).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(2, 9), SEEDS)
def test_adding_marks_one_number_in_each_half(batch, length, seed):
    x, y = tasks.adding_problem(batch, length, generator(seed), dtype=torch.float64)
    marks, half = x[..., 1], length // 2
    assert ((marks == 0) | (marks == 1)).all()
    assert (marks[:, :half].sum(1) == 1).all() and (marks[:, half:].sum(1) == 1).all()
    torch.testing.assert_close(y, (x[..., 0] * marks).sum(1))
    assert ((x[..., 0] >= 0) & (x[..., 0] < 1)).all()


def test_adding_reaches_every_place_and_its_constant_error_is_a_sixth():
    x, y = tasks.adding_problem(20_000, 7, generator())
    marked = x[..., 1].mean(0)
    torch.testing.assert_close(marked[:3], torch.full((3,), 1 / 3), atol=0.02, rtol=0)
    torch.testing.assert_close(marked[3:], torch.full((4,), 1 / 4), atol=0.02, rtol=0)
    assert float((y - 1).square().mean()) == pytest.approx(1 / 6, rel=0.03)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 12), SEEDS)
def test_parity_step_by_step(batch, length, seed):
    x, y = tasks.parity(batch, length, generator(seed))
    for row, answers in zip(x[..., 0].int().tolist(), y.int().tolist()):
        odd = 0
        for bit, answer in zip(row, answers):
            odd ^= bit
            assert odd == answer


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 70), SEEDS)
def test_the_sum_is_the_one_of_whole_numbers(batch, bits, seed):
    x, y = tasks.binary_addition(batch, bits, generator(seed))
    assert not x[:, -1].any()

    def number(row) -> int:
        return sum(int(bit) << place for place, bit in enumerate(row.tolist()))

    for pair, total in zip(x, y):
        assert number(pair[:, 0]) + number(pair[:, 1]) == number(total)


def mackey_glass_by_small_steps(history: float, length: int, tau: int = 17) -> np.ndarray:
    """The same equation by Heun's method with 200 steps a unit of time."""
    fine, h = 200, 1 / 200
    x = np.full(fine * (tau + length) + 1, history)

    def slope(now: float, late: float) -> float:
        return 0.2 * late / (1 + late**10) - 0.1 * now

    for k in range(fine * tau, len(x) - 1):
        first = slope(x[k], x[k - fine * tau])
        second = slope(x[k] + h * first, x[k + 1 - fine * tau])
        x[k + 1] = x[k] + h * (first + second) / 2
    return x[fine * tau :: fine][:length]


def test_mackey_glass_agrees_with_a_finer_solution_by_other_means():
    series = tasks.mackey_glass(2, 90, generator(), washout=0)
    for row in series:
        expected = torch.from_numpy(mackey_glass_by_small_steps(float(row[0]), 90))
        torch.testing.assert_close(row, expected, atol=2e-3, rtol=0)


def test_finer_steps_come_nearer_with_the_square_of_the_step():
    coarse, middle, fine = (
        tasks.mackey_glass(1, 80, generator(), washout=0, steps=steps) for steps in (5, 10, 80)
    )
    errors = [float((series - fine).abs().max()) for series in (coarse, middle)]
    assert errors[0] / 6 < errors[1] < errors[0] / 3


def test_mackey_glass_stays_in_its_range_and_its_washout_is_dropped():
    series = tasks.mackey_glass(3, 2000, generator())
    assert 0.2 < float(series.min()) < 0.5 and 1.2 < float(series.max()) < 1.4
    whole = tasks.mackey_glass(3, 2050, generator(), washout=950)
    assert torch.equal(whole[:, 50:], series)


def test_a_short_delay_settles_at_the_fixed_point_one():
    settled = tasks.mackey_glass(2, 5, generator(), tau=2.0, washout=600)
    torch.testing.assert_close(settled, torch.ones_like(settled), atol=1e-4, rtol=0)


def test_mackey_glass_is_chaotic_a_hair_of_difference_grows():
    one, other = (
        tasks.mackey_glass(4, 2500, generator(), washout=0, steps=steps) for steps in (10, 20)
    )
    gap = (one - other).abs()
    assert float(gap[:, :50].max()) < 1e-3 < 0.1 < float(gap[:, -500:].mean())


def test_strokes_are_procedural_digits_in_minus_one_to_one():
    x, y = tasks.strokes(500, generator(), points=11)
    assert x.shape == (500, 11, 2) and set(y.tolist()) == set(range(10))
    assert float(x.min()) >= -1 and float(x.max()) <= 1
    assert torch.equal(tasks.as_strokes(torch.tensor([0.0, 50, 100])), torch.tensor([-1.0, 0, 1]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: tasks.copy_task(0, 1, 1, g), "batch must be at least 1, got 0"),
        (lambda g: tasks.copy_task(1, 1, 0, g), "delay must be at least 1"),
        (lambda g: tasks.copy_task(1, 1, 1, g, symbols=1), "symbols must be at least 2"),
        (lambda g: tasks.adding_problem(1, 1, g), "length must be at least 2"),
        (lambda g: tasks.parity(1, 0, g), "length must be at least 1"),
        (lambda g: tasks.binary_addition(1, 0, g), "bits must be at least 1"),
        (lambda g: tasks.mackey_glass(1, 5, g, washout=-1), "washout must be at least 0"),
        (lambda g: tasks.mackey_glass(1, 5, g, tau=0.05), "a positive multiple of 1 / 10"),
        (lambda g: tasks.mackey_glass(1, 5, g, tau=17.03), "a positive multiple of 1 / 10"),
        (lambda g: tasks.strokes(1, g, points=1), "at least 2 points"),
        (lambda g: tasks.strokes(0, g), "batch must be at least 1"),
    ],
)
def test_wrong_counts_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(generator())
