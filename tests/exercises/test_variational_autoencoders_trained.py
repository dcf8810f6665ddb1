"""Unit 07's trained answers: what is no list of weights, and what was learned amiss."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from course_lib.exercises.case import Case
from course_lib.exercises.variational_autoencoders import reference, training, unit
from tests.exercises.failures import failures
from tests.exercises.test_variational_autoencoders_mistakes import named


def test_networks_in_a_list_or_alone_are_named():
    def both(x, latent_size, epochs, beta):
        return [nn.Linear(2, 2), nn.Linear(2, 2)]

    def alone(x, latent_size, epochs, beta):
        return nn.Linear(2, 2)

    for answer in (both, alone):
        assert "the networks themselves" in named("train_vae", answer)


@pytest.mark.parametrize("change", [lambda w: w[:4], lambda w: [w[0].T, *w[1:]], lambda w: w[0]])
def test_what_is_no_list_of_weights_fails_in_words(change):
    def answer(x, latent_size, epochs, beta):
        return change(reference.fit_vae(x, latent_size, 1, beta))

    verdict = unit.verdict("train_vae", answer)
    assert verdict.status == "failed" and "cannot be judged" not in "".join(verdict.lines)


def test_weights_in_float64_are_judged():
    def answer(x, latent_size, epochs, beta):
        return [w.double() for w in reference.fit_vae(x, latent_size, 1, beta)]

    def check(player, case):
        x = (case.uniform(80, 12) < 0.3).float()
        training.expect_bound(player, case, x, x, 2, 1, 1.0, bar=-20.0)

    exercise = unit.find("train_vae")
    [case] = exercise.run(answer, [Case(1)], check)
    assert [o.failure() for o in case.observations] == [None]


def test_a_sigmoid_behind_the_decoder_is_named():
    def answer(x, latent_size, epochs, beta):
        """By hand, for a few epochs: the loss sees the sigmoid of the logits as logits."""
        torch.manual_seed(0)
        encoder = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 2 * latent_size))
        decoder = nn.Sequential(nn.Linear(latent_size, 128), nn.ReLU(), nn.Linear(128, 64))
        weights = [*encoder.parameters(), *decoder.parameters()]
        optimizer = torch.optim.Adam(weights, lr=5e-3, fused=True)
        for _ in range(5):
            for rows in torch.randperm(len(x)).split(64):
                mean, log_var = encoder(x[rows]).chunk(2, -1)
                logits = decoder(mean + (log_var / 2).exp() * torch.randn_like(mean)).sigmoid()
                kl = 0.5 * (mean**2 + log_var.exp() - 1 - log_var).sum(-1)
                loss = (bce(logits, x[rows], reduction="none").sum(1) + beta * kl).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return weights

    assert "Is there a sigmoid" in named("train_vae", answer)


def test_other_images_than_x_are_named():
    def answer(x, latent_size, epochs, beta):
        return reference.train_vae(training._digits().train, latent_size, 10, beta)

    assert "as if other images" in named("train_vae", answer)


def test_weights_learned_on_one_batch_alone_do_not_pass():
    def answer(x, latent_size, epochs, beta):
        return reference.fit_vae(x[:64], latent_size, epochs, beta)

    assert failures(unit.find("train_vae"), answer)
