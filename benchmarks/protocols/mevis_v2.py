"""MeViS version 2: besides J and F, whether a model knows when nothing is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ...datasets.types import RVOSDataset, Sample
from . import summaries
from .base import J_AND_F, Metric, Summary, Trait, Unit, UnitScore
from .per_expression import Entry, MeViSStrict

N_ACC, T_ACC = Metric("N-acc"), Metric("T-acc")


@dataclass
class AnsweredEntry(Entry):
    """Notes whether anything is answered at all."""

    def values(self) -> dict[str, float]:
        """N-acc of an expression without a target: 1 where every frame has its mask and all of them are empty. T-acc
        of one with a target: 1 where a mask shows anything."""
        if self.sample.expression.object_ids == ():
            return {"N-acc": float(self.n_empty == len(self.J))}
        return {"T-acc": float(self.n_empty + self.n_missing + self.n_invalid < len(self.J))}


class MeViS2Strict(MeViSStrict):
    """J&F as ``mevis@1``, N-acc, T-acc and Final, the mean of the three.

    N-acc and T-acc as Ding et al. (TPAMI 2025) take them over from GRES; Final is their mean, which the published rows
    of the LSVOS challenge agree with. How the server counts J&F of no-target expressions is not published: here they
    are scored like every other (an empty mask is right in every frame), and ``target/J&F`` is J&F without them.
    """

    id = "mevis-v2@1"
    words = (
        "MeViS v2: Final, the mean of J&F over all expressions, N-acc (no-target expressions answered by no pixel) "
        "and T-acc (target expressions answered by any); missing is 0."
    )
    equals = ""
    metrics = (Metric("Final", composite=True), *J_AND_F, N_ACC, T_ACC)
    traits: ClassVar[Mapping[Trait, str]] = {
        **MeViSStrict.traits,
        "unit": "scores expressions, and whether those about nothing are answered by nothing",
    }

    def applies_to(self, dataset: RVOSDataset) -> str | None:
        other = super().applies_to(dataset)
        if other is None and all(s.expression.object_ids != () for s in dataset.samples):
            return f"{self.id} is for version 2 of MeViS; none of these expressions is without a target."
        return other

    def entries(self, dataset: RVOSDataset, samples: Sequence[Sample]) -> Sequence[Entry]:
        return [AnsweredEntry(sample, self.ground_truth(dataset, sample)) for sample in samples]

    def failed(self, unit: Unit, reason: str) -> UnitScore:
        return replace(super().failed(unit, reason), extras={"T-acc" if unit.object_ids else "N-acc": 0.0})

    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        values = {**summaries.j_and_f(scores), **{m.name: m.mean(scores) for m in (N_ACC, T_ACC)}}
        parts = [values[name] for name in ("J&F", "N-acc", "T-acc")]
        known = [part for part in parts if part is not None]
        values = {"Final": sum(known) / 3 if len(known) == 3 else None, **values}
        with_target = summaries.j_and_f([s for s in scores if s.unit.object_ids])
        extras = {f"target/{name}": value for name, value in with_target.items()}
        return summaries.summarise(scores, summaries.strict_warnings(scores), extras, values)
