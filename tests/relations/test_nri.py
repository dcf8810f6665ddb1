"""The model, its loss against torch.distributions, its gradients, its metrics and its training."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import nn
from torch.distributions import Categorical, Independent, Normal, kl_divergence
from torch.nn import functional as F

from course_lib.latent.gumbel import gumbel_softmax
from course_lib.relations.decoders import MLPDecoder, SpringsDecoder
from course_lib.relations.encoders import MLPEncoder
from course_lib.relations.nri import (
    NRI,
    best_relabelling,
    edge_accuracy,
    gaussian_nll,
    nri_elbo,
    nri_loss,
    random_window,
    rollout_mse,
    sparse_prior,
    train_decoder,
    train_encoder,
    train_nri,
)
from course_lib.relations.springs import springs

F64 = torch.float64
FRAMES = 12


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def states(batch=3, frames=FRAMES, seed=0):
    return torch.randn(batch, 4, frames, 4, dtype=F64, generator=seeded(seed))


def small(types=3, dropout=0.0, **options):
    torch.manual_seed(0)
    encoder = MLPEncoder(FRAMES, hidden_size=8, edge_types=types, dropout=dropout)
    decoder = MLPDecoder(hidden_size=8, edge_types=types)
    return NRI(encoder, decoder, **({"variance": 0.1} | options)).double()


@pytest.fixture(scope="module")
def data():
    drawn = springs(256, 3, FRAMES, generator=seeded(), interaction=2.0)
    return drawn.unit_states.float(), drawn.types


@pytest.mark.parametrize("prior", [None, [0.8, 0.15, 0.05]])
def test_the_elbo_is_made_of_torchs_distributions(prior):
    model, x = small(prior=None if prior is None else torch.tensor(prior)), states()
    got = nri_elbo(model, x, 5, generator=seeded(1))
    logits = model.encoder(x)
    z = gumbel_softmax(logits, model.tau, generator=seeded(1))
    normal = Independent(Normal(model.decoder(x, z, 5), math.sqrt(0.1)), 3)
    q, p = Categorical(logits=logits), torch.tensor(prior or [1 / 3] * 3, dtype=F64)
    kl = kl_divergence(q, Categorical(p.expand_as(logits))).sum(1)
    torch.testing.assert_close(got.reconstruction, normal.log_prob(x[:, :, 1:]))
    torch.testing.assert_close(got.kl, kl, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got.elbo, got.reconstruction - got.kl)
    if prior is None:  # the loss is NLL + sum (log K - H), not + H
        torch.testing.assert_close(got.kl, (math.log(3) - q.entropy()).sum(1))
    loss = nri_loss(model, x, 5, generator=seeded(1))
    torch.testing.assert_close(loss, -got.elbo.mean())


def test_gaussian_nll_by_hand():
    predicted, target = torch.zeros(2, 1, 2), torch.tensor([[[1.0, 2.0]], [[0.0, 0.0]]])
    constant = math.log(2 * math.pi * 0.5)
    expected = torch.tensor([5 / (2 * 0.5) + constant, constant])
    torch.testing.assert_close(gaussian_nll(predicted, target, 0.5), expected)
    with pytest.raises(ValueError, match="compare with states"):
        gaussian_nll(predicted, target[..., :1])
    with pytest.raises(ValueError, match="variance must be positive"):
        gaussian_nll(predicted, target, 0.0)


def _reconstruction_slope(model, detach, hard=False):
    """The largest gradient of the reconstruction in the encoder's weights."""
    model.hard, draw = hard, model.sample
    if detach:
        model.sample = lambda logits, generator=None: draw(logits, generator).detach()
    lost = -nri_elbo(model, states(), 5, generator=seeded(1)).reconstruction.mean()
    slopes = torch.autograd.grad(lost, list(model.encoder.parameters()), allow_unused=True)
    return max(0.0 if slope is None else slope.abs().max().item() for slope in slopes)


def test_the_decoders_gradient_reaches_the_encoder_through_the_relaxed_sample_only():
    assert _reconstruction_slope(small(), detach=False) > 1e-3
    assert _reconstruction_slope(small(), detach=False, hard=True) > 1e-3
    assert _reconstruction_slope(small(), detach=True) == 0
    assert _reconstruction_slope(small(), detach=True, hard=True) == 0


def test_hard_draws_are_one_hot_and_relaxed_ones_are_not():
    logits = small().encoder(states())
    relaxed, hard = small().sample(logits), small(hard=True).sample(logits)
    assert ((hard == 0) | (hard == 1)).all() and (hard.sum(-1) == 1).all()
    assert ((relaxed > 0) & (relaxed < 1)).all()


