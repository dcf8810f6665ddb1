"""Recurrent layers: torch's values, gradients, names and draws; shifts; initial states; messages."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from course_lib.sequence.cells import gru_step, lstm_step, rnn_step
from course_lib.sequence.recurrent import GRU, LSTM, RNN, OutputRNN, set_forget_bias
from tests.devices import devices

LAYERS = {
    "rnn": (RNN, nn.RNN, {}),
    "rnn relu": (RNN, nn.RNN, {"nonlinearity": "relu"}),
    "lstm": (LSTM, nn.LSTM, {}),
    "gru": (GRU, nn.GRU, {}),
}
SETTINGS = {
    "plain": {},
    "two layers": {"num_layers": 2},
    "bidirectional": {"bidirectional": True},
    "all at once": {"num_layers": 3, "bidirectional": True, "batch_first": True},
    "batch first": {"batch_first": True},
    "no bias": {"bias": False, "num_layers": 2},
}
SIZES = [(1, 1), (2, 2), (5, 3), (60, 2)]  # steps T, batch B
INPUT, HIDDEN = 3, 4


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def _pair(layer: str, setting: str = "plain", **more) -> tuple[nn.Module, nn.Module]:
    """Ours and torch's with the same weights, in float64; the draws after it begin anew."""
    torch.manual_seed(0)
    ours, theirs, options = LAYERS[layer]
    options = {**options, **SETTINGS[setting], **more, "dtype": torch.float64}
    peer = theirs(INPUT, HIDDEN, **options)
    layer = ours(INPUT, HIDDEN, **options)
    layer.load_state_dict(peer.state_dict())
    return layer, peer


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=torch.float64)


def _leaves(values: list[torch.Tensor]) -> list[torch.Tensor]:
    return [value.clone().requires_grad_() for value in values]


def _flat(results) -> list[torch.Tensor]:
    """Output and last states of a layer in one list."""
    output, last = results
    return [output, *(last if isinstance(last, tuple) else (last,))]


def _assert_same(ours: nn.Module, theirs: nn.Module, x, states) -> None:
    """Outputs, last states and the gradients of x, the states and every parameter agree."""
    everything = []
    for module in (ours, theirs):
        inputs = _leaves([x, *states])
        hx = tuple(inputs[1:]) if len(inputs) == 3 else (inputs[1:] or [None])[0]
        everything.append((_flat(module(inputs[0], hx)), inputs, dict(module.named_parameters())))
    (got, got_inputs, got_weights), (wanted, inputs, weights) = everything
    upstream = [torch.randn_like(part) for part in wanted]
    torch.autograd.backward(got, upstream)
    torch.autograd.backward(wanted, upstream)
    torch.testing.assert_close(got, wanted)
    for part, expected in zip(got_inputs, inputs):
        torch.testing.assert_close(part.grad, expected.grad)
    for name, expected in weights.items():
        torch.testing.assert_close(got_weights[name].grad, expected.grad)


def _states(layer: nn.Module, *middle: int) -> list[torch.Tensor]:
    rows = layer.num_layers * (1 + layer.bidirectional)
    return [_random(rows, *middle, HIDDEN) for _ in range(1 + isinstance(layer, LSTM))]


@pytest.mark.parametrize("with_states", [False, True], ids=["from zero", "from hx"])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("layer", LAYERS)
def test_values_and_gradients_against_torch(layer, setting, size, with_states):
    ours, theirs = _pair(layer, setting)
    steps, batch = size
    x = _random(*((batch, steps) if ours.batch_first else (steps, batch)), INPUT)
    _assert_same(ours, theirs, x, _states(ours, batch) if with_states else [])


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("layer", LAYERS)
def test_one_sequence_without_a_batch_against_torch(layer, setting):
    ours, theirs = _pair(layer, setting)
    _assert_same(ours, theirs, _random(5, INPUT), [])
    _assert_same(ours, theirs, _random(5, INPUT), _states(ours))


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("layer", LAYERS)
def test_same_names_and_from_the_same_seed_the_same_weights(layer, setting):
    ours, theirs, options = LAYERS[layer]
    weights = []
    for module in (ours, theirs):
        torch.manual_seed(3)
        weights.append(module(INPUT, HIDDEN, **options, **SETTINGS[setting]).state_dict())
    assert [*weights[0]] == [*weights[1]]
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_positional_arguments_stand_where_torch_has_them():
    both = [kind(3, 4, 2, "relu", False, True, 0.5, True) for kind in (RNN, nn.RNN)]
    assert [*both[0].state_dict()] == [*both[1].state_dict()]
    for ours, theirs in ((LSTM, nn.LSTM), (GRU, nn.GRU)):
        both = [kind(3, 4, 2, False, True, 0.5, True) for kind in (ours, theirs)]
        assert [*both[0].state_dict()] == [*both[1].state_dict()]
        names = ("num_layers", "bias", "batch_first", "dropout", "bidirectional")
        assert [getattr(both[0], n) for n in names] == [getattr(both[1], n) for n in names]


