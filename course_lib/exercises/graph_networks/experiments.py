"""Unit 05, exercises 5 and 6: what aggregators tell apart, and a trained classifier."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from course_lib.data.citation_graph import citation_graph
from course_lib.exercises.case import Case
from course_lib.exercises.compare import Raised, describe
from course_lib.exercises.graph_networks import reference
from course_lib.exercises.graph_networks.aggregation import unit

# 5 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=1,
    minutes=7,
    reference=reference.told_apart,
    cases=7,
    hints=[
        "Reduce each multiset over its rows first; only then compare the two results.",
        "Two results differ if any of their entries does.",
        "The order of the answer is sum, mean, max.",
    ],
)
def told_apart(answer, case: Case) -> None:
    """bool [3]: do sum, mean and max, in this order, tell the multisets left [n, F] and right [m, F] apart?"""
    rows, wide = case.size(2, 5), case.size(2, 3)
    column = int(torch.randint(wide, (), generator=case.random))
    left = torch.randint(-4, 5, (rows, wide), generator=case.random).float()
    right = left[case.permutation(rows)]
    kind = case.index % 7
    if kind == 1:  # every row twice: mean and max cannot see it
        left, right = left + 5, right.repeat(2, 1) + 5
    elif kind == 2:  # all rows merged into one: the sum cannot see it
        left = left - 5
        right = left.sum(0, keepdim=True)
    elif kind == 3:  # one entry raised, below the largest: max cannot see it
        left = torch.cat([left, left.amax(0, keepdim=True) + 9])
        right = left.clone()
        right[0, column] += 1.0
    elif kind == 4:  # the largest entry of one column raised
        left[:, column] = left[0, column]
        right = left.clone()
        right[0, column] += 2.0
    elif kind == 5:  # the very same matrix
        right = left.clone()
    elif kind == 6:  # many rows shuffled: their sum differs in the last digit
        left = case.uniform(rows + 60, wide, low=1.0, high=100.0)
        right = left.flip(0)
    case.expect(answer(left, right), reference.told_apart(left, right))


def _three(left: Tensor, right: Tensor, differ) -> Tensor:
    reduced = [
        (left.sum(0), right.sum(0)),
        (left.mean(0), right.mean(0)),
        (left.amax(0), right.amax(0)),
    ]
    return torch.stack([differ(a, b) for a, b in reduced])


@told_apart.mistake(
    "The answer is turned round: True means that the aggregator tells the two apart."
)
def turned_round(left, right):
    return _three(left, right, lambda a, b: torch.isclose(a, b).all())


@told_apart.mistake(
    "Two vectors differ as soon as one entry does; you asked that all entries differ."
)
def all_entries(left, right):
    return _three(left, right, lambda a, b: ~torch.isclose(a, b).any())


@told_apart.mistake("The order is sum, mean, max; your last two are exchanged.")
def exchanged(left, right):
    return _three(left, right, lambda a, b: ~torch.isclose(a, b).all())[[0, 2, 1]]


@told_apart.mistake(
    "You compared the rows one by one. A multiset has no order, and the two may differ in size."
)
def row_by_row(left, right):
    same = left.shape == right.shape and torch.equal(left, right)
    return torch.full((3,), not same)


@told_apart.mistake(
    "Sums in another order differ in the last digit; compare with torch.isclose rather than ==."
)
def exact_equality(left, right):
    return _three(left, right, lambda a, b: (a != b).any())


@told_apart.mistake(
    "Your answer is always True. A method without its parentheses, `same.all`, counts as true."
)
def always_true(left, right):
    return torch.ones(3, dtype=torch.bool)


# 6 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=3,
    minutes=12,
    reference=reference.node_classifier,
    cases=2,
    uses=("GCNLayer",),
    hints=[
        "Two layers: M relu(M X W1 + b1) W2 + b2. The matrix M comes in twice.",
        "The loss reads only the training nodes: index logits and labels with train_mask.",
        "About a hundred Adam steps at the rate 0.02 are enough; return logits, not probabilities or classes.",
    ],
)
def node_classifier(answer, case: Case) -> None:
    """Train a two-layer GCN on the labelled nodes and return its logits [N, C] for all nodes."""
    graph = citation_graph(
        num_nodes=460 + case.size(0, 40),
        num_classes=case.size(3, 4),
        num_features=case.size(56, 64),
        avg_degree=4.0,
        homophily=0.85,
        topic=0.15,
        labels_per_class=8,
        seed=int(torch.randint(2**31, (), generator=case.random)),
    )
    adjacency = torch.zeros(graph.num_nodes, graph.num_nodes)
    adjacency[graph.edge_index[1], graph.edge_index[0]] = 1.0
    matrix = reference.normalized_adjacency(adjacency)
    train, classes = graph.train_mask, graph.num_classes
    task = (torch.where(train, graph.y, -1), train, classes)
    held_back = ~train & (graph.y >= 0)

    def accuracy(logits: Tensor, mask: Tensor) -> float:
        return float((logits[mask].argmax(1) == graph.y[mask]).float().mean())

    @functools.cache
    def none() -> float:
        """What an MLP reaches, trained only where somebody asks."""
        return accuracy(reference.feature_classifier(graph.x, *task), held_back)

    one = accuracy(reference.one_round_classifier(graph.x, matrix, *task), held_back)
    two = accuracy(reference.node_classifier(graph.x, matrix, *task), held_back)
    bar = 0.6 * one + 0.4 * two

    def judge(logits) -> str | None:
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (graph.num_nodes, classes):
            return f"{describe(logits)}; expected logits [{graph.num_nodes}, {classes}]"
        if not logits.isfinite().all():
            return f"{describe(logits)}; it contains NaN or infinity"
        if (got := accuracy(logits, held_back)) < bar:
            return (
                f"{got:.0%} of the held-back nodes right; at least {bar:.0%} wanted "
                f"(without edges {none():.0%}, with one round of messages {one:.0%})"
            )
        return None

    given = {"accuracy": accuracy, "train": train, "held_back": held_back, "none": none, "bar": bar}
    logits = answer(graph.x, matrix, *task)
    case.expect_that("accuracy on held-back labels", judge, logits, kind="score", given=given)


def _logits(observations) -> tuple[Tensor, dict]:
    seen = observations[0]
    if isinstance(seen.got, Raised) or seen.got.dim() != 2:
        raise ValueError("not logits")
    return seen.got, seen.given


def _is_classes(observations) -> bool:
    return observations[0].got.dim() == 1


def _loss_on_all(observations) -> bool:
    return isinstance(observations[0].got, Raised) and "Target -1" in observations[0].got.text


def _only_training_nodes(observations) -> bool:
    return len(observations[0].got) == int(observations[0].given["train"].sum())


def _fit(observations) -> float:
    """Accuracy on the training nodes."""
    logits, given = _logits(observations)
    return given["accuracy"](logits, given["train"])


def _one_class(observations) -> bool:
    logits, given = _logits(observations)
    return float((logits.argmax(1) == 0)[given["held_back"]].float().mean()) > 0.9


def _like_an_mlp(observations) -> bool:
    logits, given = _logits(observations)
    return given["accuracy"](logits, given["held_back"]) < given["none"]() + 0.08


def _below_the_bar(observations) -> bool:
    logits, given = _logits(observations)
    return given["accuracy"](logits, given["held_back"]) < given["bar"]


@node_classifier.symptom(
    _is_classes, "You returned one number a node. Return the logits [N, C]; argmax comes later."
)
def classes_only(x, matrix, labels, train_mask, num_classes):
    return reference.node_classifier(x, matrix, labels, train_mask, num_classes).argmax(1)


@node_classifier.symptom(
    _loss_on_all, "The label -1 means unknown: take the loss over the training nodes only."
)
def loss_on_all(x, matrix, labels, train_mask, num_classes):
    return F.cross_entropy(torch.zeros(len(x), num_classes), labels)


@node_classifier.symptom(
    _only_training_nodes, "You returned the training nodes alone; logits for all nodes are wanted."
)
def training_nodes(x, matrix, labels, train_mask, num_classes):
    return reference.node_classifier(x, matrix, labels, train_mask, num_classes)[train_mask]


@node_classifier.symptom(
    _one_class,
    "Nearly every node is called class 0: did the unknown labels, -1, become class 0 in the loss?",
)
def unknown_as_zero(x, matrix, labels, train_mask, num_classes):
    every = torch.ones_like(train_mask)
    return reference.node_classifier(x, matrix, labels.clamp(min=0), every, num_classes)


@node_classifier.symptom(
    lambda seen: _fit(seen) < 0.05,
    "Fewer training nodes are right than by guessing: does the loss have the wrong sign?",
)
def wrong_sign(x, matrix, labels, train_mask, num_classes):
    return -reference.node_classifier(x, matrix, labels, train_mask, num_classes)


@node_classifier.symptom(
    lambda seen: _fit(seen) < 0.8,
    "Even the training nodes are wrong: too few steps, a rate too small, or a missing zero_grad, backward or step.",
)
def untrained(x, matrix, labels, train_mask, num_classes):
    torch.manual_seed(0)
    return matrix @ torch.randn(len(x), num_classes)


@node_classifier.symptom(
    _like_an_mlp,
    "The training nodes are right, but the others are no better than an MLP's: where does M come in?",
)
def without_edges(x, matrix, labels, train_mask, num_classes):
    return reference.feature_classifier(x, labels, train_mask, num_classes)


@node_classifier.symptom(
    _below_the_bar,
    "Edges help, but no more than one round of messages would: does M stand in both layers?",
)
def one_round(x, matrix, labels, train_mask, num_classes):
    return reference.one_round_classifier(x, matrix, labels, train_mask, num_classes)
