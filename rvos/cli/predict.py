"""``rvos predict``: a model over a dataset, into a run folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from .member import Job, interrupt_on_sigterm, record_of

if TYPE_CHECKING:
    from ..benchmarks.engine import Resume
    from ..benchmarks.runs import PredictionLine
    from ..datasets.types import RVOSDataset

#: So many sentences that are not ok are printed; ``predictions.jsonl`` has them all.
MOST_LISTED = 5


def predict(
    model: Annotated[
        str,
        typer.Argument(
            help="A predictor's name (empty, perfect, ...), NAME:CHECKPOINT, package.module:attribute, a class or "
            "object with segment(video, expressions) or a function (video, text) -> (T, H, W) masks; or "
            "worker:COMMAND, a program in any environment (docs/workers.md)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Run folder; made where it does not exist. Of a suite: one below it each.")],
    dataset: Annotated[
        str | None, typer.Argument(help="DATASET/SPLIT, e.g. mevis/valid_u; see: rvos datasets list")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="In place of DATASET: four, all four benchmarks, from their remembered roots.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The dataset's folder; by default the remembered one.")] = None,
    resume: Annotated[
        str,
        typer.Option(
            help="What to do with a run that is already there. only-missing: predict the videos that are not "
            "finished or failed, together with whoever is at work there; always: predict every video again; never: "
            "refuse."
        ),
    ] = "only-missing",
    limit: Annotated[int | None, typer.Option(help="Only the first so many videos.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="So many processes share the videos.")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="As --workers, each process with a GPU of its own.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="Only part I/N of the videos, for rvos runs merge; another --out for each.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Ask a model for the masks of every sentence of a dataset.

    Masks, statuses and costs go to a run folder that survives Ctrl-C, crashes and preemption; the same command
    continues it. Commands that name the same folder share its videos: jobs of a Slurm array, the ranks of torchrun or
    accelerate, further terminals. Exit code 1 says that some sentences have no complete answer.
    """
    from ..datasets.registry import load

    names = _datasets(dataset, suite, root)
    make_importable(Path.cwd())
    interrupt_on_sigterm()
    rank = _rank(workers, gpus)
    opened = [load(name, root=root) for name in names]  # what is wrong with any of them shows before the first starts
    folders = [out if suite is None else out / name.replace("/", "-") for name in names]
    worst = 0
    for name, data, folder in zip(names, opened, folders, strict=True):
        job = Job(model, name, str(folder), None if root is None else str(root), limit, shard)
        lines = _run(job, data, cast("Resume", resume), _environments(workers, gpus), progress=not quiet and rank == 0)
        worst |= any(line.status != "ok" for line in lines)
        if rank == 0:
            _print_summary(lines)
            print(f"Score it with: rvos evaluate --predictions {folder}")
    if rank == 0:
        print(out)
    if worst:
        raise typer.Exit(1)


predict.epilog = "Example: rvos predict one-mask-for-all reasonshapes/test --out runs/blind"  # type: ignore[attr-defined]


def _run(
    job: Job, data: RVOSDataset, resume: Resume, environments: list[dict[str, str]], progress: bool
) -> list[PredictionLine]:
    """Predict in this process or, where there are environments, in one process for each."""
    from ..baselines.registry import make_predictor
    from ..benchmarks import engine, fleet

    extent: dict[str, Any] = {"out": Path(job.out), "limit": job.limit, "shard": job.shard}
    try:
        if environments:
            members = [partial(subprocess.Popen, job.command(), env=e, stdout=subprocess.DEVNULL) for e in environments]
            run = fleet.predict_with(members, data, resume=resume, progress=progress, **extent)
        else:
            model = make_predictor(job.model, data)
            record = record_of(job.model, model)
            run = engine.predict(model, data, resume=resume, progress=progress, predictor=record, **extent)
    except KeyboardInterrupt:
        print(f"rvos: interrupted; finished videos are kept in {job.out}, the same command continues.", file=sys.stderr)
        raise typer.Exit(130) from None
    return run.predictions()


def _datasets(dataset: str | None, suite: str | None, root: Path | None) -> list[str]:
    from ..benchmarks.suites import suite_of
    from ..datasets.errors import UsageError

    if (dataset is None) == (suite is None):
        raise UsageError("Name one DATASET/SPLIT, or --suite four.")
    if suite is not None and root is not None:
        raise UsageError("A suite has several folders: remember each with rvos datasets roots --set NAME=FOLDER.")
    return [dataset] if dataset is not None else list(suite_of(suite or ""))


def _environments(workers: int | None, gpus: int | None) -> list[dict[str, str]]:
    """The environment of each process to start; none for work in this process.

    Several processes on one machine get their share of its cores, which libraries would each take whole.
    """
    from ..benchmarks.machine import usable_cores

    own: list[dict[str, str]]
    if gpus is None:
        count, own = workers or 0, [{} for _ in range(workers or 0)]
    else:
        count, own = gpus, [{"CUDA_VISIBLE_DEVICES": name} for name in _visible_gpus(gpus)]
    threads = str(max(1, usable_cores() // max(1, count)))
    return [{"OMP_NUM_THREADS": threads, **os.environ, **mine} for mine in own]


def _visible_gpus(count: int) -> list[str]:
    """Names of the first ``count`` GPUs. Raises UsageError where there are fewer."""
    from ..benchmarks.machine import gpu_names
    from ..datasets.errors import UsageError

    names = gpu_names()
    if len(names) < count:
        raise UsageError(f"--gpus {count}: found {len(names)} GPUs here ({', '.join(names) or 'none'}).")
    return names[:count]


def _rank(workers: int | None, gpus: int | None) -> int:
    """This process's rank where torchrun or accelerate started several, each then on its own GPU; else 0."""
    from ..benchmarks.machine import gpu_names
    from ..datasets.errors import UsageError

    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return 0
    if workers is not None or gpus is not None:
        raise UsageError("torchrun and accelerate start the processes themselves; leave --workers and --gpus out.")
    names = gpu_names()
    if names:
        os.environ["CUDA_VISIBLE_DEVICES"] = names[int(os.environ.get("LOCAL_RANK", "0")) % len(names)]
    return int(os.environ.get("RANK", "0"))


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


def make_importable(folder: Path) -> None:
    """Let ``package.module:attribute`` name a module of the folder that the command runs in."""
    if str(folder) not in sys.path and os.curdir not in sys.path and "" not in sys.path:
        sys.path.insert(0, str(folder))
