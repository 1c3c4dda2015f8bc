"""The run folder: ``run.json`` (what was done), ``samples.jsonl`` (a score a line), ``masks/`` (a file a video).

It is written from the first video on. ``run.json`` is replaced atomically; ``samples.jsonl`` grows by whole lines and
is synced to disk after every video, so a killed run leaves a valid folder that can be resumed, and at most one torn
line, which is dropped. Scores can be recomputed from the masks without the model.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from ..datasets.config import replace_file
from ..datasets.errors import RunError
from ..datasets.types import RVOSDataset
from .intervals import Interval, summary_intervals
from .leases import LOGS_FOLDER, WORK_FOLDER
from .machine import describe
from .protocols.base import J_AND_F, Metric, Protocol, Status, Summary, Unit, UnitScore
from .provenance import package_versions, source_revision

SCHEMA_VERSION = 1
RUN_FILE = "run.json"
SAMPLES_FILE = "samples.jsonl"
PREDICTIONS_FILE = "predictions.jsonl"
MASKS_FOLDER = "masks"

RunStatus = Literal["started", "finished", "interrupted", "failed"]
Tag = str | int | float | bool


def _utf8(text: str) -> str:
    """The text as any file can hold it: bytes of a file's name that are no UTF-8 are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


#: Text that may name files.
Text = Annotated[str, AfterValidator(_utf8)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ProtocolRecord(_Record):
    """Which protocol made the scores."""

    id: str
    words: str
    source: str
    strict: bool
    metrics: tuple[Metric, ...] = J_AND_F

    @classmethod
    def of(cls, protocol: Protocol) -> ProtocolRecord:
        return cls(
            id=protocol.id,
            words=protocol.words,
            source=protocol.source,
            strict=protocol.strict,
            metrics=protocol.metrics,
        )


class DatasetRecord(_Record):
    """Which data: two runs are comparable where ``fingerprint`` and ``sample_keys`` are equal.

    ``fingerprint`` hashes the annotation files, ``sample_keys`` the sorted sample keys (SHA-256). ``root`` is where
    the data was on the machine that made the run.
    """

    name: str
    split: str
    version: str
    fingerprint: str
    sample_keys: str
    n_samples: int
    n_videos: int
    root: Text

    @classmethod
    def of(cls, dataset: RVOSDataset) -> DatasetRecord:
        return cls(
            name=dataset.name,
            split=dataset.split,
            version=dataset.version,
            fingerprint=dataset.fingerprint,
            sample_keys=sample_keys_hash(dataset),
            n_samples=len(dataset),
            n_videos=len(dataset.videos),
            root=str(Path(dataset.root).absolute()),
        )

    @property
    def id(self) -> str:
        return f"{self.name}/{self.split}" if self.split else self.name

    def same_data(self, other: DatasetRecord) -> bool:
        """Whether both name the same annotations and samples, wherever they lie."""
        mine, theirs = (r.model_dump(exclude={"root"}) for r in (self, other))
        return bool(mine == theirs)


class PredictorRecord(_Record):
    """Which model made the masks; None where the caller does not know."""

    name: str
    revision: str | None = None
    weights_hash: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    resolved_arguments: dict[str, Any] = Field(default_factory=dict)
    prompt_template: str | None = None
    sampling_rule: str | None = None
    dtype: str | None = None
    seeds: dict[str, int] = Field(default_factory=dict)


class PredictionsRecord(_Record):
    """Which files were scored, and how they were read."""

    path: Text
    layout: str
    merge_rule: str | None = None
    threshold: float | None = None
    notes: list[Text] = Field(default_factory=list)


class ValueRecord(_Record):
    """A mean, 0-1, with its 95 % interval clustered by video; ``reason`` says why there is none."""

    value: float | None
    half_width: float | None = None
    n_clusters: int = 0
    reason: str = ""

    @classmethod
    def of(cls, interval: Interval) -> ValueRecord:
        return cls(
            value=interval.value,
            half_width=interval.half_width,
            n_clusters=interval.n_clusters,
            reason=interval.reason,
        )


class SummaryRecord(_Record):
    """The protocol's values over the units, 0-1; in the file each metric is a key of its own, e.g. ``J&F``."""

    values: dict[str, ValueRecord]
    counts: dict[Status, int]
    n_counted: int
    extras: dict[str, float | None] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    stamps: list[str] = Field(default_factory=list)
    ceiling: dict[str, float | None] | None = None
    floor: dict[str, float | None] | None = None

    @classmethod
    def of(cls, protocol: Protocol, summary: Summary, scores: Sequence[UnitScore]) -> SummaryRecord:
        intervals = summary_intervals(protocol.metrics, summary, scores)
        return cls(
            values={name: ValueRecord.of(interval) for name, interval in intervals.items()},
            counts=dict(summary.counts),
            n_counted=summary.n_counted,
            extras=dict(summary.extras),
            warnings=list(summary.warnings),
        )

    def value(self, metric: str) -> ValueRecord:
        """The value of a metric; one without a number where the protocol does not report it."""
        return self.values.get(metric) or ValueRecord(value=None, reason=f"the protocol does not report {metric}")

    @property
    def J_and_F(self) -> ValueRecord:
        return self.value("J&F")

    @property
    def J(self) -> ValueRecord:
        return self.value("J")

    @property
    def F(self) -> ValueRecord:
        return self.value("F")

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, data: Any) -> Any:
        """From a file: every key that is no field is a metric."""
        if not isinstance(data, dict) or "values" in data:
            return data
        fields = {name: value for name, value in data.items() if name in cls.model_fields}
        return {**fields, "values": {name: value for name, value in data.items() if name not in fields}}

    @model_serializer(mode="wrap")
    def _spread(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data = written(self)
        return {**data.pop("values"), **data}


class CostRecord(_Record):
    """What all answers of a run took: seconds of segmenting added up over processes, the peaks of the hungriest one.

    Memory is in MiB, resident for a process and allocated by torch on a GPU; None where it is not known. ``tokens``
    are a language model's, where the predictor counts them.
    """

    seconds: float
    peak_memory_mib: float | None = None
    peak_cuda_mib: float | None = None
    tokens: float | None = None

    @classmethod
    def of(cls, lines: Sequence[PredictionLine]) -> CostRecord:
        def known(name: str) -> list[float]:
            return [value for line in lines if (value := getattr(line, name)) is not None]

        return cls(
            seconds=round(sum(line.seconds for line in lines), 6),
            peak_memory_mib=max(known("peak_memory_mib"), default=None),
            peak_cuda_mib=max(known("peak_cuda_mib"), default=None),
            tokens=sum(known("tokens")) if known("tokens") else None,
        )


class RunRecord(_Record):
    """``run.json``.

    ``limit`` says that the run is partial: only the dataset's first ``limit`` videos; ``shard`` that it holds a part
    of them, e.g. ``2/4``, and waits for the others (``rvos runs merge``).
    """

    schema_version: int = SCHEMA_VERSION
    status: RunStatus = "started"
    reason: str = ""
    started_at: datetime
    updated_at: datetime
    finished_at: datetime | None = None
    dataset: DatasetRecord
    protocol: ProtocolRecord | None = None
    predictor: PredictorRecord | None = None
    predictions: PredictionsRecord | None = None
    limit: int | None = None
    shard: str | None = None
    summary: SummaryRecord | None = None
    cost: CostRecord | None = None
    rvos_version: str
    git: dict[str, str | bool] | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    device: dict[str, Any] = Field(default_factory=dict)

    @property
    def extent(self) -> str:
        """``complete``, or how much of the dataset the run covers."""
        whole = "complete" if self.limit is None else f"first {self.limit} of {self.dataset.n_videos} videos"
        return whole if self.shard is None else f"shard {self.shard} of {whole}"


class SampleLine(_Record):
    """A line of ``samples.jsonl``: the score of one unit. J and F are 0-1 in full float64 digits, or null."""

    key: str
    video_id: str
    expression_id: str | None
    object_ids: list[str]
    annotator: int | None
    status: Status
    counted: bool
    flags: list[str]
    reason: Text
    n_frames: int
    n_empty_frames: int
    J: float | None
    F: float | None
    seconds: float
    tags: dict[str, Tag] = Field(default_factory=dict)
    extras: dict[str, float | None] = Field(default_factory=dict)
    frame_names: list[str] = Field(default_factory=list)
    frame_J: list[float] = Field(default_factory=list)
    frame_F: list[float] = Field(default_factory=list)

    @classmethod
    def of(cls, score: UnitScore) -> SampleLine:
        unit = score.unit
        return cls(
            key=unit.key,
            video_id=unit.video_id,
            expression_id=unit.expression_id,
            object_ids=list(unit.object_ids),
            annotator=unit.annotator,
            status=score.status,
            counted=score.counted,
            flags=list(score.flags),
            reason=score.reason,
            n_frames=score.n_frames,
            n_empty_frames=score.n_empty_frames,
            J=score.J,
            F=score.F,
            seconds=score.seconds,
            tags=dict(unit.tags),
            extras=dict(score.extras),
            frame_names=list(score.frame_names),
            frame_J=list(score.frame_J),
            frame_F=list(score.frame_F),
        )

    def score(self) -> UnitScore:
        unit = Unit(self.key, self.video_id, self.expression_id, tuple(self.object_ids), self.annotator, self.tags)
        return UnitScore(
            unit,
            self.status,
            self.J,
            self.F,
            counted=self.counted,
            n_frames=self.n_frames,
            n_empty_frames=self.n_empty_frames,
            flags=tuple(self.flags),
            reason=self.reason,
            frame_names=tuple(self.frame_names),
            frame_J=tuple(self.frame_J),
            frame_F=tuple(self.frame_F),
            extras=self.extras,
            seconds=self.seconds,
        )

    def to_json(self) -> str:
        """One line without its line break; per-frame values only where they were asked for."""
        empty = {name for name in ("tags", "extras", "frame_names", "frame_J", "frame_F") if not getattr(self, name)}
        return self.model_dump_json(exclude=empty)


#: How the model answered a sentence.
#:  ``ok``       a usable mask for every frame
#:  ``missing``  no mask for some frames
#:  ``invalid``  a mask that cannot be used (shape, dtype, NaN)
#:  ``failed``   the model raised
PredictionStatus = Literal["ok", "missing", "invalid", "failed"]


class PredictionLine(_Record):
    """A line of ``predictions.jsonl``: how the model answered one sentence, and what that cost.

    ``seconds`` and ``tokens`` are its share of the video, the peaks those of the whole video, see ``costs.Cost``.
    """

    key: str
    video_id: str
    expression_id: str
    status: PredictionStatus
    reason: Text = ""
    n_frames: int = 0
    n_empty_frames: int = 0
    seconds: float = 0.0
    peak_memory_mib: float | None = None
    peak_cuda_mib: float | None = None
    tokens: float | None = None
    traceback: Text = ""


class Run:
    """A run folder.

    Attributes:
        path: the folder.
        record: the contents of ``run.json``; change it and call ``save``.
    """

    def __init__(self, path: Path, record: RunRecord) -> None:
        self.path = path
        self.record = record

    def __repr__(self) -> str:
        protocol = self.record.protocol.id if self.record.protocol else "not scored"
        return f"Run({self.path}: {self.record.dataset.id}, {protocol}, {self.record.status})"

    def __fspath__(self) -> str:
        return str(self.path)

    # Open and create ----------------------------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """The run in folder ``path``. Raises RunError where it is none or a newer rvos wrote it."""
        folder = Path(path)
        return cls(folder, _read_record(folder))

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        dataset: RVOSDataset,
        *,
        protocol: Protocol | None = None,
        predictor: PredictorRecord | None = None,
        predictions: PredictionsRecord | None = None,
        limit: int | None = None,
        shard: str | None = None,
        resume: bool = False,
    ) -> Run:
        """A new run in folder ``path``, or with ``resume`` the one that is there.

        Args:
            path: made where it does not exist; an existing folder must be empty, or hold the same run to resume.
            dataset: what is predicted or scored.
            protocol: None while masks are only predicted.
            predictor: the model, where rvos runs it.
            predictions: the files that are scored, where rvos did not make them.
            limit: the run covers only the dataset's first ``limit`` videos.
            shard: the run covers only a part of those, e.g. ``2/4``.
            resume: continue the run in ``path``; starts a new one where there is none.

        Raises:
            RunError: where the folder holds something else, another run, or cannot be written.
        """
        folder = Path(path)
        wanted = new_record(dataset, protocol, predictor, predictions, limit, shard)
        if (folder / RUN_FILE).exists():
            return cls._reopened(folder, wanted, resume)
        _make_empty_folder(folder)
        run = cls(folder, wanted)
        run.save()
        return run

    @staticmethod
    def check_empty(path: str | os.PathLike[str]) -> None:
        """Raises RunError where a run cannot begin in ``path``: a file, or a folder that holds something else."""
        _make_empty_folder(Path(path))

    @classmethod
    def _reopened(cls, folder: Path, wanted: RunRecord, resume: bool) -> Run:
        run = cls.open(folder)
        run._must_match(wanted)
        if not resume:
            raise RunError(
                f"{folder} already holds this run ({run.record.status}); --resume continues it, or give another --out."
            )
        run.scores()  # damaged lines are found before anything is written
        run.predictions()
        run.record = wanted.model_copy(
            update={"started_at": run.record.started_at, "predictor": wanted.predictor or run.record.predictor}
        )
        run.save()
        return run

    def start_scoring(self, dataset: RVOSDataset, protocol: Protocol, predictions: PredictionsRecord) -> None:
        """Prepare a run that holds predicted masks for scores under ``protocol``.

        Raises:
            RunError: where the run was made on other data, or holds scores of another protocol.
        """
        self._must_match(new_record(dataset, protocol, limit=self.record.limit, shard=self.record.shard))
        self.record.protocol = ProtocolRecord.of(protocol)
        self.record.predictions = predictions
        self.save(status="started")

    def _must_match(self, wanted: RunRecord) -> None:
        mine = self.record
        differences = [
            ("dataset", mine.dataset.id, wanted.dataset.id),
            ("dataset fingerprint", mine.dataset.fingerprint, wanted.dataset.fingerprint),
            ("sample keys", mine.dataset.sample_keys, wanted.dataset.sample_keys),
            ("protocol", _id(mine.protocol), _id(wanted.protocol)),
            ("predictions", _path(mine.predictions), _path(wanted.predictions)),
            ("predictor", mine.predictor, wanted.predictor),
            ("extent", mine.extent, wanted.extent),
        ]
        for what, found, expected in differences:
            if found is not None and expected is not None and found != expected:
                raise RunError(
                    f"{self.path} holds a run with {what} {_short(found)}, not {_short(expected)}; give another --out."
                )

    # State --------------------------------------------------------------------------------------------------------

    @property
    def masks(self) -> Path:
        """The folder of the run's masks, one file a video."""
        return self.path / MASKS_FOLDER

    def save(self, status: RunStatus | None = None, reason: str = "") -> None:
        """Write ``run.json`` anew (temporary file, fsync, rename). Raises RunError, the old file stays."""
        now = _now()
        self.record.updated_at = now
        if status is not None:
            self.record.status, self.record.reason = status, _utf8(reason)
            self.record.finished_at = now if status == "finished" else None
        text = self.record.model_dump_json(indent=2, by_alias=True)
        with _explained(self.path):
            replace_file(self.path / RUN_FILE, text + "\n")

    # Scores -------------------------------------------------------------------------------------------------------

    def append(self, scores: Sequence[UnitScore]) -> None:
        """Add lines to ``samples.jsonl`` and sync them to disk. Raises RunError; earlier lines stay as they are."""
        self._append(SAMPLES_FILE, [SampleLine.of(s).to_json() for s in scores])

    def scores(self) -> list[UnitScore]:
        """The scores written so far, without the torn last line of a killed run.

        Raises:
            RunError: where an earlier line is damaged.
        """
        return [line.score() for line in _lines(self.path / SAMPLES_FILE, SampleLine)]

    def replace_scores(self, scores: Sequence[UnitScore]) -> None:
        """Write ``samples.jsonl`` anew, atomically: the final order, or what a resumed run keeps."""
        text = "".join(SampleLine.of(s).to_json() + "\n" for s in scores)
        with _explained(self.path):
            replace_file(self.path / SAMPLES_FILE, text)

    def finish(self, summary: SummaryRecord) -> None:
        """Record the result; the run is ``finished``."""
        self.record.summary = summary
        self.save(status="finished")

    # What the model answered ------------------------------------------------------------------------------------------

    def append_predictions(self, lines: Sequence[PredictionLine], log: Path | None = None) -> None:
        """Note how the model answered the sentences of a video, after its masks were written. Raises RunError.

        Args:
            log: the file of the process that answered where several may be at work, see ``leases.Session``.
        """
        with _explained(self.path):
            append_lines(log or self.path / PREDICTIONS_FILE, [line.model_dump_json() for line in lines])

    def predictions(self) -> list[PredictionLine]:
        """One line a sentence: those of ``predictions.jsonl`` and of the processes at work, where the latter win.

        Torn last lines of killed processes are left out. Raises RunError where another line is damaged.
        """
        # The logs first: a process that ends writes ``predictions.jsonl`` before it removes its log.
        logs = sorted((self.path / WORK_FOLDER / LOGS_FOLDER).glob("*.jsonl"))
        at_work = [line for log in logs for line in _lines(log, PredictionLine)]
        return list({line.key: line for line in [*self.settled_predictions(), *at_work]}.values())

    def settled_predictions(self) -> list[PredictionLine]:
        """The lines of ``predictions.jsonl`` alone: what was finished before the processes now at work began."""
        return _lines(self.path / PREDICTIONS_FILE, PredictionLine)

    def replace_predictions(self, lines: Sequence[PredictionLine]) -> None:
        """Write ``predictions.jsonl`` anew, atomically: what a resumed run keeps."""
        with _explained(self.path):
            replace_file(self.path / PREDICTIONS_FILE, "".join(line.model_dump_json() + "\n" for line in lines))

    def clear_half_written(self) -> None:
        """Remove the temporary files that killed processes left; call it where none is at work."""
        for pattern in (f".{RUN_FILE}.*", f".{PREDICTIONS_FILE}.*", f"{MASKS_FOLDER}/.*"):
            for half_written in self.path.glob(pattern):
                half_written.unlink(missing_ok=True)

    def _append(self, name: str, lines: Sequence[str]) -> None:
        with _explained(self.path):
            append_lines(self.path / name, lines)


