"""Ref-DAVIS-17 (Khoreva et al., ACCV 2018): four sentences about every object of DAVIS-2017."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from .errors import DatasetError, UsageError
from .files import is_plain_path, names_in, read_meta, read_text, require_root
from .frames import SUFFIXES, FrameFolder, png_paths
from .images import png_labels
from .masks import LabelMapMasks
from .problems import Problem, Severity
from .types import Expression, Masklet, RVOSDataset, Sample, Video

Annotation = Literal["unsupervised", "semi-supervised"]
Layout = Literal["converted", "original"]

VOID = 255
#: annotator number -> (file of davis_text_annotations, its encoding, who and what was seen)
#: The converter numbers a video's expressions 4 * object position + annotator number.
ANNOTATORS = (
    ("Davis17_annot1.txt", "utf-8-sig", "annot1-first"),
    ("Davis17_annot1_full_video.txt", "utf-8-sig", "annot1-full"),
    ("Davis17_annot2.txt", "latin-1", "annot2-first"),
    ("Davis17_annot2_full_video.txt", "latin-1", "annot2-full"),
)
#: names that the text files misspell (ReferFormer's convert_davis_to_ytvos.py corrects the same three)
MISSPELT = {"clasic-car": "classic-car", "dog-scale": "dogs-scale", "motor-bike": "motorbike"}
_IMAGE_SET = {"train": "train", "valid": "val"}
_MASK_FOLDER: dict[Annotation, str] = {"unsupervised": "Annotations_unsupervised", "semi-supervised": "Annotations"}


class RefDAVIS17(RVOSDataset):
    """The converted layout that the field uses, or DAVIS itself with its text files; no converter is needed.

    Converted (ReferFormer): ``meta_expressions/<split>/meta_expressions.json``, ``<split>/JPEGImages/<video>/``,
    ``<split>/Annotations/<video>/``. Original: ``DAVIS/{JPEGImages,Annotations_unsupervised,Annotations}/480p``,
    ``DAVIS/ImageSets/2017/{train,val}.txt``, ``davis_text_annotations/Davis17_annot*.txt``; ``DAVIS`` itself may be
    the root. Where both are there, ``layout`` chooses, ``converted`` by default; samples are the same.

    DAVIS-2017 has two sets of masks. *Unsupervised* (a re-annotation, Caelles et al. 2019) is what ReferFormer's
    evaluation reads and what ``ground_truth`` and ``objects`` give; *semi-supervised* is the original one.

    An expression's id, ``<object>-annot<1|2>-<first|full>``, says who wrote it after seeing what; the numbers that
    converters give, and that prediction folders carry, are its ``layout_id``.
    """

    name = "ref-davis17"

    def __init__(self, root: Path, split: str, layout: Layout | None = None) -> None:
        converted = f"meta_expressions/{split}/meta_expressions.json"
        texts = "davis_text_annotations/" + ANNOTATORS[0][0]
        markers = {"converted": (converted,), "original": (texts,), None: (converted, texts)}
        if layout not in markers:
            raise UsageError(f"Unknown layout '{layout}' of Ref-DAVIS-17; use 'converted' or 'original'.")
        require_root(root, f"Ref-DAVIS-17 ({split})", *markers[layout])
        self.davis = root / "DAVIS" if (root / "DAVIS").is_dir() else root
        self.layout: Layout = layout or ("converted" if (root / converted).exists() else "original")
        self.folder = root / split
        if self.layout == "converted":
            self.text_files = [root / converted]
            queries = _queries_of_converted(root / converted)
        else:
            self.text_files = [root / "davis_text_annotations" / name for name, _, _ in ANNOTATORS]
            queries = _queries_of_texts(self.text_files, self._frame_lists(split))
        super().__init__(root, split, "unstated", list(self._samples(queries)))

    def ground_truth(self, sample: Sample) -> Masklet | None:
        """The object's unsupervised masks; all absent where that annotation set has no such object."""
        return self.expression_masks("unsupervised", sample)

    def objects(self, video: Video) -> dict[str, Masklet]:
        """The objects of the unsupervised masks."""
        return self.object_masks("unsupervised", video)

    def expression_masks(self, annotation: Annotation, sample: Sample) -> Masklet | None:
        """Masks of the sample's object in one of the two sets, or None where the set is not on disk."""
        paths = self.label_map_paths(annotation, sample.video)
        assert sample.expression.object_ids
        return _masklet(sample.video, paths, int(sample.expression.object_ids[0])) if any(paths) else None

    def object_masks(self, annotation: Annotation, video: Video) -> dict[str, Masklet]:
        """Every object that is annotated in any frame, by id; empty where the set is not on disk.

        Official scripts count objects in the first frame only (``max`` of its labels); void is 255.
        """
        paths = self.label_map_paths(annotation, video)
        return {str(label): _masklet(video, paths, label) for label in _labels_in(paths)}

    def label_map_paths(self, annotation: Annotation, video: Video) -> tuple[Path | None, ...]:
        """The indexed PNG of every frame of the video, None where there is none."""
        folder = self._mask_folder(annotation, video.id)
        return png_paths(folder, video.frame_names, names_in(folder, ".png"))

    def annotation_files(self) -> Sequence[Path]:
        paths = list(self.text_files)
        for annotation in _MASK_FOLDER:
            for video in self.videos:
                paths.extend(p for p in self.label_map_paths(annotation, video) if p is not None)
        return list(dict.fromkeys(paths))

    def own_checks(self) -> Iterator[Problem]:
        for annotation in _MASK_FOLDER:
            without = [v.id for v in self.videos if not any(self.label_map_paths(annotation, v))]
            if without:
                found = f"no {annotation} masks of {len(without)} of {len(self.videos)} videos, first {without[0]}."
                severity: Severity = "error" if annotation == "unsupervised" else "note"
                cure = f"Protocols that read {_MASK_FOLDER[annotation]} need DAVIS/{_MASK_FOLDER[annotation]}/480p."
                yield Problem(severity, "no-masks", str(self.davis), found, cure)

    def own_video_checks(self, video: Video) -> Iterator[Problem]:
        """Whether a number means the same object in both sets of masks, and which objects each has alone."""
        late = set(self.object_masks("unsupervised", video)) - {
            str(label) for label in _labels_in(self.label_map_paths("unsupervised", video)[:1])
        }
        for object_id in sorted(late):
            found = f"object {object_id} is not in the first frame."
            yield Problem("note", "late-object", f"video {video.id}", found, "Official scripts do not count it.")
        asked = {i for s in self.samples_of(video.id) for i in s.expression.object_ids or ()}
        overlap = self.overlap_of_annotations(video)
        for object_id in sorted(asked if overlap else ()):
            best = max(overlap.get(object_id, {}).items(), key=lambda item: item[1], default=("none", 0.0))
            if best[0] != object_id:
                own = overlap.get(object_id, {}).get(object_id, 0.0)
                found = (
                    f"object {object_id} of the semi-supervised masks is object {best[0]} of the unsupervised ones "
                    f"(IoU {best[1]:.2f}; {own:.2f} with the same number)."
                )
                cure = "Scores per expression differ between both sets; say which was used."
                yield Problem("warning", "ids-disagree", f"video {video.id}", found, cure)

    def overlap_of_annotations(self, video: Video) -> dict[str, dict[str, float]]:
        """IoU over all frames of every semi-supervised object with every unsupervised one that it touches, by ids.

        Void pixels of either set are left out. Empty where one of the two sets is not on disk.
        """
        pairs = zip(
            self.label_map_paths("semi-supervised", video), self.label_map_paths("unsupervised", video), strict=True
        )
        table = np.zeros((256, 256), np.int64)
        for first, second in pairs:
            if first is None or second is None:
                continue
            ours, theirs = png_labels(first), png_labels(second)
            if ours.shape != theirs.shape:
                raise DatasetError(f"{first}: {ours.shape}, but {second}: {theirs.shape}; both must have one size.")
            joint = ours.astype(np.int64) * 256 + theirs
            table += np.bincount(joint.ravel(), minlength=1 << 16).reshape(256, 256)
        table[VOID], table[:, VOID] = 0, 0
        areas, their_areas = table.sum(axis=1), table.sum(axis=0)
        return {
            str(a): {
                str(b): float(table[a, b] / (areas[a] + their_areas[b] - table[a, b]))
                for b in np.flatnonzero(table[a]).tolist()
                if b != 0
            }
            for a in np.flatnonzero(areas).tolist()
            if a != 0
        }

    def _samples(self, queries: Sequence[_Query]) -> Iterator[Sample]:
        videos: dict[str, Video] = {}
        for query in queries:
            if query.video not in videos:
                videos[query.video] = Video(query.video, query.frames, self._frames(query.video, query.frames[0]))
            yield Sample(
                videos[query.video],
                Expression(
                    id=f"{query.object_id}-{ANNOTATORS[query.annotator][2]}",
                    text=query.text,
                    object_ids=(query.object_id,),
                    layout_id=query.layout_id,
                    tags={"annotator": query.annotator},
                ),
            )

    def _frames(self, video: str, first: str) -> FrameFolder:
        folder = self.folder / "JPEGImages" / video
        if self.layout == "original" or not folder.is_dir():
            original = self.davis / "JPEGImages" / "480p" / video
            folder = original if original.is_dir() else folder
        return FrameFolder(folder, self._mask_folder("unsupervised", video) / f"{first}.png")

    def _mask_folder(self, annotation: Annotation, video: str) -> Path:
        """In DAVIS itself where it is there: that is what the official evaluation reads."""
        if annotation not in _MASK_FOLDER:
            raise UsageError(f"Unknown annotation '{annotation}'; DAVIS has {' and '.join(_MASK_FOLDER)} masks.")
        original = self.davis / _MASK_FOLDER[annotation] / "480p" / video
        if annotation == "unsupervised" and not original.is_dir():
            return self.folder / "Annotations" / video
        return original

    def _frame_lists(self, split: str) -> dict[str, tuple[str, ...]]:
        """Frames of every video of DAVIS' own split, in its order; of the images, else of the masks."""
        frames: dict[str, tuple[str, ...]] = {}
        image_set = self.davis / "ImageSets" / "2017" / f"{_IMAGE_SET[split]}.txt"
        for video in read_text(image_set).split():
            stems = _stems(self.davis / "JPEGImages" / "480p" / video) or _stems(
                self.davis / _MASK_FOLDER["unsupervised"] / "480p" / video
            )
            if not stems or not is_plain_path(video):
                raise DatasetError(f"{image_set}: lists '{video}', but {self.davis} has no frames of it.")
            frames[video] = tuple(stems)
        return frames


