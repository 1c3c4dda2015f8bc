"""What a row of the video is asked about the thing that it shows: how it moves, whence it came, what happened to it.

Every row of a dense frame shows one thing or none. From the scene graph it is known what that thing has done up to
that frame. Asking the language model's lower layers for it, in ``TrackHead``, makes them follow things through time
before any sentence needs it: hundreds of questions a video whose words need not be understood. The head is not part of
the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from ..losses import IGNORE_INDEX
from .scenes import EVENTS, MOTIONS, NEVER, NOT_CLEAR, SceneVideo

#: What is asked of an event: has it happened, does it now (since two frames before), has it happened to anything yet,
#: and of one that has happened, was it the first of its kind, was it the last so far.
ASKED = ("happened", "now", "anywhere", "first", "last")
#: Weights. Few rows have events; places ten times as heavy keep motion from being seen.
EVENT_WEIGHT, RANK_WEIGHT, PLACE_WEIGHT = 2.0, 0.5, 2.0


@dataclass
class Tracks:
    """Facts about R rows; batches have a dimension in front.

    Attributes:
        motion: int64 (R,), index into ``MOTIONS``.
        places: float32 (R, 6): x and y two frames before, x and y where it was first seen, length of the way, and the
            time, as a share of the video.
        events: int64 (R, 8, 5), of ``EVENTS`` and ``ASKED``, 0 or 1.

    ``IGNORE_INDEX`` and NaN stand where a row shows nothing or a fact is too close to call.
    """

    motion: torch.Tensor
    places: torch.Tensor
    events: torch.Tensor


class TrackHead(nn.Module):
    """Asks rows for ``Tracks``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.motion, self.places = nn.Linear(width, len(MOTIONS)), nn.Linear(width, 6)
        self.events = nn.Linear(width, len(EVENTS) * len(ASKED))

    def forward(self, rows: torch.Tensor, tracks: Tracks) -> dict[str, torch.Tensor]:
        """Mean losses over what is known. rows: float (…, R, width)."""
        rows = self.norm(rows)
        motion = F.cross_entropy(self.motion(rows).flatten(0, -2), tracks.motion.flatten(), ignore_index=IGNORE_INDEX)
        there = ~tracks.places.isnan()
        places = (self.places(rows)[there] - tracks.places[there]).square().mean()
        events = self.events(rows).unflatten(-1, tracks.events.shape[-2:])
        asked = {name: _known(events[..., i], tracks.events[..., i]) for i, name in enumerate(ASKED)}
        return {
            "motion": motion,
            "places": PLACE_WEIGHT * places,
            "events": EVENT_WEIGHT * (asked["happened"] + asked["now"] + asked["anywhere"]),
            "ranks": RANK_WEIGHT * (asked["first"] + asked["last"]),
        }


def _known(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    known = answers != IGNORE_INDEX
    if not known.any():
        return logits.sum() * 0
    return F.binary_cross_entropy_with_logits(logits[known], answers[known].float())


def tracks_of(video: SceneVideo, frames: Sequence[int], side: int) -> Tracks:
    """Facts about every cell of a ``side`` x ``side`` grid over each of these frames, in the order of dense rows."""
    found = [_frame(video, t, side) for t in frames]
    motion, places, events = (np.concatenate(part) for part in zip(*found, strict=True))
    return Tracks(torch.from_numpy(motion), torch.from_numpy(places), torch.from_numpy(events))


def _frame(video: SceneVideo, t: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    cells = video.cells(t, side, side).ravel()
    shown, thing = cells > 0, cells - 1
    motion = np.where(shown & (t > 0), video.motion[thing, t], IGNORE_INDEX)
    time = np.full((len(cells), 1), t / len(video.frames))
    places = np.where(shown[:, None], np.concatenate([_whence(video, t)[thing], time], 1), np.nan).astype(np.float32)
    events = np.where(shown[:, None, None], _so_far(video.moments, t)[thing], IGNORE_INDEX)
    return motion, places, events


def _whence(video: SceneVideo, t: int) -> NDArray[np.float32]:
    """(n, 5), see ``Tracks.places``, without the time."""
    seen = video.places[:, : t + 1]
    first = seen[np.arange(len(seen)), (~np.isnan(seen[..., 0])).argmax(1)]
    steps = np.nan_to_num(np.linalg.norm(np.diff(seen, axis=1), axis=-1))
    return np.concatenate([seen[:, max(0, t - 2)], first, steps.sum(1, keepdims=True)], 1)


def _so_far(moments: NDArray[np.int64], t: int) -> NDArray[np.int64]:
    """(n, 8, 5), see ``Tracks.events``; first and last are asked of what has happened only."""
    clear = moments != NOT_CLEAR
    when = np.where(clear, moments, NEVER)
    happened = when <= t
    latest = np.where(happened, when, -1).max(0)
    anywhere = np.broadcast_to(happened.any(0), happened.shape)
    asked = np.stack([happened, happened & (when > t - 2), anywhere, when == when.min(0), when == latest], -1)
    known = np.stack([clear, clear, anywhere | clear.all(0), clear & happened, clear & happened], -1)
    return np.where(known, asked, IGNORE_INDEX).astype(np.int64)
