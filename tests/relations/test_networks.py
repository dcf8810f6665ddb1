"""Encoders and decoders: relabelling, the one-hot peer, windows, memory, springs, devices."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from benchmarks.speed.one_hot_nri import with_weights_of
from course_lib.relations.decoders import GRUDecoder, MLPDecoder, SpringsDecoder
from course_lib.relations.encoders import CNNEncoder, MLPEncoder
from course_lib.relations.graphs import complete_graph
from course_lib.relations.nri import NRI, nri_loss
from course_lib.relations.pairs import PairLinear, edge_to_node, node_to_edge
from course_lib.relations.springs import springs
from tests.devices import devices
from tests.relations.relabel import relabel_edges, relabel_states

F64 = torch.float64
FRAMES, TYPES = 16, 3


def states(batch=3, bodies=4, frames=FRAMES, dtype=F64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, bodies, frames, 4, dtype=dtype, generator=generator)


def edges(batch=3, bodies=4, types=TYPES, dtype=F64, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, bodies * (bodies - 1), types, dtype=dtype, generator=generator)


def encoders(dropout=0.0):
    sizes = {"hidden_size": 8, "edge_types": TYPES, "dropout": dropout}
    return {"mlp": MLPEncoder(FRAMES, **sizes), "cnn": CNNEncoder(**sizes)}


def decoders(skip_first=True):
    sizes = {"edge_types": TYPES, "skip_first": skip_first}
    return {
        "mlp": MLPDecoder(hidden_size=8, **sizes),
        "gru": GRUDecoder(hidden_size=8, **sizes),
        "springs": SpringsDecoder(**sizes, frame_time=1.0, strength=0.3, box=2.0),
    }


def test_pairs_by_hand():
    senders, receivers = complete_graph(3)
    h = torch.randn(3, 2, 5, dtype=F64)
    torch.testing.assert_close(node_to_edge(h, 10 * h), h[senders] + 10 * h[receivers])
    pairs = torch.randn(6, 2, 5, dtype=F64)
    torch.testing.assert_close(edge_to_node(pairs, 3)[1], pairs[receivers == 1].sum(0))
    layer = PairLinear(5, 7).double()
    weight = torch.cat([layer.sender.weight, layer.receiver.weight], 1)
    expected = F.linear(torch.cat([h[senders], h[receivers]], -1), weight, layer.sender.bias)
    torch.testing.assert_close(layer(h), expected)
    with pytest.raises(ValueError, match="6 ordered pairs"):
        edge_to_node(pairs[:5], 3)


def test_gradients_of_the_pair_sum():
    sent, received = (torch.randn(4, 3, dtype=F64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(node_to_edge, (sent, received))
    spread = (node_to_edge(sent, received).sum(1),)  # a gradient that is expanded, not contiguous
    torch.autograd.grad(spread, sent, torch.ones_like(spread[0]))


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
@pytest.mark.parametrize("training", [False, True])
@given(order=st.permutations(range(4)))
@settings(max_examples=5, deadline=None)
def test_an_encoder_follows_a_relabelling(kind, training, order):
    torch.manual_seed(0)
    encoder = encoders()[kind].double().train(training)
    x = states()
    expected = relabel_edges(encoder(x), order)
    torch.testing.assert_close(encoder(relabel_states(x, order)), expected)


@pytest.mark.parametrize("kind", ["mlp", "gru", "springs"])
@given(order=st.permutations(range(4)))
@settings(max_examples=5, deadline=None)
def test_a_decoder_follows_a_relabelling(kind, order):
    torch.manual_seed(0)
    decoder = decoders()[kind].double()
    x, z = states(), edges()
    expected = relabel_states(decoder(x, z, 5), order)
    moved = decoder(relabel_states(x, order), relabel_edges(z, order), 5)
    torch.testing.assert_close(moved, expected)
    ahead = decoder.rollout(relabel_states(x, order), relabel_edges(z, order), 3)
    torch.testing.assert_close(ahead, relabel_states(decoder.rollout(x, z, 3), order))


@pytest.mark.parametrize("in_cache", [700_000, 250])  # whole, and in parts of a few windows
@pytest.mark.parametrize(("types", "skip_first"), [(2, True), (2, False), (3, True), (3, False)])
def test_loss_and_gradients_are_those_of_one_hot_matrices(types, skip_first, in_cache, monkeypatch):
    monkeypatch.setattr("course_lib.relations.decoder_parts.IN_CACHE", in_cache)
    torch.manual_seed(0)
    encoder = MLPEncoder(FRAMES, hidden_size=8, edge_types=types)
    decoder = MLPDecoder(hidden_size=8, edge_types=types, skip_first=skip_first)
    ours = NRI(encoder, decoder, variance=0.1).double()
    peer, x, losses = with_weights_of(ours, 4), states(), []
    for loss in (lambda: nri_loss(ours, x, 4), lambda: peer.loss(x, 4)):
        torch.manual_seed(5)  # the same Gumbel noise
        losses.append(loss())
        losses[-1].backward()
    torch.testing.assert_close(*losses)
    pairs = [
        (encoder.embed.first.weight, peer.embed.first.weight.grad),
        (encoder.pair.first.sender.weight, peer.pair.first.weight.grad[:, :8]),
        (encoder.rounds.edge.first.pair.receiver.weight, peer.edge.first.weight.grad[:, 8:16]),
        (decoder.messages.weight, torch.stack([m.weight.grad.T for m in peer.message2])),
        (
            decoder.messages.pair.receiver.weight,
            torch.cat([m.weight.grad[:, 4:] for m in peer.message1]),
        ),
        (decoder.update.layers[0].weight, peer.out1.weight.grad),
    ]
    for parameter, expected in pairs:
        assert expected.abs().max() > 0
        torch.testing.assert_close(parameter.grad, expected)


@pytest.mark.parametrize("kind", ["mlp", "springs"])
@pytest.mark.parametrize(
    ("frames", "steps"), [(16, 5), (16, 15), (16, 40), (12, 4), (11, 1), (2, 1)]
)
def test_windows_restart_from_the_truth(kind, frames, steps, monkeypatch):
    monkeypatch.setattr("course_lib.relations.decoder_parts.IN_CACHE", 250)
    decoder, x, z = decoders()[kind].double(), states(frames=frames), edges()
    predicted = decoder(x, z, steps)
    assert predicted.shape == (3, 4, frames - 1, 4)
    for start in range(0, frames - 1, steps):
        many = min(steps, frames - 1 - start)
        alone = decoder.rollout(x[:, :, : start + 1], z, many)
        torch.testing.assert_close(predicted[:, :, start : start + many], alone)


def test_the_memory_of_a_gru_is_torchs_and_sees_no_future():
    decoder, x, z = decoders()["gru"].double(), states(), edges()
    hidden, now, expected = torch.zeros(3, 4, 8, dtype=F64), x[:, :, 0], []
    senders, receivers = complete_graph(4)
    weight = decoder.messages.weight
    for _ in range(3):
        pair = decoder.messages.pair
        both = pair.sender(hidden[:, senders]) + pair.receiver(hidden[:, receivers])
        first = torch.tanh(both).unflatten(-1, (2, 8))
        second = torch.tanh(
            torch.einsum("beki,kij->bekj", first, weight) + decoder.messages.bias[:, 0]
        )
        sent = (second * z[..., 1:, None]).sum(2)
        heard = torch.zeros(3, 4, 8, dtype=F64).index_add(1, receivers, sent)
        inputs = torch.cat([heard, now], -1).flatten(0, 1)
        hidden = decoder.cell(inputs, hidden.flatten(0, 1)).view(3, 4, 8)
        now = now + decoder.update(hidden)
        expected.append(now)
    torch.testing.assert_close(decoder(x, z, 99)[:, :, :3], torch.stack(expected, 2))
    changed = x.clone()
    changed[:, :, 6] += 1.0
    before, after = decoder(x, z, 5), decoder(changed, z, 5)
    assert torch.equal(before, after)  # frame 6 is not shown where steps is 5
    decoder.burn_in = 7
    assert not torch.allclose(decoder(x, z, 99)[:, :, 6:], decoder(changed, z, 99)[:, :, 6:])
    assert torch.equal(decoder(x, z, 99)[:, :, :6], decoder(changed, z, 99)[:, :, :6])


def test_a_gru_rollout_goes_on_after_its_burn_in():
    decoder, x, z = decoders()["gru"].double(), states(), edges()
    decoder.burn_in = 10
    torch.testing.assert_close(decoder.rollout(x[:, :, :10], z, 4), decoder(x, z, 99)[:, :, 9:13])


def test_the_springs_decoder_is_the_simulator():
    drawn = springs(6, 4, 11, generator=torch.Generator().manual_seed(0))
    z = F.one_hot(drawn.types, 2).to(F64)
    place, speed = drawn.scale[0], drawn.scale[2]
    decoder = SpringsDecoder(
        position_scale=place, velocity_scale=speed, strength=0.1, frame_time=drawn.interval
    ).double()
    error = decoder(drawn.unit_states, z, 10) - drawn.unit_states[:, :, 1:]
    assert error.abs().max() < 1e-5
    with torch.no_grad():
        decoder.strength.fill_(0.05)
    optimizer = torch.optim.SGD(decoder.parameters(), lr=2.0)
    for _ in range(12):
        optimizer.zero_grad()
        (decoder(drawn.unit_states, z, 10) - drawn.unit_states[:, :, 1:]).square().mean().backward()
        optimizer.step()
    assert abs(decoder.strength.item() - 0.1) < 0.01


def test_the_springs_decoder_reflects_at_walls():
    decoder = SpringsDecoder(box=1.0).double()
    start = torch.tensor([[0.95, -0.9, 1.0, -2.0], [0.0, 0.0, 0.0, 0.0]], dtype=F64)
    ahead = decoder.rollout(start.view(1, 2, 1, 4), torch.eye(2, dtype=F64)[:1].expand(1, 2, 2), 1)
    torch.testing.assert_close(ahead[0, 0, 0], torch.tensor([0.95, -0.9, -1.0, 2.0], dtype=F64))


@pytest.mark.parametrize("kind", ["mlp", "gru", "springs"])
@pytest.mark.parametrize("skip_first", [True, False])
def test_no_edge_means_no_influence(kind, skip_first):
    decoder, x = decoders(skip_first)[kind].double(), states()
    none = torch.eye(TYPES, dtype=F64)[0].expand(3, 12, TYPES)
    moved = x.clone()
    moved[:, 0] += 0.5
    change = (decoder(moved, none, 5) - decoder(x, none, 5))[:, 1:].abs().max()
    assert (change == 0) == skip_first


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_dropout_acts_in_training_only(kind):
    encoder, x = encoders(dropout=0.5)[kind].double(), states()
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))
    torch.testing.assert_close(encoder(x)[:1], encoder(x[:1]))  # no statistics of the batch either


@pytest.mark.parametrize("bodies", [2, 3, 7])
def test_any_number_of_bodies(bodies):
    for encoder in encoders().values():
        for decoder in decoders().values():
            model = NRI(encoder, decoder).double()
            predicted, logits = model(states(bodies=bodies))
            assert predicted.shape == (3, bodies, FRAMES - 1, 4)
            assert logits.shape == (3, bodies * (bodies - 1), TYPES)


@pytest.mark.parametrize("device", devices())
@pytest.mark.parametrize("encoder", ["mlp", "cnn"])
@pytest.mark.parametrize("decoder", ["mlp", "gru", "springs"])
def test_forward_and_backward_agree_on_every_device(device, encoder, decoder):
    torch.manual_seed(0)
    model = NRI(encoders()[encoder], decoders()[decoder], variance=0.1)
    found = {}
    for place, dtype in ((torch.device("cpu"), F64), (device, F64), (device, torch.float32)):
        own = copy.deepcopy(model).to(place, dtype)
        generator = torch.Generator().manual_seed(2)  # on the CPU: one stream on all devices
        x = states().to(place, dtype)
        loss = nri_loss(own, x, 5, generator=generator) if dtype == F64 else own(x)[0].sum()
        loss.backward()
        assert own.decoder(x, edges().to(x), 5).dtype == dtype
        found[place.type, dtype] = [p.grad.cpu() for p in own.parameters() if p.grad is not None]
        assert all(slope.isfinite().all() for slope in found[place.type, dtype])
    assert len(found[device.type, F64]) == len(list(model.parameters()))
    torch.testing.assert_close(found[device.type, F64], found["cpu", F64])


def test_errors_say_what_to_do():
    encoder, decoder = encoders()["mlp"], decoders()["mlp"]
    with pytest.raises(ValueError, match=r"\[B, N, 16, 4\] with N >= 2"):
        encoder(torch.randn(3, 4, 15, 4))
    with pytest.raises(ValueError, match="at least 14 frames, got 9: use MLPEncoder"):
        encoders()["cnn"](torch.randn(3, 4, 9, 4))
    with pytest.raises(ValueError, match="one-hot the types"):
        decoder(torch.randn(3, 4, 16, 4), torch.zeros(3, 12, 2))
    with pytest.raises(ValueError, match="steps must be at least 1"):
        decoder(torch.randn(3, 4, 16, 4), torch.zeros(3, 12, TYPES), 0)
    with pytest.raises(ValueError, match="burn_in must be at least 1"):
        GRUDecoder(burn_in=0)
    for make in (MLPEncoder, CNNEncoder, MLPDecoder, GRUDecoder, SpringsDecoder):
        with pytest.raises(ValueError, match="edge_types at least 2"):
            make(edge_types=1)
