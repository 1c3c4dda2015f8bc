"""The nano models by name: shipped weights, a folder's weights, what runs record. About 4 s."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="models need torch (pip install 'rvos[models]')")
pytest.importorskip("transformers", reason="models need transformers (pip install 'rvos[models]')")
pytest.importorskip("sentencepiece", reason="models need sentencepiece (pip install 'rvos[models]')")

from nanomodels import untrained_nano

from rvos.baselines.nano import VideoLisaNano, pixel_propagator
from rvos.baselines.registry import MODELS, make_predictor
from rvos.datasets.errors import UnknownNameError
from rvos.datasets.registry import load
from rvos.videolisa.nano import shipped as place
from rvos.videolisa.nano.shipped import PRESETS, WeightsAbsentError, shipped
from rvos.videolisa.propagation import FeaturePropagator

NANO = [name for name in MODELS if "nano" in name]
#: What the weights of both models may take together, in bytes.
MOST = 20e6


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_nano(tmp_path_factory.mktemp("weights"))


def folder_of(name: str, weights: Path) -> Path:
    return weights / ("videolisa-nano" if name.startswith("videolisa") else "lisa-nano")


@pytest.mark.parametrize("name", NANO)
def test_a_name_alone_takes_the_shipped_weights(name: str, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "WEIGHTS", weights)
    own, given = make_predictor(name), make_predictor(f"{name}:{folder_of(name, weights)}")
    facts, others = own.describe(), given.describe()
    assert facts["name"] == others["name"] == name and facts["dtype"] == "float32"
    assert facts["weights_hash"] == others["weights_hash"]
    assert facts["arguments"] == {} and str(weights) in others["arguments"]["path"]


def test_the_same_weights_give_the_same_masks(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "WEIGHTS", weights)
    data = load("reasonshapes/valid", n_videos=1)
    video, expressions = data.videos[0], [s.expression for s in data][:1]
    models = [make_predictor(spec) for spec in ("videolisa-nano", f"videolisa-nano:{weights / 'videolisa-nano'}")]
    masks = [{t: mask for _, t, mask in model.segment(video, expressions)} for model in models]
    assert list(masks[0]) == list(range(len(video)))
    assert all(np.array_equal(masks[0][t], masks[1][t]) and masks[0][t].shape == video.size for t in masks[0])


def test_propagated_masks_begin_with_those_of_the_references(weights: Path) -> None:
    data = load("reasonshapes/valid", n_videos=1, n_frames=12)
    video, expressions = data.videos[0], [s.expression for s in data][:1]
    lisa = make_predictor(f"lisa-nano:{weights / 'lisa-nano'}")
    carried = make_predictor(f"lisa-nano-propagation:{weights / 'lisa-nano'}")
    (first,) = [mask for _, t, mask in lisa.segment(video, expressions) if t == 0]
    found = {t: mask for _, t, mask in carried.segment(video, expressions)}
    assert len(found) == len(video) and np.array_equal(found[0], first)
    dense = make_predictor(f"videolisa-nano-post-optimised:{weights / 'videolisa-nano'}").reference_frames(16)
    assert dense == (0, 2, 4, 6, 8, 10, 12, 14)


def test_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "WEIGHTS", tmp_path)
    for name, preset in PRESETS.items():
        with pytest.raises(WeightsAbsentError, match=re.escape(f"rvos train --preset {preset})")):
            make_predictor(name)
    with pytest.raises(UnknownNameError, match="Did you mean lisa-nano, videolisa-nano"):
        shipped("lisa-nan")


def test_what_ships_is_whole_and_small() -> None:
    folders = [place.WEIGHTS / name for name in PRESETS]
    for folder in folders:
        held = {path.name for path in folder.iterdir()}
        assert held >= {"config.json", "model.safetensors", "processor_config.json", "training-card.json"}
        assert held >= {"tokenizer.model", "tokenizer_config.json"}
    assert sum(path.stat().st_size for path in place.WEIGHTS.rglob("*")) <= MOST


def test_propagation_follows_colours(weights: Path) -> None:
    """Even with features that know nothing much of a mask is carried on, where cells as wide as a thing lose it."""
    data = load("reasonshapes/valid", n_videos=1, n_frames=12)
    nano = VideoLisaNano(str(weights / "videolisa-nano"))
    fine = mean_overlap(data, pixel_propagator(nano))
    assert fine > 0.25 and fine > 3 * mean_overlap(data, FeaturePropagator.of(nano))


def mean_overlap(data: Any, propagator: FeaturePropagator) -> float:
    """Mean J where the true masks of the first frame are given."""
    truths = {s.expression.id: data.ground_truth(s) for s in list(data)[:4]}
    given = {name: {0: truth.mask(0)} for name, truth in truths.items()}
    found = []
    for name, t, mask in propagator.propagate(data.videos[0], given):
        target = truths[name].mask(t)
        if t and target.any():
            found.append((mask & target).sum() / (mask | target).sum())
    return float(np.mean(found))
