"""Film strips: one sentence, a few frames of its video, and what several predictors answered, in one picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.types import BoolMask, Sample, Video

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

TRUTH_COLOUR = (60, 220, 90)
ANSWER_COLOUR = (255, 60, 200)
_INK, _GREY, _PAPER = (25, 25, 30), (110, 110, 120), (255, 255, 255)
_LABEL, _GAP, _HEAD, _FOOT = 176, 6, 62, 22


@dataclass(frozen=True)
class Strip:
    """A row of the picture.

    Attributes:
        label: e.g. the predictor's name.
        detail: a second, smaller line, e.g. its score.
        mask: gives the mask of frame number i, bool (H, W), or None where there is none.
    """

    label: str
    detail: str
    mask: Callable[[int], BoolMask | None]


def film_strip(
    sample: Sample, truth: Callable[[int], BoolMask | None], answers: Sequence[Strip], caption: str, n_frames: int = 6
) -> Image:
    """A picture of evenly spaced frames: the video, the ground truth, and a row per answer.

    A mask is lit and all else is dimmed. The ground truth is outlined in green in every row but the first; an answer
    in magenta.

    Args:
        sample: the sentence and its video.
        truth: the ground truth of frame number i, None where it is not annotated.
        answers: further rows.
        caption: a line below the sentence.
        n_frames: columns.
    """
    from PIL import Image, ImageDraw

    video = sample.video
    times = sorted({int(t) for t in np.linspace(0, len(video) - 1, n_frames).round()})
    zoom = max(1, round(150 / video.height))
    rows = [Strip("video", "", lambda _: None), Strip("ground truth", "", truth), *answers]
    tiles = [[_tile(video, t, row, truth, zoom) for t in times] for row in rows]
    height, width = tiles[0][0].shape[:2]
    size = (_LABEL + len(times) * (width + _GAP), _HEAD + len(rows) * (height + _GAP) + _FOOT)
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    _heading(draw, f"“{sample.expression.text}”", caption, size[0])
    for r, (row, line) in enumerate(zip(rows, tiles, strict=True)):
        top = _HEAD + r * (height + _GAP)
        draw.text((10, top + height // 2 - 18), row.label, fill=_INK, font=_font(15, bold=True))
        draw.text((10, top + height // 2 + 2), row.detail, fill=_GREY, font=_font(14))
        for c, tile in enumerate(line):
            picture.paste(Image.fromarray(tile), (_LABEL + c * (width + _GAP), top))
    for c, t in enumerate(times):
        place = (_LABEL + c * (width + _GAP), size[1] - _FOOT)
        draw.text(place, f"frame {video.frame_names[t]}", fill=_GREY, font=_font(12))
    return picture


def _tile(video: Video, t: int, row: Strip, truth: Callable[[int], BoolMask | None], zoom: int) -> NDArray[np.uint8]:
    """Frame ``t`` with the row's mask lit and outlined, uint8 (H·zoom, W·zoom, 3)."""
    picture = _enlarged(video.frame(t), zoom)
    if row.label == "video":
        return picture
    mask = row.mask(t)
    lit = np.zeros(picture.shape[:2], bool) if mask is None else _enlarged(mask, zoom)
    grey = picture.mean(axis=2, keepdims=True)
    dimmed = (0.3 * picture + 0.15 * grey).astype(np.uint8)
    picture = np.where(lit[..., None], picture, dimmed)
    picture[outline(lit)] = ANSWER_COLOUR
    target = truth(t)
    if target is not None:
        picture[outline(_enlarged(target, zoom))] = TRUTH_COLOUR
    return picture


def outline(mask: BoolMask) -> BoolMask:
    """Where a mask's edge is, bool (H, W): two pixels wide, on its inside, also along the border of the frame."""
    inner = mask.copy()
    for _ in range(2):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inner


def _enlarged(pixels: NDArray[Any], zoom: int) -> NDArray[Any]:
    return pixels.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _heading(draw: ImageDraw, title: str, caption: str, width: int) -> None:
    size = 20
    while size > 11 and _font(size, bold=True).getlength(title) > width - 20:
        size -= 1
    draw.text((10, 8), title, fill=_INK, font=_font(size, bold=True))
    draw.text((10, 36), caption, fill=_GREY, font=_font(14))


@cache
def _font(size: int, bold: bool = False) -> FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and knows most alphabets."""
    import matplotlib
    from PIL import ImageFont

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
