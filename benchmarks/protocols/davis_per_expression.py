"""Ref-DAVIS-17 per expression: each of the 244 sentences against its own object, no merging, no matching.

This is how the VISA line of papers scores (cilinyan/VISA tools/eval_davis17.py), but its ground truth is a pickle
whose origin is not documented, so there are two protocols, one for each set of DAVIS-2017 masks, and neither has an
official script.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ...datasets.masks import LabelMapMasks
from ...datasets.ref_davis17 import Annotation
from ...datasets.types import Masklet, RVOSDataset, Sample
from .base import Trait
from .davis import davis, mask_obstacle
from .per_expression import STRICT_TRAITS, PerExpressionProtocol


class DavisPerExpression(PerExpressionProtocol):
    """The object is where a label map holds its number; 255 is background."""

    source = "this project"
    strict = True
    dataset_name = "ref-davis17"
    annotation: ClassVar[Annotation]

    def applies_to(self, dataset: RVOSDataset) -> str | None:
        return super().applies_to(dataset) or mask_obstacle(self.id, dataset, self.annotation)

    def ground_truth(self, dataset: RVOSDataset, sample: Sample) -> Masklet | None:
        paths = davis(dataset).label_map_paths(self.annotation, sample.video)
        if not any(paths):
            return None
        labels = tuple(int(object_id) for object_id in sample.expression.object_ids or ())
        return Masklet(sample.video.frame_names, LabelMapMasks(paths, labels))


class PerExpressionUnsupervised(DavisPerExpression):
    """Each sentence against its object in the unsupervised masks, mean over sentences."""

    id = "davis17-per-expression-unsup@1"
    words = (
        "Ref-DAVIS-17, each sentence against its own object in the unsupervised masks, mean over sentences; "
        "missing is 0."
    )
    annotation = "unsupervised"
    traits: ClassVar[Mapping[Trait, str]] = {
        **STRICT_TRAITS,
        "ground truth": "reads the unsupervised masks",
        "frames": "scores all frames",
        "void": "takes pixels labelled 255 as background",
    }


class PerExpressionSemiSupervised(DavisPerExpression):
    """Each sentence against its object in the semi-supervised masks, mean over sentences."""

    id = "davis17-per-expression-semisup@1"
    words = (
        "Ref-DAVIS-17, each sentence against its own object in the semi-supervised masks, mean over sentences; "
        "missing is 0."
    )
    annotation = "semi-supervised"
    traits: ClassVar[Mapping[Trait, str]] = {
        **PerExpressionUnsupervised.traits,
        "ground truth": "reads the semi-supervised masks",
    }
