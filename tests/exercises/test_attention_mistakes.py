"""Unit 03's mistakes in the forms that students write: each is rejected, and named by what it is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from course_lib.exercises.attention import reference, unit


def named(name, answer) -> str:
    return "\n".join(unit.verdict(name, answer).lines)


@pytest.mark.parametrize("number", [-1e4, -1e9, -1e12, torch.finfo(torch.float32).min])
def test_any_finite_mask_is_named(number):
    def filled(scores, mask):
        return scores.masked_fill(~mask, number).softmax(-1)

    def added(scores, mask):
        return (scores + number * (~mask)).softmax(-1)

    for answer in (filled, added):
        assert "A finite number stands for -inf" in named("masked_softmax", answer)


def test_a_wrong_axis_is_named_with_and_without_nan():
    def plain(scores, mask):
        return scores.masked_fill(~mask, -torch.inf).softmax(1)

    def cleaned(scores, mask):
        return plain(scores, mask).nan_to_num()

    for answer in (plain, cleaned):
        assert "Softmax over the wrong axis" in named("masked_softmax", answer)


def test_what_sums_go_wrong_by_is_named():
    def guarded(scores, mask):
        weights = scores.softmax(-1) * mask
        return weights / weights.sum(-1, keepdim=True).clamp(min=1e-12)

    def unstable(scores, mask):
        powers = scores.exp() * mask
        return powers / powers.sum(-1, keepdim=True).clamp(min=1e-12)

    def one_maximum(scores, mask):
        allowed = scores.masked_fill(~mask, -torch.inf)
        powers = (allowed - allowed.max()).exp()
        return powers / powers.sum(-1, keepdim=True)

    def added_and_filled(scores, mask):
        added = torch.where(mask, 0.0, -torch.inf)
        return (scores + added).softmax(-1).masked_fill(~mask, 0.0)

    def emptied(scores, mask):
        return scores.masked_fill(~mask, -1e9).softmax(-1) * mask.any(-1, keepdim=True)

    def emptied_after(scores, mask):
        return scores.masked_fill(~mask, -1e12).softmax(-1).masked_fill(~mask, 0.0)

    assert "one of 1e4 took all weight" in named("masked_softmax", guarded)
    assert "exp leaves the range of floats" in named("masked_softmax", unstable)
    assert "exp leaves the range of floats" in named("masked_softmax", one_maximum)
    assert "-inf was ADDED" in named("masked_softmax", added_and_filled)
    assert "A finite number stands for -inf" in named("masked_softmax", emptied)
    assert "A finite number stands for -inf" in named("masked_softmax", emptied_after)
    assert unit.verdict(
        "masked_softmax", lambda s, m: reference.masked_softmax(s.clamp(max=50), m)
    ).status == ("failed")


def test_a_gaussian_that_is_normalised_away_is_named():
    def added(scores, center, half_width, mask):
        away = torch.arange(scores.shape[-1]) - center[..., None]
        window = reference.local_window(center, scores.shape[-1], half_width) & mask
        return reference.masked_softmax(scores - 2 * (away / half_width) ** 2, window)

    def divided(*given):
        weights = reference.local_p_weights(*given)
        return (weights / weights.sum(-1, keepdim=True)).nan_to_num()

    for answer in (added, divided):
        assert "Renormalised after the Gaussian" in named("local_p_weights", answer)


def test_one_root_at_the_end_is_named_by_whichever_size():
    def divided(size):
        def answer(query, keys, weight=None):
            products = (query if weight is None else query @ weight) @ keys.mT
            return products / size(query, keys) ** 0.5

        return answer

    for size in (lambda q, k: q.shape[-1], lambda q, k: k.shape[-1]):
        said = named("multiplicative_scores", divided(size))
        assert "The general scores are divided too" in said

    def by_queries(query, keys, weight=None):
        return (
            query @ keys.mT / query.shape[1] ** 0.5 if weight is None else query @ weight @ keys.mT
        )

    assert "number of vectors" in named("multiplicative_scores", by_queries)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("multiplicative_scores", (0, 1, 2)),
        ("additive_scores", (0, 1, 2, 3, 4)),
        ("masked_softmax", (0,)),
        ("context", (0, 1)),
        ("decoder_step", (0, 1, 2)),
        ("local_p_weights", (0, 1)),
    ],
)
def test_a_gradient_cut_at_any_argument_is_named(name, places):
    right = unit.find(name).reference

    def cut(place):
        return lambda *given: right(*(g.detach() if i == place else g for i, g in enumerate(given)))

    for place in places:
        assert "gradient is cut" in named(name, cut(place))


def test_a_look_without_gradient_is_named():
    def unseen(previous, state, annotations, mask, score_weights, gru_weights):
        with torch.no_grad():
            _, found, weights = reference.decoder_step(
                previous, state, annotations, mask, score_weights, gru_weights
            )
        state = torch.gru_cell(torch.cat([previous, found], 1), state, *gru_weights)
        return state, found, weights

    assert "a gradient is cut" in named("decoder_step", unseen)


def test_axes_of_the_decoder_are_named():
    def decoder(take_away, mask_as=lambda mask: mask[:, None], order=(0, 1, 2)):
        def step(previous, state, annotations, mask, score_weights, gru_weights):
            scores = reference.additive_scores(state[:, None], annotations, *score_weights)
            allowed = mask_as(mask)
            weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1).masked_fill(~allowed, 0)
            found = take_away(weights @ annotations)
            state = torch.gru_cell(torch.cat([previous, found], 1), state, *gru_weights)
            given = state, found, take_away(weights)
            return tuple(given[i] for i in order)

        return step

    def first(x):
        return x.squeeze(1)

    assert unit.verdict("decoder_step", decoder(first)).status == "passed"
    assert "spread over the batch" in named("decoder_step", decoder(lambda x: x[:, 0], lambda m: m))
    assert "spread over the batch" in named("decoder_step", decoder(first, lambda m: m))
    assert "at the place of the keys" in named(
        "decoder_step", decoder(lambda x: x[:, 0], lambda m: m[:, :, None])
    )
    assert "squeeze(1)" in named("decoder_step", decoder(lambda x: x.squeeze()))
    for order in ((1, 0, 2), (0, 2, 1), (2, 1, 0)):
        assert "in another order" in named("decoder_step", decoder(first, order=order))


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (lambda away, d: (away >= 0) & (away <= d), "to one side only"),
        (lambda away, d: (away <= 0) & (away >= -d), "to one side only"),
        (lambda away, d: away <= d, "One side has no edge"),
        (lambda away, d: -away <= d, "One side has no edge"),
    ],
)
def test_one_sided_windows_are_named(judge, said):
    def answer(center, length, half_width):
        return judge(torch.arange(length) - center[..., None], half_width)

    assert said in named("local_window", answer)


def test_unaligned_rows_anywhere_get_no_link():
    def all_but_the_last(weights, sure, possible):
        rows = possible.any(-1, keepdim=True).clone()
        rows[:, :-2] = True
        links = F.one_hot(weights.argmax(-1), weights.shape[-1]).bool() & rows
        return 1 - ((links & sure).sum() + (links & possible).sum()) / (links.sum() + sure.sum())

    assert unit.verdict("alignment_error_rate", all_but_the_last).status == "failed"


def _beam(change, width_of=lambda width: width):
    """A beam step whose table of log-probabilities `change(log_probs, finished, end)` makes."""

    def step(totals, finished, log_probs, end, width):
        table = totals[:, None] + change(log_probs.clone(), finished, end)
        best, index = table.flatten().topk(width_of(width))
        return best, index // log_probs.shape[1], index % log_probs.shape[1]

    return step


def test_beams_that_end_wrongly_are_named():
    def closed(filler, rows=lambda finished: finished):
        def change(log_probs, finished, end):
            log_probs[rows(finished)] = filler
            log_probs[rows(finished), end] = 0.0
            return log_probs

        return change

    def the_first(finished):
        return finished & (finished.cumsum(0) == 1)

    assert unit.verdict("beam_step", _beam(closed(-torch.inf))).status == "passed"
    for filler in (-10.0, -100.0):
        assert "a finite number stands for -inf" in named("beam_step", _beam(closed(filler)))
    assert "Every character is free" in named("beam_step", _beam(closed(0.0)))
    assert unit.verdict("beam_step", _beam(closed(-torch.inf, the_first))).status == "failed"
    assert unit.verdict("beam_step", _beam(closed(-torch.inf), lambda _: 3)).status != "passed"

    def powers(log_probs, finished, end):
        return closed(-torch.inf)(log_probs.exp(), finished, end)

    assert "You added probabilities" in named("beam_step", _beam(powers))


def test_a_change_in_place_earns_a_caution():
    def filled(scores, mask):
        scores.masked_fill_(~mask, -torch.inf)
        return scores.softmax(-1).masked_fill(~mask, 0.0)

    assert "`scores` is changed in place" in named("masked_softmax", filled)
