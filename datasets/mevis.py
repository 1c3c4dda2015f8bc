"""MeViS (Ding et al., ICCV 2023): motion expressions about one or several objects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .bitmask import MAX_PIXELS
from .errors import DatasetError
from .files import MetaVideo, id_list, read_meta, require_root
from .frames import FrameFolder
from .masks import EmptyMasks, UnionMasks
from .problems import Problem
from .rle_index import RleFile, open_rle_file
from .types import Expression, Masklet, MaskSource, RVOSDataset, Sample, Video


class MeViS(RVOSDataset):
    """``<split>/meta_expressions.json``, ``<split>/JPEGImages/<video>/``, ``<split>/mask_dict.json``.

    The target of an expression is the union of its ``anno_id`` masks (eval_mevis.py), so these, not the ``obj_id``
    numbers of a video, are the object ids here. ``valid`` and ``test`` have no ``mask_dict.json``: no ground truth.
    The masks stay in the file; its first opening writes an index of them to the user's cache.
    """

    name = "mevis"

    def __init__(self, root: Path, split: str) -> None:
        require_root(root, f"MeViS ({split})", f"{split}/meta_expressions.json")
        self._read(root, split, root / split, "meta_expressions.json")

    def _read(self, root: Path, split: str, folder: Path, meta_name: str, required: Sequence[str] = ()) -> None:
        """Open the files of ``folder``, whose expressions have the fields ``required`` besides their text."""
        self.folder = folder
        self.meta_file = folder / meta_name
        mask_file = folder / "mask_dict.json"
        self.masks: RleFile | None = open_rle_file(mask_file) if mask_file.exists() else None
        entries = read_meta(self.meta_file, required=required)
        samples = [sample for entry in entries for sample in self._samples(entry)]
        super().__init__(root, split, _version(self.name, split, len(samples)), samples)

    def ground_truth(self, sample: Sample) -> Masklet | None:
        """The union of the expression's annotations; empty masks for a no-target expression."""
        ids = sample.expression.object_ids
        if self.masks is None or ids is None:
            return None
        if not ids:
            return Masklet(sample.video.frame_names, EmptyMasks(sample.video.size))
        parts = tuple(self._source(i, sample.key) for i in dict.fromkeys(ids))
        return Masklet(sample.video.frame_names, parts[0] if len(parts) == 1 else UnionMasks(parts))

    def objects(self, video: Video) -> dict[str, Masklet]:
        """The annotations that the video's expressions name; the file does not tell whose the others are."""
        if self.masks is None:
            return {}
        named = dict.fromkeys(i for s in self.samples_of(video.id) for i in s.expression.object_ids or ())
        return {i: Masklet(video.frame_names, self.masks.source(i)) for i in named if i in self.masks}

    def annotation_files(self) -> Sequence[Path]:
        return [self.meta_file] if self.masks is None else [self.meta_file, self.masks.path]

    def own_checks(self) -> Iterator[Problem]:
        if self.masks is None:
            return
        for anno_id in self.masks.repeated_ids:
            cure = "The last one counts; download the file again."
            yield Problem("error", "repeated-id", str(self.masks.path), f"annotation '{anno_id}' occurs twice.", cure)
        named = {i for sample in self.samples for i in sample.expression.object_ids or ()}
        unnamed = [i for i in self.masks.ids if i not in named]
        if unnamed:
            found = f"{len(unnamed)} annotations that no expression names, first '{unnamed[0]}'."
            yield Problem("note", "unasked-object", str(self.masks.path), found, "")

    def own_video_checks(self, video: Video) -> Iterator[Problem]:
        named = dict.fromkeys(i for s in self.samples_of(video.id) for i in s.expression.object_ids or ())
        for anno_id in named:
            if self.masks is not None and anno_id in self.masks and self.masks.n_frames(anno_id) != len(video):
                found = f"annotation '{anno_id}' lists {self.masks.n_frames(anno_id)} frames, the video {len(video)}."
                cure = "mask_dict.json and meta_expressions.json must be of one version."
                yield Problem("error", "frame-count-differs", f"video {video.id}", found, cure)

    def _samples(self, entry: MetaVideo) -> Iterator[Sample]:
        annotated = [id_list(fields["anno_id"]) if "anno_id" in fields else None for _, fields in entry.expressions]
        video = Video(
            entry.id,
            entry.frames,
            FrameFolder(self.folder / "JPEGImages" / entry.id),
            declared_size=self._size([i for ids in annotated for i in ids or ()]) or _stated_size(entry.fields),
        )
        for (expression_id, fields), ids in zip(entry.expressions, annotated, strict=True):
            yield Sample(video, self._expression(expression_id, fields, ids))

    def _expression(self, expression_id: str, fields: dict[str, Any], ids: tuple[str, ...] | None) -> Expression:
        return Expression(expression_id, fields["exp"], ids)

    def _size(self, ids: Sequence[str]) -> tuple[int, int] | None:
        """The size that the video's masks state, None where they state none."""
        if self.masks is None:
            return None
        return next((size for i in ids if i in self.masks and (size := self.masks.size(i)) is not None), None)

    def _source(self, anno_id: str, key: str) -> MaskSource:
        assert self.masks is not None
        if anno_id not in self.masks:
            raise DatasetError(f"{self.masks.path}: no annotation '{anno_id}', which sample {key} names.")
        return self.masks.source(anno_id)


def _stated_size(fields: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) of a video whose entry states them (ReVOS), for sentences that all mean nothing."""
    height, width = fields.get("height"), fields.get("width")
    if isinstance(height, int) and isinstance(width, int) and 0 < height * width <= MAX_PIXELS:
        return height, width
    return None


def _version(name: str, split: str, n_samples: int) -> str:
    """v1 and v2 annotate the same videos with the same layout; only the published number of sentences differs."""
    from .cards import load_card

    known = {count.samples: count.version for count in load_card(name).counts.get(split, ())}
    return known.get(n_samples) or "unstated"
