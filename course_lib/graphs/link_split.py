"""Hide some edges of a graph, so that what predicts them has never seen them.

An undirected edge stands in edge_index twice. Who hides one direction and passes messages along
the other has told the model the answer; who draws his "negatives" carelessly asks it to deny
edges that are there. `link_split` does neither.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from course_lib.data.graph import Graph
from course_lib.graphs.message_passing import check_edge_index

__all__ = ["LinkSplit", "NonEdges", "link_split"]


@dataclasses.dataclass(frozen=True, eq=False)
class LinkSplit:
    """An undirected graph without its held-out edges, and the pairs to be told apart.

    Every pair (u, v) of the four lists stands once, with u < v. No pair is in two of them.

    Args:
        graph: the graph to pass messages on and to train on: neither direction of a held-out edge
            is in its edge_index [2, E_train], which is sorted by target, then source.
        val_edges, test_edges: int64 [2, V] and [2, T], edges of the whole graph.
        val_non_edges, test_non_edges: int64 [2, V] and [2, T], pairs of two different nodes that
            are no edge of the whole graph: as many as there are edges beside them.
    """

    graph: Graph
    val_edges: Tensor
    val_non_edges: Tensor
    test_edges: Tensor
    test_non_edges: Tensor

    def to(self, device: torch.device | str) -> LinkSplit:
        """The same split with all its tensors on `device`."""
        moved = {f.name: getattr(self, f.name).to(device) for f in dataclasses.fields(self)}
        return LinkSplit(**moved)


class NonEdges:
    """The ordered pairs (u, v), u != v, that no edge joins in either direction; to draw from.

    Write pair (u, v) as the number u N + v. Take from 0 .. N^2 - 1 the sorted numbers t_0 < t_1 <
    ... of the edges, of their reverses and of the self-loops. Then t_i - i pairs below t_i are
    free, so the free pair of rank r is r + (how many i have t_i - i <= r): one binary search a
    draw, and no draw is ever thrown away.

    Args:
        edge_index: int64 [2, E], in one direction or in both.
        num_nodes: N.
    """

    def __init__(self, edge_index: Tensor, num_nodes: int) -> None:
        check_edge_index(edge_index, num_nodes)
        loops = torch.arange(num_nodes, device=edge_index.device) * (num_nodes + 1)
        codes = [_codes(edge_index, num_nodes), _codes(edge_index.flip(0), num_nodes), loops]
        taken = torch.cat(codes).unique()  # sorted
        self.num_nodes = num_nodes
        self._free_below = taken - torch.arange(taken.numel(), device=taken.device)

    def __len__(self) -> int:
        """How many ordered pairs there are: twice the number of unordered ones."""
        return self.num_nodes**2 - self._free_below.numel()

    def draw(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """`count` pairs, uniformly and with replacement: int64 [2, count].

        Drawn where the generator lives: a CPU generator gives one stream on all devices.
        Raises ValueError where every two nodes are joined.
        """
        if len(self) == 0 and count > 0:
            raise ValueError(
                f"all pairs of the {self.num_nodes} nodes are edges: there is no pair to draw"
            )
        device = self._free_below.device
        source = device if generator is None else generator.device
        rank = torch.randint(max(len(self), 1), (count,), generator=generator, device=source)
        rank = rank.to(device)
        code = rank + torch.searchsorted(self._free_below, rank, right=True)
        return _pairs(code, self.num_nodes)


def link_split(
    graph: Graph,
    validation: float = 0.05,
    test: float = 0.10,
    generator: torch.Generator | None = None,
) -> LinkSplit:
    """Hold out edges for validation and testing, and as many pairs that are no edges.

    The split of Kipf & Welling (2016, https://arxiv.org/abs/1611.07308): of the E undirected edges
    floor(test E) are for testing, floor(validation E) for validation. All is drawn uniformly
    without replacement, here and once: what the generator's seed fixes is the same on every device.
    Doubled edges count once. Self-loops are no links: they are left out.

    Args:
        graph: undirected, each edge in both directions.
        validation, test: shares of the edges, at least 0 and below 1 in all.
        generator: on the CPU; torch's own without it.

    Raises:
        ValueError: the graph is directed; a share is out of range; no edge is left to train on; the
            graph is so dense that it has fewer non-edges than are to be drawn.
    """
    if not (validation >= 0 and test >= 0 and validation + test < 1):
        raise ValueError(
            "validation and test are shares of the edges, at least 0 and together below 1, got "
            f"{validation} and {test}"
        )
    num_nodes, edge_index = graph.num_nodes, graph.edge_index.cpu()
    edges = _undirected_edges(edge_index, num_nodes)  # [2, E], source < target
    num_edges = edges.size(1)
    num_val, num_test = (math.floor(share * num_edges + 1e-9) for share in (validation, test))
    if num_val + num_test >= num_edges:
        raise ValueError(
            f"{num_edges} edges leave none to train on beside {num_val} for validation and "
            f"{num_test} for testing: give a graph with more edges, or smaller shares"
        )
    edges = edges[:, torch.randperm(num_edges, generator=generator)]
    held_out, train = edges.tensor_split([num_val + num_test], dim=1)
    non_edges = _draw_distinct(NonEdges(edge_index, num_nodes), num_val + num_test, generator)
    both = torch.cat([train, train.flip(0)], dim=1)
    by_target = _codes(both.flip(0), num_nodes).argsort()
    return LinkSplit(
        dataclasses.replace(graph.to("cpu"), edge_index=both[:, by_target]),
        *(part[:, :num_val] for part in (held_out, non_edges)),
        *(part[:, num_val:] for part in (held_out, non_edges)),
    ).to(graph.edge_index.device)


def _codes(pairs: Tensor, num_nodes: int) -> Tensor:
    """The number u N + v of each pair: [2, M] -> [M]."""
    return pairs[0] * num_nodes + pairs[1]


def _pairs(codes: Tensor, num_nodes: int) -> Tensor:
    """The pair of each number u N + v: [M] -> [2, M]."""
    return torch.stack([codes // num_nodes, codes % num_nodes])


def _undirected_edges(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Each edge once, source < target, without self-loops: [2, E]."""
    there, back = (_codes(e, num_nodes).unique() for e in (edge_index, edge_index.flip(0)))
    if not torch.equal(there, back):
        raise ValueError(
            "the graph is directed, and the split is of undirected edges: add the reverse edges "
            "with torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)"
        )
    edges = _pairs(there, num_nodes)
    return edges[:, edges[0] < edges[1]]


def _draw_distinct(non_edges: NonEdges, count: int, generator: torch.Generator | None) -> Tensor:
    """`count` different unordered pairs, u < v, in random order: [2, count].

    Pairs are drawn until there are enough different ones. No pair is treated unlike another, so
    every set of that size is equally likely, and so is every choice of `count` from it.
    """
    if 2 * count > len(non_edges):
        raise ValueError(
            f"{count} pairs that are no edge are wanted, but the graph has {len(non_edges) // 2}: "
            "hold out a smaller share of the edges"
        )
    num_nodes = non_edges.num_nodes
    found = torch.empty(0, dtype=torch.int64)
    while found.numel() < count:
        drawn = non_edges.draw(count, generator).sort(dim=0).values  # u < v
        found = torch.cat([found, _codes(drawn, num_nodes)]).unique()
    chosen = torch.randperm(found.numel(), generator=generator)[:count]
    return _pairs(found[chosen], num_nodes)
