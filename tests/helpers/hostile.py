"""A small world for hostile inputs: good data, good predictions and good runs, of which every case spoils its own copy.

A case is a function that breaks something in a ``World`` and gives the command line to run; ``hostile`` says how that
command must end.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rvos import miniature
from rvos.baselines.registry import make_predictor
from rvos.benchmarks.engine import predict
from rvos.benchmarks.predictions.run_masks import RunMasks
from rvos.benchmarks.predictions.writer import export_masks
from rvos.datasets.reasonshapes.generate import GeneratedVideo, generate
from rvos.datasets.reasonshapes.writers import write
from rvos.datasets.registry import load

SIZE = {"height": 48, "width": 64, "n_frames": 6, "n_sentences": 3}
#: the sample that most cases spoil, and one of its frames
VIDEO, OTHER_VIDEO = "valid-0-000000", "valid-0-000001"
SAMPLE, FRAME = f"{VIDEO}/0", "00002"

#: ``name/split`` of every benchmark whose layout ReasonShapes writes
BENCHMARKS = miniature.names()

Words = list["str | Path"]


class World:
    """A folder of one case. What it uses is copied from ``origin`` when first asked for.

    Attributes:
        base: everything of the case is below it.
        out: the run folder that commands write; not there at first.
    """

    def __init__(self, origin: Path, base: Path) -> None:
        self.origin = origin
        self.base = base
        self.out = base / "out"

    def _copy(self, name: str) -> Path:
        if not (self.base / name).exists():
            shutil.copytree(self.origin / name, self.base / name, symlinks=True)
        return self.base / name

    @cached_property
    def mevis(self) -> Path:
        """MeViS with the splits train, valid_u and valid."""
        return self._copy("mevis")

    @cached_property
    def meta(self) -> Path:
        return self.mevis / "valid_u" / "meta_expressions.json"

    @cached_property
    def dict(self) -> Path:
        return self.mevis / "valid_u" / "mask_dict.json"

    def layout(self, name: str) -> Path:
        """The root of another benchmark."""
        return self._copy(name)

    @cached_property
    def pred(self) -> Path:
        """Masks for mevis/valid_u, as PNG folders."""
        return self._copy("pred")

    @cached_property
    def davis_pred(self) -> Path:
        """Masks for ref-davis17/valid, as PNG folders."""
        return self._copy("davis-pred")

    @cached_property
    def mask(self) -> Path:
        """A mask file of ``SAMPLE``."""
        return self.pred / SAMPLE / f"{FRAME}.png"

    @cached_property
    def run(self) -> Path:
        """A finished run of ``predict`` on mevis/valid_u, not scored."""
        return self._copy("run")

    @cached_property
    def scored(self) -> Path:
        """The run that ``evaluate`` of ``pred`` wrote, lying where the next one would be written."""
        shutil.copytree(self.origin / "scored", self.out)
        record = json.loads((self.out / "run.json").read_text())
        record["predictions"]["path"] = str(self.pred)
        (self.out / "run.json").write_text(json.dumps(record))
        return self.out

    def evaluate(self, *words: str | Path, dataset: str = "mevis/valid_u", root: Path | None = None) -> Words:
        """Score ``pred`` into ``out``; ``words`` may replace what stands before them."""
        call: Words = ["evaluate", dataset, "--root", root or self.mevis, "--no-bounds", "--workers", "1"]
        if "--predictions" not in words:
            call += ["--predictions", self.pred]
        return [*call, "--out", self.out, *words]

    def predict(self, model: str, *words: str | Path) -> Words:
        """Ask a model of the module ``hostile_models`` (or a named one) about mevis/valid_u."""
        spec = model if model in ("empty", "shifted") else f"hostile_models:{model}"
        return ["predict", spec, "mevis/valid_u", "--root", self.mevis, "--out", self.out, "-q", *words]

    def check(self, dataset: str = "mevis/valid_u", root: Path | None = None) -> Words:
        return ["datasets", "check", dataset, "--root", root or self.mevis]


def make_origin(root: Path) -> Path:
    """The good world: data in all layouts, masks, a run of masks. About 2 s."""

    @cache
    def videos(part: str) -> list[GeneratedVideo]:
        return list(generate(part, 3, **SIZE))

    for name in BENCHMARKS:
        layout, _, split = name.partition("/")
        write(layout, root / layout, videos("valid"), split=split or None)
    for layout, split, part in (
        ("mevis", "train", "train"),
        ("mevis", "valid", "test"),
        ("ref-youtube-vos", "train", "train"),
    ):
        write(layout, root / layout, videos(part), split=split)
    data = load("mevis/valid_u", root=root / "mevis")
    run = predict(make_predictor("shifted", data), data, out=root / "run", progress=False)
    export_masks(RunMasks(run.masks), data, root / "pred")
    davis = load("ref-davis17/valid", root=root / "ref-davis17")
    merged = predict(make_predictor("shifted", davis), davis, out=root / "davis-run", progress=False)
    export_masks(RunMasks(merged.masks), davis, root / "davis-pred")
    return root


# Cases ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """What is done and how it must end.

    Attributes:
        spoil: breaks the world and gives the command line.
        code: the exit code.
        says: a regular expression that the output must hold; blanks and line breaks count as one blank.
        spoils: with code 0 or 1 of ``evaluate``: what the keys of units begin with that may score other than before.
        writes: with code 2: whether files may be written before the command gives up.
        prefix: run in a process of its own, with these words before the interpreter's.
    """

    spoil: Callable[[World], Words]
    code: int
    says: str
    spoils: tuple[str, ...] = ()
    writes: bool = False
    prefix: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return self.spoil.__name__


CASES: dict[str, Case] = {}


def hostile(code: int, says: str, **rest: Any) -> Callable[[Callable[[World], Words]], Callable[[World], Words]]:
    """Register a case; see ``Case``."""

    def register(spoil: Callable[[World], Words]) -> Callable[[World], Words]:
        add(spoil.__name__, spoil, code, says, **rest)
        return spoil

    return register


def add(name: str, spoil: Callable[[World], Words], code: int, says: str, **rest: Any) -> None:
    """Register a case under a name of its own."""
    assert name not in CASES, name
    spoil.__name__ = name
    CASES[name] = Case(spoil, code, says, **rest)


def snapshot(folder: Path, without: Sequence[Path] = ()) -> dict[str, str | bytes]:
    """Every file's bytes and every link's target below a folder."""
    found: dict[str, str | bytes] = {}
    for parent, children, names in os.walk(folder):
        here = Path(parent)
        children[:] = [c for c in children if here / c not in without]
        found[parent] = "folder"
        for name in [*names, *(c for c in children if (here / c).is_symlink())]:
            path = here / name
            if path in without:
                continue
            if path.is_symlink() or not path.is_file():
                found[str(path)] = os.readlink(path) if path.is_symlink() else "special"
            else:
                found[str(path)] = path.read_bytes()
    return found


# Breaking things ------------------------------------------------------------------------------------------------------


def cut(path: Path, keep: float = 0.5) -> None:
    """Leave only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the content of a JSON file in place, or put what ``change`` returns in its place."""
    content = json.loads(path.read_text(encoding="utf-8"))
    changed = change(content)
    path.write_text(json.dumps(content if changed is None else changed), encoding="utf-8")


def binary(path: Path) -> np.ndarray:
    """A mask file as bool (H, W)."""
    return np.array(Image.open(path).convert("L")) > 0


def each_mask(folder: Path, save: Callable[[np.ndarray, Path], None]) -> None:
    """Save every mask of a folder anew."""
    for path in sorted(folder.glob("*.png")):
        save(binary(path), path)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, body: bytes, interlaced: int = 0) -> bytes:
    """A PNG of any header, true or not; ``body`` is what IDAT inflates to."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(body)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def interlaced_png(mask: np.ndarray) -> bytes:
    """An Adam7 PNG of 8-bit grey, which Pillow cannot write."""
    rows = bytearray()
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        for row in (mask[y::dy, x::dx] * np.uint8(255)).astype(np.uint8):
            rows += b"\0" + row.tobytes() if len(row) else b""
    return png(mask.shape[1], mask.shape[0], 8, 0, bytes(rows), 1)
