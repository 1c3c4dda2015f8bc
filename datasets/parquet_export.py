"""A split as parquet files with Hugging Face ``datasets`` features, in a stream; ``parquet`` says what they hold."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import replace_file
from .errors import DatasetError, ImageError
from .layouts.files import staged
from .masks import encode_rle
from .parquet import FORMAT, GROUP, RECORD, ParquetFrames, arrow, file_digest, folder_of
from .types import Masklet, RVOSDataset, Video

SHARD_BYTES = 256 << 20

#: called with (videos done, videos in all)
Progress = Callable[[int, int], None]


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


def export_parquet(
    dataset: RVOSDataset,
    out: Path | str,
    *,
    frames: bool = True,
    name: str | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Export:
    """Write a split as parquet; another split may be added to ``out`` later. Complete or not there.

    Args:
        dataset: any; its masks become RLE, its frames' files are kept byte for byte.
        out: the folder of the export.
        frames: whether images are written; without them masks can be scored, nothing can be predicted. A video that
            was opened without images has none in any case.
        name: what the dataset is called; its own name where None.
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
        videos = _Shards(stage / folder, "videos", _schema(_VIDEO), shard_bytes)
        images = _Shards(stage / folder, "frames", _schema(_FRAME), shard_bytes)
        with videos, images:
            for done, video in enumerate(dataset.videos, start=1):
                has_frames = frames and video.source is not None
                place = _write_frames(images, video) if has_frames else ("", 0)
                n_frames += len(video) if has_frames else 0
                videos.add([_video_row(dataset, video, place)])
                videos.end_of_video()
                if progress is not None:
                    progress(done, len(dataset.videos))
        files = {f"{folder}/{p.name}": file_digest(p) for p in sorted((stage / folder).glob("*.parquet"))}
        n_bytes = sum((stage / name).stat().st_size for name in files)
        record = {
            "format": FORMAT,
            "name": name or dataset.name,
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


def readme(root: Path) -> str:
    """The dataset card of an export, written from ours."""
    from .cards import load_card
    from .errors import UnknownNameError

    name = next(_records(root))[1]["name"]
    try:
        card = load_card(name)
    except UnknownNameError:  # a dataset of one's own, without a card
        return card_page(
            root, name, {}, ["State here what it shows, who made it, and under which licence it may be used."]
        )
    licence = {"license_name": card.license, "license_link": card.homepage}
    stated = f"Licence: {card.license.rstrip('.')}. Home: {card.homepage}"
    return card_page(root, card.title, licence, [card.summary, stated, f"```bibtex\n{card.citation.strip()}\n```"])


def card_page(root: Path, title: str, head: Mapping[str, Any], paragraphs: Sequence[str]) -> str:
    """A dataset card: what ``datasets.load_dataset`` offers, the title, the paragraphs, and what the export holds."""
    import yaml

    records = list(_records(root))
    configs = [
        {
            "config_name": config,
            "data_files": [
                {"split": f, "path": f"{f}/{config}-*.parquet"}
                for f, _ in records
                if any((root / f).glob(f"{config}-*"))
            ],
        }
        for config in ("videos", "frames")
    ]
    facts = {
        "pretty_name": title,
        "license": "other",
        "tags": ["video", "segmentation", "referring-expression", "rvos"],
        "configs": [config for config in configs if config["data_files"]],
        **head,
    }
    sizes = "\n".join(f"- `{f}`: {r['n_videos']} videos, {r['n_samples']} sentences" for f, r in records)
    tables = (
        "`videos`: a row a video, masks as COCO RLE (`targets`: `size`, `counts` a frame). `frames`: a row a frame. "
        "`rvos evaluate hf://OWNER/NAME --predictions …` scores masks against it."
    )
    text = "\n\n".join([f"# {title}", *paragraphs, sizes, tables])
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---\n\n{text}\n"


def _records(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Folder and record of every split."""
    for path in sorted(root.glob(f"*/{RECORD}")):
        yield path.parent.name, json.loads(path.read_text(encoding="utf-8"))


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
        pyarrow, parquet = arrow()
        if self._writer is None:
            self._path = self._folder / f"{self._stem}-{self._number:05d}.parquet"
            self._writer = parquet.ParquetWriter(self._path, self._schema, compression="zstd")
        self._writer.write_table(pyarrow.Table.from_pylist(list(rows), schema=self._schema))
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


_EXPRESSION = {
    "id": "string",
    "text": "string",
    "object_ids": ["string"],
    "kind": "string",
    "is_sentence": "bool",
    "layout_id": "string",
    "tags": "string",
    "prediction_path": "string",
    "target": "int32",
}
_VIDEO = {
    "video_id": "string",
    "height": "int32",
    "width": "int32",
    "fps": "float64",
    "frame_names": ["string"],
    "context_names": ["string"],
    "frames_file": "string",
    "frames_group": "int32",
    "expressions": [_EXPRESSION],
    "objects": [{"id": "string", "target": "int32"}],
    "target_frames": [["string"]],
    "targets": [{"size": ["int32"], "counts": ["string"], "voids": ["string"]}],
}
_FRAME = {"video_id": "string", "index": "int32", "name": "string", "image": "image"}


def _schema(columns: Mapping[str, Any]) -> Any:
    """The arrow schema, with the Hugging Face features in the form that all versions of ``datasets`` read."""
    pyarrow, _ = arrow()
    features = {name: _feature(kind) for name, kind in columns.items()}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pyarrow.schema([(name, _arrow_type(kind)) for name, kind in columns.items()], metadata=metadata)


def _feature(kind: Any) -> Any:
    if isinstance(kind, list):
        return [_feature(kind[0])]
    if isinstance(kind, dict):
        return {name: _feature(part) for name, part in kind.items()}
    return {"_type": "Image"} if kind == "image" else {"_type": "Value", "dtype": kind}


def _arrow_type(kind: Any) -> Any:
    pyarrow, _ = arrow()
    if isinstance(kind, list):
        return pyarrow.list_(_arrow_type(kind[0]))
    if isinstance(kind, dict):
        return pyarrow.struct([(name, _arrow_type(part)) for name, part in kind.items()])
    if kind == "image":
        return pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    return pyarrow.type_for_alias(kind)