@dataclass(frozen=True)
class _Query:
    video: str
    frames: tuple[str, ...]
    object_id: str
    annotator: int
    layout_id: str
    text: str


def _queries_of_converted(path: Path) -> list[_Query]:
    queries: list[_Query] = []
    for video in read_meta(path, required=("obj_id",)):
        for expression_id, fields in video.expressions:
            if not expression_id.isdecimal():
                raise DatasetError(
                    f"{path}: video '{video.id}', expression id '{expression_id}'; expected the converter's number "
                    "4 * object + annotator. The original layout (DAVIS + davis_text_annotations) needs no converter."
                )
            object_id = _object_id(fields["obj_id"], f"{path}: video '{video.id}'")
            annotator = int(expression_id) % len(ANNOTATORS)
            queries.append(_Query(video.id, video.frames, object_id, annotator, expression_id, fields["exp"]))
    _refuse_repeated(queries, path)
    return queries


def _queries_of_texts(text_files: Sequence[Path], frames: Mapping[str, tuple[str, ...]]) -> list[_Query]:
    """What the converter makes of the four files: objects in string order, four numbers an object."""
    texts: dict[str, dict[str, dict[int, str]]] = {video: {} for video in frames}
    for annotator, path in enumerate(text_files):
        for video, object_id, text in _parse_texts(path, ANNOTATORS[annotator][1]):
            if video in texts:
                by_annotator = texts[video].setdefault(object_id, {})
                if annotator in by_annotator:
                    raise DatasetError(f"{path}: two sentences about object {object_id} of {video}; expected one.")
                by_annotator[annotator] = text
    return [
        _Query(video, frames[video], object_id, annotator, str(len(ANNOTATORS) * position + annotator), text)
        for video, objects in texts.items()
        for position, object_id in enumerate(sorted(objects))
        for annotator, text in sorted(objects[object_id].items())
    ]


