"""A procedural citation network: a stochastic block model with hubs, and a sparse bag of words."""

from __future__ import annotations

import numpy as np
import torch
from numpy.random import Generator

from course_lib.data.graph import Graph

HUB_EXPONENT = 1.8  # tail of the propensities to be cited: P(theta > t) = t^-1.8
MISFILED_WITHIN = 0.15  # how readily those cite within their field, the others being 1
FILED_BETWEEN = 0.05  # how readily the others cite outside their field, the misfiled being 1
MAX_ROUNDS = 40  # of drawing edges; each asks only for what is still missing


def citation_graph(
    num_nodes: int = 2708,
    num_classes: int = 7,
    num_features: int = 1433,
    *,
    avg_degree: float = 3.9,
    homophily: float = 0.81,
    words_per_node: float = 18.0,
    topic: float = 0.47,
    misfiled: float = 0.0,
    labels_per_class: int = 20,
    label_rate: float | None = None,
    num_val: int | None = None,
    num_test: int | None = None,
    seed: int = 0,
    name: str = "citation graph",
) -> Graph:
    """Papers of C fields that cite each other, mostly within their field.

    Edges: round(N avg_degree / 2) undirected ones, no loop and none twice. Exactly the share
    `homophily` of them (rounded to an edge) joins two papers of one field; the ends are drawn in
    proportion to a heavy-tailed propensity theta, so that there are hubs (a degree-corrected
    stochastic block model, Karrer and Newman 2011). Every paper is given one edge first, as far as
    the edges reach, so few are isolated.

    Words: a paper has about `words_per_node` different words of F (Poisson), each drawn from its
    field's own vocabulary with probability `topic`, from the common one otherwise; both are
    Zipf-distributed. x is 0/1, float32 [N, F].

    A share `misfiled` of the papers is filed in one field, but reads like a second one and holds
    most of the citations between fields: labels that neither words nor neighbours give away, as
    real ones have.

    Split: `labels_per_class` training papers a field (or, given `label_rate`, that share of all
    papers, spread evenly), then `num_val` and `num_test` of the others, by default 500 and 1000
    where there are enough: at most a third of the rest, and what remains.

    The same arguments give the same graph, and classes, edges, words and split have streams of
    random numbers of their own: another `homophily` changes the edges and nothing else. Time and
    memory are O(N F) for the dense x, and O(E log E) for the rest.

    Raises ValueError for an argument out of range, and for a graph too dense or a split too large.
    """
    _validate(num_nodes, num_classes, num_features, avg_degree, words_per_node)
    shares = {"homophily": homophily, "topic": topic, "misfiled": misfiled}
    for label, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{label} must lie in 0..1, got {share}")
    if label_rate is not None:
        if not 0 < label_rate < 1:
            raise ValueError(f"label_rate must lie between 0 and 1, got {label_rate}")
        labels_per_class = max(1, round(label_rate * num_nodes / num_classes))
    for_classes, for_edges, for_words, for_split = np.random.default_rng(seed).spawn(4)
    y = _classes(num_nodes, num_classes, for_classes)
    second = (y + for_classes.integers(1, num_classes, num_nodes)) % num_classes
    elsewhere = for_classes.uniform(size=num_nodes) < misfiled
    num_edges = round(num_nodes * avg_degree / 2)
    edge_index = _edges(y, second, elsewhere, num_edges, homophily, for_edges)
    field = np.where(elsewhere, second, y)
    x = _words(field, num_classes, num_features, words_per_node, topic, for_words)
    train, val, test = _split(y, num_classes, labels_per_class, num_val, num_test, for_split)
    return Graph(
        x=torch.from_numpy(x),
        edge_index=torch.from_numpy(edge_index),
        y=torch.from_numpy(y),
        train_mask=torch.from_numpy(train),
        val_mask=torch.from_numpy(val),
        test_mask=torch.from_numpy(test),
        num_classes=num_classes,
        name=name,
        source="twin",
    )


