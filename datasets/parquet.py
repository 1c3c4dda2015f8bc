"""Datasets as parquet files with Hugging Face ``datasets`` features: written in a stream, read in place.

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .config import replace_file
from .errors import DatasetError, ImageError, MissingExtraError, UsageError
from .layouts.files import staged
from .masks import decode_rle, encode_rle
from .types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video

FORMAT = 1
RECORD = "rvos.json"
GROUP = 16  # frames in a row group: what is read to get one of them
SHARD_BYTES = 256 << 20

#: called with (videos done, videos in all)
Progress = Callable[[int, int], None]


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


@dataclass(frozen=True)
class Export:
    """What was written: where, how much."""

    root: Path
    folder: str
    n_videos: int
    n_samples: int
    n_frames: int
    n_bytes: int
    files: tuple[str, ...]


# Writing -------------------------------------------------------------------------------------------------------------


def export_parquet(
    dataset: RVOSDataset,
    out: Path | str,
    *,
    frames: bool = True,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Export:
    """Write a split as parquet; another split may be added to ``out`` later. Complete or not there.

    Args:
        dataset: any; its masks become RLE, its frames' files are kept byte for byte.
        out: the folder of the export.
        frames: whether images are written; without them masks can be scored, nothing can be predicted.
        shard_bytes: size from which the next video begins a new file.
        progress: called after every video.

    Raises:
        MissingExtraError: ``rvos[hub]`` is not installed.
        UsageError: the split is already there.
        ImageError, DatasetError: the dataset's files are not as expected.
    """
    out = Path(out).absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = folder_of(dataset.split)
    n_frames = 0
    with staged(out) as stage:
        (stage / folder).mkdir()
        videos = _Shards(stage / folder, "videos", _video_schema(), shard_bytes)
        images = _Shards(stage / folder, "frames", _frame_schema(), shard_bytes)
        with videos, images:
            for done, video in enumerate(dataset.videos, start=1):
                place = _write_frames(images, video) if frames else ("", 0)
                n_frames += len(video) if frames else 0
                videos.add([_video_row(dataset, video, place)])
                videos.end_of_video()
                if progress is not None:
                    progress(done, len(dataset.videos))
        files = {f"{folder}/{p.name}": file_digest(p) for p in sorted((stage / folder).glob("*.parquet"))}
        n_bytes = sum((stage / name).stat().st_size for name in files)
        record = {
            "format": FORMAT,
            "name": dataset.name,
            "split": dataset.split,
            "version": dataset.version,
            "fingerprint": dataset.fingerprint,
            "n_videos": len(dataset.videos),
            "n_samples": len(dataset),
            "n_frames": n_frames,
            "files": files,
        }
        (stage / folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    replace_file(out / "README.md", readme(out).encode())
    return Export(out, folder, len(dataset.videos), len(dataset), n_frames, n_bytes, tuple(files))


def folder_of(split: str) -> str:
    """The folder of a split; Hugging Face takes letters, digits and '_' only."""
    return split.replace("-", "_") or "test"


def readme(root: Path) -> str:
    """The dataset card of an export, with the configurations that ``datasets.load_dataset`` offers."""
    import yaml

    from .cards import load_card
    from .errors import UnknownNameError

    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(root.glob(f"*/{RECORD}"))]
    folders = [path.parent.name for path in sorted(root.glob(f"*/{RECORD}"))]
    name = records[0]["name"]
    configs = [
        {
            "config_name": config,
            "data_files": [
                {"split": f, "path": f"{f}/{config}-*.parquet"} for f in folders if any((root / f).glob(f"{config}-*"))
            ],
        }
        for config in ("videos", "frames")
    ]
    head: dict[str, Any] = {
        "pretty_name": name,
        "license": "other",
        "tags": ["video", "segmentation", "referring-expression", "rvos"],
        "configs": [config for config in configs if config["data_files"]],
    }
    lines = [f"# {name}", ""]
    try:
        card = load_card(name)
        head |= {"pretty_name": card.title, "license_name": card.license, "license_link": card.homepage}
        lines = [
            f"# {card.title}",
            "",
            card.summary,
            "",
            f"Licence: {card.license.rstrip('.')}. Home: {card.homepage}",
            "",
        ]
        lines += ["```bibtex", card.citation.strip(), "```", ""]
    except UnknownNameError:  # a dataset of one's own, without a card
        lines += ["State here what it shows, who made it, and under which licence it may be used.", ""]
    lines += [
        *(
            f"- `{f}`: {r['n_videos']} videos, {r['n_samples']} sentences"
            for f, r in zip(folders, records, strict=True)
        ),
        "",
        "`videos`: a row a video, masks as COCO RLE (`targets`: `size`, `counts` a frame). `frames`: a row a frame. "
        "`rvos evaluate hf://OWNER/NAME --predictions …` scores masks against it.",
    ]
    return "---\n" + yaml.safe_dump(head, sort_keys=False) + "---\n\n" + "\n".join(lines) + "\n"


class _Shards:
    """Parquet files that are begun anew, between videos, when they have grown large."""

    def __init__(self, folder: Path, stem: str, schema: Any, shard_bytes: int) -> None:
        self._folder, self._stem, self._schema, self._most = folder, stem, schema, shard_bytes
        self._writer: Any = None
        self._path = folder
        self._number = self.group = 0

    def __enter__(self) -> _Shards:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.close()

    @property
    def name(self) -> str:
        """The file that the next rows go to, from the root of the export."""
        return f"{self._folder.name}/{self._stem}-{self._number:05d}.parquet"

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """One row group."""
        arrow, parquet = _arrow()
        if self._writer is None:
            self._path = self._folder / f"{self._stem}-{self._number:05d}.parquet"
            self._writer = parquet.ParquetWriter(self._path, self._schema, compression="zstd")
        self._writer.write_table(arrow.Table.from_pylist(list(rows), schema=self._schema))
        self.group += 1

    def end_of_video(self) -> None:
        if self._writer is not None and self._path.stat().st_size >= self._most:
            self._writer.close()
            self._writer = None
            self._number, self.group = self._number + 1, 0


def _write_frames(images: _Shards, video: Video) -> tuple[str, int]:
    """Writes the video's frames. Gives their file and first row group."""
    place = images.name, images.group
    for begin in range(0, len(video), GROUP):
        rows = []
        for index in range(begin, min(begin + GROUP, len(video))):
            data, suffix = encoded_frame(video, index)
            name = video.frame_names[index]
            rows.append(
                {
                    "video_id": video.id,
                    "index": index,
                    "name": name,
                    "image": {"bytes": data, "path": f"{name}{suffix}"},
                }
            )
        images.add(rows)
    images.end_of_video()
    return place


