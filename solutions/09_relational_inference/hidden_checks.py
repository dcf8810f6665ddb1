"""Edge cases of unit 09 that only grading runs. The students' distribution does not contain this file."""

from __future__ import annotations

import torch

from course_lib.exercises.case import Case
from course_lib.exercises.relational_inference import reference, unit
from course_lib.exercises.relational_inference.decoding import weights
from course_lib.exercises.relational_inference.training import expect_relations

EXACT = {"rtol": 1e-9, "atol": 1e-9}  # what is given in float64 comes back in float64


@unit.find("leapfrog").hidden_check
def free_bodies_and_many_steps(answer, case: Case) -> None:
    """No spring at all; a single pair with S = N = 2; thirty steps of two strengths, float64."""
    n = case.size(3, 4)
    position, velocity = case.normal(n, n, 2), case.normal(n, n, 2)
    free = torch.zeros(n, n, n)
    got = answer(position, velocity, free, 1.0, 0.5, 3)
    case.expect(got, (position + 1.5 * velocity, velocity), "no spring")
    pair = 1.0 - torch.eye(2).expand(2, 2, 2)
    given = position[:2, :2], velocity[:2, :2], pair, 2.0, 0.3, 2
    case.expect(answer(*given), reference.leapfrog(*given), "two bodies")
    springs = case.uniform(n, n, n).triu(1)
    given = *(t.double() / 3 for t in (position, velocity, springs + springs.mT)), 1.5, 0.25, 30
    case.expect(answer(*given), reference.leapfrog(*given), "float64, thirty steps", **EXACT)


@unit.find("complete_graph").hidden_check
def two_bodies_and_many(answer, case: Case) -> None:
    """N = 2, and more bodies than any public case has."""
    for bodies in (2, 9 + case.size(1, 3)):
        case.expect(answer(bodies), reference.complete_graph(bodies), f"{bodies} bodies")


@unit.find("node_to_edge").hidden_check
def as_many_simulations_as_nodes(answer, case: Case) -> None:
    """B = N = F, where no shape protects; one edge; one feature; float64."""
    n = case.size(4, 6)
    h, edges = case.normal(n, n, n), reference.complete_graph(n)
    case.expect(answer(h, edges), reference.node_to_edge(h, edges), "B = N = F")
    one = edges[:, n : n + 1]
    case.expect(answer(h[..., :1], one), reference.node_to_edge(h[..., :1], one), "one edge")
    h = h.double() / 3
    case.expect(answer(h, edges), reference.node_to_edge(h, edges), "float64", **EXACT)


@unit.find("edge_to_node").hidden_check
def silent_nodes_and_many_messages(answer, case: Case) -> None:
    """All edges enter one node; B = E = N = F of a ring; one edge; float64."""
    n = case.size(4, 6)
    star = torch.stack([torch.arange(1, n), torch.zeros(n - 1).long()])
    given = case.normal(2, n - 1, 3), star, n
    case.expect(answer(*given), reference.edge_to_node(*given), "a star")
    given = case.normal(1, 1, 2), star[:, -1:], n
    case.expect(answer(*given), reference.edge_to_node(*given), "one edge")
    ring = torch.stack([torch.arange(n), (torch.arange(n) + 1) % n])
    given = case.normal(n, n, n).double() / 3, ring, n
    case.expect(answer(*given), reference.edge_to_node(*given), "a ring, float64", **EXACT)


@unit.find("decoder_step").hidden_check
def one_type_and_all_alike(answer, case: Case) -> None:
    """Two types of which one is skipped; B = N = D; no edge at all; float64."""
    n = case.size(4, 5)
    edges = reference.complete_graph(n)
    x, z = case.normal(n, n, n), case.normal(n, edges.shape[1], 2).softmax(-1)
    message, own = 0.3 * case.normal(2, 2 * n, n), 0.2 * case.normal(n, n)
    for skip in (True, False):
        given = x, z, edges, message, own, skip
        case.expect(answer(*given), reference.decoder_step(*given), f"B = N = D, {skip}")
    none = torch.zeros(2, 0, dtype=torch.int64)
    given = x, z[:, :0], none, message, own, False
    case.expect(answer(*given), x + x @ own, "no edge")
    given = *(t.double() / 3 for t in (x, z)), edges, message.double() / 3, own.double() / 3, True
    case.expect(answer(*given), reference.decoder_step(*given), "float64", **EXACT)


