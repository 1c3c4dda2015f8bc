"""PNG and JPEG reading: equal to Pillow and OpenCV on every kind, strict with everything broken; one writer."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFile

from rvos.datasets.errors import ImageError
from rvos.datasets.images import (
    davis_palette,
    decode_png,
    image_size,
    png_grey,
    png_labels,
    read_png,
    read_rgb,
    write_png,
)

PACKS = Path(__file__).parents[3] / "shared" / "packs"

Pixels = NDArray[np.uint8]


# An independent PNG encoder with every filter and depth --------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered(rows: Pixels, kinds: list[int]) -> bytes:
    """The PNG specification's five filters, section 9, for one byte a pixel."""
    out = bytearray()
    above = np.zeros(rows.shape[1], np.int64)
    for y, row in enumerate(rows.astype(np.int64)):
        kind = kinds[y % len(kinds)]
        left, corner = np.append(0, row[:-1]), np.append(0, above[:-1])
        estimate = left + above - corner
        to_left, to_up, to_corner = abs(estimate - left), abs(estimate - above), abs(estimate - corner)
        nearest = np.where(to_up <= to_corner, above, corner)
        paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, nearest)
        predicted = [0 * row, left, above, (left + above) // 2, paeth][kind]
        out += bytes([kind]) + ((row - predicted) % 256).astype(np.uint8).tobytes()
        above = row
    return bytes(out)


def encode(
    rows: Pixels,
    width: int,
    kinds: list[int],
    depth: int = 8,
    palette: bytes | None = None,
    split: int = 1,
    extra: bytes = b"",
    level: int = 6,
) -> bytes:
    header = struct.pack(">IIBBBBB", width, len(rows), depth, 0 if palette is None else 3, 0, 0, 0)
    body = zlib.compress(filtered(rows, kinds), level)
    pieces = [body[i * len(body) // split : (i + 1) * len(body) // split] for i in range(split)]
    middle = b"" if palette is None else chunk(b"PLTE", palette)
    data = b"".join(chunk(b"IDAT", piece) for piece in pieces)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + middle + data + chunk(b"IEND", b"")


@st.composite
def pictures(draw: st.DrawFn) -> Pixels:
    """Label maps, masks and noise of any small size."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if draw(st.booleans()):
        return rng.integers(0, 256, (height, width), dtype=np.uint8)
    picture = np.zeros((height, width), np.uint8)
    for _ in range(draw(st.integers(0, 5))):
        y, x = rng.integers(0, height), rng.integers(0, width)
        picture[y : y + rng.integers(1, 30), x : x + rng.integers(1, 60)] = rng.choice([1, 2, 7, 255])
    return picture


@settings(max_examples=200, deadline=None)
@given(
    pictures(),
    st.lists(st.integers(0, 4), min_size=1, max_size=7),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_every_row_filter(picture: Pixels, kinds: list[int], split: int, level: int) -> None:
    data = encode(picture, picture.shape[1], kinds, split=split, level=level)
    image = decode_png(data, "x.png")
    assert image.mode == "L"
    assert np.array_equal(image.pixels, picture)
    assert np.array_equal(image.pixels, np.array(Image.open(io.BytesIO(data))))


@settings(max_examples=100, deadline=None)
@given(pictures(), st.sampled_from([1, 2, 4]), st.booleans(), st.lists(st.integers(0, 4), min_size=1, max_size=5))
def test_every_small_depth(picture: Pixels, depth: int, indexed: bool, kinds: list[int]) -> None:
    values = picture % 2**depth
    bits = np.unpackbits(values[..., None], axis=2)[..., -depth:]
    rows = np.packbits(bits.reshape(len(values), -1), axis=1)
    palette = bytes(range(3 * 2**depth)) if indexed else None
    image = decode_png(encode(rows, values.shape[1], kinds, depth, palette), "x.png")
    if indexed:
        assert image.mode == "P"
        assert image.palette is not None
        assert image.palette.tobytes() == palette
        assert np.array_equal(image.pixels, values)
    elif depth == 1:
        assert image.mode == "1"
        assert np.array_equal(image.pixels, values)
    else:
        assert image.mode == "L"
        assert np.array_equal(image.pixels, values * (255 // (2**depth - 1)))


# What other readers see -----------------------------------------------------------------------------------------------


def kinds_of_files(folder: Path) -> list[Path]:
    """One file of every kind that Pillow writes, with labels 0-3 in it."""
    labels = np.zeros((37, 61), np.uint8)
    labels[5:20, 8:40], labels[15:30, 30:55], labels[33:, :] = 1, 2, 3
    indexed = Image.fromarray(labels, mode=None)
    indexed = indexed.convert("P") if indexed.mode != "P" else indexed
    indexed.putdata(labels.reshape(-1).tolist())
    indexed.putpalette(davis_palette().tobytes())
    black = indexed.copy()
    black.putpalette(bytes(768))
    dark = indexed.copy()
    dark.putpalette(bytes([0, 0, 0, 1, 1, 1, 2, 0, 0, 0, 0, 8]))
    colours = np.stack([labels * 80, labels * 60, 255 - labels * 50], axis=2)
    alpha = np.dstack([colours, 255 - labels])
    files = {
        "grey": Image.fromarray(labels * np.uint8(85)),
        "onebit": Image.fromarray(labels > 0),
        "palette": indexed,
        "black": black,
        "dark": dark,
        "rgb": Image.fromarray(colours),
        "rgba": Image.fromarray(alpha),
        "la": Image.fromarray(alpha[..., 1:3].copy()),
        "sixteen": Image.fromarray(labels.astype(np.uint16) * 255),
        "sixteen_high": Image.fromarray(labels.astype(np.uint16) * 21845),
    }
    for name, image in files.items():
        image.save(folder / f"{name}.png")
    indexed.save(folder / "transparent.png", transparency=0)
    indexed.save(folder / "fourbit.png", bits=4)
    return sorted(folder.glob("*.png"))


def test_grey_equals_opencv(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    for path in kinds_of_files(tmp_path):
        assert np.array_equal(png_grey(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)), path.name


def test_grey_of_every_kind(tmp_path: Path) -> None:
    share = {path.stem: float((png_grey(path) > 0).mean()) for path in kinds_of_files(tmp_path)}
    object_share = share["grey"]
    for name in ("onebit", "palette", "la", "sixteen_high", "transparent", "fourbit"):
        assert share[name] == object_share, name
    assert share["black"] == 0  # seen through its colours
    assert share["dark"] == pytest.approx(
        1 - (png_labels(tmp_path / "dark.png") != 1).mean()
    )  # weights of 2 and 8 are 0
    assert 0 < share["sixteen"] < object_share  # 255 loses its low byte and is 0; 510 and 765 are not
    assert share["rgb"] == share["rgba"] == 1


def test_pixels_equal_pillow(tmp_path: Path) -> None:
    for path in kinds_of_files(tmp_path):
        with Image.open(path) as image:
            expected = np.array(image)
        assert np.array_equal(read_png(path).pixels, expected), path.name


def test_values_are_the_distinct_ones(tmp_path: Path) -> None:
    for path in kinds_of_files(tmp_path):
        image = read_png(path)
        assert np.array_equal(image.values(), np.unique(image.pixels))
        assert image.values().dtype == image.pixels.dtype


def test_interlaced_file() -> None:
    # Pillow does not write interlaced files: 1x1 pixels need only the first of the seven passes.
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 1)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00\x07")) + chunk(b"IEND", b"")
    )
    assert decode_png(data, "x.png").pixels.tolist() == [[7]]


def test_labels_refuse_colours_and_deep_values(tmp_path: Path) -> None:
    kinds_of_files(tmp_path)
    for name in ("rgb", "rgba", "la", "sixteen"):
        with pytest.raises(ImageError, match=rf"{name}\.png: mode .* not an indexed PNG"):
            png_labels(tmp_path / f"{name}.png")
    assert set(np.unique(png_labels(tmp_path / "onebit.png"))) == {0, 1}


def test_equal_to_opencv_on_real_files() -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    if not PACKS.is_dir():
        pytest.skip("../shared/packs is not there")
    files = sorted(PACKS.glob("reasonvos/predictions/formats/*/*/*.png"))
    files += (
        sorted(PACKS.glob("*/predictions/gray*/**/*.png"))[::10]
        + sorted(PACKS.glob("ref_davis17/DAVIS/Ann*/*/*/*.png"))[::7]
    )
    assert files
    for path in files:
        assert np.array_equal(png_grey(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)), path


# Broken files ---------------------------------------------------------------------------------------------------------


def good_png() -> bytes:
    rng = np.random.default_rng(0)
    return encode(rng.integers(0, 3, (20, 30), dtype=np.uint8), 30, [0, 1, 2, 3, 4])


def test_every_cut_is_noticed(tmp_path: Path) -> None:
    data = good_png()
    path = tmp_path / "mask.png"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError, match=r"mask\.png: ") as caught:
            read_png(path)
        assert "\n" not in str(caught.value)


def test_every_flipped_bit_is_noticed() -> None:
    data = good_png()
    expected = decode_png(data, "x.png").pixels
    for place in range(8, len(data) - 12):
        broken = bytearray(data)
        broken[place] ^= 1 << place % 8
        try:
            found = decode_png(bytes(broken), "x.png").pixels
        except ImageError:
            continue
        raise AssertionError(f"a flipped bit in byte {place} went unnoticed, equal: {np.array_equal(found, expected)}")


def repaired(header: bytes, body: bytes, palette: bytes | None = None) -> bytes:
    middle = b"" if palette is None else chunk(b"PLTE", palette)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GIF89a" + bytes(40), "not a PNG"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "not a PNG"),
        (repaired(struct.pack(">IIBBBBB", 0, 4, 8, 0, 0, 0, 0), b""), "impossible PNG header"),
        (repaired(struct.pack(">IIBBBBB", 4, 4, 3, 0, 0, 0, 0), b""), "impossible PNG header"),
        (repaired(struct.pack(">IIBBBBB", 4, 4, 8, 9, 0, 0, 0), b""), "impossible PNG header"),
        (repaired(struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0), b"nonsense"), "corrupt PNG"),
        (repaired(struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0), zlib.compress(bytes(19))), "19 of 20 bytes"),
        (repaired(struct.pack(">IIBBBBB", 4, 1, 8, 0, 0, 0, 0), zlib.compress(b"\x09" + bytes(4))), "filter type 9"),
        (repaired(struct.pack(">IIBBBBB", 4, 4, 8, 3, 0, 0, 0), zlib.compress(bytes(20))), "without a palette"),
        (repaired(struct.pack(">IIBBBBB", 4, 4, 8, 3, 0, 0, 0), zlib.compress(bytes(20)), b"ab"), "palette of 2 bytes"),
        (repaired(struct.pack(">IIBBBBB", 100000, 100000, 8, 0, 0, 0, 0), zlib.compress(bytes(99))), "too few bytes"),
        (repaired(struct.pack(">IIBBBBB", 100000, 100000, 8, 2, 0, 0, 0), zlib.compress(bytes(99))), "too few bytes"),
        (repaired(struct.pack(">IIBBBBB", 4, 4, 16, 0, 0, 0, 0), zlib.compress(bytes(9))), "9 of 36 bytes"),
    ],
)
def test_says_what_is_wrong(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as caught:
        decode_png(data, "some/mask.png")
    assert str(caught.value).startswith("some/mask.png: ")


def test_more_data_than_pixels_is_ignored() -> None:
    data = repaired(struct.pack(">IIBBBBB", 4, 4, 8, 0, 0, 0, 0), zlib.compress(bytes(10**7)))
    assert decode_png(data, "x.png").pixels.shape == (4, 4)


def test_what_is_no_readable_file(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "locked.png").write_bytes(good_png())
    (tmp_path / "locked.png").chmod(0)
    expected = {"absent": "no such file", "empty": "0 bytes", "folder": "a folder", "loop": "cannot be read"}
    if not os.access(tmp_path / "locked.png", os.R_OK):  # root reads everything
        expected["locked"] = "no permission"
    for reader in (read_png, png_grey, png_labels, read_rgb, image_size):
        for name, words in expected.items():
            with pytest.raises(ImageError, match=rf"{name}\.png: .*{words}"):
                reader(tmp_path / f"{name}.png")


# Frames ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def frame(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / "frame.jpg", quality=95)
    return tmp_path / "frame.jpg"


def test_reads_frames(frame: Path) -> None:
    with Image.open(frame) as image:
        expected = np.array(image)
        image.convert("L").save(frame.with_name("grey.jpg"))
        image.save(frame.with_suffix(".png"))
    assert np.array_equal(read_rgb(frame), expected)
    assert np.array_equal(read_rgb(frame.with_suffix(".png")), expected)
    assert read_rgb(frame.with_name("grey.jpg")).shape == (48, 64, 3)
    for path in (frame, frame.with_suffix(".png"), frame.with_name("grey.jpg")):
        assert image_size(path) == (48, 64)


@pytest.mark.parametrize("tolerant", [False, True])
def test_truncated_frame_is_never_padded(frame: Path, monkeypatch: pytest.MonkeyPatch, tolerant: bool) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", tolerant)  # as many training programs set it
    data = frame.read_bytes()
    for length in (3, 100, len(data) // 2, len(data) - 2):
        frame.write_bytes(data[:length])
        with pytest.raises(ImageError, match=r"frame\.jpg: .*cut short"):
            read_rgb(frame)


def test_refuses_other_frames(tmp_path: Path) -> None:
    path = tmp_path / "frame.jpg"
    path.write_bytes(b"GIF89a" + bytes(100))
    for reader in (read_rgb, image_size):
        with pytest.raises(ImageError, match="neither a PNG nor a JPEG"):
            reader(path)


# Writing --------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(picture=pictures(), indexed=st.booleans())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, picture: Pixels, indexed: bool) -> None:
    path = tmp_path_factory.mktemp("png") / "new" / "mask.png"
    write_png(path, picture, davis_palette() if indexed else None)
    with Image.open(path) as image:
        assert image.mode == ("P" if indexed else "L")
        assert np.array_equal(np.array(image), picture)
    assert np.array_equal(png_labels(path), picture)
    assert [p.name for p in path.parent.iterdir()] == ["mask.png"]


def test_writes_bool_masks(tmp_path: Path) -> None:
    mask = np.eye(9, dtype=bool)
    write_png(tmp_path / "grey.png", mask)
    write_png(tmp_path / "indexed.png", mask, davis_palette())
    assert np.array_equal(png_labels(tmp_path / "grey.png"), mask * np.uint8(255))
    assert np.array_equal(png_labels(tmp_path / "indexed.png"), mask)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mask.png"
    write_png(path, np.ones((3, 4), np.uint8))
    before = path.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ImageError, match=r"mask\.png: cannot be written \(No space left on device\)"):
        write_png(path, np.zeros((3, 4), np.uint8))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mask.png"]


@pytest.mark.parametrize("array", [np.zeros((3, 4)), np.zeros((3, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)])
def test_writes_nothing_but_masks(tmp_path: Path, array: NDArray[np.uint8]) -> None:
    with pytest.raises(ImageError, match="bool or uint8 array"):
        write_png(tmp_path / "x.png", array)


def test_palette_of_davis() -> None:
    palette = davis_palette()
    assert palette.shape == (256, 3)
    assert palette[:9].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
        [128, 0, 128],
        [0, 128, 128],
        [128, 128, 128],
        [64, 0, 0],
    ]
    assert len(np.unique(palette, axis=0)) == 256
