"""``rvos predict``: a model over a dataset, into a run folder."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

if TYPE_CHECKING:
    from ..benchmarks.engine import Resume
    from ..benchmarks.runs import PredictionLine

#: So many sentences that are not ok are printed; ``predictions.jsonl`` has them all.
MOST_LISTED = 5


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="A predictor's name (empty, perfect, ...), NAME:CHECKPOINT, or package.module:attribute, a class or "
            "object with segment(video, expressions) or a function (video, text) -> (T, H, W) masks."
        ),
    ],
    dataset: Annotated[str, typer.Argument(help="DATASET/SPLIT, e.g. mevis/valid_u; see: rvos datasets list")],
    out: Annotated[Path, typer.Option(help="Run folder; made where it does not exist.")],
    root: Annotated[Path | None, typer.Option(help="The dataset's folder; by default the remembered one.")] = None,
    resume: Annotated[
        str,
        typer.Option(
            help="What to do with a run that is already there. only-missing: predict the videos that are not "
            "finished or failed; always: predict every video again; never: refuse."
        ),
    ] = "only-missing",
    limit: Annotated[int | None, typer.Option(help="Only the first so many videos.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Ask a model for the masks of every sentence of a dataset.

    Masks, statuses and timings go to a run folder that survives Ctrl-C and crashes; the same command continues it.
    Exit code 1 says that some sentences have no complete answer.
    """
    from ..baselines.registry import make_predictor
    from ..benchmarks import engine
    from ..benchmarks.runs import PredictorRecord
    from ..datasets.registry import load

    _make_importable(Path.cwd())
    data = load(dataset, root=root)
    predictor = make_predictor(model, data)
    record = engine.describe(predictor) if hasattr(predictor, "describe") else PredictorRecord(name=model)
    try:
        run = engine.predict(
            predictor,
            data,
            out=out,
            resume=cast("Resume", resume),
            limit=limit,
            progress=not quiet,
            predictor=record,
        )
    except KeyboardInterrupt:
        print(f"rvos: interrupted; finished videos are kept in {out}, the same command continues.", file=sys.stderr)
        raise typer.Exit(130) from None
    lines = run.predictions()
    _print_summary(lines)
    print(f"Score it with: rvos evaluate --predictions {run.path}")
    print(run.path)
    if any(line.status != "ok" for line in lines):
        raise typer.Exit(1)


predict.epilog = "Example: rvos predict one-mask-for-all reasonshapes/test --out runs/blind"  # type: ignore[attr-defined]


def _print_summary(lines: list[PredictionLine]) -> None:
    counts = Counter(line.status for line in lines)
    n_videos = len({line.video_id for line in lines})
    seconds = sum(line.seconds for line in lines)
    states = ", ".join(f"{n} {status}" for status, n in counts.most_common())
    print(f"{len(lines)} sentences about {n_videos} videos in {seconds:.3g} s: {states}")
    wrong = [line for line in lines if line.status != "ok"]
    for line in wrong[:MOST_LISTED]:
        print(f"  {line.key} {line.status}: {line.reason}")
    if len(wrong) > MOST_LISTED:
        print(f"  ... {len(wrong) - MOST_LISTED} more in predictions.jsonl")


def _make_importable(folder: Path) -> None:
    """Let ``package.module:attribute`` name a module of the folder that the command runs in."""
    if str(folder) not in sys.path and os.curdir not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(folder))