@pytest.mark.parametrize("layer", LAYERS)
def test_dropout_lies_between_layers_and_only_in_training(layer):
    ours, theirs = _pair(layer, "two layers", dropout=1.0)
    x = _random(5, 2, INPUT)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])  # the top layer hears zeros
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])
    single, _ = _pair(layer)
    single.dropout = 1.0
    assert single(x)[0].abs().min() > 0 or layer == "rnn relu"


def test_the_steps_against_torchs_cells():
    x, h, c = _random(2, INPUT), _random(2, HIDDEN), _random(2, HIDDEN)
    for step, kind in ((rnn_step, nn.RNNCell), (lstm_step, nn.LSTMCell), (gru_step, nn.GRUCell)):
        cell = kind(INPUT, HIDDEN, dtype=torch.float64)
        projected, recurrent = F.linear(x, cell.weight_ih, cell.bias_ih), cell.weight_hh.t()
        if kind is nn.GRUCell:
            got, wanted = step(projected, h, recurrent, cell.bias_hh), cell(x, h)
        elif kind is nn.LSTMCell:
            got, wanted = step(projected + cell.bias_hh, h, c, recurrent), cell(x, (h, c))
        else:
            got, wanted = step(projected + cell.bias_hh, h, recurrent), cell(x, h)
        torch.testing.assert_close(got, wanted)


@settings(max_examples=15, deadline=None)
@given(delay=st.integers(1, 6), steps=st.integers(1, 8), layer=st.sampled_from([*LAYERS]))
def test_a_delayed_input_gives_a_delayed_output(delay, steps, layer):
    """The relational bias of a recurrent layer: the state is h_0 where the sequence begins."""
    ours, _ = _pair(layer)
    x = _random(steps, 2, INPUT)
    while_waiting = _random(delay, 2, INPUT)
    _, state = ours(while_waiting)
    long, _ = ours(torch.cat([while_waiting, x]))
    torch.testing.assert_close(long[delay:], ours(x, state)[0])


@settings(max_examples=15, deadline=None)
@given(step=st.integers(0, 6), layer=st.sampled_from([*LAYERS]), both=st.booleans())
def test_only_a_bidirectional_layer_hears_the_future(step, layer, both):
    ours, _ = _pair(layer, "bidirectional" if both else "two layers")
    for name, parameter in ours.named_parameters():
        if name.startswith("bias"):  # keep relu units alive
            nn.init.ones_(parameter)
    x = _random(7, 1, INPUT).requires_grad_()
    heard = torch.autograd.grad(ours(x)[0][step].sum(), x)[0].abs().sum((1, 2)) > 0
    assert heard[: step + 1].all()
    assert heard[step + 1 :].all() if both else not heard[step + 1 :].any()


@pytest.mark.parametrize("layer", LAYERS)
def test_learned_initial_states(layer):
    ours, _ = _pair(layer, "bidirectional", num_layers=2)
    kind, _, options = LAYERS[layer]
    options = {**options, "bidirectional": True, "num_layers": 2, "learned_h0": True}
    learner = kind(INPUT, HIDDEN, **options, dtype=torch.float64)
    names = {"h0", "c0"} if layer == "lstm" else {"h0"}
    assert {*learner.state_dict()} - {*ours.state_dict()} == names
    learner.load_state_dict({**learner.state_dict(), **ours.state_dict()})
    x = _random(5, 2, INPUT)
    torch.testing.assert_close(learner(x), ours(x))  # at first they are zero
    for name in names:
        nn.init.normal_(getattr(learner, name))
    start = tuple(getattr(learner, n).unsqueeze(1).repeat(1, 2, 1) for n in learner.states)
    start = start if layer == "lstm" else start[0]
    torch.testing.assert_close(learner(x), ours(x, start))
    torch.testing.assert_close(learner(x, ours(x)[1]), ours(x, ours(x)[1]))  # hx goes before
    torch.testing.assert_close(learner(x[:, 0])[0], learner(x)[0][:, 0])
    learner(x)[0].square().sum().backward()
    assert all(getattr(learner, name).grad.abs().min() > 0 for name in names) or layer == "rnn relu"
    learner.reset_parameters()
    assert learner.h0.abs().max() == 0