def _validate(
    num_nodes: int,
    num_classes: int,
    num_features: int,
    avg_degree: float,
    words_per_node: float,
) -> None:
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    if num_nodes < 2 * num_classes:
        raise ValueError(
            f"num_nodes must be at least 2 a class, got {num_nodes} for {num_classes} classes"
        )
    if num_features < 2 * num_classes:
        raise ValueError(
            f"num_features must be at least 2 a class, got {num_features} for {num_classes} classes"
        )
    if avg_degree < 0:
        raise ValueError(f"avg_degree must not be negative, got {avg_degree}")
    if not 0 < words_per_node <= num_features / 2:
        raise ValueError(
            f"words_per_node must lie between 0 and num_features / 2 = {num_features / 2:g}, "
            f"got {words_per_node}"
        )


def _classes(num_nodes: int, num_classes: int, rng: Generator) -> np.ndarray:
    """Classes [N] of unequal sizes: a share of 0.5 to 1.5 times the mean, at least two nodes."""
    share = rng.uniform(0.5, 1.5, num_classes)
    bounds = np.cumsum(share / share.sum()) * (num_nodes - 2 * num_classes)
    rest = np.searchsorted(bounds, np.arange(num_nodes - 2 * num_classes), side="right")
    rest = np.minimum(rest, num_classes - 1)
    return rng.permutation(np.concatenate([np.repeat(np.arange(num_classes), 2), rest]))


def _edges(
    y: np.ndarray,
    second: np.ndarray,
    misfiled: np.ndarray,
    num_edges: int,
    homophily: float,
    rng: Generator,
) -> np.ndarray:
    """Both directions of `num_edges` distinct pairs, int64 [2, 2 num_edges], by target."""
    num_nodes = y.size
    theta = rng.uniform(size=num_nodes) ** (-1 / HUB_EXPONENT)
    within = round(homophily * num_edges)
    # Each paper cites one other, as far as the edges reach; the misfiled ones do so elsewhere.
    first = rng.permutation(num_nodes)
    first = first[np.argsort(misfiled[first], kind="stable")]
    cut = round(homophily * num_nodes)
    outward = theta * np.where(misfiled, 1, FILED_BETWEEN)
    inward = theta * np.where(misfiled, MISFILED_WITHIN, 1)
    pairs = np.concatenate(
        [
            _pairs(y, None, inward, first[:cut], within, rng),
            _pairs(y, second, outward, first[cut:], num_edges - within, rng),
        ]
    )
    low, high = pairs // num_nodes, pairs % num_nodes
    both = np.stack([np.concatenate([low, high]), np.concatenate([high, low])])
    return np.ascontiguousarray(both[:, np.lexsort(both)])  # by target, then source