def test_a_window_is_successive_frames_from_anywhere():
    x = torch.arange(9.0).view(1, 1, 9, 1).expand(2, 1, 9, 1)
    generator, starts = seeded(), set()
    for _ in range(200):
        part = random_window(x, 4, generator)
        starts.add(int(part[0, 0, 0, 0]))
        assert torch.equal(part[..., 0], part[:, :, :1, 0] + torch.arange(4.0))
    assert starts == set(range(6))
    assert random_window(x) is x and random_window(x, 9) is x
    for wrong in (1, 10):
        with pytest.raises(ValueError, match=r"window must lie in 2\.\.9"):
            random_window(x, wrong)


def test_a_window_counts_for_all_frames():
    """Where nothing moves every window holds the same, so the scaled window is the whole."""
    x, model = states()[:, :, :1].expand(-1, -1, FRAMES, -1), small()
    whole = nri_elbo(model, x, 1, generator=seeded(1))
    part = nri_elbo(model, x, 1, window=4, generator=seeded(1))
    torch.testing.assert_close(part.reconstruction, whole.reconstruction)
    torch.testing.assert_close(part.kl, whole.kl)


def test_a_sparse_prior_makes_edges_dear():
    prior = sparse_prior(0.9, 3)
    torch.testing.assert_close(prior, torch.tensor([0.9, 0.05, 0.05]))
    model, uniform, x = small(prior=prior), small(), states()
    for own in (model, uniform):
        nn.init.zeros_(own.encoder.rounds.out.weight)
        own.encoder.rounds.out.bias.data = torch.tensor([4.0, 0.0, 0.0], dtype=F64)
    assert nri_elbo(model, x).kl.max() < 0.3 * nri_elbo(uniform, x).kl.min()
    assert model.prior.dtype == F64 and "prior" in model.state_dict()
    for wrong in (0.0, 1.0):
        with pytest.raises(ValueError, match="0 < no_edge < 1"):
            sparse_prior(wrong)


def test_evaluation_is_without_dropout_and_leaves_the_mode_as_it_was():
    model, x = small(dropout=0.5), states(20)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probabilities = model.edge_probabilities(x, batch_size=7)
    ahead = model.rollout(x, 4, batch_size=7)
    assert model.training and model.encoder.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    model.eval()
    torch.testing.assert_close(probabilities, model.encoder(x).softmax(-1))
    assert torch.equal(model.edge_types(x), probabilities.argmax(-1))
    edges = F.one_hot(model.edge_types(x), 3).to(x)
    torch.testing.assert_close(ahead, model.decoder.rollout(x, edges, 4))
    assert not model.edge_probabilities(x).requires_grad and not model.training


def test_the_graph_can_be_inferred_anew_on_the_way():
    model, x = small().eval(), states(6)
    with torch.no_grad():  # without training one type wins everywhere: let each have its share
        model.encoder.rounds.out.bias -= model.encoder(x).mean((0, 1))
    once = model.rollout(x, 7)
    assert torch.equal(once, model.rollout(x, 7, every=7))
    anew = model.rollout(x, 7, every=3)
    assert torch.equal(anew[:, :, :3], once[:, :, :3])
    later = torch.cat([x, once[:, :, :3]], 2)[:, :, -FRAMES:]
    torch.testing.assert_close(anew[:, :, 3:6], model.rollout(later, 3))
    assert anew.shape == once.shape and not torch.equal(anew, once)


def test_accuracy_by_hand():
    true = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 0]])
    assert edge_accuracy(true, true) == 1
    assert edge_accuracy(1 - true, true) == 1
    assert edge_accuracy(1 - true, true, relabel=False) == 0
    assert edge_accuracy(F.one_hot(true, 2).float(), true, relabel=False) == 1
    one_wrong = torch.tensor([[1, 0, 0, 1], [0, 0, 1, 0]])
    assert edge_accuracy(one_wrong, true) == 7 / 8
    assert best_relabelling(one_wrong, true).tolist() == [1, 0]


def test_coin_flips_stay_coin_flips():
    """One permutation for the whole test set; one for each graph would give .62 on 10 edges."""
    guess, true = (torch.randint(2, (4000, 10), generator=seeded(seed)) for seed in (1, 2))
    assert 0.49 < edge_accuracy(guess, true) < 0.51
    apart = (guess == true).double().mean(1)
    assert torch.maximum(apart, 1 - apart).mean() > 0.61


