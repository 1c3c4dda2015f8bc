"""Tables of an ablation: variants over several seeds, and what of the paper's order holds.

Sentences of one video share it, and so do the seeds that answer them: values of all seeds are pooled and intervals are
clustered by video. They say how far other videos could move a number, not how far other trainings could; for that the
lowest and the highest seed stand beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from ..benchmarks.error_analysis import Analysis
from ..benchmarks.intervals import Interval, clustered_interval
from ..benchmarks.protocols.base import UnitScore
from ..benchmarks.results import Result, Table, percent, shown
from .literature import Row, load_source

PAPER = "videolisa"
#: The paper's tables of ablations: on MeViS alone, and with Ref-DAVIS-17.
BENCHMARKS = {"mevis": ("Table 5", "Table 6"), "ref-davis17": ("Table 8", "Table 9")}
NAMES = {"mevis": "MeViS valid_u", "ref-davis17": "Ref-DAVIS-17"}
PLAIN = (
    "Ablations at nano scale exercise the code path from data to table. They are no evidence for or against the paper: "
    "2.7 million parameters trained from nothing on drawn shapes say nothing of 3.8 billion on videos of the world."
)
#: What the intervals do not tell.
SHARED = (
    "All variants go on from one base, named with each: seeds differ in what is drawn afterwards, not in where "
    "they began. The base was trained with Sparse Dense before it saw all strategies alike, which may still favour it; "
    "and rows of n-frame and Sparse Dense are asked in training what the thing there has done, which pooled rows, of "
    "no single thing, cannot be."
)

Tags = Mapping[str, Any]
SUBSETS: dict[str, Callable[[Tags], bool]] = {
    "all": lambda tags: True,
    "temporal": lambda tags: tags["kind"] == "temporal",
    "temporal, appearance-unique": lambda tags: tags["kind"] == "temporal" and tags["family"] == "appearance-unique",
    "temporal, look-alike": lambda tags: tags["kind"] == "temporal" and tags["family"] == "look-alike",
}


@dataclass(frozen=True)
class Seeds:
    """One variant with every seed, in the same order for all variants.

    Attributes:
        name: of the variant.
        results, analyses: one a seed.
        printed: the paper's row by table; empty where it has none.
    """

    name: str
    results: tuple[Result, ...]
    analyses: tuple[Analysis, ...]
    printed: Mapping[str, str]

    def values(self, subset: str) -> dict[tuple[int, str], tuple[float, str]]:
        """J&F, 0-1, and video by seed's place and sentence."""
        return {
            (place, score.unit.key): (value, score.unit.video_id)
            for place, result in enumerate(self.results)
            for score in result.scores
            if SUBSETS[subset](score.unit.tags) and (value := _counted(score)) is not None
        }

    def mean(self, subset: str) -> Interval:
        """J&F over all seeds."""
        found = list(self.values(subset).values())
        return clustered_interval([value for value, _ in found], [video for _, video in found])

    def selection(self, subset: str) -> Interval:
        """Share of sentences whose best-overlapping object is the target, over all seeds."""
        units = [u for a in self.analyses for u in a.units if u.right is not None and SUBSETS[subset](u.tags)]
        return clustered_interval([float(bool(u.right)) for u in units], [u.video_id for u in units])

    def pairs(self) -> dict[str, float]:
        """Share of twins with both right, by kind of twin, mean over seeds."""
        found = [{name: v.value for name, v in a.pair_accuracy().items()} for a in self.analyses]
        names = dict.fromkeys(name for one in found for name in one)
        known = {name: [one[name] for one in found if one.get(name) is not None] for name in names}
        return {name: sum(v for v in values if v is not None) / len(values) for name, values in known.items() if values}

    def range(self) -> tuple[float, float]:
        """J&F of the lowest and of the highest seed."""
        each = [result.J_and_F or 0.0 for result in self.results]
        return min(each), max(each)

    def paper(self, dataset: str) -> float | None:
        """The paper's J&F on ``mevis`` or ``ref-davis17``, in percent."""
        for table in BENCHMARKS[dataset]:
            for row in load_source(PAPER).table(table):
                if row.dataset == dataset and row.variant == self.printed.get(table) and _is_of(row, self):
                    return row.metrics["J&F"]
        return None


