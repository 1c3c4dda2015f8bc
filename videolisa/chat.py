"""Ask about one video: masks, an overlay to look at, and the language model's own words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..datasets.errors import UsageError
from ..datasets.images import write_png
from ..datasets.types import BoolMask, Video
from ..datasets.video_files import open_video
from .predictor import VideoLisaPredictor
from .prefix import VideoPrefix
from .prompts import question
from .video_files import OverlayWriter

OverlayFormat = Literal["mp4", "gif"]

#: Overlay colours, RGB, one a prompt in turn. The first is the released code's red.
COLOURS = ((255, 0, 0), (0, 160, 255), (255, 200, 0), (0, 200, 80), (200, 80, 255), (255, 120, 0))


@dataclass(frozen=True)
class Reply:
    """What came of one prompt.

    Attributes:
        prompt: the user's text, unchanged.
        answer: the language model's own words; None where they were not asked for.
        masks: folder of the masks, one 8-bit PNG a frame, 0 / 255.
        frames_with_object: frames whose mask is not empty.
        frames: frames of the video.
    """

    prompt: str
    answer: str | None
    masks: Path
    frames_with_object: int
    frames: int


@dataclass(frozen=True)
class ChatResult:
    """What ``chat`` wrote.

    Attributes:
        replies: one a prompt.
        overlay: the video with the masks painted in.
        report: ``chat.json``, the same as data.
    """

    replies: tuple[Reply, ...]
    overlay: Path
    report: Path


def chat(
    predictor: VideoLisaPredictor,
    video: str | Path | Video,
    prompts: Sequence[str],
    out: str | Path,
    *,
    overlay: OverlayFormat = "mp4",
    answer_tokens: int = 128,
) -> ChatResult:
    """Segment what the prompts ask for and say something about it.

    Masks come from the answer "Sure, [SEG]." that the released scripts give to the model (it is not generated); the
    answer text is generated freely from the same video and prompt. Frames are RGB, as in the benchmark scripts; the
    released chat script feeds BGR.

    Args:
        predictor: the engine.
        video: a video file, a folder of frames, or a Video.
        prompts: the user's sentences, each asked alone and unchanged.
        out: folder for ``masks/<n>/<frame>.png``, ``overlay.mp4`` (or ``.gif``) and ``chat.json``.
        overlay: ``mp4``, or ``gif`` (at most 200 frames, 480 pixels).
        answer_tokens: most tokens of the generated answer; 0 leaves it out.

    Raises:
        UsageError: without a prompt, or for another kind of overlay.
        DatasetError: where the video cannot be read.
    """
    if not prompts or overlay not in ("mp4", "gif"):
        raise UsageError(f"chat needs a prompt and an overlay of mp4 or gif, found {list(prompts)} and {overlay!r}.")
    asked = video if isinstance(video, Video) else open_video(video)
    folder = Path(out)
    questions = [question(text, "chat") for text in prompts]
    answers = _answers(predictor, asked, questions, answer_tokens)
    folders = [folder / "masks" / str(n) for n in range(len(prompts))]
    file = folder / f"overlay.{overlay}"
    folder.mkdir(parents=True, exist_ok=True)
    found = _write_masks(predictor, asked, questions, folders, file)
    replies = tuple(Reply(*values, len(asked)) for values in zip(prompts, answers, folders, found, strict=True))
    report = folder / "chat.json"
    report.write_text(
        json.dumps({"video": asked.id, "replies": [asdict(r) for r in replies]}, indent=1, default=str) + "\n",
        encoding="utf-8",
    )
    return ChatResult(replies, file, report)


def paint(frame: NDArray[np.uint8], masks: Sequence[BoolMask]) -> NDArray[np.uint8]:
    """A frame uint8 (H, W, 3) with every mask painted half image, half colour; later masks over earlier ones."""
    painted = frame.copy()
    for number, mask in enumerate(masks):
        colour = np.array(COLOURS[number % len(COLOURS)], np.uint16)
        painted[mask] = (painted[mask].astype(np.uint16) + colour) // 2
    return painted


def _answers(predictor: VideoLisaPredictor, video: Video, questions: Sequence[str], tokens: int) -> list[str | None]:
    if tokens == 0:
        return [None] * len(questions)
    with torch.inference_mode():
        prefix = VideoPrefix(predictor.videolisa, video)
        return [prefix.answer(text, tokens) for text in questions]


def _write_masks(
    predictor: VideoLisaPredictor, video: Video, questions: Sequence[str], folders: Sequence[Path], overlay: Path
) -> list[int]:
    """Write masks and overlay as the frames come; the number of frames with a mask, for each question."""
    found = np.zeros(len(questions), int)
    with OverlayWriter(overlay, video.fps) as writer:
        for index, masks in predictor.segment_questions(video, questions):
            for folder, mask in zip(folders, masks, strict=True):
                write_png(folder / f"{video.frame_names[index]}.png", mask)
            writer.write(paint(video.frame(index), list(masks)))
            found += masks.any(axis=(1, 2))
    return found.tolist()
