"""The checkpoints of fit: training goes on as if it had never stopped, and no file is lost."""

import os
import signal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course_lib.training import CheckpointError, fit, seed_everything
from tests.devices import devices
from tests.regression import Net, X, build, error, noisy_error, run, states_equal


@settings(max_examples=15, deadline=None)
@given(
    stops=st.lists(st.integers(0, 7), max_size=3),
    every=st.integers(1, 4),
    validate=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_training_resumes_bit_for_bit(tmp_path_factory, stops, every, validate, seed):
    path = tmp_path_factory.mktemp("run") / "run.pt"
    options = {"validate": validate, "patience": 3 if validate else None}
    whole, optimizer, history = run(7, **options)
    state = optimizer.state_dict()["state"]
    for epochs in sorted(stops):
        run(epochs, checkpoint=path, checkpoint_every=every, **options)
    seed_everything(seed)  # what the process draws in between does not matter
    model, optimizer, resumed = run(7, checkpoint=path, checkpoint_every=every, **options)
    assert resumed == history
    assert states_equal(model.state_dict(), whole.state_dict())
    for key, moments in optimizer.state_dict()["state"].items():
        assert states_equal(moments, state[key])


@pytest.mark.parametrize("every", [1, 2])
def test_an_interrupt_leaves_a_checkpoint_to_go_on_from(tmp_path, every):
    path = tmp_path / "deep" / "run.pt"
    whole, _, history = run(6)

    def interrupt(model, batch):
        steps.append(batch)
        if len(steps) == 11:  # in the fourth epoch of three batches
            os.kill(os.getpid(), signal.SIGINT)
        return noisy_error(model, batch)

    steps = []
    # A shell that starts the tests in the background has them ignore SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run(6, loss_fn=interrupt, checkpoint=path, checkpoint_every=every)
    finally:
        signal.signal(signal.SIGINT, before)
    assert [file.name for file in path.parent.iterdir()] == ["run.pt"]
    epochs = []
    model, _, resumed = run(6, checkpoint=path, on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs == list(range(3 // every * every, 6))
    assert resumed == history
    assert states_equal(model.state_dict(), whole.state_dict())


def test_a_failed_write_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    run(2, checkpoint=path)
    before = path.read_bytes()

    def fail(content, target):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        run(3, checkpoint=path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_is_replaced_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    run(2, checkpoint=path)
    before = path.read_bytes()

    def crash(source, target):
        assert torch.load(source, weights_only=True)["history"]["train_loss"]  # whole already
        raise OSError("the machine stops here")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="the machine stops here"):
        run(3, checkpoint=path)
    assert path.read_bytes() == before


def test_the_last_epoch_is_written_whatever_the_interval(tmp_path):
    path = tmp_path / "run.pt"
    model, _, history = run(5, checkpoint=path, checkpoint_every=3)
    loaded, _, again = run(5, checkpoint=path, loss_fn=None)  # nothing is left to compute
    assert again == history
    assert states_equal(loaded.state_dict(), model.state_dict())


def test_a_finished_run_is_loaded_and_not_repeated(tmp_path):
    path = tmp_path / "run.pt"
    options = {"validate": True, "patience": 2, "checkpoint": path}
    model, _, history = run(40, **options)
    assert history.stopped_early
    calls = []
    again, _, loaded = run(40, loss_fn=lambda *a: calls.append(a), **options)
    assert calls == []
    assert loaded == history
    assert states_equal(again.state_dict(), model.state_dict())


def test_more_patience_goes_on_from_the_last_weights_not_the_best(tmp_path):
    path = tmp_path / "run.pt"
    whole, _, history = run(30, validate=True, patience=6)
    _, _, short = run(30, validate=True, patience=2, checkpoint=path)
    assert short.epochs < history.epochs
    model, _, resumed = run(30, validate=True, patience=6, checkpoint=path)
    assert resumed == history
    assert states_equal(model.state_dict(), whole.state_dict())


def test_going_on_is_said(tmp_path, capsys):
    run(2, checkpoint=tmp_path / "run.pt")
    run(3, checkpoint=tmp_path / "run.pt", progress=True)
    assert f"going on after 2 epochs, from {tmp_path / 'run.pt'}" in capsys.readouterr().out


def damaged(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def foreign(path):
    torch.save(Net().state_dict(), path)


def hostile(path):
    class Command:
        def __reduce__(self):
            return os.mkdir, (str(path.with_name("trap")),)

    torch.save({"history": Command()}, path)


@pytest.mark.parametrize("spoil", [damaged, foreign, hostile, lambda path: path.write_text("")])
def test_a_file_that_is_no_checkpoint_is_an_error_and_stays(tmp_path, spoil):
    path = tmp_path / "run.pt"
    run(2, checkpoint=path)
    spoil(path)
    content = path.read_bytes()
    with pytest.raises(CheckpointError, match=r"run\.pt is no checkpoint of fit .*move it away"):
        run(3, checkpoint=path)
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 6}, r"of another model, they differ in layers\.0\.bias"),
        ({"kind": torch.optim.SGD}, r"of another optimizer \(Adam\)"),
        ({"validate": lambda model: 1.0}, "other generators or validation"),
        ({"generators": []}, "other generators or validation"),
    ],
)
def test_a_checkpoint_of_another_run_is_an_error_and_changes_nothing(tmp_path, options, message):
    path = tmp_path / "run.pt"
    run(2, checkpoint=path)
    content = path.read_bytes()
    sizes = {key: options.pop(key) for key in ("hidden", "kind") if key in options}
    model, optimizer, generator = build(1, **sizes)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    options = {"generators": [generator]} | options
    with pytest.raises(CheckpointError, match=message):
        fit(
            model,
            error,
            [X],
            epochs=3,
            optimizer=optimizer,
            checkpoint=path,
            progress=False,
            **options,
        )
    assert path.read_bytes() == content
    assert states_equal(model.state_dict(), before)


@pytest.mark.parametrize("device", devices())
def test_a_run_goes_on_on_every_device(tmp_path, device):
    path = tmp_path / "run.pt"
    data = X.to(device)

    def train(epochs, **options):
        seed_everything(0)
        model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).to(device)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        history = fit(
            model, error, [data], epochs=epochs, optimizer=optimizer, progress=False, **options
        )
        return model, history

    whole, history = train(6)
    train(3, checkpoint=path)
    model, resumed = train(6, checkpoint=path)
    assert next(model.parameters()).device.type == device.type
    assert resumed.train_loss == pytest.approx(history.train_loss, rel=1e-5)
    for one, other in zip(model.parameters(), whole.parameters()):
        torch.testing.assert_close(one, other)
