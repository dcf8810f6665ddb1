"""Unit 03's references against the library and other computations; answers by other means; what is forbidden."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from course_lib.attention import alignment, beam, local, scores
from course_lib.exercises.attention import reference, unit
from course_lib.exercises.forbidden import forbidden_names
from tests.exercises.failures import failures_by_other_means


def normal(*shape, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def near(one, other):
    return torch.allclose(one, other, rtol=1e-9, atol=1e-12)


# the references are the library's functions, computed otherwise -------------------------------------


def test_the_scores_are_the_librarys():
    query, keys, wide = normal(2, 3, 5), normal(2, 4, 5, seed=1), normal(2, 4, 7, seed=2)
    assert near(reference.multiplicative_scores(query, keys), scores.scaled_dot_score(query, keys))
    general = scores.GeneralScore(5, 7).double()
    assert near(reference.multiplicative_scores(query, wide, general.weight), general(query, wide))
    additive = scores.AdditiveScore(5, 7, 6).double()
    weights = additive.query.weight, additive.key.weight, additive.v
    assert near(reference.additive_scores(query, wide, *weights), additive(query, wide))


def test_the_softmax_and_its_gradient_are_the_librarys():
    mask = normal(3, 4, 5, seed=1) > 0
    mask[1, 2] = False
    probe, found = normal(3, 4, 5, seed=2), []
    for softmax in (reference.masked_softmax, scores.masked_softmax):
        given = normal(3, 4, 5).requires_grad_()
        weights = softmax(given, mask)
        found.append((weights, *torch.autograd.grad((weights * probe).sum(), given)))
    assert all(near(*pair) for pair in zip(*found))
    assert not found[0][0][1, 2].any() and near(found[0][0].sum(-1), mask.any(-1).double())


def test_the_decoder_moves_as_torchs_gru_cell():
    cell = torch.nn.GRUCell(5 + 7, 6).double()
    state, previous, annotations = normal(2, 6), normal(2, 5, seed=1), normal(2, 4, 7, seed=2)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    scorer = normal(3, 6, seed=3), normal(3, 7, seed=4), normal(3, seed=5)
    weights = cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh
    got, found, alpha = reference.decoder_step(previous, state, annotations, mask, scorer, weights)
    assert near(got, cell(torch.cat([previous, found], 1), state))
    assert not alpha[1, 2:].any() and near(found, (alpha[:, :, None] * annotations).sum(1))


def test_the_error_rate_is_the_librarys():
    weights, possible = normal(3, 6, 7), normal(3, 6, 7, seed=1) > 0.5
    possible[:, -1] = False
    sure = possible & (normal(3, 6, 7, seed=2) > 0)
    links = alignment.best_alignment(weights.exp(), possible.any(-1))
    theirs = alignment.alignment_error_rate(links, sure, possible)
    assert abs(float(reference.alignment_error_rate(weights, sure, possible)) - theirs) < 1e-6


def test_local_attention_is_the_librarys():
    given, mask = normal(2, 3, 9), torch.arange(9) < torch.tensor([[5], [9]])
    center = 8 * normal(2, 3, seed=1).sigmoid()
    assert torch.equal(reference.local_window(center, 9, 2), local.local_window(center, 9, 2))
    ours = reference.local_p_weights(given, center, 3, mask[:, None])
    assert near(ours, local.local_p_weights(given, center, 3, mask))


def test_the_beam_step_is_the_librarys_where_nothing_has_ended():
    totals, log_probs = normal(4).float(), normal(4, 6, seed=1).log_softmax(1).float()
    best, rows, tokens = beam.beam_step(totals[None], log_probs[None])
    ours = reference.beam_step(totals, torch.zeros(4, dtype=torch.bool), log_probs, 2, 4)
    assert torch.allclose(ours[0], best[0])
    assert torch.equal(ours[1], rows[0]) and torch.equal(ours[2], tokens[0])


# right answers, written otherwise than the master's -----------------------------------------------


def multiplicative_scores(query, keys, weight=None):
    """A loop over the sequences, in float64."""
    out = []
    for q, k in zip(query.double(), keys.double()):
        out.append(q @ k.t() / q.size(-1) ** 0.5 if weight is None else q @ weight.double() @ k.t())
    return torch.stack(out).float()


def additive_scores(query, keys, w_query, w_key, v):
    """One hidden unit after the other."""
    total = 0
    for row_query, row_key, share in zip(w_query, w_key, v):
        total = total + share * torch.tanh(
            (query @ row_query)[:, :, None] + (keys @ row_key)[:, None]
        )
    return total


def masked_softmax(scores, mask):
    """torch.where and nan_to_num."""
    allowed = torch.where(mask, scores, torch.tensor(-torch.inf))
    return F.softmax(allowed, dim=2).nan_to_num(0.0)


def context(weights, values):
    return (weights.unsqueeze(-1) * values.unsqueeze(1)).sum(2)


def decoder_step(previous, state, annotations, mask, score_weights, gru_weights):
    """With a torch.nn.GRUCell, sequence by sequence, over the real places alone."""
    w_query, w_key, v = score_weights
    cell = torch.nn.GRUCell(gru_weights[0].size(1), state.size(1))
    cell.load_state_dict(dict(zip(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), gru_weights)))
    found, weights = [], []
    for b, real in enumerate(mask):
        e = torch.tanh(w_query @ state[b] + annotations[b, real] @ w_key.T) @ v
        weights.append(torch.zeros(len(real)).masked_scatter(real, e.softmax(0)))
        found.append(weights[b] @ annotations[b])
    found = torch.stack(found)
    return [cell(torch.cat([previous, found], -1), state), found, torch.stack(weights)]


def alignment_error_rate(weights, sure, possible):
    """A loop that counts, and a plain number."""
    agreed = count = 0
    for w, s, p in zip(weights.flatten(0, 1), sure.flatten(0, 1), possible.flatten(0, 1)):
        count += int(s.sum())
        if p.any():
            best = int(w.argmax())
            agreed, count = agreed + int(s[best]) + int(p[best]), count + 1
    return 1 - agreed / count


def local_window(center, length, half_width):
    rows = [
        [[abs(s - p) <= half_width for s in range(length)] for p in row] for row in center.tolist()
    ]
    return torch.tensor(rows)


def local_p_weights(scores, center, half_width, mask):
    """Exponentials of everything at once, divided by what is inside."""
    away = (torch.arange(scores.size(-1)) - center[..., None]) / half_width
    inside = (away.abs() <= 1) & mask
    powers = torch.where(inside, scores.exp(), torch.tensor(0.0))
    total = powers.sum(-1, keepdim=True)
    return powers / total.clamp(min=1e-30) * (-2 * away.square()).exp()


def beam_step(totals, finished, log_probs, end, width):
    """Every candidate by name, sorted; lists of numbers."""
    found = []
    for row in range(len(totals)):
        for token in range(log_probs.size(1)):
            if not finished[row]:
                found.append((float(totals[row] + log_probs[row, token]), row, token))
        if finished[row]:
            found.append((float(totals[row]), row, end))
    best = sorted(found, reverse=True)[:width]
    return tuple(list(part) for part in zip(*best))


OTHERS = (
    multiplicative_scores,
    additive_scores,
    masked_softmax,
    context,
    decoder_step,
    alignment_error_rate,
    local_window,
    local_p_weights,
    beam_step,
)


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.__name__)
def test_right_answers_by_other_means_pass(other):
    assert failures_by_other_means(unit.find(other.__name__), other) == []


def test_every_exercise_has_another_answer():
    assert {other.__name__ for other in OTHERS} == {*unit.exercises}


# what is forbidden --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("masked_softmax", "from course_lib.attention.scores import masked_softmax as m\nm(s, k)"),
        ("masked_softmax", "import torch\ntorch.masked.softmax(x, -1, mask=m)"),
        ("context", "import torch.nn.functional as F\nF.scaled_dot_product_attention(q, k, v)"),
        ("context", "from torch import nn\nnn.MultiheadAttention(4, 1)"),
        ("decoder_step", "import torch\ntorch.ops.aten.softmax(x)"),
        ("beam_step", "from course_lib.attention import beam\nbeam.beam_step(a, b)"),
    ],
)
def test_what_is_ready_made_is_forbidden(name, source):
    assert forbidden_names(source, unit.find(name).forbids)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("masked_softmax", "import torch\ntorch.softmax(s.masked_fill(~m, -torch.inf), -1)"),
        ("decoder_step", "import torch\ntorch.gru_cell(x, h, *w)\ntorch.nn.GRUCell(2, 3)"),
        ("alignment_error_rate", "import torch.nn.functional as F\nF.one_hot(w.argmax(-1), 3)"),
        ("beam_step", "import torch\nt.flatten().topk(3)"),
    ],
)
def test_what_an_answer_needs_is_allowed(name, source):
    assert forbidden_names(source, unit.find(name).forbids) == []
