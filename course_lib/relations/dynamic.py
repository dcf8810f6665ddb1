"""Relations that change: the graph is inferred anew from a window of frames that moves along.

An encoder that was trained on stretches of W frames reads frames t - W + 1 .. t and gives the graph at t.
For a walk or a play, whose relations are not the same throughout: the edges become a film. A prediction
that asks for the graph again on its way is `NRI.rollout(states, steps, every=...)`.

Axes: S simulations, N bodies, T frames, D features, E = N (N - 1) edges in the order of
`complete_graph(N)`, K types of edges.

Source: Kipf, Fetaya, Wang, Welling and Zemel, Neural relational inference for interacting systems, 2018,
https://arxiv.org/abs/1802.04687, section 5.2 (motion capture).
"""

from __future__ import annotations

from torch import Tensor

from course_lib.relations.nri_model import NRI

__all__ = ["moving_edges"]


def moving_edges(
    model: NRI, states: Tensor, window: int, every: int = 1, batch_size: int = 1000
) -> Tensor:
    """q(z | x) of every window: states [S, N, T, D] -> [S, V, E, K], V = (T - W) // every + 1.

    Entry v is inferred from frames v every .. v every + W - 1, so it is the graph as known at frame
    v every + W - 1. Without gradient and in evaluation mode.

    Args:
        window: W, the frames the encoder was trained on.
        every: frames from one window to the next.

    Raises:
        ValueError: for a window longer than the states, or `every` below 1.
    """
    if states.dim() != 4 or not 1 <= window <= states.size(2):
        raise ValueError(
            f"window must be 1 .. T frames of states [S, N, T, D], got {window} and "
            f"{list(states.shape)}"
        )
    if every < 1:
        raise ValueError(f"every must be at least 1 frame, got {every}")
    windows = states.unfold(2, window, every).permute(0, 2, 1, 4, 3)  # [S, V, N, W, D]
    found = model.edge_probabilities(windows.flatten(0, 1), batch_size)
    return found.unflatten(0, windows.shape[:2])