def sample_keys_hash(dataset: RVOSDataset) -> str:
    """SHA-256 of the sorted sample keys, one a line, as ``sha256:<hex>``."""
    keys = "\n".join(sorted(sample.key for sample in dataset.samples))
    return f"sha256:{hashlib.sha256(keys.encode()).hexdigest()}"


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """Add whole lines and sync them to disk: all of them or, where the disk is full, none.

    Raises:
        OSError: where they cannot be written.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        end = _drop_torn_line(handle)
        try:
            _write_all(handle, "".join(line + "\n" for line in lines).encode())
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, end)
            raise
    finally:
        os.close(handle)


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether the folder holds a run."""
    return (Path(path) / RUN_FILE).is_file()


# Records ----------------------------------------------------------------------------------------------------------


def new_record(
    dataset: RVOSDataset,
    protocol: Protocol | None = None,
    predictor: PredictorRecord | None = None,
    predictions: PredictionsRecord | None = None,
    limit: int | None = None,
    shard: str | None = None,
) -> RunRecord:
    """A record of a run that starts now, on this machine, with this code; nothing is written."""
    from .. import __version__

    now = _now()
    return RunRecord(
        started_at=now,
        updated_at=now,
        dataset=DatasetRecord.of(dataset),
        protocol=None if protocol is None else ProtocolRecord.of(protocol),
        predictor=predictor,
        predictions=predictions,
        limit=None if limit is None or limit >= len(dataset.videos) else limit,
        shard=shard,
        rvos_version=__version__,
        git=source_revision(),
        packages=package_versions(),
        device=describe(),
    )


