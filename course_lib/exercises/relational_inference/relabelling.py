"""Unit 09, exercise 8: the share of right edges, when nobody has told the model what its types are called."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

from course_lib.exercises.case import Case
from course_lib.exercises.relational_inference import reference
from course_lib.exercises.relational_inference.loss import unit

# 8 ----------------------------------------------------------------------------------------------


@unit.exercise(
    points=2,
    minutes=7,
    reference=reference.edge_accuracy,
    hints=[
        "Without relabelling: the share of places where predicted and true are equal.",
        "itertools.permutations(range(types)) gives all renamings; torch.tensor(order)[predicted] carries one out.",
        "For each renaming the share over ALL simulations; the largest of these shares, one maximum at the very end.",
    ],
)
def edge_accuracy(answer, case: Case) -> None:
    """The share of right types, predicted and true [S, E]; with `relabel` under the best one renaming of types."""
    simulations, edges = case.size(4, 6), case.size(12, 16)
    three = torch.multinomial(
        torch.tensor([0.5, 0.3, 0.2]), simulations * edges, True, generator=case.random
    ).view(simulations, edges)
    two = (case.uniform(simulations, edges) < 0.35).long()
    spoiled = _spoiled(case, three, 3, 0.3)
    turned = torch.tensor([1, 2, 0])[spoiled]
    for predicted, true, types, relabel, label in (
        (turned, three, 3, True, "three types, their names turned round"),
        (_spoiled(case, three, 3, 0.4), three, 3, False, "the first type is known"),
        (turned, three, 3, False, "the first type is known, and the names are wrong"),
        (1 - _spoiled(case, two, 2, 0.3), two, 2, True, "two types, exchanged"),
        (_spoiled(case, two, 2, 1.0), two, 2, True, "coin flips"),
        (torch.tensor([0, 2, 1])[spoiled], three, 3, True, "two of three names exchanged"),
    ):
        given = predicted, true, types, relabel
        case.expect(answer(*given), reference.edge_accuracy(*given), label=label)


def _spoiled(case: Case, true: Tensor, types: int, share: float) -> Tensor:
    """`true`, with the given share of its entries drawn anew, each type equally likely."""
    drawn = torch.randint(types, true.shape, generator=case.random)
    return torch.where(case.uniform(*true.shape) < share, drawn, true)


def _renamed(predicted: Tensor, types: int):
    """What `predicted` is under each renaming."""
    return [torch.tensor(order)[predicted] for order in permutations(range(types))]


@edge_accuracy.mistake(
    "Each simulation is relabelled separately, which flatters: coin flips on 10 edges then score 62 %. The names "
    "belong to the model: one renaming for all simulations."
)
def each_graph_apart(predicted, true, types, relabel):
    if not relabel:
        return (predicted == true).float().mean()
    shares = [(other == true).float().mean(1) for other in _renamed(predicted, types)]
    return torch.stack(shares).amax(0).mean()


@edge_accuracy.mistake(
    "`relabel` has no effect: with False the names are known and nothing is renamed."
)
def always_relabelled(predicted, true, types, relabel):
    return reference.edge_accuracy(predicted, true, types, True)


@edge_accuracy.mistake(
    "Nothing is ever renamed. A model that was told no names may call type 0 what is type 1: relabel=True."
)
def never_relabelled(predicted, true, types, relabel):
    return (predicted == true).float().mean()


@edge_accuracy.mistake(
    "Each predicted type was given the name it fits most often, so two may share one name. A renaming is a permutation."
)
def most_frequent_name(predicted, true, types, relabel):
    if not relabel:
        return (predicted == true).float().mean()
    counts = torch.bincount((predicted * types + true).flatten(), minlength=types**2)
    return counts.view(types, types).amax(1).sum() / true.numel()


@edge_accuracy.mistake(
    "1 - accuracy is the other renaming of two types only. K types have K! renamings: try them all."
)
def the_other_way_round(predicted, true, types, relabel):
    share = (predicted == true).float().mean()
    return torch.maximum(share, 1 - share) if relabel else share


@edge_accuracy.mistake(
    "You counted the simulations that are right in EVERY edge; each edge counts."
)
def whole_graphs(predicted, true, types, relabel):
    names = _renamed(predicted, types) if relabel else [predicted]
    return max((other == true).all(1).float().mean() for other in names)


@edge_accuracy.mistake("This is the share of WRONG edges.")
def share_of_wrong(predicted, true, types, relabel):
    return 1 - reference.edge_accuracy(predicted, true, types, relabel)
