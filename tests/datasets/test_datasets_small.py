"""Fingerprints, cards, statistics, overlays, plain folders: the small modules beside the loaders."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rvos
from rvos.datasets import fingerprint, registry
from rvos.datasets.cards import load_card
from rvos.datasets.errors import DatasetError, ImageError, UnknownNameError, UsageError
from rvos.datasets.folders import MaskFolders
from rvos.datasets.frames import ArrayFrames, FrameFolder
from rvos.datasets.images import davis_palette, write_png
from rvos.datasets.overlay import draw_overlay, film_strip, outline, write_image
from rvos.datasets.statistics import dataset_statistics

Copy = Callable[[str], Path]

# Fingerprint ----------------------------------------------------------------------------------------------------------


def test_fingerprint_follows_content_not_place(layouts: Path, copy_of: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    here = rvos.load("reasonvos", layouts / "reasonvos").fingerprint
    root = copy_of("reasonvos")
    assert rvos.load("reasonvos", root).fingerprint == here
    assert here.startswith("sha256:") and len(here) == 71
    monkeypatch.setattr(fingerprint, "_hash", None)  # unchanged files are not read again
    assert rvos.load("reasonvos", root).fingerprint == here
    monkeypatch.undo()
    mask = next((root / "Annotations").rglob("*.png"))
    write_png(mask, np.ones((48, 64), bool))
    assert rvos.load("reasonvos", root).fingerprint != here


# Cards and registry ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(registry.DATASETS))
def test_every_dataset_has_a_card_that_fits_its_splits(name: str) -> None:
    card = load_card(name)
    assert card.name == name
    assert set(card.ground_truth) == set(registry.entry_of(name).splits)
    assert set(card.counts) <= set(card.ground_truth)
    assert card.citation.strip().startswith("@") and card.citation.count("{") == card.citation.count("}")
    assert all(d.url.startswith("https://") for d in card.download)
    assert issubclass(registry.loader_class(name), rvos.RVOSDataset)


def test_unknown_cards_and_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="mevis"):
        load_card("mevvis")
    from importlib.metadata import EntryPoint

    points = {
        "mine": EntryPoint("mine", "rvos.datasets.folders:MaskFolders", "rvos.datasets"),
        "broken": EntryPoint("broken", "nowhere_at_all:X", "rvos.datasets"),
        "odd": EntryPoint("odd", "pathlib:Path", "rvos.datasets"),
    }
    monkeypatch.setattr(registry, "_plugins", lambda: points)
    assert registry.loader_class("mine") is MaskFolders
    assert registry.resolve("mine/any") == ("mine", "any")
    with pytest.raises(DatasetError, match="nowhere_at_all"):
        registry.loader_class("broken")
    with pytest.raises(DatasetError, match="no subclass"):
        registry.loader_class("odd")


# Statistics -----------------------------------------------------------------------------------------------------------


def test_statistics_count_and_plot(layouts: Path, tmp_path: Path) -> None:
    dataset = rvos.load("mevis/valid_u", layouts / "mevis")
    statistics = dataset_statistics(dataset, frames_per_object=8)
    values = {d.name: d.values for d in statistics.distributions}
    assert values["frames per video"] == (8, 8)
    assert sum(values["expressions per video"]) == len(dataset) == statistics.n_samples
    assert statistics.n_no_target == sum(s.expression.object_ids == () for s in dataset) > 0
    seen = [m.dense() for v in dataset.videos for m in dataset.objects(v).values()]
    expected = [100 * d[d.any(axis=(1, 2))].mean() for d in seen if d.any()]
    assert values["object size"] == pytest.approx(expected)
    assert "words per expression" in str(statistics)
    plots = statistics.plot(tmp_path / "plots")
    assert len(plots) >= 5 and all(path.stat().st_size > 2000 for path in plots)
    withheld = rvos.load("mevis/valid", layouts / "mevis").statistics()
    assert withheld.n_objects == 0 and withheld.as_dict()["distributions"]["object size"]["n"] == 0


# Overlays -------------------------------------------------------------------------------------------------------------


def test_overlay_colours_the_mask_and_nothing_else() -> None:
    frame = np.full((60, 80, 3), 100, np.uint8)
    mask = np.zeros((60, 80), bool)
    mask[20:40, 30:50] = True
    drawn = draw_overlay(frame, [mask], colors=[(200, 0, 50)], alpha=0.5)
    assert (frame == 100).all() and drawn.dtype == np.uint8
    assert (drawn[~mask] == 100).all()
    assert drawn[30, 40].tolist() == [150, 50, 75]
    assert (drawn[outline(mask)] == (200, 0, 50)).all()
    assert outline(mask).sum() == 4 * 19
    assert not outline(np.ones((5, 5), bool)).any()
    with pytest.raises(UsageError, match="does not fit"):
        draw_overlay(frame, [mask[:5]])
    with pytest.raises(UsageError, match="alpha"):
        draw_overlay(frame, [mask], alpha=50)
    with pytest.raises(UsageError, match="colours"):
        draw_overlay(frame, [mask, mask], colors=[(0, 0, 0)])


def test_film_strips_have_the_size_asked_for(tmp_path: Path) -> None:
    frames = [np.zeros((30, 40, 3), np.uint8), np.full((60, 40, 3), 9, np.uint8), np.zeros((30, 40, 3), np.uint8)]
    strip = film_strip(frames, height=30, gap=2)
    assert strip.shape == (30, 40 + 2 + 20 + 2 + 40, 3)
    grid = film_strip(frames, ["one", "ж " * 99, ""], columns=2, height=30, gap=0)
    assert grid.shape == (2 * 46, 60, 3)
    write_image(tmp_path / "new" / "strip.png", strip)
    assert FrameFolder(tmp_path / "new").read("strip").tolist() == strip.tolist()
    with pytest.raises(UsageError):
        film_strip([])


# Frames ---------------------------------------------------------------------------------------------------------------


def test_array_frames_and_missing_files(tmp_path: Path) -> None:
    frames = ArrayFrames(("a", "b"), np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3))
    assert frames.read("b")[0, 0].tolist() == [12, 13, 14] and frames.size("a") == (2, 2)
    assert pickle.loads(pickle.dumps(frames)).names == ("a", "b")
    with pytest.raises(DatasetError, match="shape"):
        ArrayFrames(("a",), np.zeros((2, 2, 2, 3), np.uint8))
    with pytest.raises(ImageError, match=r"00000.jpg: no such frame"):
        FrameFolder(tmp_path).read("00000")


# Plain folders --------------------------------------------------------------------------------------------------------


def test_binary_folders_flat_and_nested(tmp_path: Path) -> None:
    mask = np.eye(4, 5, dtype=bool)
    for place in ("cat/00000", "cat/00001", "dogs/1/00000", "dogs/2/00001"):
        write_png(tmp_path / f"{place}.png", mask)
    dataset = MaskFolders(tmp_path)
    assert [s.key for s in dataset] == ["cat/1", "dogs/1", "dogs/2"]
    assert [str(dataset.prediction_path(s)) for s in dataset] == ["cat", "dogs/1", "dogs/2"]
    truth = dataset.ground_truth(dataset[2])
    assert dataset[2].video.frame_names == ("00000", "00001") and truth.frame_names == ("00001",)
    assert np.array_equal(truth.mask(0), mask)
    assert dataset[0].video.size == (4, 5)
    assert list(dataset.objects(dataset[2].video)) == ["1", "2"]
    assert dataset.check().ok
    single = MaskFolders(tmp_path / "cat")
    assert [s.key for s in single] == ["cat/1"] and str(single.prediction_path(single[0])) == "."


def test_indexed_folders_and_doubtful_values(tmp_path: Path) -> None:
    labels = np.array([[0, 1, 3], [3, 255, 0]], np.uint8)
    write_png(tmp_path / "indexed/v/0.png", labels, davis_palette())
    dataset = MaskFolders(tmp_path / "indexed")
    assert [(s.key, s.expression.tags) for s in dataset] == [("v/1", {"label": 1}), ("v/3", {"label": 3})]
    truth = dataset.ground_truth(dataset[1])
    assert truth.mask(0).tolist() == (labels == 3).tolist() and truth.void(0).tolist() == (labels == 255).tolist()
    write_png(tmp_path / "grey/v/0.png", np.array([[0, 127, 255]], np.uint8))
    with pytest.raises(DatasetError, match="binary"):
        MaskFolders(tmp_path / "grey")
    binary = MaskFolders(tmp_path / "grey", masks="binary")
    assert binary.ground_truth(binary[0]).mask(0).tolist() == [[False, True, True]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no PNG"):
        MaskFolders(tmp_path / "empty")
    with pytest.raises(DatasetError, match="no such folder"):
        MaskFolders(tmp_path / "missing")
