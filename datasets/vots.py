"""VOTS referral sequences (VOTS2025 and 2026): a prompt, one object, masks as VOT regions."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from .errors import DatasetError
from .files import is_plain_path, names_in, read_text, require_root
from .frames import SUFFIXES, FrameFolder
from .types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video

_PROPERTY = re.compile(r"^([^=]+?) *= *(.*)$")
#: A region that is one number is no mask; 0 is "unknown", a frame without annotation.
_SPECIAL = re.compile(r"^-?\d+(\.\d*)?$")


class VotsReferral(RVOSDataset):
    """``[sequences/]list.txt``, ``<sequence>/sequence``, ``<sequence>/color/00000001.jpg``, ``groundtruth.txt``.

    ``sequence`` holds ``key=value`` lines, among them ``prompts``, separated by ``;``. A prompt is an expression; its
    id is the first eight digits of its MD5, with which the VOT toolkit names results (vot/experiment/referral.py). The
    ground truth has a region a frame: a mask, or a number for a frame that is not annotated; pixels of the object
    ``_ignore`` are void. Test sequences come without it.
    """

    name = "vots"

    def __init__(self, root: Path, split: str = "") -> None:
        require_root(root, "VOTS referral sequences", "list.txt", "sequences/list.txt")
        self.folder = root if (root / "list.txt").exists() else root / "sequences"
        self.list_file = self.folder / "list.txt"
        names = [line.strip() for line in read_text(self.list_file).splitlines() if line.strip()]
        wrong = next((name for name in names if not is_plain_path(name)), None)
        if wrong is not None:
            raise DatasetError(f"{self.list_file}: '{wrong}' is no folder name; expected a sequence a line.")
        super().__init__(root, split, "unstated", [sample for name in names for sample in self._samples(name)])

    def ground_truth(self, sample: Sample) -> Masklet | None:
        return next(iter(self.objects(sample.video).values()), None)

    def objects(self, video: Video) -> dict[str, Masklet]:
        files = self._truth_files(video.id)
        ignored = files.pop("_ignore", None)
        return {
            name: Masklet(video.frame_names, RegionMasks(path, ignored, video.size)) for name, path in files.items()
        }

    def prediction_path(self, sample: Sample) -> PurePosixPath:
        return PurePosixPath(sample.video.id) / f"{sample.video.id}_{sample.expression.id}"

    def annotation_files(self) -> Sequence[Path]:
        names = [video.id for video in self.videos]
        truths = [path for name in names for path in self._truth_files(name).values()]
        return [self.list_file, *(self.folder / name / "sequence" for name in names), *truths]

    def _samples(self, name: str) -> Iterator[Sample]:
        file = self.folder / name / "sequence"
        found = [_PROPERTY.match(line.strip()) for line in read_text(file).splitlines()]
        facts = {match[1]: match[2] for match in found if match}
        if not facts.get("prompts"):
            raise DatasetError(f"{file}: no line 'prompts=…'; these are not the sequences of the referral challenge.")
        try:
            size = (int(facts["height"]), int(facts["width"])) if "height" in facts and "width" in facts else None
            fps = float(facts["fps"]) if "fps" in facts else None
        except ValueError as error:
            raise DatasetError(f"{file}: {error}; expected numbers for width, height and fps.") from error
        pattern = Path(facts.get("channels.color", "color/%08d.jpg").replace("\\", "/"))
        images = self.folder / name / (pattern.parent if pattern.suffix else pattern)
        frames = sorted({stem for suffix in SUFFIXES for stem in names_in(images, suffix)})
        if not frames:
            raise DatasetError(f"{images}: holds no images; fetch the sequence's frames with the VOT toolkit.")
        video = Video(name, tuple(frames), FrameFolder(images), fps=fps, declared_size=size)
        known = tuple(i for i in self._truth_files(name) if i != "_ignore") or None
        for prompt in dict.fromkeys(facts["prompts"].split(";")):
            yield Sample(video, Expression(prompt_id(prompt), prompt.strip(), known))

    def _truth_files(self, name: str) -> dict[str, Path]:
        """Object id -> file."""
        folder = self.folder / name
        files = {p.stem.removeprefix("groundtruth_"): p for p in sorted(folder.glob("groundtruth_*.txt"))}
        single = folder / "groundtruth.txt"
        return files or ({"object": single} if single.exists() else {})


@dataclass(frozen=True)
class RegionMasks:
    """Masks in a file with a region a frame.

    Attributes:
        file: of the object.
        ignored: of the object ``_ignore``, None where there is none.
        size: (height, width).
    """

    file: Path
    ignored: Path | None
    size: tuple[int, int]

    def mask(self, index: int) -> BoolMask | None:
        return self._region(self.file, index)

    def void(self, index: int) -> BoolMask | None:
        return None if self.ignored is None else self._region(self.ignored, index)

    def _region(self, file: Path, index: int) -> BoolMask | None:
        lines = _lines(file)
        if index >= len(lines):  # the toolkit takes the rest for unknown
            return None
        try:
            return mask_of_region(lines[index], self.size)
        except ValueError as error:
            raise DatasetError(f"{file}, line {index + 1}: {error}; fetch the annotations again.") from error


@lru_cache(maxsize=8)
def _lines(file: Path) -> list[str]:
    return read_text(file).splitlines()


def prompt_id(prompt: str) -> str:
    """What the VOT toolkit calls a prompt in the names of results."""
    return hashlib.md5(prompt.encode()).hexdigest()[:8]


def region_of_mask(mask: BoolMask) -> str:
    """A mask (H, W) as a VOT region: ``m<left>,<top>,<width>,<height>,<runs>`` of its bounding box.

    Runs go row by row and begin with background. An empty mask is a box of no size, as the toolkit writes it.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return "m0,0,0,0,0"
    top, left = int(rows[0]), int(columns[0])
    box = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    flat = box.ravel()
    edges = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]))
    runs = [*([0] if flat[0] else []), *np.diff(edges).tolist()]
    return "m" + ",".join(str(v) for v in (left, top, box.shape[1], box.shape[0], *runs))


def mask_of_region(text: str, size: tuple[int, int]) -> BoolMask | None:
    """A VOT region as bool (H, W) of ``size``; None for a number (unknown). Parts outside of the image are cut.

    Raises:
        ValueError: neither, in words.
    """
    if _SPECIAL.match(text):
        return None
    if not text.startswith("m"):
        raise ValueError(f"'{text[:30]}' is no mask (m<left>,<top>,<width>,<height>,<runs>)")
    left, top, width, height, *runs = (int(v) for v in text[1:].split(","))
    whole = np.zeros(size, bool)
    if width == 0 or height == 0:
        return whole
    total = sum(runs)
    if min(width, height, *runs) < 0 or total > width * height or width * height > 1 << 28:
        raise ValueError(f"the runs of '{text[:30]}…' are {total} pixels, the box {width}x{height}")
    flat = np.zeros(width * height, bool)
    flat[:total] = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    box = flat.reshape(height, width)
    y, x = max(top, 0), max(left, 0)
    part = box[y - top : max(size[0] - top, 0), x - left : max(size[1] - left, 0)]
    whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    return whole
