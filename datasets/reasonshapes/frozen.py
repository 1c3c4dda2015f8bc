"""The hashes that freeze ``reasonshapes@1``: of every video its scene graph, sentences, programs, tags and pixels.

``frozen.json`` holds 16 hexadecimal digits per video in the order of each split, and of a few videos the hash of their
rendering at 480 pixels. They were written before any model was trained on the data, and a change to the generator that
changes one of them is a new version.

    python -m rvos.datasets.reasonshapes.frozen --write datasets/reasonshapes/frozen.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from .benchmark import SPLITS, VERSION, make_videos
from .generate import GeneratedVideo
from .programs import to_json

LARGE = 480
_LARGE_VIDEOS = (0, 5)
_FILE = Path(__file__).with_name("frozen.json")


def video_digest(video: GeneratedVideo) -> str:
    """16 hexadecimal digits over everything that the video says and shows at its rendered size."""
    content = {
        "id": video.id,
        "scene": video.scene.graph(),
        "samples": [
            [s.id, s.text, s.is_sentence, list(s.object_ids), s.kind, to_json(s.program), s.tags] for s in video.samples
        ],
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    digest.update(video.renderer.sha256().encode())
    return digest.hexdigest()[:16]


@cache
def frozen() -> dict[str, Any]:
    """The contents of ``frozen.json``: ``version``, and per split ``videos`` and ``at_480``."""
    data: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return data


def split_digests(split: str, n_videos: int | None = None, first: int = 0) -> list[str]:
    """The digests of videos as the code makes them now."""
    return [video_digest(video) for video in make_videos(split, n_videos, first=first)]


def large_digests(split: str) -> dict[str, str]:
    """The digests of a few videos at 480 pixels, by number."""
    videos = {n: next(make_videos(split, 1, first=n)) for n in _LARGE_VIDEOS}
    return {str(n): video_digest(replace(v, height=LARGE)) for n, v in videos.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the hashes of the frozen splits, or check them.")
    parser.add_argument("--write", type=Path, help="file to write; without it the packaged hashes are checked")
    arguments = parser.parse_args()
    made = {split: {"videos": split_digests(split), "at_480": large_digests(split)} for split in SPLITS}
    if arguments.write is not None:
        text = json.dumps({"version": VERSION, "splits": made}, indent=0) + "\n"
        arguments.write.write_text(text, encoding="utf-8")
        return
    for split, digests in made.items():
        print(split, "as frozen" if digests == frozen()["splits"][split] else "CHANGED")


if __name__ == "__main__":
    main()
