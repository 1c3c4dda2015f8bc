"""The benchmarks' layouts at a small size, written once; tests that change files take a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from rvos.datasets.reasonshapes import generate, write
from rvos.datasets.reasonshapes.generate import GeneratedVideo

SIZE = {"height": 48, "width": 64, "n_frames": 8, "n_sentences": 4}
#: layout -> splits written into one root
LAYOUT_SPLITS = {
    "reasonvos": (None,),
    "mevis": ("train", "valid_u", "valid"),
    "ref-youtube-vos": ("train", "valid"),
    "ref-davis17": ("train", "valid"),
    "revos": ("valid",),
    "long-rvos": ("train", "valid", "test"),
    "groundmore": ("test",),
    "reasonseg": ("val", "test", "train"),
    "refcoco": ("val",),
    "refcoco+": ("testA",),
    "refcocog": ("val",),
    "refclef": ("train",),
}
#: layouts that hold sentences without a target
NO_TARGET = ("mevis", "revos")


@pytest.fixture(scope="session")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a root per layout, named as the layout; read-only by agreement."""
    root = tmp_path_factory.mktemp("layouts")

    @cache
    def videos(number: int, kinds: tuple[str, ...]) -> list[GeneratedVideo]:
        return list(generate("valid", 2, number, **SIZE, kinds=kinds))

    for layout, splits in LAYOUT_SPLITS.items():
        for number, split in enumerate(splits):
            kinds = {"test_videos": generate("test", 1, 9, **SIZE)} if layout == "ref-youtube-vos" else {}
            if layout == "mevis":
                kinds = {"no_target": True}
            wanted = (
                ("attribute", "motion", "temporal", "no-target")
                if layout in NO_TARGET
                else ("attribute", "motion", "temporal")
            )
            write(layout, root / layout, videos(number, wanted), split=split, **kinds)
    return root


@pytest.fixture
def copy_of(layouts: Path, tmp_path: Path) -> Callable[[str], Path]:
    """``copy_of("mevis")`` is a root of the test's own."""

    def copy(layout: str) -> Path:
        return Path(shutil.copytree(layouts / layout, tmp_path / layout))

    return copy


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of ReasonShapes: four videos of four frames of 36 x 48, with several targets and none."""
    root = tmp_path_factory.mktemp("shapes") / "shapes"
    write("reasonvos", root, generate("valid", 4, 0, height=36, width=48, n_frames=4))
    return root


@pytest.fixture(scope="session")
def exported(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its parquet export, in several files."""
    from rvos.datasets.parquet_export import export_parquet
    from rvos.datasets.registry import load

    out = tmp_path_factory.mktemp("export") / "shapes"
    export_parquet(load("reasonshapes/valid", shapes), out, shard_bytes=4000)
    return out
