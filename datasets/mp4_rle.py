"""Videos as mp4, masks as RLE in JSON files: what a conversion to ``mp4-rle`` writes and lmms-eval's mirrors hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .bitmask import BitMask
from .errors import DatasetError, MissingExtraError
from .files import is_plain_path, read_json, read_meta, require_root
from .masks import EmptyMasks, UnionMasks
from .types import BoolMask, Expression, Masklet, MaskSource, RVOSDataset, Sample, Video
from .video_files import VideoFile

_META = "meta_expressions.json"
_TABLE_COLUMNS = ("id", "video", "expression", "mask_ids", "height", "width", "fps", "n_frames")


class Mp4Rle(RVOSDataset):
    """``videos/<video>.mp4``, ``masks/<video>/<mask>.json`` and the sentences.

    A mask file holds ``{"<object>": [COCO RLE or null a frame]}``; null is absent. The target of a sentence is the
    union of the masks that its ``mask_ids`` name, empty for one without a target, withheld where it has no such field.

    Sentences are in ``meta_expressions.json`` (``videos -> <video> -> {height, width, fps, frames, masks, expressions:
    {id: {exp, mask_ids}}}``). The mirrors (``kcz358/RVOS-*``; lmms-eval, tasks/rvos/utils.py) have parquet tables with
    a row a sentence instead: ``id``, ``video``, ``expression``, ``mask_ids``, ``height``, ``width``, ``fps``,
    ``n_frames``. Their frames are those of a coded video: the pixels are not the benchmark's.
    """

    name = "mp4-rle"

    def __init__(self, root: Path, split: str = "") -> None:
        require_root(root, "mp4 videos and RLE masks", "masks", _META)
        self.meta_file = root / _META
        self.tables = () if self.meta_file.exists() else tuple(sorted(root.rglob("*.parquet")))
        self._masks: dict[str, tuple[str, ...]] = {}
        if self.tables:
            samples = list(self._from_tables(root))
        else:
            samples = list(self._from_meta(root))
        super().__init__(root, split, "unstated", samples)

    def ground_truth(self, sample: Sample) -> Masklet | None:
        ids = sample.expression.object_ids
        if ids is None:
            return None
        if not ids:
            return Masklet(sample.video.frame_names, EmptyMasks(sample.video.size))
        parts = tuple(self._source(sample.video, i) for i in dict.fromkeys(ids))
        return Masklet(sample.video.frame_names, parts[0] if len(parts) == 1 else UnionMasks(parts))

    def objects(self, video: Video) -> dict[str, Masklet]:
        return {i: Masklet(video.frame_names, self._source(video, i)) for i in self._masks[video.id]}

    def annotation_files(self) -> Sequence[Path]:
        masks = [self._mask_file(video, i) for video, ids in self._masks.items() for i in ids]
        return [*(self.tables or (self.meta_file,)), *masks]

    def _from_meta(self, root: Path) -> Iterator[Sample]:
        for entry in read_meta(self.meta_file):
            try:
                size = (int(entry.fields["height"]), int(entry.fields["width"]))
                fps = None if entry.fields.get("fps") is None else float(entry.fields["fps"])
                self._masks[entry.id] = tuple(map(_plain, entry.fields["masks"]))
                ids = [
                    None if fields.get("mask_ids") is None else tuple(map(_plain, fields["mask_ids"]))
                    for _, fields in entry.expressions
                ]
            except (KeyError, TypeError, ValueError) as error:
                raise DatasetError(f"{self.meta_file}: video '{entry.id}': {error!r}; convert it again.") from error
            video = _video(root, entry.id, entry.frames, size, fps)
            for (expression_id, fields), named in zip(entry.expressions, ids, strict=True):
                yield Sample(video, Expression(expression_id, fields["exp"], named))

    def _from_tables(self, root: Path) -> Iterator[Sample]:
        videos: dict[str, Video] = {}
        for path in self.tables:
            for row in _rows(path):
                name, ids = _plain(row["video"]), tuple(map(_plain, row["mask_ids"] or ()))
                names = tuple(f"{i:05d}" for i in range(row["n_frames"]))
                fps = float(row["fps"]) if row["fps"] else None
                video = videos.setdefault(name, _video(root, name, names, (row["height"], row["width"]), fps))
                self._masks[name] = tuple(dict.fromkeys((*self._masks.get(name, ()), *ids)))
                yield Sample(video, Expression(_plain(row["id"]), row["expression"], ids))

    def _source(self, video: Video, mask_id: str) -> MaskSource:
        return RleJsonMasks(self._mask_file(video.id, mask_id), video.size)

    def _mask_file(self, video_id: str, mask_id: str) -> Path:
        return self.root / "masks" / video_id / f"{mask_id}.json"


@dataclass(frozen=True)
class RleJsonMasks:
    """The masks of one file, ``{"<object>": [RLE or null a frame]}``; of several objects their union.

    Attributes:
        file: the JSON file, read whole and kept while it is among the last few.
        size: (height, width) of an absent mask.
    """

    file: Path
    size: tuple[int, int]

    def mask(self, index: int) -> BoolMask | None:
        return self.bits(index).to_array()

    def bits(self, index: int) -> BitMask:
        union = BitMask.zeros(*self.size)
        for name, track in _tracks(self.file).items():
            if index >= len(track):
                raise DatasetError(
                    f"{self.file}: '{name}' holds {len(track)} frames, frame number {index} is asked for."
                )
            rle = track[index]
            if rle is not None:
                mask = BitMask.from_rle(rle, place=f"{self.file}, '{name}', frame number {index}")
                if mask.shape != self.size:
                    raise DatasetError(f"{self.file}: frame number {index} is {mask.shape}, the video {self.size}.")
                union = union | mask
        return union

    def void(self, index: int) -> BoolMask | None:
        return None


@lru_cache(maxsize=16)
def _tracks(file: Path) -> Mapping[str, Sequence[Any]]:
    content = read_json(file)
    if not isinstance(content, dict) or not all(isinstance(track, list) for track in content.values()):
        raise DatasetError(f'{file}: expected {{"<object>": [RLE or null a frame]}}; fetch or convert it again.')
    return content


def _video(root: Path, name: str, frames: tuple[str, ...], size: tuple[int, int], fps: float | None) -> Video:
    file = root / "videos" / f"{name}.mp4"
    return Video(name, frames, VideoFile(file, frames) if file.exists() else None, fps=fps, declared_size=size)


def _plain(name: Any) -> str:
    """An id, which becomes a file name. Raises ValueError."""
    if not isinstance(name, (str, int)) or not is_plain_path(str(name)):
        raise ValueError(f"{name!r} is no plain name")
    return str(name)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise MissingExtraError("Parquet", "hub") from error
    try:
        with parquet.ParquetFile(path) as file:
            missing = [name for name in _TABLE_COLUMNS if name not in file.schema_arrow.names]
            if missing:
                raise DatasetError(f"{path}: no column '{missing[0]}'; expected a row a sentence as in lmms-eval.")
            for batch in file.iter_batches(columns=list(_TABLE_COLUMNS)):
                yield from batch.to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DatasetError(f"{path}: not a readable table ({str(error).splitlines()[0]}); fetch it again.") from error
