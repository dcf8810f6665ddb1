"""Real plays: a reader for the optical tracking of basketball games, where you have a file of it.

The format is the JSON that professional games of 2015 and 2016 were published in; no such file comes
with the course, whose own plays are in `sports`. One file is one game:

    {"gameid": ..., "gamedate": ...,
     "events": [
       {"eventId": ..., "home": {...}, "visitor": {...},
        "moments": [
          [quarter, unix_ms, game_clock, shot_clock, null,
           [[-1, -1, x, y, z],                        the ball: its z is its height
            [team_id, player_id, x, y, 0], ...]],     the ten players
          ... 25 moments a second ...]},
       ...]}

x runs along the court, 0 .. 94 feet, y across it, 0 .. 50 feet; the clocks count seconds down. The events
overlap: the end of one often is the beginning of the next.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from course_lib.data.array_pickle import MalformedFile

__all__ = ["Tracking", "read_tracking"]

LENGTH, WIDTH = 94.0, 50.0  # of the court, in feet
RATE = 25  # moments a second
BALL = -1  # the ball's player_id


class Tracking(NamedTuple):
    """One event: states [1 + P, T, 4] and who they are.

    states holds x, y in feet and vx, vy in feet per second, on the half court x = 0 .. 47 (as the
    plays of `sports`); bodies the ids in its order, the ball's -1 first; clock float64 [T], seconds
    left in the quarter.
    """

    states: Tensor
    bodies: tuple[int, ...]
    clock: Tensor


def read_tracking(
    path: Path | str, event: int = 0, players: Sequence[int] | None = None, every: int = 4
) -> Tracking:
    """The ball and some players of one event, as states on the half court they play on.

    Args:
        path: a game, as above.
        event: its place in the file's list, from 0.
        players: player_ids in the order wanted, for a pick-and-roll the handler, the screener and
            the two who guard them; None for all of the first moment, in its order.
        every: moments a frame; 4 gives 6.25 frames a second. Velocities are central differences
            over two such frames, one-sided at the ends.

    Moments that lack one of the bodies are left out. Where the play is on the far half, the court is
    turned by half a turn, so that the basket always is at x = 5.25, y = 25.

    Raises:
        ValueError: where the file has no such event or player, or `every` is below 1.
        MalformedFile: where the file is not of the format above, or fewer than two frames are left.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1 moment a frame, got {every}")
    moments = _moments(Path(path), event)
    try:
        rows = [(moment[2], {body[1]: body[2:4] for body in moment[5]}) for moment in moments]
        known = list(rows[0][1]) if rows else []
        if players is not None and (missing := set(players) - {b for _, row in rows for b in row}):
            raise ValueError(
                f"{path}, event {event}: no player {sorted(missing)}, it has {sorted(known)}"
            )
        bodies = (BALL, *(b for b in (known if players is None else players) if b != BALL))
        kept = [(clock, row) for clock, row in rows if all(b in row for b in bodies)][::every]
        clock = torch.tensor([clock for clock, _ in kept], dtype=torch.float64)
        places = torch.tensor([[row[b] for b in bodies] for _, row in kept], dtype=torch.float64)
    except (TypeError, IndexError, KeyError) as error:
        raise MalformedFile(
            f"{path}, event {event}: a moment must be [quarter, unix_ms, game_clock, shot_clock, "
            f"null, [[team_id, player_id, x, y, z], ...]] ({type(error).__name__}: {error})"
        ) from None
    if len(kept) < 2:
        raise MalformedFile(f"{path}, event {event}: {len(kept)} frames have all of {bodies}")
    position = places.transpose(0, 1)  # [T, 1 + P, 2] -> [1 + P, T, 2]
    if position[..., 0].mean() > LENGTH / 2:
        position = position.new_tensor([LENGTH, WIDTH]) - position
    velocity = torch.gradient(position, spacing=every / RATE, dim=1)[0]
    return Tracking(torch.cat([position, velocity], 2), bodies, clock)


def _moments(path: Path, event: int) -> list[Any]:
    try:
        events = json.loads(path.read_text(encoding="utf-8"))["events"]
        count = len(events)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise MalformedFile(
            f"{path} must be JSON with a list of events ({type(error).__name__}: {error})"
        ) from None
    if not 0 <= event < count:
        raise ValueError(f"{path} has {count} events, counted from 0: there is no event {event}")
    try:
        moments = events[event]["moments"]
    except (KeyError, TypeError):
        moments = None
    if not isinstance(moments, list):
        raise MalformedFile(f"{path}, event {event}: it has no list of moments")
    return moments
