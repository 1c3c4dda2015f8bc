"""2,000 frames and 200 objects: what the server holds in memory, and how long an answer takes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import annotationclient
import numpy as np
import pytest
from PIL import Image

annotationclient.require()

from rvos.datasets.annotation.journal import Author  # noqa: E402
from rvos.datasets.annotation.store import OWNER, Store  # noqa: E402
from rvos.datasets.annotation.videos import Incoming, add_clip  # noqa: E402
from rvos.datasets.masks import encode_rle  # noqa: E402


def crowded(folder: Path, n_frames: int, n_objects: int) -> Store:
    """A project with one 480p clip in which every object is drawn in every frame."""
    frame = folder / "frame.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (480, 854, 3)).astype(np.uint8)).save(frame, quality=60)
    frames = [Incoming(f"{i:05d}", ".jpg", frame) for i in range(n_frames)]
    y, x = np.mgrid[:480, :854]
    blobs = [((y - 240) / (60 + k)) ** 2 + ((x - 400 + 3 * k) / (80 - k)) ** 2 < 1 for k in range(32)]
    rles = [encode_rle(blob)["counts"] for blob in blobs]

    def fill(change: Any, key: int) -> None:
        for number in range(1, n_objects + 1):
            blank = dict.fromkeys(("name", "category", "note", "author"), "")
            row = {**blank, "clip": key, "id": str(number), "colour": "#e6194b", "second_of": None}
            change.put("object", {**row, "role": "object", "stated_ids": None})
            masks = []
            for i in range(n_frames):
                by_hand = i % 50 == 0
                made = {"origin": "human" if by_hand else "propagated", "model": "" if by_hand else "colour-flow@1"}
                made |= {"by": OWNER, "reviewed": by_hand, "counts": rles[(i + number) % 32]}
                masks.append({"clip": key, "frame": i, "object": str(number), **made})
            change.insert_all("mask", masks)
            change.end_record()

    store = Store.create(folder / "project")
    add_clip(store, {"id": "crowd"}, frames, Author(OWNER), fill=fill)
    return store


def walk_through(owner: annotationclient.Page, n_frames: int) -> tuple[int, float]:
    """Read all masks as a page does that plays the clip: (largest answer in bytes, longest time of 16 frames)."""
    largest, longest, at = 0, 0.0, 0
    while at < n_frames:
        start = time.monotonic()
        answer = owner.client.get(f"/api/clips/1/masks?first={at}&last={at + 15}")
        longest, largest = max(longest, time.monotonic() - start), max(largest, len(answer.content))
        at = answer.json()["next"] or n_frames
    return largest, longest


def test_no_answer_grows_with_the_clip(tmp_path: Path) -> None:
    sizes = []
    for number, n_frames in enumerate((64, 128)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with crowded(folder, n_frames, 6) as store, annotationclient.served(store) as app:
            owner = annotationclient.page(app)
            largest, _ = walk_through(owner, n_frames)
            sizes.append((largest, len(owner.client.get("/api/clips/1").content)))
    assert sizes[0][0] == pytest.approx(sizes[1][0], rel=0.1)
    assert sizes[1][1] < 20_000  # runs, not masks


@pytest.mark.long
def test_memory_and_times_with_2000_frames_and_200_objects(tmp_path: Path) -> None:
    import psutil

    process = psutil.Process()
    with crowded(tmp_path, 2000, 200) as store, annotationclient.served(store) as app:
        owner = annotationclient.page(app)
        before = process.memory_info().rss
        first = time.monotonic()
        opened = owner.get("/api/clips/1")
        first = time.monotonic() - first
        assert len(opened["objects"]) == 200 and owner.get("/api/clips")["clips"][0]["n_masks"] == 400_000
        largest, longest = walk_through(owner, 2000)
        revision = owner.get("/api/clips/1/masks?first=5&last=5&objects=3")["frames"]["5"]["3"]["revision"]
        start = time.monotonic()
        owner.change({"op": "mask", "object": "3", "frame": 5, "counts": "", "base": revision})
        stroke = time.monotonic() - start
        start = time.monotonic()
        owner.get("/api/clips/1")
        again = time.monotonic() - start
        start = time.process_time()  # of server and client; other programs on the machine do not count
        for i in range(0, 2000, 40):
            owner.get(f"/api/clips/1/frames/{i}")
        frame = (time.process_time() - start) / 50
        grown = (process.memory_info().rss - before) >> 20
    print(
        f"first opening {first:.1f} s, again {again:.2f} s, 16 frames of masks {longest:.2f} s and {largest >> 10} KB, "
        f"stroke {1000 * stroke:.0f} ms, frame {1000 * frame:.1f} ms, memory +{grown} MB"
    )
    assert grown < 150 and largest < 5 << 20
    assert frame < 0.05, "a frame must cost less than 50 ms"