@given(seed=st.integers(0, 999), types=st.integers(2, 5), keep_first=st.booleans())
@settings(max_examples=30, deadline=None)
def test_the_relabelling_is_the_best_assignment(seed, types, keep_first):
    generator = seeded(seed)
    true = torch.cat([torch.arange(types), torch.randint(types, (40,), generator=generator)])
    guess = torch.where(torch.rand(true.shape, generator=generator) < 0.5, true, true.flip(0))
    shuffled = torch.randperm(types, generator=generator)[guess]
    accuracy = edge_accuracy(shuffled, true)
    assert accuracy == edge_accuracy(guess, true) >= edge_accuracy(guess, true, relabel=False)
    counts = torch.zeros(types, types).index_put_((shuffled, true), torch.ones(()), True).numpy()
    first = int(keep_first)
    rows, columns = linear_sum_assignment(counts[first:, first:], maximize=True)
    expected = counts[first:, first:][rows, columns].sum() + (counts[0, 0] if keep_first else 0)
    found = edge_accuracy(shuffled, true, keep_first=keep_first)
    assert found == pytest.approx(expected / true.numel())
    if keep_first:
        assert best_relabelling(shuffled, true, keep_first)[0] == 0


def test_rollout_error_by_hand():
    x = torch.randn(5, 3, 30, 4, dtype=F64, generator=seeded())
    static = rollout_mse(lambda seen, steps: seen[:, :, -1:].expand(-1, -1, steps, -1), x, seen=6)
    for step in (1, 10, 20):
        expected = (x[:, :, 5] - x[:, :, 5 + step]).square().mean()
        assert static[step] == pytest.approx(expected.item())
    perfect = rollout_mse(lambda seen, steps: x[:, :, seen.size(2) :][:, :, :steps], x)
    assert perfect == {1: 0.0, 10: 0.0, 20: 0.0}
    model = small()
    assert list(rollout_mse(model, states(frames=FRAMES + 2), steps=(2, 1))) == [2, 1]
    with pytest.raises(ValueError, match="need 36 frames, got 30: simulate more"):
        rollout_mse(model, x, seen=16)


def test_training_alone_learns_what_it_is_taught(data):
    x, types = data
    torch.manual_seed(0)
    encoder, decoder = MLPEncoder(FRAMES, hidden_size=16), MLPDecoder(hidden_size=16)
    taught = train_encoder(encoder, x, types, epochs=8, batch_size=32, generator=seeded())
    assert taught.train_loss[-1] < 0.6 * taught.train_loss[0]
    assert edge_accuracy(encoder(x), types, relabel=False) > 0.8
    options = {"epochs": 3, "batch_size": 32, "window": 6, "steps": 5}
    given = train_decoder(decoder, x, types, generator=seeded(), **options)
    assert given.train_loss[-1] < given.train_loss[0]
    assert not encoder.training and not decoder.training


def test_with_the_simulator_as_decoder_the_edges_are_found_unsupervised(data):
    x, types = data
    torch.manual_seed(0)
    scale = {"position_scale": 4.5, "velocity_scale": 1.7, "substeps": 2}
    decoder = SpringsDecoder(**scale, strength=2.0)
    model = NRI(MLPEncoder(FRAMES, hidden_size=16), decoder, variance=1e-3)
    train_nri(model, x, epochs=10, batch_size=32, window=6, steps=5, generator=seeded())
    assert edge_accuracy(model.edge_types(x), types, relabel=False) > 0.65  # chance is .5


def test_training_goes_on_from_a_checkpoint_bit_for_bit(data, tmp_path):
    x, weights = data[0][:32], []
    for stop in (None, 2):
        torch.manual_seed(0)
        model = NRI(MLPEncoder(FRAMES, hidden_size=8), MLPDecoder(hidden_size=8))
        options = {"epochs": 4, "batch_size": 16, "generator": seeded()}
        if stop is not None:
            path = tmp_path / "checkpoint.pt"

            def interrupt(epoch, history):
                if epoch == 2:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                train_nri(model, x, **options, checkpoint=path, on_epoch=interrupt)
            options["checkpoint"] = path
        train_nri(model, x, **options)
        weights.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*weights))


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="the encoder has 3 edge types, the decoder 2"):
        NRI(MLPEncoder(edge_types=3), MLPDecoder())
    with pytest.raises(ValueError, match="tau and variance must be positive"):
        small(tau=0.0)
    with pytest.raises(ValueError, match=r"prior must be \[K\] = \[3\]"):
        small(prior=sparse_prior(0.9, 2))
    with pytest.raises(ValueError, match="one shape"):
        edge_accuracy(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="at most 7 types"):
        edge_accuracy(torch.arange(8), torch.arange(8))
