"""PNG masks in folders and archives: which values are foreground, and what broken files say. About 3 s."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toyset import HEIGHT, WIDTH, ToyDataset

from rvos.benchmarks.predictions import open_predictions
from rvos.benchmarks.predictions.archives import ZipFiles
from rvos.benchmarks.predictions.base import Foreground
from rvos.benchmarks.predictions.files import DirectoryFiles
from rvos.benchmarks.predictions.folders import PngPredictions
from rvos.benchmarks.predictions.foreground import cutoff
from rvos.datasets.errors import PredictionInvalid, PredictionMissing, UnknownNameError, UsageError

MASK = np.zeros((HEIGHT, WIDTH), bool)
MASK[5:20, 7:33] = True
DATASET = ToyDataset()
SAMPLE = DATASET.samples[0]
FRAME = SAMPLE.video.frame_names[0]


def values(on: int, off: int = 0, dtype: str = "uint8", mask: np.ndarray = MASK) -> np.ndarray:
    return np.where(mask, on, off).astype(dtype)


def palette_image(*colours: tuple[int, int, int], indices: np.ndarray | None = None) -> Image.Image:
    image = Image.fromarray(values(1) if indices is None else indices, "P")
    image.putpalette([channel for colour in colours for channel in colour])
    return image


def rgba(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    return Image.fromarray(np.dstack([colours, colours, colours, alpha]).astype(np.uint8))


READABLE = {
    "0-255": Image.fromarray(values(255)),
    "0-1": Image.fromarray(values(1)),
    "0-100": Image.fromarray(values(100)),
    "one bit": Image.fromarray(MASK),
    "palette": palette_image((0, 0, 0), (128, 0, 0)),
    "rgb": Image.fromarray(np.dstack([values(128), values(0), values(0)])),
    "rgba": rgba(values(255), values(255, 255)),
    "rgba, alpha is the mask too": rgba(values(255), values(255)),
    "grey and alpha": Image.fromarray(np.dstack([values(255), values(255, 255)]), "LA"),
    "16 bits, 65535": Image.fromarray(values(65535, dtype="uint16")),
}
UNSEEN_BY_SCRIPTS = {
    "black palette": palette_image((0, 0, 0), (0, 0, 0)),
    "16 bits, 255": Image.fromarray(values(255, dtype="uint16")),
}
REFUSED = {
    "three greys": (Image.fromarray(np.where(MASK, 255, np.eye(HEIGHT, WIDTH) * 127).astype(np.uint8)), "0, 127, 255"),
    "soft": (Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)), "256 different"),
    "one grey": (Image.fromarray(np.full((HEIGHT, WIDTH), 37, np.uint8)), "every pixel is 37"),
    "palette without black": (palette_image((255, 255, 255), (0, 0, 0)), r"entry 0 is the colour \(255, 255, 255\)"),
    "label map": (palette_image((0, 0, 0), (9, 0, 0), (0, 9, 0), indices=values(1) + values(0, 2)), "several objects"),
    "three colours": (Image.fromarray(np.dstack([values(9), values(0, 7), values(3, 5)])), "colours"),
    "mask in alpha": (rgba(values(255, 255), values(255)), "transparency"),
}


def predictions_with(folder: Path, image: Image.Image, threshold: float | None = None) -> PngPredictions:
    file = folder / "video0" / "0" / f"{FRAME}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    image.save(file)
    return PngPredictions.open(folder, DATASET, threshold)


@pytest.mark.parametrize("name", [*READABLE, *UNSEEN_BY_SCRIPTS])
def test_strict_reads_files_of_two_values(tmp_path: Path, name: str) -> None:
    predictions = predictions_with(tmp_path, {**READABLE, **UNSEEN_BY_SCRIPTS}[name])
    assert np.array_equal(predictions.mask(SAMPLE, FRAME, "strict"), MASK)
    assert predictions.scores(SAMPLE, FRAME) is None
    assert predictions.frame_names(SAMPLE) == [FRAME]


@pytest.mark.parametrize("name", READABLE)
def test_scripts_see_every_grey_above_zero(tmp_path: Path, name: str) -> None:
    predictions = predictions_with(tmp_path, READABLE[name])
    assert np.array_equal(predictions.mask(SAMPLE, FRAME, "nonzero-grey"), MASK)


@pytest.mark.parametrize("name", UNSEEN_BY_SCRIPTS)
def test_scripts_see_black_palettes_and_low_16_bit_values_as_empty(tmp_path: Path, name: str) -> None:
    assert not predictions_with(tmp_path, UNSEEN_BY_SCRIPTS[name]).mask(SAMPLE, FRAME, "nonzero-grey").any()


@pytest.mark.parametrize(("on", "found"), [(1, False), (49, False), (50, True), (100, True), (255, True)])
def test_grey_50_is_videolisas_merging_threshold(tmp_path: Path, on: int, found: bool) -> None:
    assert predictions_with(tmp_path, Image.fromarray(values(on))).mask(SAMPLE, FRAME, "grey-50").any() == found


@pytest.mark.parametrize("name", REFUSED)
def test_strict_refuses_what_nobody_can_tell(tmp_path: Path, name: str) -> None:
    image, words = REFUSED[name]
    with pytest.raises(PredictionInvalid, match=words) as raised:
        predictions_with(tmp_path, image).mask(SAMPLE, FRAME, "strict")
    assert f"{FRAME}.png" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("threshold", [None, 0.5])
@pytest.mark.parametrize("name", [*READABLE, *UNSEEN_BY_SCRIPTS, *REFUSED, "38", "38 and 60", "full 38", "empty"])
def test_packed_masks_are_the_same(tmp_path: Path, name: str, threshold: float | None) -> None:
    """``bits`` gives what ``mask`` gives, or refuses the file in the same words."""
    more = {"38": values(38), "38 and 60": values(38, 60), "full 38": values(38, 38), "empty": values(0)}
    refused = {key: image for key, (image, _) in REFUSED.items()}
    images = {**READABLE, **UNSEEN_BY_SCRIPTS, **refused, **{k: Image.fromarray(v) for k, v in more.items()}}
    predictions = predictions_with(tmp_path, images[name], threshold)
    rules: tuple[Foreground, ...] = ("strict", "nonzero-grey", "grey-50")
    for rule in rules:
        try:
            mask = predictions.mask(SAMPLE, FRAME, rule)
        except PredictionInvalid as error:
            with pytest.raises(PredictionInvalid) as raised:
                predictions.bits(SAMPLE, FRAME, rule)
            assert str(raised.value) == str(error)
        else:
            assert np.array_equal(predictions.bits(SAMPLE, FRAME, rule).to_array(), mask)


@pytest.mark.parametrize("value", [0, 1, 100, 255])
def test_a_uniform_file_is_empty_or_full(tmp_path: Path, value: int) -> None:
    image = Image.fromarray(np.full((HEIGHT, WIDTH), value, np.uint8))
    assert predictions_with(tmp_path, image).mask(SAMPLE, FRAME, "strict").mean() == (value > 0)


def test_a_threshold_cuts_greys_but_not_indices_or_colours(tmp_path: Path) -> None:
    soft = np.where(MASK, 128, 127).astype(np.uint8)
    for name, image in {
        "8": Image.fromarray(soft),
        "16": Image.fromarray(soft.astype(np.uint16) * 257),
        "rgb": Image.fromarray(np.dstack([soft] * 3)),
        "palette": READABLE["palette"],
        "colour": READABLE["rgb"],
        "bit": READABLE["one bit"],
    }.items():
        assert np.array_equal(predictions_with(tmp_path / name, image, 0.5).mask(SAMPLE, FRAME, "strict"), MASK), name
    assert predictions_with(tmp_path / "8", Image.fromarray(soft), 0.5).mask(SAMPLE, FRAME, "nonzero-grey").all()


@given(st.floats(min_value=1e-6, max_value=1), st.sampled_from(["uint8", "uint16"]))
def test_cutoff_is_the_first_value_at_or_above_the_threshold(threshold: float, dtype: str) -> None:
    first, top = cutoff(threshold, np.dtype(dtype)), int(np.iinfo(dtype).max)
    assert first / top >= threshold and (first - 1) / top < threshold


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, float("nan")])
def test_a_threshold_out_of_range_is_a_usage_error(tmp_path: Path, threshold: float) -> None:
    with pytest.raises(UsageError, match="threshold"):
        open_predictions(tmp_path, DATASET, threshold=threshold)


# Hostile files ------------------------------------------------------------------------------------------------------


def png_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return buffer.getvalue()


GOOD = png_bytes(values(255))
CLAIMS_A_LOT = GOOD[:16] + struct.pack(">II", 100_000, 100_000) + GOOD[24:]
BROKEN = {"zero bytes": b"", "cut short": GOOD[:60], "text": b"not an image", "giant": CLAIMS_A_LOT}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_invalid_with_one_line(tmp_path: Path, name: str) -> None:
    predictions = predictions_with(tmp_path, READABLE["0-255"])
    (tmp_path / "video0" / "0" / f"{FRAME}.png").write_bytes(BROKEN[name])
    assert_invalid(predictions)


def assert_invalid(predictions: PngPredictions) -> None:
    for rule in ("strict", "nonzero-grey", "grey-50"):
        with pytest.raises(PredictionInvalid) as raised:
            predictions.mask(SAMPLE, FRAME, rule)  # type: ignore[arg-type]
        assert f"{FRAME}.png" in str(raised.value) and "\n" not in str(raised.value)


def test_folders_loops_pipes_and_locked_files_are_invalid(tmp_path: Path) -> None:
    predictions = predictions_with(tmp_path, READABLE["0-255"])
    file = tmp_path / "video0" / "0" / f"{FRAME}.png"
    file.unlink()
    file.mkdir()
    assert_invalid(predictions)
    file.rmdir()
    file.symlink_to(file)
    assert_invalid(predictions)
    file.unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(file)
        assert_invalid(predictions)  # and does not wait for a writer
        file.unlink()
    file.write_bytes(GOOD)
    file.chmod(0)
    if not os.access(file, os.R_OK):  # not so for the super-user
        assert_invalid(predictions)


def test_missing_is_told_from_invalid(tmp_path: Path) -> None:
    predictions = predictions_with(tmp_path, READABLE["0-255"])
    with pytest.raises(PredictionMissing, match=r"00001\.png: no such file"):
        predictions.mask(SAMPLE, "00001", "strict")
    other = DATASET.samples[1]
    with pytest.raises(PredictionMissing):
        predictions.mask(other, FRAME, "strict")
    assert predictions.frame_names(other) is None
    (tmp_path / "video0" / "1").write_text("a file where a folder should be")
    with pytest.raises(PredictionMissing):
        predictions.mask(other, FRAME, "strict")
    assert predictions.frame_names(other) is None
    with pytest.raises(PredictionMissing, match="no such folder"):
        open_predictions(tmp_path / "nowhere", DATASET)
    with pytest.raises(UnknownNameError, match="png-folders"):
        open_predictions(tmp_path, DATASET, layout="png-folder")


def test_names_of_any_script(tmp_path: Path) -> None:
    folder = tmp_path / "prédictions 结果"
    predictions = pickle.loads(pickle.dumps(predictions_with(folder, READABLE["0-255"])))
    assert np.array_equal(predictions.mask(SAMPLE, FRAME, "strict"), MASK)


# Archives -----------------------------------------------------------------------------------------------------------


def archive(path: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in names.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("prefix", ["", "Annotations/", "my results/", "results/Annotations/"])
def test_archives_are_read_below_any_wrapping(tmp_path: Path, prefix: str) -> None:
    names = {f"{prefix}video0/0/{FRAME}.png": GOOD, "__MACOSX/video0/._x": b"", f"{prefix}readme.txt": b"hi"}
    predictions = open_predictions(archive(tmp_path / "masks.zip", names), DATASET)
    assert predictions.layout == "png-zip"
    assert np.array_equal(predictions.mask(SAMPLE, FRAME, "strict"), MASK)
    assert predictions.frame_names(SAMPLE) == [FRAME]
    assert predictions.frame_names(DATASET.samples[1]) is None
    with pytest.raises(PredictionMissing, match=r"masks.zip!.*00001.png"):
        predictions.mask(SAMPLE, "00001", "strict")


def _read_in_child(predictions: PngPredictions) -> int:
    return int(predictions.mask(SAMPLE, FRAME, "strict").sum())


def test_archives_travel_to_workers(tmp_path: Path) -> None:
    predictions = open_predictions(archive(tmp_path / "masks.zip", {f"video0/0/{FRAME}.png": GOOD}), DATASET)
    assert _read_in_child(predictions) == MASK.sum()
    with get_context("fork").Pool(2) as pool:
        assert pool.map(_read_in_child, [predictions] * 8) == [MASK.sum()] * 8


def test_archives_that_mean_harm(tmp_path: Path) -> None:
    names = {f"video0/0/{FRAME}.png": bytes(1 << 27), "../../outside.png": GOOD, "/etc/x.png": GOOD}
    path = archive(tmp_path / "bomb.zip", names)
    predictions = open_predictions(path, DATASET)
    with pytest.raises(PredictionInvalid, match="would inflate to 134217728"):
        predictions.mask(SAMPLE, FRAME, "strict")
    assert ZipFiles(path).unsafe_names == ("../../outside.png", "/etc/x.png")
    with pytest.raises(PredictionMissing):
        ZipFiles(path).read("../../outside.png")


def test_damaged_archives(tmp_path: Path) -> None:
    path = archive(tmp_path / "masks.zip", {f"video0/0/{FRAME}.png": GOOD})
    data = bytearray(path.read_bytes())
    data[80] ^= 0xFF  # inside the entry's data
    path.write_bytes(data)
    with pytest.raises(PredictionInvalid, match="make the archive again"):
        open_predictions(path, DATASET).mask(SAMPLE, FRAME, "strict")
    path.write_bytes(data[:100])
    with pytest.raises(PredictionInvalid, match="cut short or damaged"):
        open_predictions(path, DATASET)


def test_folders_and_archives_list_alike(tmp_path: Path) -> None:
    names = {"b/2.png": GOOD, "b/10.png": GOOD, "a/c/1.png": GOOD, "top.txt": b"x"}
    path = archive(tmp_path / "masks.zip", names)
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "out")
    for folder in ("", "a", "b", "a/c", "nowhere"):
        assert ZipFiles(path).names(folder) == DirectoryFiles(tmp_path / "out").names(folder), folder
