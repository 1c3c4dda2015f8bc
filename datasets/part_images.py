"""PACO-LVIS (Ramanathan et al., CVPR 2023) and PASCAL-Part (Chen et al., CVPR 2014): parts of things in images.

Training sets of LISA and VideoLISA, in the folders that LISA names (utils/sem_seg_dataset.py). A sample is one
annotated thing or part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .coco import CocoAnnotation, read_coco
from .files import require_root
from .image_set import ImageSet
from .types import Expression, Masklet, Sample, Video


class PartImages(ImageSet):
    """A COCO file whose categories are things or parts of things.

    The text of a part is "object part" ("dog ear"), with the two words among its tags (``object``, ``part``): training
    asks for "the ear of the dog" half of the time.
    """

    def __init__(self, root: Path, split: str, annotations: Path, images: Path) -> None:
        self.coco = read_coco(annotations)
        listed = [self.coco.images[i] for i in sorted(self.coco.by_image)]
        self._numbers = {image.stem: image.id for image in listed}
        super().__init__(root, split, [image.video(images) for image in listed])

    def thing_and_part(self, category: str) -> tuple[str, str]:
        """The name of the thing, and of its part or ""."""
        raise NotImplementedError

    def read_samples(self, video: Video) -> Iterator[Sample]:
        for annotation in self._annotations(video):
            thing, part = self.thing_and_part(self.coco.categories[annotation.category_id])
            tags = {"object": thing, **({"part": part} if part else {})}
            number = str(annotation.id)
            yield Sample(video, Expression(number, f"{thing} {part}".strip(), (number,), tags=tags))

    def ground_truth(self, sample: Sample) -> Masklet:
        annotation = self.coco.annotations[int(sample.expression.id)]
        return Masklet(sample.video.frame_names, self.coco.masks(annotation))

    def objects(self, video: Video) -> dict[str, Masklet]:
        return {str(a.id): Masklet(video.frame_names, self.coco.masks(a)) for a in self._annotations(video)}

    def annotation_files(self) -> Sequence[Path]:
        return [self.coco.path]

    def _annotations(self, video: Video) -> Sequence[CocoAnnotation]:
        return self.coco.by_image[self._numbers[video.id]]


class PACOLVIS(PartImages):
    """``vlpart/paco/annotations/paco_lvis_v1_train.json`` and ``coco/train2017``; "mug_(cup):handle" is a part."""

    name = "paco-lvis"

    def __init__(self, root: Path, split: str) -> None:
        path = "vlpart/paco/annotations/paco_lvis_v1_train.json"
        require_root(root, "PACO-LVIS", path)
        super().__init__(root, split, root / path, root / "coco")

    def thing_and_part(self, category: str) -> tuple[str, str]:
        thing, _, part = category.strip().partition(":")
        return thing.split("_(")[0], part.split("_(")[0]


class PASCALPart(PartImages):
    """``vlpart/pascal_part/{train.json, VOCdevkit/VOC2010/JPEGImages}``; "dog:ear" is a part."""

    name = "pascal-part"

    def __init__(self, root: Path, split: str) -> None:
        folder = root / "vlpart" / "pascal_part"
        require_root(root, "PASCAL-Part", "vlpart/pascal_part/train.json")
        super().__init__(root, split, folder / "train.json", folder / "VOCdevkit" / "VOC2010" / "JPEGImages")

    def thing_and_part(self, category: str) -> tuple[str, str]:
        thing, _, part = category.strip().partition(":")
        return thing, part