def encoded_frame(video: Video, index: int) -> tuple[bytes, str]:
    """The bytes of a frame's file and its ending; a PNG of the pixels where it has no file.

    Raises:
        ImageError, DatasetError: the frame cannot be read.
    """
    name = video.frame_names[index]
    path = video.source.path(name) if video.source is not None else None
    if path is not None:
        try:
            return path.read_bytes(), path.suffix
        except OSError as error:
            raise ImageError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from error
    if isinstance(video.source, ParquetFrames):
        return video.source.encoded(name)
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(video.frame(index)).save(buffer, format="PNG")
    return buffer.getvalue(), ".png"


def _video_row(dataset: RVOSDataset, video: Video, place: tuple[str, int]) -> dict[str, Any]:
    targets: dict[Masklet, int] = {}  # equal masklets have equal masks

    def number(masklet: Masklet | None) -> int | None:
        return None if masklet is None else targets.setdefault(masklet, len(targets))

    expressions = [
        {
            "id": s.expression.id,
            "text": s.expression.text,
            "object_ids": None if s.expression.object_ids is None else list(s.expression.object_ids),
            "kind": s.expression.kind,
            "is_sentence": s.expression.is_sentence,
            "layout_id": s.expression.layout_id,
            "tags": json.dumps(dict(s.expression.tags)),
            "prediction_path": str(dataset.prediction_path(s)),
            "target": number(dataset.ground_truth(s)),
        }
        for s in dataset.samples_of(video.id)
    ]
    objects = [{"id": name, "target": number(masklet)} for name, masklet in dataset.objects(video).items()]
    height, width = video.size
    return {
        "video_id": video.id,
        "height": height,
        "width": width,
        "fps": video.fps,
        "frame_names": list(video.frame_names),
        "context_names": list(video.context_names),
        "frames_file": place[0],
        "frames_group": place[1],
        "expressions": expressions,
        "objects": objects,
        "target_frames": [list(masklet.frame_names) for masklet in targets],
        "targets": [_target(masklet, (height, width)) for masklet in targets],
    }


def _target(masklet: Masklet, size: tuple[int, int]) -> dict[str, Any]:
    masks = [masklet.mask(i) for i in range(len(masklet))]
    voids = [masklet.void(i) for i in range(len(masklet))]
    sizes = {mask.shape for mask in masks if mask is not None} or {size}
    if len(sizes) > 1:
        raise DatasetError(f"Masks of one target have the sizes {sorted(sizes)}; expected one size.")
    return {
        "size": list(sizes.pop()),
        "counts": [None if m is None else encode_rle(m)["counts"] for m in masks],
        "voids": [None if v is None else encode_rle(v)["counts"] for v in voids],
    }


def _video_schema() -> Any:
    text, number, flag = _value("string"), _value("int32"), _value("bool")
    expression = {
        "id": text,
        "text": text,
        "object_ids": [text],
        "kind": text,
        "is_sentence": flag,
        "layout_id": text,
        "tags": text,
        "prediction_path": text,
        "target": number,
    }
    return _schema(
        {
            "video_id": text,
            "height": number,
            "width": number,
            "fps": _value("float64"),
            "frame_names": [text],
            "context_names": [text],
            "frames_file": text,
            "frames_group": number,
            "expressions": [expression],
            "objects": [{"id": text, "target": number}],
            "target_frames": [[text]],
            "targets": [{"size": [number], "counts": [text], "voids": [text]}],
        }
    )


def _frame_schema() -> Any:
    image = _hugging_face().Image()
    return _schema({"video_id": _value("string"), "index": _value("int32"), "name": _value("string"), "image": image})


def _schema(features: dict[str, Any]) -> Any:
    return _hugging_face().Features(features).arrow_schema


def _value(kind: str) -> Any:
    return _hugging_face().Value(kind)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    digest = sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


# Reading -------------------------------------------------------------------------------------------------------------


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


def _record(path: Path) -> dict[str, Any]:
    from .files import read_json

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
    arrow, parquet = _arrow()
    try:
        return parquet.ParquetFile(path)
    except (OSError, arrow.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise DatasetError(f"{path}: not a whole parquet file ({reason}); write or download it again.") from error


def _arrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet", "hub") from error
    return pyarrow, pyarrow.parquet


def _hugging_face() -> ModuleType:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("Parquet export", "hub") from error
    return datasets
