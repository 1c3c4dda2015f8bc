"""Results from whatever names a run: a folder, a prediction archive, an opened run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..benchmarks.results import Result
from ..benchmarks.runs import DatasetRecord, Run
from ..datasets.errors import RvosError, UsageError
from ..datasets.registry import load
from ..datasets.types import RVOSDataset
from .archives import SUFFIX, is_archive, read_result
from .statistics import Comparison, compare_results

RunLike = str | os.PathLike[str] | Run | Result


def open_result(given: RunLike) -> Result:
    """The scored result behind ``given``: a run folder, an archive, an opened run or a result.

    Raises:
        RunError: no run, or not scored.
    """
    if isinstance(given, Result):
        return given
    if isinstance(given, Run):
        return Result.of_run(given)
    return read_result(given) if is_archive(given) else Result.of_run(Run.open(given))


def data_at_hand(record: DatasetRecord) -> RVOSDataset | None:
    """The data a run is about, where the run found them or where this machine has them; None where it has not."""
    root = record.root if record.root and Path(record.root).is_dir() else None
    try:
        return load(record.id, root=root)
    except RvosError:
        return None


def compare(*runs: RunLike, names: Sequence[str] | None = None, metric: str | None = None, seed: int = 0) -> Comparison:
    """Compare runs: paired, clustered by video, adjusted for their number.

        print(rvos.compare("runs/mine", "runs/other"))

    Args:
        runs: run folders, opened runs or results, of one dataset under one protocol.
        names: shown instead of the folders' names.
        metric: one that the protocol reports, e.g. ``J``; its first by default.
        seed: of the random patterns of signs, used beyond ``statistics.MOST_EXACT`` videos.

    Raises:
        UsageError: fewer than two runs, or not a name for each.
        RunError: no scored run, or of different data or protocols.
    """
    return compare_results(named_results(runs, names), metric, seed)


def named_results(runs: Sequence[RunLike], names: Sequence[str] | None = None) -> dict[str, Result]:
    """The results of runs by name, by default their folders' names. Raises as ``compare``."""
    results = [open_result(run) for run in runs]
    if names is not None and len(names) != len(results):
        raise UsageError(f"{len(names)} names for {len(results)} runs; give one for each.")
    return dict(zip(names or _names(results), results, strict=True))


def _names(results: Sequence[Result]) -> list[str]:
    """Folders' names, as long as needed to differ; a result without a folder has its predictor's."""
    parts = [_parts(r.path) if r.path else [_predictor(r)] for r in results]
    for length in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{Path(*p).name}#{i}" for i, p in enumerate(parts, 1)]


def _parts(path: Path) -> list[str]:
    *folders, name = path.absolute().parts
    return [*folders, name.removesuffix(SUFFIX)]


def _predictor(result: Result) -> str:
    return result.record.predictor.name if result.record.predictor else "result"
