"""A dataset in memory, small enough to check by hand: coloured boxes that move over a grey ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rvos.datasets.masks import EmptyMasks, RleMasks, UnionMasks, encode_rle
from rvos.datasets.types import Expression, Masklet, RVOSDataset, Sample, Video

HEIGHT, WIDTH = 40, 60
#: types of the five sentences, "" in benchmarks that have none
TYPES = {
    "revos": ("referring", "reasoning", "referring", "reasoning", "no-target"),
    "long-rvos": ("static", "dynamic", "static", "static+dynamic", "dynamic"),
    "groundmore": ("Causal", "Sequential", "Causal", "Descriptive", "Counterfactual"),
    "mevis": ("",) * 5,
}


@dataclass(frozen=True)
class Boxes:
    """A frame source that paints box ``i`` in colour ``i``; frame names are numbers."""

    masks: tuple[RleMasks, ...]

    def read(self, name: str) -> NDArray[np.uint8]:
        frame = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
        for i, source in enumerate(self.masks):
            frame[source.mask(int(name))] = (250 - 90 * i, 60 + 60 * i, 40 * i)
        return frame

    def size(self, name: str) -> tuple[int, int]:
        return HEIGHT, WIDTH

    def path(self, name: str) -> Path | None:
        return None


class ToyDataset(RVOSDataset):
    """``n_videos`` videos of three boxes; five sentences each, of which one means two objects and one means none.

    Video v has 5 + v frames. Box "1" is the largest, "2" is meant most often.
    """

    name = "toy"
    meant: Mapping[str, tuple[str, ...]] = {"0": ("1",), "1": ("2",), "2": ("2",), "3": ("2", "3"), "4": ()}

    def __init__(self, n_videos: int = 3, texts: Sequence[str] | None = None) -> None:
        words = texts or [f"sentence {i}" for i in range(5)]
        self.boxes = {f"video{v}": _boxes(v) for v in range(n_videos)}
        samples = []
        for v, boxes in enumerate(self.boxes.values()):
            names = tuple(f"{i:05d}" for i in range(5 + v))
            video = Video(f"video{v}", names, Boxes(tuple(boxes.values())))
            for (exp_id, objects), text in zip(self.meant.items(), words, strict=True):
                samples.append(Sample(video, Expression(exp_id, text, objects, kind="reasoning")))
        super().__init__(Path(), "test", "1", samples)

    def ground_truth(self, sample: Sample) -> Masklet:
        objects = self.boxes[sample.video.id]
        parts = tuple(objects[name] for name in sample.expression.object_ids or ())
        source = UnionMasks(parts) if parts else EmptyMasks((HEIGHT, WIDTH))
        return Masklet(sample.video.frame_names, source)

    def objects(self, video: Video) -> dict[str, Masklet]:
        return {name: Masklet(video.frame_names, source) for name, source in self.boxes[video.id].items()}

    def annotation_files(self) -> Sequence[Path]:
        return ()


def toy(name: str, n_videos: int = 3) -> ToyDataset:
    """The boxes under another benchmark's name, with its types of sentences."""
    dataset = ToyDataset(n_videos)
    dataset.name = name
    types = TYPES.get(name, ("",) * len(ToyDataset.meant))
    dataset.samples = tuple(
        Sample(s.video, replace(s.expression, tags={"type": types[int(s.expression.id)]})) for s in dataset
    )
    return dataset


def _boxes(v: int) -> dict[str, RleMasks]:
    out = {}
    for i, (top, left, side) in enumerate(((2, 2, 16), (4, 30, 10), (26, 8, 8))):
        rles = []
        for t in range(5 + v):
            mask = np.zeros((HEIGHT, WIDTH), bool)
            x = left + t * (1 + i % 2) + v
            mask[top : top + side, x : x + side] = True
            rles.append(encode_rle(mask))
        out[str(i + 1)] = RleMasks.from_coco(rles)
    return out
