"""Every problem in a dataset's files, in one pass that never stops at the first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from .cards import Card, load_card
from .errors import RvosError, UnknownNameError
from .masks import EmptyMasks, UnionMasks
from .problems import SEVERITIES, Problem, Severity
from .types import Masklet, MaskSource, RVOSDataset, Sample, Video

#: how far frames are looked at: every pixel, the headers, or not at all
Frames = Literal["decode", "header", "skip"]


@dataclass(frozen=True)
class CheckReport:
    """What ``check_dataset`` found."""

    dataset: str
    root: str
    n_videos: int
    n_samples: int
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether there is no error; warnings and notes are allowed."""
        return not any(p.severity == "error" for p in self.problems)

    @property
    def counts(self) -> dict[Severity, int]:
        """Number of problems by severity."""
        counted = Counter(p.severity for p in self.problems)
        return {severity: counted[severity] for severity in SEVERITIES}

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "ok": self.ok, "counts": self.counts}

    def __str__(self) -> str:
        found = ", ".join(f"{n} {severity}{'s' * (n != 1)}" for severity, n in self.counts.items())
        head = f"{self.dataset} at {self.root}: {self.n_videos} videos, {self.n_samples} samples; {found}."
        return "\n".join([head, *(str(p) for p in self.problems)])


@runtime_checkable
class HasOwnChecks(Protocol):
    """A loader that knows further things that can be wrong with its dataset."""

    def own_checks(self) -> Iterator[Problem]:
        """Problems of the split as a whole that only this dataset can have."""
        ...

    def own_video_checks(self, video: Video) -> Iterator[Problem]:
        """Problems of one video that only this dataset can have."""
        ...


def check_dataset(
    dataset: RVOSDataset, frames: Frames = "decode", workers: int = 1, progress: bool = False
) -> CheckReport:
    """Look at every annotation, mask and frame of a split.

    Args:
        dataset: the split.
        frames: ``decode`` reads every frame, ``header`` only its size (much faster), ``skip`` leaves frames out.
        workers: processes that read videos side by side.
        progress: show a bar on standard error.
    """
    problems = [*_check_counts(dataset), *_check_samples(dataset)]
    if isinstance(dataset, HasOwnChecks):
        problems += dataset.own_checks()
    for found in _each_video(dataset, partial(check_video, dataset, frames), workers, progress):
        problems += found
    problems.sort(key=lambda p: SEVERITIES.index(p.severity))
    return CheckReport(dataset.id, str(dataset.root), len(dataset.videos), len(dataset), tuple(problems))


def check_video(dataset: RVOSDataset, frames: Frames, video: Video) -> list[Problem]:
    """Problems of one video: its frames, the masks of its objects, the ids and targets of its expressions."""
    try:
        size = video.size
    except RvosError as error:
        cure = "Nothing of this video can be checked or scored." if _has_ground_truth(dataset) else ""
        return [Problem("error", "unknown-size", f"video {video.id}", str(error), cure)]
    problems = list(_check_frames(video, frames, size))
    try:
        problems += _check_masks(dataset, video, size)
        if isinstance(dataset, HasOwnChecks):
            problems += dataset.own_video_checks(video)
    except RvosError as error:
        problems.append(Problem("error", "unreadable-masks", f"video {video.id}", str(error), ""))
    return problems


# Parts ----------------------------------------------------------------------------------------------------------------


def _check_counts(dataset: RVOSDataset) -> Iterator[Problem]:
    card = _card(dataset)
    counts = card.counts.get(dataset.split, ()) if card else ()
    found = (len(dataset.videos), len(dataset))
    if counts and found not in [(c.videos, c.samples) for c in counts]:
        published = " or ".join(f"{c.videos} videos with {c.samples} samples" for c in counts)
        yield Problem(
            "warning",
            "counts-differ",
            dataset.id,
            f"{found[0]} videos with {found[1]} samples, published are {published}.",
            "Download the dataset again, or state that a part of it was used.",
        )


def _check_samples(dataset: RVOSDataset) -> Iterator[Problem]:
    folders: dict[str, list[Sample]] = {}
    for sample in dataset:
        folders.setdefault(str(dataset.prediction_path(sample)), []).append(sample)
        if not sample.expression.text.strip() and dataset.name != "folders":
            yield Problem("error", "empty-expression", sample.key, "the sentence is empty.", "Correct the file.")
    for key, n in Counter(sample.key for sample in dataset).items():
        if n > 1:
            yield Problem("error", "repeated-key", key, f"{n} samples have this key.", "Give each its own id.")
    for folder, sharing in folders.items():
        if len(sharing) > 1 and not all("label" in s.expression.tags for s in sharing):
            yield Problem(
                "error",
                "shared-prediction-folder",
                folder,
                f"{len(sharing)} samples ({', '.join(s.key for s in sharing)}) share one folder of predictions.",
                "Each overwrites the others in the public layout; give every expression its own id.",
            )
    for video in dataset.videos:
        if list(video.frame_names) != sorted(video.frame_names):
            cure = "They are used as listed; check that this is their order in time."
            yield Problem(
                "warning", "unsorted-frames", f"video {video.id}", "its frames are listed out of order.", cure
            )


