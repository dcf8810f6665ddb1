"""Unit 09's mistakes in other clothes than their examples', and what is wrong in one respect."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from course_lib.exercises.relational_inference import reference, unit


def named(name, answer) -> str:
    """The named mistake of the verdict; "" if there is none."""
    said = " ".join("\n".join(unit.verdict(name, answer).lines).split())
    return said.partition("mistake ")[2]


def test_the_mistakes_are_not_too_many_to_be_graded():
    assert sum(len(e.mistakes) for e in unit.exercises.values()) <= 95


# 1 ------------------------------------------------------------------------------------------------


def moving(step, before=lambda x, v, a, dt: (x, v), acceleration=None):
    """A scheme as a student writes it: a loop over steps, with the acceleration as an inner function."""

    def answer(position, velocity, springs, stiffness, dt, steps):
        def a(x):
            if acceleration is not None:
                return acceleration(x, springs, stiffness)
            return stiffness * (springs @ x - springs.sum(-1, keepdim=True) * x)

        position, velocity = before(position, velocity, a, dt)
        for _ in range(steps):
            position, velocity = step(position, velocity, a, dt)
        return position, velocity

    return answer


def leap(x, v, a, dt):
    v = v + dt / 2 * a(x)
    x = x + dt * v
    return x, v + dt / 2 * a(x)


def pull_by_columns(x, w):
    return w.mT @ x - w.sum(1)[..., None] * x


def test_springs_may_be_summed_over_rows_or_columns():
    answer = moving(leap, acceleration=lambda x, w, k: k * pull_by_columns(x, w))
    assert unit.verdict("leapfrog", answer).status == "passed"


def symplectic(x, v, a, dt):
    v = v + a(x) * dt
    return x + v * dt, v


def drifted(x, v, a, dt):
    x = x + v * dt
    return x, v + a(x) * dt


def one_acceleration(x, v, a, dt):
    pull = a(x)
    v = v + 0.5 * dt * pull
    x = x + dt * v
    return x, v + 0.5 * dt * pull


def taylor(x, v, a, dt):
    """The position rightly to second order, the velocity with the old acceleration."""
    return x + dt * v + 0.5 * dt**2 * a(x), v + dt * a(x)


def whole_then_half(x, v, a, dt):
    v = v + dt * a(x)
    x = x + dt * v
    return x, v + dt / 2 * a(x)


LEAPS = [
    (moving(whole_then_half), "one and a half times its time"),
    (moving(leap, acceleration=lambda x, w, k: w @ x - w.sum(-1, keepdim=True) * x), "stiffness"),
    (moving(leap, acceleration=lambda x, w, k: k * (w @ x - x)), "x_i counts once"),
    (lambda x, v, w, k, dt, n: moving(leap)(x, v, w, k, dt, n - 1), "A step too few"),
    (moving(leap, acceleration=lambda x, w, k: k * pull_by_columns(x, w).detach()), "is cut"),
    (moving(symplectic), "no last one: symplectic Euler"),
    (moving(drifted), "drifts first"),
    (moving(drifted, lambda x, v, a, dt: (x, v + dt * a(x))), "first kick is a whole step"),
    (moving(lambda x, v, a, dt: (x + dt * v, v + dt * a(x))), "Euler's method"),
    (moving(one_acceleration), "from before the drift"),
    (moving(taylor), "from before the drift"),
    (moving(leap, acceleration=lambda x, w, k: k * (w.sum(-1, keepdim=True) * x - w @ x)), "push"),
    (moving(leap, acceleration=lambda x, w, k: k * (w @ x)), "x_i is missing"),
    (moving(leap, lambda x, v, a, dt: (x.detach(), v)), "a gradient is cut"),
    (moving(leap, lambda x, v, a, dt: (x, v.detach())), "a gradient is cut"),
    (
        moving(
            leap, acceleration=lambda x, w, k: -k * (w.sum(-1, keepdim=True) * x - w @ x).detach()
        ),
        "a gradient is cut",
    ),
]


@pytest.mark.parametrize(("answer", "words"), LEAPS)
def test_forms_of_a_wrong_leapfrog_are_named(answer, words):
    assert words in named("leapfrog", answer)


def test_of_a_scheme_of_first_order_that_nobody_thought_of_the_order_is_told():
    def late(x, v, a, dt):  # a third of the kick before the drift, two thirds after it
        v = v + dt / 3 * a(x)
        x = x + dt * v
        return x, v + 2 * dt / 3 * a(x)

    assert "a scheme of first order" in named("leapfrog", moving(late))


# 2 to 4 -------------------------------------------------------------------------------------------

GRAPHS = [
    (lambda n: torch.tensor([[i, j] for i in range(n) for j in range(n) if i != j]).T, "exchanged"),
    (lambda n: torch.tensor([[j, i] for i in range(n) for j in range(n)]).T, "self-loops"),
    (lambda n: torch.combinations(torch.arange(n)).T, "Each pair comes once"),
    (lambda n: torch.triu_indices(n, n, 1), "Each pair comes once"),
    (
        lambda n: torch.tensor([[j, i] for i in range(n) for j in range(n) if i != j]),
        "a pair a row",
    ),
    (lambda n: torch.tensor([*permutations(range(n), 2)]), "receiver first"),
    (lambda n: reference.complete_graph(n).T.reshape(2, -1), "cut into rows"),
    (lambda n: torch.tensor([*permutations(range(n), 2)]).T, "sorted by sender"),
]


@pytest.mark.parametrize(("answer", "words"), GRAPHS)
def test_forms_of_a_wrong_graph_are_named(answer, words):
    assert words in named("complete_graph", answer)


PAIRS = [
    (lambda h, e: torch.cat([h[:, e[1]], h[:, e[0]]], -1), "[receiver, sender]"),
    (lambda h, e: torch.cat([h[:, e[1]], h[:, e[1]]], -1), "the same end"),
    (lambda h, e: torch.cat([h[:, e[0]], h[:, e[0]]], -1), "the same end"),
    (lambda h, e: h[:, e[0]] + h[:, e[1]], "You added the two ends"),
    (lambda h, e: torch.stack([h[:, e[0]], h[:, e[1]]], -2), "instead of stacking"),
    (lambda h, e: torch.cat([h[e[0]], h[e[1]]], -1), "picks SIMULATIONS"),
    (lambda h, e: torch.cat([h[:, e[0]], h[:, e[1]]], 1), "LAST axis"),
    (lambda h, e: h[:, e[0]] - h[:, e[1]], "The difference of the two ends"),
    (lambda h, e: torch.cat([h[:, e[0]], h[:, e[1]].detach()], -1), "no gradient reaches h"),
]


@pytest.mark.parametrize(("answer", "words"), PAIRS)
def test_forms_of_wrong_pairs_are_named(answer, words):
    assert words in named("node_to_edge", answer)


def assigned(m, e, n):
    out = torch.zeros(len(m), n, m.shape[2])
    out[:, e[1]] += m
    return out


def looped(at, divide=False):
    """A loop over edges that adds each message to node `at` (0: the sender) of its edge."""

    def answer(messages, edge_index, nodes):
        rows = [torch.zeros(len(messages), messages.shape[2])] * nodes
        for k in range(edge_index.shape[1]):
            i = int(edge_index[at, k])
            rows[i] = rows[i] + messages[:, k]
        entering = torch.bincount(edge_index[1], minlength=nodes)
        if divide:
            rows = [row / max(int(n), 1) for row, n in zip(rows, entering)]
        return torch.stack(rows, 1)

    return answer


def in_a_matrix(m, e, n):
    pairs = torch.zeros(len(m), n, n, m.shape[2], dtype=m.dtype)
    pairs[:, e[1], e[0]] = m
    return pairs.sum(2)


SUMS = [
    (in_a_matrix, "a matrix of pairs"),
    (looped(0), "back to its sender"),
    (assigned, "keeps ONE message"),
    (looped(1, divide=True), "the mean of what arrives"),
    (lambda m, e, n: m.view(len(m), n, n - 1, -1).sum(2), "in its usual order alone"),
    (lambda m, e, n: m.unflatten(1, (n, -1)).sum(2), "in its usual order alone"),
    (lambda m, e, n: looped(1)(m.detach(), e, n), "no gradient reaches the messages"),
]


@pytest.mark.parametrize(("answer", "words"), SUMS)
def test_forms_of_a_wrong_sum_are_named(answer, words):
    assert words in named("edge_to_node", answer)


# 5 and 6 ------------------------------------------------------------------------------------------


def stepping(pairs=reference.node_to_edge, types=None, weigh=None, end=None, to=lambda e: e):
    """A decoder's step by a loop over types; each argument is one thing that can go wrong in it."""

    def answer(x, z, edge_index, message, own, skip_first):
        both, sent = pairs(x, edge_index), 0
        for k in (types or (lambda skip, K: range(int(skip), K)))(skip_first, len(message)):
            weight = (weigh or (lambda z, k: z[:, :, k : k + 1]))(z, k)
            sent = sent + weight * (both @ message[k])
        arrived = reference.edge_to_node(sent, to(edge_index), x.shape[1])
        return (end or (lambda x, own, arrived: x + x @ own + arrived))(x, own, arrived)

    return answer


