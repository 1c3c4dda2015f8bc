"""Images in memory: a sentence about each label map, in which 1 is the object and 255 does not count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rvos.datasets.refcoco import RefCOCO
from rvos.datasets.types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video


class Labels:
    """A label map in memory: 1 is the object, 255 does not count."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def mask(self, index: int) -> BoolMask:
        return self.array == 1

    def void(self, index: int) -> BoolMask | None:
        void: BoolMask = self.array == 255
        return void if void.any() else None


class Drawn(RVOSDataset):
    """One sentence about each label map; None is an image without annotation."""

    def __init__(self, name: str, maps: Sequence[np.ndarray | None]) -> None:
        self.name = name
        self.maps = {f"i{n}": labels for n, labels in enumerate(maps)}
        size = next(labels.shape for labels in maps if labels is not None)
        samples = [
            Sample(Video(n, (n,), declared_size=size if m is None else m.shape), Expression("0", "words", ("1",)))
            for n, m in self.maps.items()
        ]
        RVOSDataset.__init__(self, Path(), "val", "1", samples)

    def ground_truth(self, sample: Sample) -> Masklet | None:
        labels = self.maps[sample.video.id]
        return None if labels is None else Masklet(sample.video.frame_names, Labels(labels))

    def single_cover(self, sample: Sample) -> Masklet | None:
        return self.ground_truth(sample)

    def objects(self, video: Video) -> dict[str, Masklet]:
        return {}

    def annotation_files(self) -> Sequence[Path]:
        return ()


class DrawnRefCOCO(Drawn, RefCOCO):
    """Passes for refCOCO's own files."""


def drawn(protocol_id: str, maps: Sequence[np.ndarray | None]) -> Drawn:
    name = protocol_id.partition("@")[0]
    return (Drawn if name == "reasonseg" else DrawnRefCOCO)(name, maps)