def _read_record(folder: Path) -> RunRecord:
    path = folder / RUN_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder} is not a run folder: it has no {RUN_FILE}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}.") from error
    try:
        version = _Versioned.model_validate_json(text).schema_version
        if version != SCHEMA_VERSION:
            raise RunError(f"{path} has schema {version}, this rvos reads {SCHEMA_VERSION}; update rvos to open it.")
        return RunRecord.model_validate_json(text)
    except ValidationError as error:
        raise RunError(f"{path} is not a run record: {_first(error)}.") from error


class _Versioned(BaseModel):
    schema_version: int


def _lines(path: Path, model: type[Any]) -> list[Any]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}.") from error
    *whole, _torn = raw.split(b"\n")
    return [_parsed(path, number, line, model) for number, line in enumerate(whole, 1)]


def _parsed(path: Path, number: int, line: bytes, model: type[Any]) -> Any:
    try:
        return model.model_validate_json(line)
    except ValidationError as error:
        raise RunError(
            f"{path}, line {number}, is damaged: {_first(error)}. Score the masks again into another --out."
        ) from error


def _first(error: ValidationError) -> str:
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"])
    return f"{place}: {problem['msg']}" if place else str(problem["msg"])


def _id(protocol: ProtocolRecord | None) -> str | None:
    return None if protocol is None else protocol.id


