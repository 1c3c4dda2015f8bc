"""Let a model in any environment be measured by rvos: copy this one file beside it. Python 3.8 and later.

    from worker_client import serve

    def segment(video, expressions):
        frames = [my_reader(path) for path in video.frames]
        for expression in expressions:
            for index, mask in enumerate(my_model(frames, expression.text)):
                yield expression.id, index, mask

    serve(segment)

and ``rvos predict "worker:python my_worker.py" mevis/valid_u --out runs/mine``. The messages are described in
docs/workers.md of rvos.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections import namedtuple
from typing import Any

PROTOCOL = 1

Video = namedtuple("Video", "id height width fps frames frame_names")
Video.__doc__ = """A video: ``frames`` are the image files' paths in temporal order, ``fps`` may be None."""
Expression = namedtuple("Expression", "id text kind")
Expression.__doc__ = """A sentence: its id, its text, and ``referring`` or ``reasoning``."""


def serve(segment: Any, name: str | None = None, frames: str = "paths", timeout: float = 600.0) -> None:
    """Answer requests until rvos closes the connection. Call it once the model is loaded, as the last line.

    Args:
        segment: ``segment(video, expressions)`` yields (expression id, frame index, mask) for every sentence and frame,
            in any order. A mask is an array, a tensor or nested lists of the video's height and width, true or > 0
            on the object; or a dictionary ``{"counts": ...}`` (COCO RLE, a list or the compressed string) or
            ``{"png": path}``.
        name: of the model, for the record.
        frames: ``paths`` of the data set's own images, whatever their format; or ``png`` or ``jpeg`` files, which rvos
            writes where the images have another format or come out of a video file.
        timeout: so many seconds may pass between two masks before rvos takes this process for hung.
    """
    # Whatever the model prints must not mix with the messages, even where C code prints it.
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    _say(messages, type="ready", protocol=PROTOCOL, name=name, frames=frames, timeout=timeout)
    for line in requests:
        request = json.loads(line)
        video = Video(*(request[field] for field in ("video_id", "height", "width", "fps", "frames", "frame_names")))
        expressions = [Expression(e["id"], e["text"], e["kind"]) for e in request["expressions"]]
        number = request["request"]
        try:
            for expression_id, index, mask in segment(video, expressions):
                _say(
                    messages, type="mask", request=number, expression_id=expression_id, frame=int(index), **_mask(mask)
                )
        except Exception as error:
            traceback.print_exc()
            _say(messages, type="error", request=number, message=f"{type(error).__name__}: {error}")
        else:
            _say(messages, type="done", request=number)


def encode(mask: Any) -> list[int]:
    """The COCO RLE counts, column by column and background first, of an array, a tensor or nested lists (H, W)."""
    if hasattr(mask, "detach"):
        mask = mask.detach().cpu().numpy()
    if hasattr(mask, "ravel"):
        return _encode_array(mask)
    counts: list[int] = []
    value, length = False, 0
    for column in zip(*mask):  # noqa: B905 (Python 3.8)
        for pixel in column:
            if (pixel > 0) != value:
                counts.append(length)
                value, length = not value, 0
            length += 1
    return [*counts, length]


def _encode_array(mask: Any) -> list[int]:
    flat = (mask > 0).T.ravel()
    changes = [int(place) + 1 for place in (flat[1:] != flat[:-1]).nonzero()[0]]
    edges = [*([0] if flat[0] else []), 0, *changes, len(flat)]
    return [edges[i + 1] - edges[i] for i in range(len(edges) - 1)]


def _mask(mask: Any) -> dict[str, Any]:
    if isinstance(mask, dict):
        return mask
    return {"counts": encode(mask), "size": [len(mask), len(mask[0])]}


def _say(messages: Any, **message: Any) -> None:
    messages.write(json.dumps(message) + "\n")
    messages.flush()
