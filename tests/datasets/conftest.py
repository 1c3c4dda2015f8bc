"""The four benchmarks' layouts at a small size, written once; tests that change files take a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rvos.datasets.reasonshapes import generate, write

SIZE = {"height": 48, "width": 64, "n_frames": 8, "n_sentences": 4}
#: layout -> splits written into one root
LAYOUT_SPLITS = {
    "reasonvos": (None,),
    "mevis": ("train", "valid_u", "valid"),
    "ref-youtube-vos": ("train", "valid"),
    "ref-davis17": ("train", "valid"),
}


@pytest.fixture(scope="session")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a root per layout, named as the layout; read-only by agreement."""
    root = tmp_path_factory.mktemp("layouts")
    for layout, splits in LAYOUT_SPLITS.items():
        for number, split in enumerate(splits):
            kinds = {"test_videos": generate("test", 1, 9, **SIZE)} if layout == "ref-youtube-vos" else {}
            if layout == "mevis":
                kinds = {"no_target": True}
            wanted = (
                ("attribute", "motion", "temporal", "no-target")
                if layout == "mevis"
                else ("attribute", "motion", "temporal")
            )
            write(layout, root / layout, generate("valid", 2, number, **SIZE, kinds=wanted), split=split, **kinds)
    return root


@pytest.fixture
def copy_of(layouts: Path, tmp_path: Path) -> Callable[[str], Path]:
    """``copy_of("mevis")`` is a root of the test's own."""

    def copy(layout: str) -> Path:
        return Path(shutil.copytree(layouts / layout, tmp_path / layout))

    return copy
