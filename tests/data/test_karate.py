"""The karate club: counts that anyone can look up, and labels that explain its edges."""

import networkx as nx
import pytest
import torch

from course_lib.data import karate_club


def test_counts():
    club = karate_club()
    assert (club.num_nodes, club.num_edges, club.num_classes) == (34, 2 * 78, 2)
    assert torch.equal(club.x, torch.eye(34))
    assert torch.bincount(club.y).tolist() == [17, 17]
    assert club.source == "real"


def test_edges_are_both_directions_once_without_loops():
    source, target = karate_club().edge_index
    pairs = set(zip(source.tolist(), target.tolist()))
    assert len(pairs) == source.numel()
    assert pairs == {(b, a) for a, b in pairs}
    assert all(a != b for a, b in pairs)
    assert pairs == {pair for a, b in nx.karate_club_graph().edges for pair in ((a, b), (b, a))}


def test_one_label_a_class_and_the_leaders_hold_the_factions():
    factions = karate_club()
    assert factions.train_mask.nonzero().view(-1).tolist() == [0, 33]
    communities = karate_club("community")
    assert communities.num_classes == 4
    assert communities.y[communities.train_mask].sort().values.tolist() == [0, 1, 2, 3]
    for club in (factions, communities):
        assert not club.val_mask.any()
        assert torch.equal(club.test_mask, ~club.train_mask)


def test_communities_have_the_modularity_that_is_claimed():
    y = karate_club("community").y
    parts = [set((y == label).nonzero().view(-1).tolist()) for label in range(4)]
    modularity = nx.community.modularity(nx.karate_club_graph(), parts, weight=None)
    assert modularity == pytest.approx(0.4198, abs=1e-4)


def test_other_labels_are_refused():
    with pytest.raises(ValueError, match='"faction" or "community"'):
        karate_club("club")
