"""How an inferred graph is judged: the share of right edges, and how far its predictions stray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import torch
from torch import Tensor, nn

__all__ = ["best_relabelling", "edge_accuracy", "rollout_mse"]

MOST_TYPES = 7  # 7! = 5040 permutations are tried


def best_relabelling(predicted: Tensor, true: Tensor, keep_first: bool = False) -> Tensor:
    """The permutation p of types for which p[predicted] agrees most often with true: int64 [K].

    A model that was not told the types has its own numbers for them. It has one numbering, so there is
    one permutation for the whole test set: chosen graph by graph it would make a coin's guess look good
    (about 62 % on 10 edges).

    Args:
        predicted, true: int64 of one shape, types 0 .. K - 1, K the largest of either plus one.
        keep_first: type 0 is known ("no edge", skipped by the decoder) and stays what it is.

    Raises ValueError for shapes that differ, no edges, or more than 7 types.
    """
    _check_types(predicted, true)
    types = int(torch.maximum(predicted.max(), true.max())) + 1
    if types > MOST_TYPES:
        raise ValueError(f"at most {MOST_TYPES} types can be relabelled, got {types}")
    together = torch.bincount((predicted * types + true).flatten(), minlength=types**2)
    counts = together.view(types, types).tolist()  # [predicted, true]
    kept = (0,) if keep_first else ()
    choices = [kept + rest for rest in permutations(range(len(kept), types))]
    best = max(choices, key=lambda p: sum(counts[k][p[k]] for k in range(types)))
    return torch.tensor(best, device=predicted.device)


def edge_accuracy(
    predicted: Tensor, true: Tensor, relabel: bool = True, keep_first: bool = False
) -> float:
    """The share of pairs whose type is right, after the best relabelling of the whole test set.

    Args:
        predicted: types, int64 [S, E], or logits or probabilities [S, E, K], whose largest counts.
        true: types, int64 [S, E].
        relabel: False for an encoder that was taught the types, or whose type 0 of 2 is "no edge".
        keep_first: of more than two types only type 0 is fixed; see `best_relabelling`.

    Raises ValueError as `best_relabelling`.
    """
    if torch.is_floating_point(predicted):
        predicted = predicted.argmax(-1)
    _check_types(predicted, true)
    if relabel:
        predicted = best_relabelling(predicted, true, keep_first)[predicted]
    return (predicted == true).double().mean().item()


def rollout_mse(
    model: nn.Module | Callable[[Tensor, int], Tensor],
    states: Tensor,
    steps: Sequence[int] = (1, 10, 20),
    seen: int | None = None,
) -> dict[int, float]:
    """Mean squared error 1, 10, 20 frames after the last one seen, over simulations, bodies, features.

    Args:
        model: with rollout(states [S, N, seen, D], steps) -> [S, N, steps, D], as `NRI` and
            `LSTMBaseline` have; or a function with these arguments.
        states: [S, N, T, D].
        steps: the horizons h, in frames.
        seen: how many frames the model is shown, the first ones. None: all but the last max(steps).

    Returns:
        {h: error at frame seen - 1 + h}, in the states' units squared.

    Raises ValueError where fewer than seen + max(steps) frames are there.
    """
    furthest, frames = max(steps), states.size(2)
    seen = frames - furthest if seen is None else seen
    if min(steps) < 1 or seen < 1 or seen + furthest > frames:
        raise ValueError(
            f"{seen} frames to see and {furthest} to predict need {seen + furthest} frames, got "
            f"{frames}: simulate more, or see or predict fewer"
        )
    rollout = model.rollout if isinstance(model, nn.Module) else model
    with torch.no_grad():
        ahead = rollout(states[:, :, :seen], furthest)
    error = (ahead - states[:, :, seen : seen + furthest]).square().mean((0, 1, 3))  # [furthest]
    return {step: float(error[step - 1]) for step in steps}


def _check_types(predicted: Tensor, true: Tensor) -> None:
    if predicted.shape != true.shape or true.numel() == 0:
        raise ValueError(
            "predicted and true must be types of one shape [S, E], got "
            f"{list(predicted.shape)} and {list(true.shape)}: logits have floating dtype and one axis more"
        )
