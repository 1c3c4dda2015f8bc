"""Propagation as a job: masks of one frame carried along, written frame by frame as they come, each a transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..bitmask import BitMask
from ..masks import encode_rle
from ..types import BoolMask
from .jobs import Progress
from .journal import Author, Change
from .models import Propagator
from .refusals import Invalid
from .store import Store
from .videos import video_of

#: which masks on the way are replaced: none, earlier propagated ones, or a person's too
Overwrite = Literal["none", "propagated", "all"]


def check(store: Store, clip: int, objects: Sequence[str], frame: int, until: int) -> None:
    """Raises Invalid where there is no way, or an object has no mask to start from."""
    n_frames = store.clip(clip)["n_frames"]
    if not (0 <= frame < n_frames and 0 <= until < n_frames) or frame == until:
        raise Invalid(f"Propagate from one frame to another of 0 to {n_frames - 1}.")
    for name in objects:
        mask = store.mask(clip, name, frame)
        if mask is None or mask["counts"] == "":
            raise Invalid(f"Object '{name}' has no mask in frame {frame} to start from; draw it there.")


def propagate(
    store: Store,
    clip: int,
    objects: Sequence[str],
    frame: int,
    until: int,
    propagator: Propagator,
    overwrite: Overwrite,
    stop_at_keyframe: bool,
    author: Author,
    batch: str,
    progress: Progress,
) -> dict[str, Any]:
    """Carry masks of ``frame`` to ``until``, backwards where that is before it.

    Args:
        objects: ids of those that are carried.
        stop_at_keyframe: end an object's way at its next mask that a person drew or somebody imported.
        batch: makes all frames one step of undo.
        progress: called after every frame; raises to stop.

    Returns:
        ``{"written": masks, "kept": masks on the way that were left as they are}``.
    """
    way = list(range(frame, until + 1) if until > frame else range(frame, until - 1, -1))
    size = (store.clip(clip)["height"], store.clip(clip)["width"])
    start = {row["object"]: _decoded(row["counts"], size) for row in store.masks(clip, frame, frame, objects)}
    following = set(start)
    written = kept = 0
    progress(0, len(way) - 1)
    masks_on_way = propagator.follow(video_of(store, clip), way, start, following.copy)
    for done, (number, masks) in enumerate(masks_on_way, start=1):
        with store.change(clip, author, f"propagate from frame {frame + 1}", batch=batch) as change:
            for name in sorted(following & set(masks)):
                if change.row("object", clip, name) is None or _ends_here(change, clip, number, name, stop_at_keyframe):
                    following.discard(name)
                elif _may_write(change, clip, number, name, overwrite):
                    _write(change, clip, number, name, masks[name], author, propagator.id)
                    written += 1
                else:
                    kept += 1
        progress(done, len(way) - 1)
        if not following:
            break
    return {"written": written, "kept": kept}


def _ends_here(change: Change, clip: int, frame: int, name: str, stop_at_keyframe: bool) -> bool:
    row = change.row("mask", clip, frame, name)
    return stop_at_keyframe and row is not None and row["origin"] != "propagated"


def _may_write(change: Change, clip: int, frame: int, name: str, overwrite: Overwrite) -> bool:
    row = change.row("mask", clip, frame, name)
    return row is None or overwrite == "all" or (overwrite == "propagated" and row["origin"] == "propagated")


def _write(change: Change, clip: int, frame: int, name: str, mask: BoolMask, author: Author, model: str) -> None:
    counts = encode_rle(mask)["counts"] if mask.any() else ""
    made: Mapping[str, Any] = {"origin": "propagated", "by": author.person, "model": model, "reviewed": False}
    change.put("mask", {"clip": clip, "frame": frame, "object": name, "counts": counts, **made})


def _decoded(counts: str, size: tuple[int, int]) -> BoolMask:
    return BitMask.from_rle({"size": list(size), "counts": counts}).to_array()
