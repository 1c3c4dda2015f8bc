"""Datasets as parquet files with Hugging Face ``datasets`` features, read in place; ``parquet_export`` writes them.

A folder a split::

    <split>/rvos.json                record: name, split, version, counts, SHA-256 of every file
    <split>/videos-00000.parquet     a video a row (and row group): frame names, sentences, masks as RLE
    <split>/frames-00000.parquet     a frame a row: the bytes of its image file, unchanged
    README.md                        dataset card

A mask is kept once for all sentences and objects that mean it: ``targets`` holds ``size`` and, frame by frame, the
``counts`` of a COCO RLE (an absent object has counts of background, null is a frame without annotation), ``voids`` the
same for uncounted pixels. Masks of one video, or 16 frames, are in memory at a time, in writing as in reading.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import DatasetError, ImageError, MissingExtraError, UsageError
from .files import read_json
from .masks import decode_rle
from .types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video

FORMAT = 1
RECORD = "rvos.json"
GROUP = 16  # frames in a row group: what is read to get one of them


class Store(Protocol):
    """Where an export lies. Hashable and picklable."""

    def __hash__(self) -> int: ...

    def path(self, name: str) -> Path:
        """The file ``name``, a posix path below the export, on this machine. Raises DatasetError."""
        ...


@dataclass(frozen=True)
class LocalStore:
    """An export in a folder."""

    folder: Path

    def path(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise DatasetError(f"{path}: no such file; the export is incomplete, write or download it again.")
        return path


class ParquetDataset(RVOSDataset):
    """A split of an export: what it was exported from, read from the files as they lie.

    Sentences are read at once; masks a video at a time and frames 16 at a time, when they are asked for.

    Args:
        root: the export, or the folder that it was downloaded to.
        store: where its files are.
        folder: the split's folder in it.
    """

    def __init__(self, root: Path, store: Store, folder: str) -> None:
        self.store = store
        self.folder = folder
        self.record = _record(store.path(f"{folder}/{RECORD}"))
        self.name = self.record["name"]
        self._paths: dict[str, PurePosixPath] = {}
        self._truths: dict[str, Masklet | None] = {}
        self._objects: dict[str, dict[str, Masklet]] = {}
        self._files = sorted(f for f in self.record["files"] if f.startswith(f"{folder}/videos-"))
        samples = [sample for file in self._files for sample in self._samples(file)]
        super().__init__(root, self.record["split"], self.record["version"], samples)

    def ground_truth(self, sample: Sample) -> Masklet | None:
        return self._truths[sample.key]

    def objects(self, video: Video) -> dict[str, Masklet]:
        return dict(self._objects[video.id])

    def prediction_path(self, sample: Sample) -> PurePosixPath:
        return self._paths[sample.key]

    def annotation_files(self) -> Sequence[Path]:
        return [self.store.path(file) for file in self._files]

    def _samples(self, file: str) -> Iterator[Sample]:
        for group, row in enumerate(_rows(self.store.path(file), leave_out="targets")):
            names = tuple(row["frame_names"])
            source = ParquetFrames(self.store, row["frames_file"], row["frames_group"], names)
            video = Video(
                row["video_id"],
                names,
                source if row["frames_file"] else None,
                context_names=tuple(row["context_names"]),
                fps=row["fps"],
                declared_size=(row["height"], row["width"]),
            )
            masklets = [
                Masklet(tuple(frames), ParquetMasks(self.store, file, group, k))
                for k, frames in enumerate(row["target_frames"])
            ]
            self._objects[video.id] = {o["id"]: masklets[o["target"]] for o in row["objects"]}
            for fields in row["expressions"]:
                ids = fields["object_ids"]
                expression = Expression(
                    id=fields["id"],
                    text=fields["text"],
                    object_ids=None if ids is None else tuple(ids),
                    kind=fields["kind"],
                    is_sentence=fields["is_sentence"],
                    layout_id=fields["layout_id"],
                    tags=json.loads(fields["tags"]),
                )
                sample = Sample(video, expression)
                self._paths[sample.key] = PurePosixPath(fields["prediction_path"])
                self._truths[sample.key] = None if fields["target"] is None else masklets[fields["target"]]
                yield sample


@dataclass(frozen=True)
class ParquetMasks:
    """Target number ``target`` of the video in row group ``group`` of ``file``."""

    store: Store
    file: str
    group: int
    target: int

    def mask(self, index: int) -> BoolMask | None:
        return self._decoded("counts", index)

    def void(self, index: int) -> BoolMask | None:
        return self._decoded("voids", index)

    def _decoded(self, column: str, index: int) -> BoolMask | None:
        target = _targets(self.store, self.file, self.group)[self.target]
        counts = target[column][index]
        if counts is None:
            return None
        return decode_rle({"size": target["size"], "counts": counts}, f"{self.file}, row group {self.group}")


@dataclass(frozen=True)
class ParquetFrames:
    """The frames of a video, from row group ``first`` of ``file`` on, ``GROUP`` in each."""

    store: Store
    file: str
    first: int
    names: tuple[str, ...]

    def read(self, name: str) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB. Raises ImageError, DatasetError."""
        from PIL import Image

        try:
            with Image.open(io.BytesIO(self.encoded(name)[0])) as image:
                return np.array(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise ImageError(f"{self.file}: frame {name} is no readable image ({error}); export it again.") from error

    def size(self, name: str) -> tuple[int, int]:
        height, width = self.read(name).shape[:2]
        return height, width

    def path(self, name: str) -> Path | None:
        return None

    def encoded(self, name: str) -> tuple[bytes, str]:
        """The bytes of the frame's file and its ending. Raises DatasetError."""
        index = self.names.index(name)
        image = _images(self.store, self.file, self.first + index // GROUP)[index % GROUP]
        return image["bytes"], Path(image["path"]).suffix


def is_export(root: Path) -> bool:
    """Whether a folder holds an export."""
    return root.is_dir() and any(root.glob(f"*/{RECORD}"))


def open_export(root: Path, split: str | None = None) -> ParquetDataset:
    """Open a split of an export on disk.

    Raises:
        UsageError: no split named where there are several, or one that is not there.
        DatasetError: no export, or a damaged one.
    """
    return ParquetDataset(
        root, LocalStore(root), choose(split, [p.parent.name for p in root.glob(f"*/{RECORD}")], root)
    )


def choose(split: str | None, folders: Sequence[str], place: object) -> str:
    """The folder of a split. Raises UsageError."""
    if split is None and len(folders) == 1:
        return folders[0]
    wanted = None if split is None else folder_of(split)
    if wanted is None or wanted not in folders:
        known = ", ".join(sorted(folders)) or "none"
        raise UsageError(f"{place}: {'name a split' if split is None else f'no split {split}'}; there are: {known}.")
    return wanted


def folder_of(split: str) -> str:
    """The folder of a split; Hugging Face takes letters, digits and '_' only."""
    return split.replace("-", "_") or "test"


def _record(path: Path) -> dict[str, Any]:
    record = read_json(path)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise DatasetError(f"{path}: not the record of an export of format {FORMAT}; export it again, or update rvos.")
    return record


def _rows(path: Path, leave_out: str) -> Iterator[dict[str, Any]]:
    """A row of every row group without one of its columns, one in memory."""
    with _opened(path) as file:
        columns = [name for name in file.schema_arrow.names if name != leave_out]
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns).to_pylist()[0]


@lru_cache(maxsize=4)
def _targets(store: Store, file: str, group: int) -> list[dict[str, Any]]:
    """The masks of one video, as RLE."""
    with _opened(store.path(file)) as opened:
        targets: list[dict[str, Any]] = opened.read_row_group(group, columns=["targets"]).to_pylist()[0]["targets"]
    return targets


@lru_cache(maxsize=4)
def _images(store: Store, file: str, group: int) -> list[dict[str, Any]]:
    with _opened(store.path(file)) as opened:
        return [row["image"] for row in opened.read_row_group(group, columns=["image"]).to_pylist()]


def _opened(path: Path) -> Any:
    pyarrow, parquet = arrow()
    try:
        return parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DatasetError(f"{path}: not a whole parquet file ({reason}); write or download it again.") from error


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def arrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet", "hub") from error
    return pyarrow, pyarrow.parquet
