"""Masks drawn over frames, and strips of frames, for reports and for looking at data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import UsageError

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]
_CAPTION = 16  # pixels below a frame

#: colours that stay apart on natural images and for colour-blind readers (after Okabe and Ito, brightened)
COLOURS: tuple[Colour, ...] = (
    (230, 60, 60),
    (40, 150, 255),
    (255, 190, 0),
    (0, 185, 130),
    (215, 95, 215),
    (110, 220, 255),
    (255, 120, 30),
    (170, 210, 40),
)


def draw_overlay(
    frame: Image, masks: Sequence[NDArray[Any]], colors: Sequence[Colour] | None = None, alpha: float = 0.5
) -> Image:
    """A frame with masks in colour and their outlines in full colour; later masks lie on earlier ones.

    Args:
        frame: uint8 (H, W, 3) RGB; not changed.
        masks: bool (H, W), or numbers of which non-zero is the object.
        colors: RGB per mask, ``COLOURS`` in turn by default.
        alpha: share of the colour inside, 0-1.

    Raises:
        UsageError: sizes that differ, fewer colours than masks, alpha out of range.
    """
    chosen = [COLOURS[i % len(COLOURS)] for i in range(len(masks))] if colors is None else colors
    if len(chosen) < len(masks):
        raise UsageError(f"{len(masks)} masks need as many colours, found {len(chosen)}.")
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha is {alpha}, expected 0 to 1.")
    picture = frame.copy()
    for mask, colour in zip(masks, chosen, strict=False):
        inside = np.asarray(mask) != 0
        if inside.shape != frame.shape[:2]:
            raise UsageError(f"A mask of {inside.shape} does not fit a frame of {frame.shape[:2]}.")
        tint = np.asarray(colour, np.float32)
        picture[inside] = np.rint((1 - alpha) * picture[inside] + alpha * tint).astype(np.uint8)
        picture[outline(inside, max(1, round(min(inside.shape) / 240)))] = colour
    return picture


def outline(mask: NDArray[np.bool_], width: int = 1) -> NDArray[np.bool_]:
    """The pixels of a mask within ``width`` of its outside (4-neighbours); the frame's edge is no outside."""
    core = mask
    for _ in range(width):
        padded = np.pad(core, 1, mode="edge")
        core = core & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~core


def film_strip(
    frames: Sequence[Image],
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    height: int = 160,
    gap: int = 4,
) -> Image:
    """Frames side by side on white, each ``height`` pixels high.

    Args:
        frames: uint8 (H, W, 3) RGB, of any sizes.
        captions: a line below each frame.
        columns: frames per row; all in one row by default.
        height: of a frame, in pixels.
        gap: white pixels between frames.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        UsageError: no frames, or another number of captions.
    """
    if not frames or (captions is not None and len(captions) != len(frames)):
        raise UsageError(f"A film strip needs frames and as many captions; {len(frames)} frames given.")
    tiles = [_tile(frame, None if captions is None else captions[i], height) for i, frame in enumerate(frames)]
    per_row = columns or len(tiles)
    rows = [_side_by_side(tiles[i : i + per_row], gap) for i in range(0, len(tiles), per_row)]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, gap), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(padded)[: -gap or None]


def write_image(path: Path, image: Image) -> None:
    """Save uint8 (H, W, 3) RGB as PNG or JPEG, by the file's ending; its folder is created."""
    from PIL import Image as Pillow

    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(image).save(path, quality=90)


def _tile(frame: Image, caption: str | None, height: int) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    width = max(1, round(frame.shape[1] * height / frame.shape[0]))
    picture = Pillow.fromarray(frame).resize((width, height), Pillow.Resampling.LANCZOS)
    if caption is None:
        return np.asarray(picture)
    canvas = Pillow.new("RGB", (width, height + _CAPTION), "white")
    canvas.paste(picture)
    font = _font()
    ImageDraw.Draw(canvas).text((2, height + 1), _fitting(caption, width - 4, font), fill="black", font=font)
    return np.asarray(canvas)


@cache
def _font() -> Any:
    """DejaVu Sans, which comes with matplotlib and knows more scripts than Pillow's own font."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), 11)


def _fitting(caption: str, width: int, font: Any) -> str:
    """The caption on one line, cut to ``width`` pixels."""
    text = " ".join(caption.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _side_by_side(tiles: Sequence[Image], gap: int) -> Image:
    height = max(tile.shape[0] for tile in tiles)
    parts: list[Image] = []
    for tile in tiles:
        parts.append(np.pad(tile, ((0, height - tile.shape[0]), (0, gap), (0, 0)), constant_values=255))
    row = np.concatenate(parts, axis=1)
    return row[:, : -gap or None]