def _path(predictions: PredictionsRecord | None) -> str | None:
    return None if predictions is None else f"{predictions.path} (threshold {predictions.threshold})"


def _short(value: Any) -> str:
    text = value.model_dump_json(exclude_defaults=True) if isinstance(value, BaseModel) else str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


# Files ------------------------------------------------------------------------------------------------------------


def _make_empty_folder(folder: Path) -> None:
    with _explained(folder):
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file, a run needs a folder; give another --out.")
        folder.mkdir(parents=True, exist_ok=True)
        if any(not _is_of_a_starting_run(path) for path in folder.iterdir()):
            raise RunError(f"{folder} is not empty and not a run (no {RUN_FILE}); give a new folder as --out.")


def _is_of_a_starting_run(path: Path) -> bool:
    """Whether a process that is making the run at this moment has put it there."""
    return path.name == WORK_FOLDER or path.name.startswith(f".{RUN_FILE}.")


def _drop_torn_line(handle: int) -> int:
    """Cut off what follows the last line break, half a line from a killed process; the file's size then."""
    size = end = os.lseek(handle, 0, os.SEEK_END)
    while end > 0:
        start = max(0, end - 65536)
        os.lseek(handle, start, os.SEEK_SET)
        found = os.read(handle, end - start).rfind(b"\n")
        end = start if found < 0 else start + found + 1
        if found >= 0:
            break
    if end < size:
        os.ftruncate(handle, end)
    return end


def _write_all(handle: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Turn the system's errors while writing into a RunError that names the folder and the cure."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise RunError(
                f"No space left on the disk of run folder {folder}; what was finished is kept. "
                "Free some space and continue with --resume."
            ) from error
        raise RunError(
            f"Run folder {folder} cannot be written: {error.strerror or error}; give a writable --out."
        ) from error
