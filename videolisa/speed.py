"""How much faster one call with all sentences is than a call a sentence, measured.

    python -m rvos.videolisa.speed --write docs/benchmarks.md
    python -m rvos.videolisa.speed --released-size --straightforward-calls 2

The engine is asked N sentences about one video at once, and the same N one call each; all masks are compared. On
request the same goes through a loop as straightforward as the released scripts'. ``--released-size`` is the 3.8B model
with SAM ViT-H, random weights in bfloat16, for a GPU.
"""

from __future__ import annotations

import argparse
import platform
import re
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import CLIPVisionConfig, Phi3Config

from ..datasets.frames import ArrayFrames
from ..datasets.masks import encode_rle
from ..datasets.types import Video
from .checkpoints import VideoLisa
from .configuration import VideoLisaConfig, sam_config
from .predictor import VideoLisaPredictor
from .prompts import conversation, question
from .random_model import random_videolisa, train_tokenizer
from .sampling import sample_frames

T = TypeVar("T")

SIZE = (480, 854)


@dataclass(frozen=True)
class SpeedRow:
    """One line of the table.

    Attributes:
        name: what was measured.
        value: the figure in ``unit``.
        unit: ``s``, ``x``, ``1/s``, ``pixels``, ``GiB`` or ``M``.
        note: how it came about.
    """

    name: str
    value: float
    unit: str
    note: str = ""


def measure(
    videolisa: VideoLisa,
    *,
    sentences: int = 16,
    frames: int = 60,
    single_calls: int | None = None,
    straightforward_calls: int = 0,
    size: tuple[int, int] = SIZE,
) -> list[SpeedRow]:
    """Time N sentences in one call against N calls with one sentence each, and compare every mask.

    Args:
        videolisa: the model, e.g. ``bench_videolisa``.
        sentences: N.
        frames: T, frames of the random video.
        single_calls: how many of the N single calls are really made; all where None. Their mean stands for the rest,
            and the note says so.
        straightforward_calls: how many sentences go through the loop that shares nothing at all, none by default.
        size: (height, width) of the video.

    Returns:
        Rows: seconds of both ways, their ratio, frames x sentences a second, mask pixels that differ, the time that
        encoding the masks as RLE takes (apart), peak memory, and the machine.
    """
    predictor, video = VideoLisaPredictor(videolisa), moving_video(frames, size)
    questions = [question(f"thing number {n} that moves to the left", "referring") for n in range(sentences)]
    made = sentences if single_calls is None else min(single_calls, sentences)
    _warm_up(predictor, video, questions)

    together, together_s = _timed(videolisa, lambda: _collect(predictor.segment_questions(video, questions)))
    alone, alone_s = _timed(
        videolisa, lambda: np.stack([_collect(predictor.segment_questions(video, [q]))[:, 0] for q in questions[:made]])
    )
    separate_s = alone_s / made * sentences
    writing_s = _timed(videolisa, lambda: [encode_rle(mask) for frame in together for mask in frame])[1]
    rows = [
        SpeedRow(f"{sentences} sentences in one call", together_s, "s", f"{frames} frames of {size[0]}x{size[1]}"),
        SpeedRow(f"{sentences} calls with one sentence", separate_s, "s", f"{made} made, their mean x {sentences}"),
        SpeedRow("one call is faster by", separate_s / together_s, "x"),
        SpeedRow("frames x sentences a second", sentences * frames / together_s, "1/s"),
        SpeedRow("mask pixels that differ", float((together[:, :made] != alone.swapaxes(0, 1)).sum()), "pixels",
                 f"of {alone.size:,}"),
        SpeedRow("writing the masks (apart)", writing_s, "s", "COCO RLE in memory"),
    ]  # fmt: skip
    if straightforward_calls:
        some = questions[:straightforward_calls]
        seconds = _timed(videolisa, lambda: list(straightforward(videolisa, video, some)))[1] / len(some) * sentences
        note = f"{len(some)} sentences made, their mean x {sentences}"
        rows.append(SpeedRow(f"{sentences} sentences sharing nothing, as the released scripts", seconds, "s", note))
        rows.append(SpeedRow("one call is faster than sharing nothing by", seconds / together_s, "x"))
    return [*rows, *_machine(videolisa)]


def released_size_videolisa(folder: Path, device: str = "cuda") -> VideoLisa:
    """The released sizes with random weights in bfloat16."""
    tokenizer = train_tokenizer(folder)
    return random_videolisa(VideoLisaConfig(seg_token_id=tokenizer.seg_id), tokenizer, 0, torch.bfloat16, device)


def bench_videolisa(folder: Path) -> VideoLisa:
    """Random weights at a size where the ratio means something and a laptop still finishes.

    SAM's image encoder is ViT-B (12 layers of width 768); images are 256 pixels on its longer side. The language model
    is small: its cost is shared too, so a large one would only flatter the ratio.
    """
    tokenizer = train_tokenizer(folder)
    config = VideoLisaConfig(
        text_config=Phi3Config(
            vocab_size=len(tokenizer),
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            sliding_window=2048,
            pad_token_id=tokenizer.pad_id,
            eos_token_id=tokenizer.eos_id,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=256,
            intermediate_size=1024,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=224,
            patch_size=14,
        ),
        sam_config=sam_config(width=768, layers=12, heads=12, global_layers=(2, 5, 8, 11), image_size=256),
        seg_token_id=tokenizer.seg_id,
    )
    return random_videolisa(config, tokenizer)


