"""Results for the VOTS referral challenge: as the VOT toolkit writes them, and a look through them."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from ..datasets.errors import PredictionMissing, UsageError
from ..datasets.types import RVOSDataset, Sample
from ..datasets.vots import mask_of_region, region_of_mask
from .predictions import ExpressionPredictions, Finding
from .submissions import Progress, Submission, masks_to_send, opened_masks, size_of, whole_zip, zip_entry

EXPERIMENT = "baseline"  # vot/stack/vots2026/referral.yaml
_TRACKER = re.compile(r"[A-Za-z0-9_-]+")


def write_vots_results(
    predictions: ExpressionPredictions | Path | str,
    dataset: RVOSDataset,
    out: Path | str,
    *,
    tracker: str = "rvos",
    threshold: float | None = None,
    layout: str | None = None,
    fill_missing: bool = False,
    progress: Progress | None = None,
) -> Submission:
    """Write a zip of ``results/<tracker>/baseline/<sequence>/<sequence>_<prompt>.txt``, a region a frame.

    Unzipped in the workspace it is what a run of the toolkit leaves there; ``vot pack`` then makes what is sent, with a
    manifest that only the toolkit can write. Equal masks give equal bytes. Nothing is resized.

    Args:
        predictions: opened, or a path that ``open_predictions`` knows.
        dataset: ``vots``.
        out: the zip; replaced where it exists.
        tracker: the identifier in the workspace's ``trackers.ini``.
        threshold, layout: as for ``open_predictions``.
        fill_missing: whether a frame without a usable mask becomes an empty one.
        progress: called after every sequence.

    Raises:
        UsageError: another dataset, label maps, or no identifier of a tracker.
        PredictionError: the predictions cannot be opened.
    """
    require_vots(dataset)
    if not _TRACKER.fullmatch(tracker):
        raise UsageError(f"Tracker '{tracker}': the toolkit takes letters, digits, '_' and '-'.")
    masks = opened_masks(predictions, dataset, "the VOT toolkit", threshold, layout)
    note = f"Unzip it in the workspace, where trackers.ini knows [{tracker}], then: vot pack {tracker}"
    report = Submission(filled=fill_missing, notes=[note])
    with whole_zip(Path(out), report) as archive:
        for done, video in enumerate(dataset.videos, start=1):
            report.n_videos += 1
            for sample in dataset.samples_of(video.id):
                name = f"results/{tracker}/{_file_of(dataset, sample)}"
                given = masks_to_send(masks, sample, size_of(video), name, report)
                lines = [region_of_mask(mask) for _, mask in given]
                archive.writestr(zip_entry(name), "".join(f"{line}\n" for line in lines))
                report.n_expressions += 1
                report.n_masks += len(lines)
            if progress is not None:
                progress(done, len(dataset.videos))
    return report


def check_vots_results(path: Path | str, dataset: RVOSDataset, progress: Progress | None = None) -> list[Finding]:
    """What the toolkit would trip over in a zip of results, as it packs them or as ``write_vots_results`` does.

    Raises:
        UsageError: another dataset.
        PredictionMissing: no such file.
    """
    require_vots(dataset)
    path = Path(path)
    if not path.exists():
        raise PredictionMissing(f"{path}: no such file; give the zip that is to be sent.")
    try:
        with zipfile.ZipFile(path) as archive:
            return _findings(archive, dataset, progress)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        return [Finding("error", f"{path} is not a whole zip archive ({error}).", "Pack the results again.")]


def require_vots(dataset: RVOSDataset) -> None:
    """Raises UsageError where the dataset is not of the challenge."""
    if dataset.name != "vots":
        raise UsageError(f"{dataset.id} has no prompts of the VOTS challenge; open its sequences as 'vots'.")


def _file_of(dataset: RVOSDataset, sample: Sample) -> str:
    return f"{EXPERIMENT}/{dataset.prediction_path(sample)}.txt"


def _findings(archive: zipfile.ZipFile, dataset: RVOSDataset, progress: Progress | None) -> list[Finding]:
    names = {re.sub(r"^results/[^/]+/", "", name): name for name in archive.namelist()}
    found: dict[tuple[str, str], list[str]] = {}
    for done, video in enumerate(dataset.videos, start=1):
        size = size_of(video)
        for sample in dataset.samples_of(video.id):
            place = _file_of(dataset, sample)
            if place not in names:
                cure = "The toolkit packs nothing while one lacks; predict it."
                found.setdefault(("prompts have no results", cure), []).append(place)
                continue
            lines = archive.read(names[place]).decode("utf-8", "replace").splitlines()
            if len(lines) != len(video):
                cure = "Write a line for every frame, also for those without the object (m0,0,0,0,0)."
                counts = f"{place} ({len(lines)} lines, {len(video)} frames)"
                found.setdefault(("results with another number of lines than frames", cure), []).append(counts)
            for number, line in enumerate(lines, start=1):
                try:
                    mask_of_region(line.strip(), size or (1, 1))
                except ValueError as error:
                    cure = "Write masks: m<left>,<top>,<width>,<height>,<runs, row by row, background first>."
                    what = f"{place}, line {number}: {error}"
                    found.setdefault(("lines that are no mask", cure), []).append(what)
        if progress is not None:
            progress(done, len(dataset.videos))
    return [
        Finding("error", f"{len(places)} {what}: {', '.join(places[:3])}{', …' if len(places) > 3 else ''}.", cure)
        for (what, cure), places in found.items()
    ]
