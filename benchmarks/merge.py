"""Shards of a run, made in folders of their own, joined to one run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..datasets.config import replace_file
from ..datasets.errors import RunError, UsageError
from .predictions.run_masks import read_video_masks, video_masks_path, videos_with_masks
from .runs import CostRecord, PredictionLine, Run, is_run


def merge_runs(parts: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str]) -> Run:
    """Join runs of one model on one dataset, whatever videos each holds.

    The masks are copied byte for byte. A video that several hold must have the same masks in all; of several lines
    of a sentence the first that did not fail counts. Scores are not joined: ``rvos.evaluate`` makes them.

    Args:
        parts: run folders, e.g. of ``predict(shard="1/4")`` to ``"4/4"``.
        out: the new run's folder.

    Returns:
        The run: ``finished`` where no video is missing, else ``interrupted``, and ``predict`` completes it.

    Raises:
        UsageError: fewer than two runs.
        RunError: runs of other data or another model, masks that differ, or a folder that cannot be written.
    """
    if len(parts) < 2:
        raise UsageError(f"Merging needs two runs or more, found {len(parts)}.")
    runs = [Run.open(part) for part in parts]
    for run in runs[1:]:
        _must_fit(runs[0], run)
    folder = Path(out)
    if is_run(folder):
        raise RunError(f"{folder} already holds a run; give another --out.")
    Run.check_empty(folder)
    record = runs[0].record.model_copy(update={"shard": None, "summary": None, "protocol": None, "predictions": None})
    merged = Run(folder, record)
    merged.save(status="started")
    _copy_masks(runs, merged)
    lines = _lines(runs)
    merged.replace_predictions(lines)
    merged.record.cost = CostRecord.of(lines)
    _save_extent(merged, lines)
    return merged


def _must_fit(first: Run, other: Run) -> None:
    mine, theirs = first.record, other.record
    if not mine.dataset.same_data(theirs.dataset):
        raise RunError(f"{other.path} is a run on other data ({theirs.dataset.id}) than {first.path}; merge like runs.")
    for what in ("predictor", "limit"):
        if getattr(mine, what) != getattr(theirs, what):
            raise RunError(f"{other.path} has another {what} than {first.path}; merge runs of one model and extent.")


def _copy_masks(runs: Sequence[Run], merged: Run) -> None:
    for run in runs:
        for video_id in videos_with_masks(run.masks):
            source, target = video_masks_path(run.masks, video_id), video_masks_path(merged.masks, video_id)
            content = source.read_bytes()
            if target.exists() and target.read_bytes() != content and _both_whole(source, target):
                raise RunError(f"{source} and another run differ in the masks of {video_id}; merge runs of one model.")
            if not target.exists() or _n_answered(source) > _n_answered(target):
                _write(target, content)


def _both_whole(source: Path, target: Path) -> bool:
    """Whether both files hold the same sentences: where one failed on some, the other may know more."""
    return _n_answered(source) == _n_answered(target)


def _n_answered(path: Path) -> int:
    return len(read_video_masks(path)["expressions"])


def _write(target: Path, content: bytes) -> None:
    try:
        replace_file(target, content)
    except OSError as error:
        raise RunError(f"{target} cannot be written ({error.strerror}); give another --out.") from error


def _lines(runs: Sequence[Run]) -> list[PredictionLine]:
    """One line a sentence, sorted by video; the sentences of a video in the order in which they were asked."""
    lines: dict[str, PredictionLine] = {}
    for run in runs:
        for line in run.predictions():
            if line.key not in lines or lines[line.key].status == "failed":
                lines[line.key] = line
    return sorted(lines.values(), key=lambda line: line.video_id)


def _save_extent(merged: Run, lines: Sequence[PredictionLine]) -> None:
    wanted = merged.record.limit or merged.record.dataset.n_videos
    found = len({line.video_id for line in lines})
    if found < wanted:
        merged.save(status="interrupted", reason=f"{found} of {wanted} videos were in the merged runs")
    else:
        merged.save(status="finished")
