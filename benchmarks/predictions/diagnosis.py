"""A look at predictions before they are scored: what is odd about them, in words, and what cures it.

Cheap: every folder is listed once, a few files are decoded. Scoring itself misses nothing; this says earlier and more
clearly why a score would be low.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from ...datasets.errors import (
    DatasetError,
    ImageError,
    PredictionError,
    PredictionInvalid,
    PredictionMissing,
    RvosError,
)
from ...datasets.images import PngImage, grey_values
from ...datasets.types import RVOSDataset, Sample, Video
from .archives import ZipFiles
from .detect import annotator_roots, detect_layout, files_behind, spread
from .files import DirectoryFiles, MaskFiles
from .foreground import check_threshold, cutoff, decode_mask_file, foreground_mask
from .merged import annotator_of
from .rle_json import RleJsonPredictions
from .run_masks import videos_with_masks

_FOLDERS_SAMPLED = 12
_FILES_DECODED = 24


@dataclass(frozen=True)
class Finding:
    """Something odd about predictions.

    Attributes:
        severity: ``error``: they cannot be scored as they are, or nearly all would score 0; ``warning``: some units
            would score 0 or differ between protocols; ``note``: good to know.
        message: what was found, one sentence or two.
        cure: what to do; "" where nothing needs to be done.
    """

    severity: Literal["error", "warning", "note"]
    message: str
    cure: str = ""

    def __str__(self) -> str:
        return f"{self.severity}: {self.message} {self.cure}".rstrip()


def diagnose(path: Path | str, dataset: RVOSDataset, threshold: float | None = None) -> list[Finding]:
    """What is odd about predictions, errors first. Never raises for what is in the files.

    Args:
        path: what the user gives as predictions: a folder, a zip archive, an RLE JSON, a run folder.
        dataset: the split that they answer.
        threshold: as for ``open_predictions``. Raises UsageError where it is not in (0, 1].
    """
    path, threshold = Path(path), check_threshold(threshold)
    try:
        files = files_behind(path, dataset)
        found = list(_of_json(path, dataset) if files is None else _of_tree(files, dataset, threshold))
    except PredictionError as error:
        return [Finding("error", str(error))]
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.severity])


def _of_tree(files: MaskFiles, dataset: RVOSDataset, threshold: float | None) -> Iterator[Finding]:
    if isinstance(files, ZipFiles):
        yield from _archive_itself(files)
    if not files.names(""):
        yield Finding("error", f"{files.path} is empty.", "Give the folder that the masks were written to.")
        return
    layout = detect_layout(files, dataset)
    if layout == "run-masks":
        yield from _of_run(files.path, dataset)
    elif layout in ("anno-folders", "label-maps"):
        yield from _of_label_maps(files, dataset, annotator_roots(files) or ("",))
    elif layout == "rle-json":
        yield from _of_json(files.path, dataset)
    else:
        yield from _of_folders(_Folders(files, dataset), layout, threshold)


def _archive_itself(files: ZipFiles) -> Iterator[Finding]:
    if files.prefix not in ("", "Annotations"):
        yield Finding(
            "note",
            f"The archive wraps everything in the folder '{files.prefix}'; it is read below it.",
            "For an evaluation server, zip the contents instead of the folder (cd folder; zip -r ../masks.zip .).",
        )
    if files.unsafe_names:
        yield Finding(
            "warning",
            f"{len(files.unsafe_names)} entries of the archive point outside of it ('{files.unsafe_names[0]}'); "
            "they are not read.",
            "Make the archive again with relative names.",
        )


# Per-expression folders ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Folders:
    """A tree of per-expression folders, each folder listed once."""

    files: MaskFiles
    dataset: RVOSDataset

    @cached_property
    def root_names(self) -> list[str]:
        return self.files.names("") or []

    @cached_property
    def expected(self) -> dict[str, list[tuple[str, Sample]]]:
        """(folder name, sample) of every expression, by the folder that holds it (mostly the video's)."""
        groups: dict[str, list[tuple[str, Sample]]] = {}
        for sample in self.dataset.samples:
            path = self.dataset.prediction_path(sample)
            groups.setdefault(str(path.parent), []).append((path.name, sample))
        return groups

    @cached_property
    def listed(self) -> dict[str, set[str] | None]:
        """Names in each of these folders, None where it is missing."""
        names = {folder: self.files.names(folder) for folder in self.expected}
        return {folder: None if found is None else set(found) for folder, found in names.items()}

    @cached_property
    def present(self) -> list[tuple[str, Sample]]:
        """(folder, sample) of the expressions that are there."""
        return [
            (f"{parent}/{name}", sample)
            for parent, group in self.expected.items()
            for name, sample in group
            if name in (self.listed[parent] or ())
        ]

    @property
    def tops(self) -> set[str]:
        return {parent.split("/")[0] for parent in self.expected}


def _of_folders(tree: _Folders, layout: str, threshold: float | None) -> Iterator[Finding]:
    if not tree.present:
        if layout != "soft-npz":
            yield _nothing_matches(tree)
        return
    yield from _missing_folders(tree)
    yield from _extra_entries(tree)
    if layout == "soft-npz":
        return
    if tree.dataset.name == "ref-davis17":
        yield Finding(
            "note",
            "These are masks of single expressions, not label maps; protocols that score all objects of an annotator "
            "together merge them first, and name the rule.",
        )
    sampled = spread(tree.present, _FOLDERS_SAMPLED)
    yield from _frame_names(tree, sampled)
    yield from _pixels(tree, sampled, threshold)


def _nothing_matches(tree: _Folders) -> Finding:
    """Why no expression's folder is there, as one finding: the first explanation that fits."""
    path, dataset = tree.files.path, tree.dataset
    zips = [n for n in tree.root_names if n.endswith(".zip")]
    jsons = [n for n in tree.root_names if n.endswith(".json")]
    deeper = _deeper(tree)
    if deeper:
        return Finding(
            "error",
            f"The video folders lie deeper than {path}: {_some(deeper)}.",
            f"Give --predictions {path / deeper[0]}" + (" or another of them." if len(deeper) > 1 else " instead."),
        )
    if isinstance(tree.files, DirectoryFiles) and path.absolute().name in tree.tops:
        parent = path.absolute().parent
        return Finding("error", f"{path} is the folder of one video.", f"Give --predictions {parent} instead.")
    present = [folder for folder, names in tree.listed.items() if names is not None]
    if present:
        return _no_expression_folders(tree, present)
    if zips and len(zips) == len(tree.root_names):
        return Finding(
            "error", f"{path} holds only {zips[0]}.", f"Give --predictions {path / zips[0]}, it is read as is."
        )
    if jsons and len(jsons) == len(tree.root_names):
        return Finding("error", f"{path} holds only {jsons[0]}.", f"Give --predictions {path / jsons[0]} instead.")
    other = _split_that_fits(tree)
    if other:
        return Finding(
            "error",
            f"The folders in {path} are videos of {other}, not of {dataset.id}.",
            f"Did you mean {other}?",
        )
    return Finding(
        "error",
        f"{path} holds none of the {len(tree.expected)} folders of {dataset.id}, such as {min(tree.expected)}; "
        f"found {_some(tree.root_names)}.",
        "Give the folder whose sub-folders are named like that.",
    )


def _no_expression_folders(tree: _Folders, present: Sequence[str]) -> Finding:
    """The folders of videos are there, those of their expressions are not."""
    names = sorted(tree.listed[present[0]] or ())
    wanted = tree.expected[present[0]][0][0]
    if any(n.endswith(".png") for n in names):
        return Finding(
            "error",
            f"PNG files lie directly in {tree.files.where(present[0])}, one mask a frame for all expressions.",
            f"Write each expression into its own folder, e.g. {present[0]}/{wanted}/.",
        )
    return Finding(
        "error",
        f"{tree.files.where(present[0])} holds no expression folder such as '{wanted}'; found {_some(names)}.",
        "Name the folders by the expression ids of the dataset's own files.",
    )


def _deeper(tree: _Folders) -> list[str]:
    """Folders one or two levels below that hold folders of the split's videos, or of annotators."""
    found = []
    for name in tree.root_names[:50]:
        names = tree.files.names(name) or []
        below = [name, *(f"{name}/{inner}" for inner in names[:50])]
        found += [f for f in below if not f.endswith("JPEGImages") and _has_videos(tree, f)]
    return found


def _has_videos(tree: _Folders, folder: str) -> bool:
    names = tree.files.names(folder) or ()
    return bool(tree.tops.intersection(names)) or (tree.dataset.name == "ref-davis17" and "anno_0" in names)


def _split_that_fits(tree: _Folders) -> str | None:
    """Another split of the dataset that has videos of these names."""
    from ...datasets.registry import DATASETS, load

    entry = DATASETS.get(tree.dataset.name)
    for split in entry.splits if entry else ():
        if split == tree.dataset.split:
            continue
        try:
            other = load(f"{tree.dataset.name}/{split}", root=tree.dataset.root)
        except RvosError:  # a split that is not on disk fits nothing
            continue
        if {str(other.prediction_path(s).parts[0]) for s in other.samples}.intersection(tree.root_names):
            return other.id
    return None


def _missing_folders(tree: _Folders) -> Iterator[Finding]:
    absent = [folder for folder, names in tree.listed.items() if names is None]
    if absent:
        yield Finding(
            "warning",
            f"{len(absent)} of {len(tree.expected)} video folders are missing: {_some(absent)}.",
            "Predict them; in strict protocols what is missing scores 0.",
        )
    missing = [
        f"{parent}/{name}"
        for parent, group in tree.expected.items()
        for name, _ in group
        if tree.listed[parent] is not None and name not in (tree.listed[parent] or ())
    ]
    if missing:
        yield Finding(
            "warning",
            f"{len(missing)} of {len(tree.dataset)} expression folders are missing in videos that are there: "
            f"{_some(missing)}.",
            "Predict them; in strict protocols what is missing scores 0.",
        )


def _extra_entries(tree: _Folders) -> Iterator[Finding]:
    """What no sample asks for; the scripts that choke on it are not ours."""
    extra = [n for n in tree.root_names if n not in tree.tops]
    for parent, group in tree.expected.items():
        names = {name for name, _ in group}
        inner = {f.split("/")[len(parent.split("/"))] for f in tree.expected if f.startswith(f"{parent}/")}
        extra += [f"{parent}/{n}" for n in sorted((tree.listed[parent] or set()) - names - inner)]
    if extra:
        yield Finding("note", f"{len(extra)} entries that no sample asks for are not read: {_some(extra)}.")


def _frame_names(tree: _Folders, sampled: Sequence[tuple[str, Sample]]) -> Iterator[Finding]:
    for folder, sample in sampled:
        names = tree.files.names(folder)
        where = tree.files.where(folder)
        if names is None:
            yield Finding("error", f"{where} is a file, expected a folder of PNG masks.", "Remove it.")
            return
        stems = {n[:-4] for n in names if n.endswith(".png")}
        frames = set(sample.video.frame_names)
        if not stems:
            found = f"found {_some(names)}" if names else "it is empty"
            yield Finding("warning", f"{where} holds no .png file; {found}.", "Save masks as <frame>.png.")
        elif stems != frames and stems == {f"{i:05d}" for i in range(len(frames))}:
            yield Finding(
                "error",
                f"{where} numbers its files from 00000, but the frames of {sample.video.id} are named "
                f"{sample.video.frame_names[0]}, {', '.join(sample.video.frame_names[1:3])}, …",
                "Name each mask like its frame.",
            )
            return
        elif missing := [n for n in sample.video.frame_names if n not in stems and _counts(n, sample, tree.dataset)]:
            yield Finding(
                "warning",
                f"{len(missing)} of {len(frames)} frames are missing in {where}: {_some(missing)}.",
                "Predict every frame that the dataset lists, or check how the files are named.",
            )
            return


def _counts(frame: str, sample: Sample, dataset: RVOSDataset) -> bool:
    """Whether a frame can be scored: it is annotated, or its annotation is withheld."""
    try:
        masklet = dataset.ground_truth(sample)
        if masklet is None or frame not in masklet.frame_names:
            return masklet is None
        return masklet.mask(masklet.frame_names.index(frame)) is not None
    except (DatasetError, ImageError):  # the check of the dataset reports it
        return True


# Pixels -------------------------------------------------------------------------------------------------------------


def _pixels(tree: _Folders, sampled: Sequence[tuple[str, Sample]], threshold: float | None) -> Iterator[Finding]:
    """What the values in a few files mean to the protocols; each kind of finding once."""
    seen: set[str] = set()
    n_decoded = n_empty = 0
    for file, sample in _some_files(sampled):
        where = tree.files.where(file)
        try:
            image = decode_mask_file(tree.files.read(file), where)
        except PredictionMissing:
            continue
        except PredictionInvalid as error:
            yield from _once(seen, "unreadable", [Finding("error", str(error))])
            continue
        n_decoded += 1
        n_empty += not image.pixels.any()
        yield from _once(seen, "size", _size(image, sample, tree.dataset, where))
        yield from _once(seen, "strict", _strict(image, threshold, where))
        yield from _once(seen, "scripts", _scripts(image, where))
        yield from _once(seen, "values", _plain_values(image, threshold, where))
    if n_decoded > 3 and n_empty == n_decoded:
        yield Finding("warning", f"All {n_decoded} masks that were looked at are empty.", "Check the export.")


def _some_files(sampled: Sequence[tuple[str, Sample]]) -> Iterator[tuple[str, Sample]]:
    per_folder = max(1, _FILES_DECODED // len(sampled))
    for folder, sample in sampled:
        for name in spread(sample.video.frame_names, per_folder):
            yield f"{folder}/{name}.png", sample


def _once(seen: set[str], kind: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    if kind not in seen:
        for finding in findings:
            seen.add(kind)
            yield finding


def _size(image: PngImage, sample: Sample, dataset: RVOSDataset, where: str) -> Iterator[Finding]:
    expected = _expected_size(sample, dataset)
    if expected is not None and image.pixels.shape[:2] != expected:
        yield Finding(
            "error",
            f"{where} is {_by(image.pixels.shape)}, the annotation is {_by(expected)}.",
            "Resize the logits to the video's size before they become masks.",
        )


def _expected_size(sample: Sample, dataset: RVOSDataset) -> tuple[int, int] | None:
    """(height, width) of the ground truth, else of the video; None where neither can be read."""
    try:
        masklet = dataset.ground_truth(sample)
        masks = (masklet.mask(i) for i in range(len(masklet))) if masklet else iter(())
        first = next((m for m in masks if m is not None), None)
        return sample.video.size if first is None else (first.shape[0], first.shape[1])
    except (DatasetError, ImageError):  # the check of the dataset reports it
        return None


def _strict(image: PngImage, threshold: float | None, where: str) -> Iterator[Finding]:
    try:
        foreground_mask(image, "strict", threshold, where)
    except PredictionInvalid as error:
        yield Finding("error", f"{error}", "Strict protocols count such files as invalid.")


def _scripts(image: PngImage, where: str) -> Iterator[Finding]:
    """Files that strict protocols read and the official scripts see as empty."""
    if image.pixels.any() and not grey_values(image).any():
        kind = "a palette whose colours are black" if image.mode == "P" else "16-bit values below 256"
        yield Finding(
            "warning",
            f"{where} has {kind}: the official scripts see an empty mask, strict protocols do not.",
            "Save masks as 8-bit grey 0/255.",
        )


def _plain_values(image: PngImage, threshold: float | None, where: str) -> Iterator[Finding]:
    """Two-valued grey files other than 0/255, which thresholds of scripts and users take for empty."""
    if image.mode not in ("L", "I;16") or not image.pixels.any():
        return
    values = image.values()
    top = int(values[-1])
    if len(values) > 2:
        return
    if threshold is not None and top < cutoff(threshold, image.pixels.dtype):
        yield Finding(
            "warning",
            f"{where} holds {_some([str(v) for v in values])} only; with threshold {threshold} nothing is foreground.",
            "Leave the threshold out if these are masks: files of two values need none.",
        )
    elif threshold is None and top not in (255, 65535):
        below = "; VideoLISA's Ref-DAVIS merging drops values below 50, so it sees nothing" if top < 50 else ""
        yield Finding("note", f"These masks hold 0 and {top} ({where}); {top} is read as foreground{below}.")


# Label maps, run folders, JSON --------------------------------------------------------------------------------------


def _of_label_maps(files: MaskFiles, dataset: RVOSDataset, roots: Sequence[str]) -> Iterator[Finding]:
    if dataset.name != "ref-davis17":
        yield Finding(
            "error",
            f"{files.path} holds label maps of Ref-DAVIS-17 annotators, but the dataset is {dataset.id}.",
            "Give masks of single expressions.",
        )
        return
    if len(roots) == 1:
        message = f"One set of label maps, {files.path}, stands for all four annotators."
        is_one_of_four = files.path.absolute().name.startswith("anno_")
        yield Finding(
            "warning" if is_one_of_four else "note",
            message,
            f"Give --predictions {files.path.absolute().parent} to score each annotator." if is_one_of_four else "",
        )
    absent = [root for root in roots if files.names(root) is None]
    if absent:
        yield Finding("warning", f"{', '.join(absent)} missing.", "Merge all four annotators; missing ones score 0.")
    folders = [(f"{r}/{v.id}" if r else v.id, v) for r in roots if r not in absent for v in dataset.videos]
    missing = [folder for folder, _ in folders if files.names(folder) is None]
    if missing:
        yield Finding(
            "warning",
            f"{len(missing)} of {len(folders)} video folders are missing: {_some(missing)}.",
            "Merge them too.",
        )
    n_objects = Counter(s.video.id for s in dataset.samples if annotator_of(s) == 0)
    present = [f for f in folders if f[0] not in missing]
    yield from _label_values(files, dataset, present, n_objects if len(roots) > 1 else None)


def _label_values(
    files: MaskFiles, dataset: RVOSDataset, folders: Sequence[tuple[str, Video]], n_objects: Counter[str] | None
) -> Iterator[Finding]:
    seen: set[str] = set()
    for folder, video in spread(folders, _FOLDERS_SAMPLED):
        names = [n for n in files.names(folder) or () if n.endswith(".png")]
        if len(names) != len(video):
            found = [Finding("warning", f"{files.where(folder)} holds {len(names)} PNG files for {len(video)} frames.")]
            yield from _once(seen, "frames", found)
        for name in spread(names, 2):
            where = files.where(f"{folder}/{name}")
            try:
                image = decode_mask_file(files.read(f"{folder}/{name}"), where)
            except PredictionError as error:
                yield from _once(seen, "unreadable", [Finding("error", str(error))])
                continue
            yield from _once(seen, "size", _size(image, dataset.samples_of(video.id)[0], dataset, where))
            yield from _once(seen, "labels", _labels(image, where, None if n_objects is None else n_objects[video.id]))


def _labels(image: PngImage, where: str, n_objects: int | None) -> Iterator[Finding]:
    if image.mode not in ("P", "L", "1"):
        yield Finding(
            "error", f"{where} is mode {image.mode}, not indexed.", "Save label maps with a palette (mode P)."
        )
        return
    values = image.values()
    if set(values.tolist()) == {0, 255}:
        yield Finding(
            "error",
            f"{where} holds 0 and 255 in the indexed anno_k layout, where a pixel's value is the object's number.",
            "Write object k as value k, or give the masks of single expressions.",
        )
    elif n_objects is not None and int(values[-1]) > n_objects:
        yield Finding(
            "warning",
            f"{where} holds label {values[-1]}, the annotator asks for {n_objects} objects.",
            "Labels without an object count as wrong where they are matched.",
        )


def _of_run(path: Path, dataset: RVOSDataset) -> Iterator[Finding]:
    folder = path / "masks" if (path / "masks").is_dir() else path
    there, wanted = set(videos_with_masks(folder)), {video.id for video in dataset.videos}
    if not there & wanted:
        yield Finding(
            "error",
            f"{folder} holds masks of none of the {len(wanted)} videos of {dataset.id}; found {_some(there)}.",
            "Name the dataset and split that the run predicted.",
        )
    elif wanted - there:
        yield Finding(
            "warning",
            f"{len(wanted - there)} of {len(wanted)} videos have no masks in {folder}: {_some(wanted - there)}.",
            "Resume the run.",
        )


def _of_json(path: Path, dataset: RVOSDataset) -> Iterator[Finding]:
    predictions = RleJsonPredictions.open(path, dataset)
    wanted = {str(dataset.prediction_path(s).parent) for s in dataset.samples}
    there = set(predictions.parts)
    if not there & (wanted | {video.id for video in dataset.videos}):
        yield Finding(
            "error",
            f"{path} holds none of the {len(wanted)} videos of {dataset.id}; found {_some(there)}.",
            "Its first keys must be the videos of the split, e.g. " + min(wanted) + ".",
        )
        return
    absent = {v.id for v in dataset.videos} - there if not there & wanted else wanted - there
    if absent:
        yield Finding("warning", f"{len(absent)} videos are missing in {path}: {_some(absent)}.", "Predict them.")
    seen: set[str] = set()
    for video in spread(dataset.videos, 3):
        for sample in dataset.samples_of(video.id):
            yield from _once(seen, "entry", _json_entry(predictions, sample))


def _json_entry(predictions: RleJsonPredictions, sample: Sample) -> Iterator[Finding]:
    try:
        predictions.mask(sample, sample.video.frame_names[0], "strict")
    except PredictionMissing as error:
        yield Finding("warning", str(error), "What is missing scores 0 in strict protocols.")
    except PredictionInvalid as error:
        yield Finding("error", str(error))


def _by(shape: Sequence[int]) -> str:
    return f"{shape[1]}x{shape[0]}"


def _some(names: Collection[str], count: int = 3) -> str:
    chosen = sorted(names)[:count]
    return f"{', '.join(chosen)}{', …' if len(names) > count else ''}" or "nothing"
