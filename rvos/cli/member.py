"""One process of ``rvos predict --workers`` or ``--gpus``: ``python -m rvos.cli.member JOB``, a JSON object."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets.errors import RvosError

if TYPE_CHECKING:
    from ..benchmarks.runs import PredictorRecord

#: How often a member looks whether the command that started it is still there, in seconds.
INTERVAL = 1.0


@dataclass(frozen=True)
class Job:
    """What ``rvos predict`` was asked for."""

    model: str
    dataset: str
    out: str
    root: str | None = None
    limit: int | None = None
    shard: str | None = None

    def command(self) -> list[str]:
        return [sys.executable, "-m", "rvos.cli.member", json.dumps(asdict(self))]


def record_of(model: str, predictor: Any) -> PredictorRecord:
    """What a run records about the model that the command names."""
    from ..benchmarks.engine import describe
    from ..benchmarks.runs import PredictorRecord

    return describe(predictor) if hasattr(predictor, "describe") else PredictorRecord(name=model)


def interrupt_on_sigterm() -> None:
    """A scheduler's SIGTERM ends the run as Ctrl-C does: the video goes back at once, the record says it."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Join the run until all videos are done; exit 0 then, 2 where that cannot work, 130 where ended."""
    job = Job(**json.loads(sys.argv[1]))
    interrupt_on_sigterm()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    try:
        _predict(job)
    except RvosError as error:
        print(f"rvos: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _predict(job: Job) -> None:
    from ..baselines.registry import make_predictor
    from ..benchmarks import engine
    from ..datasets.registry import load

    data = load(job.dataset, root=job.root)
    predictor = make_predictor(job.model, data)
    engine.predict(
        predictor,
        data,
        out=Path(job.out),
        limit=job.limit,
        shard=job.shard,
        progress=False,
        predictor=record_of(job.model, predictor),
    )


def _end_with(parent: int) -> None:
    """End this process soon after its parent, however that ended."""
    while os.getppid() == parent:
        time.sleep(INTERVAL)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