def _parse_texts(path: Path, encoding: str) -> Iterator[tuple[str, str, str]]:
    """(video, object id, text) of every line ``<video> <object> "<text>"``."""
    for number, line in enumerate(read_text(path, encoding).split("\n"), start=1):
        if not line.strip():
            continue
        parts = line.strip().split(" ", 2)
        if len(parts) < 3 or len(parts[2]) < 2:
            raise DatasetError(f'{path}, line {number}: {line[:60]!r}, expected <video> <object> "<text>".')
        video, object_id, quoted = parts
        yield MISSPELT.get(video, video), _object_id(object_id, f"{path}, line {number}"), quoted[1:-1]


def _object_id(value: object, where: str) -> str:
    text = str(value)
    if not text.isdecimal() or not 0 < int(text) < VOID:
        raise DatasetError(f"{where}: object id '{text[:40]}', expected 1 to 254, the value in the PNG masks.")
    return text


def _refuse_repeated(queries: Sequence[_Query], path: Path) -> None:
    seen: dict[tuple[str, str, int], str] = {}
    for q in queries:
        other = seen.setdefault((q.video, q.object_id, q.annotator), q.layout_id)
        if other != q.layout_id:
            raise DatasetError(
                f"{path}: video '{q.video}', expressions {other} and {q.layout_id} are the same annotator's "
                f"about object {q.object_id}; expected ids 4 * object + annotator, as ReferFormer's converter gives."
            )


def _masklet(video: Video, paths: tuple[Path | None, ...], label: int) -> Masklet:
    return Masklet(video.frame_names, LabelMapMasks(paths, (label,), void_label=VOID))


@lru_cache(maxsize=256)
def _labels_in(paths: tuple[Path | None, ...]) -> tuple[int, ...]:
    """The labels of all frames, ascending, background and void left out."""
    present = np.zeros(256, bool)
    for path in paths:
        if path is not None:
            present |= np.bincount(png_labels(path).ravel(), minlength=256) > 0
    present[[0, VOID]] = False
    return tuple(np.flatnonzero(present).tolist())


def _stems(folder: Path) -> list[str]:
    return sorted({stem for suffix in SUFFIXES for stem in names_in(folder, suffix)})