def moving_video(frames: int, size: tuple[int, int], seed: int = 0) -> Video:
    """A video of smooth noise that drifts, so that masks differ from frame to frame: uint8 frames in memory."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = rng.integers(0, 256, (height // 32 + 2, width // 32 + 2, 3), np.uint8)
    still = coarse.repeat(32, 0).repeat(32, 1)[:height, :width]
    array = np.stack([np.roll(still, 5 * i, axis=1) for i in range(frames)])
    names = tuple(f"{i:05d}" for i in range(frames))
    return Video("bench", names, ArrayFrames(names, array))


def straightforward(videolisa: VideoLisa, video: Video, questions: Sequence[str]) -> Iterator[NDArray[np.bool_]]:
    """Every question alone and everything from the start, one frame at a time, as the released scripts work.

    Repeated sparse frames are encoded again, each frame is decoded, encoded and kept until the last is done.

    Yields:
        bool (T, H, W), question by question.
    """
    model, processor, config = videolisa.model, videolisa.processor, videolisa.model.config
    with torch.inference_mode():
        for text in questions:
            sample = sample_frames(len(video), config.sparse_frames, config.dense_frames, config.temporal_strategy)
            pixels = torch.stack([processor.clip_pixels(video.frame(i)) for i in sample.frames]).to(model.device)
            rows = model.visual_rows(model.encode_frames(pixels), sample.dense_positions)
            ids = processor.input_ids(conversation(text)).to(model.device)
            hidden = model.language_model.model(inputs_embeds=model.embed_sequence(ids, rows)[None]).last_hidden_state
            model.language_model.lm_head(hidden)  # computed by the released code and not used
            prompt = model.prompt_vector(hidden[0, model.prompt_positions(ids, len(rows))])
            frames = [processor.sam_pixels(frame).to(model.device) for frame in video.iter_frames()]
            padded_from = processor.sam_size(*video.size)
            masks = []
            for frame in frames:
                low_res = model.decode_masks(model.sam_features(frame[None]), prompt)
                masks.append((model.upsample_masks(low_res, padded_from, video.size)[0, 0] > 0).cpu())
            yield torch.stack(masks).numpy()


def _collect(frames: Iterator[tuple[int, NDArray[np.bool_]]]) -> NDArray[np.bool_]:
    """(T, N, H, W)."""
    return np.stack([masks for _, masks in frames])


def _warm_up(predictor: VideoLisaPredictor, video: Video, questions: Sequence[str]) -> None:
    for _ in predictor.segment_questions(video, questions, frames=range(predictor.frames_per_batch)):
        continue


def _timed(videolisa: VideoLisa, work: Callable[[], T]) -> tuple[T, float]:
    """The result and its seconds: wall time on a GPU, CPU time of the process on a CPU.

    With one thread CPU time is the wall time of an idle machine, whatever else this one is doing.
    """
    cuda = videolisa.model.device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    _synchronise(videolisa)
    start = clock()
    result = work()
    _synchronise(videolisa)
    return result, clock() - start


def _synchronise(videolisa: VideoLisa) -> None:
    if videolisa.model.device.type == "cuda":
        torch.cuda.synchronize()


def _machine(videolisa: VideoLisa) -> list[SpeedRow]:
    model = videolisa.model
    if model.device.type == "cuda":
        peak, what = torch.cuda.max_memory_allocated() / 2**30, "allocated on the device"
        name = torch.cuda.get_device_name()
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        what = "of the process"
        name = f"{platform.machine()}, {torch.get_num_threads()} thread(s), CPU time"
    parameters = sum(p.numel() for p in model.parameters())
    return [
        SpeedRow("peak memory", peak, "GiB", what),
        SpeedRow("parameters", parameters / 1e6, "M", f"{str(model.dtype).removeprefix('torch.')} on {name}"),
    ]


# The command ----------------------------------------------------------------------------------------------------------

TITLE = "## VideoLISA: all sentences of a video in one call"


def table(rows: Sequence[SpeedRow], arguments: str = "") -> str:
    """The rows as a section in Markdown, under the command that measured them."""
    lines = [f"| {row.name} | {row.value:,.4g} {row.unit} | {row.note} |" for row in rows]
    command = f"`python -m rvos.videolisa.speed {arguments}`".replace(" `", "`")
    return "\n".join([TITLE, "", command, "", "| what | value | how |", "|---|---|---|", *lines, ""])


def write_section(path: Path, section: str) -> None:
    """Put the section into a document: in place of an older one, else at the end."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    older = re.compile(rf"^{re.escape(TITLE)}$.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    if older.search(text):
        text = older.sub(lambda _: section + "\n", text)
    else:
        text = f"{text.rstrip()}\n\n{section}" if text.strip() else section
    path.write_text(text.rstrip() + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and, on request, write the table."""
    parser = argparse.ArgumentParser(prog="rvos.videolisa.speed", description=TITLE.removeprefix("## "))
    parser.add_argument("--released-size", action="store_true", help="3.8B + ViT-H in bfloat16, on a GPU")
    parser.add_argument("--sentences", type=int, default=16)
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--single-calls", type=int, default=2, help="single calls made; their mean stands for all")
    parser.add_argument("--straightforward-calls", type=int, default=0)
    parser.add_argument("--write", type=Path, help="document that gets the table as a section")
    options = parser.parse_args(arguments)
    if not options.released_size:
        torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        made = (released_size_videolisa if options.released_size else bench_videolisa)(Path(folder))
        rows = measure(
            made,
            sentences=options.sentences,
            frames=options.frames,
            single_calls=options.single_calls,
            straightforward_calls=options.straightforward_calls,
        )
    shown = "" if options.single_calls == 2 else f"--single-calls {options.single_calls}"
    section = table(rows, "--released-size " + shown if options.released_size else shown)
    print(section)
    if options.write:
        write_section(options.write, section)


if __name__ == "__main__":
    main()
