"""The procedural citation graph: what is asked for is what comes, and the task is worth a GCN."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_lib.data import Graph, citation_graph

SMALL = {"num_nodes": 200, "num_classes": 3, "num_features": 60, "words_per_node": 6.0}


def small_graph(**changes) -> Graph:
    return citation_graph(**(SMALL | {"avg_degree": 4.0, "labels_per_class": 5} | changes))


def same_class(graph: Graph) -> int:
    source, target = graph.edge_index
    return int((graph.y[source] == graph.y[target]).sum())


@settings(max_examples=60, deadline=None)
@given(
    num_nodes=st.integers(100, 300),
    num_classes=st.integers(2, 4),
    avg_degree=st.floats(0, 6),
    homophily=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_sizes_are_exact_and_edges_simple(num_nodes, num_classes, avg_degree, homophily, seed):
    graph = citation_graph(
        num_nodes,
        num_classes,
        50,
        avg_degree=avg_degree,
        homophily=homophily,
        words_per_node=5.0,
        labels_per_class=2,
        seed=seed,
    )
    count = round(num_nodes * avg_degree / 2)
    assert graph.num_edges == 2 * count
    assert same_class(graph) == 2 * round(homophily * count)
    source, target = graph.edge_index
    codes = target * num_nodes + source
    assert bool((codes[1:] > codes[:-1]).all())  # sorted by target, none twice
    assert bool((source != target).all())
    assert torch.equal((source * num_nodes + target).sort().values, codes)  # both directions
    assert set(graph.y.tolist()) == set(range(num_classes))
    assert torch.bincount(graph.y[graph.train_mask]).tolist() == [2] * num_classes
    assert bool(((graph.x == 0) | (graph.x == 1)).all())
    assert bool((graph.x.sum(dim=1) >= 1).all())


def test_the_same_seed_gives_the_same_graph_and_another_another():
    one, again, other = small_graph(seed=1), small_graph(seed=1), small_graph(seed=2)
    for field in ("x", "edge_index", "y", "train_mask", "val_mask", "test_mask"):
        assert torch.equal(getattr(one, field), getattr(again, field))
    assert not torch.equal(one.y, other.y)
    assert not torch.equal(one.edge_index, other.edge_index)


def test_homophily_and_degree_change_the_edges_and_nothing_else():
    low, high = small_graph(homophily=0.2), small_graph(homophily=0.9, avg_degree=6.0)
    assert not torch.equal(low.edge_index, high.edge_index)
    for field in ("x", "y", "train_mask", "val_mask", "test_mask"):
        assert torch.equal(getattr(low, field), getattr(high, field))


def test_there_are_hubs_and_hardly_an_isolated_paper():
    degree = torch.bincount(citation_graph().edge_index[1], minlength=2708)
    assert int(degree.max()) > 10 * 3.9
    assert int((degree == 0).sum()) < 0.01 * 2708


def test_the_number_of_words_is_near_what_is_asked():
    words = citation_graph(words_per_node=18.0).x.sum(dim=1)
    assert float(words.mean()) == pytest.approx(18.0, rel=0.03)
    assert float(words.var()) == pytest.approx(18.0, rel=0.15)  # Poisson


def test_split_sizes():
    graph = small_graph(label_rate=0.15, num_val=40, num_test=50)
    assert torch.bincount(graph.y[graph.train_mask]).tolist() == [10, 10, 10]
    assert (int(graph.val_mask.sum()), int(graph.test_mask.sum())) == (40, 50)
    by_default = small_graph()  # 185 papers are left
    assert (int(by_default.val_mask.sum()), int(by_default.test_mask.sum())) == (61, 124)
    large = citation_graph()
    assert (int(large.val_mask.sum()), int(large.test_mask.sum())) == (500, 1000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2"),
        ({"num_nodes": 5}, "num_nodes must be at least 2 a class"),
        ({"num_features": 5}, "num_features must be at least 2 a class"),
        ({"avg_degree": -1.0}, "avg_degree must not be negative"),
        ({"avg_degree": 150.0}, "too dense: .* edges within classes"),
        ({"avg_degree": 150.0, "homophily": 0.0}, "too dense: .* edges between classes"),
        ({"homophily": 1.2}, r"homophily must lie in 0\.\.1"),
        ({"misfiled": -0.1}, r"misfiled must lie in 0\.\.1"),
        ({"topic": -0.1}, r"topic must lie in 0\.\.1"),
        ({"words_per_node": 31.0}, "words_per_node must lie between 0 and num_features / 2 = 30"),
        ({"label_rate": 1.0}, "label_rate must lie between 0 and 1"),
        ({"labels_per_class": 150}, "150 labels a class asked, but a class has"),
        ({"labels_per_class": 0}, "0 labels a class asked"),
        ({"num_val": 100, "num_test": 100}, "185 nodes are left"),
        ({"num_val": 190}, "185 nodes are left"),
    ],
)
def test_wrong_arguments_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        small_graph(**changes)


def accuracy_of_nearest_mean(graph: Graph, features: torch.Tensor) -> float:
    """Classify by the nearest class mean (by cosine) of the training nodes."""
    features = torch.nn.functional.normalize(features)
    means = torch.stack(
        [features[graph.train_mask & (graph.y == c)].mean(0) for c in range(graph.num_classes)]
    )
    guess = (features @ torch.nn.functional.normalize(means).t()).argmax(dim=1)
    return float((guess == graph.y)[graph.test_mask].double().mean())


def neighborhood_sum(graph: Graph, features: torch.Tensor) -> torch.Tensor:
    source, target = graph.edge_index
    return features.index_add(0, target, features[source])


def test_words_tell_something_and_neighbors_tell_more():
    graph = citation_graph(misfiled=0.25, seed=3)
    alone = accuracy_of_nearest_mean(graph, graph.x)
    once = neighborhood_sum(graph, graph.x)
    together = accuracy_of_nearest_mean(graph, neighborhood_sum(graph, once))
    assert 0.35 < alone < 0.7
    assert alone + 0.15 < together < 0.92


def test_misfiled_papers_read_and_cite_elsewhere():
    plain, hard = citation_graph(seed=3), citation_graph(misfiled=0.25, seed=3)
    assert accuracy_of_nearest_mean(hard, hard.x) < accuracy_of_nearest_mean(plain, plain.x) - 0.15
    assert torch.equal(plain.y, hard.y) and plain.num_edges == hard.num_edges


def test_without_homophily_neighbors_mislead():
    graph = citation_graph(homophily=0.05, seed=3)
    alone = accuracy_of_nearest_mean(graph, graph.x)
    assert accuracy_of_nearest_mean(graph, neighborhood_sum(graph, graph.x)) < alone


@pytest.mark.parametrize("homophily", [0.0, 1.0])
def test_a_dense_graph_is_found_up_to_the_bound_that_is_stated(homophily):
    sizes = torch.bincount(small_graph().y)
    within = int((sizes * (sizes - 1)).sum()) // 2
    possible = within if homophily else 200 * 199 // 2 - within
    degree = (possible // 2) / 100
    assert small_graph(avg_degree=degree, homophily=homophily).num_edges == 2 * (possible // 2)
    with pytest.raises(ValueError, match="too dense"):
        small_graph(avg_degree=degree + 0.01, homophily=homophily)
