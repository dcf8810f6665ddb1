"""Training graph autoencoders: it learns, repeats, and never sees what is held out."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from course_lib.data import citation_graph, karate_club, load_planetoid
from course_lib.graphs.autoencoders import GAE, VGAE, score_links, train_link_predictor
from course_lib.graphs.link_split import NonEdges, link_split
from course_lib.graphs.models import fast_inputs
from tests.requirements import require

BOTH = pytest.mark.parametrize("model_class", [GAE, VGAE])
PARTS = ("val_edges", "val_non_edges", "test_edges", "test_non_edges")


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def split():
    sizes = {"num_nodes": 300, "num_classes": 3, "num_features": 60, "avg_degree": 8}
    graph = citation_graph(**sizes, homophily=0.95, topic=0.4, seed=0)
    return link_split(graph, generator=_generator())


@BOTH
@pytest.mark.parametrize("sampled", [True, False])
def test_training_learns_repeats_and_ranks_unseen_links(model_class, sampled, split):
    x, a_hat = fast_inputs(split.graph)

    def train(seed=2):
        torch.manual_seed(1)
        model = model_class(60, 16, 8)
        torch.seed()  # what came before must not matter
        options = {"x": x, "edge_index": a_hat, "sampled": sampled, "epochs": 60}
        history = train_link_predictor(model, split, generator=_generator(seed), **options)
        return model, history

    model, history = train()
    assert [len(history[key]) for key in ("loss", "val_auc", "val_ap")] == [60] * 3
    assert history["loss"][-1] < history["loss"][0]
    points = model(x, a_hat)
    last = score_links(points, split.val_edges, split.val_non_edges)
    assert last == (history["val_auc"][-1], history["val_ap"][-1])
    untrained = model_class(60, 16, 8)(x, a_hat)
    pairs = split.test_edges, split.test_non_edges
    assert score_links(points, *pairs)[0] > max(0.78, score_links(untrained, *pairs)[0] + 0.04)
    assert train()[1] == history
    draws = model_class is VGAE or sampled
    assert (train(seed=3)[1]["loss"] == history["loss"]) is not draws


def test_training_never_sees_what_is_held_out(split):
    edges = split.graph.edge_index
    none = torch.empty(2, 0, dtype=torch.int64)
    blind = dataclasses.replace(split, **dict.fromkeys(PARTS, none))
    swapped = dataclasses.replace(split, val_edges=edges[:, :9], test_edges=edges[:, 9:30])
    weights, histories = [], []
    for given_split in (split, blind, swapped):
        torch.manual_seed(0)
        model = VGAE(60, 8, 4)
        histories.append(
            train_link_predictor(model, given_split, epochs=3, generator=_generator(), sampled=True)
        )
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])
    assert all(map(math.isnan, histories[1]["val_auc"] + histories[1]["val_ap"]))


def test_the_callback_sees_the_model_after_every_step(split):
    seen = []

    def look(epoch, model):
        assert not model.training
        seen.append((epoch, model.encoder.layers[0].bias.detach().clone()))

    history = train_link_predictor(GAE(60, 4, 2), split, epochs=3, callback=look)
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert not torch.equal(seen[0][1], seen[1][1])
    assert train_link_predictor(GAE(60), split, epochs=0) == {key: [] for key in history}


@BOTH
def test_the_karate_club_is_drawn_from_its_friendships(model_class):
    split = link_split(karate_club(), generator=_generator())
    x, a_hat = fast_inputs(split.graph)
    model = model_class(34, 32, 2)
    graph = split.graph
    strangers = NonEdges(graph.edge_index, 34).draw(500, _generator())
    before = score_links(model(x, a_hat), graph.edge_index, strangers)
    train_link_predictor(model, split, x=x, edge_index=a_hat, generator=_generator())
    after = score_links(model(x, a_hat), graph.edge_index, strangers)
    assert after[0] > max(0.75, before[0])


def test_cora_comes_near_what_was_published():
    require("data")
    split = link_split(load_planetoid("cora"), generator=_generator())
    x, a_hat = fast_inputs(split.graph)
    torch.manual_seed(0)
    model = GAE(split.graph.num_features)
    options = {"sampled": True, "epochs": 120, "generator": _generator()}
    train_link_predictor(model, split, x=x, edge_index=a_hat, **options)
    points = model(x, a_hat)
    assert score_links(points, split.test_edges, split.test_non_edges)[0] > 0.86