def receiver_only(x, e):
    return torch.cat([x[:, e[1]], x[:, e[1]]], -1)


def one_hot(z):
    return F.one_hot(z.argmax(-1), z.shape[-1]).float()


STEPS = [
    (stepping(lambda x, e: reference.node_to_edge(x, e.flip(0))), "Sender and receiver are"),
    (stepping(receiver_only), "the receiver twice"),
    (stepping(to=lambda e: e.flip(0)), "back to their senders"),
    (
        stepping(lambda x, e: reference.node_to_edge(x, e.flip(0)), to=lambda e: e.flip(0)),
        "exchanged everywhere",
    ),
    (stepping(end=lambda x, own, arrived: x + arrived), "x own is missing"),
    (stepping(types=lambda skip, K: [K - 1]), "Only the last type"),
    (stepping(types=lambda skip, K: range(K)), "skip_first has no effect"),
    (stepping(types=lambda skip, K: range(1, K)), "You always skip type 0"),
    (stepping(types=lambda skip, K: range(K - int(skip))), "The LAST type"),
    (stepping(end=lambda x, own, arrived: x @ own + arrived), "x itself is missing"),
    (stepping(weigh=lambda z, k: 1.0), "z has no effect"),
    (stepping(weigh=lambda z, k: one_hot(z)[:, :, k : k + 1]), "one-hot z alone"),
    (stepping(weigh=lambda z, k: (z.argmax(-1) == k).float()[..., None]), "one-hot z alone"),
    (stepping(weigh=lambda z, k: z.detach()[:, :, k : k + 1]), "no gradient reaches z"),
    (stepping(lambda x, e: reference.node_to_edge(x.detach(), e)), "a gradient is cut"),
    (stepping(end=lambda x, own, arrived: x + x @ own.data + arrived), "a gradient is cut"),
]


