"""Film strips for looking at generated videos: frames, outlines of what is meant, and the sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .generate import GeneratedSample, GeneratedVideo

_OUTLINE = (255, 0, 255)
_GAP = 6
_LINE = 14


def contact_sheet(video: GeneratedVideo, out_png: Path | str, n_frames: int = 8, min_side: int = 128) -> None:
    """Writes a strip of frames for every sentence of the video, the targets outlined in magenta.

    Args:
        video: what to draw.
        out_png: the file to write.
        n_frames: frames per strip, evenly spaced, the first and the last among them.
        min_side: small frames are enlarged by a whole factor until they are at least so high.
    """
    times = sorted({int(t) for t in np.linspace(0, video.n_frames - 1, n_frames).round()})
    strips = [_strip(video, sample, times, max(1, -(-min_side // video.height))) for sample in video.samples]
    if not strips:
        strips = [Image.new("RGB", (400, 2 * _LINE), "white")]
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height + _GAP for s in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + _GAP
    sheet.save(out_png)


def _strip(video: GeneratedVideo, sample: GeneratedSample, times: list[int], zoom: int) -> Image.Image:
    height, width = video.height * zoom, video.width * zoom
    strip = Image.new("RGB", (len(times) * (width + _GAP), height + 3 * _LINE), "white")
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default()
    draw.text((2, 1), f"[{sample.kind}] {sample.text}", fill="black", font=font)
    draw.text((2, 1 + _LINE), _caption(video, sample), fill=(110, 110, 110), font=font)
    for column, t in enumerate(times):
        frame = video.renderer.frame(t)
        picture = _enlarged(frame.rgb, zoom)
        picture[_outline(_enlarged(np.isin(frame.labels, sample.object_ids), zoom))] = _OUTLINE
        left = column * (width + _GAP)
        strip.paste(Image.fromarray(picture), (left, 2 * _LINE))
        draw.text((left + 2, 2 * _LINE + height), f"frame {t}", fill=(110, 110, 110), font=font)
    return strip


def _caption(video: GeneratedVideo, sample: GeneratedSample) -> str:
    tags = sample.tags
    return (
        f"{video.id}/{sample.id}  things {list(sample.object_ids)}  depth {tags['depth']}  {tags['family']}  "
        f"settled at frame {tags['unambiguous_from']}  left after each step {tags['narrowing']}"
    )


def _enlarged(image: NDArray[np.generic], zoom: int) -> NDArray[np.generic]:
    return image.repeat(zoom, axis=0).repeat(zoom, axis=1)


def _outline(mask: NDArray[np.generic]) -> NDArray[np.bool_]:
    """The pixels just outside the mask, two wide."""
    grown = mask.astype(bool)
    for _ in range(2):
        padded = np.pad(grown, 1)
        grown = grown | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
    return grown & ~mask.astype(bool)
