"""Zachary's karate club: 34 members, 78 friendships, and the split that everyone knows."""

from __future__ import annotations

from typing import Literal

import networkx as nx
import torch

from course_lib.data.graph import Graph

# The partition of largest modularity (0.4198) in 50 runs of the Louvain method, unweighted edges.
COMMUNITIES = (
    (0, 1, 2, 3, 7, 11, 12, 13, 17, 19, 21),
    (4, 5, 6, 10, 16),
    (8, 9, 14, 15, 18, 20, 22, 26, 29, 30, 32, 33),
    (23, 24, 25, 27, 28, 31),
)


def karate_club(labels: Literal["faction", "community"] = "faction") -> Graph:
    """The karate club as a graph with one labelled member a class.

    x is the identity [34, 34] (a member is known by its place in the graph only), edge_index is
    [2, 156] (78 friendships, both directions, weights left out). The training node of a class is
    its member with the most friends; the test nodes are all others; there is no validation set.

    Args:
        labels: "faction" for the two clubs after the split (0 the instructor's, 1 the
            president's), "community" for the four groups of largest modularity.

    Source: Zachary, An information flow model for conflict and fission in small groups, 1977; the
    edges are networkx's. Node 8 sided with the instructor although most of its friends did not.

    Raises ValueError for another `labels`.
    """
    club = nx.karate_club_graph()
    num_nodes = club.number_of_nodes()
    if labels == "faction":
        y = torch.tensor([int(club.nodes[node]["club"] == "Officer") for node in range(num_nodes)])
    elif labels == "community":
        y = torch.empty(num_nodes, dtype=torch.int64)
        for community, members in enumerate(COMMUNITIES):
            y[list(members)] = community
    else:
        raise ValueError(f'labels must be "faction" or "community", got {labels!r}')
    edges = torch.tensor(list(club.edges), dtype=torch.int64).t()  # [2, 78]
    both = torch.cat([edges, edges.flip(0)], dim=1)
    edge_index = both[:, torch.argsort(both[1] * num_nodes + both[0])]  # by target, then source
    degree = torch.bincount(edge_index[1], minlength=num_nodes)
    num_classes = int(y.max()) + 1
    train_mask = torch.zeros(num_nodes, dtype=torch.bool)
    for label in range(num_classes):
        train_mask[torch.where(y == label, degree, -1).argmax()] = True
    return Graph(
        x=torch.eye(num_nodes),
        edge_index=edge_index,
        y=y,
        train_mask=train_mask,
        val_mask=torch.zeros(num_nodes, dtype=torch.bool),
        test_mask=~train_mask,
        num_classes=num_classes,
        name="karate club",
        source="real",
    )