def _pairs(
    y: np.ndarray,
    second: np.ndarray | None,
    weight: np.ndarray,
    first: np.ndarray,
    count: int,
    rng: Generator,
) -> np.ndarray:
    """`count` distinct pairs, coded low * N + high: within classes, or to the `second` class.

    Rejection sampling. Round k draws with weights weight^(1/k), and from round 2 on between any
    two classes: should the hubs be used up, half the pairs of a dense graph are still found.
    """
    num_nodes, sizes = y.size, np.bincount(y).astype(np.int64)
    possible = int((sizes * (sizes - 1) // 2).sum())
    if second is not None:
        possible = num_nodes * (num_nodes - 1) // 2 - possible
    if count > possible // 2:
        raise ValueError(
            f"the graph is too dense: {count:,} edges {'within' if second is None else 'between'} "
            f"classes asked, and at most half of the {possible:,} pairs can be drawn; lower "
            "avg_degree or change homophily"
        )
    order = np.argsort(y, kind="stable")  # nodes of a class side by side
    ends = np.cumsum(sizes)
    found = np.empty(0, dtype=np.int64)
    for step in range(1, MAX_ROUNDS + 1):
        missing = count - found.size
        if missing <= 0:
            break
        mass = np.concatenate([[0.0], np.cumsum(weight[order] ** (1 / step))])
        source = order[_draw(mass, np.zeros(2 * missing), np.full(2 * missing, mass[-1]), rng)]
        if step == 1:
            source = np.concatenate([first, source])
        if second is None:
            field = y[source]
        elif step == 1:
            field = second[source]
        else:
            field = (y[source] + rng.integers(1, sizes.size, source.size)) % sizes.size
        target = order[_draw(mass, mass[ends[field] - sizes[field]], mass[ends[field]], rng)]
        valid = source != target
        low, high = np.minimum(source, target)[valid], np.maximum(source, target)[valid]
        found = _distinct(np.concatenate([found, low * num_nodes + high]))
    if found.size < count:
        raise ValueError("the graph is too dense for its classes: lower avg_degree")
    return found[:count]


def _draw(mass: np.ndarray, start: np.ndarray, stop: np.ndarray, rng: Generator) -> np.ndarray:
    """Positions drawn in proportion to the steps of `mass`, between `start` and `stop`."""
    point = start + rng.uniform(size=start.size) * (stop - start)
    return np.minimum(np.searchsorted(mass, point, side="right") - 1, mass.size - 2)


def _distinct(values: np.ndarray) -> np.ndarray:
    """The values without repetition, in the order of first appearance."""
    return values[np.sort(np.unique(values, return_index=True)[1])]


def _words(
    field: np.ndarray,
    num_classes: int,
    num_features: int,
    words_per_node: float,
    topic: float,
    rng: Generator,
) -> np.ndarray:
    """Bag of words, float32 0/1 [N, F], at least one word a node."""
    wanted = np.clip(rng.poisson(words_per_node, field.size), 1, num_features // 2)
    node = np.repeat(np.arange(field.size), 3 * wanted)  # spare draws, since words repeat
    vocabulary = num_features // num_classes
    shuffled = rng.permutation(num_features)  # field c's words: places c, c + C, c + 2C, ...
    own = shuffled[_zipf(vocabulary, node.size, rng) * num_classes + field[node]]
    common = rng.permutation(num_features)[_zipf(num_features, node.size, rng)]
    word = np.where(rng.uniform(size=node.size) < topic, own, common)
    pairs = _distinct(node * num_features + word)  # still by node
    node, word = pairs // num_features, pairs % num_features
    start = np.searchsorted(node, np.arange(field.size))
    kept = np.arange(node.size) - start[node] < wanted[node]
    x = np.zeros((field.size, num_features), dtype=np.float32)
    x[node[kept], word[kept]] = 1
    return x


def _zipf(size: int, count: int, rng: Generator) -> np.ndarray:
    """`count` ranks in 0..size-1, rank r with weight 1 / (r + 10)."""
    mass = np.concatenate([[0.0], np.cumsum(1 / (np.arange(size) + 10))])
    return _draw(mass, np.zeros(count), np.full(count, mass[-1]), rng)


def _split(
    y: np.ndarray,
    num_classes: int,
    labels_per_class: int,
    num_val: int | None,
    num_test: int | None,
    rng: Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Disjoint masks bool [N]: training (the same number a class), validation, test."""
    sizes = np.bincount(y, minlength=num_classes)
    if not 1 <= labels_per_class <= sizes.min():
        raise ValueError(
            f"{labels_per_class} labels a class asked, but a class has {sizes.min()} nodes: lower "
            "labels_per_class or label_rate, or raise num_nodes"
        )
    shuffled = rng.permutation(y.size)
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    rank = np.arange(y.size) - (np.cumsum(sizes) - sizes)[y[by_class]]
    train = by_class[rank < labels_per_class]
    rest = rng.permutation(by_class[rank >= labels_per_class])
    num_val = min(500, rest.size // 3) if num_val is None else num_val
    num_test = min(1000, rest.size - num_val) if num_test is None else num_test
    if min(num_val, num_test) < 0 or num_val + num_test > rest.size:
        raise ValueError(
            f"num_val + num_test = {num_val} + {num_test} asked, but {rest.size} nodes are left "
            "after the training nodes"
        )
    masks = np.zeros((3, y.size), dtype=bool)
    masks[0, train] = True
    masks[1, rest[:num_val]] = True
    masks[2, rest[num_val : num_val + num_test]] = True
    return masks[0], masks[1], masks[2]
