"""Videos the other way round: twice as many to follow things in, for the language model."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from .scenes import MOTIONS, SceneVideo

#: A sentence with one of these means something else in a mirrored video (or, for a right angle, is left out with them).
_SIDES = re.compile("left|right")


def mirrored(video: SceneVideo) -> SceneVideo:
    """The video with left and right exchanged, and those of its sentences that name neither.

    Frames and labels are views of the video's own.
    """
    right, left = MOTIONS.index("right"), MOTIONS.index("left")
    exchanged = np.arange(len(MOTIONS))
    exchanged[[right, left]] = left, right
    return replace(
        video,
        id=f"{video.id} mirrored",
        frames=video.frames[:, :, ::-1],
        labels=video.labels[:, :, ::-1],
        places=np.stack([1 - video.places[..., 0], video.places[..., 1]], -1),
        motion=exchanged[video.motion],
        sentences=tuple(s for s in video.sentences if not _SIDES.search(s.expression.text.lower())),
    )
