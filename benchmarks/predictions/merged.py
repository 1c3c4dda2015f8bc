"""Label maps of Ref-DAVIS-17: one per video, annotator and frame, read from files or merged from expressions.

Each of the four annotators asks for every object once. Family A of the field's protocols scores all objects of an
annotator together, in one map in which a pixel belongs to one object; what happens where masks overlap depends on
the merge rule, so results name it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...datasets.errors import ImageError, PredictionInvalid, PredictionMissing, ProtocolError
from ...datasets.images import label_values
from ...datasets.types import RVOSDataset, Sample, Video
from .base import ExpressionPredictions, Foreground, MergedPredictions
from .files import MaskFiles
from .folders import PngPredictions
from .foreground import decode_mask_file

#: How masks or scores of an annotator's objects become one map.
#:  ``soft-argmax-0.1``    scores below 0.5 become 0, background is 0.1, the highest wins, ties go to the lower object
#:                         (ReferFormer 06fc218, inference_davis.py:180-190, 250-268)
#:  ``lower-object-wins``  binary masks; where they overlap the lower object has the pixel: what the rule above makes
#:                         of binary masks
#:  ``brighter-wins``      8-bit grey values below 50 become 0, the brightest wins, ties go to the lower object
#:                         (VideoLISA 146f2bc, evaluation/refdavis/post_process_davis.py)
MergeRule = Literal["soft-argmax-0.1", "lower-object-wins", "brighter-wins"]

N_ANNOTATORS = 4
#: what is not above it is 0 under the soft rule, and loses to the background
_BELOW_HALF = float(np.nextafter(np.float32(0.5), np.float32(0)))


def annotator_of(sample: Sample) -> int:
    """0-3 in the converter's order: annot1 first frame, annot1 full video, annot2 first frame, annot2 full video.

    Raises:
        ProtocolError: not a sample of Ref-DAVIS-17.
    """
    annotator = sample.expression.tags.get("annotator")
    if not isinstance(annotator, int) or not 0 <= annotator < N_ANNOTATORS:
        raise ProtocolError(f"{sample.key} has no annotator, so it is no Ref-DAVIS-17 sample; merge only those.")
    return annotator


def annotator_samples(dataset: RVOSDataset, video_id: str, annotator: int) -> tuple[Sample, ...]:
    """The samples of one annotator about one video; the k-th is label k (from 1) of the merged map.

    They follow the expression numbers of the converted files: 4 * object position + annotator.
    """
    samples = [s for s in dataset.samples_of(video_id) if annotator_of(s) == annotator]
    if all(s.expression.layout_id.isdecimal() for s in samples):
        samples.sort(key=lambda s: int(s.expression.layout_id))
    return tuple(samples)


class MergedFromExpressions:
    """Label maps made from masks or scores of single expressions.

    Attributes:
        predictions: the masks.
        merge_rule: see ``MergeRule``.
        foreground: how grey files become masks under ``lower-object-wins``.
    """

    def __init__(
        self,
        predictions: ExpressionPredictions,
        dataset: RVOSDataset,
        rule: MergeRule,
        foreground: Foreground = "strict",
    ) -> None:
        self.predictions = predictions
        self.merge_rule = rule
        self.foreground = foreground
        self.n_annotators = N_ANNOTATORS
        self._samples: Mapping[tuple[str, int], tuple[Sample, ...]] = {
            (video.id, k): annotator_samples(dataset, video.id, k)
            for video in dataset.videos
            for k in range(N_ANNOTATORS)
        }

    @property
    def layout(self) -> str:
        return self.predictions.layout

    @property
    def path(self) -> Path:
        return self.predictions.path

    def labels(self, video: Video, annotator: int, frame_index: int) -> NDArray[np.uint8]:
        """uint8 (H, W), 0 is background, label k the annotator's k-th object.

        Raises:
            PredictionMissing: any of the objects has no mask. An absent file is never read as an empty mask, because
                the pixels it leaves free would go to another object.
            PredictionInvalid: any of the masks cannot be used, or their sizes differ.
        """
        samples = self._samples.get((video.id, annotator), ())
        if not samples:
            raise PredictionMissing(f"{self.path}: annotator {annotator} asks for nothing in video {video.id}.")
        name = video.frame_names[frame_index]
        if self.merge_rule == "lower-object-wins":
            return self._highest((self.predictions.mask(s, name, self.foreground) for s in samples), samples, name, 0)
        if self.merge_rule == "brighter-wins":
            return self._highest((self._grey(s, name) for s in samples), samples, name, 49)
        return self._highest((self._scores(s, name) for s in samples), samples, name, _BELOW_HALF)

    def _highest(
        self, planes: Iterator[NDArray[Any]], samples: tuple[Sample, ...], name: str, floor: float
    ) -> NDArray[np.uint8]:
        """The number (from 1) of the first plane that is highest where any is above ``floor``, 0 elsewhere."""
        labels: NDArray[np.uint8] | None = None
        for number, plane in self._of_one_size(planes, samples, name):
            if labels is None:
                labels = np.zeros(plane.shape, np.uint8)
                best = np.full(plane.shape, floor, plane.dtype)
            np.copyto(labels, np.uint8(number), where=plane > best)
            np.maximum(best, plane, out=best)
        assert labels is not None
        return labels

    def _grey(self, sample: Sample, name: str) -> NDArray[np.uint8]:
        if isinstance(self.predictions, PngPredictions):
            return self.predictions.grey(sample, name)
        return self.predictions.mask(sample, name, "grey-50").astype(np.uint8) * np.uint8(255)

    def _scores(self, sample: Sample, name: str) -> NDArray[np.float32]:
        scores = self.predictions.scores(sample, name)
        if scores is None:
            raise PredictionInvalid(
                f"{self.path}: holds masks, no scores for {sample.key}; merge them with the rule lower-object-wins."
            )
        return scores

    def _of_one_size(
        self, arrays: Iterator[NDArray[Any]], samples: tuple[Sample, ...], name: str
    ) -> Iterator[tuple[int, NDArray[Any]]]:
        """(label, array) in order. Raises PredictionInvalid where the sizes differ."""
        first: tuple[int, ...] | None = None
        for number, (array, sample) in enumerate(zip(arrays, samples, strict=True), start=1):
            first = first or array.shape
            if array.shape != first:
                sizes = f"{_by(first)} for {samples[0].key}, {_by(array.shape)} for {sample.key}"
                raise PredictionInvalid(f"{self.path}: frame {name} is {sizes}; write all at the video's size.")
            yield number, array


@dataclass(frozen=True)
class MergedFolders:
    """Label maps in files: ``anno_<k>/<video>/<frame>.png``, or one folder for all annotators.

    Frames carry their own names or are numbered from 00000, as the public scripts write them.

    Attributes:
        files: the folder or archive.
        roots: the folder of each annotator below it; a single one stands for all.
        layout: ``anno-folders`` or ``label-maps``.
        merge_rule: not known: the files were merged elsewhere.
    """

    files: MaskFiles
    roots: tuple[str, ...]
    layout: str = "anno-folders"
    merge_rule: str = "as in the files"

    @property
    def path(self) -> Path:
        return self.files.path

    @property
    def n_annotators(self) -> int:
        """4, or 1 where one folder stands for all annotators."""
        return len(self.roots)

    def labels(self, video: Video, annotator: int, frame_index: int) -> NDArray[np.uint8]:
        """uint8 (H, W) as stored. Raises PredictionMissing, PredictionInvalid."""
        root = self.roots[annotator if self.n_annotators > 1 else 0]
        folder = f"{root}/{video.id}" if root else video.id
        name = f"{folder}/{self._frame_name(folder, video, frame_index)}.png"
        where = self.files.where(name)
        try:
            return label_values(decode_mask_file(self.files.read(name), where), where)
        except ImageError as error:
            raise PredictionInvalid(str(error)) from error

    def _frame_name(self, folder: str, video: Video, index: int) -> str:
        """The frame's own name, or its number where the folder holds numbers that are no frame names."""
        own, number = video.frame_names[index], f"{index:05d}"
        if own == number:
            return own
        there = {n.removesuffix(".png") for n in self.files.names(folder) or ()}
        return own if there <= set(video.frame_names) else number


def as_expressions(predictions: ExpressionPredictions | MergedPredictions) -> ExpressionPredictions:
    """The predictions for a protocol that scores expressions.

    Raises:
        ProtocolError: label maps, in which masks that overlapped have been cut.
    """
    if isinstance(predictions, ExpressionPredictions):
        return predictions
    raise ProtocolError(
        f"{predictions.path} holds label maps of merged objects; overlaps are lost in them, so no mask of a single "
        "expression can be had. Give the per-expression masks (<video>/<expression>/<frame>.png)."
    )


def as_merged(
    predictions: ExpressionPredictions | MergedPredictions,
    dataset: RVOSDataset,
    rule: MergeRule | None = None,
    foreground: Foreground = "strict",
) -> MergedPredictions:
    """The predictions for a protocol that scores label maps; single expressions are merged by ``rule``.

    ``rule`` is by default ``soft-argmax-0.1`` for layouts of scores and ``lower-object-wins`` for masks. Label maps
    pass through as they are.
    """
    if not isinstance(predictions, ExpressionPredictions):
        return predictions
    default: MergeRule = "soft-argmax-0.1" if predictions.layout.startswith("soft") else "lower-object-wins"
    return MergedFromExpressions(predictions, dataset, rule or default, foreground)


def _by(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
