"""Packed masks equal the arrays that they stand for, whatever files they come from."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rvos.datasets.bitmask import BitMask
from rvos.datasets.errors import ImageError
from rvos.datasets.images import decode_flat, decode_png, grey_values, png_grey, png_grey_bits, write_png
from rvos.datasets.masks import EmptyMasks, GreyPngMasks, RleMasks, UnionMasks, encode_rle, packed_mask


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered_png(pixels: NDArray[np.uint8], kinds: NDArray[np.uint8], palette: bytes | None) -> bytes:
    """A PNG file whose row y has the filter kinds[y], by the definitions of the specification."""
    height, width = pixels.shape
    rows = []
    for y in range(height):
        up = pixels[y - 1].astype(int) if y else np.zeros(width, int)
        left, corner = (np.concatenate([[0], row[:-1]]) for row in (pixels[y].astype(int), up))
        guess = left + up - corner
        near = np.stack([abs(guess - left), abs(guess - up), abs(guess - corner)]).argmin(axis=0)
        predictors = (np.zeros(width, int), left, up, (left + up) // 2, np.choose(near, (left, up, corner)))
        rows.append(bytes([kinds[y]]) + ((pixels[y] - predictors[kinds[y]]) % 256).astype(np.uint8).tobytes())
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if palette is None else 3, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header)]
    parts += [] if palette is None else [chunk(b"PLTE", palette)]
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(b"".join(rows))), chunk(b"IEND", b"")])


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 20),
    st.integers(1, 150),
    st.integers(0, 2**32),
    st.sampled_from([(0,), (1,), (0, 1), (0, 255), (0, 38), (0, 1, 2), (0, 128, 255), tuple(range(256))]),
    st.booleans(),
    st.booleans(),
)
def test_flat_files_are_unfiltered_and_packed(
    height: int, width: int, seed: int, values: tuple[int, ...], noisy: bool, indexed: bool
) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.choice(np.array(values, np.uint8), (height, width) if noisy else (2, 2))
    if not noisy:  # flat areas take the short cuts
        pixels = pixels.repeat(-(-height // 2), 0).repeat(-(-width // 2), 1)[:height, :width]
    palette = rng.choice(np.array([0, 0, 255], np.uint8), 3 * rng.integers(1, 257)).tobytes() if indexed else None
    data = filtered_png(pixels, rng.integers(0, 5, height).astype(np.uint8), palette)
    image = decode_png(data, "x.png")
    assert np.array_equal(image.pixels, pixels)
    flat = decode_flat(data, "x.png")
    found = np.unique(pixels[pixels != 0])
    assert (flat is None) == (len(found) > 1)
    if flat is not None:
        assert flat.value == (found[0] if len(found) else 0)
        assert np.array_equal(flat.bits.to_array(), pixels != 0)
        assert not np.unpackbits(flat.bits.words.view(np.uint8), axis=1, bitorder="little")[:, width:].any()
        grey = flat.grey_bits()
        if grey is not None:
            assert np.array_equal(grey.to_array(), grey_values(image) > 0)
        assert grey is not None or indexed


def test_a_wrong_filter_type_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros((4, 9), np.uint8)
    data = filtered_png(pixels, np.zeros(4, np.uint8), None)
    raw = bytearray(zlib.decompress(data[41:-16]))
    raw[20] = 7
    damaged = data[:33] + chunk(b"IDAT", zlib.compress(bytes(raw))) + data[-12:]
    for decode in (decode_png, decode_flat):
        with pytest.raises(ImageError, match=r"x.png: corrupt PNG \(row 2 has filter type 7\)"):
            decode(damaged, "x.png")
    with pytest.raises(ImageError, match="empty"):
        decode_flat(b"", "x.png")
    assert decode_flat(filtered_png(pixels, np.zeros(4, np.uint8), None), "x.png") is not None


def test_every_source_packs_what_its_mask_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((3, 33, 70)) < 0.4
    paths = tuple(tmp_path / f"{i}.png" for i in range(3))
    write_png(paths[0], masks[0])
    write_png(paths[1], rng.integers(0, 256, (33, 70), np.uint8))
    write_png(paths[2], masks[2], palette=np.array([[9, 9, 9], [0, 0, 0]], np.uint8))
    png = GreyPngMasks((*paths, None))
    rle = RleMasks.from_coco([encode_rle(masks[0]), None, encode_rle(masks[2])])
    for source in (png, rle, EmptyMasks((33, 70)), UnionMasks((png, rle))):
        for index in range(3):
            bits, mask = packed_mask(source, index), source.mask(index)
            assert bits is not None and mask is not None
            assert bits.shape == (33, 70) and bits.any() == mask.any()
            assert np.array_equal(bits.to_array(), mask)
    assert np.array_equal(rle.mask(2), masks[2])
    assert packed_mask(png, 3) is None and packed_mask(UnionMasks((png,)), 3) is None
    assert all(np.array_equal(png_grey_bits(path).to_array(), png_grey(path) > 0) for path in paths)
    assert np.array_equal(UnionMasks((png, rle)).mask(0), masks[0])


def test_a_source_without_bits_is_packed_through_its_mask() -> None:
    class Plain:
        def mask(self, index: int) -> NDArray[np.bool_] | None:
            return np.eye(5, dtype=bool) if index == 0 else None

        def void(self, index: int) -> NDArray[np.bool_] | None:
            return None

    bits = packed_mask(Plain(), 0)
    assert bits is not None and np.array_equal(bits.words, BitMask.from_array(np.eye(5, dtype=bool)).words)
    assert packed_mask(Plain(), 1) is None
