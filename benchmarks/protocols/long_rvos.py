"""Long-RVOS: besides J and F, when the object is found (tIoU), and when and where together (vIoU)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ...datasets.types import RVOSDataset, Sample
from . import summaries
from .base import J_AND_F, Metric, Summary, Trait, Unit, UnitScore
from .per_expression import STRICT_TRAITS, Entry, PerExpressionProtocol, ScoredFrame

T_IOU, V_IOU = Metric("tIoU"), Metric("vIoU")


@dataclass
class SpannedEntry(Entry):
    """Counts the frames in which the object is, or is predicted."""

    n_either: int = 0
    n_both: int = 0
    J_of_both: float = 0.0

    def measure(self, frame: ScoredFrame) -> None:
        self.n_either += not (frame.truth.empty and frame.prediction.empty)
        if not frame.truth.empty and not frame.prediction.empty:
            self.n_both += 1
            self.J_of_both += self.J[-1]

    def values(self) -> dict[str, float]:
        """tIoU = frames in which object and prediction are / frames in which either is; vIoU = the sum of J over the
        former / the latter; 1 where neither is anywhere. A frame without a usable mask counts among the latter alone,
        as if something wrong had been predicted."""
        either = self.n_either + self.n_missing + self.n_invalid
        if not either:
            return {"tIoU": 1.0, "vIoU": 1.0}
        return {"tIoU": self.n_both / either, "vIoU": self.J_of_both / either}


class LongRVOSStrict(PerExpressionProtocol):
    """Long-RVOS: J, F, tIoU and vIoU of each expression, mean over all of them and by type.

    Values as eval/eval_long_rvos/eval_{static,dynamic,hybrid,overall}.py (iSEE-Laboratory/Long_RVOS@4620011), which
    take a missing frame for an empty mask; here it is wrong.
    """

    id = "long-rvos@1"
    words = (
        "Long-RVOS: J and F over all frames, tIoU and vIoU (when, and when and where, the object is found) of each "
        "expression, mean over all expressions; missing is 0."
    )
    source = "this project"
    strict = True
    dataset_name = "long-rvos"
    metrics = (*J_AND_F, T_IOU, V_IOU)
    traits: ClassVar[Mapping[Trait, str]] = {
        **STRICT_TRAITS,
        "ground truth": "reads the object's own masks",
        "frames": "scores all listed frames, those without a mask file as empty",
    }

    def entries(self, dataset: RVOSDataset, samples: Sequence[Sample]) -> Sequence[Entry]:
        return [SpannedEntry(sample, self.ground_truth(dataset, sample)) for sample in samples]

    def failed(self, unit: Unit, reason: str) -> UnitScore:
        return replace(super().failed(unit, reason), extras={"tIoU": 0.0, "vIoU": 0.0})

    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        values = {**summaries.j_and_f(scores), **{m.name: m.mean(scores) for m in (T_IOU, V_IOU)}}
        return summaries.summarise(scores, summaries.strict_warnings(scores), values=values)
