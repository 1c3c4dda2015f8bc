"""What a split is like: how long, how many, how large, how wordy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .types import Masklet, RVOSDataset, Video


@dataclass(frozen=True)
class Distribution:
    """Values of one quantity over a split."""

    name: str
    unit: str
    values: tuple[float, ...]

    def summary(self) -> dict[str, float | int | None]:
        """Number of values, minimum, quartiles, mean and maximum; None where there are no values."""
        if not self.values:
            return {"n": 0, "min": None, "q25": None, "median": None, "mean": None, "q75": None, "max": None}
        low, q25, median, q75, high = (float(q) for q in np.percentile(self.values, [0, 25, 50, 75, 100]))
        mean = float(np.mean(self.values))
        return {"n": len(self.values), "min": low, "q25": q25, "median": median, "mean": mean, "q75": q75, "max": high}


@dataclass(frozen=True)
class Statistics:
    """Counts and distributions of a split.

    Attributes:
        n_objects: annotated objects; 0 where the split withholds masks.
        n_no_target: expressions whose target is in no frame by declaration (no object ids).
        distributions: frames per video, expressions per video, words per expression, objects per video, object size
            (percent of the frame, mean over the frames looked at in which the object is seen).
        groups: counts of samples by a property: ``source``, ``kind``, ``form``, ``objects asked for``.
    """

    dataset: str
    n_videos: int
    n_samples: int
    n_objects: int
    n_no_target: int
    distributions: tuple[Distribution, ...]
    groups: dict[str, dict[str, int]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "dataset": self.dataset,
            "n_videos": self.n_videos,
            "n_samples": self.n_samples,
            "n_objects": self.n_objects,
            "n_no_target": self.n_no_target,
            "distributions": {d.name: {"unit": d.unit, **d.summary()} for d in self.distributions},
            "groups": self.groups,
        }

    def __str__(self) -> str:
        lines = [
            f"{self.dataset}: {self.n_videos} videos, {self.n_samples} samples, {self.n_objects} annotated objects, "
            f"{self.n_no_target} without target"
        ]
        for distribution in self.distributions:
            if distribution.values:
                s = distribution.summary()
                lines.append(
                    f"{distribution.name}: median {s['median']:g}, {s['min']:g} to {s['max']:g} {distribution.unit}"
                )
        lines += [f"{name}: " + ", ".join(f"{k} {n}" for k, n in group.items()) for name, group in self.groups.items()]
        return "\n".join(lines)

    def plot(self, folder: Path) -> list[Path]:
        """One PNG per distribution and per group, written to ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        written = [_plot_distribution(d, self.dataset, folder) for d in self.distributions if d.values]
        return written + [_plot_group(name, g, self.dataset, folder) for name, g in self.groups.items() if len(g) > 1]


def dataset_statistics(dataset: RVOSDataset, frames_per_object: int = 5, progress: bool = False) -> Statistics:
    """Statistics of a split.

    Args:
        dataset: the split.
        frames_per_object: masks decoded per object to measure its size, evenly over time; 0 leaves sizes out.
        progress: show a bar on standard error.

    Raises:
        DatasetError, ImageError: masks that cannot be read.
    """
    n_objects, sizes = [], []
    for video in _shown(dataset.videos, dataset.id, progress):
        objects = dataset.objects(video)
        n_objects.append(len(objects))
        if frames_per_object:
            sizes += [size for m in objects.values() if (size := size_percent(m, frames_per_object)) is not None]
    samples = dataset.samples
    words = [len(sample.expression.text.split()) for sample in samples]
    per_video = [len(dataset.samples_of(video.id)) for video in dataset.videos]
    return Statistics(
        dataset=dataset.id,
        n_videos=len(dataset.videos),
        n_samples=len(samples),
        n_objects=sum(n_objects),
        n_no_target=sum(sample.expression.object_ids == () for sample in samples),
        distributions=(
            Distribution("frames per video", "frames", tuple(len(video) for video in dataset.videos)),
            Distribution("expressions per video", "expressions", tuple(per_video)),
            Distribution("words per expression", "words", tuple(words)),
            Distribution("objects per video", "objects", tuple(n_objects) if any(n_objects) else ()),
            Distribution("object size", "% of the frame", tuple(sizes)),
        ),
        groups=_groups(dataset),
    )


def _groups(dataset: RVOSDataset) -> dict[str, dict[str, int]]:
    """Counts of samples by what the dataset tells about them; sources in one letter case."""
    expressions = [sample.expression for sample in dataset]
    forms = {True: "sentence", False: "phrase", None: "unstated"}
    groups: dict[str, list[str]] = {
        "source": [str(e.tags["source"]).upper() for e in expressions if "source" in e.tags],
        "annotator": [str(e.tags["annotator"]) for e in expressions if "annotator" in e.tags],
        "kind": [e.kind for e in expressions],
        "form": [forms[e.is_sentence] for e in expressions],
        "objects asked for": [str(len(e.object_ids)) for e in expressions if e.object_ids is not None],
    }
    return {name: dict(sorted(Counter(values).items())) for name, values in groups.items() if values}


def size_percent(masklet: Masklet, n_frames: int) -> float | None:
    """Mean share of the frame in percent, over evenly chosen frames where the object is seen; None where it is not."""
    chosen = np.unique(np.linspace(0, len(masklet) - 1, n_frames).round().astype(int))
    masks = (masklet.mask(int(i)) for i in chosen)
    shares = [100 * float(mask.mean()) for mask in masks if mask is not None and mask.any()]
    return float(np.mean(shares)) if shares else None


def _shown(videos: Sequence[Video], name: str, progress: bool) -> Iterator[Video]:
    from rich.console import Console
    from rich.progress import track

    yield from track(videos, f"measuring {name}", console=Console(stderr=True), disable=not progress, transient=True)


def _plot_distribution(distribution: Distribution, dataset: str, folder: Path) -> Path:
    figure, axes = _axes(dataset, distribution.name)
    values = np.asarray(distribution.values)
    whole = bool((values == values.round()).all())
    if whole and np.ptp(values) <= 60:
        bins: Any = np.arange(values.min(), values.max() + 2) - 0.5
    else:
        bins = 30
    axes.hist(values, bins=bins, color="#3b6fb6", edgecolor="white", linewidth=0.5)
    axes.axvline(float(np.median(values)), color="#d1495b", linewidth=1.5, label=f"median {np.median(values):.4g}")
    axes.set_xlabel(f"{distribution.name} ({distribution.unit})")
    axes.set_ylabel("count")
    axes.yaxis.get_major_locator().set_params(integer=True)
    if whole:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return _save(figure, folder, distribution.name)


def _plot_group(name: str, counts: dict[str, int], dataset: str, folder: Path) -> Path:
    figure, axes = _axes(dataset, f"samples by {name}")
    bars = axes.barh(list(counts), list(counts.values()), color="#3b6fb6")
    axes.bar_label(bars, padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("samples")
    return _save(figure, folder, name)


def _axes(dataset: str, title: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # without pyplot: no global state, no display

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(f"{dataset}: {title}", loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, folder: Path, name: str) -> Path:
    path = folder / f"{name.replace(' ', '-')}.png"
    figure.savefig(path, dpi=150)
    return path
