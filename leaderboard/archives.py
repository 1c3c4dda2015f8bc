"""Prediction archives: a run's masks, scores and record in one small file, so that papers compare against masks.

``NAME.rvos.tar.xz`` is a tar archive that any tool opens::

    archive.json       schema version, content hash, SHA-256 of every other file
    run.json           what was done; without the paths of the machine that did it
    samples.jsonl      a score a line, with its sample key
    predictions.jsonl  how the model did on each sentence, where rvos ran it
    masks/<video>.json COCO RLE by expression and frame, see ``benchmarks.predictions.run_masks``

Masks are compressed together: neighbouring frames and sentences repeat each other, which one file a video cannot use.
The same run always gives the same bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import lzma
import os
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ..benchmarks.predictions import ExpressionPredictions, open_predictions, write_video_masks
from ..benchmarks.results import Result
from ..benchmarks.runs import MASKS_FOLDER, PREDICTIONS_FILE, RUN_FILE, SAMPLES_FILE, Run, RunRecord, SampleLine
from ..datasets.errors import PredictionInvalid, PredictionMissing, RunError
from ..datasets.masks import Rle, encode_rle
from ..datasets.types import RVOSDataset, Sample

SUFFIX = ".rvos.tar.xz"
INDEX_FILE = "archive.json"
SCHEMA_VERSION = 1
#: No file of an archive is larger; what claims to be is refused unread.
MAX_BYTES = 1 << 30
_MEMBER = re.compile(
    rf"(?:{re.escape(RUN_FILE)}|{re.escape(SAMPLES_FILE)}|{re.escape(PREDICTIONS_FILE)}|masks/[^/\\\0]+\.json)"
)


class Index(BaseModel):
    """``archive.json``. ``content_hash`` is over the names and hashes of ``files``."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    content_hash: str
    files: dict[str, str]

    @classmethod
    def of(cls, files: Mapping[str, str]) -> Index:
        return cls(content_hash=content_hash(files), files=dict(files))


def content_hash(files: Mapping[str, str]) -> str:
    """``sha256:<hex>`` over the sorted names with their own hashes."""
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(files.items()))
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether the path names a prediction archive."""
    return os.fspath(path).endswith(SUFFIX) and Path(path).is_file()


# Write ----------------------------------------------------------------------------------------------------------------


def pack(run: Run, out: Path, dataset: RVOSDataset | None = None) -> Index:
    """Write a run with its masks to ``out``, whole or not at all.

    Args:
        run: scored. Where it scored files of others, these are read again and stored as RLE.
        out: the file; its name should end in ``SUFFIX``.
        dataset: needed where the masks are not in the run.

    Raises:
        RunError: the run is not scored, its masks are gone, or ``out`` cannot be written.
    """
    Result.of_run(run)
    with _masks_of(run, dataset) as masks, _replacing(out) as temporary:
        index = Index.of({name: hashlib.sha256(data).hexdigest() for name, data in _files(run, masks)})
        with tarfile.open(temporary, "w:xz", preset=6) as tar:
            _add(tar, INDEX_FILE, (index.model_dump_json(indent=1) + "\n").encode())
            for name, data in _files(run, masks):
                _add(tar, name, data)
    return index


def _files(run: Run, masks: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the archive, what is read first in front; one video in memory."""
    yield RUN_FILE, (_without_paths(run.record).model_dump_json(indent=1, by_alias=True) + "\n").encode()
    for name in (SAMPLES_FILE, PREDICTIONS_FILE):
        if (run.path / name).exists():
            yield name, (run.path / name).read_bytes()
    for path in sorted(masks.glob("*.json.gz")):
        try:
            yield f"{MASKS_FOLDER}/{path.name.removesuffix('.gz')}", gzip.decompress(path.read_bytes())
        except (OSError, EOFError) as error:
            raise RunError(f"{path}: damaged ({error}); predict the video again.") from error


def _without_paths(record: RunRecord) -> RunRecord:
    """The record without where data and predictions lay."""
    scored = record.predictions and record.predictions.model_copy(update={"path": Path(record.predictions.path).name})
    dataset = record.dataset.model_copy(update={"root": ""})
    return record.model_copy(update={"dataset": dataset, "predictions": scored})


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(data))


@contextmanager
def _masks_of(run: Run, dataset: RVOSDataset | None) -> Iterator[Path]:
    """A folder with the run's masks, a file a video."""
    if run.masks.is_dir():
        yield run.masks
        return
    if dataset is None or run.record.predictions is None:
        raise RunError(f"{run.path} holds no masks; give the dataset, so that the predictions it scored can be read.")
    given = run.record.predictions
    predictions = open_predictions(given.path, dataset, threshold=given.threshold)
    if not isinstance(predictions, ExpressionPredictions):
        raise RunError(f"{given.path} holds label maps; an archive keeps masks per expression, so score such ones.")
    with tempfile.TemporaryDirectory() as name:
        for video in dataset.videos:
            rles = {s.expression.id: _rles(predictions, s) for s in dataset.samples_of(video.id)}
            write_video_masks(Path(name), video, {k: v for k, v in rles.items() if any(r is not None for r in v)})
        yield Path(name)