@unit.find("rollout").hidden_check
def two_frames_and_whole_windows(answer, case: Case) -> None:
    """Two frames; a window that ends with the last frame; restart = T - 1; B = N = T = D; float64."""
    n = case.size(4, 5)
    edges = reference.complete_graph(n)
    states, z = case.normal(n, n, n, n), case.normal(n, edges.shape[1], 2).softmax(-1)
    states, z = states.double(), z.double()
    maps = tuple(w.double() for w in weights(case, 2, n, n))
    for frames, restart, label in (
        (2, 3, "two frames"),
        (n, n - 1, "restart = T - 1"),
        (n, 2, "B = N = T = D"),
    ):
        given = states[:, :, :frames], z, edges, *maps, restart
        case.expect(answer(*given), reference.rollout(*given), label)
    long = case.normal(2, n, 7, n).double() / 3
    given = long, z[:2], edges, *maps, 3
    case.expect(answer(*given), reference.rollout(*given), "two whole windows, float64", **EXACT)


@unit.find("nri_loss").hidden_check
def nothing_to_pay(answer, case: Case) -> None:
    """q equal to the prior and a perfect prediction, where all is 0; a tiny variance; E = K = B; float64."""
    n = case.size(3, 4)
    target, logits = case.normal(n, n, n, n), case.normal(n, n, n)
    prior = case.normal(n).softmax(0)
    zero = torch.zeros(n)
    got = answer(target, target, prior.log().expand(n, n, n), prior, 0.5)
    case.expect(got, (zero, zero, zero), "nothing to pay")
    predicted = target + 0.01 * case.normal(n, n, n, n)
    given = predicted, target, logits, prior, 5e-5
    case.expect(answer(*given), reference.nri_loss(*given), "E = K = B, a tiny variance")
    even = torch.full((n,), 1 / n, dtype=torch.float64)
    given = predicted.double() / 3, target.double() / 3, logits.double() / 3, even, 0.7
    case.expect(answer(*given), reference.nri_loss(*given), "float64", **EXACT)


@unit.find("edge_accuracy").hidden_check
def four_types_and_one_graph(answer, case: Case) -> None:
    """Four types with exchanged names; a type that never occurs; one simulation; all wrong; coin flips on 10 edges."""
    n = case.size(3, 5)
    true = torch.randint(4, (n, 20), generator=case.random)
    spoiled = torch.where(case.uniform(n, 20) < 0.4, true.roll(1, 1), true)
    named = torch.tensor([3, 0, 1, 2])[spoiled], true
    exchanged = torch.tensor([0, 2, 1, 3])[spoiled], true
    two = true.clamp(max=1), 1 - true.clamp(max=1)
    coins = torch.randint(2, (40, 10), generator=case.random), true.new_ones(40, 10)
    for pair, types, relabel, label in (
        (named, 4, True, "four types"),
        (exchanged, 4, True, "four types, two names exchanged"),
        ((pair[:1] for pair in named), 4, True, "one simulation"),
        (two, 3, True, "a type that never occurs"),
        (two, 2, False, "all wrong"),
        (coins, 2, True, "coin flips"),
    ):
        given = *pair, types, relabel
        case.expect(answer(*given), reference.edge_accuracy(*given), label)


@unit.find("infer_relations").hidden_check
def more_bodies_and_fewer_springs(answer, case: Case) -> None:
    """Five bodies, springs between a third of the pairs."""
    expect_relations(answer, case, 48, 5, 100, chance=1 / 3, bar=0.8)
