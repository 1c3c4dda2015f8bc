"""refCOCO, refCOCO+ (Yu et al., 2016), refCOCOg (Mao et al., 2016) and RefCLEF: phrases about things in images."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from .coco import CocoFile, SingleCoverMasks, is_whole, read_coco
from .errors import DatasetError
from .files import AnnotationErrors, require_root, shown
from .types import Expression, Masklet, RVOSDataset, Sample, Video

#: Where the images lie below the root: as the REFER tools and LISA unpack them, or shorter.
IMAGE_FOLDERS = ("images/mscoco/images/train2014", "images/train2014", "train2014", "images")


class RefCOCO(RVOSDataset):
    """``<name>/{refs(<who split it>).p, instances.json}`` beside ``images/mscoco/images/train2014``.

    One sample a sentence. Images are told by the instances, not by the refs (REFER's README). ``val``, ``testA``,
    ``testB`` and ``train`` are the split that everybody uses; ``google-…`` that of the other pickle.
    """

    name = "refcoco"
    usual: ClassVar[str] = "unc"
    image_folders: ClassVar[Sequence[str]] = IMAGE_FOLDERS

    def __init__(self, root: Path, split: str) -> None:
        who, _, part = split.rpartition("-")
        self.refs_file = root / self.name / f"refs({who or self.usual}).p"
        require_root(root, self.name, str(self.refs_file.relative_to(root)))
        self.coco = read_coco(root / self.name / "instances.json")
        refs = [ref for ref in _read_refs(self.refs_file, self.coco) if _is_in(ref["split"], part)]
        if not refs:
            raise DatasetError(f"{self.refs_file}: no expression is in the split '{part}'; download the file again.")
        by_image: dict[int, list[dict[str, Any]]] = {}
        for ref in refs:
            by_image.setdefault(ref["image_id"], []).append(ref)
        found = (root / folder for folder in self.image_folders)
        self.images = next((folder for folder in found if folder.is_dir()), root / self.image_folders[0])
        samples = [sample for image, group in by_image.items() for sample in self._samples(image, group)]
        super().__init__(root, split, "unstated", samples)

    def ground_truth(self, sample: Sample) -> Masklet:
        assert sample.expression.object_ids
        annotation = self.coco.annotations[int(sample.expression.object_ids[0])]
        return Masklet(sample.video.frame_names, self.coco.masks(annotation))

    def single_cover(self, sample: Sample) -> Masklet:
        """As ``ground_truth``, without the pixels where two parts of the annotation overlap; see the source."""
        assert sample.expression.object_ids
        annotation = self.coco.annotations[int(sample.expression.object_ids[0])]
        return Masklet(sample.video.frame_names, self.coco.masks(annotation, SingleCoverMasks))

    def objects(self, video: Video) -> dict[str, Masklet]:
        annotated = self.coco.by_image[int(self.samples_of(video.id)[0].expression.tags["image"])]
        return {str(a.id): Masklet(video.frame_names, self.coco.masks(a)) for a in annotated}

    def annotation_files(self) -> Sequence[Path]:
        return [self.refs_file, self.coco.path]

    def _samples(self, image_id: int, refs: Sequence[dict[str, Any]]) -> Iterator[Sample]:
        image = self.coco.images[image_id]
        video = image.video(self.images)
        for ref in refs:
            category = self.coco.categories[self.coco.annotations[ref["ann_id"]].category_id]
            for sentence in ref["sentences"]:
                tags = {"ref": ref["ref_id"], "image": image_id, "category": category}
                yield Sample(
                    video, Expression(str(sentence["sent_id"]), sentence["sent"], (str(ref["ann_id"]),), tags=tags)
                )


class RefCOCOPlus(RefCOCO):
    """refCOCO+: without words of place."""

    name = "refcoco+"


class RefCOCOg(RefCOCO):
    """refCOCOg: longer sentences; ``google-val`` is the split of its authors, whose test is not public."""

    name = "refcocog"
    usual = "umd"


class RefCLEF(RefCOCO):
    """RefCLEF on images of SAIAPR TC-12; a training set of LISA and VideoLISA."""

    name = "refclef"
    image_folders = ("images/saiapr_tc-12", "saiapr_tc-12")


class _PlainUnpickler(pickle.Unpickler):
    """Builds lists, dictionaries, numbers and text, and refuses everything that a pickle could run."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}; refs hold plain data only")


def _read_refs(path: Path, coco: CocoFile) -> list[dict[str, Any]]:
    """The refs, checked. Nothing in the file is executed.

    Raises:
        DatasetError: no pickle of plain data.
        AnnotationErrors: with every ref that is not as expected.
    """
    try:
        refs = _PlainUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from error
    except Exception as error:  # damaged pickles raise whatever the broken instruction meets
        raise DatasetError(f"{path}: not a pickle of refs ({shown(str(error))}); download the file again.") from error
    if not isinstance(refs, list):
        raise DatasetError(f"{path}: holds {type(refs).__name__}, expected a list of refs.")
    complaints = [f"ref {number}: {wrong}" for number, ref in enumerate(refs) if (wrong := _odd(ref, coco))]
    if complaints:
        raise AnnotationErrors(path, complaints)
    return refs


def _odd(ref: Any, coco: CocoFile) -> str:
    """What is wrong with a ref; "" where nothing is."""
    if not isinstance(ref, dict):
        return f"holds {type(ref).__name__}, expected an object."
    missing = [name for name in ("ref_id", "ann_id", "image_id", "split", "sentences") if name not in ref]
    if missing:
        return f"has no '{missing[0]}'."
    if not is_whole(ref["ref_id"]) or not isinstance(ref["split"], str):
        return "'ref_id' is no whole number, or 'split' no text."
    if not is_whole(ref["ann_id"]) or ref["ann_id"] not in coco.annotations:
        return f"names annotation {shown(str(ref['ann_id']))}, which {coco.path.name} does not have."
    if not is_whole(ref["image_id"]) or coco.annotations[ref["ann_id"]].image_id != ref["image_id"]:
        return f"names image {shown(str(ref['image_id']))}, its annotation {ref['ann_id']} another."
    sentences = ref["sentences"]
    known = isinstance(sentences, list) and all(
        isinstance(s, dict) and is_whole(s.get("sent_id")) and isinstance(s.get("sent"), str) for s in sentences
    )
    return "" if known else "'sentences' is no list of objects with 'sent_id' and 'sent'."


def _is_in(stored: str, part: str) -> bool:
    """Whether a ref belongs to a split: ``testA`` also to a stored ``testAB``, ``test`` has all of them (REFER)."""
    if part == "test" or not part.startswith("test"):
        return stored.startswith("test") if part == "test" else stored == part
    return stored.startswith("test") and part[-1] in stored[len("test") :]
