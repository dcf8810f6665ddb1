"""Unit 09's references against the library and other computations; answers by other means; what is forbidden."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from torch.linalg import vector_norm

from course_lib.exercises.case import Case
from course_lib.exercises.forbidden import forbidden_names
from course_lib.exercises.relational_inference import reference, training, unit
from course_lib.latent.gumbel import categorical_kl
from course_lib.relations import edge_metrics, graphs, motion, nri_model, pairs, springs
from course_lib.relations.decoder_parts import MarkovDecoder
from tests.exercises.failures import failures, failures_by_other_means


def normal(*shape, seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=random, dtype=torch.float64)


def near(one, other):
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-9, atol=1e-11)


def graph(simulations, bodies):
    joined = (normal(simulations, bodies, bodies, seed=4) > 0).double().triu(1)
    return joined + joined.mT


# the references are the library's functions, computed otherwise -------------------------------------


def test_the_leapfrog_is_the_librarys():
    position, velocity, joined = normal(6, 4, 2), normal(6, 4, 2, seed=1), graph(6, 4)
    ours = reference.leapfrog(position, velocity, joined, 0.7, 0.2, 5)

    def force(x):  # [N, 2, S]
        x = x.permute(2, 0, 1)
        return (0.7 * (joined @ x - joined.sum(-1, keepdim=True) * x)).permute(1, 2, 0)

    start = position.permute(1, 2, 0), velocity.permute(1, 2, 0)
    theirs = motion.leapfrog(*start, force, dt=0.2, steps=5)
    assert all(near(a, b.permute(2, 0, 1)) for a, b in zip(ours, theirs))


def test_the_exact_motion_is_what_fine_steps_come_to():
    given = normal(3, 4, 2), normal(3, 4, 2, seed=1), graph(3, 4), 0.7
    right = torch.cat(reference.exact(*given, 2.0))
    apart = [
        vector_norm(torch.cat(reference.leapfrog(*given, 2 / n, n)) - right) for n in (50, 100)
    ]
    assert apart[0] < 1e-2 and 3.9 < apart[0] / apart[1] < 4.1


def test_the_graph_and_its_two_ways_are_the_librarys():
    edges = reference.complete_graph(5)
    assert torch.equal(edges, graphs.complete_graph(5))
    h, zero = normal(3, 5, 4), torch.zeros(5, 3, 4).double()
    first = h.transpose(0, 1)
    ends = [pairs.node_to_edge(*both) for both in ((first, zero), (zero, first))]
    assert near(reference.node_to_edge(h, edges).transpose(0, 1), torch.cat(ends, -1))
    messages = normal(3, 20, 4)
    theirs = pairs.edge_to_node(messages.transpose(0, 1), 5).transpose(0, 1)
    assert near(reference.edge_to_node(messages, edges, 5), theirs)


class Linear(MarkovDecoder):
    """The lab's decoder as one of the library's."""

    features, edge_types = 3, 2

    def __init__(self, message, own):
        super().__init__()
        self.message, self.own = message, own

    def step(self, x, edges, senders):
        """x [N, M, D], edges [E, M, K] -> [N, M, D]."""
        both = pairs.node_to_edge(x @ self.message[1, :3], x @ self.message[1, 3:], senders)
        return x + x @ self.own + pairs.edge_to_node(edges[..., 1:] * both, len(x))


@pytest.mark.parametrize("restart", [1, 3, 20])
def test_many_steps_are_the_librarys_windows(restart):
    states, z, edges = normal(2, 4, 9, 3), normal(2, 12, 2).softmax(-1), graphs.complete_graph(4)
    message, own = 0.3 * normal(2, 6, 3), 0.2 * normal(3, 3, seed=2)
    found = []
    for run in (
        lambda z: reference.rollout(states, z, edges, message, own, restart),
        lambda z: Linear(message, own)(states, z, restart),
    ):
        leaf = z.clone().requires_grad_()
        out = run(leaf)
        found.append((out, *torch.autograd.grad((out * normal(*out.shape, seed=7)).sum(), leaf)))
    assert all(near(*both) for both in zip(*found))


def test_the_loss_is_the_librarys():
    predicted, target, logits = normal(3, 4, 5, 4), normal(3, 4, 5, 4, seed=1), normal(3, 12, 3)
    prior = normal(3, seed=2).softmax(0)
    loss, nll, kl = reference.nri_loss(predicted, target, logits, prior, 0.3)
    constant = nri_model.gaussian_nll(target, target, 0.3)
    assert near(nll, nri_model.gaussian_nll(predicted, target, 0.3) - constant)
    assert near(kl, categorical_kl(logits, prior).sum(-1)) and near(loss, nll + kl)


@pytest.mark.parametrize("types", [2, 3, 4])
def test_the_accuracy_is_the_librarys(types):
    random = torch.Generator().manual_seed(types)
    true, drawn = torch.randint(types, (2, 6, 20), generator=random)
    predicted = torch.where(torch.rand(6, 20, generator=random) < 0.5, drawn, true)
    predicted = torch.randperm(types, generator=random)[predicted]
    for relabel in (True, False):
        theirs = edge_metrics.edge_accuracy(predicted, true, relabel)
        assert abs(float(reference.edge_accuracy(predicted, true, types, relabel)) - theirs) < 1e-6


def test_the_simulations_to_learn_from_are_the_librarys():
    states, joined = training.simulated(Case(3), 4, 3, 0.5)
    start = states[:, :, 0].double()
    how = {"interaction": 0.4, "box": 50.0, "dt": training.SPACING / 100, "every": 100}
    theirs = springs.springs_from(start[..., :2], start[..., 2:], joined, 12, **how)
    assert torch.allclose(states[:, :, 1:].double(), theirs, atol=1e-5)


def test_what_was_asked_before_cannot_be_changed_afterwards():
    states, _ = training.simulated(Case(5), 3, 3, 0.5)
    given = states, reference.complete_graph(3), 2
    first = reference.infer_relations(*given)
    kept = first.clone()
    first.zero_()
    assert torch.equal(reference.infer_relations(*given), kept) and kept.any()


def test_coins_relabelled_graph_by_graph_look_better_than_they_are():
    coins = torch.randint(2, (2, 4000, 10), generator=torch.Generator().manual_seed(0))
    apart = next(m.example for m in unit.find("edge_accuracy").mistakes if "separately" in m.text)
    assert 0.61 < float(apart(*coins, 2, True)) < 0.64
    assert float(reference.edge_accuracy(*coins, 2, True)) < 0.52


# right answers, written otherwise than the master's -----------------------------------------------


def leapfrog(position, velocity, springs, stiffness, dt, steps):
    """By differences of all pairs, and kicks of two half steps joined into one."""

    def pull(x):
        apart = x[:, :, None] - x[:, None]  # [S, N, N, 2], row i, column j: x_i - x_j
        return -stiffness * (springs[..., None] * apart).sum(2)

    velocity = velocity + dt / 2 * pull(position)
    for step in range(steps):
        position = position + dt * velocity
        velocity = velocity + (dt / 2 if step == steps - 1 else dt) * pull(position)
    return [position, velocity]


def complete_graph(bodies):
    """By repeated rows and a mask."""
    everyone = torch.arange(bodies)
    receivers, senders = everyone.repeat_interleave(bodies), everyone.repeat(bodies)
    return torch.stack([senders, receivers])[:, senders != receivers]


def node_to_edge(h, edge_index):
    """One edge after the other."""
    rows = [torch.cat([h[:, j], h[:, i]], 1) for j, i in edge_index.T.tolist()]
    return torch.stack(rows, 1)


def edge_to_node(messages, edge_index, nodes):
    """By scatter_add."""
    index = edge_index[1][None, :, None].expand_as(messages)
    empty = torch.zeros(len(messages), nodes, messages.shape[2], dtype=messages.dtype)
    return empty.scatter_add(1, index, messages)


def decoder_step(x, z, edge_index, message, own, skip_first):
    """With the weights of a skipped type set to 0, and a body at a time."""
    keep = torch.ones(z.shape[-1], dtype=z.dtype)
    keep[0] = 0.0 if skip_first else 1.0
    out = list((x + x @ own).unbind(1))
    for e, (j, i) in enumerate(edge_index.T.tolist()):
        pair = torch.cat([x[:, j], x[:, i]], -1)
        sent = torch.stack([pair @ m for m in message], 1)  # [B, K, D]
        out[i] = out[i] + ((z[:, e] * keep)[:, :, None] * sent).sum(1)
    return torch.stack(out, 1)


def rollout(states, z, edge_index, message, own, restart):
    """Window by window."""
    made, last = [], states.shape[2] - 1
    for start in range(0, last, restart):
        x = states[:, :, start]
        for _ in range(start, min(start + restart, last)):
            x = reference.decoder_step(x, z, edge_index, message, own, True)
            made.append(x[:, :, None])
    return torch.cat(made, 2)


def nri_loss(predicted, target, logits, prior, variance):
    """By an einsum and a loop over types."""
    apart = (target - predicted).flatten(1)
    nll = torch.einsum("bi,bi->b", apart, apart) / variance / 2
    log_q = logits - logits.logsumexp(-1, keepdim=True)
    kl = sum((log_q[..., k].exp() * (log_q[..., k] - p.log())).sum(1) for k, p in enumerate(prior))
    return [kl + nll, nll, kl]


def edge_accuracy(predicted, true, types, relabel):
    """A float, by a loop over renamings that are dictionaries."""
    names = [dict(enumerate(p)) for p in permutations(range(types))]
    rows = list(zip(predicted.flatten().tolist(), true.flatten().tolist()))
    shares = [sum(name[p] == t for p, t in rows) / len(rows) for name in names]
    return max(shares) if relabel else shares[0]


def infer_relations(states, edge_index, iterations):
    """Straight-through draws, one optimizer of one rate, and a prior by hand."""
    torch.manual_seed(3)
    logits = torch.zeros(len(states), edge_index.shape[1], 2, requires_grad=True)
    message = (0.03 * torch.randn(2, 8, 4)).requires_grad_()
    own = torch.zeros(4, 4, requires_grad=True)
    optimizer = torch.optim.Adam(
        [{"params": [logits], "lr": 0.1}, {"params": [message, own]}], 0.02
    )
    for _ in range(iterations):
        z = F.gumbel_softmax(logits, 0.5)
        predicted = reference.rollout(states, z, edge_index, message, own, 3)
        prior = torch.full((2,), 0.5)
        loss = reference.nri_loss(predicted, states[:, :, 1:], logits, prior, 0.1)[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return logits.log_softmax(-1)


OTHERS = (
    leapfrog,
    complete_graph,
    node_to_edge,
    edge_to_node,
    decoder_step,
    rollout,
    nri_loss,
    edge_accuracy,
    infer_relations,
)


@pytest.mark.parametrize("other", OTHERS, ids=lambda other: other.__name__)
def test_right_answers_by_other_means_pass(other):
    judge = failures if other is infer_relations else failures_by_other_means
    assert judge(unit.find(other.__name__), other) == []


def test_every_exercise_has_another_answer_in_the_labs_order():
    assert [other.__name__ for other in OTHERS] == [*unit.exercises]


# what is forbidden --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("leapfrog", "from course_lib.relations.motion import leapfrog as l\nl(x, v, f)"),
        ("complete_graph", "from course_lib.relations import graphs\ngraphs.complete_graph(5)"),
        ("nri_loss", "import torch.distributions as d\nd.Categorical(logits=a)"),
        ("nri_loss", "import torch.nn.functional as F\nF.kl_div(a, b)"),
        ("nri_loss", "from torch import nn\nnn.GaussianNLLLoss()(a, b, c)"),
        ("edge_accuracy", "from course_lib.relations.nri import edge_accuracy as e\ne(p, t)"),
        ("infer_relations", "import course_lib.relations.nri as n\nn.train_nri(m, x)"),
        ("infer_relations", "unit.find('infer_relations').reference(x, e, 100)"),
    ],
)
def test_what_is_ready_made_is_forbidden(name, source):
    assert forbidden_names(source, unit.find(name).forbids)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("complete_graph", "import torch\n(~torch.eye(3, dtype=bool)).nonzero()"),
        ("edge_to_node", "out.index_add(1, r, m)\nout.scatter_add(1, r, m)"),
        ("nri_loss", "logits.log_softmax(-1)\nlogits.logsumexp(-1)"),
        ("edge_accuracy", "from itertools import permutations\npermutations(range(3))"),
        ("infer_relations", "import torch.nn.functional as F\nF.gumbel_softmax(a, 0.5)"),
    ],
)
def test_what_an_answer_needs_is_allowed(name, source):
    assert forbidden_names(source, unit.find(name).forbids) == []
