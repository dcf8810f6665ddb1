"""Unit 09's mistakes in the loss, the accuracy and the training, as students write them."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from course_lib.exercises.relational_inference import reference, unit
from tests.exercises.failures import failures
from tests.exercises.test_relational_inference_mistakes import named

# 7 ------------------------------------------------------------------------------------------------


def squares(predicted, target, variance):
    return ((target - predicted) ** 2).flatten(1).sum(1) / (2 * variance)


def divergence(logits, prior, dim=-1):
    q = F.softmax(logits, dim)
    return (q * (F.log_softmax(logits, dim) - torch.log(prior))).sum(-1).sum(-1)


def entropy(logits):
    return -(F.softmax(logits, -1) * F.log_softmax(logits, -1)).sum(-1).sum(-1)


def loss(nll=squares, kl=divergence, both=lambda nll, kl: nll + kl, cut=()):
    """A loss whose terms or whose sum are of another kind; `cut` are arguments that are detached."""

    def answer(*given):
        predicted, target, logits, prior, variance = (
            g.detach() if i in cut else g for i, g in enumerate(given)
        )
        first, second = nll(predicted, target, variance), kl(logits, prior)
        return both(first, second), first, second

    return answer


def unsafe(logits, prior):
    q = logits.softmax(-1)
    return (q * torch.log(q / prior)).sum((1, 2))


LOSSES = [
    (loss(kl=lambda a, p: divergence(a, p, 1)), "runs over the edges"),
    (loss(both=lambda nll, kl: nll - kl), "You subtracted the KL"),
    (loss(kl=lambda a, p: -divergence(a, p)), "The sign of your KL is turned"),
    (loss(kl=lambda a, p: entropy(a)), "You added the entropy"),
    (loss(kl=lambda a, p: -entropy(a)), "left the prior out"),
    (loss(kl=lambda a, p: divergence(a, torch.ones_like(p) / len(p))), "Your prior is uniform"),
    (loss(nll=lambda p, t, v: ((p - t) ** 2).sum((1, 2, 3))), "sigma^2 is forgotten"),
    (loss(nll=lambda p, t, v: 0.5 * ((p - t) ** 2).sum((1, 2, 3))), "sigma^2 is forgotten"),
    (loss(nll=lambda p, t, v: squares(p, t, v**2)), "You squared the variance"),
    (loss(nll=lambda p, t, v: ((p - t) ** 2).sum((1, 2, 3)) / 2 * v), "MULTIPLIES"),
    (loss(nll=lambda p, t, v: ((p - t) ** 2).sum((1, 2, 3)) / v), "The 2 is forgotten"),
    (loss(kl=lambda a, p: divergence(a, p) / a.shape[1]), "a mean over edges"),
    (
        loss(kl=lambda a, p: (p * (p.log() - a.log_softmax(-1))).sum((1, 2))),
        "turned round, from p to q",
    ),
    (
        lambda *given: (squares(*given[:2], given[4]) + entropy(given[2]), *loss()(*given)[1:]),
        "plus the ENTROPY",
    ),
    (loss(nll=lambda p, t, v: ((p - t) ** 2).mean((1, 2, 3)) / (2 * v)), "is a mean, the KL a sum"),
    (
        lambda *given: tuple(part.mean() for part in loss()(*given)),
        "You reduced the batch",
    ),
    (loss(kl=unsafe), "Right for small logits"),
    (loss(cut=(0,)), "a gradient is cut"),
    (loss(cut=(2,)), "a gradient is cut"),
    (loss(kl=lambda a, p: divergence(a.data, p)), "a gradient is cut"),
]


@pytest.mark.parametrize(("answer", "words"), LOSSES)
def test_forms_of_a_wrong_loss_are_named(answer, words):
    assert words in named("nri_loss", answer)


def test_hiding_a_nan_does_not_pass():
    assert failures(unit.find("nri_loss"), loss(kl=lambda a, p: unsafe(a, p).nan_to_num()))


def test_the_library_order_of_terms_passes():
    assert unit.verdict("nri_loss", loss()).status == "passed"


# 8 and 9 ------------------------------------------------------------------------------------------


def share(predicted, true):
    return (predicted == true).float().mean()


def apart(predicted, true, types, relabel):
    """The best renaming of each simulation, one after the other."""
    if not relabel:
        return share(predicted, true)
    orders = [torch.tensor(p) for p in permutations(range(types))]
    best = [max(float(share(o[p], t)) for o in orders) for p, t in zip(predicted, true)]
    return sum(best) / len(best)


def always(predicted, true, types, relabel):
    orders = [torch.tensor(p) for p in permutations(range(types))]
    return max(share(o[predicted], true) for o in orders)


ACCURACIES = [
    (apart, "Each simulation is relabelled separately"),
    (always, "`relabel` has no effect"),
    (lambda p, t, K, r: share(p, t).item(), "Nothing is ever renamed"),
    (
        lambda p, t, K, r: max(share(p, t), 1 - share(p, t)) if r else share(p, t),
        "1 - accuracy is the other renaming",
    ),
    (lambda p, t, K, r: 1 - (always(p, t, K, r) if r else share(p, t)), "the share of WRONG edges"),
]


@pytest.mark.parametrize(("answer", "words"), ACCURACIES)
def test_forms_of_a_wrong_accuracy_are_named(answer, words):
    assert words in named("edge_accuracy", answer)


def trained(states, edge_index, iterations, draw=None, loss=None, restart=3, descend=True):
    """The master's loop, with one thing in it changed."""
    torch.manual_seed(1)
    logits = torch.zeros(len(states), edge_index.shape[1], 2, requires_grad=True)
    message = (0.05 * torch.randn(2, 8, 4)).requires_grad_()
    own = torch.zeros(4, 4, requires_grad=True)
    groups = [{"params": [logits], "lr": 0.1}, {"params": [message, own], "lr": 0.02}]
    optimizer = torch.optim.Adam(groups)
    for _ in range(iterations):
        z = (draw or (lambda a: F.gumbel_softmax(a, 0.5)))(logits)
        predicted = reference.rollout(states, z, edge_index, message, own, restart)
        given = predicted, states[:, :, 1:], logits, torch.tensor([0.5, 0.5]), 0.1
        value = (loss or (lambda *g: reference.nri_loss(*g)[0].mean()))(*given)
        optimizer.zero_grad()
        (value if descend else -value).backward()
        optimizer.step()
    return logits.detach()