@pytest.mark.parametrize("setting", SETTINGS)
def test_unroll_shows_the_cells_of_every_step(setting):
    lstm, _ = _pair("lstm", setting)
    x = _random(3, 3, INPUT)
    hidden, cells = lstm.unroll(x)
    output, (_, c_n) = lstm(x)
    torch.testing.assert_close(hidden, output)
    if lstm.batch_first:
        cells = cells.transpose(0, 1)
    torch.testing.assert_close(cells[-1, :, :HIDDEN], c_n[-1 - lstm.bidirectional])
    if lstm.bidirectional:
        torch.testing.assert_close(cells[0, :, HIDDEN:], c_n[-1])
    hidden, cells = lstm.unroll(x[0])
    assert hidden.shape == cells.shape == (3, HIDDEN * (1 + lstm.bidirectional))


def test_an_lstms_cells_are_what_the_equations_say():
    """One unit, one step, worked out: i = f = o = 1/2, g = tanh(1): c = (c0 + tanh 1) / 2."""
    lstm = LSTM(1, 1)
    for parameter in lstm.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        lstm.weight_ih_l0[2] = 1.0  # only what is written hears the input
    hidden, cells = lstm.unroll(torch.ones(1, 1, 1), (torch.zeros(1, 1, 1), torch.ones(1, 1, 1)))
    cell = (1 + torch.tanh(torch.tensor(1.0))) / 2
    torch.testing.assert_close(cells.flatten(), cell[None])
    torch.testing.assert_close(hidden.flatten(), cell.tanh()[None] / 2)


@pytest.mark.parametrize("kind", [LSTM, nn.LSTM])
def test_the_forget_bias_sets_what_a_cell_keeps(kind):
    lstm = kind(1, 4, 2, bidirectional=True, dtype=torch.float64)
    before = {name: value.clone() for name, value in lstm.state_dict().items()}
    set_forget_bias(lstm, 3.0)
    for name, value in lstm.state_dict().items():
        forget = torch.zeros(16, dtype=torch.bool)
        forget[4:8] = name.startswith("bias")
        assert torch.equal(value[~forget], before[name][~forget])
        if name.startswith("bias"):
            assert (value[forget] == (3.0 if "_ih_" in name else 0.0)).all()


def test_only_an_lstm_with_biases_takes_a_forget_bias():
    for layer in (GRU(1, 2), LSTM(1, 2, bias=False)):
        with pytest.raises(ValueError, match="only an LSTM with biases"):
            set_forget_bias(layer, 1.0)


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_wrong_inputs_and_settings_are_named(kind):
    layer, x = kind(3, 4), torch.zeros(5, 2, 3)
    with pytest.raises(ValueError, match=r"\[T, B, 3\].*got \[5, 2, 4\]"):
        layer(torch.zeros(5, 2, 4))
    with pytest.raises(ValueError, match=r"\[B, T, 3\].*got \[3\]"):
        kind(3, 4, batch_first=True)(torch.zeros(3))
    with pytest.raises(ValueError, match="no steps"):
        layer(torch.zeros(0, 2, 3))
    wrong = torch.zeros(1, 3, 4)
    hx = (wrong, wrong) if kind is LSTM else wrong
    with pytest.raises(ValueError, match=r"h0 must be .* = \[1, 2, 4\], got \[1, 3, 4\]"):
        layer(x, hx)
    with pytest.raises(ValueError, match=r"= \[1, 4\], got \[1, 3, 4\]"):
        layer(x[:, 0], hx)
    with pytest.raises(ValueError, match="hidden_size must be at least 1"):
        kind(3, 0)
    with pytest.raises(ValueError, match="num_layers must be at least 1"):
        kind(3, 4, 0)
    with pytest.raises(ValueError, match="dropout is a probability"):
        kind(3, 4, dropout=1.5)


def test_an_lstm_needs_both_states_and_an_rnn_a_known_nonlinearity():
    with pytest.raises(ValueError, match=r"pass hx = \(h_0, c_0\)"):
        LSTM(3, 4)(torch.zeros(5, 2, 3), torch.zeros(1, 2, 4))
    for kind in (RNN, lambda *sizes, **options: OutputRNN(*sizes, 1, **options)):
        with pytest.raises(ValueError, match='"tanh" or "relu"'):
            kind(3, 4, nonlinearity="sigmoid")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("device", devices())
def test_device_parity(device, layer, dtype):
    """Forward and backward on each device agree with the CPU in float64."""
    oracle, _ = _pair(layer, "all at once")
    moved, _ = _pair(layer, "all at once")
    moved.load_state_dict(oracle.state_dict())
    moved.to(device, dtype)
    x = _random(2, 6, INPUT)
    results = []
    for module in (oracle, moved):
        inputs = x.to(module.weight_ih_l0, copy=True).requires_grad_()
        output = module(inputs)[0]
        output.square().sum().backward()
        results.append([output, inputs.grad, *(p.grad for p in module.parameters())])
    for wanted, got in zip(*results):
        torch.testing.assert_close(got.double().cpu(), wanted, rtol=1e-4, atol=1e-5)
