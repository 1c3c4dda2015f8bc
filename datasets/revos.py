"""ReVOS (Yan et al., VISA, ECCV 2024): referring, reasoning and hallucination sentences about videos of six sources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .files import AnnotationErrors, MetaVideo, require_root
from .mevis import MeViS
from .problems import Problem
from .types import Expression, Sample, Video

#: ``type_id`` -> the tag ``type``. VISA calls the last hallucination or non-existent: nothing in the video is meant.
TYPES = {0: "referring", 1: "reasoning", 2: "no-target"}


class ReVOS(MeViS):
    """``meta_expressions_<split>_.json``, ``mask_dict.json`` of both splits, ``JPEGImages/<video>/``.

    Masks as in MeViS: the target of an expression is the union of its ``anno_id`` masks. Names of videos hold the
    folder of their source. ``mask_dict_foreground.json`` is not read: VISA's generate_foreground_mask.py makes it as
    the union of the annotations that a video's expressions name, which is the union of ``objects``.
    """

    name = "revos"

    def __init__(self, root: Path, split: str) -> None:
        meta_name = f"meta_expressions_{split}_.json"
        require_root(root, f"ReVOS ({split})", meta_name)
        self._read(root, split, root, meta_name, required=("anno_id", "type_id"))

    def own_checks(self) -> Iterator[Problem]:
        """As MeViS, but annotations that the split does not name are those of the other split."""
        return (problem for problem in super().own_checks() if problem.code != "unasked-object")

    def own_video_checks(self, video: Video) -> Iterator[Problem]:
        yield from super().own_video_checks(video)
        for sample in self.samples_of(video.id):
            expression = sample.expression
            if (expression.tags["type"] == "no-target") != (not expression.object_ids):
                found = f"its type is {expression.tags['type']}, its annotations are {expression.object_ids}."
                cure = "revos@1 goes by the type; X2SAM found other types that do not fit their sentences."
                yield Problem("warning", "type-differs", sample.key, found, cure)

    def _samples(self, entry: MetaVideo) -> Iterator[Sample]:
        odd = [i for i, fields in entry.expressions if fields["type_id"] not in list(TYPES)]
        if odd:
            words = [f"video '{entry.id}', expression '{i}': 'type_id' must be 0, 1 or 2." for i in odd]
            raise AnnotationErrors(self.meta_file, words)
        return super()._samples(entry)

    def _expression(self, expression_id: str, fields: dict[str, Any], ids: tuple[str, ...] | None) -> Expression:
        kind = TYPES[fields["type_id"]]
        return Expression(
            expression_id,
            fields["exp"],
            ids,
            kind="reasoning" if kind == "reasoning" else "referring",
            tags={"type": kind},
        )
