"""Device, seed, budget; and the loop of fit: it trains, validates, stops, and says what is wrong."""

import random

import numpy as np
import pytest
import torch

from course_lib.training import History, budget, fit, pick_device, seed_everything
from tests.devices import devices
from tests.regression import BATCHES, X, build, error, run, states_equal

# Device, seed, budget


@pytest.mark.parametrize("device", devices())
def test_devices_that_are_there_are_given(monkeypatch, device):
    monkeypatch.delenv("COURSE_DEVICE", raising=False)
    assert pick_device(device.type) == device
    monkeypatch.setenv("COURSE_DEVICE", device.type)
    assert pick_device() == device
    assert pick_device("cpu") == torch.device("cpu")  # the argument comes before the variable


def test_the_best_device_is_the_default(monkeypatch):
    monkeypatch.delenv("COURSE_DEVICE", raising=False)
    for count, mps, expected in [(2, True, "cuda"), (0, True, "mps"), (0, False, "cpu")]:
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert pick_device() == torch.device(expected)


def test_a_missing_device_is_an_error_that_says_who_asked(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(RuntimeError, match=r"pick_device asks for 'cuda:1', but .* finds 1 such"):
        pick_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setenv("COURSE_DEVICE", "cuda")
    with pytest.raises(RuntimeError, match=r"COURSE_DEVICE asks for 'cuda', but .* finds 0 such"):
        pick_device()


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "meta", "CPU"])
def test_a_name_that_is_no_device_is_an_error(name):
    with pytest.raises(ValueError, match=f'pick_device got {name!r}: use "cpu"'):
        pick_device(name)


def test_a_seed_repeats_every_generator():
    def draw():
        generator = seed_everything(7)
        own = torch.rand(3, generator=generator).tolist()
        return random.random(), np.random.rand(), torch.rand(3).tolist(), own  # noqa: NPY002

    first = draw()
    assert draw() == first
    seed_everything(8)
    assert torch.rand(3).tolist() != first[2]
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match="seed must lie in"):
            seed_everything(seed)


def test_budget(monkeypatch):
    for value, expected in [("1", 2), ("0", 200), ("", 200)]:
        monkeypatch.setenv("COURSE_FAST", value)
        assert budget(full=200, fast=2) == expected
    monkeypatch.delenv("COURSE_FAST")
    assert budget(full=200, fast=2) == 200
    monkeypatch.setenv("COURSE_FAST", "yes")
    with pytest.raises(ValueError, match="COURSE_FAST must be 0 or 1, got 'yes'"):
        budget(full=200, fast=2)


# The loop


def test_fit_takes_the_steps_of_a_plain_loop():
    model, _, history = run(6, loss_fn=error, shuffle=False)
    plain, optimizer, _ = build()
    plain.train()
    losses = []
    for _ in range(6):
        values = []
        for batch in BATCHES:
            optimizer.zero_grad()
            loss = error(plain, batch)
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        losses.append(sum(values) / 3)
    assert states_equal(model.state_dict(), plain.state_dict())
    assert history.train_loss == pytest.approx(losses)
    assert history.epochs == 6
    assert history.validation == []
    assert history.best_epoch is None
    assert not model.training


def test_validation_is_without_gradients_or_dropout_and_training_with_both():
    modes = []

    def loss_fn(model, batch):
        modes.append((model.training, torch.is_grad_enabled()))
        return error(model, batch)

    def validate(model):
        modes.append((model.training, torch.is_grad_enabled()))
        return 1.0

    model, optimizer, _ = build()
    model.eval()
    fit(
        model,
        loss_fn,
        [X],
        epochs=2,
        optimizer=optimizer,
        validate=validate,
        progress=False,
    )
    assert modes == [(True, True), (False, False)] * 2
    assert not model.training


def script(values):
    """A validate that returns these values in turn, and notes the weights it saw."""
    seen = []

    def validate(model):
        seen.append({key: value.clone() for key, value in model.state_dict().items()})
        return values[len(seen) - 1]

    return validate, seen


