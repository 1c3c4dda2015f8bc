"""ADE20K (Zhou et al., CVPR 2017) and COCO-Stuff (Caesar et al., CVPR 2018): a class of an image is a sample.

Training sets of LISA and VideoLISA, in the folders that LISA names (utils/sem_seg_dataset.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from .files import names_in, require_root
from .frames import FrameFolder
from .image_set import ImageSet
from .images import png_labels
from .masks import LabelMapMasks
from .types import Expression, Masklet, Sample, Video


class SemanticImages(ImageSet):
    """An image and a label map of the same name; values that ``classes`` does not name are no sample."""

    def __init__(self, root: Path, split: str, images: Path, labels: Path) -> None:
        self.labels = labels
        super().__init__(root, split, [Video(n, (n,), FrameFolder(images)) for n in names_in(labels, ".png")])

    @property
    def classes(self) -> Mapping[int, str]:
        """Names by the values of the label maps."""
        raise NotImplementedError

    def read_samples(self, video: Video) -> Iterator[Sample]:
        for value in np.unique(png_labels(self._path(video))).tolist():
            if value in self.classes:
                name = self.classes[value]
                yield Sample(video, Expression(str(value), name, (str(value),), tags={"category": name}))

    def ground_truth(self, sample: Sample) -> Masklet:
        assert sample.expression.object_ids
        return self._masklet(sample.video, sample.expression.object_ids[0])

    def objects(self, video: Video) -> dict[str, Masklet]:
        return {sample.expression.id: self.ground_truth(sample) for sample in self.read_samples(video)}

    def annotation_files(self) -> Sequence[Path]:
        return [self._path(video) for video in self.videos]

    def _masklet(self, video: Video, value: str) -> Masklet:
        return Masklet(video.frame_names, LabelMapMasks((self._path(video),), (int(value),)))

    def _path(self, video: Video) -> Path:
        return self.labels / f"{video.id}.png"


class ADE20K(SemanticImages):
    """``images/training/<name>.jpg``, ``annotations/training/<name>.png``: 1-150, 0 is unlabelled."""

    name = "ade20k"

    def __init__(self, root: Path, split: str) -> None:
        require_root(root, "ADE20K", "annotations/training", "ade20k/annotations/training")
        folder = root if (root / "annotations").is_dir() else root / "ade20k"
        super().__init__(root, split, folder / "images" / "training", folder / "annotations" / "training")

    @property
    def classes(self) -> Mapping[int, str]:
        return dict(enumerate(class_names("ade20k"), start=1))


class COCOStuff(SemanticImages):
    """``coco/train2017/<id>.jpg``, ``cocostuff/train2017/<id>.png``: 0-181, 255 is unlabelled.

    Classes with a "-" in their name (wall-brick, building-other) are left out, as LISA leaves them out.
    """

    name = "coco-stuff"

    def __init__(self, root: Path, split: str) -> None:
        require_root(root, "COCO-Stuff", "cocostuff/train2017")
        super().__init__(root, split, root / "coco" / "train2017", root / "cocostuff" / "train2017")

    @property
    def classes(self) -> Mapping[int, str]:
        return {value: name for value, name in enumerate(class_names("coco-stuff")) if "-" not in name}


@cache
def class_names(dataset: str) -> tuple[str, ...]:
    """The classes in the order of their numbers, as LISA asks for them."""
    text = (Path(__file__).parent / "data" / f"{dataset}-classes.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())
