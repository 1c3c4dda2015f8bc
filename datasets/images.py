"""Image files, read fast and strictly: label maps and grey masks (PNG), frames (PNG, JPEG), and one PNG writer.

``png_labels`` gives what an evaluator of indexed masks sees, ``png_grey`` what OpenCV's grey reader sees, and
``decode_flat`` a mask as bits, several times faster, for the files that nearly all masks are. Nothing is guessed or
padded: a file that is cut short, corrupt or of another kind raises ImageError with one line that names it.
"""

from __future__ import annotations

import io
import os
import struct
import threading
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from .bitmask import BitMask
from .errors import ImageError

if TYPE_CHECKING:
    from PIL import Image

PngMode = Literal["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _PALETTE = 0, 3  # PNG colour types
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # samples per pixel of each colour type
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # x, y, dx, dy
_MAX_INFLATION = 1032  # a deflate stream cannot hold more than this many bytes per byte (258 bytes in two bits)


@dataclass(frozen=True)
class PngImage:
    """The stored values of a PNG file.

    Attributes:
        pixels: (H, W), or (H, W, C) for modes LA, RGB and RGBA. uint8, and uint16 for mode ``I;16``. Mode ``1`` holds
            0 and 1, mode ``P`` palette indices; grey of 2 and 4 bits is stretched to 0-255.
        mode: what the values are.
        palette: uint8 (n, 3) RGB, for mode ``P``.
    """

    pixels: Pixels
    mode: PngMode
    palette: NDArray[np.uint8] | None = None

    def values(self) -> Pixels:
        """The distinct values that occur, sorted; those of all channels together. Faster than sorting them all."""
        counts = np.bincount(self.pixels.reshape(-1))
        return cast(Pixels, np.flatnonzero(counts).astype(self.pixels.dtype))


def read_png(path: str | os.PathLike[str]) -> PngImage:
    """Decode a PNG of any kind.

    Raises:
        ImageError: missing, unreadable, empty, truncated, corrupt, or not a PNG.
    """
    return decode_png(_read_bytes(path), path)


def decode_png(data: bytes, path: str | os.PathLike[str]) -> PngImage:
    """Decode the bytes of a PNG file that was read elsewhere, e.g. from an archive; ``path`` names it in errors.

    Raises:
        ImageError: empty, truncated, corrupt, or not a PNG.
    """
    if not data:
        raise ImageError(f"{path}: the file is empty (0 bytes); write it again.")
    chunks = _parse_chunks(data, path)
    if chunks.interlaced or chunks.depth == 16 or chunks.colour not in (_GREY, _PALETTE):
        return _decode_with_pillow(data, chunks, path)
    pixels = _unpack_bits(_unfilter_rows(chunks, path), chunks)
    if chunks.colour == _PALETTE:
        return PngImage(pixels, "P", chunks.palette)
    return PngImage(pixels, "1" if chunks.depth == 1 else "L")


@dataclass(frozen=True)
class FlatPng:
    """An 8-bit grey or indexed PNG of one object, as most masks are.

    Attributes:
        bits: the pixels that are not 0.
        value: their value, 1 to 255; 0 where there are none.
        palette: uint8 (n, 3) RGB for an indexed file, None for grey.
    """

    bits: BitMask
    value: int
    palette: NDArray[np.uint8] | None

    def grey_bits(self) -> BitMask | None:
        """Where ``png_grey`` is not 0; None for a palette that does not show this object on black."""
        if self.palette is None:
            return self.bits
        colours = _grey_of_rgb(self.palette[[0, self.value]]) if self.value < len(self.palette) else (0, 0)
        return self.bits if not colours[0] and (colours[1] or not self.value) else None


def decode_flat(data: bytes, path: str | os.PathLike[str]) -> FlatPng | None:
    """The bytes of a PNG file as a packed mask, or None where it is of another kind or holds more than two values.

    Raises:
        ImageError: as ``decode_png``.
    """
    if not data:
        raise ImageError(f"{path}: the file is empty (0 bytes); write it again.")
    chunks = _parse_chunks(data, path)
    if chunks.interlaced or chunks.depth != 8 or chunks.colour not in (_GREY, _PALETTE):
        return None
    bits = BitMask.zeros(chunks.height, chunks.width)
    value = _unfilter(chunks, path, 2, bits.words.view(np.uint8))[1]
    return FlatPng(bits, value, chunks.palette if chunks.colour == _PALETTE else None) if value >= 0 else None


def png_grey_bits(path: str | os.PathLike[str]) -> BitMask:
    """Where ``png_grey`` is not 0, packed. Raises ImageError as ``read_png``."""
    data = _read_bytes(path)
    flat = decode_flat(data, path)
    bits = flat.grey_bits() if flat is not None else None
    return BitMask.from_array(grey_values(decode_png(data, path))) if bits is None else bits


def png_labels(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The label map in a PNG: palette indices, grey values, or 0/1 of a one-bit image; uint8 (H, W).

    Raises:
        ImageError: as ``read_png``, and where the file holds colours or 16-bit values instead of labels.
    """
    return label_values(read_png(path), path)


def label_values(image: PngImage, path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """``png_labels`` of a decoded image; ``path`` names it in errors. Raises ImageError where it holds no labels."""
    if image.mode not in ("P", "L", "1"):
        raise ImageError(
            f"{path}: mode {image.mode}, not an indexed PNG; save label maps with a palette (mode P) or as 8-bit grey."
        )
    return cast(NDArray[np.uint8], image.pixels)


def png_grey(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The 8-bit grey picture that ``cv2.imread(path, cv2.IMREAD_GRAYSCALE)`` gives, uint8 (H, W).

    A palette is seen through its colours (where all are black, everything is 0), 16-bit values lose their low byte
    (255 becomes 0), alpha is dropped, one-bit images become 0/255. Equal in every bit for files without a gamma
    chunk; 16-bit RGB may differ by one, because the low bytes are gone before the colours are weighted.

    Raises:
        ImageError: as ``read_png``.
    """
    return grey_values(read_png(path))


def grey_values(image: PngImage) -> NDArray[np.uint8]:
    """``png_grey`` of a decoded image, uint8 (H, W)."""
    pixels = image.pixels
    if image.mode == "1":
        return cast(NDArray[np.uint8], pixels * np.uint8(255))
    if image.mode == "I;16":
        return (pixels >> 8).astype(np.uint8)
    if image.palette is not None:
        table = np.zeros(256, np.uint8)
        table[: len(image.palette)] = _grey_of_rgb(image.palette)
        return table[pixels]
    if image.mode == "LA":
        return np.ascontiguousarray(pixels[..., 0], dtype=np.uint8)
    if image.mode in ("RGB", "RGBA"):
        return _grey_of_rgb(pixels[..., :3])
    return cast(NDArray[np.uint8], pixels)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """(height, width) of a PNG or JPEG, from its header alone. Raises ImageError."""
    head = _read_bytes(path, 33)
    if head.startswith(_SIGNATURE):
        return _parse_header(head, path)[:2]
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=("JPEG",)) as image:
            return image.height, image.width
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: neither a PNG nor a JPEG with a readable header ({_reason(error)}).") from error


def read_rgb(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """A frame (JPEG or PNG) as uint8 (H, W, 3) RGB, stored orientation.

    Raises:
        ImageError: missing, unreadable, corrupt, cut short (never padded), or of another kind.
    """
    data = _read_bytes(path)
    if data.startswith(_SIGNATURE):
        _inflate(_parse_chunks(data, path), path)
    elif not data.startswith(b"\xff\xd8"):
        raise ImageError(f"{path}: neither a PNG nor a JPEG (starts with {data[:4]!r}); export frames as JPEG.")
    elif data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        # Checked here because a program that sets Pillow's LOAD_TRUNCATED_IMAGES would get the missing part in grey.
        raise ImageError(f"{path}: JPEG cut short, its end marker is missing ({len(data)} bytes); extract it again.")
    with _open_with_pillow(data, path) as image:
        return np.array(image.convert("RGB"))


def write_png(
    path: str | os.PathLike[str], array: NDArray[np.uint8] | NDArray[np.bool_], palette: NDArray[np.uint8] | None = None
) -> None:
    """Write a mask or label map, whole or not at all (temporary file in the same folder, then rename).

    Args:
        path: the file; its folder is created.
        array: uint8 (H, W) stored as it is, or bool (H, W) stored as 0/255 (0/1 with a palette).
        palette: uint8 (n, 3) RGB, n <= 256, for an indexed PNG (mode P); 8-bit grey (mode L) without.

    Raises:
        ImageError: the array is not a mask, or the file cannot be written.
    """
    if array.ndim != 2 or array.dtype not in (np.uint8, np.bool_) or 0 in array.shape:
        raise ImageError(f"{path}: a PNG mask is a bool or uint8 array (H, W), not {array.dtype} {array.shape}.")
    if array.dtype == np.bool_:
        array = array.astype(np.uint8) * np.uint8(1 if palette is not None else 255)
    height, width = array.shape
    rows = np.zeros((height, width + 1), np.uint8)  # row filter 0: best for flat label maps, and free to undo
    rows[:, 1:] = array
    header = struct.pack(">IIBBBBB", width, height, 8, _GREY if palette is None else _PALETTE, 0, 0, 0)
    parts = [_SIGNATURE, _chunk(b"IHDR", header)]
    if palette is not None:
        parts.append(_chunk(b"PLTE", np.ascontiguousarray(palette, np.uint8).tobytes()))
    parts += [_chunk(b"IDAT", zlib.compress(rows.data, 6)), _chunk(b"IEND", b"")]
    _replace(Path(path), b"".join(parts))


@cache
def davis_palette() -> NDArray[np.uint8]:
    """The 256 colours of DAVIS and PASCAL VOC, uint8 (256, 3) RGB, read-only.

    Bits 0, 1, 2 of an index become the highest bits of red, green, blue; bits 3, 4, 5 the next lower ones; and so on.
    """
    index = np.arange(256)[:, None]
    channel = np.arange(3)[None, :]
    colours = np.zeros((256, 3), np.int64)
    for level in range(8):
        colours |= (index >> (3 * level + channel) & 1) << (7 - level)
    palette = colours.astype(np.uint8)
    palette.flags.writeable = False
    return palette


# Reading ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Chunks:
    """What the chunks of a PNG say; ``body`` is the zlib stream of all IDAT chunks."""

    height: int
    width: int
    depth: int
    colour: int
    interlaced: bool
    palette: NDArray[np.uint8] | None
    body: bytes


def _read_bytes(path: str | os.PathLike[str], count: int = -1) -> bytes:
    """The file's first ``count`` bytes (all by default), never none."""
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(count)
    except FileNotFoundError:
        raise ImageError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise ImageError(f"{path}: a folder, where an image file is expected.") from None
    except PermissionError:
        raise ImageError(f"{path}: no permission to read it; change its mode (chmod u+r).") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be read ({_reason(error)}).") from error
    if not data:
        raise ImageError(f"{path}: the file is empty (0 bytes); write it again.")
    return data


def _parse_header(data: bytes, path: str | os.PathLike[str]) -> tuple[int, int, int, int, bool]:
    """(height, width, bits per sample, colour type, interlaced) from the first 33 bytes."""
    if not data.startswith(_SIGNATURE):
        raise ImageError(f"{path}: not a PNG (starts with {data[:8]!r}); save masks as PNG.")
    if len(data) < 33 or data[8:16] != b"\0\0\0\x0dIHDR":
        raise ImageError(f"{path}: PNG cut short in its header ({len(data)} bytes); write it again.")
    _check_crc(data, 12, 29, path)
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if not width or not height or depth not in _DEPTHS.get(colour, ()) or interlaced > 1:
        raise ImageError(
            f"{path}: impossible PNG header: {width}x{height}, {depth} bits, colour type {colour}; write it again."
        )
    return height, width, depth, colour, bool(interlaced)


def _parse_chunks(data: bytes, path: str | os.PathLike[str]) -> _Chunks:
    height, width, depth, colour, interlaced = _parse_header(data, path)
    palette = None
    body: list[bytes] = []
    position = 33
    while True:
        if position + 12 > len(data):
            raise ImageError(f"{path}: PNG cut short after {len(data)} bytes; write it again.")
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            raise ImageError(f"{path}: PNG cut short after {len(data)} bytes; write it again.")
        if kind == b"IDAT":
            _check_crc(data, position + 4, end, path)
            body.append(data[position + 8 : end])
        elif kind == b"PLTE":
            _check_crc(data, position + 4, end, path)
            if length % 3 or not 3 <= length <= 768:
                raise ImageError(f"{path}: PNG palette of {length} bytes, expected 3 to 768 in threes; write it again.")
            palette = np.frombuffer(data, np.uint8, length, position + 8).reshape(-1, 3)
        elif kind == b"IEND":
            break
        position = end + 4
    if not body:
        raise ImageError(f"{path}: PNG without pixels (no IDAT chunk); write it again.")
    if colour == _PALETTE and palette is None:
        raise ImageError(f"{path}: indexed PNG without a palette (no PLTE chunk); write it again.")
    return _Chunks(height, width, depth, colour, interlaced, palette, body[0] if len(body) == 1 else b"".join(body))


def _check_crc(data: bytes, start: int, end: int, path: str | os.PathLike[str]) -> None:
    stated = int.from_bytes(data[end : end + 4], "big")
    if zlib.crc32(memoryview(data)[start:end]) != stated:
        name = data[start : start + 4].decode("latin-1")
        raise ImageError(f"{path}: corrupt PNG (checksum of chunk {name} is wrong); write it again.")


def _inflate(chunks: _Chunks, path: str | os.PathLike[str]) -> bytes:
    """The filtered rows of all pixels, neither less nor more."""
    from isal import igzip_lib

    expected = sum(height * (1 + row_bytes) for height, row_bytes in _pictures(chunks))
    if expected > _MAX_INFLATION * len(chunks.body):
        raise ImageError(f"{path}: PNG holds too few bytes for {chunks.width}x{chunks.height} pixels; write it again.")
    try:
        # Bare deflate (past the two bytes of the zlib header): the chunks' checksums already vouch for the bytes.
        raw = igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_DEFLATE).decompress(chunks.body[2:], expected)
    except igzip_lib.IsalError as error:  # type: ignore[misc]  # the stub calls the class an instance
        raise ImageError(f"{path}: corrupt PNG ({_reason(error)}); write it again.") from error
    if len(raw) < expected:
        raise ImageError(f"{path}: PNG holds {len(raw)} of {expected} bytes of pixels; write it again.")
    return raw


def _pictures(chunks: _Chunks) -> list[tuple[int, int]]:
    """(rows, bytes per row) of the picture, or of the seven pictures of an interlaced one (PNG, section 8.2)."""
    bits, height, width = _SAMPLES[chunks.colour] * chunks.depth, chunks.height, chunks.width
    if not chunks.interlaced:
        return [(height, (width * bits + 7) // 8)]
    sizes = [(-(-(height - y) // dy), -(-(width - x) // dx)) for x, y, dx, dy in _PASSES]
    return [(rows, (columns * bits + 7) // 8) for rows, columns in sizes if rows > 0 and columns > 0]


def _unfilter_rows(chunks: _Chunks, path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """The rows of packed samples: uint8 (H, bytes per row), a view into rows padded to whole words."""
    rows, _ = _unfilter(chunks, path, chunks.height + 1, np.zeros((0, 0), np.uint8))
    _, row_bytes = _pictures(chunks)[0]
    return rows[1:, :row_bytes]


def _unfilter(
    chunks: _Chunks, path: str | os.PathLike[str], n_rows: int, bits: NDArray[np.uint8]
) -> tuple[NDArray[np.uint8], int]:
    """What ``png_kernels.unfilter`` makes of the pixels: the rows that stay, and the value that it returns."""
    raw = _inflate(chunks, path)
    from .png_kernels import unfilter

    stored = np.frombuffer(raw, np.uint8).reshape(chunks.height, -1)
    words = np.empty((n_rows, (stored.shape[1] + 6) // 8), np.uint64)
    words[0] = 0
    rows = words.view(np.uint8)
    value = unfilter(stored, words, rows, bits)
    if value < -1:
        bad = -2 - value
        raise ImageError(f"{path}: corrupt PNG (row {bad} has filter type {stored[bad, 0]}); write it again.")
    return rows, value


def _unpack_bits(rows: NDArray[np.uint8], chunks: _Chunks) -> NDArray[np.uint8]:
    """One value per pixel from 1, 2, 4 or 8 bits; grey of 2 and 4 bits is stretched to 0-255."""
    depth, width = chunks.depth, chunks.width
    if depth == 8:
        return rows
    if depth == 1:
        return np.unpackbits(rows, axis=1, count=width)
    shifts = np.arange(8 - depth, -1, -depth, dtype=np.uint8)
    values = (rows[:, :, None] >> shifts & (2**depth - 1)).reshape(len(rows), -1)[:, :width]
    return values if chunks.colour == _PALETTE else values * np.uint8(255 // (2**depth - 1))


def _decode_with_pillow(data: bytes, chunks: _Chunks, path: str | os.PathLike[str]) -> PngImage:
    """The kinds that masks rarely have: interlaced, 16 bits, alpha, colours."""
    _inflate(chunks, path)  # Pillow takes a stream that ends early for black pixels
    with _open_with_pillow(data, path) as image:
        pixels = np.array(image)
        mode = image.mode
    if mode == "I":  # Pillow before 11 opens 16-bit grey as 32-bit integers
        pixels, mode = pixels.astype(np.uint16), "I;16"
    if mode == "1":
        pixels = pixels.astype(np.uint8)
    return PngImage(pixels, cast(PngMode, mode), chunks.palette if mode == "P" else None)


def _open_with_pillow(data: bytes, path: str | os.PathLike[str]) -> Image.Image:
    """The decoded Pillow image."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
        image.load()
    except (OSError, SyntaxError, ValueError, zlib.error, Image.DecompressionBombError) as error:
        raise ImageError(f"{path}: corrupt or cut short ({_reason(error)}); write it again.") from error
    return image


def _grey_of_rgb(rgb: Pixels) -> NDArray[np.uint8]:
    """The PNG decoder's own weights (0.299, 0.587, rest; libpng's 15-bit integers), exact where the channels agree."""
    red, green, blue = (rgb[..., i].astype(np.uint32) for i in range(3))
    return ((9797 * red + 19234 * green + 3737 * blue) >> 15).astype(np.uint8)


# Writing ------------------------------------------------------------------------------------------------------------


def _chunk(kind: bytes, data: bytes) -> bytes:
    return b"".join((struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))))


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ImageError(f"{path}: cannot be written ({_reason(error)}).") from error


def _reason(error: BaseException) -> str:
    """The first line of an exception's message."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text.splitlines()[0] if text else type(error).__name__
