"""The four families measured alike: who has a likelihood, a code, and what the figures mean."""

from __future__ import annotations

import math

import pytest
import torch

from course_lib.latent.families import FAMILIES, draw_samples, fit_family, measure_family
from course_lib.latent.toy import two_moons, two_moons_log_prob
from course_lib.latent.vae import VAE


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def measured():
    """Each family after 15 passes over 1,000 points, measured on 800 others."""
    generator = seeded()
    x, held_out = two_moons(1000, generator), two_moons(800, generator)
    rows = {}
    for name in FAMILIES:
        model, seconds = fit_family(name, x, epochs=15)
        rows[name] = model, measure_family(name, model, held_out, seconds, seeded(1))
    return held_out, rows


def test_who_has_a_likelihood_and_who_a_code(measured):
    _, rows = measured
    found = {name: row for name, (_, row) in rows.items()}
    assert {n: row.kind for n, row in found.items()} == {
        "autoregressive": "exact",
        "adversarial": "none",
        "reversible": "exact",
        "VAE": "bound",
    }
    assert [row.likelihood is None for row in found.values()] == [False, True, False, False]
    assert [row.code_size for row in found.values()] == [None, None, 2, 2]
    assert [row.passes for row in found.values()] == [2, 1, 1, 1]
    assert found["reversible"].round_trip < 1e-4 < 0.01 < found["VAE"].round_trip < 0.5
    assert all(row.seconds > 0 for row in found.values())


def test_all_learn_the_moons_and_none_beats_the_truth(measured):
    held_out, rows = measured
    truth = float(two_moons_log_prob(held_out).mean())
    gaussian = torch.distributions.MultivariateNormal(held_out.mean(0), held_out.T.cov())
    blob = gaussian.sample((800,))
    rare = two_moons_log_prob(held_out).quantile(0.01)
    strays = float((two_moons_log_prob(blob) < rare).float().mean())
    for name, (_, row) in rows.items():
        assert -0.01 < row.energy < 0.05, name
        assert 0 <= row.strays < strays, name
        if row.likelihood is not None:
            assert row.likelihood < truth + 0.02, name
    assert rows["autoregressive"][1].likelihood > float(gaussian.log_prob(held_out).mean()) + 0.2


def test_figures_are_those_of_the_models(measured):
    held_out, rows = measured
    for name, (model, row) in rows.items():
        assert row.parameters == sum(p.numel() for p in model.parameters())
        again = measure_family(name, model, held_out, generator=seeded(1))
        assert (again.energy, again.likelihood) == (row.energy, row.likelihood)
        assert math.isnan(again.seconds)


def test_a_vaes_samples_carry_its_noise():
    model = VAE(2, 4, 2, likelihood="gaussian", noise=0.25)
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)  # E[x | z] = 0 for all z
    drawn = draw_samples(model, 4000, seeded())
    torch.testing.assert_close(drawn.std(0), torch.full((2,), 0.5), atol=0.03, rtol=0)
    assert model.sample(10, seeded()).abs().max() == 0


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="autoregressive, adversarial, reversible, VAE"):
        fit_family("diffusion", torch.zeros(4, 2))
    with pytest.raises(ValueError, match="got 'flow'"):
        measure_family("flow", torch.nn.Identity(), torch.zeros(4, 2))
    with pytest.raises(ValueError, match="gaussian"):
        draw_samples(VAE(2), 3)