def _check_frames(video: Video, frames: Frames, size: tuple[int, int]) -> Iterator[Problem]:
    if frames == "skip" or video.source is None:
        return
    missing = [name for name in video.frame_names if video.source.path(name) is None]
    if len(missing) == len(video):
        cure = "Scoring works without images, predicting does not."
        yield Problem("warning", "no-frames", f"video {video.id}", "none of its frames is there.", cure)
    elif missing:
        found = f"{len(missing)} of {len(video)} frames are missing: {_few(missing)}."
        yield Problem("error", "missing-frame", f"video {video.id}", found, "Download the frames again.")
    for name in video.frame_names:
        path = video.source.path(name)
        if path is None:
            continue
        try:
            shape = video.source.read(name).shape[:2] if frames == "decode" else video.source.size(name)
        except RvosError as error:
            yield Problem("error", "corrupt-frame", str(path), _without(error, path), "")
            continue
        if shape != size:
            yield _size_problem(str(path), "frame", shape, size)


def _check_masklet(place: str, masklet: Masklet, size: tuple[int, int]) -> Iterator[Problem]:
    """Unreadable masks, sizes that differ, frames without annotation, an object that is never there."""
    unannotated: list[str] = []
    odd_sizes: dict[tuple[int, ...], list[str]] = {}
    seen = broken = False
    for index, name in enumerate(masklet.frame_names):
        try:
            mask = masklet.mask(index)
        except RvosError as error:
            broken = True
            yield Problem("error", "corrupt-mask", f"{place}, frame {name}", str(error), "")
            continue
        if mask is None:
            unannotated.append(name)
            continue
        seen |= bool(mask.any())
        if mask.shape != size:
            odd_sizes.setdefault(mask.shape, []).append(name)
    for shape, names in odd_sizes.items():
        yield _size_problem(f"{place}, frames {_few(names)}", "mask", shape, size)
    if len(unannotated) == len(masklet):
        yield Problem("error", "no-masks", place, "no frame is annotated.", "Download the masks again.")
    elif unannotated:
        found = f"{len(unannotated)} of {len(masklet)} frames have no mask: {_few(unannotated)}."
        yield Problem("note", "unannotated-frames", place, found, "They are not scored.")
    if not seen and not broken and len(unannotated) < len(masklet):
        yield Problem("warning", "never-seen", place, "the masks of all frames are empty.", "An empty answer is right.")


def _check_masks(dataset: RVOSDataset, video: Video, size: tuple[int, int]) -> Iterator[Problem]:
    """Every distinct mask source once: the objects', and what expressions have besides."""
    objects = dataset.objects(video)
    samples = dataset.samples_of(video.id)
    asked = {object_id for sample in samples for object_id in sample.expression.object_ids or ()}
    checked: set[MaskSource] = set()
    for object_id, masklet in objects.items():
        place = f"video {video.id}, object {object_id}"
        yield from _check_masklet(place, masklet, size)
        checked.add(masklet.source)
        if object_id not in asked:
            yield Problem("note", "unasked-object", place, "no expression asks for this annotated object.", "")
    for sample in samples:
        try:
            yield from _check_target(dataset, sample, objects, checked, size)
        except RvosError as error:
            yield Problem("error", "unreadable-masks", sample.key, str(error), "The sample cannot be scored.")


def _check_target(
    dataset: RVOSDataset, sample: Sample, objects: dict[str, Masklet], checked: set[MaskSource], size: tuple[int, int]
) -> Iterator[Problem]:
    unknown = [i for i in sample.expression.object_ids or () if objects and i not in objects]
    if unknown:
        found = f"asks for object {_few(unknown)}, annotated are {_few(list(objects))}."
        cure = "It has no masks; check that masks and expressions are of one version."
        yield Problem("error", "id-without-masks", sample.key, found, cure)
        return
    truth = dataset.ground_truth(sample)
    if truth is None:
        if _has_ground_truth(dataset) or objects:
            cure = "Download the masks again."
            yield Problem("error", "id-without-masks", sample.key, "there are no masks for this sample.", cure)
        return
    for source in truth.source.parts if isinstance(truth.source, UnionMasks) else (truth.source,):
        if source not in checked and not isinstance(source, EmptyMasks):
            checked.add(source)
            yield from _check_masklet(f"sample {sample.key}", Masklet(truth.frame_names, source), size)


def _has_ground_truth(dataset: RVOSDataset) -> bool:
    card = _card(dataset)
    return card is not None and card.ground_truth.get(dataset.split) == "yes"


def _size_problem(place: str, what: str, found: Sequence[int], size: tuple[int, int]) -> Problem:
    return Problem(
        "error",
        "size-differs",
        place,
        f"the {what} is {found[1]}x{found[0]}, the video is {size[1]}x{size[0]} (width x height).",
        "Frames and masks must have one size; take both from the same download.",
    )


def _card(dataset: RVOSDataset) -> Card | None:
    try:
        return load_card(dataset.name)
    except UnknownNameError:
        return None  # datasets of other packages and plain folders need no card


def _few(names: Sequence[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" … ({len(names)})" if len(names) > most else "")


def _without(error: RvosError, path: Path) -> str:
    return str(error).removeprefix(f"{path}: ")


def _each_video(dataset: RVOSDataset, check: Any, workers: int, progress: bool) -> Iterator[list[Problem]]:
    from rich.console import Console
    from rich.progress import track

    def shown(results: Any) -> Any:
        return track(
            results,
            description=f"checking {dataset.id}",
            total=len(dataset.videos),
            console=Console(stderr=True),
            disable=not progress,
            transient=True,
        )

    if workers <= 1:
        yield from shown(map(check, dataset.videos))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        # The dataset travels with every chunk, so there are few of them.
        chunk = max(1, len(dataset.videos) // (8 * workers))
        yield from shown(pool.map(check, dataset.videos, chunksize=chunk))