@pytest.mark.parametrize(("answer", "words"), STEPS)
def test_forms_of_a_wrong_step_are_named(answer, words):
    assert words in named("decoder_step", answer)


def rolling(begins, keep=lambda x: x, skip=True, stack=2, keeps_first=False):
    """A rollout: begins(t, restart) says where the truth is taken up."""

    def answer(states, z, edge_index, message, own, restart):
        x = states[:, :, 0]
        made = [x] if keeps_first else []
        for t in range(states.shape[2] - 1):
            x = states[:, :, t] if begins(t, restart) else keep(x)
            x = reference.decoder_step(x, z, edge_index, message, own, skip)
            made.append(x)
        return torch.stack(made, stack)

    return answer


def right(t, restart):
    return t % restart == 0


ROLLS = [
    (rolling(lambda t, r: True), "Every step begins with the truth"),
    (rolling(lambda t, r: False), "never begins anew"),
    (rolling(lambda t, r: t % r == 1 % r), "one frame too late"),
    (rolling(lambda t, r: (t + 1) % r == 0), "one frame too early"),
    (rolling(right, keeps_first=True), "The first frame is given"),
    (rolling(right, skip=False), "Type 0 sends messages"),
    (rolling(right, stack=0), "on another axis"),
    (rolling(right, stack=1), "on another axis"),
    (rolling(right, stack=-1), "on another axis"),
    (rolling(right, keep=lambda x: x.detach()), "perhaps between two steps"),
]


@pytest.mark.parametrize(("answer", "words"), ROLLS)
def test_forms_of_a_wrong_rollout_are_named(answer, words):
    assert words in named("rollout", answer)