def test_patience_stops_and_restores_the_best_weights():
    validate, seen = script([3.0, 2.0, 2.0, 2.5, 1.0])
    model, optimizer, _ = build()
    history = fit(
        model,
        error,
        BATCHES,
        epochs=5,
        optimizer=optimizer,
        validate=validate,
        patience=2,
        progress=False,
    )
    assert history.validation == [3.0, 2.0, 2.0, 2.5]  # an equal value is no improvement
    assert (history.best_epoch, history.stopped_early, history.epochs) == (1, True, 4)
    assert states_equal(model.state_dict(), seen[1])


@pytest.mark.parametrize(("patience", "kept"), [(9, 1), (None, 3)])
def test_the_best_weights_are_restored_with_patience_only(patience, kept):
    validate, seen = script([3.0, 2.0, 2.5, 2.6])
    model, optimizer, _ = build()
    history = fit(
        model,
        error,
        BATCHES,
        epochs=4,
        optimizer=optimizer,
        validate=validate,
        patience=patience,
        progress=False,
    )
    assert (history.best_epoch, history.stopped_early) == (1, False)
    assert states_equal(model.state_dict(), seen[kept])


def test_on_epoch_sees_each_epoch_and_its_history():
    seen = []
    run(3, validate=True, on_epoch=lambda epoch, history: seen.append((epoch, history.epochs)))
    assert seen == [(0, 1), (1, 2), (2, 3)]


def test_progress_is_shown_unless_it_is_not_wanted(capsys):
    run(2, progress=False)
    assert capsys.readouterr() == ("", "")
    run(2, progress=True)
    assert "2/2" in capsys.readouterr().err


def test_no_epochs_leave_the_model_as_it_was():
    model, _, history = run(0)
    assert history == History()
    assert states_equal(model.state_dict(), build()[0].state_dict())


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"batches": iter([X])}, TypeError, "an iterator, used up after one epoch"),
        ({"batches": (x for x in [X])}, TypeError, "an iterator"),
        ({"batches": []}, ValueError, "batches is empty"),
        ({"patience": 3}, ValueError, "patience=3 must be at least 1, and needs validate="),
        ({"patience": 0, "validate": lambda m: 1.0}, ValueError, "patience=0"),
        ({"epochs": -1}, ValueError, "epochs must be at least 0"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every at least 1"),
        ({"generators": [np.random.default_rng(0)]}, TypeError, r"torch\.Generator objects"),
        ({"loss_fn": lambda m, b: m(b)}, ValueError, r"a tensor \[\], got \[12, 1\]"),
        ({"loss_fn": lambda m, b: 1.0}, ValueError, r"a tensor \[\], got float"),
    ],
)
def test_wrong_arguments_are_named(options, kind, message):
    model, optimizer, _ = build()
    arguments = {"loss_fn": error, "batches": [X], "epochs": 1, "optimizer": optimizer} | options
    with pytest.raises(kind, match=message):
        fit(model, arguments.pop("loss_fn"), arguments.pop("batches"), progress=False, **arguments)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_by_epoch_and_batch(tmp_path, value):
    steps = []

    def loss_fn(model, batch):
        steps.append(batch)
        return error(model, batch) * (value if len(steps) == 3 + 2 else 1.0)

    path = tmp_path / "run.pt"
    with pytest.raises(FloatingPointError, match=r"in epoch 1, batch 1: try a smaller"):
        run(4, loss_fn=loss_fn, shuffle=False, checkpoint=path)
    assert run(1, shuffle=False, checkpoint=path)[2].epochs == 1  # that of epoch 0 stays


def test_a_validation_that_is_nan_is_an_error():
    model, optimizer, _ = build()
    with pytest.raises(FloatingPointError, match="validate returned nan in epoch 0"):
        fit(
            model,
            error,
            [X],
            epochs=1,
            optimizer=optimizer,
            validate=lambda model: float("nan"),
            progress=False,
        )