def difference(a: Seeds, b: Seeds, subset: str = "all") -> Interval:
    """J&F of ``a`` minus that of ``b``, seed by seed and sentence by sentence."""
    mine, theirs = a.values(subset), b.values(subset)
    shared = [key for key in mine if key in theirs]
    return clustered_interval([mine[k][0] - theirs[k][0] for k in shared], [mine[k][1] for k in shared])


@dataclass(frozen=True)
class Report:
    """An ablation's tables.

    Attributes:
        name, title: of the ablation.
        variants: its rows.
        reference: name of the variant that differences are taken to.
        about: how it was made: seeds, steps, data.
    """

    name: str
    title: str
    variants: tuple[Seeds, ...]
    reference: str
    about: Mapping[str, Any]

    def tables(self) -> list[Table]:
        """J&F, differences, selection and twins, and the paper's order."""
        return [self._scores(), self._differences(), self._choices(), self._orders()]

    def _scores(self) -> Table:
        rows = []
        for one in self.variants:
            low, high = one.range()
            printed = [one.paper(dataset) for dataset in BENCHMARKS]
            rows.append(
                (
                    one.name,
                    *(shown(one.mean(subset)) for subset in SUBSETS),
                    f"{100 * low:.1f} – {100 * high:.1f}",
                    *("–" if value is None else f"{value:.1f}" for value in printed),
                )
            )
        head = ("variant", *SUBSETS, "seeds", *(f"paper, {name}" for name in NAMES.values()))
        return Table("J&F", head, tuple(rows))

    def _differences(self) -> Table:
        reference = self._of(self.reference)
        rows = [
            (one.name, *(_signed(difference(one, reference, subset)) for subset in SUBSETS))
            for one in self.variants
            if one is not reference
        ]
        return Table(f"J&F minus that of {self.reference}, paired", ("variant", *SUBSETS), tuple(rows))

    def _choices(self) -> Table:
        twins = sorted({twin for one in self.variants for twin in one.pairs()})
        rows = [
            (
                one.name,
                *(shown(one.selection(subset)) for subset in SUBSETS),
                *(percent(one.pairs().get(twin)) for twin in twins),
            )
            for one in self.variants
        ]
        head = ("variant", *SUBSETS, *(f"{twin} pairs" for twin in twins))
        return Table("The right object chosen, and both of a pair of twins", head, tuple(rows))

    def _orders(self) -> Table:
        rows = [
            (
                order["pair"],
                *(f"{order[d]:+.1f}" for d in BENCHMARKS),
                _signed(Interval(**order["here"])),
                order["holds"],
            )
            for order in self.orders()
        ]
        head = ("order", *(f"paper, {name}" for name in NAMES.values()), "here", "")
        return Table("The paper's orders", head, tuple(rows))

    def orders(self) -> list[dict[str, Any]]:
        """Every pair that the paper's tables order: their differences in percent, ours 0-1, and whether it holds."""
        printed = [one for one in self.variants if all(one.paper(d) is not None for d in BENCHMARKS)]
        return [self._order(a, b) for a, b in combinations(printed, 2)]

    def _order(self, a: Seeds, b: Seeds) -> dict[str, Any]:
        if (a.paper("mevis") or 0) < (b.paper("mevis") or 0):
            a, b = b, a
        theirs = {d: (a.paper(d) or 0) - (b.paper(d) or 0) for d in BENCHMARKS}
        here = difference(a, b)
        return {"pair": f"{a.name} > {b.name}", **theirs, "here": asdict(here), "holds": _verdict(theirs, here)}

    def _of(self, name: str) -> Seeds:
        return next(one for one in self.variants if one.name == name)

    def to_markdown(self) -> str:
        """The ablation as a section."""
        made = ", ".join(f"{name} {value}" for name, value in self.about.items() if value is not None)
        first = self.variants[0].results[0]
        parts = [
            f"## {self.title}",
            f"`rvos ablate {self.name}`: {made}. Scored by `{first.protocol.id}` on {first.dataset.id} "
            f"({first.record.extent}), in percent. ± is the 95 % interval, seeds pooled, clustered by video; *seeds* "
            "are the lowest and the highest.",
            *(table.to_markdown() for table in self.tables()),
            self.in_words(),
        ]
        return "\n\n".join(parts) + "\n"

    def in_words(self) -> str:
        """Which of the paper's orders hold here."""
        said: dict[str, list[str]] = {}
        for order in self.orders():
            said.setdefault(order["holds"], []).append(order["pair"])
        lines = [f"{verdict}: {'; '.join(pairs)}." for verdict, pairs in said.items()]
        return "Of the paper's orders — " + " ".join(lines) if lines else "The paper orders none of these rows."

    def to_json(self) -> str:
        """Values 0-1, the paper's in percent."""
        rows = [
            {
                "variant": one.name,
                "J&F": {subset: asdict(one.mean(subset)) for subset in SUBSETS},
                "selection_accuracy": {subset: asdict(one.selection(subset)) for subset in SUBSETS},
                "pair_accuracy": one.pairs(),
                "J&F_by_seed": [result.J_and_F for result in one.results],
                "difference": {s: asdict(difference(one, self._of(self.reference), s)) for s in SUBSETS},
                "paper": {dataset: one.paper(dataset) for dataset in BENCHMARKS},
                "runs": [str(result.path) for result in one.results],
            }
            for one in self.variants
        ]
        content = {"ablation": self.name, "reference": self.reference, "about": dict(self.about), "variants": rows}
        return json.dumps({**content, "orders": self.orders()}, indent=1, ensure_ascii=False) + "\n"

    def plot(self, path: Path) -> None:
        """J&F with intervals, a row a variant, a colour a subset."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 1.2 + 0.55 * len(self.variants)))
        axes = figure.subplots()
        for n, subset in enumerate(SUBSETS):
            found = [one.mean(subset) for one in self.variants]
            places = [row + 0.16 * (n - 1.5) for row in range(len(found))]
            values = [100 * (f.value or 0) for f in found]
            axes.errorbar(values, places, xerr=[100 * (f.half_width or 0) for f in found], fmt="o", label=subset, ms=4)
        axes.set_yticks(range(len(self.variants)), [one.name for one in self.variants])
        axes.invert_yaxis()
        axes.set_xlabel("J&F")
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        axes.grid(axis="x", alpha=0.3)
        figure.savefig(path, bbox_inches="tight")


def page(sections: Sequence[str]) -> str:
    """The document of all ablations, from their sections."""
    head = [
        "# Ablations at nano scale",
        "This page is written by `rvos ablate … --write docs/ablations.md`.",
        PLAIN,
        SHARED,
    ]
    return "\n\n".join([*head, *(section.strip() for section in sections)]) + "\n"


def _counted(score: UnitScore) -> float | None:
    return score.J_and_F if score.counted else None


def _is_of(row: Row, one: Seeds) -> bool:
    """Rows named ``Baseline`` and ``+ XMem`` are of LISA, all others of VideoLISA."""
    return row.method.startswith("LISA" if one.name.startswith("lisa") else "VideoLISA")


def _verdict(theirs: Mapping[str, float], here: Interval) -> str:
    if min(theirs.values()) * max(theirs.values()) <= 0:
        return "the paper's two benchmarks disagree"
    if here.value is None or here.half_width is None or abs(here.value) <= here.half_width:
        return "not told apart here"
    return "holds here" if here.value > 0 else "reversed here"


def _signed(interval: Interval) -> str:
    return shown(interval) if interval.value is None or interval.value < 0 else f"+{shown(interval)}"
