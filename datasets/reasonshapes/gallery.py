"""Film strips for looking at generated videos: frames, outlines of what is meant, and the sentence.

    python -m rvos.datasets.reasonshapes.gallery --write docs/pictures/reasonshapes

draws the pictures of the documentation: two sentences of every kind, every sort of twin, every test of generalisation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .benchmark import SPLITS, make_videos
from .generate import GeneratedSample, GeneratedVideo
from .questions import KINDS

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


# Pictures of the documentation ---------------------------------------------------------------------------------------

Shown = tuple[GeneratedVideo, GeneratedSample]
_FRAMES, _PER_KIND, _SEARCHED = 6, 2, 96
_COLOURS = 96  # of the palette that keeps a picture small


def draw_figures(folder: Path | str) -> list[Path]:
    """Draw every kind, twin and split into PNG files below ``folder``; their paths."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    videos = list(make_videos("test", _SEARCHED))
    figures: dict[str, Sequence[Shown]] = {f"kind-{kind}": _of_kind(videos, kind) for kind in KINDS}
    for twin in ("reversed", "swapped", "minimal"):
        for family in ("appearance-unique", "look-alike"):
            figures[f"twin-{twin}-{family}"] = _pair(videos, f"twin_{twin}", family)
    for split in SPLITS:
        if split.startswith("test-"):
            figures[f"split-{split}"] = list(_first_of_each(make_videos(split, 7)))[:_PER_KIND]
    return [_save(figure, shown, out) for figure, shown in figures.items()]


def _of_kind(videos: Iterable[GeneratedVideo], kind: str) -> list[Shown]:
    """Two sentences of a kind, of different last steps where there are such."""
    found = [(v, s) for v in videos for s in v.samples if s.kind == kind]
    first = found[len(found) // 4]
    later = [f for f in found[len(found) // 2 :] if f[0].id[:-1] != first[0].id[:-1]]
    other = next((f for f in later if type(f[1].program) is not type(first[1].program)), later[-1])
    return [first, other]


def _pair(videos: Iterable[GeneratedVideo], tag: str, family: str) -> list[Shown]:
    """The first pair of twins whose targets are of the family, from a quartet and not the first theme again."""
    pairs: dict[object, list[Shown]] = {}
    for video in videos:
        for sample in video.samples:
            if tag in sample.tags and sample.tags["family"] == family and sample.tags["about_order"]:
                pairs.setdefault(sample.tags[tag], []).append((video, sample))
    whole = [pair for pair in pairs.values() if len(pair) == _PER_KIND]
    places = {"twin_reversed": 0, "twin_swapped": len(whole) // 3, "twin_minimal": len(whole) * 2 // 3}
    return whole[places[tag]]


def _first_of_each(videos: Iterable[GeneratedVideo]) -> Iterator[Shown]:
    """The first sentence of a quartet and of a single video."""
    for number, video in enumerate(videos):
        if number in (0, 4):
            yield video, video.samples[0]


def _save(name: str, shown: Sequence[Shown], folder: Path) -> Path:
    strips = []
    for video, sample in shown:
        times = sorted({int(t) for t in np.linspace(0, video.n_frames - 1, _FRAMES).round()})
        strips.append(_strip(video, sample, times, 1))
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height + _GAP for s in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height + _GAP
    path = folder / f"{name}.png"
    sheet.quantize(_COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the pictures of the documentation.")
    parser.add_argument("--write", type=Path, required=True, help="folder for the PNG files")
    for path in draw_figures(parser.parse_args().write):
        print(path)


if __name__ == "__main__":
    main()
