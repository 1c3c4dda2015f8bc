"""The recorded reference (skipped where absent) and tiny random models that the tests make themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

MODELS_INSTALLED = all(find_spec(name) for name in ("torch", "transformers", "sentencepiece", "safetensors"))
if MODELS_INSTALLED:
    import torch
else:  # without the extra only the sampling formulas can be tested
    collect_ignore = [p.name for p in Path(__file__).parent.glob("test_*.py") if p.name != "test_sampling.py"]

PARITY = Path(__file__).resolve().parents[2].parent / "shared" / "parity"
FIXTURES = sorted(PARITY.glob("reference_*")) if PARITY.is_dir() else []


@dataclass
class Reference:
    """A folder of weights, inputs and everything the reference computed from them."""

    folder: Path

    @cached_property
    def videolisa(self) -> Any:
        from rvos.videolisa.checkpoints import VideoLisa

        return VideoLisa.from_reference(self.folder)

    @cached_property
    def config(self) -> dict[str, Any]:
        return self.json("config.json")

    @cached_property
    def info(self) -> dict[str, Any]:
        return self.json("expected_info.json")

    @cached_property
    def expected(self) -> dict[str, Any]:
        return self.tensors("expected.safetensors")

    @cached_property
    def frames(self) -> list[NDArray[np.uint8]]:
        return [_rgb(path) for path in sorted((self.folder / "inputs" / "frames").iterdir())]

    @cached_property
    def annotations(self) -> list[NDArray[np.uint8]]:
        paths = sorted((self.folder / "inputs" / "annotations").iterdir())
        return [(np.asarray(Image.open(path)) > 0).astype(np.uint8) for path in paths]

    @property
    def size(self) -> tuple[int, int]:
        return self.frames[0].shape[:2]

    def json(self, name: str) -> dict[str, Any]:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def tensors(self, name: str) -> dict[str, Any]:
        from safetensors.torch import load_file

        return load_file(self.folder / name)

    # Computed once, used by several tests.

    @cached_property
    def clip_pixels(self) -> Any:
        return torch.stack([self.videolisa.processor.clip_pixels(f) for f in self.frames])

    @cached_property
    def tokens(self) -> Any:
        with torch.no_grad():
            return self.videolisa.model.encode_frames(self.clip_pixels)

    @cached_property
    def sam_features(self) -> Any:
        processor, model = self.videolisa.processor, self.videolisa.model
        return torch.cat([model.sam_features(processor.sam_pixels(f)[None]) for f in self.frames])


def _rgb(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(
    scope="session",
    params=FIXTURES or [None],
    ids=[path.name for path in FIXTURES] or ["absent"],
)
def reference(request: pytest.FixtureRequest) -> Reference:
    if request.param is None:
        pytest.skip(f"no recorded reference below {PARITY}")
    return Reference(request.param)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny random VideoLisa; do not change it."""
    from rvos.videolisa.random_model import tiny_videolisa

    return tiny_videolisa(tmp_path_factory.mktemp("tokenizer"))