def averaged(predicted, target, logits, prior, variance):
    kl = reference.nri_loss(predicted, target, logits, prior, variance)[2].mean()
    return F.mse_loss(predicted, target) / (2 * variance) + kl


def no_noise(logits):
    return logits.softmax(-1)


def without_kl(*given):
    return reference.nri_loss(*given)[1].mean()


UNMOVED, UNSURE = "The logits are where they began", "The logits stay too near 0"
TRAININGS = [
    (2, {"draw": lambda a: F.gumbel_softmax(a, 0.5).detach()}, UNMOVED),
    (2, {"draw": lambda a: F.one_hot(a.argmax(-1), 2).float()}, UNMOVED),
    (2, {"draw": lambda a: F.gumbel_softmax(a, 0.5, dim=1)}, "After a single iteration"),
    (0, {}, UNMOVED),
    (20, {"loss": averaged}, UNSURE),
    (60, {"restart": 1}, UNSURE),
    (60, {"draw": no_noise}, UNSURE),
    (60, {"loss": without_kl}, "surer of them than the loss allows"),
    (50, {"draw": lambda a: F.gumbel_softmax(a, 0.5).flip(-1)}, "The two types are exchanged"),
    (25, {"restart": 12}, "It learned too little"),
    (25, {"descend": False}, "It learned too little"),
]


@pytest.mark.parametrize(("iterations", "changed", "words"), TRAININGS)
def test_forms_of_a_wrong_training_are_named(iterations, changed, words):
    assert words in named(
        "infer_relations", lambda s, e, n: trained(s, e, min(n, iterations), **changed)
    )


def test_the_law_fitted_edge_by_edge_is_not_this_training():
    """Least squares on differences of places find the springs, without a word of the loss."""

    def fitted(states, edge_index, iterations):
        senders, receivers = edge_index
        middle = (states[:, :, 1:, :2] + states[:, :, :-1, :2]) / 2
        gained = states[:, :, 1:, 2:] - states[:, :, :-1, 2:]
        logits = torch.zeros(len(states), edge_index.shape[1], 2)
        for i in range(states.shape[1]):
            edges = (receivers == i).nonzero().flatten()
            apart = (middle[:, senders[edges]] - middle[:, i : i + 1]).flatten(2).mT
            found = torch.linalg.lstsq(apart, gained[:, i].flatten(1)[..., None]).solution
            logits[:, edges, 1] = found[..., 0] - 0.07
        return logits

    wrong = failures(unit.find("infer_relations"), fitted)
    assert wrong and not any("edges are right" in text for text in wrong)


@pytest.mark.parametrize(
    "change", [lambda a: (a, 0.0), lambda a: a[0], lambda a: a.mT, lambda a: None]
)
def test_what_are_no_logits_fails_in_words(change):
    verdict = unit.verdict(
        "infer_relations", lambda s, e, n: change(reference.fit_relations(s, e, 1))
    )
    assert verdict.status == "failed" and "cannot be judged" not in "".join(verdict.lines)
