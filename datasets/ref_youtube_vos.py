"""Ref-YouTube-VOS (Seo et al., URVOS, ECCV 2020): referring expressions about YouTube-VOS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DatasetError
from .files import MetaVideo, id_list, names_in, read_json, read_meta, require_root
from .frames import FrameFolder, png_paths
from .images import image_size, png_grey
from .masks import LabelMapMasks
from .problems import Problem
from .types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video


class RefYouTubeVOS(RVOSDataset):
    """``meta_expressions/<split>/meta_expressions.json``, ``<split>/JPEGImages/<video>/``, ``<split>/Annotations/``.

    ``train`` has indexed PNGs per frame, value == object id. ``valid`` was scored by a server until its masks were
    published in 2026 as binary PNGs ``valid/Annotations/<video>/<expression>/<frame>.png``; both states load, the
    earlier one without ground truth.

    The published ``valid`` file lists 507 videos, of which 305 are the test split; ``valid`` here is the other 202.
    """

    name = "ref-youtube-vos"

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        self.meta_file = root / "meta_expressions" / split / "meta_expressions.json"
        require_root(root, f"Ref-YouTube-VOS ({split})", f"meta_expressions/{split}/meta_expressions.json")
        self.folder = root / split
        self.annotations = self.folder / "Annotations"
        entries = read_meta(self.meta_file, required=("obj_id",) if split == "train" else ())
        if split == "valid":
            entries = validation_videos(entries, self.meta_file)
        published = split == "valid" and self.annotations.is_dir()
        version = "validation masks of 2026" if published else "unstated"
        super().__init__(root, split, version, [sample for entry in entries for sample in self._samples(entry)])

    def ground_truth(self, sample: Sample) -> Masklet | None:
        """The target's masks; None where the split withholds them or the expression's folder is missing."""
        video = sample.video
        if self.split == "train":
            assert sample.expression.object_ids
            return self._object(video, sample.expression.object_ids[0])
        folder = self.annotations / video.id / sample.expression.id
        stems = names_in(folder, ".png")
        if not stems:
            return None
        return Masklet(video.frame_names, ExpressionPngMasks(png_paths(folder, video.frame_names, stems), video))

    def objects(self, video: Video) -> dict[str, Masklet]:
        """Train: the objects of ``meta.json``. Valid: those that expressions with masks name by ``obj_id``.

        The published masks of ``valid`` are kept by expression; a file without ``obj_id`` does not tell which
        expressions mean the same object, and then nothing is returned.
        """
        if self.split == "train":
            return {i: self._object(video, i) for i in self._object_ids(video.id)}
        masklets: dict[str, Masklet] = {}
        for sample in self.samples_of(video.id):
            ids = sample.expression.object_ids or ()
            masklet = self.ground_truth(sample) if len(ids) == 1 and ids[0] not in masklets else None
            if masklet is not None:
                masklets[ids[0]] = masklet
        return masklets

    def annotation_files(self) -> Sequence[Path]:
        found = [self.meta_file]
        if (self.folder / "meta.json").exists() and self.split == "train":
            found.append(self.folder / "meta.json")
        for video in self.videos:
            folder = self.annotations / video.id
            parts = [folder] if self.split == "train" else [folder / name for name in names_in(folder)]
            found.extend(part / f"{stem}.png" for part in parts for stem in names_in(part, ".png"))
        return found

    def own_checks(self) -> Iterator[Problem]:
        if self.split == "valid" and self.annotations.is_dir():
            videos = {video.id for video in self.videos}
            stray = [name for name in names_in(self.annotations) if name not in videos]
            if stray:
                found = f"masks of {len(stray)} videos that are not in the split, first {stray[0]}."
                yield Problem("note", "stray-folder", str(self.annotations), found, "They are not used.")

    def own_video_checks(self, video: Video) -> Iterator[Problem]:
        """Masks of ``valid`` that are resized, which the masks themselves no longer show."""
        if self.split == "train":
            return
        for sample in self.samples_of(video.id):
            masklet = self.ground_truth(sample)
            paths = [p for p in masklet.source.paths if p] if masklet else []  # type: ignore[attr-defined]
            if paths and (found := image_size(paths[0])) != video.size:
                words = f"its masks are {found[1]}x{found[0]}, its frames {video.width}x{video.height}."
                yield Problem("note", "resized-masks", sample.key, words, "They are resized by nearest neighbour.")

    def _samples(self, entry: MetaVideo) -> Iterator[Sample]:
        video = Video(entry.id, entry.frames, FrameFolder(self.folder / "JPEGImages" / entry.id, self._any_mask(entry)))
        for expression_id, fields in entry.expressions:
            object_ids = id_list(fields["obj_id"]) if "obj_id" in fields else None
            yield Sample(video, Expression(expression_id, fields["exp"], object_ids))

    def _any_mask(self, entry: MetaVideo) -> Path | None:
        """A file whose size stands in where the frames are absent."""
        if self.split == "train":
            return self.annotations / entry.id / f"{entry.frames[0]}.png"
        if not self.annotations.is_dir() or not entry.expressions:
            return None
        return self.annotations / entry.id / entry.expressions[0][0] / f"{entry.frames[0]}.png"

    def _object(self, video: Video, object_id: str) -> Masklet:
        folder = self.annotations / video.id
        paths = png_paths(folder, video.frame_names, names_in(folder, ".png"))
        return Masklet(video.frame_names, LabelMapMasks(paths, (_label(object_id, video.id),)))

    def _object_ids(self, video_id: str) -> list[str]:
        asked = [i for s in self.samples_of(video_id) for i in s.expression.object_ids or ()]
        return sorted({*asked, *self._listed_objects.get(video_id, ())}, key=lambda i: (len(i), i))

    @cached_property
    def _listed_objects(self) -> dict[str, tuple[str, ...]]:
        path = self.folder / "meta.json"
        content: Any = read_json(path) if path.exists() else {"videos": {}}
        try:
            return {video: tuple(entry["objects"]) for video, entry in content["videos"].items()}
        except (AttributeError, KeyError, TypeError) as error:
            raise DatasetError(f"{path}: expected videos -> <video> -> objects -> <id>.") from error


@dataclass(frozen=True)
class ExpressionPngMasks:
    """Binary PNGs of the published validation masks; non-zero is the object.

    Some differ from their frames in size; they are brought to the video's size by nearest neighbour: pixel i of the
    result is pixel floor(i * source / target), the rule of OpenCV's INTER_NEAREST.
    """

    paths: tuple[Path | None, ...]
    video: Video

    def mask(self, index: int) -> BoolMask | None:
        path = self.paths[index]
        return None if path is None else resize_nearest(png_grey(path) > 0, self.video.size)

    def void(self, index: int) -> BoolMask | None:
        return None


def resize_nearest(mask: BoolMask, size: tuple[int, int]) -> BoolMask:
    """bool (H, W) at ``size``: pixel i comes from floor(i * source / target)."""
    if mask.shape == size:
        return mask
    rows = np.arange(size[0]) * mask.shape[0] // size[0]
    columns = np.arange(size[1]) * mask.shape[1] // size[1]
    return np.ascontiguousarray(mask[rows[:, None], columns])


def validation_videos(entries: Sequence[MetaVideo], meta_file: Path) -> list[MetaVideo]:
    """The entries of the published ``valid`` file that belong to the validation split.

    The file also lists the test split. Where its ``test`` sibling is present the videos of that are subtracted, as
    ReferFormer's inference does, and the rest must agree with the list that rvos ships; without it the list decides.
    A file with none of the 202 videos is not the published one and is taken whole, less its test sibling.

    Raises:
        DatasetError: where the list and the test file disagree.
    """
    shipped = set((files(__package__) / "data" / "ref_youtube_vos_valid_202.txt").read_text("ascii").split())
    listed = {entry.id for entry in entries}
    chosen = listed & shipped or listed
    test_file = meta_file.parent.parent / "test" / meta_file.name
    if test_file.exists():
        remaining = listed - {entry.id for entry in read_meta(test_file)}
        if listed & shipped and remaining != chosen:
            odd = sorted(remaining ^ chosen)
            raise DatasetError(
                f"{test_file}: without its videos {meta_file} leaves {len(remaining)}, the validation split is "
                f"{len(chosen)} (they differ in {', '.join(odd[:3])} …); download both files again."
            )
        chosen = remaining
    return [entry for entry in entries if entry.id in chosen]


def _label(object_id: str, video_id: str) -> int:
    if not object_id.isdecimal() or not 0 < int(object_id) < 256:
        raise DatasetError(f"Video {video_id}: object id '{object_id}', expected 1 to 255, the value in the PNG masks.")
    return int(object_id)
