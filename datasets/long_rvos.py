"""Long-RVOS (Liang et al., 2025): referring sentences about videos of a minute, by what they say of their object."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .files import AnnotationErrors, MetaVideo, id_list, names_in, read_meta, require_root
from .frames import FrameFolder, png_paths
from .images import image_size
from .masks import SparsePngMasks
from .types import Expression, Masklet, RVOSDataset, Sample, Video

#: ``type`` of an expression: what it says of its object. The last is called hybrid in the paper.
TYPES = ("static", "dynamic", "static+dynamic")


class LongRVOS(RVOSDataset):
    """``<split>/{meta_expressions.json, JPEGImages/<video>/, Annotations/<video>/<object>/<frame>.png}``.

    One object per expression. A frame without a PNG does not show the object (eval_hybrid.py). A split without the
    folder ``Annotations`` withholds its masks.
    """

    name = "long-rvos"

    def __init__(self, root: Path, split: str) -> None:
        require_root(root, f"Long-RVOS ({split})", f"{split}/meta_expressions.json")
        self.folder = root / split
        self.meta_file = self.folder / "meta_expressions.json"
        self.annotations = self.folder / "Annotations"
        entries = read_meta(self.meta_file, required=("obj_id", "type"))
        super().__init__(root, split, "unstated", [sample for entry in entries for sample in self._samples(entry)])

    def ground_truth(self, sample: Sample) -> Masklet | None:
        """The object's masks; None where it has no PNG at all."""
        assert sample.expression.object_ids
        return self._masklet(sample.video, sample.expression.object_ids[0])

    def objects(self, video: Video) -> dict[str, Masklet]:
        masklets = {name: self._masklet(video, name) for name in names_in(self.annotations / video.id)}
        return {name: masklet for name, masklet in masklets.items() if masklet is not None}

    def annotation_files(self) -> Sequence[Path]:
        folders = (self.annotations / video.id for video in self.videos)
        parts = (folder / name for folder in folders for name in names_in(folder))
        return [self.meta_file, *(part / f"{stem}.png" for part in parts for stem in names_in(part, ".png"))]

    def _samples(self, entry: MetaVideo) -> Iterator[Sample]:
        odd = [f"video '{entry.id}', expression '{i}': {found}" for i, found in _odd_fields(entry)]
        if odd:
            raise AnnotationErrors(self.meta_file, odd)
        video = Video(entry.id, entry.frames, FrameFolder(self.folder / "JPEGImages" / entry.id, self._any_mask(entry)))
        for expression_id, fields in entry.expressions:
            tags = {"type": fields["type"]}
            yield Sample(video, Expression(expression_id, fields["exp"], id_list(fields["obj_id"]), tags=tags))

    def _any_mask(self, entry: MetaVideo) -> Path | None:
        """A mask of the video, whose size stands in where the frames are absent."""
        for name in names_in(self.annotations / entry.id):
            for stem in names_in(self.annotations / entry.id / name, ".png"):
                return self.annotations / entry.id / name / f"{stem}.png"
        return None

    def _masklet(self, video: Video, object_id: str) -> Masklet | None:
        folder = self.annotations / video.id / object_id
        stems = names_in(folder, ".png")
        if not stems:
            return None
        paths = png_paths(folder, video.frame_names, stems)
        return Masklet(video.frame_names, SparsePngMasks(paths, image_size(folder / f"{stems[0]}.png")))


def _odd_fields(entry: MetaVideo) -> Iterator[tuple[str, str]]:
    for expression_id, fields in entry.expressions:
        if fields["type"] not in TYPES:
            yield expression_id, f"'type' must be one of {', '.join(TYPES)}."
        elif len(id_list(fields["obj_id"])) != 1:
            yield expression_id, "'obj_id' must name one object."