def _rles(predictions: ExpressionPredictions, sample: Sample) -> list[Rle | None]:
    return [_rle(predictions, sample, name) for name in sample.video.frame_names]


def _rle(predictions: ExpressionPredictions, sample: Sample, frame_name: str) -> Rle | None:
    """The mask; None where it is missing or cannot be used, which scores the same."""
    try:
        return encode_rle(predictions.mask(sample, frame_name, "strict"))
    except (PredictionMissing, PredictionInvalid):
        return None


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """A temporary file that becomes ``out`` where all goes well."""
    temporary = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, out)
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror or error}; give another file.") from error
    finally:
        temporary.unlink(missing_ok=True)


# Read -----------------------------------------------------------------------------------------------------------------


def read_result(path: str | os.PathLike[str]) -> Result:
    """The result in an archive; masks are not read.

    Raises:
        RunError: no archive, a damaged one, or one whose record or scores are not those of its index.
    """
    found: dict[str, bytes] = {}
    for name, data in _members(Path(path)):
        found[name] = data
        if name == SAMPLES_FILE:
            break
    if not {RUN_FILE, SAMPLES_FILE} <= found.keys():
        raise RunError(f"{path} is no archive of a scored run: it has no {RUN_FILE} or no {SAMPLES_FILE}.")
    try:
        record = RunRecord.model_validate_json(found[RUN_FILE])
        scores = tuple(SampleLine.model_validate_json(line).score() for line in found[SAMPLES_FILE].splitlines())
    except ValidationError as error:
        raise RunError(f"{path}: {RUN_FILE} or {SAMPLES_FILE} is damaged: {error.errors()[0]['msg']}.") from error
    if record.protocol is None or record.summary is None:
        raise RunError(f"{path} holds no finished scores; pack the run once it is scored.")
    return Result(record, scores, Path(path))


def unpack(path: str | os.PathLike[str], folder: Path) -> Run:
    """Make a run folder of an archive. Every file must be the one that the index names.

    Raises:
        RunError: no archive, or a damaged or changed one; the folder is then incomplete.
    """
    for name, data in _members(Path(path)):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.startswith(f"{MASKS_FOLDER}/"):
            target.with_name(f"{target.name}.gz").write_bytes(gzip.compress(data, 1, mtime=0))
        else:
            target.write_bytes(data)
    return Run.open(folder)


def read_index(path: str | os.PathLike[str]) -> Index:
    """``archive.json``. Raises RunError."""
    with _explained(Path(path)), tarfile.open(path, "r|xz") as tar:
        return _index(tar, Path(path))


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file after the index, each checked against it."""
    with _explained(path), tarfile.open(path, "r|xz") as tar:
        index = _index(tar, path)
        left = dict(index.files)
        while (member := tar.next()) is not None:
            digest = left.pop(member.name, None)
            if digest is None or not member.isfile() or not _MEMBER.fullmatch(member.name):
                raise RunError(f"{path}: holds '{member.name}', which its index does not name; pack the run again.")
            data = _read(tar, member, path)
            if hashlib.sha256(data).hexdigest() != digest:
                raise RunError(f"{path}: {member.name} was changed after packing; pack the run again.")
            yield member.name, data
        if left:
            raise RunError(f"{path}: {len(left)} files of its index are missing, first {min(left)}.")


def _index(tar: tarfile.TarFile, path: Path) -> Index:
    first = tar.next()
    if first is None or first.name != INDEX_FILE:
        raise RunError(f"{path} is no prediction archive: it does not begin with {INDEX_FILE}.")
    try:
        index = Index.model_validate(json.loads(_read(tar, first, path)))
    except (ValueError, ValidationError) as error:
        raise RunError(f"{path}: {INDEX_FILE} is damaged; pack the run again.") from error
    if index.schema_version != SCHEMA_VERSION:
        raise RunError(f"{path} has schema {index.schema_version}, this rvos reads {SCHEMA_VERSION}; update rvos.")
    if content_hash(index.files) != index.content_hash:
        raise RunError(f"{path}: the content hash is not that of the files; pack the run again.")
    return index


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    stream = tar.extractfile(member) if member.isfile() and member.size <= MAX_BYTES else None
    if stream is None:
        raise RunError(f"{path}: '{member.name}' is no file of sensible size.")
    return stream.read()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise RunError(f"{path}: no such archive.") from None
    except (OSError, tarfile.TarError, lzma.LZMAError, EOFError) as error:
        raise RunError(f"{path} cannot be read as an archive ({error}); copy it again.") from error
